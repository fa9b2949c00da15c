"""The cases of `cyray microbenchmark`: the list that Ray measures, through the public API.

Place: above the public API. Each case is a function that does a batch of work; `run` repeats it for
a while and prints how many of its operations a second went through, with the spread.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import cyray


@dataclass(frozen=True)
class Case:
    """`work()` does `count` operations of what `name` says."""

    name: str
    work: Callable[[], Any]
    count: float = 1.0


@cyray.remote
def small_value() -> bytes:
    return b"ok"


@cyray.remote
def small_value_batch(count: int) -> int:
    cyray.get([small_value.remote() for _ in range(count)])
    return 0


@cyray.remote
def make_refs(count: int) -> list[Any]:
    return [cyray.put(1) for _ in range(count)]


@cyray.remote
def put_small(count: int) -> None:
    for _ in range(count):
        cyray.put(0)


@cyray.remote
def put_large(count: int, megabytes: int) -> None:
    data = bytearray(megabytes << 20)
    for _ in range(count):
        cyray.put(data)


class Actor:
    """Answers at once, or calls others."""

    def small_value(self) -> bytes:
        return b"ok"

    def small_value_arg(self, value: Any) -> bytes:
        return b"ok"


class AsyncActor:
    """The same, as coroutines."""

    async def small_value(self) -> bytes:
        return b"ok"

    async def small_value_with_arg(self, value: Any) -> bytes:
        return b"ok"


class Client:
    """Calls actors from a process of its own."""

    def __init__(self, servers: list[Any]) -> None:
        self.servers = servers

    def call_batch(self, count: int) -> None:
        cyray.get([s.small_value.remote() for s in self.servers for _ in range(count)])

    def call_batch_arg(self, count: int) -> None:
        value = cyray.put(0)
        cyray.get([s.small_value_arg.remote(value) for s in self.servers for _ in range(count)])


# By call, not as decorators: the classes stay classes for type checkers.
_actor: Any = cyray.remote(num_cpus=0)(Actor)
_async_actor: Any = cyray.remote(num_cpus=0)(AsyncActor)
_client: Any = cyray.remote(num_cpus=0)(Client)


def run(echo: Callable[[str], Any], pattern: str, seconds: float, repeat: int) -> int:
    """Measures the cases whose name contains `pattern`: `repeat` times `seconds` seconds each.

    Returns how many there were.
    """
    measured = 0
    cpus = max(1, int(cyray.cluster_resources().get("CPU", 1)))
    for group in (_object_cases, _task_cases, _actor_cases, _async_actor_cases):
        for case in group(cpus):
            if pattern in case.name:
                mean, deviation = measure(case, seconds, repeat)
                echo(f"{case.name} per second {mean:.2f} +- {deviation:.2f}")
                measured += 1
    return measured


def measure(case: Case, seconds: float, repeat: int) -> tuple[float, float]:
    """Operations per second: mean and standard deviation over `repeat` measurements."""
    case.work()  # Workers start, functions travel.
    rates = []
    for _ in range(repeat):
        done = 0
        start = time.perf_counter()
        while (elapsed := time.perf_counter() - start) < seconds:
            case.work()
            done += 1
        rates.append(done * case.count / elapsed)
    return statistics.mean(rates), statistics.pstdev(rates)


def _object_cases(cpus: int) -> list[Case]:
    large = bytearray(100 << 20)
    stored = cyray.put(b"x" * (200 << 10))  # Beyond what travels inline: in the store.
    refs_10k = make_refs.remote(10_000)

    def wait_1k() -> None:
        waiting = [small_value.remote() for _ in range(1000)]
        while waiting:
            _, waiting = cyray.wait(waiting)

    return [
        Case("single client get calls", lambda: cyray.get(stored)),
        Case("single client put calls", lambda: cyray.put(0)),
        Case(
            "multi client put calls",
            lambda: cyray.get([put_small.remote(100) for _ in range(10)]),
            1000,
        ),
        Case("single client put gigabytes", lambda: cyray.put(large), 100 / 1024),
        Case(
            "multi client put gigabytes",
            lambda: cyray.get([put_large.remote(5, 8) for _ in range(cpus)]),
            cpus * 40 / 1024,
        ),
        Case("single client get object containing 10k refs", lambda: cyray.get(refs_10k)),
        Case("single client wait 1k refs", wait_1k),
    ]


def _task_cases(cpus: int) -> list[Case]:
    return [
        Case(
            "single client tasks and get batch",
            lambda: cyray.get([small_value.remote() for _ in range(1000)]),
        ),
        Case("single client tasks sync", lambda: cyray.get(small_value.remote())),
        Case(
            "single client tasks async",
            lambda: cyray.get([small_value.remote() for _ in range(1000)]),
            1000,
        ),
        Case(
            "multi client tasks async",
            lambda: cyray.get([small_value_batch.remote(1000) for _ in range(cpus)]),
            1000 * cpus,
        ),
    ]


def _actor_cases(cpus: int) -> list[Case]:
    one = _actor.remote()
    threaded = _actor.options(max_concurrency=16).remote()
    servers = [_actor.remote() for _ in range(cpus)]
    client = _client.remote(servers)
    clients = [_client.remote([server]) for server in servers]
    return [
        Case("1:1 actor calls sync", lambda: cyray.get(one.small_value.remote())),
        Case(
            "1:1 actor calls async",
            lambda: cyray.get([one.small_value.remote() for _ in range(1000)]),
            1000,
        ),
        Case(
            "1:1 actor calls concurrent",
            lambda: cyray.get([threaded.small_value.remote() for _ in range(1000)]),
            1000,
        ),
        Case(
            "1:n actor calls async",
            lambda: cyray.get(client.call_batch.remote(1000)),
            1000 * cpus,
        ),
        Case(
            "n:n actor calls async",
            lambda: cyray.get([c.call_batch.remote(1000) for c in clients]),
            1000 * cpus,
        ),
        Case(
            "n:n actor calls with arg async",
            lambda: cyray.get([c.call_batch_arg.remote(1000) for c in clients]),
            1000 * cpus,
        ),
    ]


def _async_actor_cases(cpus: int) -> list[Case]:
    one = _async_actor.remote()
    servers = [_async_actor.remote() for _ in range(cpus)]
    client = _client.remote(servers)
    clients = [_client.remote([server]) for server in servers]
    return [
        Case("1:1 async-actor calls sync", lambda: cyray.get(one.small_value.remote())),
        Case(
            "1:1 async-actor calls async",
            lambda: cyray.get([one.small_value.remote() for _ in range(1000)]),
            1000,
        ),
        Case(
            "1:1 async-actor calls with args async",
            lambda: cyray.get([one.small_value_with_arg.remote(i) for i in range(1000)]),
            1000,
        ),
        Case(
            "1:n async-actor calls async",
            lambda: cyray.get(client.call_batch.remote(1000)),
            1000 * cpus,
        ),
        Case(
            "n:n async-actor calls async",
            lambda: cyray.get([c.call_batch.remote(1000) for c in clients]),
            1000 * cpus,
        ),
    ]
