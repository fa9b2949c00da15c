"""Large numbers: arguments, return values, objects, queued tasks."""

from __future__ import annotations

import ctypes
import gc
from typing import Any

from benchmarks import work
from benchmarks.cases import Metric, case
from benchmarks.engines.base import Engine
from benchmarks.measure import rate, repeated, timed
from benchmarks.processes import await_ends, engine_pids, pss_bytes, resident_bytes, watched


@case(
    "scale",
    "ref_arguments",
    Metric("args_10k", "10,000 ref arguments to one task", "s", False),
    once=True,
)
def args_10k(engine: Engine) -> dict[str, float]:
    refs = engine.int_refs(10_000)
    task = engine.task(work.count_arguments)
    engine.get(task(1))
    return {"args_10k": repeated(lambda: timed(lambda: engine.get(task(*refs))))}


@case(
    "scale",
    "returns",
    Metric("returns_3k", "3,000 return values of one task", "s", False),
    once=True,
)
def returns_3k(engine: Engine) -> dict[str, float]:
    task = engine.task_with_returns(work.many_values, 3000)
    return {"returns_3k": repeated(lambda: timed(lambda: engine.get_all(task(3000))))}


@case(
    "scale",
    "ref_arguments",
    Metric("get_10k_objects", "get of 10,000 objects of 1 kB", "s", False),
    once=True,
)
def get_10k_objects(engine: Engine) -> dict[str, float]:
    def first_get() -> float:
        refs = engine.put_all([bytes(1000) for _ in range(10_000)])
        return timed(lambda: engine.get_all(refs))

    return {"get_10k_objects": repeated(first_get)}


@case(
    "scale",
    "tasks",
    Metric("queued", "1,000,000 queued no-ops (peers: fewer, scaled up)", "s", False),
    Metric("queued_bytes", "- memory of the driver for each", "B", False),
    once=True,
)
def queued(engine: Engine) -> dict[str, float]:
    count = engine.queue_length
    task = engine.task(work.nothing)
    engine.get(task())
    # What earlier cases left to the allocator would hide what is taken now.
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    before = highest = resident_bytes()
    futures = []

    def run() -> None:
        nonlocal highest
        for i in range(count):
            futures.append(task())
            if i % 10_000 == 0:
                highest = max(highest, resident_bytes())
        highest = max(highest, resident_bytes())
        engine.get_all(futures)

    found = {"queued": timed(run) * 1_000_000 / count}
    if engine.submits_at_once:
        found["queued_bytes"] = (highest - before) / count
    return found


@case(
    "scale",
    "groups",
    Metric("groups", "placement groups of a bundle, 100 made, in place, removed", "/s"),
)
def groups(engine: Engine) -> dict[str, float]:
    def batch() -> int:
        made = [engine.group([{"CPU": 0.001}]) for _ in range(100)]
        for group in made:
            engine.await_group(group)
        for group in made:
            engine.remove_group(group)
        return len(made)

    batch()
    return {"groups": rate(batch)}


@case(
    "scale",
    "crowds",
    Metric("crowd", "actors made at once, 10,000 or as many as fit: each has answered", "/s"),
    Metric("crowd_size", "- how many there were (Ray: few, or it would take the round)", ""),
    Metric("crowd_bytes", "- memory (PSS) of each", "B", False),
    Metric("crowd_end", "- all killed: their processes gone", "/s"),
    once=True,
)
def crowd(engine: Engine) -> dict[str, float]:
    count = engine.actor_count
    engine.kill(_alive(engine, 1)[0])
    bytes_before = pss_bytes(engine_pids(include_self=False))
    actors: list[Any] = []
    found: dict[str, float] = {"crowd_size": count}
    found["crowd"] = count / timed(lambda: actors.extend(_alive(engine, count)))
    found["crowd_bytes"] = (pss_bytes(engine_pids(include_self=False)) - bytes_before) / count
    processes = watched(engine.get_all([engine.call(actor, "pid") for actor in actors]))

    def end() -> None:
        for actor in actors:
            engine.kill(actor)
        await_ends(processes)

    found["crowd_end"] = count / timed(end)
    return found


def _alive(engine: Engine, count: int) -> list[Any]:
    actors = [engine.actor(work.Echo) for _ in range(count)]
    engine.get_all([engine.call(actor, "ping") for actor in actors])
    return actors
