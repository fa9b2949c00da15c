"""One engine's run, in a process of its own: `python -m benchmarks.child ENGINE CASE...`.

Starts the engine, runs the cases it can do, stops it; prints one JSON line a case and flushes it,
so that the parent has what was measured when a case never ends.
"""

from __future__ import annotations

import json
import os
import sys
import time
import traceback
from typing import IO

from benchmarks import work
from benchmarks.cases import CASES, LIFE_METRICS
from benchmarks.engines import make_engine
from benchmarks.engines.base import Engine
from benchmarks.measure import MARK


def say(out: IO[str], **values: object) -> None:
    out.write(json.dumps(values) + "\n")
    out.flush()


def run_limits(engine: Engine, out: IO[str], wanted: set[str]) -> None:
    for case in CASES.values():
        if case.name in wanted:
            values = {metric.key: engine.limit(metric.key) for metric in case.metrics}
            say(out, values={key: value for key, value in values.items() if value == value})


def run_cases(engine: Engine, out: IO[str], wanted: set[str]) -> None:
    start = time.perf_counter()
    engine.start()
    life = {"init": time.perf_counter() - start}
    start = time.perf_counter()
    engine.get(engine.task(work.nothing)())
    life["first_task"] = time.perf_counter() - start
    for case in CASES.values():
        if case.name not in wanted or case.needs not in engine.can:
            continue
        say(out, begin=case.name)
        try:
            say(out, values=case.run(engine))
        except Exception:
            say(out, failed=case.name, error=traceback.format_exc(limit=-3))
    start = time.perf_counter()
    engine.stop()
    life["shutdown"] = time.perf_counter() - start
    say(out, values={metric.key: life[metric.key] for metric in LIFE_METRICS})


def main() -> None:
    name, *wanted = sys.argv[1:]
    # Engines print to standard output; results go where it pointed at the start.
    out = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    assert os.environ.get(MARK), "run by benchmarks.__main__, which marks an engine's processes"
    engine = make_engine(name)
    if name == "limit":
        run_limits(engine, out, set(wanted))
    else:
        run_cases(engine, out, set(wanted))


if __name__ == "__main__":
    main()
