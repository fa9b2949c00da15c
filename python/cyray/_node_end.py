"""Ends nodes that other processes started: what `cyray stop` does.

Place: above `_sessions`, below `cli`. Only processes that a session of this user started are
touched: a raylet whose record (pid and start time) matches a live process, and its descendants.
Threading: none.
"""

from __future__ import annotations

import os
import select
import signal
import time
from dataclasses import dataclass

from cyray import _sessions

_AFTER_RAYLET_S = 2.0  # how long a dead raylet's processes may take to end by themselves


@dataclass(frozen=True)
class Outcome:
    """How many processes there were, and how many are still there."""

    found: int
    left: int


def end_all(grace_s: float) -> Outcome:
    """Ends every node of this user: SIGTERM, after `grace_s` seconds SIGKILL."""
    records = [record for path in _sessions.sessions() for record in _sessions.node_records(path)]
    raylets = [record["pid"] for record in records]
    everyone = _with_start(descendants(raylets))
    # Workers first would look like crashes to a raylet; it ends its own.
    for pid in reversed(raylets):
        _kill(pid, signal.SIGTERM if grace_s > 0 else signal.SIGKILL)
    deadline = time.monotonic() + grace_s
    for pid in raylets:
        if not _wait_gone(pid, deadline - time.monotonic()):
            _kill(pid, signal.SIGKILL)
    deadline = time.monotonic() + _AFTER_RAYLET_S
    for pid, ticks in everyone.items():
        if not _wait_gone(pid, deadline - time.monotonic()) and _is_same(pid, ticks):
            _kill(pid, signal.SIGKILL)
            _wait_gone(pid, 1.0)
    left = sum(_is_same(pid, ticks) for pid, ticks in everyone.items())
    if not left:
        for record in records:
            link = os.path.join(os.path.dirname(record["socket"]), "plasma_store")
            _forget(record["path"], record["socket"], link)
        _sessions.forget_current_cluster()
    return Outcome(found=len(everyone), left=left)


def descendants(roots: list[int]) -> list[int]:
    """The processes of `roots` and all that they started, themselves first."""
    children: dict[int, list[int]] = {}
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            text = _sessions.read_text(f"/proc/{entry}/stat")
            fields = text[text.rfind(")") + 2 :].split()
            if len(fields) > 1:
                children.setdefault(int(fields[1]), []).append(int(entry))
    found: list[int] = []
    waiting = list(roots)
    while waiting:
        pid = waiting.pop(0)
        if pid not in found:
            found.append(pid)
            waiting += children.get(pid, [])
    return found


def _with_start(pids: list[int]) -> dict[int, int]:
    starts = {pid: _sessions.process_start_ticks(pid) for pid in pids}
    return {pid: ticks for pid, ticks in starts.items() if ticks}


def _is_same(pid: int, ticks: int) -> bool:
    return _sessions.process_start_ticks(pid) == ticks


def _kill(pid: int, number: int) -> None:
    try:
        os.kill(pid, number)
    except (ProcessLookupError, PermissionError):
        pass


def _wait_gone(pid: int, seconds: float) -> bool:
    try:
        pidfd = os.pidfd_open(pid)
    except OSError:
        return True
    try:
        poll = select.poll()
        poll.register(pidfd, select.POLLIN)
        return bool(poll.poll(max(0, int(seconds * 1000))))
    finally:
        os.close(pidfd)


def _forget(*paths: str) -> None:
    for path in paths:
        try:
            os.unlink(path)
        except OSError:
            pass
