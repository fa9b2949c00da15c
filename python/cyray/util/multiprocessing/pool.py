"""`Pool`: the calls of `multiprocessing.Pool`, with an actor for each process.

Place: above the public API. A call is cut into chunks; a process that is idle gets the oldest chunk that waits,
one at a time. What ends a chunk is a callback of its future, on the thread that takes events; callbacks of
users run on a thread of the pool's. Threading: a pool and its results may be used by several threads; `_lock`
guards which process is idle and which chunk waits, and nobody pickles, waits or calls a user under it.
"""

from __future__ import annotations

import queue
import threading
import time
import traceback
from collections import deque
from collections.abc import Callable, Iterable
from typing import Any

import cyray
from cyray import _raylet
from cyray.exceptions import RayActorError
from cyray.util.multiprocessing.results import (
    AsyncResult,
    Call,
    Chunk,
    IMapIterator,
    OrderedIMapIterator,
    PoolTaskError,
    UnorderedIMapIterator,
    cut,
)

__all__ = [
    "RAY_ADDRESS_ENV",
    "AsyncResult",
    "IMapIterator",
    "OrderedIMapIterator",
    "Pool",
    "PoolTaskError",
    "UnorderedIMapIterator",
]

RAY_ADDRESS_ENV = "CYRAY_ADDRESS"  # where `init` finds the address of a cluster
_CHUNKS_PER_PROCESS = 4  # of a map without chunksize


class _PoolActor:
    """One process of a pool."""

    def __init__(self, initializer: Callable[..., Any] | None, initargs: tuple[Any, ...]) -> None:
        if initializer is not None:
            initializer(*initargs)

    def run(self, function: Callable[..., Any], calls: list[Call]) -> list[Any]:
        results: list[Any] = []
        for args, kwargs in calls:
            try:
                results.append(function(*args, **kwargs))
            except Exception as error:
                from cyray._worker.errors import task_error

                name = getattr(function, "__name__", "function")
                told = task_error(error, name, None)
                assert isinstance(told, Exception)
                results.append(PoolTaskError(told))
        return results


class _Process:
    def __init__(self, actor: Any, chunks_left: int | None) -> None:
        self.actor = actor
        self.chunks_left = chunks_left  # None: any number


class Pool:
    """Processes that share calls: the interface of `multiprocessing.Pool`, on all nodes of the cluster.

    Args:
        processes: how many; as many as the cluster has CPUs when not given, and no more than that.
        initializer, initargs: called in each process before anything else.
        maxtasksperchild: after so many chunks a process is replaced by a new one.
        context: must be None; workers are started by cyray.
        ray_address: of the cluster, for `init` when this program is not connected; default: `CYRAY_ADDRESS`.
        ray_remote_args: options of the actors that are the processes, `{"num_cpus": 2}`.

    A process that dies fails the chunk that it had, and is replaced.

    Raises:
        ValueError: more processes than CPUs, or a `context`.

    Example:
        with Pool(4) as pool:
            pool.map(abs, [1, -2, 3])  # [1, 2, 3]
    """

    def __init__(
        self,
        processes: int | None = None,
        initializer: Callable[..., Any] | None = None,
        initargs: Iterable[Any] | None = None,
        maxtasksperchild: int | None = None,
        context: Any = None,
        ray_address: str | None = None,
        ray_remote_args: dict[str, Any] | None = None,
    ) -> None:
        if context is not None:
            raise ValueError(
                "Pool takes no context: its processes are cyray's workers, which are neither spawned nor "
                "forked from this one."
            )
        if initializer is not None and not callable(initializer):
            raise TypeError(f"initializer must be a callable, not {initializer!r}")
        if maxtasksperchild is not None and (
            isinstance(maxtasksperchild, bool)
            or not isinstance(maxtasksperchild, int)
            or maxtasksperchild < 1
        ):
            raise ValueError(
                f"maxtasksperchild is None or an int above 0, not {maxtasksperchild!r}"
            )
        if not cyray.is_initialized():
            cyray.init(address=ray_address)
        self.size = _number_of_processes(processes)
        self._class = cyray.remote(_PoolActor).options(**(ray_remote_args or {}))
        self._initializer = (initializer, tuple(initargs or ()))
        self._most_chunks = maxtasksperchild
        self._lock = threading.Lock()
        self._unfinished: dict[
            Chunk, Any
        ] = {}  # with the ref of its results, once it was submitted
        self._waiting: deque[Chunk] = deque()
        self._joining: list[threading.Event] = []
        self._feeding: dict[
            IMapIterator, None
        ] = {}  # those that have not read all of their iterable
        self._closed = self._terminated = False
        self._callbacks: queue.SimpleQueue[tuple[Callable[[Any], Any], Any] | None] | None = None
        self._idle = [self._start() for _ in range(self.size)]
        self._processes = set(self._idle)

    # --- Calls -----------------------------------------------------------------------------------

    def apply(
        self,
        func: Callable[..., Any],
        args: Iterable[Any] | None = None,
        kwargs: dict[str, Any] | None = None,
        *,
        kwds: dict[str, Any] | None = None,
    ) -> Any:
        """`func(*args, **kwargs)` in a process; waits for it."""
        return self.apply_async(func, args, kwargs, kwds=kwds).get()

    def apply_async(
        self,
        func: Callable[..., Any],
        args: Iterable[Any] | None = None,
        kwargs: dict[str, Any] | None = None,
        callback: Callable[[Any], Any] | None = None,
        error_callback: Callable[[BaseException], Any] | None = None,
        *,
        kwds: dict[str, Any] | None = None,
    ) -> AsyncResult:
        """The same without waiting. One of the callbacks is called, with the result or the error, on a
        thread of the pool."""
        self._check_open()
        call = (tuple(args or ()), {**(kwargs or {}), **(kwds or {})})
        return AsyncResult(self, func, [[call]], True, callback, error_callback)

    def map(
        self, func: Callable[..., Any], iterable: Iterable[Any], chunksize: int | None = None
    ) -> list[Any]:
        """The list of `func(item)`; waits for all. The first error that comes is raised."""
        return self.map_async(func, iterable, chunksize).get()

    def map_async(
        self,
        func: Callable[..., Any],
        iterable: Iterable[Any],
        chunksize: int | None = None,
        callback: Callable[[Any], Any] | None = None,
        error_callback: Callable[[BaseException], Any] | None = None,
    ) -> AsyncResult:
        """The same without waiting. `chunksize`: calls that a process gets at once; by default a quarter of
        what each of them is to do."""
        self._check_open()
        calls: list[Call] = [((item,), {}) for item in iterable]
        return self._map(func, calls, chunksize, callback, error_callback)

    def starmap(
        self,
        func: Callable[..., Any],
        iterable: Iterable[Iterable[Any]],
        chunksize: int | None = None,
    ) -> list[Any]:
        """The list of `func(*item)`; waits for all."""
        return self.starmap_async(func, iterable, chunksize=chunksize).get()

    def starmap_async(
        self,
        func: Callable[..., Any],
        iterable: Iterable[Iterable[Any]],
        callback: Callable[[Any], Any] | None = None,
        error_callback: Callable[[BaseException], Any] | None = None,
        *,
        chunksize: int | None = None,
    ) -> AsyncResult:
        """The same without waiting."""
        self._check_open()
        calls: list[Call] = [(tuple(item), {}) for item in iterable]
        return self._map(func, calls, chunksize, callback, error_callback)

    def imap(
        self, func: Callable[..., Any], iterable: Iterable[Any], chunksize: int | None = 1
    ) -> OrderedIMapIterator:
        """An iterator of `func(item)`, in order. The iterable is read as results are taken."""
        self._check_open()
        return OrderedIMapIterator(self, func, iterable, chunksize)

    def imap_unordered(
        self, func: Callable[..., Any], iterable: Iterable[Any], chunksize: int | None = 1
    ) -> UnorderedIMapIterator:
        """The same, with results as they come."""
        self._check_open()
        return UnorderedIMapIterator(self, func, iterable, chunksize)

    def _map(
        self,
        func: Callable[..., Any],
        calls: list[Call],
        chunksize: int | None,
        callback: Callable[[Any], Any] | None,
        error_callback: Callable[[BaseException], Any] | None,
    ) -> AsyncResult:
        if chunksize is None:
            chunksize = max(1, -(-len(calls) // (self.size * _CHUNKS_PER_PROCESS)))
        chunks = list(cut(calls, chunksize))
        return AsyncResult(self, func, chunks, False, callback, error_callback)

    # --- The end ---------------------------------------------------------------------------------

    def close(self) -> None:
        """Take no more calls; those that were made go on."""
        self._closed = True

    def terminate(self) -> None:
        """End all processes at once. Whoever waits for a result gets a RuntimeError."""
        with self._lock:
            self._closed = self._terminated = True
            self._waiting.clear()
            chunks = list(self._unfinished)
            processes, self._processes, self._idle = self._processes, set(), []
        for chunk in chunks:  # before their processes' deaths are heard of
            self._end(chunk, RuntimeError("the pool was terminated"))
        for process in processes:
            if not process.actor._is_stale:
                cyray.kill(process.actor)
        self._end_callbacks()

    def join(self) -> None:
        """Wait until all calls are done and the processes have ended. ValueError before `close`."""
        if not self._closed:
            raise ValueError("Pool is still running")
        for iterator in list(self._feeding):
            iterator.feed(float("inf"))
        quiet = threading.Event()
        with self._lock:
            self._joining.append(quiet)
            if not self._unfinished:
                quiet.set()
        self.wait_for(quiet, None)
        with self._lock:
            processes, self._processes, self._idle = self._processes, set(), []
        ends = [p.actor.__ray_terminate__.remote() for p in processes if not p.actor._is_stale]
        cyray.wait(ends, num_returns=len(ends)) if ends else None
        self._end_callbacks()

    def __enter__(self) -> Pool:
        self._check_open()
        return self

    def __exit__(self, *_error: object) -> None:
        self.terminate()

    def _check_open(self) -> None:
        if self._closed:
            raise ValueError("Pool not running")

    # --- What results ask for --------------------------------------------------------------------

    def give(self, chunks: list[Chunk]) -> None:
        """Runs chunks as soon as processes are idle."""
        with self._lock:
            self._unfinished.update(dict.fromkeys(chunks))
            self._waiting.extend(chunks)
        self._dispatch()

    def feeds(self, iterator: IMapIterator, done: bool = False) -> None:
        """Notes that an iterator will give chunks, or that it has given its last."""
        if done:
            self._feeding.pop(iterator, None)
        else:
            self._feeding[iterator] = None

    def wait_for(self, event: threading.Event, timeout: float | None) -> None:
        """Waits for an event that the end of a chunk sets; in a task, others use its CPU meanwhile."""
        if _raylet.current_task() is None:
            event.wait(timeout)
            return
        deadline = None if timeout is None else time.monotonic() + timeout
        while not event.is_set():
            left = None if deadline is None else deadline - time.monotonic()
            if left is not None and left <= 0:
                return
            with self._lock:
                refs = [ref for ref in self._unfinished.values() if ref is not None]
            if refs:
                cyray.wait(refs, timeout=left)
            event.wait(0.001)  # the other thread tells what has ended

    def call_back(self, callback: Callable[[Any], Any], value: Any) -> None:
        """Calls it on the thread for callbacks."""
        with self._lock:
            if self._callbacks is None:
                self._callbacks = queue.SimpleQueue()
                threading.Thread(
                    target=_run_callbacks, args=(self._callbacks,), name="cyray-pool", daemon=True
                ).start()
            self._callbacks.put((callback, value))

    def _end_callbacks(self) -> None:
        with self._lock:
            if self._callbacks is not None:
                self._callbacks.put(None)
                self._callbacks = None

    # --- Processes -------------------------------------------------------------------------------

    def _start(self) -> _Process:
        return _Process(self._class.remote(*self._initializer), self._most_chunks)

    def _dispatch(self) -> None:
        while True:
            with self._lock:
                if not self._waiting or not self._idle:
                    return
                process, chunk = self._idle.pop(), self._waiting.popleft()
            try:
                ref = process.actor.run.remote(chunk.job.function, chunk.calls)
            except Exception as error:  # an argument that does not pickle
                with self._lock:
                    self._idle.append(process)
                self._end(chunk, error)
                continue
            with self._lock:
                if chunk in self._unfinished:
                    self._unfinished[chunk] = ref
            ref.future().add_done_callback(
                lambda future, process=process, chunk=chunk: self._chunk_ended(
                    process, chunk, future
                )
            )

    def _chunk_ended(self, process: _Process, chunk: Chunk, future: Any) -> None:
        error = future.exception()
        self._end(chunk, future.result() if error is None else error)
        if process.chunks_left is not None:
            process.chunks_left -= 1
        died = isinstance(error, RayActorError)
        if died or process.chunks_left == 0:
            if not died:
                process.actor.__ray_terminate__.remote()
            self._replace(process)
        else:
            with self._lock:
                self._idle.append(process)
        self._dispatch()

    def _end(self, chunk: Chunk, results: list[Any] | BaseException) -> None:
        with self._lock:
            if chunk not in self._unfinished:  # the pool was terminated meanwhile
                return
        chunk.job.chunk_ended(chunk.number, results)
        with self._lock:
            self._unfinished.pop(chunk, None)
            joining = [] if self._unfinished else self._joining
        for quiet in joining:
            quiet.set()

    def _replace(self, process: _Process) -> None:
        new = None if process.actor._is_stale else self._start()
        with self._lock:
            self._processes.discard(process)
            if new is None or self._terminated:
                return
            self._processes.add(new)
            self._idle.append(new)


def _number_of_processes(asked: int | None) -> int:
    cpus = int(cyray.cluster_resources().get("CPU", 0))
    if asked is None:
        return max(cpus, 1)
    if isinstance(asked, bool) or not isinstance(asked, int):
        raise TypeError(f"processes is an int, not {asked!r}")
    if asked < 1:
        raise ValueError(f"processes is at least 1, not {asked}")
    if asked > cpus:
        raise ValueError(
            f"a pool of {asked} processes was asked for, and the cluster has {cpus} CPUs. Logical CPUs can be "
            "given: cyray.init(num_cpus=...)."
        )
    return asked


def _run_callbacks(
    calls: queue.SimpleQueue[tuple[Callable[[Any], Any], Any] | None],
) -> None:
    while (call := calls.get()) is not None:
        callback, value = call
        try:
            callback(value)
        except Exception:
            traceback.print_exc()
