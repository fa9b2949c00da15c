"""An actor whose node dies goes on from its last save on another one."""

from __future__ import annotations

import os

import pytest
from support import eventually

import cyray


@cyray.remote(
    max_restarts=-1, max_task_retries=-1, checkpoint=10, num_cpus=0, resources={"spare": 1}
)
class Counter:
    def __init__(self):
        self.numbers = []

    def __cyray_save__(self):
        return self.numbers

    def __cyray_restore__(self, numbers):
        self.numbers = numbers

    def add(self, number):
        self.numbers.append(number)
        return len(self.numbers)

    def all(self):
        return self.numbers

    def where(self):
        return cyray.get_runtime_context().get_node_id(), os.getpid()


@pytest.fixture
def spares(cluster):
    """A head that this process is connected to, and two nodes that the actor may be on."""
    cluster.add_node(num_cpus=2)
    cluster.connect()
    cluster.others = [cluster.add_node(num_cpus=1, resources={"spare": 1}) for _ in range(2)]
    return cluster


def test_a_restart_on_another_node_has_every_call_once(spares):
    counter = Counter.remote()
    refs = [counter.add.remote(number) for number in range(205)]
    assert cyray.get(refs, timeout=30)[-1] == 205
    first, _ = cyray.get(counter.where.remote(), timeout=30)
    (node,) = [node for node in spares.others if node.node_id == first]
    refs = [counter.add.remote(number) for number in range(205, 300)]
    spares.remove_node(node, allow_graceful=False)
    assert cyray.get(refs, timeout=40)[-1] == 300
    second, _ = cyray.get(counter.where.remote(), timeout=30)
    assert second != first
    assert cyray.get(counter.all.remote(), timeout=30) == list(range(300))


def test_callers_on_other_nodes_keep_their_calls_too(spares):
    @cyray.remote(num_cpus=1)
    class Caller:
        def call(self, counter, numbers):
            return cyray.get([counter.add.remote(number) for number in numbers])[-1]

    counter = Counter.remote()
    first, _ = cyray.get(counter.where.remote(), timeout=30)
    callers = [Caller.remote() for _ in range(2)]  # on the head
    for caller, start in zip(callers, (0, 1000), strict=True):
        cyray.get(caller.call.remote(counter, list(range(start, start + 33))), timeout=30)
    (node,) = [node for node in spares.others if node.node_id == first]
    spares.remove_node(node, allow_graceful=False)
    for caller, start in zip(callers, (33, 1033), strict=True):
        cyray.get(caller.call.remote(counter, list(range(start, start + 7))), timeout=40)
    numbers = cyray.get(counter.all.remote(), timeout=30)
    assert [number for number in numbers if number < 1000] == list(range(40))
    assert [number for number in numbers if number >= 1000] == list(range(1000, 1040))
    assert eventually(lambda: cyray.get(counter.where.remote(), timeout=30)[0] != first, 10)
