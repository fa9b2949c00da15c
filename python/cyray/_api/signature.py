"""What arguments a call may have: seen before it leaves this process.

Place: `ActorClass` asks directly, the templates of `_raylet` through `_hooks`. A signature is plain data: a
handle carries those of its methods to processes that do not know the class.
What is wrong with a call Python itself says: a function that does nothing, with the same parameters, is
called with the arguments. Functions of Python and Cython are looked at, bound or cached ones too, as they
are: not what a decorator says about them (`__wrapped__`, `__signature__`), which need not be what they
take. Whatever else can be called (builtins, pybind11, partials, objects) takes anything here.
"""

# Annotations are evaluated here: NamedTuple would compile each as a string, which takes a millisecond.

import functools
import types
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

_VARARGS, _VARKEYWORDS = 0x04, 0x08  # of co_flags
_PLAIN_FLAGS = 0x03  # optimised, with locals of its own: a function
_MOST = 1 << 30  # arguments by position, where there is no limit
_Cached = type(functools.lru_cache(len))


class Signature(NamedTuple):
    """The parameters of a function."""

    least: int  # arguments by position, in calls without keywords; beyond `most`: there are no such calls
    most: int
    name: str  # qualified, as Python's messages have it
    names: tuple[str, ...]  # of the parameters, in the order that a code object has them in
    positional: int  # of these, how many may be given by position
    positional_only: int
    keyword_only: int
    flags: int  # _VARARGS, _VARKEYWORDS
    defaults: int  # how many of the last positional ones have one
    keyword_defaults: tuple[str, ...]  # which keyword-only ones have one
    bound: int = 0  # arguments before the caller's: self, cls


def signature_of(function: Any, bound: int = 0) -> Signature | None:
    """The signature of a function whose first `bound` arguments are not the caller's; None: not known."""
    while True:
        if type(function) is types.MethodType:
            function, bound = function.__func__, bound + 1
        elif type(function) is _Cached:
            function = function.__wrapped__
        else:
            break
    is_cython = type(function).__name__ == "cython_function_or_method"
    code = getattr(function, "__code__", None)
    if not (is_cython or type(function) is types.FunctionType) or type(code) is not types.CodeType:
        return None
    positional, flags = code.co_argcount, code.co_flags & (_VARARGS | _VARKEYWORDS)
    defaults = min(len(function.__defaults__ or ()), positional)
    keywords = code.co_varnames[positional : positional + code.co_kwonlyargcount]
    optional = tuple(name for name in keywords if name in (function.__kwdefaults__ or ()))
    most = _MOST if flags & _VARARGS else max(positional - bound, 0)
    unfilled = len(optional) < len(keywords)
    count = positional + len(keywords) + (flags & _VARARGS > 0) + (flags & _VARKEYWORDS > 0)
    return Signature(
        least=most + 1 if unfilled else max(positional - bound - defaults, 0),
        most=most,
        name=function.__qualname__,
        names=code.co_varnames[:count],
        positional=positional,
        positional_only=code.co_posonlyargcount,
        keyword_only=len(keywords),
        flags=flags,
        defaults=defaults,
        keyword_defaults=optional,
        bound=bound,
    )


def _nothing() -> None:
    pass


def checker(signature: Sequence[Any]) -> Callable[..., None]:
    """A function that raises the TypeError that Python would raise for its arguments, or does nothing.

    `signature`: a Signature, or the tuple that is left of it on the way to another process.
    """
    wanted = Signature(*signature)
    name = wanted.name.rsplit(".", 1)[-1]
    code = _nothing.__code__.replace(
        co_argcount=wanted.positional,
        co_posonlyargcount=wanted.positional_only,
        co_kwonlyargcount=wanted.keyword_only,
        co_nlocals=len(wanted.names),
        co_varnames=wanted.names,
        co_flags=_PLAIN_FLAGS | wanted.flags,
        co_name=name,
    )
    function = types.FunctionType(code, {}, name, (None,) * wanted.defaults)
    function.__qualname__ = wanted.name
    function.__kwdefaults__ = dict.fromkeys(wanted.keyword_defaults)
    return functools.partial(function, *(None,) * wanted.bound) if wanted.bound else function


def check_call(
    function: Any, args: tuple[Any, ...], kwargs: dict[str, Any], bound: int = 0
) -> None:
    """TypeError when `function(*args, **kwargs)` would raise one for its arguments, as far as can be seen."""
    signature = signature_of(function, bound)
    if signature is not None:
        checker(signature)(*args, **kwargs)


def check_constructor(cls: type, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    """TypeError when `cls(*args, **kwargs)` would raise one for its arguments, as far as can be seen."""
    if type(cls).__call__ is not type.__call__:  # a metaclass decides
        return
    initialise: Any = cls.__init__  # type: ignore[misc]
    plain = initialise is object.__init__
    if plain and cls.__new__ is object.__new__ and (args or kwargs):
        raise TypeError(f"{cls.__name__}() takes no arguments")
    for function in (cls.__new__, None if plain else initialise):
        check_call(function, args, kwargs, bound=1)
