"""The `remote` decorator: makes remote functions and actor classes.

Place: a thin choice between `RemoteFunction` of `_raylet` and `ActorClass`.
"""

from __future__ import annotations

import types
import typing
from typing import Any

from cyray import _raylet
from cyray._spec import options as _options

_BUILTIN_KINDS = ("builtin_function_or_method", "cython_function_or_method", "method_descriptor")


def remote(*args: Any, **options: Any) -> Any:
    """Make a function or class remote.

    `@remote`, `@remote(num_cpus=2, ...)`, `remote(function)` or `remote(function, inout=("out",))`:
    Python, Cython (`def`, `cpdef`), pybind11 and builtin functions; Python classes, classes and
    `cdef` classes of a `.pyx`, pybind11 classes.

    Options (of functions / of classes): `num_cpus`, `num_gpus`, `memory` (bytes), `resources`,
    `num_returns`, `max_retries`, `retry_exceptions`, `inout` (names or positions of arguments that
    the function writes into; they come back as its result), `max_concurrency` / `max_restarts`,
    `max_task_retries`, `name`, `namespace`, `lifetime`, `get_if_exists`, ...

    Raises:
        TypeError: applied to something that is neither; an option has the wrong type.
        ValueError: an option is unknown or out of range.
    """
    if args:
        if len(args) > 1:
            raise TypeError("remote() takes one function or class, and options by keyword")
        return _make(args[0], options)
    if not options:
        raise TypeError(
            "The @remote decorator must be applied either with no arguments and no parentheses "
            "('@cyray.remote') or with options ('@cyray.remote(num_cpus=2)')."
        )
    return lambda target: _make(target, options)


def _make(target: Any, options: dict[str, Any]) -> Any:
    origin = typing.get_origin(target)
    if isinstance(origin, type):
        target = origin  # Stack[int] says of Stack what is in it, and is otherwise the same
    if isinstance(target, type):
        from cyray._api.actor_class import ActorClass

        return ActorClass(target, _options.actor_options(options))
    if _is_of_cyray(target) or not is_function(target):
        raise TypeError(
            "The @cyray.remote decorator must be applied to either a function or a class, not to "
            f"{type(target).__name__}."
        )
    return _raylet.RemoteFunction(target, _options.task_options(options))


def _is_of_cyray(value: Any) -> bool:
    # What `remote` made, and methods of handles: they have a __call__, which only says that there is none.
    return isinstance(value, _raylet.ActorMethod) or hasattr(type(value), "__cyray_wraps__")


def is_function(value: Any) -> bool:
    """Whether `remote` takes it for a function: Python, Cython, pybind11, builtin."""
    if isinstance(value, (types.FunctionType, types.BuiltinFunctionType)):
        return True
    if type(value).__name__ in _BUILTIN_KINDS:
        return True
    if type(getattr(value, "__func__", None)).__name__ in _BUILTIN_KINDS:
        return True
    # nanobind's functions, functools.partial, ufuncs and other callables that are no classes.
    return callable(value) and not isinstance(value, type)
