"""`free`: what is kept for objects goes, though refs to them live.

Place: what a call means; public as `cyray.internal.free`.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from cyray import _raylet
from cyray._driver.init import auto_init


def free(object_refs: Any, local_only: bool = False) -> None:
    """Free objects by hand: `get` of their refs raises `ObjectFreedError` from now on, everywhere.

    Memory in stores is free again at once, unless somebody still reads it: arrays that were got stay as
    they are. Refs inside a freed value let go of their objects. Whoever waits gets the error now, also
    for an object that is not there yet: what its task returns is dropped. Tasks that take the object and
    have not begun fail with the error; a task that runs keeps what it has got of its arguments.

    Most programs need none of this: an object goes by itself with the last ref to it.

    Args:
        object_refs: an `ObjectRef` or several; who owns them does not matter. Freeing one twice is nothing.
        local_only: delete the copy in this node's store alone. An object that another node has is fetched
            from there when it is wanted again; one that no other node has is freed as above; one that is
            in no store stays.

    Raises:
        TypeError: something is no ref.
    """
    if isinstance(object_refs, _raylet.ObjectRef):
        object_refs = [object_refs]
    if not isinstance(object_refs, Iterable):
        raise TypeError(f"free() takes ObjectRefs, not {type(object_refs)}")
    refs = list(object_refs)
    for ref in refs:
        if not isinstance(ref, _raylet.ObjectRef):
            raise TypeError(f"free() takes ObjectRefs, and got one {type(ref)} among them")
    auto_init()
    _raylet.free_objects(refs, bool(local_only))
