"""What cyray uses of Python and cloudpickle beyond what they document: all of it, and nowhere else.

Place: the ground; imports nothing of cyray. Each function says what it relies on, and
tests/unit/test_compat.py asks the installed versions whether it is still so.
"""

from __future__ import annotations

import atexit
import functools
import gc
import io
import os
import sys
import types

# The C pickler and the set of weak references, without what `pickle` and `weakref` import beside them.
from _pickle import PicklingError, dumps, loads

# `signal.signal` without the enums that it makes of numbers: those are most of what it costs.
from _signal import SIG_DFL as DEFAULT_ACTION
from _signal import signal as set_signal_handler
from _weakrefset import WeakSet
from collections.abc import Iterator
from typing import Any

__all__ = [
    "DEFAULT_ACTION",
    "PicklingError",
    "WeakSet",
    "builtin_base",
    "data_descriptors",
    "dumps",
    "flush_open_files",
    "generator_kind",
    "is_coroutine_function",
    "is_importable",
    "keep_layout",
    "loads",
    "modules_by_value",
    "run_exit_functions",
    "set_signal_handler",
    "title_area",
]

_LEAST_TITLE = 16  # bytes
# Of `type.__flags__`, Py_TPFLAGS_HEAPTYPE: the class was made at run time, not compiled in.
_HEAP_TYPE = 1 << 9
_CO_GENERATOR, _CO_COROUTINE, _CO_ASYNC_GENERATOR = 0x20, 0x80, 0x200


def run_exit_functions() -> None:
    """What `atexit` has, now: for a process that leaves by `os._exit`.

    Relies on `atexit._run_exitfuncs`.
    """
    atexit._run_exitfuncs()


def flush_open_files() -> None:
    """Writes what Python's open files still keep to themselves: for a process that leaves by `os._exit`.

    Relies on `gc.get_objects` knowing every file object, and none that was there at a `gc.freeze`.
    """
    kinds = (io.TextIOWrapper, io.BufferedWriter, io.BufferedRandom)
    for file in gc.get_objects():
        if type(file) in kinds:
            try:
                file.flush()
            except (OSError, ValueError):  # its other end is gone, or it is closed
                pass


def title_area() -> tuple[int, int] | None:
    """The memory that the kernel shows as this process's command line: address and bytes. None: unknown.

    Relies on the setproctitle package writing titles there and reading them from there; it looks for the place
    once, and overwrites the end of it. With SPT_NOENV it leaves the environment beside it alone, by which
    cyray tells its processes (`_os.proc.has_in_environment`).
    """
    before = os.environ.get("SPT_NOENV")
    os.environ["SPT_NOENV"] = "1"
    try:
        import setproctitle

        setproctitle.getproctitle()
        with open("/proc/self/stat", "rb") as file:
            fields = file.read().rpartition(b")")[2].split()
    except (ImportError, OSError):
        return None
    finally:
        if before is None:
            del os.environ["SPT_NOENV"]
        else:
            os.environ["SPT_NOENV"] = before
    start, end = int(fields[45]), int(fields[46])
    return (start, end - start) if start > 0 and end - start >= _LEAST_TITLE else None


def is_coroutine_function(function: Any) -> bool:
    """Whether calling it gives a coroutine: `async def` of Python and of Cython, bound or partial.

    Relies on CO_COROUTINE in a code's flags, and on Cython's functions having `_is_coroutine`: asyncio's
    own mark, or True where asyncio has none. Imports neither `inspect` nor `asyncio`.
    """
    function = _innermost(function)
    if _code_flags(function) & _CO_COROUTINE:
        return True
    inspect = sys.modules.get("inspect")  # who marks a function by hand has imported it
    if inspect is not None and inspect.iscoroutinefunction(function):
        return True
    mark = getattr(function, "_is_coroutine", None)
    asyncios = getattr(sys.modules.get("asyncio.coroutines"), "_is_coroutine", None)
    return mark is True or (mark is not None and mark is asyncios)


def generator_kind(function: Any) -> str | None:
    """ "generator" or "async generator" when calling it gives one: of Python and of Cython, bound or partial.

    Relies on CO_GENERATOR and CO_ASYNC_GENERATOR in a code's flags, Cython's too.
    """
    flags = _code_flags(_innermost(function))
    if flags & _CO_ASYNC_GENERATOR:
        return "async generator"
    return "generator" if flags & _CO_GENERATOR else None


def _innermost(function: Any) -> Any:
    while True:
        if isinstance(function, types.MethodType):
            function = function.__func__
        elif isinstance(function, functools.partial):
            function = function.func
        else:
            return function


def _code_flags(function: Any) -> int:
    flags = getattr(getattr(function, "__code__", None), "co_flags", 0)
    return flags if isinstance(flags, int) else 0


def builtin_base(cls: Any) -> Any:
    """The nearest base that is compiled in: its `__new__` is the one that fits the memory layout.

    Relies on Py_TPFLAGS_HEAPTYPE in `__flags__`.
    """
    while cls.__flags__ & _HEAP_TYPE:
        cls = cls.__base__
    return cls


def data_descriptors(cls: type) -> Iterator[Any]:
    """Of slots and of members of C: what has `__get__` and `__set__` and is no property.

    Relies on `types.MemberDescriptorType` and `types.GetSetDescriptorType` being settable.
    """
    for name, member in vars(cls).items():
        if name[:2] != "__" and isinstance(
            member, (types.MemberDescriptorType, types.GetSetDescriptorType)
        ):
            yield member


def modules_by_value() -> Any:
    """Modules whose functions and classes are to go by value: names, live; empty without cloudpickle.

    Relies on `cloudpickle.cloudpickle._PICKLE_BY_VALUE_MODULES`: the public call copies it, and this
    one is asked at each value.
    """
    cloudpickle = sys.modules.get("cloudpickle.cloudpickle")
    return getattr(cloudpickle, "_PICKLE_BY_VALUE_MODULES", ())


def is_importable(function: Any) -> bool:
    """Whether other processes can import it under its own name, and should.

    Relies on `cloudpickle.cloudpickle._lookup_module_and_qualname`, for whatever has a `__module__`.
    """
    import cloudpickle.cloudpickle

    found = cloudpickle.cloudpickle._lookup_module_and_qualname(function)
    return found is not None and found[0].__name__ not in modules_by_value()


# What decides on the memory of a class of ctypes, and has to be there when the class is made.
_OF_CTYPES = ("_pack_", "_align_", "_anonymous_", "_layout_", "_type_", "_length_", "_fields_")


def keep_layout(cls: type, reduced: tuple[Any, ...]) -> None:
    """Puts the slots of a class, or the fields of one of ctypes, into what cloudpickle made of it.

    It leaves them out, or sets them after the class is made. Without them the class has a `__dict__` on the other
    side, and its objects' state does not fit the class here. Relies on the form `(make, (metaclass, name,
    bases, namespace, ...), (dict, ...), ...)` of a class that goes by value.
    """
    if len(reduced) != 6 or len(reduced[1]) < 4:
        return
    namespace, state = reduced[1][3], reduced[2]
    if not isinstance(namespace, dict) or not isinstance(state, tuple):
        return
    own = vars(cls)
    if "__slots__" in own:
        # As they are named in the class: of `__a` only `_C__a` is known here.
        names = [
            name
            for name, member in own.items()
            if isinstance(member, types.MemberDescriptorType) and member.__objclass__ is cls
        ]
        names += [name for name in ("__dict__", "__weakref__") if name in own]
        namespace["__slots__"] = tuple(names)
        _leave_out(state[0], names)
    ctypes = sys.modules.get("_ctypes")
    if ctypes is not None and issubclass(cls, (ctypes.Structure, ctypes.Union, ctypes.Array)):
        namespace.update((name, own[name]) for name in _OF_CTYPES if name in own)
        _leave_out(state[0], [*_OF_CTYPES, *(field[0] for field in own.get("_fields_", ()))])


def _leave_out(attributes: dict[str, Any], names: Any) -> None:
    for name in names:
        attributes.pop(name, None)
