"""Options that only a worker's Python side reads, as bytes: `inout`, `retry_exceptions`, `demand`, an actor's.

Place: the one pickling of what the core carries and does not read (`extra` of a template and of an
actor). Classes in it may be of `__main__` or of a function, which no worker can import: the rule for
what travels by value is that of every value (`by_value`).
"""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from typing import Any

from cyray._pickle import custom

_SERIALIZERS = "serializers"


def retry_types(value: Any) -> Any:
    """`True`, or for each of some exception classes its pickle, its module and its qualified name."""
    if isinstance(value, bool):
        return value
    return tuple((_pickled(cls), cls.__module__, cls.__qualname__) for cls in value)


def _pickled(cls: type) -> bytes:
    from cyray._pickle import by_value

    try:
        return by_value.dumps_either(cls)
    except Exception:  # something in it cannot be pickled: its name has to do
        return b""


def load_retry_types(value: Any) -> Any:
    """`bool`, or a tuple of classes. Of one that is not to be had here: a class whose instances are the errors
    that have a class of that name."""
    return value if isinstance(value, bool) else tuple(_loaded(*one) for one in value)


def _loaded(pickled: bytes, module: str, name: str) -> type:
    try:
        return pickle.loads(pickled)
    except Exception:  # its module is not on this worker
        return _Named("_NamedAlike", (), {"wanted": (module, name)})


class _Named(type):
    wanted: tuple[str, str]

    def __instancecheck__(cls, error: Any) -> bool:
        return any((one.__module__, one.__qualname__) == cls.wanted for one in type(error).__mro__)


def dumps(extra: Mapping[str, Any]) -> bytes:
    """The bytes; empty when there are no options, and no serializers to go with them."""
    serializers = custom.travelling()
    if serializers:
        extra = {**extra, _SERIALIZERS: serializers}
    if not extra:
        return b""
    from cyray._pickle import by_value

    return by_value.dumps_either(dict(extra))


def loads(pickled: bytes) -> dict[str, Any]:
    """The options that `dumps` was given. The serializers that came with them hold from now on."""
    extra = pickle.loads(pickled) if pickled else {}
    custom.load(extra.pop(_SERIALIZERS, ()))
    return extra
