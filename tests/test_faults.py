"""Three nodes whose connections are cut, stalled and delayed: nobody notices."""

from __future__ import annotations

import os
import signal
import threading
import time

import numpy as np
import pytest
from support import WATCHED_DRIVER, eventually, run_driver

import cyray
from cyray.cluster_utils import Cluster


@pytest.fixture
def three():
    """A head that this process is connected to, and nodes with the resources "b" and "c"; all
    connections between them go through proxies."""
    cluster = Cluster(
        initialize_head=True,
        connect=True,
        head_node_args={"num_cpus": 1, "object_store_memory": 400 * 1000**2},
        proxied=True,
    )
    for name in ("b", "c"):
        cluster.add_node(num_cpus=1, resources={name: 100}, object_store_memory=400 * 1000**2)
    yield cluster
    cluster.shutdown()


def proxies(cluster):
    return [cluster.proxy(node) for node in cluster.list_all_nodes()]


def cuts(cluster):
    return sum(proxy.cuts for proxy in proxies(cluster))


class Counter:
    def __init__(self):
        self.seen = []

    def add(self, n):
        self.seen.append(n)
        return n

    def all(self):
        return self.seen

    def ask(self, other, n):
        return cyray.get(other.add.remote(n))

    def pid(self):
        return os.getpid()

    def end(self):
        os.kill(os.getpid(), signal.SIGKILL)

    def make(self, n):
        return np.full(n, n % 251, np.uint8)


def on(name):
    return cyray.remote(resources={name: 0.01}, num_cpus=0)(Counter).remote()


@cyray.remote(num_cpus=0, resources={"c": 0.01})
def sum_of(array):
    return int(array.sum(dtype=np.int64))


def test_the_end_of_an_actor_does_not_overtake_its_last_answers(three):
    actor = cyray.remote(resources={"b": 0.01}, num_cpus=0, max_restarts=1)(Counter).remote()
    cyray.get(actor.add.remote(-1), timeout=20)
    for proxy in proxies(three):
        proxy.delay(0.3)  # the GCS tells of the restart meanwhile
    calls = [actor.add.remote(n) for n in range(20)]
    end = actor.end.remote()
    assert cyray.get(calls, timeout=20) == list(range(20))
    with pytest.raises(cyray.exceptions.ActorUnavailableError):
        cyray.get(end, timeout=20)
    waits = actor.all.options(max_task_retries=-1)
    assert cyray.get(waits.remote(), timeout=20) == [], "it began anew"


def test_connections_cut_a_hundred_times_are_noticed_by_nobody(three):
    b, c = on("b"), on("c")
    cyray.get([b.add.remote(-1), c.add.remote(-1)], timeout=20)
    for seed, proxy in enumerate(proxies(three)):
        proxy.cut_each_after(2_000, 150_000, seed)
        proxy.cut()
    called = 0
    while cuts(three) < 100:
        calls = [actor.add.remote(n) for n in range(called, called + 50) for actor in (b, c)]
        large = b.make.remote(100_000 + called)
        moved = sum_of.remote(large)
        assert cyray.get(calls, timeout=40) == [
            n for n in range(called, called + 50) for _ in (b, c)
        ]
        n = 100_000 + called
        assert cyray.get(moved, timeout=40) == n * (n % 251)
        assert cyray.get(large, timeout=40).shape == (n,)
        called += 50
    for proxy in proxies(three):
        proxy.heal()
    for actor in (b, c):
        assert cyray.get(actor.all.remote(), timeout=20) == [-1, *range(called)]


def test_actors_on_two_nodes_call_each_other_over_cut_connections(three):
    b, c, of_b, of_c = on("b"), on("c"), on("b"), on("c")
    cyray.get([b.ask.remote(of_c, -1), c.ask.remote(of_b, -1)], timeout=20)
    for seed, proxy in enumerate(proxies(three)):
        proxy.cut_each_after(1_000, 20_000, seed)
        proxy.cut()
    asked = [x.ask.remote(y, n) for n in range(100) for x, y in ((b, of_c), (c, of_b))]
    assert cyray.get(asked, timeout=50) == [n for n in range(100) for _ in range(2)]
    for proxy in proxies(three):
        proxy.heal()
    for actor in (of_b, of_c):
        assert cyray.get(actor.all.remote(), timeout=20) == [-1, *range(100)]


def test_a_link_that_is_down_for_a_while_delays_and_loses_nothing(three):
    b = on("b")
    cyray.get(b.add.remote(-1), timeout=20)
    for round_ in range(3):
        for proxy in proxies(three):
            proxy.drop()
        calls = [b.add.remote(n) for n in range(round_ * 20, round_ * 20 + 20)]
        ready, _ = cyray.wait(calls, num_returns=1, timeout=0.5)
        assert not ready
        for proxy in proxies(three):
            proxy.heal()
        assert cyray.get(calls, timeout=20) == list(range(round_ * 20, round_ * 20 + 20))
    assert cyray.get(b.all.remote(), timeout=20) == [-1, *range(60)]
    assert sum(node["Alive"] for node in cyray.nodes()) == 3


CUT_S, WHOLE_S = 5, 10  # the nodes are alive for the GCS all the while


@pytest.mark.slow
@pytest.mark.parametrize("how", ["reset", "silent"])
@pytest.mark.timeout(240)
def test_links_that_are_cut_five_seconds_of_fifteen_give_exact_results(three, how):
    everybody = b, c, of_b, of_c = [on(name) for name in "bcbc"]
    pids = cyray.get([actor.pid.remote() for actor in everybody], timeout=20)
    ended = threading.Event()

    def cut():
        while not ended.wait(WHOLE_S):
            for proxy in proxies(three):
                (proxy.drop if how == "reset" else proxy.stall)()
            ended.wait(CUT_S)
            for proxy in proxies(three):
                proxy.heal()

    cutting = threading.Thread(target=cut)
    cutting.start()
    try:
        end, called = time.monotonic() + 6 * (CUT_S + WHOLE_S), 0
        while time.monotonic() < end:
            numbers = range(called, called + 20)
            asked = [x.ask.remote(y, n) for n in numbers for x, y in ((b, of_c), (c, of_b))]
            large = b.make.remote(1_000_000 + called)
            moved = sum_of.remote(large)
            assert cyray.get(asked, timeout=60) == [n for n in numbers for _ in (b, c)]
            n = 1_000_000 + called
            assert cyray.get(moved, timeout=60) == n * (n % 251)
            called += 20
    finally:
        ended.set()
        cutting.join()
    for actor in (of_b, of_c):
        assert cyray.get(actor.all.remote(), timeout=30) == [*range(called)]
    assert cyray.get([actor.pid.remote() for actor in everybody], timeout=30) == pids
    assert sum(node["Alive"] for node in cyray.nodes()) == 3


def test_a_stalled_link_delays_only_what_goes_over_it(three):
    b, c = on("b"), on("c")
    cyray.get([b.add.remote(-1), c.add.remote(-1)], timeout=20)
    head, to_b, _ = proxies(three)
    to_b.stall()
    head.stall()
    stalled = [b.add.remote(n) for n in range(50)]
    ready, _ = cyray.wait(stalled, num_returns=1, timeout=0.5)
    assert not ready
    head.heal()
    to_b.heal()
    assert cyray.get(stalled, timeout=20) == list(range(50))
    assert cyray.get(b.all.remote(), timeout=20) == [-1, *range(50)]


def test_who_waits_for_a_node_that_is_not_reached_is_told(tmp_path):
    _, err = run_driver(
        tmp_path,
        WATCHED_DRIVER
        + """
from cyray.cluster_utils import Cluster

cluster = Cluster(initialize_head=True, connect=True, proxied=True)
cluster.add_node(num_cpus=1, resources={"b": 1})
on_b = cyray.remote(resources={"b": 1})(lambda: 7)
assert cyray.get(on_b.remote()) == 7
proxies = [cluster.proxy(node) for node in cluster.list_all_nodes()]
for proxy in proxies:
    proxy.stall()
ref = on_b.remote()
sys.stderr.await_text("No connection to node ")
for proxy in proxies:
    proxy.heal()
assert cyray.get(ref, timeout=30) == 7
sys.stderr.await_text("is back after")
cluster.shutdown()
""",
    )
    assert err.count("Tasks, calls and objects there wait") == 1


def test_a_large_object_comes_over_connections_that_are_cut_meanwhile(three):
    b = on("b")
    cyray.get(b.add.remote(-1), timeout=20)
    for seed, proxy in enumerate(proxies(three)):
        proxy.cut_each_after(1_000_000, 30_000_000, seed)
        proxy.cut()
    n = 150_000_000
    ref = b.make.remote(n)
    value = cyray.get(ref, timeout=50)
    assert value.shape == (n,)
    assert int(value[::1_000_000].sum()) == (n % 251) * 150
    assert int(value[-1]) == n % 251
    assert cuts(three) > 3


def test_a_process_that_does_not_read_holds_nobody_else_up(three):
    frozen, other = on("b"), on("b")
    pid = cyray.get(frozen.pid.remote(), timeout=20)
    cyray.get(other.add.remote(-1), timeout=20)
    os.kill(pid, signal.SIGSTOP)
    try:
        body = b"x" * 90_000
        waiting = [frozen.add.remote(body) for _ in range(600)]  # 54 MB
        assert cyray.get([other.add.remote(n) for n in range(100)], timeout=20) == [*range(100)]
        ready, _ = cyray.wait(waiting, num_returns=1, timeout=0.5)
        assert not ready
    finally:
        os.kill(pid, signal.SIGCONT)
    assert all(answer == body for answer in cyray.get(waiting, timeout=40))
    assert eventually(lambda: sum(node["Alive"] for node in cyray.nodes()) == 3)


def test_a_node_that_is_cut_off_reaches_nobody_and_nobody_reaches_it(three):
    _, node_b, _ = three.list_all_nodes()
    b, c, of_b, of_c = on("b"), on("c"), on("b"), on("c")
    cyray.get([b.ask.remote(of_c, -1), c.ask.remote(of_b, -1)], timeout=20)
    three.cut_off(node_b)
    three.add_node(num_cpus=1, resources={"d": 1})
    d, of_d = on("d"), on("d")
    over_the_cut = [c.ask.remote(of_b, 1), d.ask.remote(of_b, 2), b.add.remote(3)]
    assert cyray.get([of_c.add.remote(4), of_d.add.remote(5)], timeout=20) == [4, 5]
    ready, _ = cyray.wait(over_the_cut, num_returns=1, timeout=0.5)
    assert not ready
    assert all(node["Alive"] for node in cyray.nodes())
    three.rejoin(node_b)
    assert cyray.get(over_the_cut, timeout=20) == [1, 2, 3]
    assert sorted(cyray.get(of_b.all.remote(), timeout=20)) == [-1, 1, 2]
    assert cyray.get(b.ask.remote(of_c, 6), timeout=20) == 6


def test_what_a_cut_off_node_dials_itself_is_cut_too(three, gate):
    _, node_b, node_c = three.list_all_nodes()
    b, of_c = on("b"), on("c")
    cyray.get([b.add.remote(-1), of_c.add.remote(-1)], timeout=20)
    path = gate.path

    def ask_later(_, other):
        open(path).close()
        return cyray.get(other.add.remote(1))

    call = b.__ray_call__.remote(ask_later, of_c)
    cyray.wait([call], timeout=0.1)  # it is on its way there
    to_c = three.proxy(node_c)
    three.cut_off(node_b)
    before = to_c.cuts
    gate.open()
    eventually(lambda: to_c.cuts > before, 20, "node b dials node c")
    assert cyray.get(of_c.all.remote(), timeout=20) == [-1]
    three.rejoin(node_b)
    assert cyray.get(call, timeout=20) == 1


def test_a_node_without_a_proxy_is_refused_by_name(cluster, three):
    head = cluster.add_node(num_cpus=0)
    for ask in (cluster.proxy, cluster.cut_off, cluster.rejoin):
        with pytest.raises(RuntimeError, match=r"make it with Cluster\(\.\.\., proxied=True\)"):
            ask(head)
    node = three.list_all_nodes()[1]
    three.remove_node(node)
    for stranger in (head, node):
        for ask in (three.proxy, three.cut_off, three.rejoin, three.remove_node):
            with pytest.raises(
                ValueError, match=f"{stranger.node_id} is not a node of this cluster"
            ):
                ask(stranger)
    with pytest.raises(ValueError, match=r"'raylet' is not a node.*add_node\(\)"):
        three.proxy("raylet")


def test_a_closed_proxy_does_not_keep_its_cluster_from_ending(three):
    head, b, c = three.list_all_nodes()
    three.proxy(b).close()
    three.cut_off(c)
    three.rejoin(c)
    three.remove_node(b)
    three.proxy(head).close()
    three.shutdown()
    assert three.list_all_nodes() == []
