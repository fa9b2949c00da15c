"""`Pool`: the calls of `multiprocessing.Pool`, with an actor for each process.

Place: above the public API. A call is cut into chunks; a process that is idle gets the oldest chunk that waits,
one at a time. A process is idle once it has started, so those for which there is no room yet hold up nobody.
What ends a chunk is a callback of its future, on the thread that takes events; callbacks of users run on a
thread of the pool's, one at a time, and their result is there when they have ended. Once `ended` is set every
chunk, those that are given later too, ends with that error.
Threading: a pool and its results may be used by several threads; `_lock` guards which process is idle and
which chunk waits, and nobody pickles, waits or calls a user under it.
"""

from __future__ import annotations

import contextlib
import queue
import threading
import time
import traceback
import weakref
from collections import deque
from collections.abc import Callable, Iterable
from typing import Any

import cyray
from cyray import _raylet
from cyray._spec import demands, options, plans
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
        self.has_started = False


class Pool:
    """Processes that share calls: the interface of `multiprocessing.Pool`, on all nodes of the cluster.

    Args:
        processes: how many; as many as the cluster has CPUs when not given, and no more than that.
        initializer, initargs: called in each process before anything else.
        maxtasksperchild: after so many chunks a process is replaced by a new one.
        context: must be None; workers are started by cyray.
        ray_address: of the cluster, for `init` when this program is not connected; default: `CYRAY_ADDRESS`.
        ray_remote_args: options of the actors that are the processes, `{"num_cpus": 2}`.

    A process that dies fails the chunk that it had, and is replaced. Calls go to the processes that have
    started: with options for which the cluster has room for some of them only, those do all the work.

    Raises:
        ValueError: more processes than CPUs, a `context`, or options for which no node has enough.

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
        _check_that_one_fits(ray_remote_args or {})
        self._initializer = (initializer, tuple(initargs or ()))
        self._most_chunks = maxtasksperchild
        self._lock = threading.Lock()
        # With the ref of its results, once it was submitted.
        self._unfinished: dict[Chunk, Any] = {}
        self._waiting: deque[Chunk] = deque()
        self._delivering = 0  # results that are on their way from a chunk to who waits for them
        self._joining: list[threading.Event] = []
        # Those that have not read all of their iterable.
        self._feeding: dict[IMapIterator, None] = {}
        self._closed = False
        self.is_joining = False  # iterables are read to their end, whether results are taken or not
        self.ended: str | None = None  # what the RuntimeError says that each chunk ends with
        self._callbacks: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._has_caller = False  # a thread takes them until it gets a None
        self._callbacks_ended = False
        self._calling_back = threading.local()  # has `now` on the thread for callbacks
        self._idle: list[_Process] = []
        # With a ref that is ready when it has started. The one dict for ever: `_let_go` gets it.
        self._processes: dict[_Process, Any] = {}
        weakref.finalize(self, _let_go, self._processes, self._callbacks).atexit = False
        for _ in range(self.size):
            self._start()

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
        thread of the pool, and has ended before the result is ready and before `join` returns. So it cannot
        wait for either; it may use the pool for calls that have no callbacks."""
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
        self._end_all("the pool was terminated")

    def join(self) -> None:
        """Wait until all calls are done and the processes have ended. ValueError before `close`, RuntimeError
        in a callback of the pool."""
        if not self._closed:
            raise ValueError("Pool is still running")
        self.check_that_it_may_wait()
        self.is_joining = True
        while (processes := self._take_processes()) is None:
            quiet = threading.Event()
            with self._lock:
                self._joining.append(quiet)
                feeding = list(self._feeding)
            for iterator in feeding:
                iterator.feed()
            self._tell_joining()
            self.wait_for(quiet, None)
        ends = []
        for process in processes:
            if process.actor._is_stale:
                continue
            if process.has_started:
                ends.append(process.actor.__ray_terminate__.remote())
            else:  # it may be waiting for resources
                cyray.kill(process.actor)
        cyray.wait(ends, num_returns=len(ends)) if ends else None
        self._end_callbacks()

    def _take_processes(self) -> list[_Process] | None:
        """Ends the pool, and gives what is left of its processes; None while something is to be done, such as a
        call that was made just before `close`."""
        with self._lock:
            if self._is_busy():
                return None
            self.ended = self.ended or "the pool was closed, and its processes have ended"
            return self._forget_processes()

    def _forget_processes(self) -> list[_Process]:
        # With `_lock`.
        processes = list(self._processes)
        self._processes.clear()
        self._idle.clear()
        return processes

    def _is_busy(self) -> bool:
        # With `_lock`.
        return bool(self._unfinished or self._feeding or self._delivering)

    def _end_all(self, why: str) -> None:
        """Ends every chunk, with an error, and every process."""
        with self._lock:
            self._closed = True
            self.ended = self.ended or why
            self._waiting.clear()
            chunks, feeding = list(self._unfinished), list(self._feeding)
            self._feeding.clear()
            processes = self._forget_processes()
        for chunk in chunks:  # before their processes' deaths are heard of
            self._end(chunk, RuntimeError(self.ended))
        for iterator in feeding:
            iterator.wake()
        for process in processes:
            if not process.actor._is_stale:
                cyray.kill(process.actor)
        self._tell_joining()
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
            if self.ended is None:
                self._waiting.extend(chunks)
        if self.ended is not None:
            for chunk in chunks:
                self._end(chunk, RuntimeError(self.ended))
        self._dispatch()

    def feeds(self, iterator: IMapIterator, done: bool = False) -> None:
        """Notes that an iterator will give chunks, or that it has given its last."""
        with self._lock:
            if done:
                self._feeding.pop(iterator, None)
            elif self.ended is None:
                self._feeding[iterator] = None
        if done:
            self._tell_joining()

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
                # What is on its way may be what is waited for, and no ref says so any more.
                is_coming = self._delivering > 0
                refs = [ref for ref in self._unfinished.values() if ref is not None]
                refs += [ref for each, ref in self._processes.items() if not each.has_started]
            if refs and not is_coming:
                cyray.wait(refs, timeout=left)
            event.wait(0.05 if is_coming else 0.001)  # the other thread tells what has ended

    def call_back(self, callback: Callable[[Any], Any], value: Any, done: threading.Event) -> None:
        """Calls it on the thread for callbacks, and sets the event when that has ended."""

        def call() -> None:
            self._calling_back.now = True
            try:
                callback(value)
            except BaseException:  # sys.exit() is no end of the thread that others need
                traceback.print_exc()
            finally:
                self._calling_back.now = False
                done.set()
                self._delivered()

        with self._lock:
            if not self._has_caller:
                try:
                    threading.Thread(
                        target=_run_callbacks,
                        args=(self._callbacks,),
                        name="cyray-pool",
                        daemon=True,
                    ).start()
                except RuntimeError:  # no thread can be started: the result is there nevertheless
                    done.set()
                    raise
            self._delivering += 1
            self._callbacks.put(call)
            self._has_caller = not self._callbacks_ended
            if self._callbacks_ended:  # a last one, which came late
                self._callbacks.put(None)

    def check_that_it_may_wait(self) -> None:
        """RuntimeError in a callback: what it waits for would wait for it."""
        if getattr(self._calling_back, "now", False):
            raise RuntimeError(
                "a callback of a pool cannot wait for the pool to end, nor for a result that has callbacks: "
                "they are called one at a time, and this one has not ended"
            )

    def _end_callbacks(self) -> None:
        with self._lock:
            self._callbacks_ended = True
            if self._has_caller:
                self._has_caller = False
                self._callbacks.put(None)

    # --- Processes -------------------------------------------------------------------------------

    def _start(self) -> None:
        process = _Process(self._class.remote(*self._initializer), self._most_chunks)
        started = process.actor.__ray_ready__.remote()
        with self._lock:
            if self.ended is None:
                self._processes[process] = started
        if self.ended is not None:
            _let_go({process: started})
        # What waits for resources keeps neither: a pool that nobody has any more goes, with its processes.
        pool, here = weakref.ref(self), weakref.ref(process)

        def note(_future: Any) -> None:
            found, process = pool(), here()
            if found is not None and process is not None:
                found._has_started(process)

        started.future().add_done_callback(note)

    def _has_started(self, process: _Process) -> None:
        # Or cannot start: then the next chunk is told why, and another process comes in its place.
        with self._lock:
            process.has_started = True
            if process in self._processes:
                self._idle.append(process)
        self._dispatch()

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
                    if process in self._processes:
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
        if process.actor._is_stale:
            self._end_all("the session of the pool is over")
            return
        if process.chunks_left is not None:
            process.chunks_left -= 1
        died = isinstance(error, RayActorError)
        if died or process.chunks_left == 0:
            self._replace(process, died)
        else:
            with self._lock:
                if process in self._processes:
                    self._idle.append(process)
        self._dispatch()

    def _replace(self, process: _Process, died: bool) -> None:
        with self._lock:
            if self._processes.pop(process, None) is None:
                return  # the pool has ended
        try:
            if not died:
                process.actor.__ray_terminate__.remote()
            self._start()
        except Exception as error:  # the session ends just now
            self._end_all(f"a process of the pool could not be replaced: {error}")

    def _end(self, chunk: Chunk, results: list[Any] | BaseException) -> None:
        with self._lock:
            if chunk not in self._unfinished:  # the pool was terminated meanwhile
                return
            del self._unfinished[chunk]
            self._delivering += 1
        try:
            chunk.job.chunk_ended(chunk.number, results)
        finally:
            self._delivered()

    def _delivered(self) -> None:
        with self._lock:
            self._delivering -= 1
        self._tell_joining()

    def _tell_joining(self) -> None:
        with self._lock:
            joining = [] if self._is_busy() else list(self._joining)
        for quiet in joining:
            quiet.set()


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


def _check_that_one_fits(remote_args: dict[str, Any]) -> None:
    wanted, _ = demands.actor_demands(options.actor_options(remote_args))
    nodes = [node["Resources"] for node in cyray.nodes() if node["Alive"]]
    asked = {name: amount / plans.UNIT for name, amount in wanted.items()}
    if any(all(node.get(name, 0) >= asked[name] for name in asked) for node in nodes):
        return
    most = {name: max((node.get(name, 0) for node in nodes), default=0) for name in asked}
    raise ValueError(
        f"a process of the pool needs {asked}, which no node of the cluster has: the most that one has of "
        f"each is {most}. See ray_remote_args."
    )


def _let_go(
    processes: dict[_Process, Any],
    callbacks: queue.SimpleQueue[Callable[[], None] | None] | None = None,
) -> None:
    """Of a pool that nobody has any more, or that has ended meanwhile. An actor goes with its last handle and
    call: one that has not started, and may be waiting for resources, still has the call that waits for that.
    The collector may call this on any thread, so it waits for nothing."""
    for process, started in list(processes.items()):
        if not process.has_started and not process.actor._is_stale:
            with contextlib.suppress(RuntimeError):  # the session ends just now
                _raylet.cancel(started, False, False)
    processes.clear()
    if callbacks is not None:
        callbacks.put(None)


def _run_callbacks(calls: queue.SimpleQueue[Callable[[], None] | None]) -> None:
    while (call := calls.get()) is not None:
        call()
        del call  # and the pool that it knows, while none is there
