"""Process pools: concurrent.futures, multiprocessing, joblib and loky, which joblib runs on."""

from __future__ import annotations

import concurrent.futures
import importlib
import multiprocessing
from collections.abc import Callable, Sequence
from typing import Any

from benchmarks.engines.base import Engine


class ExecutorEngine(Engine):
    executor: concurrent.futures.Executor

    def stop(self) -> None:
        self.executor.shutdown(wait=True)

    def task(self, function: Callable[..., Any]) -> Callable[..., Any]:
        submit = self.executor.submit
        return lambda *args: submit(function, *args)

    def get(self, future: Any) -> Any:
        return future.result()


class ProcessPoolEngine(ExecutorEngine):
    def start(self) -> None:
        self.executor = concurrent.futures.ProcessPoolExecutor(self.workers)


class LokyEngine(ExecutorEngine):
    package = "loky"
    queue_length = 20_000

    def __init__(self) -> None:
        super().__init__()
        self.loky: Any = importlib.import_module("loky")

    def start(self) -> None:
        self.executor = self.loky.get_reusable_executor(max_workers=self.workers, timeout=600)


class PoolEngine(Engine):
    def start(self) -> None:
        self.pool = multiprocessing.Pool(self.workers)

    def stop(self) -> None:
        self.pool.terminate()
        self.pool.join()

    def task(self, function: Callable[..., Any]) -> Callable[..., Any]:
        apply_async = self.pool.apply_async
        return lambda *args: apply_async(function, args)

    def get(self, future: Any) -> Any:
        return future.get()


class JoblibEngine(Engine):
    """joblib has no futures: a task goes to the workers, in batches that joblib sizes, when it is
    waited for. One Parallel object serves all, so that the workers live as long as it does."""

    package = "joblib"
    queue_length = 100_000
    submits_at_once = False

    def __init__(self) -> None:
        super().__init__()
        self.joblib: Any = importlib.import_module("joblib")

    def start(self) -> None:
        self.parallel = self.joblib.Parallel(n_jobs=self.workers, backend="loky")
        self.parallel.__enter__()

    def stop(self) -> None:
        self.parallel.__exit__(None, None, None)
        executors: Any = importlib.import_module("joblib.externals.loky")
        executors.get_reusable_executor().shutdown(wait=True)

    def task(self, function: Callable[..., Any]) -> Callable[..., Any]:
        return self.joblib.delayed(function)  # type: ignore[no-any-return]

    def get(self, future: Any) -> Any:
        return self.parallel([future])[0]

    def get_all(self, futures: Sequence[Any]) -> list[Any]:
        return self.parallel(futures)  # type: ignore[no-any-return]
