"""Names of `ray.actor` that programs use."""

from typing import Annotated, TypeVar

from cyray._api.actor_class import ActorClass, ActorClassInheritanceException
from cyray._api.actors import exit_actor
from cyray._api.method import method
from cyray._raylet import ActorHandle, ActorMethod
from cyray._spec.checkpointable import ActorCheckpointContext, Checkpoint, Checkpointable
from cyray._spec.options import ASYNC_CONCURRENCY as DEFAULT_MAX_CONCURRENCY_ASYNC

_T = TypeVar("_T")
# `counter: ActorProxy[Counter] = Counters.remote()`: type checkers know the methods that are under `@method`.
ActorProxy = Annotated[_T, "a handle of an actor of that class"]

__all__ = [
    "DEFAULT_MAX_CONCURRENCY_ASYNC",
    "ActorCheckpointContext",
    "ActorClass",
    "ActorClassInheritanceException",
    "ActorHandle",
    "ActorMethod",
    "ActorProxy",
    "Checkpoint",
    "Checkpointable",
    "exit_actor",
    "method",
]
