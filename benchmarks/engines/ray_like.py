"""cyray and Ray: one adapter, since they have one API."""

from __future__ import annotations

import importlib
import os
from collections.abc import Callable, Sequence
from types import ModuleType
from typing import Any

from benchmarks.engines.base import Engine


class RayLikeEngine(Engine):
    module_name = ""
    can = frozenset(
        {
            "tasks",
            "dependencies",
            "actors",
            "async_actors",
            "kill",
            "objects",
            "refs",
            "returns",
            "fast_init",
        }
    )

    def __init__(self) -> None:
        self.api: ModuleType = importlib.import_module(self.module_name)

    def start(self) -> None:
        self.api.init(num_cpus=self.workers)

    def stop(self) -> None:
        self.api.shutdown()

    def task(self, function: Callable[..., Any]) -> Callable[..., Any]:
        return self.api.remote(function).remote  # type: ignore[no-any-return]

    def get(self, future: Any) -> Any:
        return self.api.get(future)

    def get_all(self, futures: Sequence[Any]) -> list[Any]:
        return self.api.get(futures)  # type: ignore[no-any-return]

    def put(self, value: Any) -> Any:
        return self.api.put(value)

    def actor(self, cls: type) -> Any:
        return self.api.remote(cls).remote()

    def call(self, actor: Any, method: str) -> Any:
        return getattr(actor, method).remote()

    def kill(self, actor: Any) -> None:
        self.api.kill(actor)

    def task_with_returns(self, function: Callable[..., Any], count: int) -> Callable[..., Any]:
        return self.api.remote(num_returns=count)(function).remote  # type: ignore[no-any-return]


class CyrayEngine(RayLikeEngine):
    module_name = "cyray"


class RayEngine(RayLikeEngine):
    module_name = "ray"
    scale = 0.02

    def start(self) -> None:
        os.environ["RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO"] = "0"
        self.api.init(
            num_cpus=self.workers,
            include_dashboard=False,
            log_to_driver=False,
            logging_level="error",
            object_store_memory=2 * 1024**3,
        )
