"""Process pools: concurrent.futures, multiprocessing and loky (what joblib uses)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from benchmarks.engines.base import Engine


class ExecutorEngine(Engine):
    executor: Any

    def stop(self) -> None:
        self.executor.shutdown(wait=True)

    def task(self, function: Callable[..., Any]) -> Callable[..., Any]:
        submit = self.executor.submit
        return lambda *args: submit(function, *args)

    def get(self, future: Any) -> Any:
        return future.result()


class ProcessPoolEngine(ExecutorEngine):
    scale = 0.05

    def start(self) -> None:
        from concurrent.futures import ProcessPoolExecutor

        self.executor = ProcessPoolExecutor(self.workers)


class LokyEngine(ExecutorEngine):
    scale = 0.05

    def start(self) -> None:
        from loky import get_reusable_executor

        self.executor = get_reusable_executor(max_workers=self.workers, timeout=600)


class PoolEngine(Engine):
    scale = 0.05

    def start(self) -> None:
        from multiprocessing import Pool

        self.pool = Pool(self.workers)

    def stop(self) -> None:
        self.pool.terminate()
        self.pool.join()

    def task(self, function: Callable[..., Any]) -> Callable[..., Any]:
        apply_async = self.pool.apply_async
        return lambda *args: apply_async(function, args)

    def get(self, future: Any) -> Any:
        return future.get()
