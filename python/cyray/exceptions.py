"""Every exception that cyray raises, under one root, with the names that Ray's users know.

An error raised by user code travels as a `RayTaskError`, and `get` raises it as
`RayTaskError(KeyError)`: a subclass of both.
"""

# ruff: noqa: F403, F405 - the list says which names; a test compares it with the classes

from cyray._errors.classes import *
from cyray._errors.task_error import RayTaskError, UnserializableException

__all__ = [
    "ActorAlreadyExistsError",
    "ActorDiedError",
    "ActorHandleNotFoundError",
    "ActorPlacementGroupRemoved",
    "ActorUnavailableError",
    "ActorUnschedulableError",
    "AsyncioActorExit",
    "AuthenticationError",
    "CrossLanguageError",
    "CyrayError",
    "GetTimeoutError",
    "LocalRayletDiedError",
    "NodeDiedError",
    "ObjectFetchTimedOutError",
    "ObjectFreedError",
    "ObjectLostError",
    "ObjectReconstructionFailedError",
    "ObjectRefStreamEndOfStreamError",
    "ObjectStoreFullError",
    "OufOfBandObjectRefSerializationException",
    "OutOfDiskError",
    "OutOfMemoryError",
    "OwnerDiedError",
    "PendingCallsLimitExceeded",
    "PlasmaObjectNotAvailable",
    "RayActorError",
    "RayCancellationError",
    "RayCgraphCapacityExceeded",
    "RayChannelError",
    "RayChannelTimeoutError",
    "RayConnectionError",
    "RayDirectTransportError",
    "RayError",
    "RaySystemError",
    "RayTaskError",
    "RayTimeoutError",
    "RayWorkerError",
    "RayletError",
    "ReferenceCountingAssertionError",
    "RpcError",
    "RuntimeEnvSetupError",
    "StreamingGeneratorReplayInconsistentError",
    "TaskCancelledError",
    "TaskTimeoutError",
    "TaskPlacementGroupRemoved",
    "TaskUnschedulableError",
    "UnreconstructableError",
    "UnserializableException",
    "UserCodeException",
    "WorkerCrashedError",
]
