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


class Culprit(NamedTuple):
    """`way`: how it is reached, "its global variable 'config', in that item ['lock']"; empty: it is the
    value itself. `error`: what pickling it raises."""

    value: Any
    way: str
    error: Exception


def find(value: Any, error: Exception, pickle: Callable[[Any], Any]) -> Culprit:
    """The innermost part of `value` that cannot be pickled, when pickling `value` raised `error`.

    `pickle` pickles one, and raises what pickling raises.
    """
    steps: list[str] = []
    seen = {id(value)}
    attempts = itertools.count()
    while len(steps) < _MOST_STEPS and not _is_recursion(error):
        for step, part in itertools.islice(_parts(value), _MOST_PARTS):
            if id(part) in seen or next(attempts) > _MOST_ATTEMPTS:
                continue
            seen.add(id(part))
            try:
                pickle(part)
            except Exception as inner:
                value, error = part, inner
                steps.append(step)
                break
        else:
            break
    return Culprit(value, ", in that ".join(steps).replace("", "its ", 1) if steps else "", error)


def _is_recursion(error: Exception) -> bool:
    return isinstance(error, RecursionError) or isinstance(error.__cause__, RecursionError)


def _parts(value: Any) -> Iterator[tuple[str, Any]]:
    """What a value is made of, as far as can be seen without running code of its own."""
    if isinstance(value, types.FunctionType):
        yield from _parts_of_function(value)
    elif isinstance(value, types.MethodType):
        yield "function", value.__func__
        yield "object", value.__self__
    elif isinstance(value, functools.partial):
        yield "function", value.func
        yield from _items(value.args, "argument")
        yield from _named(value.keywords, "argument")
    elif isinstance(value, type):
        yield from _named(vars(value), "attribute")
        yield from _items(value.__bases__, "base class")
    elif isinstance(value, (staticmethod, classmethod)):
        yield "function", value.__func__
    elif isinstance(value, property):
        yield from (("function", one) for one in (value.fget, value.fset, value.fdel))
    else:
        yield from _parts_of_object(value)


def _parts_of_function(function: types.FunctionType) -> Iterator[tuple[str, Any]]:
    captured = inspect.getclosurevars(function)
    yield from _named(captured.nonlocals, "captured variable")
    yield from _named(_globals_of(function.__code__, function.__globals__), "global variable")
    yield from _items(function.__defaults__ or (), "default value")
    yield from _named(function.__kwdefaults__ or {}, "default value")
    yield from _named(function.__dict__, "attribute")


def _globals_of(code: types.CodeType, module: Mapping[str, Any]) -> dict[str, Any]:
    # With those of the functions inside: `getclosurevars` has only the outer one's.
    found = {name: module[name] for name in code.co_names if name in module}
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            found.update(_globals_of(constant, module))
    return found


def _parts_of_object(value: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict):
        for key in list(dict.keys(value)):
            yield f"item [{_short(key)}]", dict.__getitem__(value, key)
            yield "key", key
    elif isinstance(value, (list, tuple)):
        yield from _items(value, "item")
    elif isinstance(value, (set, frozenset)):
        yield from (("element", one) for one in value)
    attributes = inspect.getattr_static(value, "__dict__", None)
    if isinstance(attributes, types.GetSetDescriptorType):
        attributes = attributes.__get__(value)
    if isinstance(attributes, dict):
        yield from _named(attributes, "attribute")
    for owner in type(value).__mro__:
        for name, member in vars(owner).items():
            if isinstance(member, types.MemberDescriptorType):
                try:
                    yield f"attribute {name!r}", member.__get__(value)
                except AttributeError:  # a slot that was never set
                    pass
    yield "class", type(value)


def _named(parts: Mapping[str, Any], what: str) -> Iterator[tuple[str, Any]]:
    return ((f"{what} {name!r}", part) for name, part in list(parts.items()))


def _items(parts: Any, what: str) -> Iterator[tuple[str, Any]]:
    return ((f"{what} [{number}]", part) for number, part in enumerate(parts))


def _short(key: Any) -> str:
    plain = isinstance(key, (str, bytes, int, float, tuple))
    return repr(key)[:100] if plain else f"a {type(key).__qualname__}"
