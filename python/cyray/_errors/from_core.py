"""From the core's codes to exceptions: statuses, and failures that stand in for a task's result.

Place: the ground; reached from `_raylet` through `_hooks`.
"""

from __future__ import annotations

from typing import NoReturn

from cyray._errors.classes import (
    ActorAlreadyExistsError,
    ActorDiedError,
    ActorPlacementGroupRemoved,
    ActorUnavailableError,
    ActorUnschedulableError,
    AuthenticationError,
    GetTimeoutError,
    LocalRayletDiedError,
    ObjectFreedError,
    ObjectLostError,
    ObjectStoreFullError,
    OutOfMemoryError,
    OwnerDiedError,
    RayActorError,
    RayError,
    RaySystemError,
    TaskCancelledError,
    TaskPlacementGroupRemoved,
    TaskTimeoutError,
    TaskUnschedulableError,
    WorkerCrashedError,
)
from cyray._errors.task_error import RayTaskError

# The numbers of cyray::StatusCode (cpp/cyray/util/status.h), in order.
STATUS_CLASSES: tuple[type[Exception] | None, ...] = (
    None,  # ok
    ValueError,  # invalid argument
    ValueError,  # not found
    ActorAlreadyExistsError,
    GetTimeoutError,
    LocalRayletDiedError,  # disconnected
    RaySystemError,  # protocol error
    AuthenticationError,
    ObjectStoreFullError,
    OutOfMemoryError,
    TaskCancelledError,
    RaySystemError,  # unavailable
    RaySystemError,  # I/O error
    RaySystemError,  # internal
)
# What ErrorKind (cpp/cyray/common/encoding.h) stands for, by name.
FAILURE_CLASSES: dict[str, type[RayError]] = {
    "worker_crashed": WorkerCrashedError,
    "actor_died": ActorDiedError,
    "actor_unavailable": ActorUnavailableError,
    "object_lost": ObjectLostError,
    "owner_died": OwnerDiedError,
    "object_store_full": ObjectStoreFullError,
    "unschedulable": TaskUnschedulableError,
    "raylet_died": LocalRayletDiedError,
    "internal": RaySystemError,
    "task_cancelled": TaskCancelledError,
    "task_timeout": TaskTimeoutError,
    "task_placement_group_removed": TaskPlacementGroupRemoved,
    "actor_placement_group_removed": ActorPlacementGroupRemoved,
    "object_freed": ObjectFreedError,
}


def raise_error(value: object) -> NoReturn:
    """Raises what an error object holds."""
    if isinstance(value, RayTaskError):
        raise value.as_instanceof_cause()
    if isinstance(value, BaseException):
        raise value
    raise RaySystemError(f"an object holds a broken error: {value!r}")


def get_timeout(size: int, missing: int, timeout: float, story: str) -> GetTimeoutError:
    """What `get` raises when the time is over; `story`: a line for each object that it waited for."""
    return GetTimeoutError(
        f"Get timed out: {missing} of {size} object(s) not ready after {timeout} s.\n{story}".rstrip()
    )


def from_dependency(error: object, name: str) -> object:
    """The error of a task that never ran because one of its arguments is `error`."""
    if isinstance(error, RayTaskError):
        return RayTaskError.from_dependency(error, name)
    return error


def of_status(code: int, message: str) -> Exception:
    """The exception for a status of the core library; `code` is a `cyray::StatusCode`."""
    cls = STATUS_CLASSES[code] if 0 <= code < len(STATUS_CLASSES) else None
    return RaySystemError(message or f"Unknown status {code}.") if cls is None else cls(message)


def system_error(kind: str, message: str, actor_id: str | None = None) -> RayError:
    """The exception that stands for a task's failure or an object's loss.

    `kind` as in the table above. An empty message stands for the class's own. `actor_id` (hex): the
    actor whose call or creation failed.
    """
    cls = FAILURE_CLASSES.get(kind)
    if cls is None:
        return RaySystemError(message or f"Unknown failure {kind!r}.")
    if issubclass(cls, RayActorError):
        return _actor_error(cls, message, actor_id)
    if cls in (TaskCancelledError, TaskTimeoutError):
        return _of_task(cls, message)
    if cls is TaskUnschedulableError and actor_id:
        cls = ActorUnschedulableError
    return cls(message) if message else cls()


def _of_task(cls: type[RayError], message: str) -> RayError:
    fact, _, text = message.partition("\n")
    if not fact.startswith("\ttask_id: "):
        return cls(message)
    error = cls(text)
    error.task_id = fact.partition(": ")[2]  # type: ignore[attr-defined]
    return error


def _actor_error(cls: type[RayActorError], message: str, actor_id: str | None) -> RayActorError:
    # What is known of the actor stands before the text, each on a line of its own that begins with a
    # tab (core/actor_submitter.cc).
    text = message.split("\n") if message else []
    facts = []
    while text and text[0].startswith("\t"):
        facts.append(text.pop(0))
    named = [line for line in facts if line.startswith("\tclass_name: ")]
    if actor_id:
        facts.insert(0, f"\tactor_id: {actor_id}")
    # Why it is dead says more than that it is; the usual sentence is for deaths of which nothing is known.
    first = [text.pop(0)] if text and issubclass(cls, ActorDiedError) else [cls.base_message]
    error = cls("\n".join([*first, *facts, *text]), actor_id)
    error.class_name = named[0].partition(": ")[2] if named else None
    return error


def pending_calls_limit(method: str, class_name: str, most: int) -> BaseException:
    """For a call that would be one too many: `max_pending_calls` of this process are not answered."""
    from cyray._errors.classes import PendingCallsLimitExceeded

    return PendingCallsLimitExceeded(
        f"{class_name}.{method}.remote(): {most} calls of this process to the actor have not been answered, as "
        f"many as max_pending_calls={most} allows. Get some of their results first."
    )
