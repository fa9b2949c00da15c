"""Demands that nobody can meet: who waits is told what the nodes have, and `status` shows it."""

from __future__ import annotations

from support import WATCHED_DRIVER, eventually, run_driver

import cyray


def pending_demands():
    from cyray import _raylet

    return _raylet.pending_demands()


def test_an_infeasible_task_waits_and_its_driver_is_told_what_the_nodes_have(tmp_path):
    _, err = run_driver(
        tmp_path,
        WATCHED_DRIVER
        + """
cyray.init(num_cpus=2, num_gpus=0)
ref = cyray.remote(num_gpus=3)(lambda: 1).remote()
sys.stderr.await_text("cannot be scheduled")
assert cyray.wait([ref], timeout=0)[0] == []
""",
    )
    assert "A task cannot be scheduled: it needs {CPU: 1, GPU: 3}" in err
    assert "the cluster's nodes have {CPU: 2, GPU: 0}" in err


def test_an_infeasible_actor_waits_and_its_driver_is_told_what_the_nodes_have(tmp_path):
    _, err = run_driver(
        tmp_path,
        WATCHED_DRIVER
        + """
cyray.init(num_cpus=2)

@cyray.remote(resources={"unobtainium": 2})
class Picky:
    pass

picky = Picky.remote()
sys.stderr.await_text("cannot be scheduled")
""",
    )
    assert "An actor of class Picky cannot be scheduled" in err
    assert "it needs {CPU: 1, unobtainium: 2}" in err
    assert "the cluster's nodes have {CPU: 2, unobtainium: 0}" in err


def test_a_worker_on_another_node_warns_the_driver_on_this_one(tmp_path):
    _, err = run_driver(
        tmp_path,
        WATCHED_DRIVER
        + """
from cyray.cluster_utils import Cluster

cluster = Cluster(initialize_head=True, connect=True, head_node_args={"num_cpus": 0})
cluster.add_node(num_cpus=1)

@cyray.remote(num_cpus=1)
def outer():
    inner = cyray.remote(resources={"nowhere": 1})(lambda: 1)
    cyray.wait([inner.remote()], timeout=30)

ref = outer.remote()
sys.stderr.await_text("cannot be scheduled")
cyray.shutdown()
cluster.shutdown()
""",
    )
    assert "it needs {CPU: 1, nowhere: 1}" in err


def test_what_waits_is_counted_until_a_node_takes_it(cluster):
    from cyray.cli.report import cluster_report

    cluster.add_node(num_cpus=1)
    cluster.connect()
    assert pending_demands() == []
    task = cyray.remote(resources={"late": 1})(lambda: "ran")
    refs = [task.remote() for _ in range(3)]

    @cyray.remote(num_cpus=0, resources={"late": 2})
    class Late:
        def ping(self):
            return "pong"

    late = Late.remote()
    demands = eventually(lambda: len(pending_demands()) == 2 and pending_demands())
    assert ({"late": 2.0}, 1) in demands
    assert next(count for demand, count in demands if demand == {"CPU": 1.0, "late": 1.0}) >= 1
    report = cluster_report([], {}, {}, demands)
    assert "{'CPU': 1.0, 'late': 1.0}: " in report
    assert "{'late': 2.0}: 1+ pending tasks/actors" in report
    assert "(no resource demands)" not in report
    cluster.add_node(num_cpus=1, resources={"late": 4})
    assert cyray.get(refs, timeout=30) == ["ran"] * 3
    assert cyray.get(late.ping.remote(), timeout=30) == "pong"
    eventually(lambda: pending_demands() == [], what="nothing waits any more")
