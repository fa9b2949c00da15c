"""joblib on the cluster: `register_ray()`, then `with joblib.parallel_config(backend="cyray")`.

Place: above `util.multiprocessing`, whose pool runs joblib's batches; imports joblib when it is asked to.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import cyray
from cyray.util.multiprocessing import Pool
from cyray.util.multiprocessing.results import AsyncResult

__all__ = ["register_ray"]


def register_ray() -> None:
    """Have joblib know the backends "cyray" and, which is the same, "ray".

    Jobs run in a `Pool` of as many processes as are asked for, and as the cluster has CPUs at most; `-1` is all
    of them. `ray_remote_args={...}` beside the name of the backend are options of its actors.

    Raises:
        ImportError: joblib is not installed.

    Example:
        register_ray()
        with joblib.parallel_config(backend="cyray"):
            joblib.Parallel(n_jobs=-1)(joblib.delayed(square)(i) for i in range(10))
    """
    try:
        import joblib
        from joblib.parallel import AutoBatchingMixin, ParallelBackendBase
    except ImportError as error:
        raise ImportError("register_ray() needs joblib: pip install joblib") from error

    # joblib's mixin cuts the batches; the base has defaults of all that is not here.
    backend = type("CyrayBackend", (_Backend, AutoBatchingMixin, ParallelBackendBase), {})
    for name in ("cyray", "ray"):
        joblib.register_parallel_backend(name, backend)


class _Backend:
    """What joblib asks for, before its own classes in the order of bases: `Pool` has the processes."""

    supports_retrieve_callback = True
    supports_timeout = True

    def __init__(self, ray_remote_args: dict[str, Any] | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._remote_args = ray_remote_args
        self._pool: Pool | None = None

    def effective_n_jobs(self, n_jobs: int | None) -> int:
        if n_jobs == 0:
            raise ValueError("n_jobs == 0 in Parallel has no meaning")
        if n_jobs is None:
            return 1
        if not cyray.is_initialized():
            cyray.init()
        cpus = max(int(cyray.cluster_resources().get("CPU", 0)), 1)
        return min(n_jobs, cpus) if n_jobs > 0 else max(cpus + 1 + n_jobs, 1)

    def configure(self, n_jobs: int = 1, parallel: Any = None, **_others: Any) -> int:
        n_jobs = self.effective_n_jobs(n_jobs)
        self._pool = Pool(n_jobs, ray_remote_args=self._remote_args)
        self.parallel = parallel
        return n_jobs

    def submit(self, func: Callable[[], Any], callback: Callable[[Any], Any]) -> AsyncResult:
        assert self._pool is not None, "joblib configures before it submits"
        return self._pool.apply_async(func, callback=callback, error_callback=callback)

    apply_async = submit  # its name before joblib 1.5

    def retrieve_result_callback(self, out: Any) -> Any:
        if isinstance(out, BaseException):
            raise out
        return out

    def terminate(self) -> None:
        pool, self._pool = self._pool, None
        if pool is not None:
            pool.terminate()
        self.reset_batch_stats()  # type: ignore[attr-defined]  # of the mixin

    def abort_everything(self, ensure_ready: bool = True) -> None:
        self.terminate()
        if ensure_ready:
            self.configure(n_jobs=self.parallel.n_jobs, parallel=self.parallel)
