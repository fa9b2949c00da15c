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
        self._ref = ref
        self.token: int | None = None  # of the callback that completes this

    def cancel(self) -> bool:
        """Cancels it; the task goes on. Nothing waits for the object any more."""
        if not super().cancel():
            return False
        if self.token is not None:
            _raylet.forget_callback(self._ref, self.token)
        return True

    def complete(self) -> None:
        """The object is here, or its session over."""
        if not self.set_running_or_notify_cancel():
            return
        try:
            value = _raylet.get(self._ref)
        except BaseException as error:  # everything goes to whoever asks
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
        if self.done() or _raylet.current_task() is None:
            return timeout
        ready, _ = _raylet.wait([self._ref], timeout=timeout)
        return None if ready else 0
