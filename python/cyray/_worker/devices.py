"""Which accelerators a task or an actor sees."""

from __future__ import annotations

import os

from cyray._process import me
from cyray._spec import accelerators


def show_devices(numbers: list[int]) -> None:
    """Makes the assigned accelerators the visible ones, before user code looks."""
    for kind, indexes in accelerators.by_kind(numbers).items():
        visible = me.visible_devices.get(kind)
        names = [visible[i] if visible and i < len(visible) else str(i) for i in indexes]
        os.environ[accelerators.VARIABLES[kind]] = ",".join(names)
