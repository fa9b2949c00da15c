"""Cancelling tasks and calls.

Place: on the driver's session and the core.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from cyray import _raylet
from cyray._driver.init import auto_init

if TYPE_CHECKING:
    from cyray._raylet import ObjectRef, ObjectRefGenerator


def cancel(
    ray_waitable: ObjectRef | ObjectRefGenerator, *, force: bool = False, recursive: bool = True
) -> None:
    """Have the task or call that makes the ref not begin, or end; `get` raises `TaskCancelledError` then.

    One that waits never runs. A task that runs gets a `KeyboardInterrupt`, a call of an async actor
    an `asyncio.CancelledError`; a call of another actor goes on, and can ask
    `get_runtime_context().is_canceled()`. What catches that and returns has its result. Nothing that was
    cancelled runs again, whatever its retries; what is over stays as it is.

    Args:
        ray_waitable: a ref of what the task or call returns, or its generator.
        force: end the process that runs the task, with all that runs in it: `get` raises
            `WorkerCrashedError`. Not for calls of actors.
        recursive: cancel what the task or call has submitted, too.

    Raises:
        TypeError: it is no ref; an actor is ended by `cyray.kill`.
        ValueError: `force` for a call of an actor; where another process made the call, it is ignored.
    """
    ref: Any = ray_waitable
    if isinstance(ref, _raylet.ObjectRefGenerator):
        ref = ref.completed()
    if not isinstance(ref, _raylet.ObjectRef):
        hint = " For actors there is cyray.kill()." if isinstance(ref, _raylet.ActorHandle) else ""
        raise TypeError(f"cyray.cancel() takes an ObjectRef, not {type(ref)}.{hint}")
    if not (isinstance(force, bool) and isinstance(recursive, bool)):
        name, value = ("recursive", recursive) if isinstance(force, bool) else ("force", force)
        raise TypeError(f"{name} of cyray.cancel() is True or False, not {value!r}")
    auto_init()
    _raylet.cancel(ref, force, recursive)
