"""Serializers of the user's own, by class: what `register_serializer` was told, here or where this work comes from.

Place: the ground, under `by_value`; `_api.serializers` fills the table, `_raylet` looks whether there is something
in it. Threading: entries come and go whole. Invariant: `types` is one object as long as the process lives.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple


class Pair(NamedTuple):
    """`travels`: the pair as bytes when tasks and actors made from here are to have it, too; else empty."""

    serializer: Callable[[Any], Any]
    deserializer: Callable[[Any], Any]
    travels: bytes = b""


types: dict[type, Pair] = {}
_loaded: set[bytes] = set()


def reduce(value: Any) -> tuple[Any, ...]:
    """As `__reduce__`, of a value whose class is in `types`."""
    pair = types[type(value)]
    return pair.deserializer, (pair.serializer(value),)


def travelling() -> tuple[bytes, ...]:
    """What tasks and actors made from here are to know: for `load`, in the order in which it was told."""
    return tuple(pair.travels for pair in types.values() if pair.travels)


def load(pickled: Iterable[bytes]) -> None:
    """The other side of `travelling`. Each counts once: the user may have undone it here meanwhile."""
    import pickle

    for one in pickled:
        if one in _loaded:
            continue
        _loaded.add(one)
        try:
            cls, serializer, deserializer = pickle.loads(one)
        except (
            ImportError,
            AttributeError,
        ):  # no module of it here, so nothing of its class either
            continue
        types[cls] = Pair(serializer, deserializer, one)
