"""`python -m benchmarks`: runs the cases on every engine and prints the tables.

Each engine runs in a process of its own and alone; engines take turns, so that a slow minute of the
machine hits all of them. Peers run in the interpreter named by --peers-python.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import signal
import subprocess
import sys
import time
from pathlib import Path

from benchmarks.cases import CASES, GROUPS, all_metrics
from benchmarks.engines import ENGINES
from benchmarks.measure import MARK, engine_processes
from benchmarks.report import Results, floors, table

ROOT = Path(__file__).resolve().parent.parent
RUN_TIMEOUT_S = 600


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--engines", default=",".join(ENGINES), help="some of: %(default)s")
    parser.add_argument("--groups", default=",".join(GROUPS), help="some of: %(default)s")
    parser.add_argument("--cases", default="", help="only these cases, by function name")
    parser.add_argument("--repeat", type=int, default=3, help="rounds; medians are printed")
    parser.add_argument("--peers-python", default=sys.executable)
    parser.add_argument("--save", type=Path, help="write the raw values to this JSON file")
    parser.add_argument(
        "--load", type=Path, nargs="*", default=[], help="add the raw values of these JSON files"
    )
    parser.add_argument("--write", type=Path, help="write the tables to this Markdown file")
    parser.add_argument("--strict", action="store_true", help="fail when a floor is missed")
    return parser.parse_args()


def end_leftovers(mark: str) -> None:
    """A case that hung or crashed must not disturb the next engine."""
    os.environ[MARK] = mark
    for pid in engine_processes(include_self=False):
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
    del os.environ[MARK]


def run_engine(name: str, cases: list[str], python: str, results: Results) -> None:
    mark = f"{name}-{os.getpid()}-{time.monotonic_ns()}"
    path = os.pathsep.join([str(ROOT), *([str(ROOT / "python")] if name == "cyray" else [])])
    environment = {**os.environ, MARK: mark, "PYTHONPATH": path, "PYTHONWARNINGS": "ignore"}
    command = [python, "-m", "benchmarks.child", name, *cases]
    log = Path(os.environ.get("TMPDIR", "/tmp")) / f"cyray-bench-{name}.log"
    with log.open("w") as errors:
        child = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=errors, text=True, env=environment, cwd=ROOT
        )
        try:
            output, _ = child.communicate(timeout=RUN_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            child.kill()
            output, _ = child.communicate()
            print(f"  {name}: stopped after {RUN_TIMEOUT_S} s, see {log}", file=sys.stderr)
    end_leftovers(mark)
    doing = ""
    for line in output.splitlines():
        message = json.loads(line)
        doing = message.get("begin", doing)
        if "failed" in message:
            print(f"  {name}: {message['failed']} failed:\n{message['error']}", file=sys.stderr)
        for key, value in message.get("values", {}).items():
            results.setdefault(key, {}).setdefault(name, []).append(value)
    if child.returncode:
        print(
            f"  {name}: exit {child.returncode} in {doing or 'start'}, see {log}", file=sys.stderr
        )


def machine() -> str:
    model = "unknown CPU"
    with open("/proc/cpuinfo") as file:
        for line in file:
            if line.startswith("model name"):
                model = line.split(":", 1)[1].strip()
                break
    cpus = len(os.sched_getaffinity(0))
    return f"{model}, {cpus} CPUs, Linux {platform.release()}, Python {platform.python_version()}"


def main() -> int:
    options = arguments()
    engines = [name for name in options.engines.split(",") if name]
    groups = options.groups.split(",")
    names = [name for name in options.cases.split(",") if name] or [
        case.name for case in CASES.values() if case.group in groups
    ]
    results: Results = {}
    for path in options.load:
        for key, by_engine in json.loads(path.read_text()).items():
            for name, values in by_engine.items():
                results.setdefault(key, {}).setdefault(name, []).extend(values)
    for round_number in range(options.repeat):
        for name in engines:
            start = time.monotonic()
            python = options.peers_python if ENGINES[name][3] else sys.executable
            run_engine(name, names, python, results)
            taken = time.monotonic() - start
            print(f"round {round_number + 1}: {name} took {taken:.0f} s", file=sys.stderr)
    if options.save:
        options.save.write_text(json.dumps(results, indent=1))
    metrics = all_metrics()
    shown = [name for name in ENGINES if any(name in by for by in results.values())]
    text = f"{machine()}; medians of the rounds\n\n{table(results, metrics, shown)}\n"
    checked, missed = floors(results, metrics)
    if "cyray" in shown:
        text += f"\nFloors ({missed} missed):\n\n{checked}\n"
    print(text)
    if options.write:
        options.write.write_text(f"# Benchmarks as measured\n`make bench` on {text}")
    return 1 if options.strict and missed else 0


if __name__ == "__main__":
    sys.exit(main())
