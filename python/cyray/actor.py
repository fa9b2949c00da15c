"""Names of `ray.actor` that programs use."""

from cyray._actor import ActorClass, ActorClassInheritanceException, exit_actor
from cyray._raylet import ActorHandle, ActorMethod

__all__ = [
    "ActorClass",
    "ActorClassInheritanceException",
    "ActorHandle",
    "ActorMethod",
    "exit_actor",
]
