"""The stacks of another process's Python threads: it writes them itself when a signal asks it to.

Place: the ground. A process that may be asked holds an unnamed file (`install`); faulthandler's handler writes
into it, without the GIL and whatever the process does, also inside of compiled code. Whoever asks (`read`)
belongs to the same user, and reads that file through /proc: no debugger, no right to trace.
Threading: `install` on the main thread, once. Invariant: a process that has not installed is sent nothing.
"""

from __future__ import annotations

import faulthandler
import fcntl
import os
import signal
import time

# Real-time signals are nobody's; the first ones are for cancelling tasks and for libraries.
SIGNAL = signal.SIGRTMAX - 3
_NAME = "cyray-stacks"
_LINK = f"/memfd:{_NAME} (deleted)"
_LOOK_S = 0.005

_fd = -1


def install() -> None:
    """From now on this process can be asked for its stacks."""
    global _fd
    if _fd < 0:
        _fd = os.memfd_create(_NAME, os.MFD_CLOEXEC)
        fcntl.fcntl(_fd, fcntl.F_SETFL, os.O_APPEND)  # who asks empties it before
        faulthandler.register(SIGNAL, file=_fd, all_threads=True)


def can_be_asked(pid: int) -> bool:
    """Whether the process has installed."""
    return _find(pid) is not None and bool(_mask(f"/proc/{pid}/status", "SigCgt") & _bit())


def read(pid: int, limit_s: float = 2.0) -> str | None:
    """The stacks of the process's threads; None when it cannot be asked or does not answer in time."""
    path = _find(pid)
    if path is None or not can_be_asked(pid):
        return None
    try:
        with open(path, "r+b", buffering=0) as file:
            file.truncate(0)
            before = _blocking(pid)
            os.kill(pid, SIGNAL)
            deadline = time.monotonic() + limit_s
            # While it writes, the signal is pending, or blocked in the thread that handles it.
            while _is_pending(pid) or _blocking(pid) - before:
                if time.monotonic() > deadline:
                    return None
                time.sleep(_LOOK_S)
            file.seek(0)
            return file.read().decode("utf-8", "replace")
    except OSError:  # it has ended
        return None


def _bit() -> int:
    return 1 << (SIGNAL - 1)


def _find(pid: int) -> str | None:
    folder = f"/proc/{pid}/fd"
    try:
        entries = os.listdir(folder)
    except OSError:
        return None
    for entry in entries:
        try:
            if os.readlink(f"{folder}/{entry}") == _LINK:
                return f"{folder}/{entry}"
        except OSError:
            continue
    return None


def _mask(path: str, name: str) -> int:
    try:
        with open(path) as file:
            for line in file:
                if line.startswith(f"{name}:"):
                    return int(line.split()[1], 16)
    except (OSError, ValueError):
        pass
    return 0


def _is_pending(pid: int) -> bool:
    return bool(_mask(f"/proc/{pid}/status", "ShdPnd") & _bit())


def _blocking(pid: int) -> set[str]:
    """The threads that do not take the signal now."""
    try:
        threads = os.listdir(f"/proc/{pid}/task")
    except OSError:
        return set()
    return {t for t in threads if _mask(f"/proc/{pid}/task/{t}/status", "SigBlk") & _bit()}
