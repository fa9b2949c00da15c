"""A pool of actors that share a list of work.

Place: above the public API. Threading: a pool is used by one thread. Invariants: an actor is either
idle or has exactly one call in flight; results by `get_next` come in the order of submission.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeVar

import cyray
from cyray.exceptions import RayActorError, RayTaskError

V = TypeVar("V")


class ActorPool:
    """Runs work on whichever of its actors is idle.

    Example:
        pool = ActorPool([Worker.remote(), Worker.remote()])
        list(pool.map(lambda actor, value: actor.double.remote(value), [1, 2, 3]))  # [2, 4, 6]
    """

    def __init__(self, actors: Iterable[Any]) -> None:
        self._idle: list[Any] = list(actors)
        self._in_flight: dict[Any, tuple[int, Any]] = {}  # ref -> (index, actor)
        self._by_index: dict[int, Any] = {}  # index -> ref, until it was returned
        self._next_submitted = 0
        self._next_returned = 0
        self._waiting: list[tuple[Callable[[Any, Any], Any], Any]] = []

    def map(self, fn: Callable[[Any, V], Any], values: Iterable[V]) -> Iterator[Any]:
        """Applies `fn(actor, value)` (which returns a ref) to all values; results in order."""
        self._forget_results()
        for value in values:
            self.submit(fn, value)

        def results() -> Iterator[Any]:
            while self.has_next():
                yield self.get_next()

        return results()

    def map_unordered(self, fn: Callable[[Any, V], Any], values: Iterable[V]) -> Iterator[Any]:
        """Like `map`, with results as they come."""
        self._forget_results()
        for value in values:
            self.submit(fn, value)

        def results() -> Iterator[Any]:
            while self.has_next():
                yield self.get_next_unordered()

        return results()

    def submit(self, fn: Callable[[Any, V], Any], value: V) -> None:
        """Runs `fn(actor, value)` on an idle actor, or as soon as there is one."""
        if not self._idle:
            self._waiting.append((fn, value))
            return
        actor = self._idle.pop()
        ref = fn(actor, value)
        self._in_flight[ref] = (self._next_submitted, actor)
        self._by_index[self._next_submitted] = ref
        self._next_submitted += 1

    def has_next(self) -> bool:
        """Whether there are results that were not returned."""
        return bool(self._by_index)

    def get_next(self, timeout: float | None = None, ignore_if_timedout: bool = False) -> Any:
        """The next result in order of submission.

        Raises StopIteration when there is none, TimeoutError after `timeout` seconds;
        `ignore_if_timedout` drops a result that is late instead of keeping it for later.
        """
        if not self.has_next():
            raise StopIteration("No more results to get")
        if self._next_returned not in self._by_index:
            raise ValueError("It is not allowed to call get_next() after get_next_unordered().")
        ref = self._by_index[self._next_returned]
        if timeout is not None and not cyray.wait([ref], timeout=timeout)[0]:
            if not ignore_if_timedout:
                raise TimeoutError("Timed out waiting for result")
            self._drop_late(ref)
            raise TimeoutError(f"Timed out waiting for result; it is dropped: {ref}")
        self._by_index.pop(self._next_returned)
        self._next_returned += 1
        return self._finish(ref)

    def get_next_unordered(
        self, timeout: float | None = None, ignore_if_timedout: bool = False
    ) -> Any:
        """Any result that is there; raises like `get_next`."""
        if not self.has_next():
            raise StopIteration("No more results to get")
        ready, _ = cyray.wait(list(self._in_flight), num_returns=1, timeout=timeout)
        if not ready:
            if ignore_if_timedout:
                self._drop_late(next(iter(self._in_flight)))
            raise TimeoutError("Timed out waiting for result")
        ref = ready[0]
        index = self._in_flight[ref][0]
        self._by_index.pop(index)
        self._next_returned = max(self._next_returned, index + 1)
        return self._finish(ref)

    def has_free(self) -> bool:
        """Whether an actor is idle and no work waits."""
        return bool(self._idle) and not self._waiting

    def pop_idle(self) -> Any | None:
        """Takes an idle actor out of the pool; None when all are busy."""
        return self._idle.pop() if self.has_free() else None

    def push(self, actor: Any) -> None:
        """Adds an actor; ValueError when it is in the pool already."""
        busy = [busy_actor for _, busy_actor in self._in_flight.values()]
        if actor in self._idle or actor in busy:
            raise ValueError("Actor already belongs to current ActorPool")
        self._return_actor(actor)

    def _finish(self, ref: Any) -> Any:
        _, actor = self._in_flight.pop(ref)
        try:
            result = cyray.get(ref)
        except RayActorError as error:
            # A dead actor gets no more work. Its task's own errors are RayTaskErrors.
            if isinstance(error, RayTaskError):
                self._return_actor(actor)
            raise
        except BaseException:
            self._return_actor(actor)
            raise
        self._return_actor(actor)
        return result

    def _drop_late(self, ref: Any) -> None:
        index, actor = self._in_flight.pop(ref)
        self._by_index.pop(index)
        self._next_returned = max(self._next_returned, index + 1)
        self._return_actor(actor)

    def _return_actor(self, actor: Any) -> None:
        self._idle.append(actor)
        if self._waiting:
            self.submit(*self._waiting.pop(0))

    def _forget_results(self) -> None:
        # Results that nobody took must not mix with the new ones.
        while self.has_next():
            try:
                self.get_next_unordered()
            except Exception:
                continue
