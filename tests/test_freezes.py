"""Processes that stand still for a while, nodes that are cut off, a GCS that dies again and again.

A pause is what it lasts, so here, and only here, tests let time pass: past the six seconds after
which a silent node is dead.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import shutil
import signal
import subprocess
import sys
import threading
import time

import numpy as np
import pytest
from support import (
    Driver,
    children,
    command_line,
    eventually,
    find_process,
    is_running,
    raylet_pid,
)

import cyray
from cyray._node.local import LocalNode
from cyray._node.options import NodeOptions

PAST_EVERY_LIMIT_S = 8
BELOW_EVERY_LIMIT_S = 4
LONGER = [pytest.param(s, marks=pytest.mark.slow) for s in (4, 10, 60)]
ALARM_MINUTES = float(os.environ.get("ALARM_MINUTES", "2"))


def tree(pid):
    return [pid, *[below for child in children(pid) for below in tree(child)]]


@contextlib.contextmanager
def stopped(pids):
    """The processes stand still inside the block."""
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)


def pass_time(seconds):
    threading.Event().wait(seconds)


@pytest.fixture
def beside():
    """Two busy loops, as on a loaded machine."""
    loop = f"import os\nwhile os.getppid() == {os.getpid()}: pass"
    loops = [subprocess.Popen([sys.executable, "-c", loop]) for _ in range(2)]
    yield
    for process in loops:
        process.kill()
        process.wait()


COUNTING = """
    import sys
    import numpy as np
    import cyray

    cyray.init(num_cpus=2, log_to_driver=False)

    @cyray.remote
    class Counter:
        def __init__(self):
            self.n = 0

        def add(self):
            self.n += 1
            return self.n

    @cyray.remote
    def double(array):
        return array * 2

    counter = Counter.remote()
    kept = cyray.put(np.ones(500_000))
    assert cyray.get(counter.add.remote()) == 1
    print("ready", flush=True)
    n = 1
    for line in sys.stdin:
        for _ in range(20):
            n += 1
            assert cyray.get(counter.add.remote(), timeout=30) == n
        assert cyray.get(double.remote(kept), timeout=30)[0] == 2
        assert cyray.get(Counter.remote().add.remote(), timeout=30) == 1
        print("fine", flush=True)
"""


class Session:
    """A program with a session of its own that works once for each line it gets."""

    def __init__(self, folder):
        self.driver = Driver(folder, COUNTING, stdin=True)
        assert self.driver.line() == "ready"
        self.raylet = find_process(self.driver.pid, "raylet")
        self.gcs = find_process(self.raylet, "gcs_server")

    def works(self):
        stdin = self.driver.process.stdin
        assert stdin is not None
        stdin.write("go\n")
        stdin.flush()
        return self.driver.line() == "fine"


@pytest.fixture
def session(tmp_path):
    made = Session(tmp_path)
    yield made
    made.driver.finish()


@pytest.mark.parametrize("seconds", [PAST_EVERY_LIMIT_S, *LONGER])
@pytest.mark.parametrize("who", ["everybody", "the GCS", "the raylet"])
@pytest.mark.timeout(180)
def test_a_session_on_one_node_outlives_every_pause(session, beside, who, seconds):
    pids = {
        "everybody": tree(session.driver.pid),
        "the GCS": [session.gcs],
        "the raylet": [session.raylet],
    }[who]
    with stopped(pids):
        pass_time(seconds)
    for _ in range(3):
        assert session.works()


@pytest.fixture
def three(cluster):
    """A head without CPUs that this process is connected to, and two nodes."""
    cluster.add_node(num_cpus=0)
    cluster.connect()
    cluster.nodes = [cluster.add_node(num_cpus=1, resources={name: 1}) for name in ("a", "b")]
    return cluster


@cyray.remote(num_cpus=0)
def node_of():
    return cyray.get_runtime_context().get_node_id()


def alive_nodes():
    return {node["NodeID"] for node in cyray.nodes() if node["Alive"]}


def test_a_node_that_stands_still_for_a_moment_goes_on(three, beside):
    everybody = alive_nodes()
    frozen, _ = three.nodes
    where = node_of.options(resources={"a": 1})
    with stopped([frozen.pid]):
        asked = where.remote()
        pass_time(BELOW_EVERY_LIMIT_S)
    assert cyray.get([asked, where.remote()], timeout=20) == [frozen.node_id] * 2
    assert alive_nodes() == everybody
    pass_time(BELOW_EVERY_LIMIT_S)  # whoever counted the pause would have come to a verdict
    assert alive_nodes() == everybody
    assert cyray.get(where.remote(), timeout=20) == frozen.node_id


@pytest.mark.parametrize("seconds", [0, *LONGER[1:]])
@pytest.mark.timeout(180)
def test_a_frozen_node_is_dead_and_ends_when_it_wakes_and_the_others_go_on(three, beside, seconds):
    frozen, other = three.nodes
    with stopped([frozen.pid]):
        eventually(lambda: frozen.node_id not in alive_nodes(), 15, "the frozen node is dead")
        assert is_running(frozen.pid)
        where = node_of.options(resources={"b": 1})
        assert cyray.get(where.remote(), timeout=20) == other.node_id
        pass_time(seconds)
    eventually(lambda: not frozen.alive(), 10, "it has ended")
    assert cyray.get(where.remote(), timeout=20) == other.node_id
    assert alive_nodes() == {three.head_node.node_id, other.node_id}


class Lives:
    def __init__(self, births):
        with open(births, "a+") as file:
            file.seek(0)
            others = [int(line.split()[0]) for line in file]
            alone = not any(is_running(pid) for pid in others)
            file.write(f"{os.getpid()} {'alone' if alone else 'beside another'}\n")

    def node(self):
        return cyray.get_runtime_context().get_node_id()


def test_an_actor_that_is_killed_on_a_frozen_node_is_not_started_beside_its_old_process(
    three, tmp_path
):
    births = tmp_path / "births"
    options = {"max_restarts": 1, "max_task_retries": 1, "num_cpus": 1}
    actor = cyray.remote(Lives).options(**options).remote(births)
    nodes = {node.node_id: node for node in three.nodes}
    there = nodes[cyray.get(actor.node.remote(), timeout=20)]
    old = int(births.read_text().split()[0])
    with stopped([there.pid]):
        cyray.kill(actor, no_restart=False)
        pass_time(2)
        assert is_running(old)
        assert len(births.read_text().splitlines()) == 1
    # The old process may answer calls that were on their way before it ends.
    eventually(lambda: len(births.read_text().splitlines()) == 2, 20)
    assert births.read_text().splitlines()[1].split()[1:] == ["alone"]
    assert cyray.get(actor.node.remote(), timeout=20) in nodes


@pytest.mark.parametrize("seconds", [PAST_EVERY_LIMIT_S, *LONGER])
@pytest.mark.timeout(180)
def test_a_frozen_gcs_kills_nobody(three, beside, seconds):
    everybody = alive_nodes()
    gcs = find_process(three.head_node.pid, "gcs_server")
    with stopped([gcs]):
        pass_time(seconds)
    assert alive_nodes() == everybody
    pass_time(1)  # deadlines that were counted on would have come by now
    assert alive_nodes() == everybody
    for name, node in zip("ab", three.nodes, strict=True):
        assert cyray.get(node_of.options(resources={name: 1}).remote(), timeout=20) == node.node_id


@pytest.mark.parametrize("seconds", [PAST_EVERY_LIMIT_S, *LONGER])
@pytest.mark.timeout(180)
def test_a_cluster_that_stands_still_as_a_whole_goes_on(three, beside, seconds):
    everybody = alive_nodes()
    with stopped([pid for node in (three.head_node, *three.nodes) for pid in tree(node.pid)]):
        pass_time(seconds)
    for _ in range(2):
        for name, node in zip("ab", three.nodes, strict=True):
            where = node_of.options(resources={name: 1})
            assert cyray.get(where.remote(), timeout=20) == node.node_id
        assert alive_nodes() == everybody
        pass_time(1)


class Summing:
    def __init__(self):
        self.calls = 0

    def who(self):
        return os.getpid()

    def add(self, array):
        self.calls += 1
        return self.calls, int(array.sum())


@pytest.mark.slow
@pytest.mark.timeout(60 * ALARM_MINUTES + 180)
def test_nobody_is_taken_for_dead_while_all_cores_are_busy(three, beside):
    """For ALARM_MINUTES (`make soak ALARM_MINUTES=60`): calls, tasks and large objects between nodes."""
    everybody = alive_nodes()
    actors = [cyray.remote(Summing).options(num_cpus=0, resources={n: 0.1}).remote() for n in "ab"]
    pids = cyray.get([actor.who.remote() for actor in actors], timeout=40)
    end = time.monotonic() + 60 * ALARM_MINUTES
    calls = 0
    while time.monotonic() < end:
        calls += 1
        ones = cyray.put(np.ones(200_000))
        answers = cyray.get([actor.add.remote(ones) for actor in actors], timeout=60)
        assert answers == [(calls, 200_000)] * len(actors)
        for name, node in zip("ab", three.nodes, strict=True):
            where = node_of.options(resources={name: 0.1}, max_retries=0)
            assert cyray.get(where.remote(), timeout=60) == node.node_id
        assert alive_nodes() == everybody
    assert cyray.get([actor.who.remote() for actor in actors], timeout=40) == pids


def test_a_removed_node_is_dead_at_once(three):
    three.remove_node(three.nodes[0])
    assert three.nodes[0].node_id not in alive_nodes()


def test_a_killed_raylet_is_noticed_without_waiting_for_its_silence(three):
    node = three.nodes[0]
    assert cyray.get(node_of.options(resources={"a": 1}).remote(), timeout=20) == node.node_id
    os.kill(node.pid, signal.SIGKILL)
    eventually(lambda: node.node_id not in alive_nodes(), 4, "its zygote has told of it")
    three.remove_node(node)


class Host:
    """A network namespace of its own, one cable away from this one."""

    def __init__(self):
        name = f"cy{os.getpid()}"
        net = os.getpid() % (50 * 250)  # another process of the suite takes another one
        here, there = (f"10.{200 + net // 250}.{net % 250}.{n}" for n in (1, 2))
        self.name, self.address, self.gateway = name, there, here
        self._ip("netns", "add", name)
        self._ip("link", "add", f"{name}a", "type", "veth", "peer", f"{name}b", "netns", name)
        self._ip("address", "add", f"{here}/24", "dev", f"{name}a")
        self._ip("link", "set", f"{name}a", "up")
        self._ip("-n", name, "address", "add", f"{there}/24", "dev", f"{name}b")
        self._ip("-n", name, "link", "set", f"{name}b", "up")
        self._ip("-n", name, "link", "set", "lo", "up")

    def _ip(self, *arguments):
        subprocess.run(["ip", *arguments], check=True)

    @contextlib.contextmanager
    def inside(self):
        """What this thread starts in the block lives on that host."""
        with open("/proc/thread-self/ns/net") as ours, open(f"/run/netns/{self.name}") as theirs:
            enter(theirs)
            try:
                yield
            finally:
                enter(ours)

    def pull_the_cable(self):
        self._ip("-n", self.name, "link", "set", f"{self.name}b", "down")

    def plug_it_in(self):
        self._ip("-n", self.name, "link", "set", f"{self.name}b", "up")

    def close(self):
        self._ip("netns", "delete", self.name)  # the cable goes with it


def enter(namespace):
    clone_newnet = 0x40000000
    if ctypes.CDLL(None, use_errno=True).setns(namespace.fileno(), clone_newnet) != 0:
        raise OSError(ctypes.get_errno(), "setns")


@pytest.fixture
def host():
    if os.geteuid() != 0 or shutil.which("ip") is None:
        pytest.skip("network namespaces need root and the command ip")
    made = Host()
    yield made
    made.close()


@pytest.fixture
def two_hosts(cluster, host):
    """A head here, that this process is connected to, and a node with the resource "there" on that host."""
    head = cluster.add_node(num_cpus=0, node_ip=host.gateway)
    cluster.connect()
    with host.inside():
        node = LocalNode(
            NodeOptions(
                num_cpus=1,
                object_store_memory=150 * 1000**2,
                resources={"there": 1},
                head=False,
                node_ip=host.address,
                gcs_address=head.gcs_address,
                session_dir=head.session_dir,
            )
        )
    cluster.there = node
    yield cluster
    cyray.shutdown()
    node.stop()


CUT_S, WHOLE_S = 5, 10  # a cable loses packets in silence: TCP itself would wait longer


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_cable_that_is_out_five_seconds_of_fifteen_costs_nothing_but_time(two_hosts, host):
    everybody = alive_nodes()
    actor = cyray.remote(Summing).options(num_cpus=0, resources={"there": 0.1}).remote()
    pid = cyray.get(actor.who.remote(), timeout=20)
    ended = threading.Event()

    def pull():
        while not ended.wait(WHOLE_S):
            host.pull_the_cable()
            ended.wait(CUT_S)
            host.plug_it_in()

    pulling = threading.Thread(target=pull)
    pulling.start()
    try:
        end, calls = time.monotonic() + 8 * (CUT_S + WHOLE_S), 0
        while time.monotonic() < end:
            refs = [actor.add.remote(np.ones(n)) for n in (1, 100, 100_000)]
            there = node_of.options(resources={"there": 0.1}, max_retries=0).remote()
            expected = [(calls + n, size) for n, size in ((1, 1), (2, 100), (3, 100_000))]
            assert cyray.get(refs, timeout=60) == expected
            assert cyray.get(there, timeout=60) == two_hosts.there.node_id
            calls += 3
    finally:
        ended.set()
        pulling.join()
    assert cyray.get(actor.who.remote(), timeout=30) == pid
    assert alive_nodes() == everybody


def test_a_node_that_is_cut_off_has_ended_before_its_actor_starts_elsewhere(two_hosts, host):
    cluster, node = two_hosts, two_hosts.there

    @cyray.remote(num_cpus=0, resources={"there": 1}, max_restarts=-1, max_task_retries=-1)
    class Pid:
        def get(self):
            return os.getpid()

    actor = Pid.options(name="only one").remote()
    first = cyray.get(actor.get.remote(), timeout=20)
    another = cluster.add_node(num_cpus=1, resources={"there": 1}, node_ip=host.gateway, wait=False)
    eventually(lambda: another.node_id in alive_nodes())
    host.pull_the_cable()
    second = cyray.get(actor.get.remote(), timeout=30)
    while second == first:
        second = cyray.get(actor.get.remote(), timeout=30)
    assert not is_running(first)
    eventually(lambda: not node.alive(), 5)
    eventually(lambda: node.node_id not in alive_nodes(), 5)


MAKING = """
    import sys
    import cyray

    cyray.init(address=sys.argv[1], log_to_driver=False)

    @cyray.remote(num_cpus=0)
    class A:
        def echo(self, x):
            return x

    recent, n = [], 0
    print("started", flush=True)
    for line in sys.stdin:
        name = f"{sys.argv[2]}-{n}"
        recent = [*recent[-6:], A.options(name=name).remote(), A.remote()]
        n += 1
        assert cyray.get([a.echo.remote(n) for a in recent], timeout=60) == [n] * len(recent)
        print(n, flush=True)
"""


@pytest.mark.parametrize("kills", [8, pytest.param(50, marks=pytest.mark.slow)])
@pytest.mark.timeout(300)
def test_the_gcs_dies_again_and_again_under_two_drivers_that_make_actors(tmp_path, kills):
    cyray.init(num_cpus=2)
    address = cyray.get_runtime_context().gcs_address
    drivers = []
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        drivers.append(Driver(tmp_path / name, MAKING, address, name, stdin=True))
    for driver in drivers:
        assert driver.line() == "started"
    for _ in range(kills):
        for driver in drivers:
            driver.process.stdin.write("go\n")
            driver.process.stdin.flush()
        gcs = eventually(lambda: find_process(raylet_pid(), "gcs_server"), 10)
        os.kill(gcs, signal.SIGKILL)
        eventually(lambda gcs=gcs: "gcs_server" not in command_line(gcs), 10)
        for driver in drivers:
            assert driver.line().isdigit(), driver.finish(code=1)
    for driver in drivers:
        driver.finish()
