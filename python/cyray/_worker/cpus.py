"""How many threads numerical libraries start in a task or an actor.

OpenMP's variable is read by OpenBLAS and MKL too, when they are loaded. Without it each worker would use all
cores of the machine at once with the others.
"""

from __future__ import annotations

import os

_NAME = "OMP_NUM_THREADS"
_ours: str | None = None  # what stands there by cyray; anything else is the user's


def show_cpus(count: int) -> None:
    """As many as the task or actor has CPUs, unless the user has said otherwise."""
    global _ours
    if os.environ.get(_NAME) == _ours:
        _ours = os.environ[_NAME] = str(count)
