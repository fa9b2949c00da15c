"""Large numbers: arguments, return values, objects, queued tasks."""

from __future__ import annotations

import ctypes
import gc
import time
from typing import Any

from benchmarks import work
from benchmarks.cases import Metric, case
from benchmarks.engines.base import Engine
from benchmarks.measure import rate, repeated, timed
from benchmarks.processes import engine_pids, pss_bytes, resident_bytes


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
    Metric(
        "crowd", "10,000 actors, each has answered (fewer where memory ends, scaled up)", "s", False
    ),
    Metric("crowd_bytes", "- memory (PSS) of each", "B", False),
    Metric("crowd_end", "- all killed, their processes gone", "s", False),
    once=True,
)
def crowd(engine: Engine) -> dict[str, float]:
    count, scale = engine.actor_count, 10_000 / engine.actor_count
    engine.kill(_alive(engine, 1)[0])
    before = engine_pids(include_self=False)
    bytes_before = pss_bytes(before)
    actors: list[Any] = []
    found = {"crowd": timed(lambda: actors.extend(_alive(engine, count))) * scale}
    found["crowd_bytes"] = (pss_bytes(engine_pids(include_self=False)) - bytes_before) / count

    def end() -> None:
        for actor in actors:
            engine.kill(actor)
        # What stays of the crowd is idle workers, if any.
        while len(engine_pids(include_self=False)) > len(before) + count // 20:
            time.sleep(0.05)

    found["crowd_end"] = timed(end) * scale
    return found


def _alive(engine: Engine, count: int) -> list[Any]:
    actors = [engine.actor(work.Echo) for _ in range(count)]
    engine.get_all([engine.call(actor, "ping") for actor in actors])
    return actors
