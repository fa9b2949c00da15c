"""Methods of actors: their options, and the templates of their calls.

Place: `describe_method` is reached from `_raylet` through `_hooks`, once for each method of a class.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from cyray._pickle import extra as _extra
from cyray._spec import options as _options
from cyray._spec import plans

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


def method(*args: Any, **options: Any) -> Any:
    """Give a method of an actor class its own options: `@method(num_returns=2)`.

    Raises:
        ValueError, TypeError: an option is unknown or of the wrong type.
    """
    if args or not options:
        raise TypeError("@method takes keyword options alone, such as @method(num_returns=2)")
    checked = _options.method_options(options)

    def annotate(function: Any) -> Any:
        function.__cyray_method_options__ = checked
        return function

    return annotate
