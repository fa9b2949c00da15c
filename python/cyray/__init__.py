"""cyray: Python, Cython and pybind11 functions and classes in parallel, with Ray core's API.

    import cyray

    @cyray.remote
    def square(x):
        return x * x

    print(cyray.get([square.remote(i) for i in range(4)]))

Public names only; what is behind each is one module away, and imported when it is first asked for.
"""

from typing import TYPE_CHECKING, Any

from cyray._raylet import ObjectID, ObjectRef, ObjectRefGenerator, get, put, wait

if TYPE_CHECKING:
    from cyray import (
        accelerators,
        actor,
        cloudpickle,
        cluster_utils,
        dag,
        exceptions,
        experimental,
        internal,
        remote_function,
        runtime_context,
        test_utils,
        types,
        util,
    )
    from cyray._api.actors import get_actor, kill
    from cyray._api.cancel import cancel
    from cyray._api.cluster import available_resources, cluster_resources, nodes
    from cyray._api.context import get_gpu_ids, get_runtime_context
    from cyray._api.method import method
    from cyray._api.remote import remote
    from cyray._api.serializers import register_custom_serializer
    from cyray._driver.init import init
    from cyray._driver.session import is_initialized, shutdown
    from cyray._ids import (
        ActorCheckpointID,
        ActorClassID,
        ActorID,
        ClusterID,
        FunctionID,
        JobID,
        NodeID,
        PlacementGroupID,
        TaskID,
        UniqueID,
        WorkerID,
    )

__version__ = "0.1.0"

__all__ = [
    "ActorCheckpointID",
    "ActorClassID",
    "ActorID",
    "ClusterID",
    "FunctionID",
    "JobID",
    "NodeID",
    "ObjectID",
    "ObjectRef",
    "ObjectRefGenerator",
    "PlacementGroupID",
    "TaskID",
    "UniqueID",
    "WorkerID",
    "available_resources",
    "cancel",
    "cluster_resources",
    "exceptions",
    "get",
    "get_actor",
    "get_gpu_ids",
    "get_runtime_context",
    "init",
    "is_initialized",
    "kill",
    "method",
    "nodes",
    "put",
    "register_custom_serializer",
    "remote",
    "shutdown",
    "wait",
]

_LAZY = {
    "ActorCheckpointID": "cyray._ids",
    "ActorClassID": "cyray._ids",
    "ActorID": "cyray._ids",
    "ClusterID": "cyray._ids",
    "FunctionID": "cyray._ids",
    "JobID": "cyray._ids",
    "NodeID": "cyray._ids",
    "PlacementGroupID": "cyray._ids",
    "TaskID": "cyray._ids",
    "UniqueID": "cyray._ids",
    "WorkerID": "cyray._ids",
    "available_resources": "cyray._api.cluster",
    "cancel": "cyray._api.cancel",
    "cluster_resources": "cyray._api.cluster",
    "get_actor": "cyray._api.actors",
    "get_gpu_ids": "cyray._api.context",
    "get_runtime_context": "cyray._api.context",
    "init": "cyray._driver.init",
    "is_initialized": "cyray._driver.session",
    "kill": "cyray._api.actors",
    "method": "cyray._api.method",
    "nodes": "cyray._api.cluster",
    "register_custom_serializer": "cyray._api.serializers",
    "remote": "cyray._api.remote",
    "shutdown": "cyray._driver.session",
}
# Ray has them.
_NOT_YET = ("timeline", "runtime_env", "data", "rllib", "serve", "train", "tune")
_SUBMODULES = (
    "actor",
    "accelerators",
    "cloudpickle",
    "cluster_utils",
    "dag",
    "exceptions",
    "experimental",
    "internal",
    "remote_function",
    "runtime_context",
    "test_utils",
    "types",
    "util",
)


def __getattr__(name: str) -> Any:
    import importlib

    if name in _LAZY:
        found = getattr(importlib.import_module(_LAZY[name]), name)
        globals()[name] = found  # from now on it is found without this function
        return found
    if name in _SUBMODULES:
        return importlib.import_module(f"cyray.{name}")
    if name in _NOT_YET:
        raise AttributeError(
            f"cyray.{name} is not there yet; 'What is not there yet' in docs/guide.md has the list."
        )
    raise AttributeError(f"module 'cyray' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__, *_SUBMODULES})
