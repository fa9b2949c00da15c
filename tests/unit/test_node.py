"""Starting and ending a node, and the folders of sessions; with a raylet that only pretends."""

from __future__ import annotations

import json
import os
import shutil
import signal
import stat
import subprocess
import sys
import tempfile

import pytest
from support import eventually

from cyray._node import addresses, end, environment, local, sessions
from cyray._node.local import LocalNode
from cyray._node.options import NodeOptions
from cyray._os import machine as _machine
from cyray._os import proc
from cyray._os.files import PACKAGE_DIR
from cyray.cluster_utils import Cluster

PACKAGE = PACKAGE_DIR
FAKE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "fake_raylet.py")


@pytest.fixture(autouse=True)
def fake_binaries(tmp_path, monkeypatch):
    bin_dir = tmp_path / "bin"
    bin_dir.mkdir()
    for name in ("raylet", "gcs_server"):
        path = bin_dir / name
        path.write_text(f'#!/bin/sh\nexec {sys.executable} -I -S {FAKE} "$@"\n')
        path.chmod(0o755)
    monkeypatch.setenv("CYRAY_BIN_DIR", str(bin_dir))
    # Short: a socket's path has at most 107 characters.
    base = tempfile.mkdtemp(prefix="cyu", dir="/tmp")
    monkeypatch.setenv("CYRAY_TMPDIR", base)
    monkeypatch.delenv("CYRAY_ADDRESS", raising=False)
    monkeypatch.delenv("FAKE_RAYLET", raising=False)
    yield
    shutil.rmtree(base)


@pytest.fixture
def node():
    started = LocalNode(NodeOptions(num_cpus=2, resources={"Custom": 0.5}))
    yield started
    started.stop()


def seen_by_raylet(node: LocalNode) -> dict:
    with open(os.path.join(node.session_dir, "seen.json")) as file:
        return json.load(file)


def test_a_node_starts_and_says_where_it_is(node):
    assert node.alive()
    assert node.node_id == "ab" * 20
    assert node.gcs_address == "127.0.0.1:4000"
    assert node.metrics_export_port == 4002
    assert node.socket == os.path.join(node.session_dir, "sockets", "raylet")


def test_the_raylet_gets_what_was_asked_for(node):
    args = seen_by_raylet(node)["args"]
    amounts = dict(item.split("=") for item in args["resources"].split(","))
    assert amounts["CPU"] == "2"
    assert amounts["Custom"] == "0.5"
    assert amounts["node:127.0.0.1"] == "1"
    assert int(amounts["object_store_memory"]) == args["object_store_memory"]
    assert args["head"]
    assert args["python"] == sys.executable


def test_the_session_folder_is_private(node):
    def mode(path):
        return stat.S_IMODE(os.stat(path).st_mode)

    assert mode(node.session_dir) == 0o700
    token = os.path.join(node.session_dir, "token")
    assert mode(token) == 0o600
    with open(token) as file:
        assert len(bytes.fromhex(file.read())) == 32
    base = os.path.dirname(node.session_dir)
    assert os.readlink(os.path.join(base, "session_latest")) == os.path.basename(node.session_dir)


def test_the_raylet_has_only_its_own_descriptors():
    leaked = os.open("/dev/null", os.O_RDONLY)
    os.set_inheritable(leaked, True)
    try:
        node = LocalNode()
        # 0, 1, 2, the lifeline, the ready pipe, the file that is written, the folder listed.
        assert len(seen_by_raylet(node)["fds"]) == 7
        node.stop()
    finally:
        os.close(leaked)


def test_stopping_leaves_no_process_descriptor_or_socket():
    before = len(os.listdir("/proc/self/fd"))
    node = LocalNode()
    pid = node.pid
    node.stop()
    assert not os.path.exists(f"/proc/{pid}")
    assert os.listdir(os.path.join(node.session_dir, "sockets")) == []
    assert len(os.listdir("/proc/self/fd")) == before
    node.stop()


def test_a_raylet_that_ignores_the_end_is_killed(monkeypatch):
    monkeypatch.setenv("FAKE_RAYLET", "stubborn")
    monkeypatch.setattr(local, "STOP_GRACE_S", 0.1)
    node = LocalNode(NodeOptions(lifeline=False))
    node.stop()
    assert not os.path.exists(f"/proc/{node.pid}")


def test_a_node_that_is_killed_does_not_begin_to_end_in_order(monkeypatch):
    node = LocalNode()
    lifeline = f"/proc/self/fd/{node._lifeline}"
    pipe = os.readlink(lifeline)
    seen = []

    def kill(pid, number, real=os.kill):
        seen.append((number, os.path.lexists(lifeline) and os.readlink(lifeline) == pipe))
        real(pid, number)

    monkeypatch.setattr(os, "kill", kill)
    node.kill()
    assert seen == [(signal.SIGKILL, True)]
    assert node._lifeline == -1
    assert not os.path.exists(f"/proc/{node.pid}")


def test_a_raylet_that_reports_an_error_is_quoted(monkeypatch):
    monkeypatch.setenv("FAKE_RAYLET", "error")
    with pytest.raises(RuntimeError, match="the port is taken") as caught:
        LocalNode()
    # The reason that it gave is enough; the rest is in its log.
    assert "a line of the log" not in str(caught.value)
    assert "/logs)" in str(caught.value)


def test_a_raylet_that_dies_at_once_is_quoted(monkeypatch):
    monkeypatch.setenv("FAKE_RAYLET", "die")
    with pytest.raises(RuntimeError, match="bad flag, good bye"):
        LocalNode()


def test_a_raylet_that_died_is_reaped(node):
    os.kill(node.pid, signal.SIGKILL)
    eventually(lambda: not node.alive())
    assert not os.path.exists(f"/proc/{node.pid}")


@pytest.mark.parametrize(
    "start",
    ["from cyray._node.local import LocalNode; LocalNode().stop()", "import cyray; cyray.init"],
)
def test_starting_brings_none_of_the_modules_that_take_long(start):
    slow = ["subprocess", "shutil", "multiprocessing", "asyncio", "numpy", "dataclasses", "inspect"]
    program = f"import sys; {start}; print(set({slow}) & set(sys.modules))"
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout == "set()\n"


def test_a_node_that_was_not_started_can_be_stopped():
    node = LocalNode(start=False)
    node.stop()
    assert not node.alive()
    assert node.pid == 0


DRIVER = """
import sys, os, time, types
m = types.ModuleType("cyray"); m.__path__ = [sys.argv[1]]; sys.modules["cyray"] = m
from cyray._node.local import LocalNode
node = LocalNode()
child = os.fork()
if child == 0:
    time.sleep(60)
print(node.pid, child, flush=True)
time.sleep(60)
"""


def test_the_node_ends_with_its_driver_although_a_forked_child_lives():
    driver = subprocess.Popen(
        [sys.executable, "-c", DRIVER, PACKAGE], stdout=subprocess.PIPE, text=True
    )
    raylet, child = map(int, driver.stdout.readline().split())
    driver.kill()
    driver.wait()
    try:
        eventually(lambda: not proc.start_ticks(raylet))
        assert proc.start_ticks(child)
    finally:
        os.kill(child, signal.SIGKILL)
        driver.stdout.close()


def test_a_forked_child_does_not_end_the_node_at_its_exit(node):
    child = os.fork()
    if child == 0:
        node.stop()
        os._exit(0)
    os.waitpid(child, 0)
    assert node.alive()


def test_a_further_node_shares_the_session(node):
    other = LocalNode(
        NodeOptions(head=False, gcs_address=node.gcs_address, session_dir=node.session_dir)
    )
    assert other.socket.endswith("sockets/raylet.1")
    assert len(sessions.node_records(node.session_dir)) == 2
    other.stop()
    assert [record["head"] for record in sessions.node_records(node.session_dir)] == [True]


def test_two_nodes_that_start_at_the_same_time_have_names_of_their_own(node):
    options = NodeOptions(
        head=False, gcs_address=node.gcs_address, session_dir=node.session_dir, lifeline=False
    )
    both = [LocalNode(options, start=False) for _ in range(2)]
    assert [one.name for one in both] == ["raylet.1", "raylet.2"]
    assert [record["pid"] for record in sessions.node_records(node.session_dir)] == [node.pid]
    for one in both:
        one.stop()
    assert LocalNode(options, start=False).name == "raylet.1"


def test_a_cluster_starts_and_removes_nodes():
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1})
    node = cluster.add_node(num_cpus=1, resources={"other": 1})
    assert cluster.address == node.gcs_address
    assert cluster.list_all_nodes() == [cluster.head_node, node]
    with pytest.raises(ValueError, match="Unknown arguments"):
        cluster.add_node(num_cpu=1)
    with pytest.raises(TypeError, match="preload must be a list of module names, not 'numpy'"):
        cluster.add_node(preload="numpy")
    with pytest.raises(TypeError, match="head_node_args must be a dict"):
        Cluster(initialize_head=True, head_node_args=4)
    assert len(sessions.sessions()) == 1
    with pytest.raises(ValueError, match="before the others"):
        cluster.remove_node(cluster.head_node)
    cluster.remove_node(node, allow_graceful=False)
    assert not os.path.exists(f"/proc/{node.pid}")
    cluster.shutdown()
    assert cluster.list_all_nodes() == []


def test_old_sessions_are_removed_and_live_ones_kept(monkeypatch):
    base = sessions.base_dir()
    dead_pid = 2**22 - 1
    for index in range(25):
        folder = os.path.join(base, f"session_2001-01-01_00-00-{index:02}_000000_{dead_pid}")
        os.makedirs(os.path.join(folder, "logs", "deep"))
    live = os.path.join(base, f"session_2000-01-01_00-00-00_000000_{os.getpid()}")
    os.makedirs(live)
    node = LocalNode()
    names = [os.path.basename(path) for path in sessions.sessions()]
    assert len(names) == sessions.KEPT_SESSIONS + 1
    assert names[0] == os.path.basename(node.session_dir)
    assert os.path.basename(live) in names
    node.stop()


def test_cleaning_never_follows_links(tmp_path):
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "file").write_text("keep")
    folder = os.path.join(sessions.base_dir(), "session_x")
    os.makedirs(folder)
    os.symlink(outside, os.path.join(folder, "link"))
    sessions._remove_tree(folder)
    assert not os.path.exists(folder)
    assert (outside / "file").read_text() == "keep"


def test_what_somebody_else_put_there_is_no_session(node, monkeypatch):
    assert sessions.sessions() == [node.session_dir]
    linked = os.path.join(os.path.dirname(node.session_dir), "session_2999-01-01_00-00-00_000000_1")
    os.symlink(node.session_dir, linked)
    assert sessions.sessions() == [node.session_dir]
    monkeypatch.setattr(sessions, "_check_named", lambda path: None)
    monkeypatch.setattr(os, "getuid", lambda: 12345)
    assert sessions.sessions() == []


def test_a_named_folder_of_another_user_is_refused(monkeypatch):
    base = sessions.base_dir()
    monkeypatch.setattr(os, "lstat", owned_by(os.lstat, base, 65534))
    with pytest.raises(RuntimeError, match=f"{base}.*belongs to user 65534.*a folder of your own"):
        LocalNode()
    assert os.listdir(base) == []


@pytest.mark.parametrize("kind", ["folder", "link"])
def test_what_another_user_has_on_the_way_to_a_named_folder_is_refused(kind, monkeypatch):
    base = sessions.base_dir()
    os.makedirs(os.path.join(base, "own", "inner"), mode=0o700)
    between = os.path.join(base, "own" if kind == "folder" else "link")
    if kind == "link":
        os.symlink("own", between)
    monkeypatch.setenv("CYRAY_TMPDIR", f"{between}/inner")
    assert sessions.base_dir() == f"{between}/inner"
    monkeypatch.setattr(os, "lstat", owned_by(os.lstat, between, 65534))
    with pytest.raises(RuntimeError, match=f"{between}/inner.*'{between}' is on the way.*65534"):
        LocalNode()
    assert os.listdir(f"{base}/own/inner") == []


def test_a_folder_on_the_way_where_others_may_exchange_names_is_refused(monkeypatch):
    base = sessions.base_dir()
    os.makedirs(os.path.join(base, "shared", "inner"))
    os.chmod(os.path.join(base, "shared"), 0o777)
    # What the link leads to counts, not the folders that its own name has.
    os.symlink("shared/inner", os.path.join(base, "link"))
    for named in ("shared/inner", "link", "shared/new"):
        monkeypatch.setenv("CYRAY_TMPDIR", os.path.join(base, named))
        with pytest.raises(RuntimeError, match=f"{base}/{named}.*chmod go-w {base}/shared`"):
            LocalNode()
    assert os.listdir(os.path.join(base, "shared")) == ["inner"]
    assert os.listdir(os.path.join(base, "shared/inner")) == []


def test_folders_on_the_way_that_are_missing_are_made_for_their_owner_alone(monkeypatch):
    base = sessions.base_dir()
    os.symlink("a/../a/b", os.path.join(base, "link"))
    monkeypatch.setenv("CYRAY_TMPDIR", os.path.join(base, "link", "c"))
    mask = os.umask(0)
    try:
        LocalNode().stop()
    finally:
        os.umask(mask)
    for name in ("a", "a/b", "a/b/c"):
        assert stat.S_IMODE(os.stat(os.path.join(base, name)).st_mode) == 0o700


def test_links_that_lead_in_a_circle_are_told(monkeypatch):
    base = sessions.base_dir()
    for one, other in ("ab", "ba"):
        os.symlink(other, os.path.join(base, one))
    monkeypatch.setenv("CYRAY_TMPDIR", os.path.join(base, "a"))
    with pytest.raises(RuntimeError, match="symbolic links"):
        sessions.base_dir()


def owned_by(real, where, uid):
    """`os.lstat` that says that `where` belongs to `uid`."""

    def told(path, **options):
        found = real(path, **options)
        if str(path) != where:
            return found
        values = list(found)
        values[stat.ST_UID] = uid
        return os.stat_result(values)

    return told


@pytest.mark.parametrize("mode", [0o777, 0o775, 0o757])
def test_a_named_folder_where_others_may_exchange_names_is_refused(mode):
    base = sessions.base_dir()
    os.chmod(base, mode)
    with pytest.raises(RuntimeError, match=f"{base}.*mode {mode:04o}.*chmod go-w {base}"):
        LocalNode()
    assert os.listdir(base) == []


def test_a_named_folder_that_is_sticky_may_be_shared():
    base = sessions.base_dir()
    os.chmod(base, 0o1777)
    started = LocalNode()
    assert os.path.realpath(os.path.join(base, "session_latest")) == started.session_dir
    started.stop()


@pytest.mark.parametrize("name", ["session_latest", "cyray_current_cluster"])
def test_shared_names_of_another_user_are_left_alone(name, monkeypatch):
    base = sessions.base_dir()
    os.chmod(base, 0o1777)
    foreign = os.path.join(base, name)
    os.symlink("/etc", foreign)
    monkeypatch.setattr(os, "lstat", owned_by(os.lstat, foreign, 65534))
    with pytest.raises(RuntimeError, match=f"{base}.*{name}.*user 65534.*a folder of your own"):
        LocalNode()
    assert os.listdir(base) == [name]
    assert os.readlink(foreign) == "/etc"


def test_the_note_of_the_current_cluster_is_never_written_through_a_link(tmp_path, monkeypatch):
    base = sessions.base_dir()
    os.chmod(base, 0o1777)
    precious = tmp_path / "precious"
    precious.write_text("keep")
    monkeypatch.setattr(os, "urandom", lambda size: b"\0" * size)
    os.symlink(precious, os.path.join(base, f"cyray_current_cluster.{'00' * 8}"))
    with pytest.raises(FileExistsError):
        sessions.write_current_cluster("127.0.0.1:1")
    assert precious.read_text() == "keep"


@pytest.mark.parametrize("name", ["/proc/no-such-folder", "/dev/null"])
def test_a_folder_that_cannot_be_made_is_named(name, monkeypatch):
    monkeypatch.setenv("CYRAY_TMPDIR", name)
    with pytest.raises(RuntimeError, match=f"{name}.*a folder that you may write to"):
        sessions.make_session()


def test_a_long_folder_name_is_refused_in_words(tmp_path, monkeypatch):
    monkeypatch.setenv("CYRAY_TMPDIR", str(tmp_path / ("x" * 120)))
    with pytest.raises(RuntimeError, match="CYRAY_TMPDIR"):
        LocalNode()


@pytest.mark.parametrize(
    "options",
    [
        NodeOptions(object_store_memory=1000),
        NodeOptions(object_store_memory=10**16),
        NodeOptions(resources={"CPU": 1}),
        NodeOptions(resources={"a": -1}),
        NodeOptions(num_cpus=-1),
        NodeOptions(memory=-1),
        NodeOptions(num_gpus=1.5),
        NodeOptions(resources={"object_store_memory": 1}),
        NodeOptions(resources={"node:127.0.0.1": 1}),
        NodeOptions(node_ip="localhost"),
        NodeOptions(node_ip="1.2.3.256"),
        NodeOptions(node_ip="::1"),
        NodeOptions(preload=("a-b",)),
        NodeOptions(env={"CYRAY_BACKEND_LOG_LEVEL": "loud"}),
        NodeOptions(env={"A=B": "1"}),
        NodeOptions(env={"A": "\0"}),
        NodeOptions(prestart=-1),
        NodeOptions(metrics_export_port=-1),
        NodeOptions(metrics_export_port=65_536),
        NodeOptions(head=False),
    ],
)
def test_what_no_node_can_be_is_refused_and_makes_no_folder(options):
    with pytest.raises(ValueError):
        LocalNode(options)
    assert sessions.sessions() == []


def test_programs_that_are_not_there_make_no_folder(monkeypatch, tmp_path):
    monkeypatch.setenv("CYRAY_BIN_DIR", str(tmp_path))
    with pytest.raises(RuntimeError, match=r"CYRAY_BIN_DIR names .* no program 'raylet'"):
        LocalNode()
    assert sessions.sessions() == []


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("num_cpus", "2"),
        ("num_cpus", True),
        ("memory", "1G"),
        ("object_store_memory", "1G"),
        ("object_store_memory", float("nan")),
        ("object_store_memory", float("inf")),
        ("resources", ["Custom"]),
        ("resources", {"Custom": "1"}),
        ("preload", "numpy"),
        ("preload", {"numpy": 1}),
        ("prestart", "2"),
        ("prestart", 1.5),
        ("prestart", True),
        ("metrics_export_port", "8080"),
        ("env", "A=1"),
        ("env", {"A": 1}),
    ],
)
def test_options_of_a_wrong_type_are_named_and_make_no_folder(name, value):
    with pytest.raises(TypeError, match="Custom" if value == {"Custom": "1"} else name):
        LocalNode(NodeOptions(**{name: value}))
    assert sessions.sessions() == []


def test_options_may_be_lists_and_none(node):
    given = NodeOptions(
        resources=None, preload=["math", "json"], prestart=0, env=None, metrics_export_port=8080
    )
    started = LocalNode(given)
    try:
        assert seen_by_raylet(started)["args"]["preload"] == "math,json"
        assert seen_by_raylet(started)["args"]["prestart"] == 0
        assert seen_by_raylet(started)["args"]["metrics_export_port"] == 8080
    finally:
        started.stop()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("CYRAY_BACKEND_LOG_LEVEL", "loud"),
        ("CYRAY_DEDUP_LOGS", "false"),
        ("CYRAY_ENABLE_AUTO_CONNECT", "no"),
        ("CYRAY_SAVES_MIB", "0"),
        ("CYRAY_SAVES_MIB", "1.5"),
        ("CYRAY_SAVES_MIB", "1048577"),
        ("CYRAY_SPIN_US", "51"),
        ("CYRAY_SPIN_US", "-1"),
        ("CYRAY_SPIN_US", "1e1"),
        ("CYRAY_SPIN_US", "\u00b2"),
        ("CYRAY_WAIT_NOTICE_S", "soon"),
        ("CYRAY_WAIT_NOTICE_S", "-1"),
        ("CYRAY_WAIT_NOTICE_S", "nan"),
        ("CYRAY_IGNORE_UNHANDLED_ERRORS", "yes"),
    ],
)
def test_values_of_the_environment_that_mean_nothing_are_refused_by_name(name, value):
    with pytest.raises(ValueError, match=f"{name} must be .*, not {value!r}"):
        environment.check({name: value})


def test_values_of_the_environment_that_mean_something_are_taken():
    environment.check({"CYRAY_SPIN_US": "0", "CYRAY_BACKEND_LOG_LEVEL": "debug", "HOME": "x"})
    environment.check({"CYRAY_SPIN_US": "50", "CYRAY_DEDUP_LOGS": "1"})
    environment.check({"CYRAY_WAIT_NOTICE_S": "0", "CYRAY_IGNORE_UNHANDLED_ERRORS": "1"})
    environment.check({"CYRAY_WAIT_NOTICE_S": "2.5", "CYRAY_SAVES_MIB": "8192"})
    environment.check({"CYRAY_SPIN_US": "", "CYRAY_DEDUP_LOGS": ""})


# --- Addresses --------------------------------------------------------------------------------


def test_without_cluster_a_new_node_is_started():
    assert addresses.resolve(None) is None
    assert addresses.resolve("local") is None
    with pytest.raises(ConnectionError, match="cyray start --head"):
        addresses.resolve("auto")


def test_a_started_cluster_is_found(monkeypatch):
    node = LocalNode(NodeOptions(lifeline=False))
    sessions.write_current_cluster(node.gcs_address)
    try:
        for address in (None, "auto", node.gcs_address, "localhost:4000"):
            target = addresses.resolve(address)
            assert target is not None
            assert target.socket == node.socket
            assert target.session_dir == node.session_dir
        assert addresses.resolve("local") is None
        monkeypatch.setenv("CYRAY_ADDRESS", "local")
        assert addresses.resolve(None) is None
        monkeypatch.setenv("CYRAY_ADDRESS", "127.0.0.1:9")
        with pytest.raises(ConnectionError, match=r"127\.0\.0\.1:9"):
            addresses.resolve(None)
    finally:
        node.stop()


def test_a_node_of_another_version_is_refused_in_words(monkeypatch):
    node = LocalNode(NodeOptions(lifeline=False))
    sessions.write_current_cluster(node.gcs_address)
    try:
        monkeypatch.setattr(sessions, "package_version", lambda: "9.9.9")
        for address in (None, "auto", node.gcs_address):
            with pytest.raises(ConnectionError, match=r"cyray .*, this program 9\.9\.9"):
                addresses.resolve(address)
    finally:
        node.stop()


def test_a_cluster_that_ended_is_not_found():
    node = LocalNode(NodeOptions(lifeline=False))
    sessions.write_current_cluster(node.gcs_address)
    os.kill(node.pid, signal.SIGKILL)
    eventually(lambda: not node.alive())
    assert addresses.resolve(None) is None
    with pytest.raises(ConnectionError):
        addresses.resolve("auto")


def test_another_drivers_private_node_is_not_the_current_cluster(node):
    assert addresses.resolve(None) is None
    with pytest.raises(ConnectionError):
        addresses.resolve("auto")


@pytest.mark.parametrize("address", ["", "nonsense", "host:", "host:0", "host:99999", "x://h:1"])
def test_what_is_no_address_is_refused(address):
    with pytest.raises(ValueError):
        addresses.resolve(address)


# --- The machine ------------------------------------------------------------------------------


def test_the_machine_has_something_to_offer():
    assert 1 <= _machine.cpu_count() <= os.cpu_count()
    assert _machine.available_memory_bytes() > 0


def test_cuda_visible_devices_limits_the_gpus(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert _machine.gpu_count() == 0
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1,GPU-ab,-1,3")
    assert _machine.visible_devices("CUDA_VISIBLE_DEVICES") == ["1", "GPU-ab"]
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    assert _machine.visible_devices("CUDA_VISIBLE_DEVICES") is None


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("Tesla V100-SXM2-16GB", "V100"),
        ("NVIDIA A100 80GB PCIe", "A100"),
        ("NVIDIA H200", "H200"),
        ("NVIDIA L40S", "L40S"),
        ("Tesla T4", "T4"),
    ],
)
def test_gpu_models_have_short_names(text, name):
    assert _machine.short_gpu_model(text) == name


# --- cyray stop ---------------------------------------------------------------------------------


def start_daemon() -> LocalNode:
    node = LocalNode(NodeOptions(lifeline=False))
    sessions.write_current_cluster(node.gcs_address)
    return node


def test_stop_ends_the_nodes_of_other_processes():
    node = start_daemon()
    # Not ours to reap in real life: let init do it here too.
    outcome = end.end_all(grace_s=2)
    assert (outcome.found, outcome.left) == (1, 0)
    assert not node.alive()
    assert sessions.read_current_cluster() == ""
    assert end.end_all(grace_s=1).found == 0


def test_stop_kills_what_does_not_end(monkeypatch):
    monkeypatch.setenv("FAKE_RAYLET", "stubborn")
    node = start_daemon()
    outcome = end.end_all(grace_s=0.1)
    assert (outcome.found, outcome.left) == (1, 0)
    assert not node.alive()


def test_stop_leaves_a_later_process_with_the_same_pid_alone():
    node = start_daemon()
    path = sessions.node_record_path(node.session_dir, node.name)
    with open(path) as file:
        record = json.load(file)
    record["start"] -= 1
    with open(path, "w") as file:
        json.dump(record, file)
    assert end.end_all(grace_s=0).found == 0
    assert node.alive()
    node.stop()


def test_a_dump_shows_processes_and_logs(node):
    from cyray import _private

    with open(node.log_path, "a") as file:
        file.write("what the raylet said\n")
    text = _private.dump()
    assert node.session_dir in text
    assert f"  {node.pid} " in text
    assert "what the raylet said" in text
