"""Notebook cells: what a cell has changed counts for the next call.

Place: behind `_hooks`; asked when a remote function or class is described. A function is pickled at its first
call, with the helpers and globals that it uses; a script defines these before, but in a notebook any cell may
change them. So after each cell functions and classes are described afresh at their next use: their pickle is
made anew, and where it is another one, workers get that. Outside of IPython nothing happens.
Threading: cells run on the main thread; a call on another one takes what was there before or after.
"""

from __future__ import annotations

import sys
from typing import Any

from cyray import _raylet

_registered = False
_number = 0


def number() -> int:
    """Of the cell that runs, counted from the first use of this; 0 where there are none."""
    if not _registered:
        _register()
    return _number


def _register() -> None:
    global _registered
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython is not None else None
    if shell is not None:
        shell.events.register("pre_run_cell", _on_cell)
        _registered = True


def _on_cell(*_: Any) -> None:
    global _number
    _number += 1
    _raylet.describe_again()
