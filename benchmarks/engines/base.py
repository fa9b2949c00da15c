"""What a case may ask of an engine. An engine says in `can` which groups of cases it supports."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import Any


class Engine:
    # Of: "tasks", "dependencies" (futures as arguments), "actors", "async_actors", "kill", "objects",
    # "refs" (cheap gets of many refs, refs in objects), "returns" (several return values), "limit".
    can: frozenset[str] = frozenset({"tasks"})
    # How much of the large cases it does; 1 for all of them.
    scale = 1.0

    @property
    def workers(self) -> int:
        return len(os.sched_getaffinity(0))

    def start(self) -> None:
        raise NotImplementedError

    def stop(self) -> None:
        raise NotImplementedError

    def task(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """A callable that submits `function` and returns a future."""
        raise NotImplementedError

    def get(self, future: Any) -> Any:
        raise NotImplementedError

    def get_all(self, futures: Sequence[Any]) -> list[Any]:
        return [self.get(future) for future in futures]

    def put(self, value: Any) -> Any:
        raise NotImplementedError

    def actor(self, cls: type) -> Any:
        """A new actor of `cls`, perhaps not yet running."""
        raise NotImplementedError

    def call(self, actor: Any, method: str) -> Any:
        raise NotImplementedError

    def kill(self, actor: Any) -> None:
        raise NotImplementedError

    def task_with_returns(self, function: Callable[..., Any], count: int) -> Callable[..., Any]:
        raise NotImplementedError

    def limit(self, metric: str) -> float:
        raise NotImplementedError
