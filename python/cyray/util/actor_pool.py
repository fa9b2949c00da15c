"""A pool of actors that share a list of work.

Place: above the public API. Threading: a pool is used by one thread. Invariants: each piece of work has
a number, by the order of its submission, and is in exactly one of: waiting, in flight, failed to start,
given back; an actor is idle or has one piece in flight that somebody will ask for; results by `get_next`
come in the order of the numbers; nothing that was submitted goes without a result or an error.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeVar

import cyray
from cyray.exceptions import ActorUnavailableError, RayActorError, RayTaskError

V = TypeVar("V")


class ActorPool:
    """Runs work on whichever of its actors is idle.

    Example:
        pool = ActorPool([Worker.remote(), Worker.remote()])
        list(pool.map(lambda actor, value: actor.double.remote(value), [1, 2, 3]))  # [2, 4, 6]
    """

    def __init__(self, actors: Iterable[Any]) -> None:
        self._idle: list[Any] = list(actors)
        # By number: work that waits for an actor; what runs (what `fn` returned, and the actor);
        # why a piece could not be started.
        self._waiting: deque[tuple[int, Callable[[Any, Any], Any], Any]] = deque()
        self._in_flight: dict[int, tuple[Any, Any]] = {}
        self._failed: dict[int, Exception] = {}
        self._next_submitted = 0
        self._next_returned = 0

    def map(self, fn: Callable[[Any, V], Any], values: Iterable[V]) -> Iterator[Any]:
        """Applies `fn(actor, value)` (which returns a ref) to all values; results in order.

        Results of earlier work that nobody has taken are dropped.
        """
        return self._submit_all(fn, values, self.get_next)

    def map_unordered(self, fn: Callable[[Any, V], Any], values: Iterable[V]) -> Iterator[Any]:
        """Like `map`, with results as they come."""
        return self._submit_all(fn, values, self.get_next_unordered)

    def _submit_all(
        self, fn: Callable[[Any, V], Any], values: Iterable[V], get_next: Callable[[], Any]
    ) -> Iterator[Any]:
        self._forget_results()
        for value in values:
            self.submit(fn, value)

        def results() -> Iterator[Any]:
            while self.has_next():
                yield get_next()

        return results()

    def submit(self, fn: Callable[[Any, V], Any], value: V) -> None:
        """Runs `fn(actor, value)` on an idle actor, or as soon as there is one."""
        if self._idle:
            actor = self._idle.pop()
            try:
                self._in_flight[self._next_submitted] = (fn(actor, value), actor)
            except BaseException:
                self._idle.append(actor)
                raise
        else:
            self._waiting.append((self._next_submitted, fn, value))
        self._next_submitted += 1

    def has_next(self) -> bool:
        """Whether there are results that were not returned."""
        return bool(self._in_flight or self._waiting or self._failed)

    def get_next(self, timeout: float | None = None, ignore_if_timedout: bool = False) -> Any:
        """The next result in order of submission.

        Raises StopIteration when there is none, TimeoutError after `timeout` seconds;
        `ignore_if_timedout` drops a result that is late instead of keeping it for later. What the work
        raised is raised; RayActorError also when no actor is left to do it.
        """
        self._check_next()
        number = self._next_returned
        if number not in self._in_flight and not self._take_unstarted(number):
            raise ValueError("It is not allowed to call get_next() after get_next_unordered().")
        if not self._is_ready([number], timeout):
            if not ignore_if_timedout:
                raise TimeoutError("Timed out waiting for result")
            ref = self._drop(number)
            raise TimeoutError(f"Timed out waiting for result; it is dropped: {ref}")
        return self._finish(number)

    def get_next_unordered(
        self, timeout: float | None = None, ignore_if_timedout: bool = False
    ) -> Any:
        """Any result that is there; raises like `get_next`."""
        self._check_next()
        if self._failed:
            self._take_unstarted(next(iter(self._failed)))
        if not self._in_flight:
            self._take_unstarted(self._waiting[0][0])
        ready = self._is_ready(list(self._in_flight), timeout)
        if not ready:
            if ignore_if_timedout:
                self._drop(next(iter(self._in_flight)))
            raise TimeoutError("Timed out waiting for result")
        return self._finish(ready[0])

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

    def _check_next(self) -> None:
        if not self.has_next():
            raise StopIteration("No more results to get")

    def _take_unstarted(self, number: int) -> bool:
        """Raises the outcome of work that will never run: its number failed to start, or no actor is
        left. False when the number is of no such work."""
        error = self._failed.pop(number, None)
        if (
            error is None
            and not self._in_flight
            and self._waiting
            and self._waiting[0][0] == number
        ):
            self._waiting.popleft()
            error = RayActorError(
                "The pool has no actor left to do this work: those that it had died. push() adds one."
            )
        if error is None:
            return False
        self._next_returned = max(self._next_returned, number + 1)
        raise error

    def _is_ready(self, numbers: list[int], timeout: float | None) -> list[int]:
        """Those of the numbers whose results are there: the first one, or none in time."""
        by_ref = {}
        for number in numbers:
            refs = self._in_flight[number][0]
            ref = refs[0] if isinstance(refs, list) and refs else refs  # all come at once
            if not isinstance(ref, cyray.ObjectRef):
                return [number]  # a method without a result
            by_ref[ref] = number
        if timeout is None and len(numbers) == 1:
            return numbers  # get() waits as well
        ready, _ = cyray.wait(list(by_ref), num_returns=1, timeout=timeout)
        return [by_ref[ref] for ref in ready]

    def _finish(self, number: int) -> Any:
        refs, actor = self._in_flight.pop(number)
        self._next_returned = max(self._next_returned, number + 1)
        lives = True
        try:
            return None if refs is None else cyray.get(refs)
        except RayActorError as error:
            # A dead actor gets no more work. Errors of its work are RayTaskErrors.
            lives = isinstance(error, (RayTaskError, ActorUnavailableError))
            raise
        finally:
            if lives:
                self._return_actor(actor)

    def _drop(self, number: int) -> Any:
        refs, actor = self._in_flight.pop(number)
        self._next_returned = max(self._next_returned, number + 1)
        self._return_actor(actor)
        return refs

    def _return_actor(self, actor: Any) -> None:
        self._idle.append(actor)
        while self._waiting and self._idle:
            number, fn, value = self._waiting.popleft()
            actor = self._idle.pop()
            try:
                self._in_flight[number] = (fn(actor, value), actor)
            except Exception as error:  # it is the outcome of that work, not of the one just done
                self._failed[number] = error
                self._idle.append(actor)

    def _forget_results(self) -> None:
        # Results that nobody took must not mix with the new ones. What waits is done all the same:
        # each actor that is given back takes of it.
        while self._in_flight:
            self._drop(next(iter(self._in_flight)))
        self._failed.clear()
        self._next_returned = self._waiting[0][0] if self._waiting else self._next_submitted
