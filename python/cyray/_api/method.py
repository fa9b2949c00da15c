"""Methods of actors: their options, and the templates of their calls.

Place: `describe_method` is reached from `_raylet` through `_hooks`, once for each method of a class.
"""

# Checkers take the first overload that fits: what is special stands before what is general.
# mypy: disable-error-code="overload-overlap"

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Mapping
from typing import (
    TYPE_CHECKING,
    Any,
    Concatenate,
    Literal,
    ParamSpec,
    Protocol,
    TypeVar,
    overload,
)

from cyray._pickle import extra as _extra
from cyray._spec import options as _options
from cyray._spec import plans

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from cyray._api.graph import ClassMethodNode
    from cyray._raylet import ObjectRef, ObjectRefGenerator
    from cyray._spec.typed import MethodOptions

_P = ParamSpec("_P")
_R = TypeVar("_R", covariant=True)
_Out = TypeVar("_Out", covariant=True)

# Of an object with such a name Python asks the handle itself: to pickle, copy, show and make it.
_OF_THE_HANDLE = frozenset(
    [
        "__class__",
        "__class_getitem__",
        "__copy__",
        "__deepcopy__",
        "__del__",
        "__delattr__",
        "__dict__",
        "__dir__",
        "__doc__",
        "__getattr__",
        "__getattribute__",
        "__getnewargs__",
        "__getnewargs_ex__",
        "__getstate__",
        "__init__",
        "__init_subclass__",
        "__module__",
        "__new__",
        "__reduce__",
        "__reduce_ex__",
        "__setattr__",
        "__setstate__",
        "__sizeof__",
        "__slots__",
        "__subclasshook__",
        "__weakref__",
    ]
)
BUILTIN_METHODS = ("__ray_ready__", "__ray_terminate__", "__ray_call__")


def may_be_called(cls: type) -> Callable[[str], bool]:
    """Whether a handle has the method of that name: those with an underscore or two as well, but for what every
    object has."""
    own = {name for base in cls.__mro__ if base is not object for name in vars(base)}
    return lambda name: name[:2] != "__" or (name in own and name not in _OF_THE_HANDLE)


def portable(options: Mapping[str, Any]) -> dict[str, Any]:
    # Handles go to processes that do not know the user's classes: those inside are bytes to them.
    portable = dict(options)
    retry = portable.pop("retry_exceptions", None)
    if retry:
        portable["extra"] = _extra.dumps({"retry_exceptions": _extra.retry_types(retry)})
    return portable


def describe_method(
    meta: dict[str, Any], name: str, overrides: dict[str, Any] | None
) -> plans.MethodPlan:
    """The plan of a method: overrides of the call > `@method` > the actor's options.

    Raises:
        ValueError: it is a generator, and fewer than two values are asked for by their number.
    """
    options = {**meta["methods"].get(name, {}), **portable(overrides or {})}
    if "retry_exceptions" in (overrides or {}) and not (overrides or {})["retry_exceptions"]:
        options.pop("extra", None)  # this call takes back what `@method` says
    whole_name = f"{meta['class_name']}.{name}"
    yields = _options.yields(whole_name, options.get("generator"), options.get("num_returns"))
    return plans.method_plan(meta, name, options, yields)


if TYPE_CHECKING:

    class Method(Protocol[_P, _R, _Out]):
        """What type checkers make of a method under `@method`: plain in the class, remote through a handle."""

        def __call__(self, *args: _P.args, **kwargs: _P.kwargs) -> _R: ...
        @overload
        def remote(self, *args: _P.args, **kwargs: _P.kwargs) -> _Out: ...
        @overload
        def remote(self, _ref: ObjectRef[Any], /, *args: Any, **kwargs: Any) -> _Out: ...
        @overload
        def remote(self, _a: Any, _ref: ObjectRef[Any], /, *args: Any, **kwargs: Any) -> _Out: ...
        @overload
        def remote(
            self, _a: Any, _b: Any, _ref: ObjectRef[Any], /, *args: Any, **kwargs: Any
        ) -> _Out: ...
        def bind(self, *args: Any, **kwargs: Any) -> ClassMethodNode: ...
        @overload
        def options(self, **options: Unpack[MethodOptions]) -> Method[_P, _R, _Out]: ...
        @overload
        def options(
            self, *, num_returns: int | str, **options: Unpack[MethodOptions]
        ) -> Method[_P, _R, Any]: ...

    class MethodDecorator(Protocol):
        """`@method(...)`, for type checkers."""

        @overload
        def __call__(
            self, function: Callable[Concatenate[Any, _P], AsyncIterator[_R]], /
        ) -> Method[_P, AsyncIterator[_R], ObjectRefGenerator[_R]]: ...
        @overload
        def __call__(
            self, function: Callable[Concatenate[Any, _P], Iterator[_R]], /
        ) -> Method[_P, Iterator[_R], ObjectRefGenerator[_R]]: ...
        @overload
        def __call__(
            self, function: Callable[Concatenate[Any, _P], Coroutine[Any, Any, _R]], /
        ) -> Method[_P, Coroutine[Any, Any, _R], ObjectRef[_R]]: ...
        @overload
        def __call__(
            self, function: Callable[Concatenate[Any, _P], _R], /
        ) -> Method[_P, _R, ObjectRef[_R]]: ...

    class MethodDecoratorOf(Protocol[_Out]):
        """`@method(num_returns=...)`, for type checkers: calls give what the option says."""

        def __call__(
            self, function: Callable[Concatenate[Any, _P], _R], /
        ) -> Method[_P, _R, _Out]: ...


@overload
def method(
    function: Callable[Concatenate[Any, _P], AsyncIterator[_R]], /
) -> Method[_P, AsyncIterator[_R], ObjectRefGenerator[_R]]: ...
@overload
def method(
    function: Callable[Concatenate[Any, _P], Iterator[_R]], /
) -> Method[_P, Iterator[_R], ObjectRefGenerator[_R]]: ...
@overload
def method(
    function: Callable[Concatenate[Any, _P], Coroutine[Any, Any, _R]], /
) -> Method[_P, Coroutine[Any, Any, _R], ObjectRef[_R]]: ...
@overload
def method(function: Callable[Concatenate[Any, _P], _R], /) -> Method[_P, _R, ObjectRef[_R]]: ...
@overload
def method(**options: Unpack[MethodOptions]) -> MethodDecorator: ...
@overload
def method(*, num_returns: Literal[1], **options: Unpack[MethodOptions]) -> MethodDecorator: ...
@overload
def method(
    *, num_returns: Literal[0], **options: Unpack[MethodOptions]
) -> MethodDecoratorOf[None]: ...
@overload
def method(
    *, num_returns: Literal["streaming"], **options: Unpack[MethodOptions]
) -> MethodDecoratorOf[ObjectRefGenerator[Any]]: ...
@overload
def method(
    *, num_returns: Literal["dynamic"], **options: Unpack[MethodOptions]
) -> MethodDecoratorOf[ObjectRef[list[ObjectRef[Any]]]]: ...
@overload
def method(
    *, num_returns: int, **options: Unpack[MethodOptions]
) -> MethodDecoratorOf[list[ObjectRef[Any]]]: ...
@overload
def method(
    *, num_return_vals: int, **options: Unpack[MethodOptions]
) -> MethodDecoratorOf[list[ObjectRef[Any]]]: ...
def method(*args: Any, **options: Any) -> Any:
    """Give a method of an actor class its own options: `@method(num_returns=2)`.

    `@method` alone changes nothing when it runs. It has type checkers know the method through a handle that is
    annotated as `cyray.actor.ActorProxy[Class]`.

    Raises:
        ValueError, TypeError: an option is unknown or of the wrong type.
    """
    if len(args) == 1 and not options and callable(args[0]):
        return args[0]
    if args or not options:
        raise TypeError("@method takes keyword options alone, such as @method(num_returns=2)")
    checked = _options.method_options(options)

    def annotate(function: Any) -> Any:
        function.__cyray_method_options__ = checked
        return function

    return annotate
