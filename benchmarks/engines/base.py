"""What a case may ask of an engine. An engine says in `can` which groups of cases it supports.

The constructor imports what the engine needs, `start` is what its users wait for; every engine gets
one worker process a CPU and, where it has a store, the same memory for it.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import Any

STORE_BYTES = 2_000_000_000


class Engine:
    # Of: "tasks", "dependencies" (futures as arguments), "actors", "async_actors", "kill", "objects",
    # "refs" (gets of many refs), "ref_arguments" (ten thousand of them to one task), "nested_refs"
    # (in objects), "returns" (several return values), "nodes" (further nodes on this machine), "no_cpu"
    # (tasks that ask for no CPU), "generators", "cancel", "groups" (placement groups), "crowds" (of
    # actors).
    can: frozenset[str] = frozenset({"tasks"})
    package = ""  # whose version the report names; "" for Python's own
    # How much of the large cases it does, so that a round takes minutes; rates do not depend on it.
    queue_length = 30_000
    ref_count = 10_000
    stream_length = 2_000
    actor_count = 20
    submits_at_once = (
        True  # a task leaves for the workers when it is made, not when it is waited for
    )

    def __init__(self) -> None:
        self.workers = len(os.sched_getaffinity(0))
        self.store_is_warm = False
        self._int_refs: list[Any] = []

    def start(self) -> None:
        raise NotImplementedError

    def stop(self) -> None:
        raise NotImplementedError

    def task(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """A callable that submits `function` and returns a future."""
        raise NotImplementedError

    def task_without_cpu(self, function: Callable[..., Any]) -> Callable[..., Any]:
        raise NotImplementedError

    def get(self, future: Any) -> Any:
        raise NotImplementedError

    def get_all(self, futures: Sequence[Any]) -> list[Any]:
        return [self.get(future) for future in futures]

    def put(self, value: Any) -> Any:
        raise NotImplementedError

    def put_all(self, values: Sequence[Any]) -> list[Any]:
        return [self.put(value) for value in values]

    def int_refs(self, count: int) -> list[Any]:
        """Refs of so many ints, made once: some engines take seconds for them."""
        if len(self._int_refs) < count:
            self._int_refs = self.put_all(range(count))
        return self._int_refs[:count]

    def actor(self, cls: type) -> Any:
        """A new actor of `cls`, perhaps not yet running."""
        raise NotImplementedError

    def call(self, actor: Any, method: str) -> Any:
        raise NotImplementedError

    def kill(self, actor: Any) -> None:
        raise NotImplementedError

    def task_with_returns(self, function: Callable[..., Any], count: int) -> Callable[..., Any]:
        raise NotImplementedError

    def generator(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """A callable that submits a generator `function` and returns an iterable of its items' futures."""
        raise NotImplementedError

    def cancel_all(self, futures: Sequence[Any]) -> None:
        """Cancels them all, and waits until each is over."""
        raise NotImplementedError

    def group(self, bundles: Sequence[dict[str, float]]) -> Any:
        """A placement group, which may be in place later."""
        raise NotImplementedError

    def await_group(self, group: Any) -> None:
        raise NotImplementedError

    def remove_group(self, group: Any) -> None:
        raise NotImplementedError

    def join_nodes(self, count: int) -> None:
        """Further nodes of this machine, up to `count`, each with CPUs of its own; named by number."""
        raise NotImplementedError

    def leave_nodes(self) -> None:
        """Ends what `join_nodes` started."""

    def far_task(self, function: Callable[..., Any], node: int) -> Callable[..., Any]:
        """As `task`, on that node."""
        raise NotImplementedError

    def far_actor(self, cls: type, node: int) -> Any:
        raise NotImplementedError

    def holder(self, node: int) -> Any:
        """An actor of work.Holder on that node, with methods as the engine has them."""
        raise NotImplementedError
