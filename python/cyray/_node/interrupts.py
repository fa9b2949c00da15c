"""Ctrl-C while a process ends: what must be done is done all the same, and the process dies of it in the end.

Place: for what `atexit` calls: there an exception is printed and forgotten, and whatever it interrupted is
left behind. Threading: the main thread; others are not interrupted anyway.
"""

from __future__ import annotations

import contextlib
import signal
import sys
import threading
from collections.abc import Iterator
from typing import Any


class Held:
    """`came`: what a handler of SIGINT raised meanwhile was held back."""

    came = False


@contextlib.contextmanager
def held_back() -> Iterator[Held]:
    """Inside, the handler of SIGINT is called as usual, and what it raises is noted alone."""
    held = Held()
    before = signal.getsignal(signal.SIGINT)
    if threading.current_thread() is not threading.main_thread() or not callable(before):
        yield held  # ignored, or deadly at once
        return

    def note(number: int, frame: Any) -> None:
        try:
            before(number, frame)
        except BaseException:
            held.came = True

    signal.signal(signal.SIGINT, note)
    try:
        yield held
    finally:
        signal.signal(signal.SIGINT, before)


def end_of_it() -> None:
    """When all is done that Python does at its end, this process dies of SIGINT, as one that was
    interrupted does: 130 for a shell."""
    core = sys.modules.get("cyray._raylet")
    if core is not None:
        core.die_of_interrupt_at_end()
