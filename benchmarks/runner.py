"""Runs one engine in a process of its own, with a limit on the time of each case.

A case that never ends, or that takes its process with it, costs its own figure only: the processes
of the run are ended and a new one goes on with the cases after it. Whatever happens, Ctrl-C too, no
process stays and the run's folder, which holds every engine's scratch files, is removed.
"""

from __future__ import annotations

import contextlib
import json
import os
import queue
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import IO, Any

from benchmarks import processes
from benchmarks.cases import START, STOP
from benchmarks.processes import MARK

ROOT = Path(__file__).resolve().parent.parent
CASE_LIMIT_S = 60.0
POLL_S = 0.2
LOG_LINES = 20

Message = dict[str, Any]
Hear = Callable[[Message], None]


@dataclass(frozen=True)
class Stopped:
    """Where a run came to an end before its last case, and why."""

    case: str
    why: str


class ChildRun:
    """A child with an engine. As a context manager: nothing of it is left afterwards."""

    def __init__(self, command: list[str], environment: dict[str, str]) -> None:
        self._command = command
        self._mark = f"{os.getpid()}-{time.monotonic_ns()}"
        self._environment = environment
        self._child: subprocess.Popen[str] | None = None
        self._lines: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        self.left = 0  # processes that had to be killed

    def __enter__(self) -> ChildRun:
        # Short: the engines' Unix sockets are in it.
        self._folder = Path(tempfile.mkdtemp(prefix="cyb"))
        try:
            self._start()
        except BaseException:
            self._end()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._end()

    def messages(self, limit_s: float) -> Iterator[Message]:
        """What the child says, until it ends. TimeoutError when it says nothing for `limit_s`."""
        quiet_since = time.monotonic()
        while time.monotonic() - quiet_since < limit_s:
            # Children that it forked hold its standard output too: its end is noticed in two ways.
            ended = self.exit_code() is not None
            try:
                line = self._lines.get(timeout=min(POLL_S, limit_s))
            except queue.Empty:
                if ended:
                    return
                continue
            if line is None:
                return
            yield json.loads(line)
            quiet_since = time.monotonic()
        raise TimeoutError(f"> {limit_s:.0f} s")

    def exit_code(self, limit_s: float = 0.0) -> int | None:
        """None when it still runs after `limit_s`."""
        assert self._child is not None
        try:
            return self._child.wait(limit_s)
        except subprocess.TimeoutExpired:
            return None

    @property
    def _log(self) -> Path:
        return self._folder / "log"

    def log_tail(self) -> str:
        lines = self._log.read_text(errors="replace").splitlines()
        return "\n".join(f"    {line}" for line in lines[-LOG_LINES:])

    def _start(self) -> None:
        folder = str(self._folder)
        places = dict.fromkeys(("TMPDIR", "CYRAY_TMPDIR", "JOBLIB_TEMP_FOLDER"), folder)
        with self._log.open("w") as errors:
            self._child = subprocess.Popen(
                self._command,
                stdout=subprocess.PIPE,
                stderr=errors,
                stdin=subprocess.DEVNULL,
                text=True,
                env={**self._environment, **places, MARK: self._mark},
                cwd=ROOT,
                start_new_session=True,  # Ctrl-C is this process's business.
            )
        threading.Thread(target=self._read, args=(self._child.stdout,), daemon=True).start()

    def _end(self) -> None:
        with _no_interrupts():
            if self._child is not None:
                self._child.kill()
                self._child.wait()
            self.left = processes.end(self._mark, processes.GRACE_S)
            shutil.rmtree(self._folder, ignore_errors=True)

    def _read(self, lines: IO[str]) -> None:
        with lines:
            for line in lines:
                self._lines.put(line)
        self._lines.put(None)


def run_engine(name: str, cases: list[str], python: str, hear: Hear) -> list[Stopped]:
    """Runs the cases, in as many processes as it takes, and passes on what they say."""
    command = [python, "-m", "benchmarks.child", name]
    stops = []
    while cases:
        stopped = _run_once([*command, *cases], engine_environment(name), name, hear)
        if stopped is None:
            break
        stops.append(stopped)
        if stopped.case not in cases:  # it did not start, or did not stop
            break
        cases = cases[cases.index(stopped.case) + 1 :]
    return stops


def engine_environment(name: str) -> dict[str, str]:
    path = [str(ROOT), *([str(ROOT / "python")] if name in ("cyray", "blocking") else [])]
    # The last: each new worker of any engine would compile the modules it imports.
    left_out = (
        "CYRAY_ADDRESS",
        "RAY_ADDRESS",
        "DASK_SCHEDULER_ADDRESS",
        "PYTHONDONTWRITEBYTECODE",
    )
    inherited = {key: value for key, value in os.environ.items() if key not in left_out}
    return {**inherited, "PYTHONPATH": os.pathsep.join(path), "PYTHONWARNINGS": "ignore"}


def _run_once(
    command: list[str], environment: dict[str, str], name: str, hear: Hear
) -> Stopped | None:
    doing = START
    stopped: Stopped | None = None
    with ChildRun(command, environment) as run:
        try:
            for message in run.messages(CASE_LIMIT_S):
                doing = message.get("begin", doing)
                hear(message)
            code = run.exit_code(CASE_LIMIT_S)
            if code is None:
                stopped = Stopped(STOP, f"> {CASE_LIMIT_S:.0f} s")
            elif code != 0:
                stopped = Stopped(doing, "died" if doing != START else "failed")
        except TimeoutError as error:
            stopped = Stopped(doing, str(error))
        if stopped:
            say(f"  {name}: {stopped.case}: {stopped.why}; the end of its log:\n{run.log_tail()}")
    if run.left and not stopped:
        say(f"  {name}: left {run.left} processes behind, which were killed")
    return stopped


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


@contextlib.contextmanager
def _no_interrupts() -> Iterator[None]:
    """A second Ctrl-C must not stop the cleaning, which is bounded in time."""
    before = {each: signal.signal(each, signal.SIG_IGN) for each in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)
