"""`python -m benchmarks.floods`: how long one driver waits while another floods the node.

One driver does something as fast as it can (makes and drops actors, submits tasks, puts, asks the
key-value store); a second one, a process of its own, asks for the nodes and runs a task, one after
the other. Printed are, for each flood, how long it took and the longest answer to the second
driver: medians of the rounds, with the smallest and the largest. The row `nothing` is the machine's
own noise. Only this engine is measured: the floods are those of its issues, not a comparison.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable

import cyray
from cyray import _raylet

KEYS = ("took", "nodes", "task")
CPUS = 4


@cyray.remote(num_cpus=0)
def nothing() -> None:
    return None


class Waiting:
    """Has every CPU, so none starts while something else runs."""


@cyray.remote(num_cpus=1)
class Holder:
    def ping(self) -> None:
        return None


def watch(address: str) -> None:
    """The second driver: until its standard input ends."""
    cyray.init(address=address, log_to_driver=False)
    cyray.get(nothing.remote())
    ended = threading.Event()

    def await_end() -> None:
        sys.stdin.read()
        ended.set()

    threading.Thread(target=await_end, daemon=True).start()
    print("ready", flush=True)
    longest = {"nodes": 0.0, "task": 0.0}
    asks: dict[str, Callable[[], object]] = {
        "nodes": cyray.nodes,
        "task": lambda: cyray.get(nothing.remote()),
    }
    while not ended.wait(0.002):
        for name, ask in asks.items():
            start = time.perf_counter()
            ask()
            longest[name] = max(longest[name], time.perf_counter() - start)
    print(longest["nodes"], longest["task"], flush=True)
    cyray.shutdown()


def rest(_: int) -> None:
    time.sleep(2.0)


def make_and_drop_actors(count: int) -> None:
    """They wait for CPUs, and go while they wait."""
    cls = cyray.remote(num_cpus=CPUS)(Waiting)
    actors = [cls.remote() for _ in range(count)]
    cyray.nodes()  # behind all registrations of this driver
    del actors
    cyray.nodes()


def turn_actors_over(count: int) -> None:
    cls = cyray.remote(num_cpus=CPUS)(Waiting)
    for _ in range(count):
        cls.remote()
    cyray.nodes()


def submit_tasks(count: int) -> None:
    cyray.get([nothing.remote() for _ in range(5 * count)])


def put_and_free(count: int) -> None:
    value = bytes(200_000)
    for _ in range(20):
        refs = [cyray.put(value) for _ in range(count // 100)]
        del refs


def ask_for_keys(count: int) -> None:
    threads = [
        threading.Thread(
            target=lambda: [_raylet.kv_put("floods", str(i), b"value") for i in range(count // 100)]
        )
        for _ in range(20)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


FLOODS: dict[str, Callable[[int], None]] = {
    "nothing": rest,
    "actors": make_and_drop_actors,
    "turnover": turn_actors_over,
    "tasks": submit_tasks,
    "puts": put_and_free,
    "keys": ask_for_keys,
}


def measure(flood: Callable[[int], None], count: int) -> dict[str, float]:
    cyray.init(num_cpus=CPUS)
    holder = Holder.remote()
    cyray.get(holder.ping.remote())
    command = [sys.executable, "-m", "benchmarks.floods", "--watch"]
    address = cyray.get_runtime_context().gcs_address
    with subprocess.Popen(
        [*command, address], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as watcher:
        assert watcher.stdin and watcher.stdout
        watcher.stdout.readline()
        start = time.perf_counter()
        flood(count)
        took = time.perf_counter() - start
        cyray.get(holder.ping.remote())
        watcher.stdin.close()
        nodes, task = (float(word) for word in watcher.stdout.readline().split())
    cyray.shutdown()
    return {"took": took, "nodes": nodes, "task": task}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.floods", description=__doc__)
    parser.add_argument("--floods", default=",".join(FLOODS), help="some of: %(default)s")
    parser.add_argument("--count", type=int, default=20_000)
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--watch", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.watch:
        watch(options.watch)
        return
    print(f"{'flood':10}" + "".join(f"{key + ' (s)':>28}" for key in KEYS))
    for name in options.floods.split(","):
        rounds = [measure(FLOODS[name], options.count) for _ in range(options.repeat)]
        cells = []
        for key in KEYS:
            values = [found[key] for found in rounds]
            cells.append(f"{statistics.median(values):.3f} ({min(values):.3f}-{max(values):.3f})")
        print(f"{name:10}" + "".join(f"{cell:>28}" for cell in cells), flush=True)


if __name__ == "__main__":
    main()
