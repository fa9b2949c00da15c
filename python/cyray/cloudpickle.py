"""Pickling as tasks' arguments are pickled: the names of the `cloudpickle` package, with what cyray adds.

Functions and classes of `__main__` go by value. Beside what cloudpickle takes: slots, views of memory, cached
properties, ..., and the user's serializers. A ref that is pickled with it keeps its object as long as this
process lives.
"""

from __future__ import annotations

import io
import pickle
from collections.abc import Callable
from typing import Any, BinaryIO

from cloudpickle import cloudpickle as _cloudpickle
from cloudpickle import register_pickle_by_value, unregister_pickle_by_value

from cyray._pickle.by_value import Pickler

CloudPickler = Pickler
DEFAULT_PROTOCOL = pickle.HIGHEST_PROTOCOL
Unpickler = pickle.Unpickler
load, loads = pickle.load, pickle.loads

__all__ = [
    "DEFAULT_PROTOCOL",
    "CloudPickler",
    "Pickler",
    "Unpickler",
    "dump",
    "dumps",
    "dumps_debug",
    "load",
    "loads",
    "register_pickle_by_value",
    "unregister_pickle_by_value",
]

_BufferCallback = Callable[[pickle.PickleBuffer], Any]


def __getattr__(name: str) -> Any:
    return getattr(_cloudpickle, name)


def dump(
    obj: Any,
    file: BinaryIO,
    protocol: int | None = None,
    buffer_callback: _BufferCallback | None = None,
) -> None:
    """Writes the pickle of `obj` to a file that is open for writing bytes."""
    Pickler(file, protocol=protocol, buffer_callback=buffer_callback).dump(obj)


def dumps(
    obj: Any, protocol: int | None = None, buffer_callback: _BufferCallback | None = None
) -> bytes:
    """The pickle of `obj`; `loads` makes it a value again."""
    out = io.BytesIO()
    dump(obj, out, protocol, buffer_callback)
    return out.getvalue()


def dumps_debug(
    obj: Any, protocol: int | None = None, buffer_callback: _BufferCallback | None = None
) -> bytes:
    """As `dumps`; what cannot be pickled is reported part by part, on standard output, before the error is raised."""
    try:
        return dumps(obj, protocol, buffer_callback)
    except Exception:
        from cyray.util.check_serialize import inspect_serializability

        inspect_serializability(obj)
        raise
