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
import importlib.util
import os
import shutil
import signal
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from types import FrameType, ModuleType
from typing import Any

import pytest
import support

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
    kill_session_processes()
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


def kill_session_processes() -> None:
    for pid in support.session_processes():
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(pid, signal.SIGKILL)


def zombies() -> list[int]:
    """Ended children of this process that nobody waited for."""
    return [pid for pid in support.children(os.getpid()) if not support.is_running(pid)]


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
    found = [f"process {pid}: {line}" for pid, line in support.session_processes().items()]
    found += [f"zombie {pid}" for pid in zombies()]
    found += [f"socket file {path}" for path in support.socket_files()]
    for kind, count in (open_descriptors() - descriptors_before).items():
        found.append(f"{count} more open {kind} than before the test")
    if arena_mappings():
        found.append("a mapping of an object store's arena in this process")
    return found


def fail_on_leftovers(descriptors_before: Callable[[], Counter[str]]) -> None:
    """Fails, and ends what it can, when something of a session is there after a while."""
    found: list[str] = []

    def nothing() -> bool:
        gc.collect()
        found[:] = leftovers(descriptors_before())
        return not found

    if not support.poll(nothing, LEFTOVER_DEADLINE_S):
        kill_session_processes()
        pytest.fail("left behind:\n  " + "\n  ".join(found), pytrace=False)


@pytest.fixture(autouse=True)
def nothing_is_left(request: pytest.FixtureRequest) -> Iterator[None]:
    """After a test that used cyray: nothing of its sessions exists any more."""
    shared = "shared_session" in request.fixturenames  # it looks once, when the file is done
    if shared or importlib.util.find_spec("cyray._raylet") is None:
        yield
        return
    import cyray

    before = open_descriptors()
    yield
    started = cyray.is_initialized()
    cyray.shutdown()
    if "/unit/" in str(request.path):
        # Whoever comes next must not find a session or an ended child that it did not start.
        for pid in zombies():
            with contextlib.suppress(ChildProcessError):
                os.waitpid(pid, os.WNOHANG)
        assert not started, "a unit test started a session, by init() or by itself"
    else:
        fail_on_leftovers(lambda: before)


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


def standard_streams() -> Counter[str]:
    """What stdin, stdout and stderr are now: pytest changes them between tests and their end."""
    kinds: Counter[str] = Counter()
    for fd in range(3):
        with contextlib.suppress(OSError):
            kinds[os.readlink(f"/proc/self/fd/{fd}").split("[")[0]] += 1
    return kinds


@pytest.fixture(scope="module")
def shared_session(request: pytest.FixtureRequest) -> Iterator[ModuleType]:
    """One session for all tests of a file, for files whose tests leave no trace in it:

        pytestmark = pytest.mark.usefixtures("shared_session")

    `INIT` in the file, when there is one, has the arguments of `init()`. That nothing is left is looked at
    once, when the file is done.
    """
    import cyray

    before = open_descriptors()
    before.subtract(standard_streams())
    cyray.init(**{"num_cpus": 2, **getattr(request.module, "INIT", {})})
    yield cyray
    cyray.shutdown()
    fail_on_leftovers(lambda: before + standard_streams())


@pytest.fixture
def gate(tmp_path: Any) -> Iterator[support.Gate]:
    """A gate that tasks wait at, open in the end whatever happens."""
    made = support.Gate(tmp_path)
    yield made
    made.open()
    made.close()


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
