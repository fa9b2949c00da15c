"""The processes of this machine as /proc tells them: signals that cannot hit another one, waiting for ends.

Place: the ground; the standard library alone, so the zygote has it at hand.
Threading: none; each call reads /proc anew.
Invariant: a signal reaches the process that was looked at or nobody, also when its number was given
to another one meanwhile.
"""

from __future__ import annotations

import os
import select
import signal
import socket
import sys
from collections.abc import Iterable


class Process:
    """One process as it was when it was looked at; pid and start name it for as long as the machine runs."""

    # Not a NamedTuple: making one takes longer than all else that `init` imports of this room.
    __slots__ = ("parent", "pid", "session", "start_ticks", "stopped", "zombie")

    def __init__(self, pid: int, fields: list[bytes]) -> None:
        """`fields`: of /proc/<pid>/stat, behind the name."""
        self.pid = pid
        self.zombie = fields[0] in (b"Z", b"X")
        self.stopped = fields[0] in (b"T", b"t")  # by a signal, or by a debugger
        self.parent = int(fields[1])
        self.session = int(fields[3])
        self.start_ticks = int(fields[19])  # clock ticks since boot


def read_process(pid: int) -> Process | None:
    """What /proc says of a process; None when there is none."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            stat = file.read()
    except OSError:
        return None
    fields = stat[stat.rfind(b")") + 2 :].split()  # the name may hold anything
    return Process(pid, fields) if len(fields) >= 20 else None


def start_ticks(pid: int) -> int:
    """When a process started, in clock ticks since boot; 0 when it is gone or a zombie."""
    process = read_process(pid)
    return 0 if process is None or process.zombie else process.start_ticks


def is_stopped(pid: int) -> bool:
    """Whether the process exists and does not run until somebody lets it: SIGSTOP, a debugger."""
    process = read_process(pid)
    return process is not None and process.stopped


def processes() -> list[Process]:
    """All that can be read."""
    found = (read_process(int(entry)) for entry in os.listdir("/proc") if entry.isdigit())
    return [process for process in found if process is not None]


def descendants(roots: Iterable[int], among: list[Process] | None = None) -> list[Process]:
    """The processes of `roots` and all that they started, parents before children."""
    everyone = processes() if among is None else among
    children: dict[int, list[Process]] = {}
    for process in everyone:
        children.setdefault(process.parent, []).append(process)
    known = {process.pid: process for process in everyone}
    waiting = [known[pid] for pid in roots if pid in known]
    found: dict[int, Process] = {}
    for process in waiting:  # grows meanwhile
        if process.pid not in found:
            found[process.pid] = process
            waiting += children.get(process.pid, [])
    return list(found.values())


def command_line(pid: int) -> bytes:
    """Its beginning; empty when the process is gone or in the middle of an exec."""
    try:
        with open(f"/proc/{pid}/cmdline", "rb") as file:
            return file.read(4096)
    except OSError:
        return b""


def may_be_resource_tracker(pid: int) -> bool:
    """Whether it is a resource tracker of Python's multiprocessing (or joblib's).

    It waits until those who made semaphores and segments in /dev/shm are gone, and then removes
    these: it goes last. True also in the middle of an exec: the next look tells.
    """
    line = command_line(pid)
    return not line or b"resource_tracker import main" in line


def has_in_environment(pid: int, entry: str) -> bool:
    """Whether the process was started with `entry` ("NAME=value") in its environment."""
    try:
        with open(f"/proc/{pid}/environ", "rb") as file:
            return entry.encode() in file.read().split(b"\0")
    except OSError:
        return False


def holds_connection(pid: int, near: tuple[str, int], far: tuple[str, int]) -> bool:
    """Whether a process has the socket of a TCP connection (IPv4) whose own end is `near`."""
    ends = [_in_hex(near), _in_hex(far)]
    try:
        with open("/proc/net/tcp") as file:
            rows = [line.split() for line in file]
        inodes = {f"socket:[{row[9]}]" for row in rows if row[1:3] == ends}
        entries = os.listdir(f"/proc/{pid}/fd") if inodes else []
    except OSError:
        return False
    return any(_link(f"/proc/{pid}/fd/{entry}") in inodes for entry in entries)


def _in_hex(address: tuple[str, int]) -> str:
    # As /proc/net/tcp has it: the bytes of the address as a number of this machine's.
    number = int.from_bytes(socket.inet_aton(address[0]), sys.byteorder)
    return f"{number:08X}:{address[1]:04X}"


def _link(path: str) -> str:
    try:
        return os.readlink(path)
    except OSError:  # closed meanwhile
        return ""


def kill(process: Process, number: int = signal.SIGKILL) -> bool:
    """Signals that very process. False when it is gone, or not ours to signal."""
    try:
        pidfd = os.pidfd_open(process.pid)
    except OSError:
        return False
    try:
        # The descriptor names whoever has that number now: the same one if its start is the same.
        now = read_process(process.pid)
        if now is None or now.start_ticks != process.start_ticks:
            return False
        signal.pidfd_send_signal(pidfd, number)
    except OSError:
        return False
    finally:
        os.close(pidfd)
    return True


def wait_gone(pid: int, seconds: float, ticks: int | None = None) -> bool:
    """Whether a process ends within so many seconds; a zombie has ended.

    `ticks`: when it started, where its number may be another one's by now.
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
