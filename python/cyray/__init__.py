"""cyray: Python, Cython and pybind11 functions and classes in parallel, with Ray core's API.

    import cyray

    @cyray.remote
    def square(x):
        return x * x

    print(cyray.get([square.remote(i) for i in range(4)]))

Public names only; what is behind each is one module away.
"""

from __future__ import annotations

from typing import Any

from cyray import exceptions
from cyray._raylet import ObjectID, ObjectRef, get, put, wait
from cyray._remote import remote
from cyray._worker import (
    available_resources,
    cluster_resources,
    get_actor,
    get_gpu_ids,
    get_runtime_context,
    init,
    is_initialized,
    kill,
    nodes,
    shutdown,
)

__version__ = "0.1.0"

__all__ = [
    "ObjectID",
    "ObjectRef",
    "available_resources",
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
    "remote",
    "shutdown",
    "wait",
]

# Imported when first asked for: they cost more than they are used.
_LAZY = {"method": ("cyray._actor", "method")}
# Ray has them.
_NOT_YET = ("cancel", "timeline", "runtime_env", "data", "rllib", "serve", "train", "tune")
_SUBMODULES = ("actor", "accelerators", "cluster_utils", "test_utils", "util")


def __getattr__(name: str) -> Any:
    import importlib

    if name in _LAZY:
        module, attribute = _LAZY[name]
        return getattr(importlib.import_module(module), attribute)
    if name in _SUBMODULES:
        return importlib.import_module(f"cyray.{name}")
    if name in _NOT_YET:
        raise AttributeError(
            f"cyray.{name} is not there yet; 'What is not there yet' in docs/guide.md has the list."
        )
    raise AttributeError(f"module 'cyray' has no attribute {name!r}")
