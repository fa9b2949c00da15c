"""A program as users write it, for type checkers: `make check` runs mypy over it. Nothing runs it."""

from __future__ import annotations

from typing import Any

import numpy as np

import cyray
from cyray.actor import ActorClass, ActorHandle, exit_actor
from cyray.exceptions import GetTimeoutError, RayTaskError
from cyray.internal import free
from cyray.util import ActorPool, as_completed
from cyray.util.queue import Queue
from cyray.util.scheduling_strategies import NodeAffinitySchedulingStrategy


@cyray.remote
def square(x: int) -> int:
    return x * x


@cyray.remote(num_cpus=0.5, max_retries=2, retry_exceptions=[KeyError])
def pair(x: int) -> tuple[int, int]:
    return x, x


class Counter:
    def __init__(self, start: int) -> None:
        self.value = start

    @cyray.method(num_returns=2)
    def both(self) -> tuple[int, int]:
        return self.value, self.value

    def leave(self) -> None:
        exit_actor()


def main() -> None:
    with cyray.init(num_cpus=2, resources={"Custom": 1.0}, worker_preload=["math"]) as context:
        address: str = context["address"]
        assert cyray.is_initialized()
    ref: cyray.ObjectRef = cyray.put([1, 2])
    typed: cyray.ObjectRef[int] = cyray.put(1)
    number: int = cyray.get(typed)
    numbers: list[int] = cyray.get([typed, cyray.put(2)])
    pair_of_numbers: tuple[int, ...] = cyray.get((typed, typed))
    by_name: dict[str, int] = cyray.get({"one": typed})
    nested: Any = cyray.get([{"one": typed}, [typed]])
    soon, later = cyray.wait({typed: "one"}, num_returns=np.int64(1))
    still_typed: cyray.ObjectRef[int] = (soon + later)[0]
    for done in as_completed([typed]):
        print(done, number, numbers, pair_of_numbers, by_name, nested, still_typed)
    task: cyray.TaskID = typed.task_id()
    print(task.hex(), cyray.TaskID.from_hex(task.hex()).job_id().int())
    free([typed])
    value: Any = cyray.get(ref, timeout=1.5)
    ready, rest = cyray.wait([ref], num_returns=1, timeout=0)
    first: cyray.ObjectRef = ready[0]
    try:
        cyray.get([square.remote(2), first, *rest])
    except GetTimeoutError as error:
        print(error)
    except RayTaskError as error:
        cause: BaseException = error.cause
        print(error.function_name, cause)
    # As a decorator mypy takes the class for what it was.
    counters: ActorClass = cyray.remote(Counter)
    counter = counters.options(name="counter").remote(1)
    assert isinstance(counter, ActorHandle)
    cyray.kill(cyray.get_actor("counter"), no_restart=True)
    node: str = cyray.nodes()[0]["NodeID"]
    square.options(scheduling_strategy=NodeAffinitySchedulingStrategy(node, soft=True)).remote(3)
    total: dict[str, float] = cyray.cluster_resources()
    pool = ActorPool([counter])
    for result in pool.map(lambda actor, x: actor.both.remote(x), [1, 2]):
        print(result, total, value, address)
    Queue(maxsize=3).put("item")
    print(cyray.get_runtime_context().get_node_id())
    cyray.shutdown()
