"""What an engine costs while it does nothing."""

from __future__ import annotations

import contextlib
import os
import time

from benchmarks import work
from benchmarks.cases import Metric, case
from benchmarks.engines.base import Engine
from benchmarks.measure import engine_processes, fine_cpu_seconds, pss_bytes


@case(
    "idle",
    "tasks",
    Metric("idle_cpu", "idle: CPU of all processes but the driver", "%", False),
    Metric("idle_pss", "idle: memory (PSS) of all processes but the driver", "B", False),
    Metric("idle_processes", "idle: processes beside the driver", "", False),
    Metric("idle_threads", "idle: threads of the worker that has most", "", False),
)
def idle(engine: Engine) -> dict[str, float]:
    task = engine.task(work.nothing)
    engine.get_all([task() for _ in range(200)])
    time.sleep(2.0)
    pids = engine_processes(include_self=False)
    before, start = fine_cpu_seconds(pids), time.perf_counter()
    time.sleep(5.0)
    used = fine_cpu_seconds(pids) - before
    elapsed = time.perf_counter() - start
    which = engine.task(work.process_id)
    workers = set(engine.get_all([which() for _ in range(20)]))
    threads = 0
    for pid in workers - {os.getpid()}:
        with contextlib.suppress(OSError):
            threads = max(threads, len(os.listdir(f"/proc/{pid}/task")))
    return {
        "idle_cpu": 100 * used / elapsed,
        "idle_pss": pss_bytes(pids),
        "idle_processes": len(pids),
        "idle_threads": threads,
    }
