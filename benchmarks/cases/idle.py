"""What an engine costs while it does nothing, after all the other cases."""

from __future__ import annotations

import os
import time

from benchmarks import work
from benchmarks.cases import Metric, case
from benchmarks.engines.base import Engine
from benchmarks.processes import engine_pids, idle_cpu_seconds, pss_bytes, thread_count

SETTLE_S = 1.5
MEASURE_S = 3.0


@case(
    "idle",
    "tasks",
    Metric("idle_cpu", "idle: CPU of the whole node, of one core", "%", False),
    Metric("idle_pss", "idle: memory (PSS) of all processes but the driver", "B", False),
    Metric("idle_processes", "idle: processes beside the driver", "", False),
    Metric("idle_threads", "idle: threads of the worker that has most", "", False),
    once=True,
)
def idle(engine: Engine) -> dict[str, float]:
    task = engine.task(work.nothing)
    engine.get_all([task() for _ in range(200)])
    time.sleep(SETTLE_S)
    start, before = time.perf_counter(), idle_cpu_seconds()
    time.sleep(MEASURE_S)
    used, elapsed = idle_cpu_seconds() - before, time.perf_counter() - start
    pids = engine_pids(include_self=False)
    found = {
        "idle_cpu": 100 * used / elapsed,
        "idle_pss": float(pss_bytes(pids)),
        "idle_processes": float(len(pids)),
    }
    which = engine.task(work.process_id)
    workers = set(engine.get_all([which() for _ in range(20)])) - {os.getpid()}
    found["idle_threads"] = float(max(map(thread_count, workers), default=0))
    return found
