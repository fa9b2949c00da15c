"""The one exception tree of the package, with the names that Ray's users know.

Place: the ground; public as `cyray.exceptions`, where tracebacks, docs and pickles find the classes.
`from_core` makes them of statuses and failures, `task_error` of what user code raises. Invariant:
importing this module imports next to nothing.
"""

from __future__ import annotations

from cyray._errors.task_error import RayError

CyrayError = RayError


class UserCodeException(RayError):
    """Marks an error of user code that a library wrapped; retries look at its cause."""


class CrossLanguageError(RayError):
    """Raised in another language."""


# --- Waiting and cancelling -------------------------------------------------------------------


class GetTimeoutError(RayError, TimeoutError):
    """`get(timeout=...)` ran out of time."""


class TaskCancelledError(RayError):
    """The task was cancelled; `.task_id` is its hex id when it is known."""

    def __init__(
        self, message: str = "The task was cancelled.", task_id: str | None = None
    ) -> None:
        super().__init__(message)
        self.task_id = task_id


class TaskTimeoutError(RayError, TimeoutError):
    """The task ran for longer than its `timeout_s`; `.task_id` is its hex id."""

    def __init__(
        self, message: str = "The task ran for too long.", task_id: str | None = None
    ) -> None:
        super().__init__(message)
        self.task_id = task_id


# --- Processes and nodes ----------------------------------------------------------------------


class WorkerCrashedError(RayError):
    """The worker process died while it ran the task, and no retry is left."""

    def __init__(
        self,
        message: str = "The worker died unexpectedly while executing this task. Its last output is "
        "in the worker-*.out and worker-*.err files of the session's logs folder.",
    ) -> None:
        super().__init__(message)


class NodeDiedError(RayError):
    """The node that ran the task died; `.node_id` when it is known."""

    def __init__(
        self, message: str = "The node of the task died.", node_id: str | None = None
    ) -> None:
        super().__init__(message)
        self.node_id = node_id


class LocalRayletDiedError(RayError):
    """The raylet of this node is gone; nothing can run here any more."""

    def __init__(
        self,
        message: str = "The raylet of this node died. Its log is raylet.out in the session's "
        "logs folder.",
    ) -> None:
        super().__init__(message)


class RaySystemError(RayError):
    """Something failed in cyray itself, or it has not been started."""


class RpcError(RayError):
    """A call to another process of the cluster failed."""


class AuthenticationError(RayError):
    """The cluster token is missing or wrong."""


class RuntimeEnvSetupError(RayError):
    """The environment of a task or actor could not be built."""


# --- Actors -----------------------------------------------------------------------------------


class RayActorError(RayError):
    """An actor's call failed because of the actor, not of the call.

    `.actor_id` (hex or None), `.class_name`, `.actor_init_failed` (its `__init__` raised; `.cause`
    is that error), `.preempted`.
    """

    base_message = "The actor died unexpectedly before finishing this task."

    def __init__(
        self,
        message: str | None = None,
        actor_id: str | None = None,
        actor_init_failed: bool = False,
        preempted: bool = False,
    ) -> None:
        super().__init__(self.base_message if message is None else message)
        self.actor_id = actor_id
        self.actor_init_failed = actor_init_failed
        self.preempted = preempted
        self.cause: BaseException | None = None
        self.class_name: str | None = None


class ActorDiedError(RayActorError):
    """The actor is dead and stays dead."""

    @classmethod
    def from_init_error(
        cls, error: BaseException, actor_id: str | None = None, class_name: str | None = None
    ) -> ActorDiedError:
        """The death of an actor whose `__init__` raised `error` (a RayTaskError)."""
        text = f"The actor died because of an error raised in its creation task, {error}"
        died = cls(text, actor_id, actor_init_failed=True)
        died.cause = error
        died.class_name = class_name
        return died


class ActorUnavailableError(RayActorError):
    """The actor cannot be reached now; the call may or may not have run."""

    base_message = "The actor is temporarily unavailable: the call may or may not have been run."


class ActorUnschedulableError(RayError):
    """No node can ever run the actor as asked."""


class TaskUnschedulableError(RayError):
    """No node can ever run the task as asked."""


class ActorPlacementGroupRemoved(ActorDiedError):
    """The actor is dead because the placement group that it was in was removed."""


class TaskPlacementGroupRemoved(RayError):
    """The placement group of the task was removed."""


class ActorAlreadyExistsError(ValueError, RayError):
    """An actor of that name exists in the namespace."""


class ActorHandleNotFoundError(ValueError, RayError):
    """The handle belongs to an actor that this session does not know."""


class PendingCallsLimitExceeded(RayError):
    """More calls wait on this handle than `max_pending_calls` allows."""


class AsyncioActorExit(RayError):
    """Internal: how `exit_actor` leaves an async method."""


# --- Objects ----------------------------------------------------------------------------------


class ObjectLostError(RayError):
    """An object's copies are gone; `.object_id` is its hex id."""

    base_message = "All copies of the object are lost."

    def __init__(self, message: str | None = None, object_id: str | None = None) -> None:
        if message is None:
            message = f"Failed to retrieve object {object_id or ''}. {self.base_message}"
        super().__init__(message)
        self.object_id = object_id


class ObjectFetchTimedOutError(ObjectLostError):
    """The object exists somewhere, and could not be fetched in time."""

    base_message = "Fetching it took too long."


class ReferenceCountingAssertionError(ObjectLostError, AssertionError):
    """The object was deleted although somebody refers to it: a bug in cyray."""

    base_message = "It was deleted while it was referred to; this is a bug in cyray."


class ObjectFreedError(ObjectLostError):
    """The object was freed by its user."""

    base_message = "It was freed."


class OwnerDiedError(ObjectLostError):
    """The process that owned the object died, and the object with it."""

    base_message = "Its owner, the process that created the reference, died."


class ObjectReconstructionFailedError(ObjectLostError):
    """The object is lost and cannot be made again; `.reason` says why."""

    base_message = "It cannot be made again."

    def __init__(
        self, message: str | None = None, object_id: str | None = None, reason: str | None = None
    ) -> None:
        super().__init__(message, object_id)
        self.reason = reason


class ObjectStoreFullError(RayError):
    """The object store has no room, and nothing in it can be evicted."""


class OutOfDiskError(RayError):
    """The disk is full."""


class OutOfMemoryError(RayError):
    """The node is out of memory."""


class PlasmaObjectNotAvailable(RayError):
    """Internal: the object is not in this node's store."""


class ObjectRefStreamEndOfStreamError(RayError):
    """Internal: a generator task has no further item."""


class StreamingGeneratorReplayInconsistentError(RaySystemError):
    """A generator task that ran again gave another number of items."""


class OufOfBandObjectRefSerializationException(RayError):
    """A ref was pickled outside of a task's arguments and results while that was forbidden."""


class RayChannelError(RaySystemError):
    """A channel of a compiled graph failed."""


class RayChannelTimeoutError(RayChannelError, TimeoutError):
    """A channel of a compiled graph had nothing in time."""


class RayCgraphCapacityExceeded(RaySystemError):
    """A compiled graph has too many executions or results in flight."""


class RayDirectTransportError(RaySystemError):
    """A tensor transport failed."""


# Names of earlier ages.
RayTimeoutError = GetTimeoutError
RayWorkerError = WorkerCrashedError
RayletError = RaySystemError
RayConnectionError = ConnectionError
RayCancellationError = TaskCancelledError
UnreconstructableError = ObjectReconstructionFailedError

# They are the public module's: that is where tracebacks, docs and pickles find them.
for _class in list(globals().values()):
    if isinstance(_class, type) and _class.__module__ == __name__:
        _class.__module__ = "cyray.exceptions"
