"""Placement groups: `placement_group(bundles)` keeps resources together for tasks and actors.

`cyray.util.placement_group` is this module and, when it is called, the function: programs write both.
"""

from __future__ import annotations

import importlib
import sys
import types
from typing import Any

from cyray._api.placement import (
    PlacementGroup,
    get_current_placement_group,
    get_placement_group,
    placement_group,
    placement_group_table,
    remove_placement_group,
)

__all__ = [
    "PlacementGroup",
    "get_current_placement_group",
    "get_placement_group",
    "placement_group",
    "placement_group_table",
    "remove_placement_group",
]


class _Module(types.ModuleType):
    def __call__(self, *args: Any, **kwargs: Any) -> PlacementGroup:
        return placement_group(*args, **kwargs)

    def __reduce__(
        self,
    ) -> Any:  # as picklers of functions treat plain modules, which they know by their type
        return importlib.import_module, (self.__name__,)


sys.modules[__name__].__class__ = _Module
