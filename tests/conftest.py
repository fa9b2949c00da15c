"""Fixtures of the cluster tests, and what every one of them is checked for.

Each test that starts cyray runs in a temporary folder of its own kind (CYRAY_TMPDIR), which every
process of its sessions inherits: so what a test leaves behind (a process, a socket file, a file
descriptor, a mapped arena) can be told from everything else on the machine. A test that takes
longer than its limit fails with what every thread and process waited for.
"""

from __future__ import annotations

import contextlib
import faulthandler
import gc
import glob
import importlib.util
import os
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from types import FrameType, ModuleType
from typing import Any

import pytest

TEST_TIMEOUT_S = 60
LEFTOVER_DEADLINE_S = 2.0  # how long processes of an ended session may take to go

_tmpdir = ""
_real_stderr = -1


def pytest_configure(config: pytest.Config) -> None:
    global _tmpdir, _real_stderr
    config.addinivalue_line("markers", f"timeout(seconds): another limit than {TEST_TIMEOUT_S} s")
    # Short: a Unix socket's path has at most 107 bytes.
    _tmpdir = tempfile.mkdtemp(prefix="cyt", dir="/tmp")
    os.environ["CYRAY_TMPDIR"] = _tmpdir
    os.environ.pop("CYRAY_ADDRESS", None)
    capture = config.pluginmanager.getplugin("capturemanager")
    outside = capture.global_and_fixture_disabled() if capture else contextlib.nullcontext()
    with outside:
        _real_stderr = os.dup(2)


def pytest_unconfigure() -> None:
    for pid in session_processes():
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(pid, signal.SIGKILL)
    shutil.rmtree(_tmpdir, ignore_errors=True)


# --- Limits ---------------------------------------------------------------------------------------


def _dump() -> str:
    """What the engine's processes wait for, as far as it can say."""
    if "cyray" not in sys.modules:
        return ""
    try:
        from cyray import _private

        dump = getattr(_private, "dump", None)
        return "" if dump is None else str(dump())
    except Exception as error:
        return f"(no dump: {error!r})"


def _on_alarm(signum: int, frame: FrameType | None) -> None:
    os.write(_real_stderr, b"\n--- a test ran past its limit; all threads:\n")
    faulthandler.dump_traceback(file=_real_stderr, all_threads=True)
    pytest.fail(f"the test ran past its limit\n{_dump()}", pytrace=True)


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Iterator[None]:
    marker = item.get_closest_marker("timeout")
    limit = float(marker.args[0]) if marker else TEST_TIMEOUT_S
    previous = signal.signal(signal.SIGALRM, _on_alarm)
    signal.setitimer(signal.ITIMER_REAL, limit)
    # C code that never looks at signals ends the whole run, with the stacks.
    faulthandler.dump_traceback_later(limit + 20, exit=True, file=_real_stderr)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        faulthandler.cancel_dump_traceback_later()
        signal.signal(signal.SIGALRM, previous)


# --- What is left -----------------------------------------------------------------------------------


def session_processes() -> dict[int, str]:
    """Processes of sessions that this pytest started, by pid, with their command lines."""
    mark = f"CYRAY_TMPDIR={_tmpdir}".encode()
    found = {}
    for entry in os.listdir("/proc"):
        if not entry.isdigit() or int(entry) == os.getpid():
            continue
        try:
            with open(f"/proc/{entry}/environ", "rb") as file:
                ours = mark in file.read().split(b"\0")
            if not ours:
                continue
            with open(f"/proc/{entry}/cmdline", "rb") as file:
                found[int(entry)] = file.read().replace(b"\0", b" ").decode(errors="replace")
        except (FileNotFoundError, PermissionError, ProcessLookupError):
            continue
    return found


def zombies() -> list[int]:
    """Ended children of this process that nobody waited for."""
    found = []
    for path in glob.glob("/proc/self/task/*/children"):
        with contextlib.suppress(OSError), open(path) as file:
            for pid in file.read().split():
                with contextlib.suppress(OSError), open(f"/proc/{pid}/stat") as stat:
                    if stat.read().rpartition(")")[2].split()[0] == "Z":
                        found.append(int(pid))
    return found


def open_descriptors() -> Counter[str]:
    """How many sockets, pipes, memfds and the like this process has open, by kind."""
    kinds: Counter[str] = Counter()
    for fd in os.listdir("/proc/self/fd"):
        with contextlib.suppress(OSError):
            target = os.readlink(f"/proc/self/fd/{fd}")
            if target.startswith(("socket:", "pipe:", "anon_inode:")):
                kinds[target.split("[")[0]] += 1
            elif target.startswith("/memfd:"):
                kinds["memfd"] += 1
    return kinds


def arena_mappings() -> int:
    with open("/proc/self/maps") as maps:
        return sum("/memfd:cyray" in line for line in maps)


def leftovers(descriptors_before: Counter[str]) -> list[str]:
    found = [f"process {pid}: {command}" for pid, command in session_processes().items()]
    found += [f"zombie {pid}" for pid in zombies()]
    found += [
        f"socket file {path}" for path in glob.glob(f"{_tmpdir}/**/sockets/*", recursive=True)
    ]
    for kind, count in (open_descriptors() - descriptors_before).items():
        found.append(f"{count} more open {kind} than before the test")
    if arena_mappings():
        found.append("a mapping of an object store's arena in this process")
    return found


@pytest.fixture(autouse=True)
def nothing_is_left(request: pytest.FixtureRequest) -> Iterator[None]:
    """After a test that used cyray: nothing of its sessions exists any more."""
    if "/unit/" in str(request.path) or importlib.util.find_spec("cyray._raylet") is None:
        yield
        return
    import cyray

    before = open_descriptors()
    yield
    if cyray.is_initialized():
        cyray.shutdown()
    if request.node.get_closest_marker("leaves_processes"):
        return
    deadline = time.monotonic() + LEFTOVER_DEADLINE_S
    while True:
        gc.collect()
        found = leftovers(before)
        if not found:
            return
        if time.monotonic() > deadline:
            break
        time.sleep(0.02)
    for pid in session_processes():
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    pytest.fail("left behind:\n  " + "\n  ".join(found), pytrace=False)


# --- Clusters -----------------------------------------------------------------------------------------


@pytest.fixture
def cyray_start(request: pytest.FixtureRequest) -> Iterator[ModuleType]:
    """cyray with two CPUs; `@pytest.mark.parametrize("cyray_start", [{...}], indirect=True)` sets
    other arguments of init()."""
    import cyray

    arguments: dict[str, Any] = {"num_cpus": 2}
    arguments.update(getattr(request, "param", {}))
    cyray.init(**arguments)
    yield cyray
    cyray.shutdown()


@pytest.fixture
def cluster() -> Iterator[Any]:
    """An empty Cluster; the test adds nodes and connects."""
    import cyray
    from cyray.cluster_utils import Cluster

    started = Cluster()
    yield started
    if cyray.is_initialized():
        cyray.shutdown()
    started.shutdown()
