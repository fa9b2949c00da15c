"""`priority`: who runs first of what waits."""

from __future__ import annotations

import pytest
from support import eventually

import cyray


@cyray.remote(num_cpus=0)
class Order:
    def __init__(self):
        self.names = []

    def add(self, name):
        self.names.append(name)

    def all(self):
        return self.names


def functions():
    @cyray.remote
    def note(order, name):
        cyray.get(order.add.remote(name))

    @cyray.remote
    def holds(path):
        open(path).close()

    return note, holds


note, holds = functions()


@pytest.fixture
def one_cpu(request):
    cyray.init(num_cpus=1)
    yield
    cyray.shutdown()


def test_a_higher_priority_runs_first_of_what_waits(one_cpu, gate):
    order = Order.remote()
    cyray.get(order.all.remote())
    # Of a priority of its own, so that its worker takes none of the others' tasks.
    holder = holds.options(priority=100).remote(gate.path)
    eventually(lambda: cyray.available_resources().get("CPU", 0) == 0, 20, "the gate is held")
    refs = [note.options(priority=-5).remote(order, "low") for _ in range(5)]
    refs += [note.remote(order, "plain") for _ in range(5)]
    refs += [note.options(priority=7).remote(order, "high") for _ in range(5)]
    gate.open()
    cyray.get([holder, *refs], timeout=60)
    names = cyray.get(order.all.remote())
    assert names == ["high"] * 5 + ["plain"] * 5 + ["low"] * 5


def test_one_that_is_urgent_overtakes_a_long_queue(one_cpu):
    order = Order.remote()
    queued = [note.remote(order, i) for i in range(3000)]
    cyray.get(queued[0])
    urgent = note.options(priority=1).remote(order, "urgent")
    cyray.get(urgent, timeout=60)
    done = cyray.get(order.all.remote())
    assert len(done) < 3000, "it was served before the queue was empty"
    cyray.get(queued, timeout=120)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"priority": 2_000_000}, "from -1000000 to 1000000"),
        ({"priority": 1.5}, "must be an int"),
        ({"max_running": 0}, "from 1 to"),
        ({"max_running": "two"}, "must be an int"),
        ({"max_running": 2, "max_concurrency": 2}, "not both"),
    ],
)
def test_what_is_no_priority_or_number_is_refused(options, words):
    with pytest.raises((TypeError, ValueError), match=words):
        note.options(**options)


def test_actors_have_neither():
    with pytest.raises(ValueError, match="priority"):
        Order.options(priority=1)
    with pytest.raises(ValueError, match="max_running"):
        Order.options(max_running=1)
