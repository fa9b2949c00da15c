"""`JoinableQueue`: a queue that knows when all that was put into it is done."""

from __future__ import annotations

from typing import Any

import cyray
from cyray.util.queue import Queue, QueueActor


class JoinableQueue(Queue):
    """A `Queue` whose consumers say `task_done()` for each item, and on which `join()` waits for that.

    Example:
        queue = JoinableQueue()
        queue.put("work")
        queue.get(); queue.task_done()
        queue.join()
    """

    def __init__(self, maxsize: int = 0, actor_options: dict[str, Any] | None = None) -> None:
        super().__init__(maxsize, actor_options, _JoinableQueueActor)

    def task_done(self) -> None:
        """One item that was taken is done. ValueError when more are done than were put."""
        cyray.get(self._live().task_done.remote())

    def join(self) -> None:
        """Wait until every item that was put is done."""
        cyray.get(self._live().join.remote())


class _JoinableQueueActor(QueueActor):
    async def task_done(self) -> None:
        self.queue.task_done()

    async def join(self) -> None:
        await self.queue.join()
