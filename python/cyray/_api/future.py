"""The `concurrent.futures.Future` that `ref.future()` gives.

Place: made by `ObjectRef.future`, which completes it from the thread that takes events. Threading: as
its base class. A task that waits for it waits as in `get`: others use its CPU meanwhile.
"""

from __future__ import annotations

from concurrent.futures import Future
from typing import Any

from cyray import _raylet


class RefFuture(Future[Any]):
    """The value of a ref, once it is there."""

    def __init__(self, ref: Any) -> None:
        super().__init__()
        self._ref = (
            ref  # until it is done: whoever keeps the future keeps the value, not the object
        )
        self.token: int | None = None  # of the callback that completes this

    def cancel(self) -> bool:
        """Cancels it; the task goes on. Nothing waits for the object any more."""
        if not super().cancel():
            return False
        ref, self._ref = self._ref, None
        if ref is not None and self.token is not None:
            _raylet.forget_callback(ref, self.token)
        return True

    def complete(self) -> None:
        """The object is here, or its session over."""
        ref = self._ref
        if not self.set_running_or_notify_cancel():
            return
        self._ref = None
        try:
            value = _raylet.get(ref)
        except BaseException as error:  # everything goes to whoever asks
            ref = None  # the error keeps this frame
            self.set_exception(error)
        else:
            self.set_result(value)

    def result(self, timeout: float | None = None) -> Any:
        """The value; raises what the task raised, or TimeoutError."""
        return super().result(self._wait(timeout))

    def exception(self, timeout: float | None = None) -> BaseException | None:
        """What the task raised, or None; raises TimeoutError."""
        return super().exception(self._wait(timeout))

    def _wait(self, timeout: float | None) -> float | None:
        # How long is left to wait for whoever completes this.
        ref = self._ref
        if ref is None or _raylet.current_task() is None:
            return timeout
        ready, _ = _raylet.wait([ref], timeout=timeout)
        return None if ready else 0
