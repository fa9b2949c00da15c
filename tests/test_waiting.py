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
