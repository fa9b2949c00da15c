"""Two nodes on one machine: placement, objects and calls between them, and the death of one."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import threading
import time

import numpy as np
import pytest
import remote_code
from support import eventually, is_running

import cyray
from cyray.exceptions import ObjectFreedError, RayActorError, RayError
from cyray.internal import free

OTHER = {"num_cpus": 0, "resources": {"other": 1}}


@pytest.fixture
def two(cluster):
    """A head with one CPU that this process is connected to, and a node with the resource "other"."""
    cluster.add_node(num_cpus=1, object_store_memory=300 * 1000**2)
    cluster.connect()
    cluster.other = cluster.add_node(
        num_cpus=1, resources={"other": 4}, object_store_memory=300 * 1000**2
    )
    return cluster


def node_of():
    return cyray.get_runtime_context().get_node_id()


def test_both_nodes_are_counted(two):
    assert {node["NodeID"] for node in cyray.nodes() if node["Alive"]} == {
        two.head_node.node_id, two.other.node_id,
    }  # fmt: skip
    assert cyray.cluster_resources()["CPU"] == 2
    assert cyray.cluster_resources()["other"] == 4
    sockets = {node["RayletSocketName"] for node in cyray.nodes()}
    assert len(sockets) == 2


def test_a_call_of_a_busy_event_loop_begins_when_its_argument_has_come(two):
    @cyray.remote(**OTHER)
    class Busy:
        def __init__(self):
            self.done = False

        async def compute(self):
            while not self.done:
                time.sleep(0.2)  # another thread reads what comes meanwhile
                await asyncio.sleep(0)

        async def take(self, array):
            self.done = True
            return int(array.sum())

    for _ in range(3):
        busy = Busy.remote()
        computing = busy.compute.remote()
        taken = busy.take.remote(np.ones(30_000_000, dtype=np.uint8))
        assert cyray.get(taken, timeout=20) == 30_000_000
        cyray.get(computing, timeout=20)
        del busy


def test_a_task_runs_where_its_resource_is(two):
    where = cyray.remote(**OTHER)(node_of)
    assert cyray.get(where.remote(), timeout=20) == two.other.node_id
    assert cyray.get([where.remote() for _ in range(20)]) == [two.other.node_id] * 20


def test_tasks_spread_when_one_node_is_full(two, gate, tmp_path):
    path, started = gate.path, tmp_path / "started"
    started.mkdir()

    @cyray.remote(num_cpus=1)
    def hold():
        (started / str(os.getpid())).touch()
        open(path).close()
        return cyray.get_runtime_context().get_node_id()

    refs = [hold.remote() for _ in range(2)]
    eventually(lambda: len(os.listdir(started)) == 2, 20)
    gate.open()
    assert set(cyray.get(refs, timeout=20)) == {two.head_node.node_id, two.other.node_id}


def test_a_large_result_comes_over_and_a_large_argument_goes(two):
    @cyray.remote(**OTHER)
    def make(n):
        return np.arange(n, dtype=np.float64)

    @cyray.remote(**OTHER)
    def total(array):
        return float(array.sum())

    array = cyray.get(make.remote(6_250_000), timeout=20)  # 50 MB
    assert array.nbytes == 50_000_000
    np.testing.assert_array_equal(array[::100_000], np.arange(0, 6_250_000, 100_000))
    assert not array.flags.writeable
    assert cyray.get(total.remote(cyray.put(array)), timeout=20) == float(array.sum())


def test_a_chain_goes_back_and_forth(two):
    there = cyray.remote(**OTHER)(lambda a: a + 1)
    here = cyray.remote(num_cpus=1)(lambda a: a * 1)
    ref = cyray.put(np.zeros(500_000))
    for _ in range(4):
        ref = here.remote(there.remote(ref))
    assert (cyray.get(ref, timeout=30) == 4).all()


def test_an_actor_there_is_called_in_order(two):
    log = remote_code.Log.options(**OTHER).remote()
    refs = [log.add.remote("me", i) for i in range(1000)]
    assert cyray.get(refs, timeout=20) == list(range(1000))
    assert cyray.get(log.read.remote()) == {"me": list(range(1000))}
    assert cyray.get(log.node.remote()) == two.other.node_id


def test_an_actor_there_is_called_from_both_nodes(two):
    def calls(log, who):
        cyray.get([log.add.remote(who, i) for i in range(100)])

    log = remote_code.Log.options(**OTHER).remote()
    cyray.get(
        [
            cyray.remote(num_cpus=1)(calls).remote(log, "here"),
            cyray.remote(**OTHER)(calls).remote(log, "there"),
        ],
        timeout=20,
    )
    calls(log, "driver")
    assert cyray.get(log.read.remote()) == {
        who: list(range(100)) for who in ("here", "there", "driver")
    }


def test_errors_and_nested_tasks_across_nodes(two):
    @cyray.remote(**OTHER)
    def fail():
        raise KeyError("over there")

    with pytest.raises(KeyError, match="over there"):
        cyray.get(fail.remote(), timeout=20)

    @cyray.remote(num_cpus=1)
    def inner(x):
        return x + 1

    @cyray.remote(**OTHER)
    def outer(x):
        return cyray.get(inner.remote(x)) * 10

    assert cyray.get([outer.remote(i) for i in range(5)], timeout=20) == [
        (i + 1) * 10 for i in range(5)
    ]


def test_a_worker_there_dies_and_its_task_runs_again(two, tmp_path):
    flag = str(tmp_path / "died")

    @cyray.remote(**OTHER)
    def dies_once():
        if not os.path.exists(flag):
            open(flag, "w").close()
            os.kill(os.getpid(), signal.SIGKILL)
        return "again"

    assert cyray.get(dies_once.remote(), timeout=20) == "again"


def test_an_object_counted_on_both_nodes_is_freed_on_both(two):
    @cyray.remote(**OTHER)
    class Keeper:
        def keep(self, refs):
            self.refs = refs
            return float(cyray.get(refs[0])[0])

        def used(self):
            import json

            from cyray import _raylet

            return json.loads(_raylet.node_dump())["store"]["used_bytes"]

        def drop(self):
            self.refs = None

    from support import store_used_bytes

    keeper = Keeper.remote()
    before = cyray.get(keeper.used.remote(), timeout=20)
    size = 2_200_000  # floats: too large for the blocks that processes keep at hand
    ref = cyray.put(np.full(size, 5.0))
    assert cyray.get(keeper.keep.remote([ref]), timeout=20) == 5.0
    assert cyray.get(keeper.used.remote()) >= before + 8 * size
    del ref
    gc.collect()
    assert store_used_bytes() >= 8 * size
    cyray.get(keeper.drop.remote())
    eventually(lambda: store_used_bytes() < size, what="the store here is empty")
    eventually(lambda: cyray.get(keeper.used.remote()) < before + size, what="and the one there")


def test_what_a_dead_process_had_lent_on_another_node_is_free_again(two, tmp_path):
    pids = tmp_path / "pids"
    pids.mkdir()

    @cyray.remote(num_cpus=0, resources={"other": 4}, max_retries=0)
    def hangs():
        (pids / f"inner-{os.getpid()}").touch()
        threading.Event().wait()

    @cyray.remote(max_retries=0)
    def asks():
        ref = hangs.remote()
        (pids / f"outer-{os.getpid()}").touch()
        cyray.get(ref)

    task = asks.remote()
    eventually(lambda: len(os.listdir(pids)) == 2, 20)
    pid_of = dict(name.split("-") for name in os.listdir(pids))
    os.kill(int(pid_of["outer"]), signal.SIGKILL)
    with pytest.raises(RayError):
        cyray.get(task, timeout=20)
    eventually(lambda: not is_running(int(pid_of["inner"])), 20)
    whole = cyray.remote(num_cpus=0, resources={"other": 4})(node_of)
    assert cyray.get(whole.remote(), timeout=20) == two.other.node_id


def test_the_death_of_a_node_is_told_to_whoever_waits(two, tmp_path):
    started = str(tmp_path / "started")

    @cyray.remote(**OTHER, max_retries=0)
    def hangs():
        open(started, "w").close()
        threading.Event().wait()

    actor = remote_code.Hangs.options(**OTHER).remote()
    pid = cyray.get(actor.pid.remote(), timeout=20)
    task, call = hangs.remote(), actor.hang.remote()
    eventually(lambda: os.path.exists(started))
    two.remove_node(two.other, allow_graceful=False)
    for ref, kind in ((task, RayError), (call, RayActorError)):
        with pytest.raises(kind, match=r"node|died|raylet"):
            cyray.get(ref, timeout=10)
    eventually(lambda: not is_running(pid), 10)
    eventually(lambda: sum(node["Alive"] for node in cyray.nodes()) == 1, 5)
    # The first node is at work as before.
    assert cyray.get(cyray.remote(node_of).remote(), timeout=20) == two.head_node.node_id


def test_an_object_that_lived_only_there_is_lost_with_its_node(two):
    @cyray.remote(**OTHER, max_retries=0)
    def make():
        return np.zeros(1_000_000)

    ref = make.remote()
    cyray.wait([ref], fetch_local=False, timeout=20)
    two.remove_node(two.other, allow_graceful=False)
    with pytest.raises(RayError):
        cyray.get(ref, timeout=10)


def test_a_task_whose_node_died_runs_again_where_it_can(two):
    from cyray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    strategy = NodeAffinitySchedulingStrategy(two.other.node_id, soft=True)

    @cyray.remote(num_cpus=1, scheduling_strategy=strategy)
    def where():
        node = cyray.get_runtime_context().get_node_id()
        if node == other:
            threading.Event().wait()
        return node

    other = two.other.node_id
    ref = where.remote()
    eventually(lambda: cyray.available_resources().get("CPU") == 1)
    two.remove_node(two.other, allow_graceful=False)
    assert cyray.get(ref, timeout=20) == two.head_node.node_id


def test_a_node_that_leaves_in_order(two):
    where = cyray.remote(**OTHER)(node_of)
    assert cyray.get(where.remote(), timeout=20) == two.other.node_id
    two.remove_node(two.other)
    two.wait_for_nodes(5)
    assert "other" not in cyray.cluster_resources()
    third = two.add_node(num_cpus=1, resources={"other": 1})
    assert cyray.get(where.remote(), timeout=20) == third.node_id


def test_an_actor_with_restarts_moves_to_another_node(two):
    third = two.add_node(num_cpus=1, resources={"other": 1})

    @cyray.remote(**OTHER, max_restarts=1, max_task_retries=1)
    class Moves:
        def node(self):
            return cyray.get_runtime_context().get_node_id()

    actor = Moves.remote()
    first = cyray.get(actor.node.remote(), timeout=20)
    nodes = {two.other.node_id: two.other, third.node_id: third}
    two.remove_node(nodes.pop(first), allow_graceful=False)
    (rest,) = nodes
    assert cyray.get(actor.node.remote(), timeout=20) == rest


# --- Objects of another node, and a store that is too small for all of them -------------------------


@pytest.fixture
def small_store(cluster):
    """A head whose store has 100 MB, and a node with the resource "other" and six times as much."""
    cluster.add_node(num_cpus=1, object_store_memory=100 * 1000**2)
    cluster.connect()
    cluster.other = cluster.add_node(
        num_cpus=1, resources={"other": 4}, object_store_memory=600 * 1000**2
    )
    return cluster


@cyray.remote(**OTHER)
def twenty_megabytes(number):
    return np.full(2_500_000, float(number))


def test_a_loop_over_more_than_the_store_holds_reads_all(small_store):
    refs = [twenty_megabytes.remote(i) for i in range(12)]
    for i, ref in enumerate(refs):
        assert cyray.get(ref, timeout=20)[0] == i
    assert cyray.get(refs[0], timeout=20)[0] == 0, "what made room can be had again"


def test_a_put_gets_the_room_of_copies_that_nobody_looks_at(small_store):
    refs = [twenty_megabytes.remote(i) for i in range(4)]
    assert [cyray.get(ref, timeout=20)[0] for ref in refs] == [0, 1, 2, 3]
    mine = cyray.put(np.ones(7_500_000))
    assert cyray.get(mine)[0] == 1
    assert cyray.get(refs[3], timeout=20)[0] == 3


def test_a_full_store_loses_nothing(small_store):
    ref = twenty_megabytes.remote(7)
    filler = [cyray.put(np.ones(2_500_000)) for _ in range(4)]
    cyray.wait([ref], timeout=20, fetch_local=False)
    assert cyray.wait([ref], timeout=0.5) == ([], [ref]), "it is nowhere to be read here"
    with pytest.raises(cyray.exceptions.GetTimeoutError):
        cyray.get(ref, timeout=0.5)

    @cyray.remote(**OTHER)
    def first(array):
        return array[0]

    assert cyray.get(first.remote(ref), timeout=20) == 7
    del filler
    assert cyray.wait([ref], timeout=20) == ([ref], [])
    assert cyray.get(ref, timeout=20)[0] == 7


@cyray.remote(**OTHER)
def ones(mib):
    return np.ones(mib * 1024**2, dtype=np.uint8)


def test_a_freed_object_goes_on_all_nodes(two):
    refs = []
    for _ in range(4):  # each takes more than half of either store
        ref = ones.remote(170)
        assert cyray.get(ref, timeout=20)[-1] == 1
        free([ref])
        refs.append(ref)

    @cyray.remote(**OTHER)
    def read(refs):
        return cyray.get(refs[0])[0]

    for ref in refs:
        for of in (ref, read.remote([ref])):
            with pytest.raises(ObjectFreedError, match=ref.hex()):
                cyray.get(of, timeout=20)


def test_a_copy_that_is_freed_here_alone_is_fetched_again(two):
    ref = ones.remote(1)
    for _ in range(3):
        assert cyray.get(ref, timeout=20)[-1] == 1
        free([ref], local_only=True)
    free([ref])
    with pytest.raises(ObjectFreedError):
        cyray.get(ref)
