"""Dask distributed: one worker process a CPU, one thread each, on this machine."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from benchmarks.engines.base import Engine


class DaskEngine(Engine):
    can = frozenset({"tasks", "dependencies", "actors", "objects", "refs"})
    scale = 0.02

    def start(self) -> None:
        import dask
        from distributed import Client, LocalCluster

        dask.config.set({"distributed.worker.profile.enabled": False})
        self.cluster = LocalCluster(
            n_workers=self.workers,
            threads_per_worker=1,
            processes=True,
            dashboard_address=None,
            silence_logs=50,
        )
        self.client = Client(self.cluster)

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

    def actor(self, cls: type) -> Any:
        return self.client.submit(cls, actor=True, pure=False).result()

    def call(self, actor: Any, method: str) -> Any:
        return getattr(actor, method)()
