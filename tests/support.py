"""What the tests share: waiting for conditions, gates, processes, drivers and commands of their own.

Threading: used by the test's thread. `poll` is the one loop that sleeps, a few milliseconds at a
time: tests wait for what they need, with a deadline, and hold what has to wait at a `Gate`.
"""

from __future__ import annotations

import glob
import json
import os
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from typing import Any


def poll(condition: Callable[[], Any], timeout: float = 5.0) -> Any:
    """The first true value of `condition()`, or its last one after `timeout` seconds."""
    deadline = time.monotonic() + timeout
    while True:
        value = condition()
        if value or time.monotonic() > deadline:
            return value
        time.sleep(0.005)


def eventually(condition: Callable[[], Any], timeout: float = 5.0, what: str = "") -> Any:
    """The first true value of `condition()`; fails with its last value after `timeout` seconds."""
    value = poll(condition, timeout)
    if not value:
        raise AssertionError(f"not within {timeout} s: {what or condition} is {value!r}")
    return value


class Gate:
    """Holds the bodies of tasks without polling, and without giving their CPUs back.

    A task that runs `open(gate.path).close()` waits there until the test calls `open()`.
    """

    def __init__(self, folder: Any) -> None:
        self.path = os.path.join(str(folder), "gate")
        os.mkfifo(self.path)
        self._writer = -1

    def open(self) -> None:
        """Lets all pass, now and later."""
        if self._writer < 0:
            self._writer = os.open(self.path, os.O_RDWR | os.O_CLOEXEC)

    def close(self) -> None:
        if self._writer >= 0:
            os.close(self._writer)
            self._writer = -1


def is_running(pid: int) -> bool:
    """Whether the process exists and is not a zombie."""
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] not in ("Z", "X")
    except (FileNotFoundError, ProcessLookupError):
        return False


def children(pid: int) -> list[int]:
    """Direct children of a process."""
    found = []
    try:
        for task in os.listdir(f"/proc/{pid}/task"):
            with open(f"/proc/{pid}/task/{task}/children") as file:
                found += [int(child) for child in file.read().split()]
    except (FileNotFoundError, ProcessLookupError):
        pass
    return found


def command_line(pid: int) -> str:
    try:
        with open(f"/proc/{pid}/cmdline", "rb") as file:
            return file.read().replace(b"\0", b" ").decode(errors="replace")
    except (FileNotFoundError, ProcessLookupError):
        return ""


def find_process(root: int, part: str) -> int:
    """The pid of the child of `root` whose command line contains `part`; 0 when there is none."""
    for pid in children(root):
        if part in command_line(pid):
            return pid
    return 0


def raylet_pid() -> int:
    """The raylet that `cyray.init()` started for this process."""
    from cyray._driver import session

    assert session.current is not None
    return int(session.current.node.pid)


def zygote_pid() -> int:
    return eventually(lambda: find_process(raylet_pid(), "_worker.zygote"), what="the zygote")


def gcs_pid() -> int:
    return eventually(lambda: find_process(raylet_pid(), "gcs_server"), what="the gcs_server")


def named_values(tree: Any, name: str) -> Iterator[Any]:
    """All values under the key `name`, at any depth of a JSON tree."""
    if isinstance(tree, dict):
        for key, value in tree.items():
            if key == name:
                yield value
            yield from named_values(value, name)
    elif isinstance(tree, list):
        for value in tree:
            yield from named_values(value, name)


def node_state() -> dict[str, Any]:
    """The raylet's own account of itself."""
    from cyray import _raylet

    return json.loads(_raylet.node_dump())


def store_used_bytes() -> int:
    """Bytes of this node's object store that objects take."""
    state = node_state()
    for name in ("used_bytes", "allocated_bytes"):
        values = list(named_values(state, name))
        if values:
            return int(values[0])
    raise AssertionError(f"the node says nothing of its store: {state}")


def command(*args: str, code: int = 0) -> str:
    """What the `cyray` command prints; it must end with `code`."""
    done = subprocess.run(
        [sys.executable, "-m", "cyray.cli", *args], capture_output=True, text=True, timeout=50
    )
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout + done.stderr


class Driver:
    """A program of its own, with its output, as a person would run it."""

    def __init__(
        self, folder: Any, source: str, *args: str, stdin: bool = False, **env: str
    ) -> None:
        path = os.path.join(str(folder), "driver.py")
        with open(path, "w") as file:
            file.write(textwrap.dedent(source))
        self.process = subprocess.Popen(
            [sys.executable, path, *args],
            stdin=subprocess.PIPE if stdin else None,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=str(folder),
            env={**os.environ, **env},
        )

    @property
    def pid(self) -> int:
        return self.process.pid

    def line(self) -> str:
        """The next line of its stdout, without the newline."""
        assert self.process.stdout is not None
        return self.process.stdout.readline().rstrip("\n")

    def kill(self) -> None:
        self.process.kill()
        self.process.communicate()

    def finish(self, timeout: float = 30, code: int = 0) -> tuple[str, str]:
        """Its remaining stdout and its stderr, once it has ended with `code`."""
        try:
            out, err = self.process.communicate(timeout=timeout)
        except subprocess.TimeoutExpired:
            self.process.kill()
            out, err = self.process.communicate()
            raise AssertionError(f"the driver did not end within {timeout} s\n{out}{err}") from None
        assert self.process.returncode == code, f"exit {self.process.returncode}\n{out}\n{err}"
        return out, err


def run_driver(folder: Any, source: str, *args: str, **env: str) -> tuple[str, str]:
    """Runs a program to its end; its stdout and stderr."""
    return Driver(folder, source, *args, **env).finish()


# The beginning of a driver that can wait for a text on its stderr.
WATCHED_DRIVER = """
import sys
import threading
import cyray

class Watched:
    def __init__(self, stream):
        self.stream, self.text, self.news = stream, "", threading.Condition()

    def write(self, text):
        self.stream.write(text)
        with self.news:
            self.text += text
            self.news.notify_all()

    def flush(self):
        self.stream.flush()

    def await_text(self, text, timeout=30):
        with self.news:
            if not self.news.wait_for(lambda: text in self.text, timeout):
                raise AssertionError(f"{text!r} was not said")

sys.stderr = Watched(sys.stderr)
"""


def session_processes() -> dict[int, str]:
    """Processes of sessions under this run's folder, by pid, with their command lines."""
    mark = f"CYRAY_TMPDIR={os.environ['CYRAY_TMPDIR']}".encode()
    found = {}
    for entry in os.listdir("/proc"):
        if not entry.isdigit() or int(entry) == os.getpid():
            continue
        try:
            with open(f"/proc/{entry}/environ", "rb") as file:
                ours = mark in file.read().split(b"\0")
        except (FileNotFoundError, PermissionError, ProcessLookupError):
            continue
        if ours and is_running(int(entry)):
            found[int(entry)] = command_line(int(entry))
    return found


def socket_files() -> list[str]:
    """Socket files of sessions under this run's folder."""
    return glob.glob(f"{os.environ['CYRAY_TMPDIR']}/**/sockets/*", recursive=True)
