"""One engine's run, in a process of its own: `python -m benchmarks.child ENGINE CASE...`.

Starts the engine, runs the cases it can do, stops it. Says on standard output, one JSON line each
and flushed: which case begins ("begin"), what it measured ("values") or why it failed ("failed").
So the parent has what was measured when a case never ends, and knows which one that is.
"""

from __future__ import annotations

import ctypes
import json
import os
import signal
import sys
import time
import traceback
from collections.abc import Callable
from typing import IO

from benchmarks import work
from benchmarks.cases import CASES, START, STOP
from benchmarks.engines import make_engine
from benchmarks.engines.base import Engine
from benchmarks.measure import timed
from benchmarks.processes import MARK

PR_SET_PDEATHSIG = 1
WARM_S = 5.0


class Report:
    def __init__(self, out: IO[str]) -> None:
        self._out = out

    def say(self, **values: object) -> None:
        self._out.write(json.dumps(values) + "\n")
        self._out.flush()

    def case(self, name: str, run: Callable[[], dict[str, float]]) -> None:
        self.say(begin=name)
        try:
            self.say(values=run())
        except Exception:
            self.say(failed=name, error=traceback.format_exc(limit=-3))


def warm(engine: Engine) -> None:
    """Until every worker has answered: some start on demand."""
    spin, which = engine.task(work.spin_200_us), engine.task(work.process_id)
    seen: set[int] = set()
    start = time.monotonic()
    while len(seen) < engine.workers and time.monotonic() - start < WARM_S:
        futures = [make() for _ in range(50) for make in (which, spin)]
        seen.update(engine.get_all(futures)[::2])


def run_cases(engine: Engine, report: Report, wanted: set[str]) -> None:
    report.say(begin=START)
    report.say(values={"init": timed(engine.start)})
    report.say(values={"first_task": timed(lambda: engine.get(engine.task(work.nothing)()))})
    warm(engine)
    for case in CASES.values():
        if case.name in wanted and case.needs in engine.can:
            report.case(case.name, lambda run=case.run: run(engine))  # type: ignore[misc]
    report.say(begin=STOP)
    engine.leave_nodes()
    report.say(values={"shutdown": timed(engine.stop)})


def run_limits(report: Report, wanted: set[str]) -> None:
    from benchmarks.engines.limit import limits

    for name, measure in limits().items():
        if name in wanted:
            report.case(name, measure)


def end_with_parent() -> None:
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def main() -> None:
    name, *wanted = sys.argv[1:]
    # Engines print to standard output; results go where it pointed at the start.
    report = Report(os.fdopen(os.dup(1), "w"))
    os.dup2(2, 1)
    assert os.environ.get(MARK), "run by benchmarks.runner, which marks an engine's processes"
    end_with_parent()
    if name == "limit":
        run_limits(report, set(wanted))
        return
    engine = make_engine(name)
    if engine.package:
        report.say(version=sys.modules[engine.package].__version__)
    run_cases(engine, report, set(wanted))


if __name__ == "__main__":
    main()
