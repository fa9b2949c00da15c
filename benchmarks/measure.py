"""Clocks and counters of the benchmarks: rates, percentiles, CPU and memory of an engine's processes.

An engine's processes are those that inherited CYRAY_BENCH_ENGINE=<run> from the child that runs its
cases, so daemons that left the process tree count too.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator

MARK = "CYRAY_BENCH_ENGINE"
TICK = os.sysconf("SC_CLK_TCK")


def rate(run: Callable[[], int], seconds: float = 1.0) -> float:
    """Calls `run`, which returns how many things it did, until `seconds` passed: things a second."""
    run()
    done = 0
    start = time.perf_counter()
    while True:
        done += run()
        elapsed = time.perf_counter() - start
        if elapsed >= seconds:
            return done / elapsed


def latencies(run: Callable[[], object], seconds: float = 1.0) -> dict[str, float]:
    """One call after the other: calls a second, and percentiles in microseconds."""
    for _ in range(20):
        run()
    times = []
    clock = time.perf_counter
    start = last = clock()
    while last - start < seconds:
        run()
        now = clock()
        times.append(now - last)
        last = now
    times.sort()
    return {
        "rate": len(times) / (last - start),
        "p50_us": times[len(times) // 2] * 1e6,
        "p99_us": times[min(len(times) - 1, len(times) * 99 // 100)] * 1e6,
    }


def timed(run: Callable[[], object]) -> float:
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


# --- Processes ----------------------------------------------------------------------------------------


def engine_processes(include_self: bool = True) -> list[int]:
    mark = f"{MARK}={os.environ.get(MARK, '')}".encode()
    pids = []
    for entry in os.listdir("/proc"):
        if not entry.isdigit():
            continue
        with contextlib.suppress(OSError), open(f"/proc/{entry}/environ", "rb") as file:
            if mark in file.read().split(b"\0") and (include_self or int(entry) != os.getpid()):
                pids.append(int(entry))
    return pids


def cpu_seconds(pids: list[int]) -> float:
    """User and system time of these processes so far, with that of children they waited for."""
    total = 0
    for pid in pids:
        with contextlib.suppress(OSError), open(f"/proc/{pid}/stat") as file:
            fields = file.read().rpartition(")")[2].split()
            total += sum(int(field) for field in fields[11:15])
    return total / TICK


def fine_cpu_seconds(pids: list[int]) -> float:
    """The same from the scheduler's nanosecond counts, for what is too short for clock ticks."""
    total = 0
    for pid in pids:
        with contextlib.suppress(OSError):
            for task in os.listdir(f"/proc/{pid}/task"):
                with open(f"/proc/{pid}/task/{task}/schedstat") as file:
                    total += int(file.read().split()[0])
    return total / 1e9


def pss_bytes(pids: list[int]) -> int:
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
    loops = [
        subprocess.Popen([sys.executable, "-S", "-c", "while True: pass"], env=environment)
        for _ in os.sched_getaffinity(0)
    ]
    try:
        time.sleep(0.2)
        yield
    finally:
        for loop in loops:
            loop.kill()
            loop.wait()
