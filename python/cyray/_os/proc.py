"""Processes of this machine: since when they run, that they are to end, and that they have ended.

Place: the ground; reads /proc. Threading: none.
"""

from __future__ import annotations

import os
import select

from cyray._os.files import read_text


def start_ticks(pid: int) -> int:
    """When a process started, in clock ticks since boot; 0 when it is gone or a zombie."""
    text = read_text(f"/proc/{pid}/stat")
    fields = text[text.rfind(")") + 2 :].split()
    if len(fields) < 20 or fields[0] in ("Z", "X"):
        return 0
    return int(fields[19])


def kill(pid: int, number: int) -> None:
    """Sends a signal to a process that may be gone, or be somebody else's by now."""
    try:
        os.kill(pid, number)
    except (ProcessLookupError, PermissionError):
        pass


def wait_gone(pid: int, seconds: float, ticks: int | None = None) -> bool:
    """Whether a process ends within so many seconds; a zombie has ended. `ticks` is its start, where the
    number may be another one's by now.
    """
    try:
        pidfd = os.pidfd_open(pid)
    except OSError:
        return True
    try:
        if ticks is not None and start_ticks(pid) != ticks:
            return True
        poll = select.poll()
        poll.register(pidfd, select.POLLIN)
        return bool(poll.poll(max(0, int(seconds * 1000))))
    finally:
        os.close(pidfd)
