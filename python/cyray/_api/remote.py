"""The `remote` decorator: makes remote functions and actor classes.

Place: a thin choice between `RemoteFunction` of `_raylet` and `ActorClass`.
"""

# Checkers take the first overload that fits: what is special stands before what is general.
# mypy: disable-error-code="overload-overlap"

from __future__ import annotations

import types
import typing
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from typing import TYPE_CHECKING, Any, Literal, ParamSpec, Protocol, TypeVar, overload

from cyray import _raylet
from cyray._spec import options as _options

if TYPE_CHECKING:
    from functools import partial

    from typing_extensions import Unpack

    from cyray._api.actor_class import ActorClass
    from cyray._raylet import ObjectRef, ObjectRefGenerator, RemoteFunction
    from cyray._spec.typed import ActorOptions, RemoteOptions, TaskOptions

_P = ParamSpec("_P")
_R = TypeVar("_R")
_K = TypeVar("_K", bound=type)
_Out = TypeVar("_Out", covariant=True)

_BUILTIN_KINDS = ("builtin_function_or_method", "cython_function_or_method", "method_descriptor")


if TYPE_CHECKING:

    class Decorator(Protocol):
        """`@remote(...)`, for type checkers: of a class, a generator, a coroutine or another function."""

        @overload
        def __call__(self, target: _K, /) -> ActorClass[_K]: ...
        @overload
        def __call__(self, target: partial[_R], /) -> RemoteFunction[..., ObjectRef[_R]]: ...
        @overload
        def __call__(
            self, target: Callable[_P, AsyncIterator[_R]], /
        ) -> RemoteFunction[_P, ObjectRefGenerator[_R]]: ...
        @overload
        def __call__(
            self, target: Callable[_P, Iterator[_R]], /
        ) -> RemoteFunction[_P, ObjectRefGenerator[_R]]: ...
        @overload
        def __call__(
            self, target: Callable[_P, Coroutine[Any, Any, _R]], /
        ) -> RemoteFunction[_P, ObjectRef[_R]]: ...
        @overload
        def __call__(self, target: Callable[_P, _R], /) -> RemoteFunction[_P, ObjectRef[_R]]: ...

    class FunctionDecorator(Protocol[_Out]):
        """`@remote(num_returns=...)`, for type checkers: calls give what the option says."""

        def __call__(self, target: Callable[_P, Any], /) -> RemoteFunction[_P, _Out]: ...


@overload
def remote(target: _K, /) -> ActorClass[_K]: ...
@overload
def remote(target: partial[_R], /) -> RemoteFunction[..., ObjectRef[_R]]: ...
@overload
def remote(
    target: Callable[_P, AsyncIterator[_R]], /
) -> RemoteFunction[_P, ObjectRefGenerator[_R]]: ...
@overload
def remote(target: Callable[_P, Iterator[_R]], /) -> RemoteFunction[_P, ObjectRefGenerator[_R]]: ...
@overload
def remote(
    target: Callable[_P, Coroutine[Any, Any, _R]], /
) -> RemoteFunction[_P, ObjectRef[_R]]: ...
@overload
def remote(target: Callable[_P, _R], /) -> RemoteFunction[_P, ObjectRef[_R]]: ...
@overload
def remote(**options: Unpack[RemoteOptions]) -> Decorator: ...
@overload
def remote(*, num_returns: Literal[1], **options: Unpack[RemoteOptions]) -> Decorator: ...
@overload
def remote(
    *, num_returns: Literal[0], **options: Unpack[RemoteOptions]
) -> FunctionDecorator[None]: ...
@overload
def remote(
    *, num_returns: Literal["streaming"], **options: Unpack[RemoteOptions]
) -> FunctionDecorator[ObjectRefGenerator[Any]]: ...
@overload
def remote(
    *, num_returns: Literal["dynamic"], **options: Unpack[RemoteOptions]
) -> FunctionDecorator[ObjectRef[list[ObjectRef[Any]]]]: ...
@overload
def remote(
    *, num_returns: int, **options: Unpack[RemoteOptions]
) -> FunctionDecorator[list[ObjectRef[Any]]]: ...
@overload
def remote(
    *, num_return_vals: int, **options: Unpack[RemoteOptions]
) -> FunctionDecorator[list[ObjectRef[Any]]]: ...
@overload
def remote(target: type, /, **options: Unpack[ActorOptions]) -> ActorClass[Any]: ...
@overload
def remote(
    target: Callable[_P, Any], /, *, num_returns: int | str, **options: Unpack[TaskOptions]
) -> RemoteFunction[_P, Any]: ...
@overload
def remote(
    target: Callable[_P, _R], /, **options: Unpack[TaskOptions]
) -> RemoteFunction[_P, ObjectRef[_R]]: ...
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
        from cyray._api.actor_class import ActorClass, check_groups
        from cyray._spec.saves import rules_of

        checked = _options.actor_options(options)
        check_groups(target, checked)
        rules_of(target, checked)
        return ActorClass(target, checked)
    if _is_of_cyray(target) or not is_function(target):
        raise TypeError(
            "The @cyray.remote decorator must be applied to either a function or a class, not to "
            f"{type(target).__name__}."
        )
    checked = _options.task_options(options)
    if checked.get("inout"):
        from cyray._api.task import inout_slots

        inout_slots(checked["inout"], target)  # a name that is none is found here, not at a call
    return _raylet.RemoteFunction(target, checked)


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
