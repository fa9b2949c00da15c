"""What an exception of user code means to a worker: the end of a task, or of the process.

Place: reached from `_raylet` through `_hooks`, on the thread that ran the task. Invariant: none of these
raises, whatever the user's exception does.
"""

from __future__ import annotations

import os
import sys
from typing import Any, NamedTuple

from cyray import _raylet
from cyray._errors.read_only import is_write_refused
from cyray._process import ActorExit


class End(NamedTuple):
    """The end of this process by its own doing."""

    reason: str
    intended: bool  # False: it is as a crash, after which actors are restarted and tasks retried


def leaves(error: BaseException) -> End | None:
    """Whether this process has to end after `error`; None when only the task failed."""
    if isinstance(error, ActorExit):
        return End("exit_actor() is called", True)
    if isinstance(error, SystemExit):
        intended = error.code is None or (type(error.code) is int and error.code == 0)
        try:
            return End(f"sys.exit({error.code!r}) is called", intended)
        except Exception:  # a repr may do anything
            return End("sys.exit() is called", intended)
    return None


def gives_up(error: BaseException) -> bool:
    """Whether a task that was cancelled raised `error` for that."""
    from cyray._errors.classes import TaskCancelledError

    asyncio = sys.modules.get("asyncio")
    return isinstance(error, (KeyboardInterrupt, TaskCancelledError)) or (
        asyncio is not None and isinstance(error, asyncio.CancelledError)
    )


def task_error(error: BaseException, name: str, instance: Any) -> BaseException:
    """What the caller gets for an exception of user code."""
    from cyray._errors.task_error import RayTaskError

    if is_write_refused(error):  # an argument that was not its own
        error = _explain_read_only(error)
    actor_id, actor_repr = _raylet.current_actor_id(), None
    if instance is not None and type(instance).__repr__ is not object.__repr__:
        try:
            actor_repr = repr(instance)
        except Exception:  # a repr may do anything
            actor_repr = None
    return RayTaskError.from_exception(
        error,
        name,
        os.getpid(),
        _raylet.identity()["node_ip"],
        actor_repr,
        actor_id.hex() if actor_id else None,
    )


def _explain_read_only(error: BaseException) -> BaseException:
    how = "name it in remote(fn, inout=...)"
    if _raylet.current_actor_id():  # methods have no inout
        how = "copy it"
    hint = (
        f"{error.args[0]} (arguments are read-only: to write into one, {how}, or pass its ref in a list and "
        "fetch it there with cyray.get(ref, writable=True))"
    )
    explained = ValueError(hint).with_traceback(error.__traceback__)
    explained.__cause__ = error.__cause__
    return explained


def dependency_error(error: Any, name: str) -> BaseException:
    """The error of a task one of whose arguments failed."""
    from cyray._errors.classes import RaySystemError
    from cyray._errors.task_error import RayTaskError

    if isinstance(error, BaseException):
        return RayTaskError.from_dependency(error, name)
    return RaySystemError(f"an argument of {name} holds a broken error: {error!r}")


def plain_error(error: BaseException, name: str) -> BaseException:
    """For an error that could not even be serialized."""
    from cyray._errors.classes import RaySystemError

    return RaySystemError(f"The error of {name} could not be serialized: {error!r}")
