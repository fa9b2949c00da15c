"""A queue that tasks and actors share, with the calls of `queue.Queue` and `asyncio.Queue`.

Place: above the public API; one asynchronous actor holds the items. A `Queue` object is a handle:
it can be passed to tasks and actors. Threading: thread-safe, each call is one actor call.
"""

from __future__ import annotations

import asyncio
import queue as _queue
from collections.abc import Iterable
from typing import Any

import cyray

__all__ = ["Empty", "Full", "Queue"]


class Empty(_queue.Empty):
    """There is nothing in the queue."""


class Full(_queue.Full):
    """There is no room in the queue."""


class Queue:
    """A first-in first-out queue.

    `maxsize`: items it holds at most, 0 for any number. `actor_options`: of the actor behind it.

    Example:
        queue = Queue(maxsize=100)
        queue.put("work")
        queue.get()  # "work"
    """

    def __init__(
        self,
        maxsize: int = 0,
        actor_options: dict[str, Any] | None = None,
        _actor_class: type | None = None,
    ) -> None:
        if isinstance(maxsize, bool) or not isinstance(maxsize, int):
            raise TypeError(f"maxsize must be an int, not {type(maxsize).__name__}.")
        self.maxsize = maxsize
        options = {"num_cpus": 0, "max_concurrency": 10_000, **(actor_options or {})}
        self.actor: Any = (
            cyray.remote(_actor_class or QueueActor).options(**options).remote(maxsize)
        )

    def __len__(self) -> int:
        return self.size()

    def size(self) -> int:
        """How many items it holds."""
        return cyray.get(self._live().qsize.remote())

    def qsize(self) -> int:
        """How many items it holds."""
        return self.size()

    def empty(self) -> bool:
        """Whether it holds none."""
        return cyray.get(self._live().empty.remote())

    def full(self) -> bool:
        """Whether it holds `maxsize` items."""
        return cyray.get(self._live().full.remote())

    def put(self, item: Any, block: bool = True, timeout: float | None = None) -> None:
        """Adds an item. Waits for room, `timeout` seconds at most, then raises Full."""
        _check_timeout(timeout)
        self._check_put(cyray.get(self._live().put.remote(item, timeout if block else 0)))

    async def put_async(self, item: Any, block: bool = True, timeout: float | None = None) -> None:
        """`put` for coroutines."""
        _check_timeout(timeout)
        self._check_put(await self._live().put.remote(item, timeout if block else 0))

    def get(self, block: bool = True, timeout: float | None = None) -> Any:
        """Takes the oldest item. Waits for one, `timeout` seconds at most, then raises Empty."""
        _check_timeout(timeout)
        return self._check_got(cyray.get(self._live().get.remote(timeout if block else 0)))

    async def get_async(self, block: bool = True, timeout: float | None = None) -> Any:
        """`get` for coroutines."""
        _check_timeout(timeout)
        return self._check_got(await self._live().get.remote(timeout if block else 0))

    def put_nowait(self, item: Any) -> None:
        """`put(item, block=False)`."""
        self.put(item, block=False)

    def get_nowait(self) -> Any:
        """`get(block=False)`."""
        return self.get(block=False)

    def put_nowait_batch(self, items: Iterable[Any]) -> None:
        """Adds all items or, when there is no room for all, none; then raises Full."""
        if not isinstance(items, Iterable):
            raise TypeError("Argument 'items' must be an Iterable")
        items = list(items)
        if not cyray.get(self._live().put_batch.remote(items)):
            raise Full(f"Cannot add {len(items)} items to a queue of maxsize {self.maxsize}.")

    def get_nowait_batch(self, num_items: int) -> list[Any]:
        """Takes `num_items` items or, when there are fewer, none; then raises Empty."""
        if not isinstance(num_items, int):
            raise TypeError("Argument 'num_items' must be an int")
        if num_items < 0:
            raise ValueError("'num_items' must be nonnegative")
        taken = cyray.get(self._live().get_batch.remote(num_items))
        if taken is None:
            raise Empty(f"Cannot get {num_items} items from a queue that has fewer.")
        return taken

    def shutdown(self, force: bool = False, grace_period_s: float = 5) -> None:
        """Ends the actor: after what it does now, or at once with `force`. This object is of no use then."""
        if self.actor is None:
            return
        actor, self.actor = self.actor, None
        if not force:
            done = actor.__ray_terminate__.remote()
            cyray.wait([done], timeout=grace_period_s)
        cyray.kill(actor, no_restart=True)

    def _live(self) -> Any:
        if self.actor is None:
            raise RuntimeError("This queue was shut down.")
        return self.actor

    @staticmethod
    def _check_put(added: bool) -> None:
        if not added:
            raise Full

    @staticmethod
    def _check_got(answer: tuple[Any, ...]) -> Any:
        if not answer:
            raise Empty
        return answer[0]


def _check_timeout(timeout: float | None) -> None:
    if timeout is None:
        return
    if not isinstance(timeout, (int, float)):
        raise TypeError(f"'timeout' must be None or a number, not {type(timeout).__name__}")
    if not timeout >= 0:
        raise ValueError("'timeout' must be a non-negative number")


class QueueActor:
    """Holds the items. "No" is an answer, not an exception: those cost a traceback each."""

    def __init__(self, maxsize: int) -> None:
        self.maxsize = maxsize
        self.queue: asyncio.Queue[Any] = asyncio.Queue(maxsize)

    async def qsize(self) -> int:
        return self.queue.qsize()

    async def empty(self) -> bool:
        return self.queue.empty()

    async def full(self) -> bool:
        return self.queue.full()

    async def put(self, item: Any, timeout: float | None) -> bool:
        if not self.queue.full():
            self.queue.put_nowait(item)
            return True
        if timeout == 0:
            return False
        try:
            await asyncio.wait_for(self.queue.put(item), timeout)
        except asyncio.TimeoutError:
            return False
        return True

    async def get(self, timeout: float | None) -> tuple[Any, ...]:
        if not self.queue.empty():
            return (self.queue.get_nowait(),)
        if timeout == 0:
            return ()
        try:
            return (await asyncio.wait_for(self.queue.get(), timeout),)
        except asyncio.TimeoutError:
            return ()

    async def put_batch(self, items: list[Any]) -> bool:
        if self.maxsize > 0 and self.queue.qsize() + len(items) > self.maxsize:
            return False
        for item in items:
            self.queue.put_nowait(item)
        return True

    async def get_batch(self, num_items: int) -> list[Any] | None:
        if self.queue.qsize() < num_items:
            return None
        return [self.queue.get_nowait() for _ in range(num_items)]
