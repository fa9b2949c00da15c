"""What each node tells Prometheus at its port."""

from __future__ import annotations

import os
import re
import signal
import socket
import urllib.error
import urllib.request

import numpy as np
import pytest
from prometheus_client.parser import text_string_to_metric_families
from support import command, eventually, find_process, is_running, poll

import cyray
from cyray.exceptions import RayActorError

OTHER = {"num_cpus": 0, "resources": {"other": 1}}
PATIENCE_S = 20


class Page:
    """What a node says at one moment."""

    def __init__(self, port, timeout=PATIENCE_S):
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=timeout) as answer:
            assert answer.headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
            self.text = answer.read().decode()
        self.families = list(text_string_to_metric_families(self.text))
        self.samples = [sample for family in self.families for sample in family.samples]

    def value(self, name, **labels):
        (found,) = [
            sample.value
            for sample in self.samples
            if sample.name == name and labels.items() <= sample.labels.items()
        ]
        return found

    def names(self):
        return {sample.name for sample in self.samples}


def ports():
    """The port of each node by its id."""
    return {node["NodeID"]: node["MetricsExportPort"] for node in cyray.nodes()}


def becomes(port, name, wanted, **labels):
    """Waits until a number has that value."""
    last = []

    def there():
        last[:] = [Page(port).value(name, **labels)]
        return last == [wanted]

    if not poll(there, PATIENCE_S):
        raise AssertionError(f"{name} {labels} is {last[0]} after {PATIENCE_S} s, not {wanted}")


@pytest.fixture
def two(cluster):
    """A head with one CPU, and a node with the resource "other"; `head` and `other` are their ports."""
    cluster.add_node(num_cpus=1)
    cluster.connect()
    node = cluster.add_node(num_cpus=1, resources={"other": 4})
    cluster.head, cluster.other = (ports()[n.node_id] for n in (cluster.head_node, node))
    return cluster


@cyray.remote
def nothing():
    return None


@cyray.remote
def fails():
    raise ValueError("as it is to")


@cyray.remote
class Counter:
    def count(self):
        return 1

    def end(self):
        os._exit(3)


def test_each_node_answers_at_the_port_that_nodes_tells(two):
    assert two.head != two.other
    session = os.path.basename(two.head_node.session_dir)
    for node, port in ((two.head_node, two.head), (two.worker_nodes[0], two.other)):
        assert node.metrics_export_port == port
        for sample in Page(port).samples:
            assert sample.labels["SessionName"] == session
            assert sample.labels["NodeAddress"] == "127.0.0.1"
    with pytest.raises(urllib.error.HTTPError, match="404"):
        urllib.request.urlopen(f"http://127.0.0.1:{two.head}/", timeout=PATIENCE_S)
    told = ports()
    os.kill(find_process(two.head_node.pid, "gcs_server"), signal.SIGKILL)
    assert ports() == told  # as the next GCS has it from disk


def test_names_follow_the_conventions_and_stand_in_the_guide(two):
    with open(os.path.join(os.path.dirname(__file__), "../docs/guide.md")) as file:
        documented = set(re.findall(r"`(cyray_\w+)`", file.read()))
    head, other = Page(two.head), Page(two.other)
    for page in (head, other):
        for family in page.families:
            assert family.documentation and family.type in ("gauge", "counter")
            assert re.fullmatch(r"cyray(_[a-z]+)+", family.name)
            for sample in family.samples:
                assert (family.type == "counter") == (
                    sample.name.endswith("_total") and sample.name != "cyray_node_mem_total"
                )
                assert all(re.fullmatch(r"[A-Z][A-Za-z]+", name) for name in sample.labels)
        identities = [(s.name, tuple(sorted(s.labels.items()))) for s in page.samples]
        assert len(set(identities)) == len(identities)
    assert head.names() == documented
    only_head = {name for name in documented if name.startswith(("cyray_cluster", "cyray_running"))}
    assert other.names() == documented - only_head


def test_tasks_are_counted_where_they_run(two):
    before = Page(two.other)
    cyray.get([nothing.options(**OTHER).remote() for _ in range(30)], timeout=PATIENCE_S)
    refs = [fails.options(**OTHER).remote() for _ in range(3)]
    for ref in refs:
        with pytest.raises(ValueError):
            cyray.get(ref, timeout=PATIENCE_S)
    after = Page(two.other)
    for state, more in (("FINISHED", 30), ("FAILED", 3), ("RUNNING", 0)):
        assert (
            after.value("cyray_tasks", State=state)
            == before.value("cyray_tasks", State=state) + more
        )
    assert Page(two.head).value("cyray_tasks", State="FINISHED") == 0
    assert after.value("cyray_leases_granted_total") > before.value("cyray_leases_granted_total")


def test_tasks_wait_and_run_and_end(two, gate):
    path = gate.path

    @cyray.remote(num_cpus=0, resources={"other": 4})
    def waits():
        open(path).close()

    refs = [waits.remote() for _ in range(5)]
    becomes(two.other, "cyray_tasks", 1, State="RUNNING")
    becomes(two.other, "cyray_resources", 4, Name="other", State="USED")
    # The other four wait here, or were sent ahead.
    eventually(
        lambda: (
            Page(two.head).value("cyray_tasks", State="PENDING_NODE_ASSIGNMENT")
            + Page(two.other).value("cyray_tasks", State="SUBMITTED_TO_WORKER")
            == 4
        ),
        PATIENCE_S,
    )
    gate.open()
    cyray.get(refs, timeout=PATIENCE_S)
    becomes(two.other, "cyray_tasks", 5, State="FINISHED")
    becomes(two.head, "cyray_tasks", 0, State="PENDING_NODE_ASSIGNMENT")
    becomes(two.other, "cyray_tasks", 0, State="RUNNING")


def test_actors_live_and_die(two):
    actor = Counter.options(**OTHER).remote()
    assert cyray.get([actor.count.remote() for _ in range(10)], timeout=PATIENCE_S) == [1] * 10
    page = Page(two.other)
    assert page.value("cyray_actors", State="ALIVE") == 1
    assert page.value("cyray_workers", State="ACTOR") == 1
    assert page.value("cyray_tasks", State="FINISHED") == 11  # and the constructor
    assert page.value("cyray_component_processes", Component="worker") >= 1
    failures = "cyray_node_manager_unexpected_worker_failure_total"
    assert page.value(failures) == 0
    with pytest.raises(RayActorError):
        cyray.get(actor.end.remote(), timeout=PATIENCE_S)
    becomes(two.other, "cyray_actors", 0, State="ALIVE")
    becomes(two.other, failures, 1)
    # What it had finished counts on; what it ran has failed.
    becomes(two.other, "cyray_tasks", 11, State="FINISHED")
    becomes(two.other, "cyray_tasks", 1, State="FAILED")
    becomes(two.other, "cyray_workers", 0, State="ACTOR")


def test_calls_that_wait_for_their_actor_are_pending(two):
    actor = Counter.options(num_cpus=0, resources={"none": 1}).remote()
    refs = [actor.count.remote() for _ in range(7)]
    becomes(two.head, "cyray_tasks", 7, State="PENDING_NODE_ASSIGNMENT")
    del actor, refs


def test_objects_and_their_ways_are_counted(two):
    ref = cyray.put(np.ones(20_000_000, dtype=np.uint8))
    head = Page(two.head)
    assert head.value("cyray_object_store_used_memory") >= 20_000_000
    assert head.value("cyray_object_store_num_local_objects") >= 1
    traffic = "cyray_node_traffic_bytes_total"
    before = Page(two.other).value(traffic, Direction="received")

    @cyray.remote(**OTHER)
    def length(array):
        return len(array)

    assert cyray.get(length.remote(ref), timeout=PATIENCE_S) == 20_000_000
    assert Page(two.other).value(traffic, Direction="received") >= before + 20_000_000
    assert Page(two.head).value(traffic, Direction="sent") >= 20_000_000
    assert Page(two.head).value("cyray_connections", Type="node") == 1
    assert Page(two.head).value("cyray_connections", Type="driver") == 1
    assert Page(two.other).value("cyray_connections", Type="driver") == 0
    del ref
    becomes(two.head, "cyray_object_store_num_local_objects", 0)


def test_the_head_knows_the_cluster(two):
    page = Page(two.head)
    assert page.value("cyray_cluster_active_nodes") == 2
    assert page.value("cyray_cluster_failed_nodes") == 0
    assert page.value("cyray_running_jobs") == 1
    two.remove_node(two.worker_nodes[0], allow_graceful=False)
    becomes(two.head, "cyray_cluster_active_nodes", 1)
    becomes(two.head, "cyray_cluster_failed_nodes", 1)
    with pytest.raises(urllib.error.URLError):
        Page(two.other)


def test_processes_and_their_machine_are_told(two):
    page = Page(two.head)
    for component in ("raylet", "gcs_server", "zygote", "driver"):
        assert page.value("cyray_component_processes", Component=component) == 1
        rss = page.value("cyray_component_rss_bytes", Component=component)
        shared = page.value("cyray_component_shared_bytes", Component=component)
        assert 0 < shared < rss < 2**40
    assert page.value("cyray_node_mem_total") > page.value("cyray_node_mem_available") > 0
    before = page.value("cyray_component_cpu_seconds_total", Component="driver")
    # This process computes until the kernel has counted it.
    eventually(
        lambda: (
            sum(range(100_000))
            and Page(two.head).value("cyray_component_cpu_seconds_total", Component="driver")
            > before
        ),
        PATIENCE_S,
    )


def test_a_raylet_that_stands_still_holds_up_nobody_else(two):
    node = two.worker_nodes[0]
    os.kill(node.pid, signal.SIGSTOP)
    try:
        with pytest.raises(OSError):
            Page(two.other, timeout=0.2)
        assert cyray.get(nothing.remote(), timeout=PATIENCE_S) is None
        assert Page(two.head).value("cyray_tasks", State="FINISHED") == 1
    finally:
        os.kill(node.pid, signal.SIGCONT)
    # Whoever had asked is gone, and the next one is answered.
    becomes(two.other, "cyray_scrape_timeouts_total", 0)
    assert is_running(node.pid)


def test_a_port_of_ones_own_choice(cluster):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(
            RuntimeError, match=rf"metrics.*127\.0\.0\.1:{port}: Address already in"
        ):
            cyray.init(num_cpus=1, _metrics_export_port=port)
        assert not cyray.is_initialized()
    context = cyray.init(num_cpus=1, _metrics_export_port=port)
    assert context.address_info["metrics_export_port"] == port
    assert list(ports().values()) == [port]
    assert Page(port).value("cyray_running_jobs") == 1
    with pytest.raises(ValueError, match="_metrics_export_port must not be provided"):
        cyray.shutdown()
        cluster.add_node(num_cpus=1)
        cyray.init(address=cluster.address, _metrics_export_port=port)
    attached = cyray.init(address=cluster.address)
    assert attached.address_info["metrics_export_port"] == cluster.head_node.metrics_export_port


@pytest.mark.parametrize(("given", "error"), [("9000", TypeError), (65_536, ValueError)])
def test_what_is_no_port_is_refused(given, error):
    with pytest.raises(error, match="metrics_export_port"):
        cyray.init(_metrics_export_port=given)


def test_a_cluster_of_the_command_has_the_port_that_it_was_given():
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
        text = command("start", "--head", "--port=0", f"--metrics-export-port={port}", code=1)
        assert f"127.0.0.1:{port}" in text
    command("start", "--head", "--port=0", f"--metrics-export-port={port}")
    try:
        assert Page(port).value("cyray_cluster_active_nodes") == 1
    finally:
        command("stop")
    with pytest.raises(urllib.error.URLError):
        Page(port)
