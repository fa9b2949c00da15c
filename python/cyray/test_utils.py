"""Helpers for tests of programs: actors to wait on, and waiting for a condition.

Place: above the public API. The actors are asynchronous: any number of tasks can wait on one.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any

import cyray

__all__ = ["Semaphore", "SignalActor", "wait_for_condition"]


@cyray.remote(num_cpus=0)
class SignalActor:
    """Tasks `wait` until somebody sends the signal."""

    def __init__(self) -> None:
        self.ready_event = asyncio.Event()
        self.num_waiters = 0

    def send(self, clear: bool = False) -> None:
        """Lets all waiters go; `clear` makes later ones wait again."""
        self.ready_event.set()
        if clear:
            self.ready_event.clear()

    async def wait(self, should_wait: bool = True) -> None:
        """Returns once the signal was sent; at once when `should_wait` is false."""
        if should_wait:
            self.num_waiters += 1
            try:
                await self.ready_event.wait()
            finally:
                self.num_waiters -= 1

    async def cur_num_waiters(self) -> int:
        """How many wait now."""
        return self.num_waiters


@cyray.remote(num_cpus=0)
class Semaphore:
    """A counting semaphore that tasks share."""

    def __init__(self, value: int = 1) -> None:
        self._sema = asyncio.Semaphore(value=value)

    async def acquire(self) -> bool:
        """Waits for a unit and takes it."""
        return await self._sema.acquire()

    async def release(self) -> None:
        """Gives a unit back."""
        self._sema.release()

    async def locked(self) -> bool:
        """Whether no unit is left."""
        return self._sema.locked()


def wait_for_condition(
    condition_predictor: Callable[..., Any],
    timeout: float = 10,
    retry_interval_ms: float = 100,
    raise_exceptions: bool = False,
    **kwargs: Any,
) -> None:
    """Waits until `condition_predictor(**kwargs)` is true.

    Raises RuntimeError after `timeout` seconds, naming the last exception of the condition.
    """
    deadline = time.monotonic() + timeout
    last_error: Exception | None = None
    while True:
        try:
            if condition_predictor(**kwargs):
                return
        except Exception as error:
            if raise_exceptions:
                raise
            last_error = error
        if time.monotonic() > deadline:
            message = "The condition wasn't met before the timeout expired."
            if last_error is not None:
                message += f" Last exception: {last_error!r}"
            raise RuntimeError(message) from last_error
        time.sleep(retry_interval_ms / 1000)
