"""Tasks that are `async def`: each runs on an event loop of its own.

Place: reached from `_raylet` through `_hooks`. Threading: on the thread that runs the task. Calls of async
actors are not run here: these share a loop.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any


def run(made: Any) -> Any:
    """The result of a coroutine; of an async generator an iterator over what it yields."""
    if hasattr(made, "__aiter__"):
        return _items(made)
    if not asyncio.iscoroutine(made):  # a decorator runs it by itself
        return made
    return asyncio.run(made)


def _items(made: Any) -> Iterator[Any]:
    loop = asyncio.new_event_loop()
    try:
        iterator = aiter(made)
        while True:
            try:
                item = loop.run_until_complete(_next(iterator))
            except StopAsyncIteration:
                return
            yield item
    finally:
        loop.run_until_complete(_cancel(asyncio.all_tasks(loop)))
        loop.run_until_complete(loop.shutdown_asyncgens())
        loop.run_until_complete(loop.shutdown_default_executor())
        loop.close()


async def _next(iterator: Any) -> Any:
    return await anext(iterator)


async def _cancel(tasks: set[asyncio.Task[Any]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
