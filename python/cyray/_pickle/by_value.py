"""Pickling by value, for what the C pickler cannot do by reference.

Place: the ground; called by the codec of `_raylet` as a second try, so cloudpickle is imported only when it is
needed. Functions and classes of `__main__`, closures and lambdas go by value; a class keeps its `__slots__` and the
fields of its structure. The user's serializers come first (`custom`); `reducers` has what cloudpickle does not know.
"""

from __future__ import annotations

import io
import pickle
import types
from collections.abc import Callable
from typing import Any

import cloudpickle

from cyray import _compat
from cyray._pickle import custom, reducers


class Pickler(cloudpickle.Pickler):
    """Of one value. Documented as `cyray.cloudpickle.Pickler`."""

    def reducer_override(self, obj: Any) -> Any:
        if type(obj) in custom.types:
            return custom.reduce(obj)
        reduced = reducers.reduce(obj)
        if reduced is not NotImplemented:
            return reduced
        reduced = super().reducer_override(obj)
        if isinstance(obj, type) and isinstance(reduced, tuple):
            _compat.keep_layout(obj, reduced)
        return reduced


def dumps_either(value: Any) -> bytes:
    """Pickle `value` without buffers: by reference when that will do, else by value.

    Raises:
        TypeError: something in it cannot be pickled; the message names it.
    """
    if custom.types:
        return dumps(value)
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
        TypeError: something in it cannot be pickled; the message says which part, "x.model.lock".
        Exception: what the user's own code raised meanwhile; with a note (from Python 3.11 on) that says where.
    """
    try:
        return dumps_bare(value, buffer_callback)
    except Exception as error:
        if isinstance(error, _CANNOT_BE_PICKLED) or (
            isinstance(error, (ValueError, NotImplementedError)) and not _is_of_users_code(error)
        ):
            raise TypeError(
                f"{_failure(value, error, argument)}. Everything that a task or actor is passed, captures or "
                "returns must be picklable."
            ) from error
        if hasattr(error, "add_note"):
            error.add_note(_failure(value, error, argument))
        raise


def dumps_bare(
    value: Any, buffer_callback: Callable[[pickle.PickleBuffer], Any] | None = None
) -> bytes:
    """As `dumps`, for who does not want to know which part it was: it raises what pickling raises."""
    out = io.BytesIO()
    Pickler(out, protocol=5, buffer_callback=buffer_callback).dump(value)
    return out.getvalue()


# How pickle and cloudpickle say it. Compiled classes also by others: pointers of ctypes by a ValueError.
_CANNOT_BE_PICKLED = (pickle.PicklingError, TypeError, AttributeError)


def _is_of_users_code(error: Exception) -> bool:
    """Whether a Python function raised it that is neither cloudpickle's nor ours: a `__reduce__`, most likely."""
    last = error.__traceback__
    while last is not None and last.tb_next is not None:
        last = last.tb_next
    where = "" if last is None else last.tb_frame.f_globals.get("__name__", "")
    return where.partition(".")[0] not in ("cyray", "cloudpickle")


def _failure(value: Any, error: Exception, argument: int | str | None) -> str:
    from cyray._pickle import blame

    if isinstance(argument, int):
        name, what = f"args[{argument}]", f"the argument at position {argument} (from 0 on)"
    elif argument is not None:
        name, what = argument, f"the argument {argument!r}"
    else:
        name, what = _name_of(value), _describe(value)
    found = blame.find(value, error, probe, name)
    if found.way:
        what += f": {found.way} is {_describe(found.value)}"
    elif argument is not None:
        what += f", {_describe(value)}"
    try:
        why = str(found.error).rstrip(".")
    except Exception:  # an error of the user's own
        why = type(found.error).__qualname__
    return f"Could not serialize {what}: {why}"


def _name_of(value: Any) -> str:
    if isinstance(value, (types.FunctionType, types.MethodType, type)):
        return value.__name__
    return "value"


class _Probe(Pickler):
    """Finds out whether a value can be pickled. Refs and handles can, and are not counted for it."""

    def reducer_override(self, obj: Any) -> Any:
        if type(obj).__module__ == "cyray._raylet":
            return int, ()
        return super().reducer_override(obj)


def probe(value: Any) -> None:
    """Raises what pickling `value` raises; keeps nothing of it."""
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
