"""Which part of a value it is that cannot be pickled: for messages, after pickling it has failed.

Place: the ground; imported when an error is described. It pickles parts again, arrays without a copy, and
few of them: what it cannot find in that many attempts it does not name.
"""

from __future__ import annotations

import functools
import inspect
import itertools
import types
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

_MOST_ATTEMPTS = 1000
_MOST_STEPS = 8
_MOST_PARTS = 200  # of one value


class Step(NamedTuple):
    """From a value to a part of it. `verb` empty: `name` follows the way to the value, ".lock" or "[0]". Else the
    part has a name of its own: "f", "uses the global variable", "CONFIG"."""

    name: str
    verb: str = ""


class Culprit(NamedTuple):
    """`value`: what cannot be pickled; `error`: what pickling it raises. `way`: how it is reached, "x.model.lock" or
    "f uses the global variable CONFIG; CONFIG['lock']"; empty: it is the value itself."""

    value: Any
    way: str
    error: Exception


def find(value: Any, error: Exception, pickle: Callable[[Any], Any], name: str) -> Culprit:
    """The innermost part of `value` that cannot be pickled, when pickling `value` raised `error`.

    `pickle` pickles one, and raises what pickling raises. `name`: what the value is called in the way.
    """
    seen = {id(value)}
    attempts = itertools.count()
    way, told = name, ""
    found = False
    for _ in range(_MOST_STEPS):
        if _is_final(value, error):
            break
        for step, part in itertools.islice(parts(value), _MOST_PARTS):
            if id(part) in seen or next(attempts) > _MOST_ATTEMPTS:
                continue
            seen.add(id(part))
            try:
                pickle(part)
            except Exception as inner:
                value, error = part, inner
                way, told = _extended(way, told, step)
                found = True
                break
        else:
            break
    return Culprit(value, told + way if found else "", error)


def _extended(way: str, told: str, step: Step) -> tuple[str, str]:
    if not step.verb:
        return way + step.name, told
    return step.name, f"{told}{way} {step.verb} {step.name}; "


def _is_final(value: Any, error: Exception) -> bool:
    """Whether looking for the part of `value` that raised `error` is of no use."""
    if getattr(error, "value", None) is value:  # `reducers.Refused`
        return True
    return isinstance(error, RecursionError) or isinstance(error.__cause__, RecursionError)


def parts(value: Any) -> Iterator[tuple[Step, Any]]:
    """What a value is made of, as far as can be seen without running code of its own."""
    if isinstance(value, types.FunctionType):
        yield from _parts_of_function(value)
    elif isinstance(value, types.MethodType):
        yield Step(""), value.__func__
        yield Step(".__self__"), value.__self__
    elif isinstance(value, functools.partial):
        yield Step(".func"), value.func
        yield from _items(value.args, ".args")
        yield from _keyed(value.keywords, ".keywords")
    elif isinstance(value, type):
        yield from _attributes(vars(value))
        yield from _items(value.__bases__, ".__bases__")
    elif isinstance(value, (staticmethod, classmethod)):
        yield Step(""), value.__func__
    elif isinstance(value, property):
        yield from ((Step(""), one) for one in (value.fget, value.fset, value.fdel))
    elif isinstance(value, functools.cached_property):
        yield Step(""), value.func
    else:
        yield from _parts_of_object(value)


def _parts_of_function(function: types.FunctionType) -> Iterator[tuple[Step, Any]]:
    captured = inspect.getclosurevars(function)
    yield from _named(captured.nonlocals, "uses the captured variable")
    used = _globals_of(function.__code__, function.__globals__)
    yield from _named(used, "uses the global variable")
    yield from _items(function.__defaults__ or (), ".__defaults__")
    yield from _keyed(function.__kwdefaults__ or {}, ".__kwdefaults__")
    yield from _attributes(function.__dict__)


def _globals_of(code: types.CodeType, module: Mapping[str, Any]) -> dict[str, Any]:
    # With those of the functions inside: `getclosurevars` has only the outer one's.
    found = {name: module[name] for name in code.co_names if name in module}
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            found.update(_globals_of(constant, module))
    return found


def _parts_of_object(value: Any) -> Iterator[tuple[Step, Any]]:
    if isinstance(value, dict):
        for key in list(dict.keys(value)):
            yield Step(f"[{_short(key)}]"), dict.__getitem__(value, key)
            yield Step(_short(key), "has the key"), key
    elif isinstance(value, (list, tuple)):
        yield from _items(value, "")
    elif isinstance(value, (set, frozenset)):
        yield from ((Step(_short(one), "has the element"), one) for one in value)
    elif isinstance(value, BaseException):
        yield from _items(value.args, ".args")
    attributes = inspect.getattr_static(value, "__dict__", None)
    if isinstance(attributes, types.GetSetDescriptorType):
        attributes = attributes.__get__(value)
    if isinstance(attributes, dict):
        yield from _attributes(attributes)
    for owner in type(value).__mro__:
        for name, member in vars(owner).items():
            if isinstance(member, types.MemberDescriptorType):
                try:
                    yield Step(f".{name}"), member.__get__(value)
                except AttributeError:  # a slot that was never set
                    pass
    yield Step(type(value).__qualname__, "is a"), type(value)


def _named(found: Mapping[str, Any], verb: str) -> Iterator[tuple[Step, Any]]:
    return ((Step(name, verb), part) for name, part in list(found.items()))


def _attributes(found: Mapping[str, Any]) -> Iterator[tuple[Step, Any]]:
    return ((Step(f".{name}"), part) for name, part in list(found.items()))


def _items(found: Any, of: str) -> Iterator[tuple[Step, Any]]:
    return ((Step(f"{of}[{number}]"), part) for number, part in enumerate(found))


def _keyed(found: Mapping[str, Any], of: str) -> Iterator[tuple[Step, Any]]:
    return ((Step(f"{of}[{name!r}]"), part) for name, part in list(found.items()))


def _short(key: Any) -> str:
    plain = isinstance(key, (str, bytes, int, float, tuple))
    return repr(key)[:100] if plain else f"a {type(key).__qualname__}"
