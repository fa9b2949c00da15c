"""The event loops of an async actor.

Threading: the main thread runs the one of the default group, and calls of `async def` methods on it. Each
concurrency group has another one on a thread of its own, and a thread that takes calls to it.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Callable
from typing import Any

from cyray import _raylet
from cyray._process import me


class AsyncLoop:
    """The event loop of an async actor; it also polls the core's sockets."""

    def __init__(self, limit: int) -> None:
        import asyncio

        self._limit = limit
        self.loop = asyncio.new_event_loop()
        asyncio.set_event_loop(self.loop)
        self._wake = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._exit: BaseException | None = None
        self._on_event: Callable[..., None] | None = None

    def run_first(self, function: Callable[[], Any]) -> Any:
        """What `function` returns or raises; on the loop, which serves no calls yet."""

        async def inside() -> tuple[Any, BaseException | None]:
            try:
                return function(), None
            except BaseException as error:  # a loop treats some of them in its own way
                return None, error

        value, error = self.loop.run_until_complete(inside())
        if error is not None:
            raise error
        return value

    def run(self, on_event: Callable[..., None]) -> None:
        """Serve calls until the process has to leave."""
        self._on_event = on_event
        _raylet.use_external_loop(self._wake)
        _raylet.use_loop(self.loop, functools.partial(self.loop.call_soon, self._poll))
        self.loop.add_reader(_raylet.poll_fd(), self._poll)
        self.loop.add_reader(self._wake, self._woken)
        self.loop.call_soon(self._poll)
        self.loop.run_forever()
        end, self._exit = self._exit or SystemExit(me.exit_code), None
        try:
            raise end
        finally:
            del end  # its traceback holds the actor, whose finaliser is to run

    def _woken(self) -> None:
        os.eventfd_read(self._wake)
        self._poll()

    def _poll(self) -> None:
        _raylet.turn_ended()
        assert self._on_event is not None  # since `run`
        try:
            _raylet.poll_async(self._on_event, self._limit)
        except BaseException as error:  # asyncio would log it, and the calls would wait
            self._exit = error
            self.loop.stop()


def start_group_loop(group: int, name: str) -> None:
    """The loop of that concurrency group runs from now on, and takes calls."""
    import asyncio
    import threading

    loop = asyncio.new_event_loop()

    def run() -> None:
        asyncio.set_event_loop(loop)
        loop.run_forever()

    threading.Thread(target=run, name=f"cyray-{name}", daemon=True).start()
    threading.Thread(
        target=_raylet.feed_loop, args=(loop, group), name=f"cyray-{name}-feed", daemon=True
    ).start()
