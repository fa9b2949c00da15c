"""Names of `ray.actor` that programs use."""

from cyray._api.actor_class import ActorClass, ActorClassInheritanceException
from cyray._api.actors import exit_actor
from cyray._raylet import ActorHandle, ActorMethod

__all__ = [
    "ActorClass",
    "ActorClassInheritanceException",
    "ActorHandle",
    "ActorMethod",
    "exit_actor",
]
