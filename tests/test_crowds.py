"""Callers that never wait for an actor: others are served beside them, and memory stays bounded."""

from __future__ import annotations

import os

import pytest
from support import eventually

import cyray
from cyray.exceptions import TaskCancelledError

pytestmark = pytest.mark.usefixtures("shared_session")
INIT = {"num_cpus": 6}


@cyray.remote
class Counter:
    def __init__(self):
        self.counter = 0

    def inc(self, _=None):
        self.counter += 1

    def get_counter(self):
        return self.counter


def _resident_mb(pid):
    with open(f"/proc/{pid}/statm") as file:
        return int(file.read().split()[1]) * 4096 / 1e6


@cyray.remote(max_retries=0)
def endless(counter, folder, size=0):
    open(f"{folder}/{os.getpid()}", "w").close()
    data = b"x" * size
    while True:
        if size:
            counter.inc.remote(data)
        else:
            counter.inc.remote()


@pytest.mark.parametrize("size", [0, 50_000])
def test_endless_callers_hold_up_nobody_and_fill_no_memory(tmp_path, size):
    counter = Counter.remote()
    pid = cyray.get(counter.__ray_call__.remote(lambda _: os.getpid()))
    refs = [endless.remote(counter, str(tmp_path), size) for _ in range(4)]
    pids = [
        int(name)
        for name in eventually(lambda: len(os.listdir(tmp_path)) == 4 and os.listdir(tmp_path), 20)
    ]
    last = -1
    target = 300_000 if size == 0 else 5_000
    while last < target:
        before = last
        last = cyray.get(counter.get_counter.remote(), timeout=20)
        assert last >= before
    assert max(_resident_mb(one) for one in pids) < 300
    assert _resident_mb(pid) < 400
    for ref in refs:
        cyray.cancel(ref, force=True)
    cyray.kill(counter)


def test_a_caller_takes_turns_with_those_who_have_thousands_of_calls_there(gate):
    @cyray.remote
    class Order:
        def __init__(self):
            self.seen = 0

        def hold(self, fifo):
            open(fifo).close()

        def see(self):
            self.seen += 1
            return self.seen

    def call(order, count):
        refs = [order.see.remote() for _ in range(count)]
        last = order.see.remote()
        cyray.cancel(last)  # its process says so when it has read all that was sent before
        with pytest.raises(TaskCancelledError):
            cyray.get(last, timeout=20)
        return refs

    @cyray.remote(num_cpus=0)
    class Many:
        def call(self, order):
            self.refs = call(order, 3000)

        def last(self):
            return cyray.get(self.refs[-1])

    order, many = Order.remote(), Many.remote()
    held = order.hold.remote(gate.path)
    cyray.get(many.call.remote(order))
    mine = call(order, 3)
    gate.open()
    cyray.get(held)
    assert cyray.get(mine[-1], timeout=20) < 10
    assert cyray.get(many.last.remote(), timeout=30) == 3003
