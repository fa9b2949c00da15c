"""Dask distributed: one worker process a CPU, one thread each, on this machine."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence
from typing import Any

from benchmarks.engines.base import Engine


class DaskEngine(Engine):
    can = frozenset({"tasks", "dependencies", "actors", "objects", "refs", "ref_arguments"})
    package = "distributed"
    queue_length = 3_000
    ref_count = 1_000

    def __init__(self) -> None:
        super().__init__()
        self.distributed: Any = importlib.import_module("distributed")
        dask: Any = importlib.import_module("dask")
        dask.config.set({"distributed.worker.profile.enabled": False})

    def start(self) -> None:
        self.cluster = self.distributed.LocalCluster(
            n_workers=self.workers,
            threads_per_worker=1,
            processes=True,
            dashboard_address=None,
            silence_logs=50,
        )
        self.client = self.distributed.Client(self.cluster)

    def stop(self) -> None:
        self.client.close()
        self.cluster.close()

    def task(self, function: Callable[..., Any]) -> Callable[..., Any]:
        submit = self.client.submit

        def remote(*args: Any) -> Any:
            return submit(function, *args, pure=False)

        return remote

    def get(self, future: Any) -> Any:
        return future.result()

    def get_all(self, futures: Sequence[Any]) -> list[Any]:
        if futures and not hasattr(futures[0], "key"):
            return [future.result() for future in futures]  # of actors
        return self.client.gather(list(futures))  # type: ignore[no-any-return]

    def put(self, value: Any) -> Any:
        return self.client.scatter(value, hash=False)

    def put_all(self, values: Sequence[Any]) -> list[Any]:
        return self.client.scatter(list(values), hash=False)  # type: ignore[no-any-return]

    def actor(self, cls: type) -> Any:
        return self.client.submit(cls, actor=True, pure=False).result()

    def call(self, actor: Any, method: str) -> Any:
        return getattr(actor, method)()
