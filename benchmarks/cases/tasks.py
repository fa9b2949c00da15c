"""No-op and short tasks: one at a time, many in flight, chains, on busy cores, against a serial loop."""

from __future__ import annotations

from benchmarks import work
from benchmarks.cases import Metric, case
from benchmarks.engines.base import Engine
from benchmarks.measure import (
    busy_cores,
    cpu_seconds,
    engine_processes,
    latencies,
    rate,
    timed,
)

IN_FLIGHT = 1000


@case(
    "tasks",
    "tasks",
    Metric("task_sync", "no-op task, submit+get, one at a time", "/s"),
    Metric("task_sync_p50", "- p50", "us", False),
    Metric("task_sync_p99", "- p99", "us", False),
)
def task_sync(engine: Engine) -> dict[str, float]:
    task = engine.task(work.nothing)
    found = latencies(lambda: engine.get(task()))
    return {
        "task_sync": found["rate"],
        "task_sync_p50": found["p50_us"],
        "task_sync_p99": found["p99_us"],
    }


@case(
    "tasks",
    "tasks",
    Metric("task_async", "no-op tasks, 1,000 in flight", "/s"),
    Metric("cpu_per_10k", "- CPU of all processes for 10,000", "s", False),
)
def task_async(engine: Engine) -> dict[str, float]:
    task = engine.task(work.nothing)
    done = 0

    def batch() -> int:
        nonlocal done
        engine.get_all([task() for _ in range(IN_FLIGHT)])
        done += IN_FLIGHT
        return IN_FLIGHT

    batch()
    pids = engine_processes()
    done, before = 0, cpu_seconds(pids)
    speed = rate(batch, 2.0)
    return {"task_async": speed, "cpu_per_10k": (cpu_seconds(pids) - before) / done * 10_000}


@case(
    "tasks",
    "tasks",
    Metric("busy_sync", "one at a time, a busy loop on each core", "/s"),
    Metric("busy_sync_p50", "- p50", "us", False),
    Metric("busy_sync_p99", "- p99", "us", False),
)
def task_sync_on_busy_cores(engine: Engine) -> dict[str, float]:
    task = engine.task(work.nothing)
    with busy_cores():
        found = latencies(lambda: engine.get(task()), 2.0)
    return {
        "busy_sync": found["rate"],
        "busy_sync_p50": found["p50_us"],
        "busy_sync_p99": found["p99_us"],
    }


@case(
    "tasks",
    "tasks",
    Metric("busy_async", "1,000 in flight, a busy loop on each core", "/s"),
)
def task_async_on_busy_cores(engine: Engine) -> dict[str, float]:
    task = engine.task(work.nothing)

    def batch() -> int:
        engine.get_all([task() for _ in range(IN_FLIGHT)])
        return IN_FLIGHT

    with busy_cores():
        return {"busy_async": rate(batch, 2.0)}


@case("tasks", "dependencies", Metric("chain", "chain of 100 dependent tasks", "/s"))
def chain(engine: Engine) -> dict[str, float]:
    task = engine.task(work.add_one)

    def run() -> int:
        future = task(0)
        for _ in range(99):
            future = task(future)
        assert engine.get(future) == 100
        return 1

    return {"chain": rate(run)}


@case("tasks", "tasks", Metric("speedup", "tasks of 200 us of work, against a serial loop", "x"))
def short_work(engine: Engine) -> dict[str, float]:
    task = engine.task(work.spin_200_us)
    count = 4000
    engine.get_all([task() for _ in range(100)])
    serial = timed(lambda: [work.spin_200_us() for _ in range(count)])
    parallel = timed(lambda: engine.get_all([task() for _ in range(count)]))
    return {"speedup": serial / parallel}
