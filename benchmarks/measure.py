"""Clocks of the benchmarks: rates, percentiles, repeated single times, CPU for 10,000 things.

Every engine goes through these same loops. What they call does its work and says how much it was;
the first call warms up and does not count.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass

from benchmarks.processes import cpu_seconds_since, cpu_ticks


@dataclass(frozen=True)
class Pace:
    """How fast one thing went after the other, and what it cost all processes of the engine."""

    rate: float
    cpu_per_10k: float
    p50_us: float = 0.0
    p99_us: float = 0.0

    def metrics(self, key: str) -> dict[str, float]:
        """As the metrics of a case that measures one call at a time."""
        return {
            key: self.rate,
            f"{key}_p50": self.p50_us,
            f"{key}_p99": self.p99_us,
            f"{key}_cpu": self.cpu_per_10k,
        }


def percentile(ordered: list[float], percent: int) -> float:
    """The smallest value that `percent` of all do not exceed."""
    return ordered[max(0, -(-len(ordered) * percent // 100) - 1)]


def rate(run: Callable[[], int], seconds: float = 1.0) -> float:
    """Calls `run`, which returns how many things it did, until `seconds` passed: things a second."""
    run()
    done, elapsed = _repeat(run, seconds)
    return done / elapsed


def typical_rate(run: Callable[[], int], seconds: float) -> float:
    """The median of the rates of single calls: a pause now and then does not count."""
    run()
    rates: list[float] = []
    end = time.perf_counter() + seconds
    while (start := time.perf_counter()) < end or not rates:
        done = run()
        rates.append(done / (time.perf_counter() - start))
    return statistics.median(rates)


def rate_and_cpu(run: Callable[[], int], seconds: float) -> Pace:
    """The same, with the CPU time of all processes; the caller has warmed up."""
    before = cpu_ticks()
    done, elapsed = _repeat(run, seconds)
    used = cpu_seconds_since(before)
    return Pace(done / elapsed, used / done * 10_000)


def latencies(run: Callable[[], object], seconds: float = 1.0) -> Pace:
    """One call after the other."""
    for _ in range(20):
        run()
    times = []
    clock = time.perf_counter
    before = cpu_ticks()
    start = last = clock()
    while last - start < seconds:
        run()
        now = clock()
        times.append(now - last)
        last = now
    used = cpu_seconds_since(before)
    count = len(times)
    times.sort()
    return Pace(
        count / (last - start),
        used / count * 10_000,
        percentile(times, 50) * 1e6,
        percentile(times, 99) * 1e6,
    )


def timed(run: Callable[[], object]) -> float:
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def median_pace(once: Callable[[], Pace], seconds: float, at_most: int) -> Pace:
    """The one with the median rate: one call at least, more while `seconds` have not passed."""
    start = time.perf_counter()
    paces = [once()]
    while len(paces) < at_most and time.perf_counter() - start < seconds:
        paces.append(once())
    return sorted(paces, key=lambda pace: pace.rate)[len(paces) // 2]


def repeated(once: Callable[[], float], seconds: float = 1.0, at_most: int = 15) -> float:
    """The median of what `once` returns: one call at least, more while `seconds` have not passed."""
    start = time.perf_counter()
    values = [once()]
    while len(values) < at_most and time.perf_counter() - start < seconds:
        values.append(once())
    return statistics.median(values)


def _repeat(run: Callable[[], int], seconds: float) -> tuple[int, float]:
    done = 0
    start = time.perf_counter()
    while True:
        done += run()
        elapsed = time.perf_counter() - start
        if elapsed >= seconds:
            return done, elapsed
