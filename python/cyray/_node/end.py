"""Ends nodes that other processes started: what `cyray stop` does.

Place: above `sessions`, below `cli`. Only processes that a session of this user started are
touched: a raylet whose record (pid and start time) matches a live process, and its descendants.
Threading: none.
"""

from __future__ import annotations

import os
import signal
import time
from typing import NamedTuple

from cyray._node import sessions
from cyray._os import proc
from cyray._os.files import unlink

_AFTER_RAYLET_S = 2.0  # how long a dead raylet's processes may take to end by themselves


class Outcome(NamedTuple):
    """How many processes there were, and how many are still there."""

    found: int
    left: int


def end_all(grace_s: float) -> Outcome:
    """Ends every node of this user: SIGTERM, after `grace_s` seconds SIGKILL."""
    records = [record for path in sessions.sessions() for record in sessions.node_records(path)]
    raylets = [record["pid"] for record in records]
    everyone = [p for p in proc.descendants(raylets) if not p.zombie]
    nodes = [process for process in everyone if process.pid in raylets]
    # Workers first would look like crashes to a raylet; it ends its own.
    for process in reversed(nodes):
        proc.kill(process, signal.SIGTERM if grace_s > 0 else signal.SIGKILL)
    deadline = time.monotonic() + grace_s
    for process in nodes:
        if not _wait_gone(process, deadline - time.monotonic()):
            proc.kill(process)
    deadline = time.monotonic() + _AFTER_RAYLET_S
    # Resource trackers last: they clean up after the others.
    for process in sorted(everyone, key=lambda p: proc.may_be_resource_tracker(p.pid)):
        if not _wait_gone(process, deadline - time.monotonic()) and proc.kill(process):
            _wait_gone(process, 1.0)
    left = sum(_is_there(process) for process in everyone)
    if not left:
        for record in records:
            link = os.path.join(os.path.dirname(record["socket"]), "plasma_store")
            for path in (record["path"], record["socket"], link):
                unlink(path)
        sessions.forget_current_cluster()
    return Outcome(found=len(everyone), left=left)


def _is_there(process: proc.Process) -> bool:
    return proc.start_ticks(process.pid) == process.start_ticks


def _wait_gone(process: proc.Process, seconds: float) -> bool:
    return proc.wait_gone(process.pid, seconds, process.start_ticks)
