"""Two nodes and five, all on this machine: calls, large objects, one object to many.

The last group, for its nodes stay until the engine stops. What is named "far" runs on another node
than the driver: every frame and every byte crosses two daemons and a TCP connection.
"""

from __future__ import annotations

import time
from typing import Any

from benchmarks import work
from benchmarks.cases import Metric, case, one_at_a_time
from benchmarks.cases.objects import MB
from benchmarks.engines.base import Engine
from benchmarks.measure import latencies, rate, repeated

IN_FLIGHT = 1000
FAR = 0
LARGE = 1000 * MB
RECEIVERS = 4


@case("nodes", "nodes", *one_at_a_time("far_task", "two nodes: task, one at a time"))
def far_task(engine: Engine) -> dict[str, float]:
    engine.join_nodes(1)
    task = engine.far_task(work.nothing, FAR)
    return latencies(lambda: engine.get(task())).metrics("far_task")


@case("nodes", "nodes", Metric("far_tasks", "two nodes: tasks, 1,000 in flight", "/s"))
def far_tasks(engine: Engine) -> dict[str, float]:
    engine.join_nodes(1)
    task = engine.far_task(work.nothing, FAR)

    def batch() -> int:
        engine.get_all([task() for _ in range(IN_FLIGHT)])
        return IN_FLIGHT

    return {"far_tasks": rate(batch, 1.5)}


@case("nodes", "nodes", *one_at_a_time("far_call", "two nodes: actor call, one at a time"))
def far_call(engine: Engine) -> dict[str, float]:
    engine.join_nodes(1)
    actor = engine.far_actor(work.Echo, FAR)
    return latencies(lambda: engine.get(engine.call(actor, "ping"))).metrics("far_call")


@case("nodes", "nodes", Metric("far_calls", "two nodes: actor calls, 1,000 in flight", "/s"))
def far_calls(engine: Engine) -> dict[str, float]:
    engine.join_nodes(1)
    actor = engine.far_actor(work.Echo, FAR)
    engine.get(engine.call(actor, "ping"))

    def batch() -> int:
        engine.get_all([engine.call(actor, "ping") for _ in range(IN_FLIGHT)])
        return IN_FLIGHT

    return {"far_calls": rate(batch, 1.5)}


@case("nodes", "nodes", Metric("far_object", "two nodes: get of a 1 GB object", "B/s"))
def far_object(engine: Engine) -> dict[str, float]:
    engine.join_nodes(1)
    holder = engine.holder(FAR)

    def once() -> float:
        (ref,) = engine.get(holder.make.remote(LARGE))
        start = time.perf_counter()
        array = engine.get(ref)
        elapsed = time.perf_counter() - start
        assert len(array) == LARGE
        return LARGE / elapsed

    once()  # both stores touch their memory for the first time
    return {"far_object": repeated(once, seconds=5.0, at_most=5)}


@case(
    "nodes",
    "nodes",
    Metric("broadcast", "five nodes: 100 MB from one to four", "s", False),
    once=True,
)
def broadcast(engine: Engine) -> dict[str, float]:
    engine.join_nodes(RECEIVERS)
    import numpy as np

    holders: list[Any] = [engine.holder(node) for node in range(RECEIVERS)]
    value = np.ones(100 * MB, dtype=np.uint8)

    def once() -> float:
        ref = engine.put(value)
        start = time.perf_counter()
        assert engine.get_all([each.take.remote(ref) for each in holders]) == [len(value)] * 4
        return time.perf_counter() - start

    once()
    return {"broadcast": repeated(once, seconds=5.0, at_most=9)}
