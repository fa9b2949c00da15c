"""Resources: what tasks and actors ask for, hold and give back."""

from __future__ import annotations

import os

import pytest
from support import eventually, run_driver

import cyray
from cyray.test_utils import SignalActor

pytestmark = pytest.mark.usefixtures("shared_session")

INIT = {"num_cpus": 2, "num_gpus": 2, "resources": {"Custom": 2, "rare": 1}}


def free(name):
    return cyray.available_resources().get(name, 0.0)


@pytest.fixture
def gate():
    """An actor to hold tasks at; everything is free again after the test."""
    actor = SignalActor.remote()
    cyray.get(actor.cur_num_waiters.remote())
    eventually(lambda: cyray.available_resources() == cyray.cluster_resources())
    yield actor
    cyray.get(actor.send.remote())
    cyray.kill(actor)
    eventually(
        lambda: cyray.available_resources() == cyray.cluster_resources(), 5, "all resources free"
    )


def holder(**options):
    """A task that keeps what it asked for until the gate opens."""

    @cyray.remote(**options)
    def hold(gate):
        cyray.get(gate.wait.remote())
        return os.getpid()

    return hold


def waiters(gate):
    return cyray.get(gate.cur_num_waiters.remote())


def test_totals_and_what_is_free(gate):
    total = cyray.cluster_resources()
    assert (total["CPU"], total["GPU"], total["Custom"], total["rare"]) == (2, 2, 2, 1)


def test_a_running_task_holds_what_it_asked_for(gate):
    ref = holder(num_cpus=0, resources={"Custom": 1.5}).remote(gate)
    eventually(lambda: free("Custom") == 0.5)
    cyray.get(gate.send.remote())
    cyray.get(ref)
    eventually(lambda: free("Custom") == 2)


def test_no_more_run_at_once_than_resources_allow(gate):
    refs = [holder(num_cpus=0, resources={"rare": 1}).remote(gate) for _ in range(3)]
    eventually(lambda: free("rare") == 0)
    assert cyray.wait(refs, timeout=0)[0] == []
    cyray.get(gate.send.remote())
    cyray.get(refs)


def test_fractions_of_a_ten_thousandth(gate):
    refs = [holder(num_cpus=0, resources={"rare": 0.25}).remote(gate) for _ in range(4)]
    eventually(lambda: free("rare") == 0)
    cyray.get(gate.send.remote())
    assert len(set(cyray.get(refs))) == 4, "each in a worker of its own"
    fine = cyray.remote(num_cpus=0.0001, resources={"rare": 0.0001})(lambda: 1)
    assert cyray.get(fine.remote()) == 1


def test_an_actor_holds_its_resources_for_life(gate):
    @cyray.remote(num_cpus=1, resources={"Custom": 1})
    class Holds:
        def resources(self):
            return cyray.get_runtime_context().get_assigned_resources()

    actor = Holds.remote()
    assert cyray.get(actor.resources.remote()) == {"CPU": 1.0, "Custom": 1.0}
    eventually(lambda: (free("Custom"), free("CPU")) == (1, 1))
    cyray.kill(actor)
    eventually(lambda: free("Custom") == 2 and free("CPU") == 2)


def test_actors_without_demand_hold_nothing(gate):
    @cyray.remote
    class Light:
        def f(self):
            return 1

    actors = [Light.remote() for _ in range(6)]
    assert cyray.get([actor.f.remote() for actor in actors]) == [1] * 6
    eventually(lambda: free("CPU") == 2)


def test_actors_that_do_not_fit_wait(gate):
    @cyray.remote(num_cpus=0, resources={"rare": 1})
    class Rare:
        def f(self):
            return 1

    first = Rare.remote()
    cyray.get(first.f.remote())
    second = Rare.remote()
    ref = second.f.remote()
    assert cyray.wait([ref], timeout=0.1)[0] == []
    cyray.kill(first)
    assert cyray.get(ref, timeout=10) == 1
    cyray.kill(second)


def test_a_blocked_task_gives_its_cpu_back(gate):
    @cyray.remote
    def blocked(gate):
        cyray.get(gate.wait.remote())
        return free("CPU")

    refs = [blocked.remote(gate) for _ in range(4)]
    eventually(lambda: waiters(gate) == 4, 10, "four one-CPU tasks blocked on two CPUs")
    eventually(lambda: free("CPU") == 2)
    cyray.get(gate.send.remote())
    cyray.get(refs)


def test_a_blocked_task_keeps_other_resources(gate):
    @cyray.remote(num_gpus=1, resources={"Custom": 1})
    def blocked(gate):
        cyray.get(gate.wait.remote())

    ref = blocked.remote(gate)
    eventually(lambda: waiters(gate) == 1)
    eventually(lambda: (free("GPU"), free("Custom")) == (1, 1))
    eventually(lambda: free("CPU") == 2)
    cyray.get(gate.send.remote())
    cyray.get(ref)


def test_tasks_queued_behind_a_blocked_one_run_elsewhere(gate):
    @cyray.remote
    def blocked(gate):
        cyray.get(gate.wait.remote())

    @cyray.remote
    def quick(i):
        return i

    refs = [blocked.remote(gate) for _ in range(4)]
    assert cyray.get([quick.remote(i) for i in range(50)], timeout=20) == list(range(50))
    cyray.get(gate.send.remote())
    cyray.get(refs)


def test_gpus_are_ids_that_no_two_tasks_share(gate):
    @cyray.remote(num_gpus=1, num_cpus=0)
    def which(gate):
        cyray.get(gate.wait.remote())
        return cyray.get_gpu_ids(), os.environ["CUDA_VISIBLE_DEVICES"]

    refs = [which.remote(gate) for _ in range(2)]
    eventually(lambda: waiters(gate) == 2)
    cyray.get(gate.send.remote())
    results = cyray.get(refs)
    assert sorted(ids for ids, _ in results) == [[0], [1]]
    assert all(visible == str(ids[0]) for ids, visible in results)


def test_halves_of_a_gpu(gate):
    @cyray.remote(num_gpus=0.5, num_cpus=0)
    def which(gate):
        cyray.get(gate.wait.remote())
        return cyray.get_gpu_ids()

    refs = [which.remote(gate) for _ in range(4)]
    eventually(lambda: waiters(gate) == 4)
    eventually(lambda: free("GPU") == 0)
    cyray.get(gate.send.remote())
    assert sorted(cyray.get(refs)) == [[0], [0], [1], [1]]


def test_two_gpus_at_once(gate):
    @cyray.remote(num_gpus=2, num_cpus=0)
    def both():
        return sorted(cyray.get_gpu_ids()), os.environ["CUDA_VISIBLE_DEVICES"]

    ids, visible = cyray.get(both.remote())
    assert ids == [0, 1] and sorted(visible.split(",")) == ["0", "1"]


def test_tasks_without_gpus_have_none(gate):
    @cyray.remote
    def f():
        return cyray.get_gpu_ids()

    assert cyray.get(f.remote()) == []
    assert cyray.get_gpu_ids() == []


def test_an_actor_sees_its_gpu_in_constructor_and_methods(gate):
    @cyray.remote(num_gpus=1)
    class Gpu:
        def __init__(self):
            self.visible = os.environ.get("CUDA_VISIBLE_DEVICES")

        def read(self):
            return self.visible, cyray.get_gpu_ids()

    actor = Gpu.remote()
    visible, ids = cyray.get(actor.read.remote())
    assert visible == str(ids[0])
    cyray.kill(actor)


def test_options_override_resources(gate):
    @cyray.remote
    def resources():
        return cyray.get_runtime_context().get_assigned_resources()

    got = cyray.get(resources.options(num_cpus=2, resources={"Custom": 0.5}).remote())
    assert got == {"CPU": 2.0, "Custom": 0.5}
    assert cyray.get(resources.options(num_cpus=0).remote()) == {}


def test_what_no_node_has_waits_and_says_so(tmp_path):
    out, err = run_driver(
        tmp_path,
        """
        import sys
        import threading
        import cyray

        cyray.init(num_cpus=1)

        @cyray.remote(resources={"unobtainium": 1})
        def never():
            return 1

        ref = never.remote()
        seen = threading.Event()
        write = sys.stderr.write

        def watch(text):
            if "unobtainium" in text:
                seen.set()
            return write(text)

        sys.stderr.write = watch
        print(seen.wait(10), len(cyray.wait([ref], timeout=0)[0]))
        """,
    )
    assert out.split() == ["True", "0"], err


def test_resources_are_free_after_a_worker_died(gate):
    @cyray.remote(num_cpus=0, resources={"rare": 1}, max_retries=0)
    def die():
        os._exit(1)

    with pytest.raises(cyray.exceptions.WorkerCrashedError):
        cyray.get(die.remote())
    eventually(lambda: free("rare") == 1)


def test_a_get_of_what_is_on_this_node_lends_no_cpu():
    refs = [cyray.put(bytearray(1 << 20)) for _ in range(10)]

    @cyray.remote
    def read(refs):
        cyray.get(refs)
        return os.getpid()

    workers = set()
    for _ in range(5):
        workers |= set(cyray.get([read.remote(refs) for _ in range(10)], timeout=30))
    assert len(workers) <= cyray.cluster_resources()["CPU"]


def test_an_actor_keeps_its_cpu_while_a_method_waits():
    cpus = cyray.cluster_resources()["CPU"]

    @cyray.remote
    def one():
        return 1

    @cyray.remote(num_cpus=cpus)
    class Whole:
        def block(self):
            self.waiting = one.options(num_cpus=1).remote()
            return cyray.wait([self.waiting], timeout=1)[0]

    actor = Whole.remote()
    assert cyray.get(actor.block.remote(), timeout=30) == []
    cyray.kill(actor)
