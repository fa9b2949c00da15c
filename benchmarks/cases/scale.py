"""Large numbers: arguments, return values, objects, queued tasks."""

from __future__ import annotations

from benchmarks import work
from benchmarks.cases import Metric, case
from benchmarks.engines.base import Engine
from benchmarks.measure import resident_bytes, timed


@case("scale", "returns", Metric("args_10k", "10,000 ref arguments to one task", "s", False))
def args_10k(engine: Engine) -> dict[str, float]:
    refs = [engine.put(i) for i in range(10_000)]
    task = engine.task(work.count_arguments)
    engine.get(task(1))
    return {"args_10k": timed(lambda: engine.get(task(*refs)))}


@case("scale", "returns", Metric("returns_3k", "3,000 return values of one task", "s", False))
def returns_3k(engine: Engine) -> dict[str, float]:
    task = engine.task_with_returns(work.many_values, 3000)
    return {"returns_3k": timed(lambda: engine.get_all(task(3000)))}


@case("scale", "returns", Metric("get_10k_objects", "get of 10,000 objects of 1 kB", "s", False))
def get_10k_objects(engine: Engine) -> dict[str, float]:
    refs = [engine.put(bytes(1000)) for _ in range(10_000)]
    return {"get_10k_objects": timed(lambda: engine.get_all(refs))}


@case(
    "scale",
    "tasks",
    Metric(
        "queued", "1,000,000 queued no-ops (fewer where that takes too long, scaled)", "s", False
    ),
    Metric("queued_bytes", "- memory of the driver for each", "B", False),
)
def queued(engine: Engine) -> dict[str, float]:
    count = int(1_000_000 * engine.scale)
    task = engine.task(work.nothing)
    engine.get(task())
    before = resident_bytes()
    highest = 0
    futures = []

    def run() -> None:
        nonlocal highest
        for i in range(count):
            futures.append(task())
            if i % 10_000 == 0:
                highest = max(highest, resident_bytes())
        highest = max(highest, resident_bytes())
        engine.get_all(futures)

    seconds = timed(run)
    return {"queued": seconds / engine.scale, "queued_bytes": (highest - before) / count}
