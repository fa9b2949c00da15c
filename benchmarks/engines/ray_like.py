"""cyray and Ray: one adapter, since they have one API."""

from __future__ import annotations

import importlib
import os
from collections.abc import Callable, Sequence
from typing import Any

from benchmarks.engines.base import STORE_BYTES, Engine


class RayLikeEngine(Engine):
    can = frozenset(
        {
            "tasks",
            "dependencies",
            "actors",
            "async_actors",
            "kill",
            "objects",
            "refs",
            "ref_arguments",
            "nested_refs",
            "returns",
        }
    )

    def __init__(self) -> None:
        super().__init__()
        self.api: Any = importlib.import_module(self.package)

    def start(self) -> None:
        self.api.init(num_cpus=self.workers, object_store_memory=STORE_BYTES)

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
    package = "cyray"
    queue_length = 1_000_000


class BlockingEngine(CyrayEngine):
    """cyray whose processes never spin: what spinning is measured against."""

    can = frozenset({"tasks"})

    def start(self) -> None:
        os.environ["CYRAY_SPIN_US"] = "0"
        super().start()


class RayEngine(RayLikeEngine):
    package = "ray"
    queue_length = 10_000

    def start(self) -> None:
        os.environ["RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO"] = "0"
        self.api.init(
            num_cpus=self.workers,
            include_dashboard=False,
            log_to_driver=False,
            logging_level="error",
            object_store_memory=STORE_BYTES,
        )
