"""Results of a pool's calls: all at once (`AsyncResult`) or one by one (`IMapIterator`).

Place: under `pool`, which runs the chunks and tells of their ends on the thread that takes events. Threading:
each result has a lock of its own; who waits is woken by an event.
"""

from __future__ import annotations

import itertools
import multiprocessing
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any

import cyray
from cyray.exceptions import RayTaskError

if TYPE_CHECKING:
    from cyray.util.multiprocessing.pool import Pool

_AHEAD = 2  # chunks per process that imap submits before somebody takes results

Call = tuple[tuple[Any, ...], dict[str, Any]]


class PoolTaskError(Exception):
    """How the error of one call travels among the results of its chunk; `.underlying` is what it raised."""

    def __init__(self, underlying: Exception) -> None:
        super().__init__(underlying)
        self.underlying = underlying


def raised(error: BaseException) -> BaseException:
    """What `get` raises for an error that came from a process."""
    return error.as_instanceof_cause() if isinstance(error, RayTaskError) else error


def cut(calls: Iterable[Call], size: int) -> Iterator[list[Call]]:
    """Chunks of `size` calls; the last one may have fewer. ValueError when `size` is less than 1."""
    if size < 1:
        raise ValueError(f"chunksize is at least 1, not {size}")
    rest = iter(calls)
    return iter(lambda: list(itertools.islice(rest, size)), [])


class Chunk:
    def __init__(self, job: Job, number: int, calls: list[Call]) -> None:
        self.job, self.number, self.calls = job, number, calls


class Job:
    """Calls that belong together. `function`: a ref of what is called."""

    def __init__(self, pool: Pool, function: Callable[..., Any]) -> None:
        if not callable(function):
            raise TypeError(f"a pool calls functions, and {function!r} is none")
        self._pool = pool
        self.function = cyray.put(function)

    def chunk_ended(self, number: int, results: list[Any] | BaseException) -> None:
        """The results of the chunk's calls, each a value or a PoolTaskError; or why there are none."""
        raise NotImplementedError


class AsyncResult(Job):
    """What `apply_async` and `map_async` return."""

    def __init__(
        self,
        pool: Pool,
        function: Callable[..., Any],
        chunks: list[list[Call]],
        single: bool = False,
        callback: Callable[[Any], Any] | None = None,
        error_callback: Callable[[BaseException], Any] | None = None,
    ) -> None:
        super().__init__(pool, function)
        self._single, self._callback, self._error_callback = single, callback, error_callback
        self._results: list[Any] = [None] * len(chunks)
        self._missing = len(chunks)
        self._error: BaseException | None = None
        self._lock = threading.Lock()
        self._finished = False  # the outcome is known; guarded by _lock
        self._done = threading.Event()  # and its callback has ended
        if not chunks:
            self._finish()
        pool.give([Chunk(self, number, calls) for number, calls in enumerate(chunks)])

    def chunk_ended(self, number: int, results: list[Any] | BaseException) -> None:
        with self._lock:
            if isinstance(results, BaseException):
                self._error = self._error or results
                self._missing = 0
            else:
                errors = [one.underlying for one in results if isinstance(one, PoolTaskError)]
                self._error = self._error or (errors[0] if errors else None)
                self._results[number] = results
                self._missing -= 1
            if self._missing <= 0 and not self._finished:
                self._finish()

    def _finish(self) -> None:
        self._finished = True
        if self._error is None and self._callback is not None:
            self._pool.call_back(self._callback, self._value(), self._done)
        elif self._error is not None and self._error_callback is not None:
            self._pool.call_back(self._error_callback, raised(self._error), self._done)
        else:
            self._done.set()

    def _value(self) -> Any:
        values = list(itertools.chain.from_iterable(self._results))
        return values[0] if self._single else values

    def wait(self, timeout: float | None = None) -> None:
        """Wait until it is done and its callback has ended, `timeout` seconds at most. RuntimeError in a
        callback of the pool, for a result that has callbacks."""
        if not self.ready() and (self._callback or self._error_callback):
            self._pool.check_that_it_may_wait()
        self._pool.wait_for(self._done, timeout)

    def get(self, timeout: float | None = None) -> Any:
        """The value, or the list of values.

        Raises:
            multiprocessing.TimeoutError: it is not done in time.
            Exception: what a call raised.
        """
        self.wait(timeout)
        if not self.ready():
            raise multiprocessing.TimeoutError
        if self._error is not None:
            raise raised(self._error)
        return self._value()

    def ready(self) -> bool:
        """Whether it is done."""
        return self._done.is_set()

    def successful(self) -> bool:
        """Whether no call raised. ValueError when it is not done."""
        if not self.ready():
            raise ValueError(f"{self!r} is not ready")
        return self._error is None


class IMapIterator(Job):
    """What `imap` and `imap_unordered` return: results one by one, while later calls run.

    No more of the iterable is taken than twice as many chunks as there are processes, until results are. What
    the iterable raises comes in the place of the chunk that it was asked for.
    """

    # One thread at a time reads the iterable, which may take long or call anything: without a lock. Whether it
    # goes on is decided under `_news`, so nobody who finds it reading has to read himself.

    def __init__(
        self,
        pool: Pool,
        func: Callable[..., Any],
        iterable: Iterable[Any],
        chunksize: int | None = None,
    ) -> None:
        super().__init__(pool, func)
        size = 1 if chunksize is None else chunksize
        self._chunks = cut((((item,), {}) for item in iterable), size)
        self._news = threading.Lock()  # guards all below
        self._most = pool.size * _AHEAD  # chunks that were given and not taken
        self._given = 0
        self._taken = 0
        self._is_reading = False
        self._exhausted = False
        self._now: deque[Any] = deque()
        self._waiting: list[threading.Event] = []
        pool.feeds(self)
        self.feed()

    def wake(self) -> None:
        """Has whoever waits look at what there is."""
        with self._news:
            waiting, self._waiting = self._waiting, []
        for news in waiting:
            news.set()

    def feed(self) -> None:
        """Reads the iterable and gives chunks, as many as are wanted; where another thread reads it, that one
        does."""
        with self._news:
            if self._is_reading:
                return
            self._is_reading = True
        try:
            while self._wants_more():
                self._read()
        except BaseException:  # Ctrl-C, not what the iterable raises
            with self._news:
                self._is_reading = False
            raise

    def _wants_more(self) -> bool:
        with self._news:
            self._is_reading = (
                not self._exhausted
                and self._pool.ended is None
                and (self._pool.is_joining or self._given - self._taken < self._most)
            )
            return self._is_reading

    def _read(self) -> None:
        try:
            calls = next(self._chunks, None)
        except Exception as error:
            self._end_with(error)
            return
        if calls is None:
            self._end_with(None)
            return
        with self._news:
            number = self._given
            self._given += 1
        self._pool.give([Chunk(self, number, calls)])

    def _end_with(self, error: Exception | None) -> None:
        with self._news:
            self._exhausted = True
            if error is not None:
                self._given += 1
                self._keep(self._given - 1, error)
        self.wake()
        self._pool.feeds(self, done=True)

    def _take(self) -> list[Any] | BaseException | None:
        """With `_news`: the results of a chunk that is there; None: not yet."""
        raise NotImplementedError

    def __iter__(self) -> Iterator[Any]:
        return self

    def __next__(self) -> Any:
        return self.next()

    def next(self, timeout: float | None = None) -> Any:
        """The next result.

        Raises:
            StopIteration: there are no more.
            multiprocessing.TimeoutError: it is not there after `timeout` seconds.
            RuntimeError: the pool was terminated before.
            Exception: what the call, or the iterable, raised.
        """
        deadline = None if timeout is None else time.monotonic() + timeout
        while True:
            self.feed()
            with self._news:
                self._take_chunk()
                if self._now:
                    result = self._now.popleft()
                    break
                if self._taken == self._given:
                    if self._exhausted:
                        raise StopIteration
                    if self._pool.ended is not None:
                        raise RuntimeError(self._pool.ended)
                news = threading.Event()
                self._waiting.append(news)
            left = None if deadline is None else deadline - time.monotonic()
            if left is not None and left <= 0:
                raise multiprocessing.TimeoutError
            self._pool.wait_for(news, left)
        if isinstance(result, PoolTaskError):
            raise raised(result.underlying)
        if isinstance(result, BaseException):
            raise raised(result)
        return result

    def _take_chunk(self) -> None:
        # With `_news`.
        found = None if self._now else self._take()
        if found is not None:
            self._taken += 1
            self._now.extend([found] if isinstance(found, BaseException) else found)

    def chunk_ended(self, number: int, results: list[Any] | BaseException) -> None:
        with self._news:
            self._keep(number, results)
        self.wake()

    def _keep(self, number: int, results: list[Any] | BaseException) -> None:
        """With `_news`: the results of a chunk."""
        raise NotImplementedError


class OrderedIMapIterator(IMapIterator):
    """Of `imap`: results in the order of the iterable."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self._there: dict[int, list[Any] | BaseException] = {}
        super().__init__(*args, **kwargs)

    def _keep(self, number: int, results: list[Any] | BaseException) -> None:
        self._there[number] = results

    def _take(self) -> list[Any] | BaseException | None:
        return self._there.pop(self._taken, None)


class UnorderedIMapIterator(IMapIterator):
    """Of `imap_unordered`: results as they come."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self._there: deque[list[Any] | BaseException] = deque()
        super().__init__(*args, **kwargs)

    def _keep(self, _number: int, results: list[Any] | BaseException) -> None:
        self._there.append(results)

    def _take(self) -> list[Any] | BaseException | None:
        return self._there.popleft() if self._there else None
