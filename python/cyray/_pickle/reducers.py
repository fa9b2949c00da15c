"""What neither pickle nor cloudpickle takes, and how it travels: asked for each object that goes by value.

Place: the ground, under `by_value`. Cached functions and properties, and functions with a variant for each
type, are made again from their functions, each with an empty cache; views, of memory of any maker, become
read-only memoryviews of the object's own memory on the other side. What would arrive as something else
without a word, as an open file or a library of ctypes would, is refused with what to do instead.
"""

from __future__ import annotations

import functools
import io
import operator
import pickle
import sys
import types
from collections.abc import Callable, Mapping
from typing import Any

from cyray import _compat

Reduced = tuple[Any, ...]
_Cached = type(functools.lru_cache(len))
_FILES = (
    io.TextIOWrapper,
    io.BufferedReader,
    io.BufferedWriter,
    io.BufferedRandom,
    io.BufferedRWPair,
    io.FileIO,
)


def reduce(value: Any) -> Any:
    """As `reducer_override`: how `value` travels, or NotImplemented where pickle or cloudpickle knows.

    Raises:
        TypeError: it cannot travel; the message says what does.
    """
    kind = type(value)
    if value is sys.stdout or value is sys.stderr:  # whatever stands there on the other side
        return getattr, (sys, "stdout" if value is sys.stdout else "stderr")
    known = _BY_TYPE.get(kind)
    if known is not None:
        return known(value)
    if kind.__name__ in _VIEWS_OF_CYTHON and "__pyx_vtable__" in vars(kind):
        return _reduce_memoryview(memoryview(value))
    ctypes = sys.modules.get("ctypes")
    if ctypes is not None:
        return _reduce_of_ctypes(value, ctypes)
    return NotImplemented


class Refused(TypeError):
    """`value` cannot travel, and it is no matter of its parts."""

    def __init__(self, value: Any, text: str) -> None:
        super().__init__(text)
        self.value = value


# --- Memory -----------------------------------------------------------------------------------------

_VIEWS_OF_CYTHON = ("memoryview", "_memoryviewslice", "array")  # every compiled module has its own


def _reduce_memoryview(view: memoryview) -> Reduced:
    if len(view.format) != 1 or view.nbytes == 0:
        # Records, other byte orders, zeros in the shape: only numpy can build such a view.
        import numpy

        return memoryview, (numpy.asarray(view),)
    if not view.c_contiguous:
        shape: Any = view.shape
        view = memoryview(view.tobytes()).cast("B").cast(view.format, shape)  # type: ignore[call-overload]
    return _rebuild_memoryview, (pickle.PickleBuffer(view), view.format, view.shape)


def _rebuild_memoryview(buffer: Any, format_: str, shape: tuple[int, ...]) -> memoryview:
    view = memoryview(buffer).cast("B")
    return view if format_ == "B" and len(shape) == 1 else view.cast(format_, shape)  # type: ignore[call-overload]


# --- ctypes -----------------------------------------------------------------------------------------


def _reduce_of_ctypes(value: Any, ctypes: types.ModuleType) -> Any:
    if isinstance(value, (ctypes.CDLL, ctypes._CFuncPtr)):
        raise Refused(
            value,
            "what ctypes loaded from a library cannot be passed on: load it where it is used, inside the function",
        )
    if not isinstance(value, type):
        return NotImplemented
    for base in (ctypes.Structure, ctypes.Union, ctypes.Array):
        if value is type(base):  # it stands in no module
            return type, (base,)
    element = getattr(value, "_type_", None)
    # `c_double * 3` calls itself a class of `__main__`.
    if element is None:
        return NotImplemented
    if isinstance(value, type(ctypes.Array)) and element * value._length_ is value:
        return operator.mul, (element, value._length_)
    if isinstance(value, type(ctypes._Pointer)) and ctypes.POINTER(element) is value:
        return ctypes.POINTER, (element,)
    return NotImplemented


# --- Files ------------------------------------------------------------------------------------------


def _refuse_file(file: Any) -> Any:
    state = "a file that is closed" if file.closed else "an open file"
    name = getattr(file, "name", None)
    named = f" ({name!r})" if isinstance(name, (str, bytes)) else ""
    raise Refused(
        file,
        f"{state}{named} cannot be passed on: pass its path and open it where it is used, or pass what is in it",
    )


# --- Functions with a memory --------------------------------------------------------------------------


def _reduce_cached(function: Any) -> Any:
    if _compat.is_importable(function):
        return NotImplemented
    return _rebuild_cached, (function.__wrapped__, function.cache_parameters())


def _rebuild_cached(function: Callable[..., Any], parameters: dict[str, Any]) -> Any:
    return functools.lru_cache(**parameters)(function)


def _reduce_cached_property(value: Any) -> Reduced:
    return _rebuild_cached_property, (value.func, value.attrname)


def _rebuild_cached_property(function: Callable[..., Any], name: str | None) -> Any:
    made = functools.cached_property(function)
    made.attrname = name
    return made


_DISPATCHER = functools.singledispatch(len).__code__  # type: ignore[attr-defined]


def _reduce_function(function: types.FunctionType) -> Any:
    if function.__code__ is not _DISPATCHER or _compat.is_importable(function):
        return NotImplemented
    variants = dict(function.registry)  # type: ignore[attr-defined]
    return _rebuild_singledispatch, (variants.pop(object), variants, _own(function))


def _own(function: types.FunctionType) -> dict[str, Any]:
    # Attributes beside those that `singledispatch` gives it.
    made = ("register", "dispatch", "registry", "_clear_cache", "__wrapped__")
    return {name: value for name, value in vars(function).items() if name not in made}


def _rebuild_singledispatch(
    function: Callable[..., Any], variants: Mapping[type, Any], attributes: Mapping[str, Any]
) -> Any:
    made = functools.singledispatch(function)
    for kind, variant in variants.items():
        made.register(kind, variant)
    vars(made).update(attributes)
    return made


def _reduce_singledispatchmethod(value: Any) -> Reduced:
    variants = dict(value.dispatcher.registry)
    del variants[object]
    return _rebuild_singledispatchmethod, (value.func, variants)


def _rebuild_singledispatchmethod(
    function: Callable[..., Any], variants: Mapping[type, Any]
) -> Any:
    made = functools.singledispatchmethod(function)
    for kind, variant in variants.items():
        made.dispatcher.register(kind, func=variant)
    return made


_BY_TYPE: dict[type, Callable[[Any], Any]] = {
    memoryview: _reduce_memoryview,
    _Cached: _reduce_cached,
    functools.cached_property: _reduce_cached_property,
    functools.singledispatchmethod: _reduce_singledispatchmethod,
    types.FunctionType: _reduce_function,
    **dict.fromkeys(_FILES, _refuse_file),
}
