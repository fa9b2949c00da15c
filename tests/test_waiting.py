"""A process can say what it waits for, and keeps nothing of what is over."""

from __future__ import annotations

import re
import threading

import pytest
from support import eventually

import cyray
from cyray import _raylet
from cyray.test_utils import SignalActor

pytestmark = pytest.mark.usefixtures("shared_session")


def test_a_get_that_waits_is_named_with_the_task_that_makes_its_object(gate):
    path = gate.path

    @cyray.remote
    def at_the_gate():
        open(path).close()
        return 1

    refs = [cyray.put(0), at_the_gate.remote()]
    got = []
    thread = threading.Thread(target=lambda: got.append(cyray.get(refs)))
    thread.start()
    eventually(lambda: "pushed to worker" in _raylet.describe())
    text = _raylet.describe()
    assert "a thread waits for 1 of 2 objects" in text
    assert f"object {refs[1].hex()}: the result of task at_the_gate (attempt 1)" in text
    gate.open()
    thread.join()
    assert got == [[0, 1]]
    assert "a thread waits for 1" not in _raylet.describe()


def test_a_call_that_waits_is_named_with_its_actor():
    gate = SignalActor.remote()
    ref = gate.wait.remote()
    thread = threading.Thread(target=cyray.get, args=(ref,))
    thread.start()
    actor = gate._actor_id.hex()
    where = f"SignalActor.wait (attempt 1), pushed to actor {actor}"
    eventually(lambda: where in _raylet.describe())
    cyray.get(gate.send.remote())
    thread.join()


def counted(what: str) -> int:
    """How many of them this process knows, by its own word."""
    found = re.search(rf"(\d+) {what}", _raylet.describe())
    assert found is not None
    return int(found[1])


def test_actors_that_are_gone_leave_nothing():
    @cyray.remote(num_cpus=0)
    class Short:
        def name(self):
            return 1

    links, objects = counted("links"), _raylet.live_objects()
    for _ in range(20):
        actors = [Short.remote() for _ in range(3)]
        assert cyray.get([actor.name.remote() for actor in actors]) == [1, 1, 1]
        for actor in actors:
            cyray.kill(actor)
        del actor, actors
    eventually(lambda: counted("links") <= links + 3)
    assert counted("actors known") <= 256 + 1
    eventually(lambda: _raylet.live_objects() == objects)


def timed_out(call) -> str:
    with pytest.raises(cyray.exceptions.GetTimeoutError) as caught:
        cyray.get(call, timeout=0.01)
    return str(caught.value)


def test_a_call_to_an_actor_that_no_node_can_take_says_what_it_needs():
    actor = SignalActor.options(num_cpus=1, resources={"gizmo": 2}).remote()
    call = actor.wait.remote()
    where = f"queued for actor {actor._actor_id.hex()}, which no node can take: it needs "
    eventually(lambda: where + "{CPU: 1, gizmo: 2}" in timed_out(call))


def test_a_call_to_an_actor_that_waits_on_its_node_says_for_what(gate):
    path = gate.path

    @cyray.remote(num_cpus=2)
    def at_the_gate():
        open(path).close()

    held = at_the_gate.remote()
    eventually(lambda: cyray.available_resources().get("CPU", 0) == 0)
    actor = SignalActor.options(num_cpus=2).remote()
    call = actor.send.remote()
    node = cyray.get_runtime_context().get_node_id()
    where = f"which is to start on node {node}: it waits there for {{CPU: 2}} and a worker"
    eventually(lambda: where in timed_out(call))
    gate.open()
    cyray.get([held, call], timeout=20)
    cyray.kill(actor)


def test_a_call_to_an_actor_whose_constructor_waits_says_so(gate):
    path = gate.path

    @cyray.remote(num_cpus=0)
    def at_the_gate():
        open(path).close()

    @cyray.remote(num_cpus=0)
    class Takes:
        def __init__(self, value):
            pass

        def read(self):
            return 1

    actor = Takes.remote(at_the_gate.remote())
    call = actor.read.remote()
    eventually(lambda: "whose constructor waits for its arguments" in timed_out(call))
    gate.open()
    assert cyray.get(call, timeout=20) == 1
