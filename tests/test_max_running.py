"""`max_running`: how many tasks of a function run at once in a job."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap

import pytest

import cyray

pytestmark = pytest.mark.usefixtures("shared_session")


@cyray.remote(num_cpus=0)
class Meter:
    """How many are inside at once, and were at the most."""

    def __init__(self):
        self.inside = self.most = self.entered = 0

    def enter(self):
        self.inside += 1
        self.entered += 1
        self.most = max(self.most, self.inside)
        return self.inside

    def leave(self):
        self.inside -= 1

    def peak(self):
        return self.most

    def count(self):
        return self.entered


def functions():
    @cyray.remote(max_running=2)
    def measured(meter):
        cyray.get(meter.enter.remote())
        # Whoever waits for a second one inside gives it the time to come in.
        for _ in range(3):
            cyray.get(meter.peak.remote())
        cyray.get(meter.leave.remote())

    return measured


measured = functions()


@pytest.fixture(scope="module")
def shared_session():
    from cyray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, connect=True, head_node_args={"num_cpus": 4})
    cluster.add_node(num_cpus=4)
    yield cluster
    cyray.shutdown()
    cluster.shutdown()


def test_no_more_run_at_once_than_may():
    meter = Meter.remote()
    cyray.get([measured.remote(meter) for _ in range(40)], timeout=60)
    assert cyray.get(meter.peak.remote()) <= 2
    assert cyray.get(meter.count.remote()) == 40


def test_as_many_run_at_once_as_may():
    @cyray.remote(max_running=2)
    def meets(meter):
        cyray.get(meter.enter.remote())
        while cyray.get(meter.count.remote()) < 2:
            pass

    meter = Meter.remote()
    cyray.get([meets.remote(meter) for _ in range(2)], timeout=60)


def test_whoever_submits_the_limit_is_one():
    @cyray.remote(scheduling_strategy="SPREAD")
    def submits(meter, count):
        cyray.get([measured.options(num_cpus=0.5).remote(meter) for _ in range(count)])

    meter = Meter.remote()
    refs = [submits.remote(meter, 15) for _ in range(4)]
    refs += [measured.remote(meter) for _ in range(15)]
    cyray.get(refs, timeout=90)
    assert cyray.get(meter.peak.remote()) <= 2
    assert cyray.get(meter.count.remote()) == 75


def test_permits_of_a_dead_process_come_back(gate, tmp_path):
    @cyray.remote(max_retries=0, num_cpus=0)
    def dies(path, started):
        blocked = waits.remote(path, started)
        while not os.path.exists(started):
            cyray.wait([blocked], timeout=0.01)
        os.kill(os.getpid(), 9)

    @cyray.remote(max_running=1, num_cpus=0)
    def waits(path, started=None):
        if path is not None:
            open(started, "w").close()
            open(path).close()
        return "ran"

    with pytest.raises(cyray.exceptions.WorkerCrashedError):
        cyray.get(dies.remote(gate.path, str(tmp_path / "started")), timeout=60)
    assert cyray.get([waits.remote(None) for _ in range(4)], timeout=60) == ["ran"] * 4


def test_a_cancelled_task_leaves_its_place_to_the_next(gate):
    @cyray.remote(max_running=1)
    def waits(path):
        if path is not None:
            open(path).close()
        return "ran"

    first = waits.remote(gate.path)
    cancelled, last = waits.remote(gate.path), waits.remote(None)
    ready, _ = cyray.wait([last], timeout=0.2)
    assert not ready
    cyray.cancel(cancelled)
    cyray.cancel(first)
    assert cyray.get(last, timeout=60) == "ran"
    for ref in (first, cancelled):
        with pytest.raises(cyray.exceptions.TaskCancelledError):
            cyray.get(ref, timeout=60)


def test_a_detached_actor_counts_for_itself_when_its_driver_is_gone(shared_session):
    program = f"""
        import cyray
        cyray.init(address={shared_session.address!r}, namespace="left", log_to_driver=False)

        @cyray.remote(max_running=2)
        def square(x):
            return x * x

        @cyray.remote(num_cpus=0)
        class Stays:
            def squares(self, count):
                return sum(cyray.get([square.remote(i) for i in range(count)]))

        stays = Stays.options(name="stays", lifetime="detached").remote()
        assert cyray.get(stays.squares.remote(3)) == 5
    """
    subprocess.run([sys.executable, "-c", textwrap.dedent(program)], check=True, timeout=60)
    stays = cyray.get_actor("stays", namespace="left")
    try:
        assert cyray.get(stays.squares.remote(10), timeout=60) == 285
    finally:
        cyray.kill(stays)


def test_what_waits_for_its_turn_says_so(gate):
    @cyray.remote(max_running=1, num_cpus=0)
    def waits(path):
        open(path).close()

    refs = [waits.remote(gate.path) for _ in range(2)]
    with pytest.raises(cyray.exceptions.GetTimeoutError) as raised:
        cyray.get(refs[1], timeout=3)
    assert "as many run in the job as its max_running=1 allows" in str(raised.value)
    gate.open()
    cyray.get(refs, timeout=30)
