"""No-op and short tasks: one at a time, many in flight, chains, on busy cores, against a serial loop."""

from __future__ import annotations

from collections.abc import Callable

from benchmarks import work
from benchmarks.cases import Metric, case, one_at_a_time
from benchmarks.engines.base import Engine
from benchmarks.measure import Pace, latencies, median_pace, rate, rate_and_cpu, repeated, timed
from benchmarks.processes import busy_cores

IN_FLIGHT = 1000


def _one_at_a_time(engine: Engine, seconds: float) -> Pace:
    task = engine.task(work.nothing)
    return latencies(lambda: engine.get(task()), seconds)


def _in_flight(engine: Engine, seconds: float) -> Pace:
    task = engine.task(work.nothing)

    def batch() -> int:
        engine.get_all([task() for _ in range(IN_FLIGHT)])
        return IN_FLIGHT

    engine.get_all([task() for _ in range(100)])
    return rate_and_cpu(batch, seconds)


def _on_busy_cores(measure: Callable[[], Pace]) -> Pace:
    """Which processes share a core is luck and stays as it is for seconds, so the loops start anew
    several times."""

    def once() -> Pace:
        with busy_cores():
            return measure()

    return median_pace(once, 3.0, 5)


@case("tasks", "tasks", *one_at_a_time("task_sync", "no-op task, submit+get, one at a time"))
def task_sync(engine: Engine) -> dict[str, float]:
    return _one_at_a_time(engine, 1.0).metrics("task_sync")


@case(
    "tasks",
    "tasks",
    Metric("task_async", "no-op tasks, 1,000 in flight", "/s"),
    Metric("task_async_cpu", "- CPU of all processes for 10,000", "s", False),
)
def task_async(engine: Engine) -> dict[str, float]:
    _in_flight(engine, 0.2)
    pace = _in_flight(engine, 1.5)
    return {"task_async": pace.rate, "task_async_cpu": pace.cpu_per_10k}


@case("tasks", "tasks", *one_at_a_time("busy_sync", "one at a time, a busy loop on each core"))
def task_sync_on_busy_cores(engine: Engine) -> dict[str, float]:
    return _on_busy_cores(lambda: _one_at_a_time(engine, 0.6)).metrics("busy_sync")


@case(
    "tasks",
    "tasks",
    Metric("busy_async", "1,000 in flight, a busy loop on each core", "/s"),
    Metric("busy_async_cpu", "- CPU of all processes for 10,000", "s", False),
)
def task_async_on_busy_cores(engine: Engine) -> dict[str, float]:
    pace = _on_busy_cores(lambda: _in_flight(engine, 0.6))
    return {"busy_async": pace.rate, "busy_async_cpu": pace.cpu_per_10k}


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
    count = 2000

    def speedup() -> float:
        serial = timed(lambda: [work.spin_200_us() for _ in range(count)])
        return serial / timed(lambda: engine.get_all([task() for _ in range(count)]))

    engine.get_all([task() for _ in range(100)])
    return {"speedup": repeated(speedup, 2.0)}


@case("tasks", "no_cpu", Metric("no_cpu", "no-op tasks that ask for no CPU, a long queue", "/s"))
def tasks_without_cpu(engine: Engine) -> dict[str, float]:
    task = engine.task_without_cpu(work.nothing)

    def batch() -> int:
        count = engine.queue_length // 3
        engine.get_all([task() for _ in range(count)])
        return count

    engine.get(task())
    return {"no_cpu": rate(batch)}


@case(
    "tasks",
    "generators",
    Metric("stream_items", "small items of one generator, refs and values", "/s"),
)
def stream(engine: Engine) -> dict[str, float]:
    task = engine.generator(work.count_up)

    def batch() -> int:
        count = engine.stream_length
        assert sum(engine.get(item) for item in task(count)) == count * (count - 1) // 2
        return count

    sum(engine.get(item) for item in task(100))
    return {"stream_items": rate(batch)}


@case(
    "tasks",
    "cancel",
    Metric("cancel_10k", "10,000 pending tasks cancelled, until each has its error", "s", False),
)
def cancel_pending(engine: Engine) -> dict[str, float]:
    task = engine.task(work.sleep_long)
    count = 10_000

    def once() -> float:
        running = [task() for _ in range(engine.workers)]
        pending = [task() for _ in range(count)]
        seconds = timed(lambda: engine.cancel_all(pending))
        engine.cancel_all(running)
        return seconds

    return {"cancel_10k": repeated(once, 2.0)}
