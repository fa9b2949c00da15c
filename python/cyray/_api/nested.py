"""Refs in containers of containers, for `get`: taken out, and values put in their places.

Place: what a call means; reached from `_raylet` through `_hooks`. Pure functions.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from cyray import _raylet


def refs_inside(container: Any) -> tuple[list[Any], Callable[[list[Any]], Any]]:
    """The refs in a list, tuple or dict and in all that it holds, and what makes the same of their values.

    The second one takes a list of as many values and gives containers of the same shape: lists, tuples
    (named ones of their own class) and dicts with the same keys. Later changes of `container` do not
    matter to it.

    Raises TypeError for anything inside that is neither a ref nor such a container.
    """
    refs: list[Any] = []
    fill = _filler(container, refs, ())
    return refs, fill


def _filler(part: Any, refs: list[Any], path: tuple[Any, ...]) -> Callable[[list[Any]], Any]:
    if isinstance(part, _raylet.ObjectRef):
        number = len(refs)
        refs.append(part)
        return lambda values: values[number]
    if isinstance(part, dict):
        by_key = {key: _filler(value, refs, (*path, key)) for key, value in part.items()}
        return lambda values: {key: fill(values) for key, fill in by_key.items()}
    if isinstance(part, (list, tuple)):
        fills = [_filler(value, refs, (*path, at)) for at, value in enumerate(part)]
        if isinstance(part, list):
            return lambda values: [fill(values) for fill in fills]
        make = getattr(type(part), "_make", tuple)  # of a named tuple
        return lambda values: make(fill(values) for fill in fills)
    where = "".join(f"[{key!r}]" for key in path)
    raise TypeError(
        f"Attempting to call `get` on the value {part!r}, which is not an ObjectRef"
        + (f": it stands at {where}." if len(path) > 1 else ".")
    )
