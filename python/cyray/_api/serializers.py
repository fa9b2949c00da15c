"""Serializers of the user's own: `cyray.util.register_serializer`, and `register_custom_serializer` of Ray's past.

Place: below the public faces. The table is `_pickle.custom`'s; what tasks and actors are to know of it goes
with their descriptions, so functions that were described before are described again.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from cyray import _raylet
from cyray._pickle import custom

# Pickle writes them itself, whatever anybody registers.
_OF_PICKLE = (
    type(None),
    bool,
    int,
    float,
    complex,
    str,
    bytes,
    bytearray,
    tuple,
    list,
    dict,
    set,
    frozenset,
)


def register_serializer(
    cls: type, *, serializer: Callable[[Any], Any], deserializer: Callable[[Any], Any]
) -> None:
    """Values of class `cls` that this process sends travel as what `serializer` makes of them.

    Args:
        cls: the class itself; values of its subclasses travel as before.
        serializer: takes a value, gives anything that pickles.
        deserializer: takes that in the other process, gives the value. It travels with each value, so a function of
            `__main__` may be one.

    It holds in this process alone, until `deregister_serializer`; what tasks and actors return is up to their own
    processes. A serializer for the class that was there before is replaced.

    Raises:
        TypeError: `cls` is no class, is one that pickle itself writes (int, list, ...), or one of the two cannot be
            called.

    Example:
        register_serializer(Connection, serializer=lambda c: c.address, deserializer=Connection)
    """
    _check(cls, serializer, deserializer)
    custom.types[cls] = custom.Pair(serializer, deserializer)


def deregister_serializer(cls: type) -> None:
    """Values of class `cls` that this process sends are pickled as any other again. Nothing happens where no
    serializer was registered.
    """
    found = custom.types.pop(cls, None)
    if found is not None and found.travels:
        _raylet.describe_again()


def register_custom_serializer(
    cls: type,
    serializer: Callable[[Any], Any] | None = None,
    deserializer: Callable[[Any], Any] | None = None,
    use_pickle: bool = False,
    use_dict: bool = False,
    local: bool | None = None,
    job_id: Any = None,
    class_id: Any = None,
) -> None:
    """As `register_serializer`, for this process and for the tasks and actors that it makes from now on.

    Args:
        cls, serializer, deserializer: as there.
        use_pickle: pickle values of `cls` as any other: undoes what was registered for it here.
        use_dict: what travels is the value's `__dict__`; it is made again without its constructor.
        local: for this process alone.
        job_id, class_id: Ray's programs may give them; a class needs no id here.

    Raises:
        ValueError: not exactly one of use_pickle, use_dict and the pair of functions is given.
        TypeError: as `register_serializer`; or the class or one of the functions cannot be pickled.
    """
    given = [bool(use_pickle), bool(use_dict), serializer is not None or deserializer is not None]
    if sum(given) != 1:
        raise ValueError(
            "register_custom_serializer takes use_pickle=True, or use_dict=True, or a serializer and a deserializer"
        )
    if use_pickle:
        _check(cls, bool, bool)
        deregister_serializer(cls)
        return
    if use_dict:
        serializer, deserializer = _to_dict, _from_dict
    _check(cls, serializer, deserializer)
    assert serializer is not None and deserializer is not None
    if local:
        custom.types[cls] = custom.Pair(serializer, deserializer)
        return
    from cyray._pickle import by_value

    travels = by_value.dumps((cls, serializer, deserializer))
    custom.types[cls] = custom.Pair(serializer, deserializer, travels)
    _raylet.describe_again()


def _check(cls: Any, serializer: Any, deserializer: Any) -> None:
    if not isinstance(cls, type):
        raise TypeError(f"a serializer is registered for a class, not for {cls!r}")
    if cls in _OF_PICKLE:
        raise TypeError(
            f"pickle writes values of {cls.__name__} itself: no serializer can be registered for that class"
        )
    for name, function in (("serializer", serializer), ("deserializer", deserializer)):
        if not callable(function):
            raise TypeError(f"the {name} of {cls.__qualname__} is a function, not {function!r}")


def _to_dict(value: Any) -> tuple[type, dict[str, Any]]:
    return type(value), dict(vars(value))


def _from_dict(state: tuple[Any, dict[str, Any]]) -> Any:
    cls, attributes = state
    value = cls.__new__(cls)
    vars(value).update(attributes)
    return value
