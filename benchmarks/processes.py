"""The processes of a benchmark run: finding them, what they use, ending them.

A run's processes are those whose environment carries its mark, and all their descendants: daemons
that left the process tree have the mark, workers that wrote their title over their environment have
a parent. Loops that keep the cores busy carry a mark of their own, so that they are ended with the
run but not counted as the engine's. Everything is read from /proc; nothing here keeps state.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from typing import NamedTuple

MARK = "CYRAY_BENCH_RUN"
LOAD_MARK = "CYRAY_BENCH_LOAD"
TICK = os.sysconf("SC_CLK_TCK")
GRACE_S = 3.0
KILL_S = 10.0


class Process(NamedTuple):
    """`started` (clock ticks since boot) tells a process from a later one with its number."""

    pid: int
    parent: int
    started: int


def all_processes() -> list[Process]:
    """Every living process; what has ended and waits for its parent to ask is none."""
    found = []
    for entry in os.listdir("/proc"):
        if entry.isdigit() and (fields := _stat(int(entry))) and fields[0] != "Z":
            found.append(Process(int(entry), int(fields[1]), int(fields[19])))
    return found


def family(roots: Iterable[int], processes: Iterable[Process]) -> set[Process]:
    """These and their descendants."""
    children: dict[int, list[Process]] = {}
    by_pid = {}
    for process in processes:
        children.setdefault(process.parent, []).append(process)
        by_pid[process.pid] = process
    found: set[Process] = set()
    waiting = [by_pid[pid] for pid in roots if pid in by_pid]
    while waiting:
        process = waiting.pop()
        if process not in found:
            found.add(process)
            waiting += children.get(process.pid, ())
    return found


def of_run(mark: str, load: bool = True) -> set[Process]:
    """The processes of the run with this mark; `load` says whether its busy loops count."""
    processes = all_processes()
    engine, loops = f"{MARK}={mark}".encode(), f"{LOAD_MARK}={mark}".encode()
    environments = {process.pid: _environment(process.pid) for process in processes}
    found = family((pid for pid, marks in environments.items() if engine in marks), processes)
    busy = {process for process in processes if loops in environments[process.pid]}
    return found | busy if load else found - busy


def end(mark: str, grace_s: float) -> int:
    """Ends what is left of a run; how many processes had to be killed.

    Waits a little first: what notices by itself that its parent is gone also removes its files.
    """
    known = of_run(mark)
    wait_until_gone(mark, known, grace_s)
    killed: set[Process] = set()
    deadline = time.monotonic() + KILL_S
    while (left := _left(mark, known)) and time.monotonic() < deadline:
        for process in left:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(process.pid, signal.SIGKILL)
        killed |= left
        time.sleep(0.02)
    return len(killed)


def wait_until_gone(mark: str, known: set[Process], seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while _left(mark, known) and time.monotonic() < deadline:
        time.sleep(0.02)


def _left(mark: str, known: set[Process]) -> set[Process]:
    started = {(process.pid, process.started) for process in known}
    still = {process for process in all_processes() if (process.pid, process.started) in started}
    return {process for process in still | of_run(mark) if process.pid != os.getpid()}


def watched(pids: Iterable[int]) -> list[int]:
    """Descriptors of processes, for `await_ends`."""
    return [os.pidfd_open(pid) for pid in pids]


def await_ends(pidfds: Iterable[int]) -> None:
    """Waits until these processes have ended, the last of them too, and closes the descriptors."""
    left, poll = set(pidfds), select.poll()
    for pidfd in left:
        poll.register(pidfd, select.POLLIN)
    while left:
        for pidfd, _ in poll.poll():
            poll.unregister(pidfd)
            left.discard(pidfd)
            os.close(pidfd)


# --- What they use --------------------------------------------------------------------------------


def engine_pids(include_self: bool = True) -> list[int]:
    """Of the run that this process belongs to."""
    found = {process.pid for process in of_run(os.environ[MARK], load=False)}
    return sorted(found if include_self else found - {os.getpid()})


def cpu_ticks() -> dict[int, int]:
    """User and system time of each process of the engine so far, with that of children that were
    waited for."""
    stats = {pid: _stat(pid) for pid in engine_pids()}
    return {pid: sum(map(int, fields[11:15])) for pid, fields in stats.items() if fields}


def cpu_seconds_since(before: dict[int, int]) -> float:
    """What the engine used since `before`, the result of `cpu_ticks`. Processes that ended since
    then count as far as somebody waited for them."""
    return sum(ticks - before.get(pid, 0) for pid, ticks in cpu_ticks().items()) / TICK


def idle_cpu_seconds() -> float:
    """The same in the scheduler's nanoseconds, for what is too short for clock ticks; without the
    thread that measures. Threads that ended do not count."""
    total = 0
    for pid in engine_pids():
        with contextlib.suppress(OSError):
            for thread in os.listdir(f"/proc/{pid}/task"):
                if pid == int(thread) == os.getpid():
                    continue
                with open(f"/proc/{pid}/task/{thread}/schedstat") as file:
                    total += int(file.read().split()[0])
    return total / 1e9


def thread_count(pid: int) -> int:
    try:
        return len(os.listdir(f"/proc/{pid}/task"))
    except OSError:
        return 0


def pss_bytes(pids: Iterable[int]) -> int:
    """Memory of these processes, where each page counts in equal parts for those that map it."""
    total = 0
    for pid in pids:
        with contextlib.suppress(OSError), open(f"/proc/{pid}/smaps_rollup") as file:
            for line in file:
                if line.startswith("Pss:"):
                    total += int(line.split()[1]) * 1024
    return total


def resident_bytes() -> int:
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


@contextlib.contextmanager
def busy_cores() -> Iterator[None]:
    """One endless loop on each core meanwhile."""
    environment = {key: value for key, value in os.environ.items() if key != MARK}
    environment[LOAD_MARK] = os.environ[MARK]
    loop = "print(flush=True)\nwhile True: pass"
    command = [sys.executable, "-S", "-c", loop]
    loops = []
    try:
        for _ in os.sched_getaffinity(0):
            loops.append(subprocess.Popen(command, env=environment, stdout=subprocess.PIPE))
        for each in loops:
            assert each.stdout is not None
            each.stdout.readline()
        yield
    finally:
        for each in loops:
            each.kill()
            each.communicate()


def _stat(pid: int) -> list[str]:
    """The fields of /proc/PID/stat from the state on; none when the process is gone."""
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()
    except OSError:
        return []


def _environment(pid: int) -> list[bytes]:
    try:
        with open(f"/proc/{pid}/environ", "rb") as file:
            return file.read().split(b"\0")
    except OSError:
        return []
