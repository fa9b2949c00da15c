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
import types
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


def dumps(
    value: Any,
    buffer_callback: Callable[[pickle.PickleBuffer], Any] | None = None,
    argument: int | str | None = None,
) -> bytes:
    """Pickle `value` with protocol 5.

    `argument`: its position or name in a call, for the message.

    Raises:
        TypeError: something in it cannot be pickled; the message names it.
        ValueError, NotImplementedError: it says so itself, as a pointer of ctypes does; with a note (from
            Python 3.11 on) that names it.
    """
    out = io.BytesIO()
    try:
        _Pickler(out, protocol=5, buffer_callback=buffer_callback).dump(value)
    except (pickle.PicklingError, TypeError, AttributeError) as error:
        raise TypeError(
            f"{_failure(value, error, argument)}. Everything that a task or actor is passed, captures or "
            "returns must be picklable."
        ) from error
    except (ValueError, NotImplementedError) as error:
        if hasattr(error, "add_note"):
            error.add_note(_failure(value, error, argument))
        raise
    return out.getvalue()


def _failure(value: Any, error: Exception, argument: int | str | None) -> str:
    from cyray._pickle import blame

    found = blame.find(value, error, _probe)
    what = _describe(value)
    if isinstance(argument, int):
        what = f"the argument at position {argument} (from 0 on), {what}"
    elif argument is not None:
        what = f"the argument {argument!r}, {what}"
    if found.way:
        comma = "," if "," in found.way else ""
        what += f": {found.way}{comma} is {_describe(found.value)}"
    try:
        why = str(found.error).rstrip(".")
    except Exception:  # an error of the user's own
        why = type(found.error).__qualname__
    return f"Could not serialize {what}: {why}"


class _Probe(_Pickler):
    """Finds out whether a value can be pickled. Refs and handles can, and are not counted for it."""

    def reducer_override(self, obj: Any) -> Any:
        if type(obj).__module__ == "cyray._raylet":
            return int, ()
        return super().reducer_override(obj)


def _probe(value: Any) -> None:
    _Probe(io.BytesIO(), protocol=5, buffer_callback=lambda buffer: None).dump(value)


def _describe(value: Any) -> str:
    if isinstance(value, (types.FunctionType, type)):
        kind = "class" if isinstance(value, type) else "function"
        return f"the {kind} {value.__qualname__} ({value.__module__})"
    try:
        text = repr(value)
    except Exception:  # a repr may do anything
        text = "an object"
    return f"{text[:200]} ({type(value).__module__}.{type(value).__qualname__})"
