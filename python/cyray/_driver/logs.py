"""Workers' output on the driver, with its prefix.

`print_lines` formats what the raylet sends as `(name pid=N) text`, and collapses a line that
many processes print at about the same time into one, as Ray does. Called from one background
thread; `flush` and the timer of waiting counts come from others, so a lock guards the window.
"""

from __future__ import annotations

import os
import re
import sys
import threading
import time
from collections.abc import Callable, Iterable
from typing import Any

from cyray._driver import progress

WINDOW_S = 5.0
_DIGITS = re.compile(r"\d+")
_MAX_GROUPS = 1000
_HINT = (
    " (cyray collapses the same line from several processes. "
    "Set CYRAY_DEDUP_LOGS=0 to see all of them.)"
)


class _Group:
    """A line, digits aside, that was printed once and is being counted since."""

    def __init__(self, process: tuple[str, int], now: float) -> None:
        self.first_process = process
        self.opened = now
        self.held = 0
        self.last = ("", False)  # the newest held line, formatted, and whether it is stderr


class LogPrinter:
    """Formats and collapses. `write(text, is_stderr)` prints; `clock` gives seconds."""

    def __init__(
        self,
        write: Callable[[str, bool], None],
        clock: Callable[[], float] = time.monotonic,
        own_ip: str | None = None,
        dedup: bool = True,
    ) -> None:
        self._write = write
        self._clock = clock
        self.own_ip = own_ip
        self._dedup = dedup
        self._lock = threading.Lock()
        self._groups: dict[str, _Group] = {}  # guarded by _lock
        self._hinted = False  # guarded by _lock

    def print_lines(
        self, pid: int, ip: str, label: str, is_stderr: bool, lines: Iterable[str]
    ) -> None:
        """Prints the lines of one process; those that others printed lately are only counted."""
        prefix = self._prefix(pid, ip, label)
        lines = self._without_progress(lines, prefix, is_stderr)
        if not self._dedup:
            text = "".join(f"{prefix}{line}\n" for line in lines)
            if text:
                self._write(text, is_stderr)
            return
        now = self._clock()
        out: list[str] = []
        with self._lock:
            self._flush_older_than(now - WINDOW_S)
            for line in lines:
                if self._admit((ip, pid), line, now, (f"{prefix}{line}", is_stderr)):
                    out.append(f"{prefix}{line}\n")
        if out:
            self._write("".join(out), is_stderr)

    def _without_progress(
        self, lines: Iterable[str], prefix: str, is_stderr: bool
    ) -> Iterable[str]:
        lines = list(lines)
        if not any(line.startswith(progress.MARK) for line in lines):
            return lines
        rest = []
        for line in lines:
            if not line.startswith(progress.MARK):
                rest.append(line)
            elif (text := progress.bars().take(line, prefix)) is not None:
                self._write(text + "\n", is_stderr)
        return rest

    def tick(self) -> None:
        """Prints the counts of windows that have ended. Call it about once a second."""
        with self._lock:
            self._flush_older_than(self._clock() - WINDOW_S)

    def flush(self) -> None:
        """Prints all counts, at the end."""
        with self._lock:
            self._flush_older_than(float("inf"))

    def has_pending(self) -> bool:
        """Whether a count waits to be printed."""
        with self._lock:
            return any(group.held for group in self._groups.values())

    def _prefix(self, pid: int, ip: str, label: str) -> str:
        where = f"pid={pid}"
        if ip and self.own_ip is not None and ip != self.own_ip:
            where += f", ip={ip}"
        return f"({label} {where}) " if label else f"({where}) "

    def _admit(
        self, process: tuple[str, int], line: str, now: float, formatted: tuple[str, bool]
    ) -> bool:
        if not line.strip():
            return True
        key = _DIGITS.sub("", line)
        group = self._groups.get(key)
        if group is None:
            if len(self._groups) >= _MAX_GROUPS:
                self._flush_older_than(float("inf"))
            self._groups[key] = _Group(process, now)
            return True
        if group.first_process == process and group.held == 0:
            return True  # A process that repeats itself is not many processes.
        group.held += 1
        group.last = formatted
        return False

    def _flush_older_than(self, limit: float) -> None:
        for key, group in list(self._groups.items()):
            if group.opened > limit:
                continue
            del self._groups[key]
            if not group.held:
                continue
            text, is_stderr = group.last
            if group.held > 1:
                text += f" [repeated {group.held}x across cluster]"
                if not self._hinted:
                    self._hinted = True
                    text += _HINT
            self._write(text + "\n", is_stderr)


def _write_to_streams(text: str, is_stderr: bool) -> None:
    stream = sys.stderr if is_stderr else sys.stdout
    try:
        with progress.bars().hidden():
            stream.write(text)
            stream.flush()
    except (AttributeError, OSError, ValueError):
        pass  # No stream (pythonw), a closed pipe, a closed file: output has nowhere to go.


def _own_ip() -> str | None:
    raylet = sys.modules.get("cyray._raylet")
    try:
        return None if raylet is None else raylet.identity()["node_ip"]
    except (AttributeError, KeyError, RuntimeError):
        return None  # Not connected.


class DriverOutput:
    """The output of one session's workers: a printer, and a timer that runs only while counts wait.

    `start_timer(seconds, call)` returns what has `cancel()`.
    """

    def __init__(self, printer: LogPrinter, start_timer: Callable[..., Any]) -> None:
        self._printer = printer
        self._start_timer = start_timer
        self._lock = threading.Lock()
        self._timer: Any = None  # guarded by _lock
        self._ended = False  # guarded by _lock

    def print_lines(
        self, pid: int, ip: str, label: str, is_stderr: bool, lines: Iterable[str]
    ) -> None:
        """Prints the lines of one process, or counts them."""
        self._printer.print_lines(pid, ip, label, is_stderr, lines)
        self._watch()

    def flush(self) -> None:
        """Prints all counts; no timer runs any more."""
        with self._lock:
            self._ended = True
            timer, self._timer = self._timer, None
        if timer is not None:
            timer.cancel()
        self._printer.flush()

    def _watch(self) -> None:
        # No line may come any more that would print the counts.
        with self._lock:
            if self._timer is None and not self._ended and self._printer.has_pending():
                self._timer = self._start_timer(WINDOW_S / 2, self._on_timer)

    def _on_timer(self) -> None:
        with self._lock:
            self._timer = None
        self._printer.tick()
        self._watch()


def _start_thread_timer(seconds: float, call: Callable[[], None]) -> threading.Timer:
    timer = threading.Timer(seconds, call)
    timer.daemon = True
    timer.start()
    return timer


_output: DriverOutput | None = None


def print_lines(pid: int, ip: str, label: str, is_stderr: bool, lines: Iterable[str]) -> None:
    """Prints a worker's lines on this process's stdout or stderr."""
    global _output
    if _output is None:
        dedup = os.environ.get("CYRAY_DEDUP_LOGS", "1") != "0"
        printer = LogPrinter(_write_to_streams, own_ip=_own_ip(), dedup=dedup)
        _output = DriverOutput(printer, _start_thread_timer)
    _output.print_lines(pid, ip, label, is_stderr, lines)


def forget() -> None:
    """In the child of a fork: what the parent prints, and a lock that one of its threads may hold."""
    global _output
    _output = None
    progress.forget()


def flush() -> None:
    """Prints all counts of collapsed lines, and forgets the cluster; at shutdown."""
    global _output
    output, _output = _output, None
    if output is not None:
        output.flush()
