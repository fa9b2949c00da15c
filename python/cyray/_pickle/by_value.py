"""Pickling by value, for what the C pickler cannot do by reference.

Place: the ground; called by the codec of `_raylet` as a second try, so cloudpickle is imported only when it is
needed. Functions and classes of `__main__`, closures and lambdas go by value, and so do cached
functions, each with an empty cache; a class keeps its `__slots__`; memoryviews, which pickle refuses, become read-only views of the
object's own memory on the other side.
"""

from __future__ import annotations

import functools
import io
import pickle
from collections.abc import Callable
from typing import Any

import cloudpickle

from cyray import _compat

_Cached = type(functools.lru_cache(len))


class _Pickler(cloudpickle.Pickler):
    def reducer_override(self, obj: Any) -> Any:
        if type(obj) is memoryview:
            return _reduce_memoryview(obj)
        if type(obj) is _Cached and obj.__module__ == "__main__":
            return _rebuild_cached, (obj.__wrapped__, obj.cache_parameters())
        reduced = super().reducer_override(obj)
        if isinstance(obj, type) and isinstance(reduced, tuple):
            _compat.keep_slots(obj, reduced)
        return reduced


def _reduce_memoryview(view: memoryview) -> tuple[Any, ...]:
    if len(view.format) != 1 or view.nbytes == 0:
        # Records, other byte orders, zeros in the shape: only numpy can build such a view.
        import numpy

        return memoryview, (numpy.asarray(view),)
    if not view.c_contiguous:
        shape: Any = view.shape
        view = memoryview(view.tobytes()).cast("B").cast(view.format, shape)  # type: ignore[call-overload]
    return _rebuild_memoryview, (pickle.PickleBuffer(view), view.format, view.shape)


def _rebuild_cached(function: Callable[..., Any], parameters: dict[str, Any]) -> Any:
    return functools.lru_cache(**parameters)(function)


def _rebuild_memoryview(buffer: Any, format_: str, shape: tuple[int, ...]) -> memoryview:
    view = memoryview(buffer).cast("B")
    return view if format_ == "B" and len(shape) == 1 else view.cast(format_, shape)  # type: ignore[call-overload]


def dumps_either(value: Any) -> bytes:
    """Pickle `value` without buffers: by reference when that will do, else by value.

    Raises:
        TypeError: something in it cannot be pickled; the message names it.
    """
    try:
        pickled = pickle.dumps(value, 5)
    except (pickle.PicklingError, AttributeError, TypeError, RecursionError):
        return dumps(value)
    if b"__main__" in pickled or _compat.modules_by_value():
        return dumps(value)
    return pickled


def dumps(value: Any, buffer_callback: Callable[[pickle.PickleBuffer], Any] | None = None) -> bytes:
    """Pickle `value` with protocol 5.

    Raises:
        TypeError: something in it cannot be pickled; the message names it.
    """
    out = io.BytesIO()
    try:
        _Pickler(out, protocol=5, buffer_callback=buffer_callback).dump(value)
    except (pickle.PicklingError, TypeError, AttributeError) as error:
        raise TypeError(
            f"Could not serialize {_describe(value)}: {str(error).rstrip('.')}. Everything that is passed to or "
            "returned from a task or actor must be picklable."
        ) from error
    return out.getvalue()


def _describe(value: Any) -> str:
    try:
        text = repr(value)
    except Exception:  # a repr may do anything
        text = "an object"
    return f"{text[:200]} ({type(value).__module__}.{type(value).__qualname__})"
