"""Libraries on top of the core, and small questions about the cluster.

Everything here goes through cyray's public API. The larger parts and the modules are loaded when they are
asked for, so that `import cyray` stays quick.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cyray._api.placement import (
        get_current_placement_group,
        get_placement_group,
        placement_group_table,
        remove_placement_group,
    )
    from cyray._api.serializers import deregister_serializer, register_serializer
    from cyray.util.actor_pool import ActorPool
    from cyray.util.check_serialize import inspect_serializability
    from cyray.util.debug import disable_log_once_globally, enable_periodic_logging, log_once
    from cyray.util.helpers import as_completed, map_unordered
    from cyray.util.resources import set_resource

__all__ = [
    "ActorPool",
    "as_completed",
    "deregister_serializer",
    "disable_log_once_globally",
    "enable_periodic_logging",
    "get_current_placement_group",
    "get_node_ip_address",
    "get_placement_group",
    "inspect_serializability",
    "list_named_actors",
    "log_once",
    "map_unordered",
    "placement_group_table",
    "register_serializer",
    "remove_placement_group",
    "set_resource",
]

_LAZY = {
    "get_current_placement_group": "cyray._api.placement",
    "get_placement_group": "cyray._api.placement",
    "placement_group_table": "cyray._api.placement",
    "remove_placement_group": "cyray._api.placement",
    "ActorPool": "cyray.util.actor_pool",
    "as_completed": "cyray.util.helpers",
    "deregister_serializer": "cyray._api.serializers",
    "inspect_serializability": "cyray.util.check_serialize",
    "disable_log_once_globally": "cyray.util.debug",
    "enable_periodic_logging": "cyray.util.debug",
    "log_once": "cyray.util.debug",
    "map_unordered": "cyray.util.helpers",
    "register_serializer": "cyray._api.serializers",
    "set_resource": "cyray.util.resources",
}


def get_node_ip_address(address: str | None = None) -> str:
    """The address of this machine on the way to `address` ("host:port", default: the internet).

    Sends nothing; `127.0.0.1` when there is no way.
    """
    import socket

    host, _, port = (address or "8.8.8.8:53").rpartition(":")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect((host, int(port)))
            return str(probe.getsockname()[0])
        except OSError:
            return "127.0.0.1"


def list_named_actors(all_namespaces: bool = False) -> list[Any]:
    """Names of the living named actors of this namespace.

    With `all_namespaces`, dicts `{"name": ..., "namespace": ...}` of every namespace's.
    """
    from cyray._api import actors as named

    actors = named.list_named_actors(all_namespaces)
    if all_namespaces:
        return [{"name": name, "namespace": namespace} for name, namespace in actors]
    return [name for name, _ in actors]


_SUBMODULES = (
    "accelerators",
    "actor_pool",
    "check_serialize",
    "debug",
    "joblib",
    "multiprocessing",
    "placement_group",
    "queue",
    "scheduling_strategies",
    "serialization",
)


def __getattr__(name: str) -> Any:
    if name in _SUBMODULES:
        import importlib

        return importlib.import_module(f"cyray.util.{name}")
    if name in _LAZY:
        import importlib

        found = getattr(importlib.import_module(_LAZY[name]), name)
        globals()[name] = found
        return found
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


del annotations  # the flag of __future__: whoever looks for `util.annotations` wants a module
