"""`python -m benchmarks`: runs the cases on every engine and prints the tables.

Each engine runs in a process of its own and alone; in every round the engines take turns, there
and back, so that a slow quarter of an hour hits all of them and neighbours in the list (cyray and
the limit) stay neighbours. Peers run in the interpreter named by --peers-python. Ctrl-C ends what
runs and removes its files.
"""

from __future__ import annotations

import argparse
import os
import platform
import signal
import sys
import time
from pathlib import Path

from benchmarks import report
from benchmarks.cases import CASES, GROUPS, START, all_metrics, case_of
from benchmarks.engines import ENGINES
from benchmarks.floors import FLOORS, check
from benchmarks.results import Results
from benchmarks.runner import ROOT, Message, run_engine, say


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--engines", default=",".join(ENGINES), help="some of: %(default)s")
    parser.add_argument("--groups", default=",".join(GROUPS), help="some of: %(default)s")
    parser.add_argument("--cases", default="", help=f"only these: {','.join(CASES)}")
    parser.add_argument("--repeat", type=int, default=3, help="rounds; medians are printed")
    parser.add_argument("--peers-python", default=sys.executable)
    parser.add_argument("--save", type=Path, help="write the raw values to this JSON file")
    parser.add_argument(
        "--load", type=Path, nargs="*", default=[], help="add the raw values of these JSON files"
    )
    parser.add_argument(
        "--publish",
        action="store_true",
        help="write benchmarks/RESULTS.md and the README's table, if every case ran on every engine",
    )
    parser.add_argument("--strict", action="store_true", help="fail when a floor is missed")
    options = parser.parse_args()
    options.engines = [name for name in options.engines.split(",") if name]
    groups = options.groups.split(",")
    options.cases = [name for name in options.cases.split(",") if name] or [
        case.name for case in CASES.values() if case.group in groups
    ]
    if unknown := (set(options.engines) - set(ENGINES)) | (set(options.cases) - set(CASES)):
        parser.error(f"no such engine or case: {', '.join(sorted(unknown))}")
    return options


def cases_of_round(results: Results, engine: str, cases: list[str]) -> list[str]:
    """Without those that never ended on this engine, that it did and one round is enough for, or
    that no floor asks of an engine without a column."""
    if results.trouble(START, engine):
        return []
    entry = ENGINES[engine]
    asked = {case_of(floor.metric) for floor in FLOORS if floor.of == engine}
    return [
        name
        for name in cases
        if (entry.column or name in asked)
        and not results.trouble(name, engine).startswith(">")
        and not (
            CASES[name].once
            and engine != "cyray"
            and results.median(CASES[name].metrics[0].key, engine) is not None
        )
    ]


def run_round(
    results: Results, round_number: int, engines: list[str], options: argparse.Namespace
) -> None:
    for name in engines:
        start = time.monotonic()
        python = options.peers_python if ENGINES[name].peer else sys.executable

        def hear(message: Message, name: str = name) -> None:
            results.add(round_number, name, message.get("values", {}))
            if "version" in message:
                results.versions[name] = message["version"]
            if "failed" in message:
                say(f"  {name}: {message['failed']} failed:\n{message['error']}")
                results.add_trouble(message["failed"], name, "failed")

        cases = cases_of_round(results, name, options.cases)
        for stopped in run_engine(name, cases, python, hear):
            results.add_trouble(stopped.case, name, stopped.why)
        say(f"round {round_number + 1}: {name} took {time.monotonic() - start:.0f} s")


def measure(results: Results, options: argparse.Namespace) -> None:
    first = results.rounds()
    for number in range(options.repeat):
        engines = options.engines[:: -1 if number % 2 else 1]
        run_round(results, first + number, engines, options)


def machine() -> str:
    model = "unknown CPU"
    with open("/proc/cpuinfo") as file:
        for line in file:
            if line.startswith("model name"):
                model = line.split(":", 1)[1].strip()
                break
    cpus = len(os.sched_getaffinity(0))
    return f"{model}, {cpus} CPUs, Linux {platform.release()}, Python {platform.python_version()}"


def is_whole(options: argparse.Namespace) -> bool:
    return set(options.engines) == set(ENGINES) and set(options.cases) == set(CASES)


def main() -> int:
    options = arguments()
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    results = Results()
    for path in options.load:
        results.merge(Results.load(path))
    interrupted = False
    try:
        measure(results, options)
    except KeyboardInterrupt:
        interrupted = True
        say("interrupted: what was measured so far")
    if options.save:
        results.save(options.save)
    metrics = all_metrics()
    verdicts = check(results, metrics)
    about = report.conditions(results, machine())
    text = report.full(results, metrics, verdicts, about)
    print(text)
    if interrupted:
        return 130
    if options.publish and is_whole(options):
        (ROOT / "benchmarks/RESULTS.md").write_text(
            f"# Benchmarks as measured by `make bench`\n{text}"
        )
        readme = ROOT / "README.md"
        table = report.brief(results, metrics, verdicts, about)
        readme.write_text(report.replace_between_marks(readme.read_text(), table))
    elif options.publish:
        say("a part of the cases or engines: benchmarks/RESULTS.md and README.md stay as they are")
    return 1 if options.strict and any(not verdict.met for verdict in verdicts) else 0


if __name__ == "__main__":
    sys.exit(main())
