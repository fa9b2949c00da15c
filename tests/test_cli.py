"""The `cyray` command: a cluster that outlives the command, several drivers, a second node."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest
from support import Driver, command, eventually, run_driver, session_processes

import cyray


@pytest.fixture
def address():
    """Address of a started cluster with two CPUs."""
    text = command("start", "--head", "--port=0", "--num-cpus=2", "--resources", '{"Custom": 2}')
    yield text.split("--address='")[1].split("'")[0]
    command("stop")
    assert not session_processes()


ATTACHED = """
    import sys
    import cyray

    cyray.init(address=sys.argv[1], namespace="shared")

    @cyray.remote
    class Counter:
        def __init__(self):
            self.n = 0

        def increment(self):
            self.n += 1
            return self.n

    counter = Counter.options(name="c", lifetime="detached", get_if_exists=True).remote()
    print(cyray.get(counter.increment.remote()), flush=True)
    sys.stdin.readline() if len(sys.argv) > 2 else None
"""


def test_start_says_how_to_go_on(address):
    assert address.startswith("127.0.0.1:")
    report = command("status")
    for part in ("Node status", "/2.0 CPU", "/2.0 Custom"):
        assert part in report


def test_several_drivers_share_a_cluster(address, tmp_path):
    results = [run_driver(tmp_path, ATTACHED, address)[0] for _ in range(2)]
    assert results == ["1\n", "2\n"]
    cyray.init(address=address, namespace="shared")
    assert cyray.get(cyray.get_actor("c").increment.remote()) == 3
    cyray.shutdown()
    cyray.init(address="auto")
    with pytest.raises(ValueError):
        cyray.get_actor("c")
    cyray.kill(cyray.get_actor("c", namespace="shared"))


def test_drivers_at_the_same_time(address, tmp_path):
    folders = [tmp_path / str(i) for i in range(3)]
    for folder in folders:
        folder.mkdir()
    program = """
        import sys
        import cyray

        cyray.init(address=sys.argv[1])

        @cyray.remote
        def f(i):
            return i

        print(sum(cyray.get([f.remote(i) for i in range(200)])))
    """
    drivers = [Driver(folder, program, address) for folder in folders]
    assert [driver.finish()[0] for driver in drivers] == ["19900\n"] * 3


def test_the_environment_names_the_cluster(address, tmp_path):
    out, _ = run_driver(
        tmp_path,
        """
        import cyray

        cyray.init()
        print(cyray.cluster_resources()["Custom"], cyray.get_runtime_context().gcs_address)
        """,
        CYRAY_ADDRESS=address,
    )
    assert out.split() == ["2.0", address]


def test_init_finds_the_started_cluster_by_itself(address):
    cyray.init()
    assert cyray.get_runtime_context().gcs_address == address
    assert cyray.cluster_resources()["CPU"] == 2


def test_resources_cannot_be_given_with_an_address(address):
    with pytest.raises(ValueError, match="num_cpus must not be provided"):
        cyray.init(address=address, num_cpus=1)


def test_a_second_node_joins(address):
    command("start", f"--address={address}", "--num-cpus=1", "--resources", '{"second": 1}')
    cyray.init(address=address)
    eventually(lambda: cyray.cluster_resources().get("second") == 1)

    @cyray.remote(resources={"second": 1})
    def where():
        return cyray.get_runtime_context().get_node_id()

    assert cyray.get(where.remote(), timeout=20) != cyray.get_runtime_context().get_node_id()
    cyray.shutdown()
    assert "second" in command("status")


def test_a_second_head_on_the_same_port_is_refused(address):
    port = address.rpartition(":")[2]
    assert "already running" in command("start", "--head", f"--port={port}", code=1)


def test_a_driver_that_dies_leaves_the_cluster_at_work(address, tmp_path):
    driver = Driver(tmp_path, ATTACHED, address)
    assert driver.line() == "1"
    driver.kill()
    cyray.init(address=address)

    @cyray.remote
    def f():
        return 1

    assert cyray.get([f.remote() for _ in range(10)], timeout=20) == [1] * 10
    cyray.kill(cyray.get_actor("c", namespace="shared"))


def test_ctrl_c_ends_the_wait_for_a_raylet_that_does_not_answer(address, tmp_path):
    (raylet,) = [pid for pid, text in session_processes().items() if "_bin/raylet" in text]
    os.kill(raylet, signal.SIGSTOP)
    try:
        driver = Driver(
            tmp_path,
            """
            import signal
            import sys
            import cyray

            signal.signal(signal.SIGINT, signal.default_int_handler)
            try:
                print("connecting", flush=True)
                cyray.init(address=sys.argv[1])
            except KeyboardInterrupt:
                print("interrupted")
            """,
            address,
        )
        assert driver.line() == "connecting"
        driver.process.send_signal(signal.SIGINT)
        assert driver.finish(timeout=20)[0] == "interrupted\n"
    finally:
        os.kill(raylet, signal.SIGCONT)


def test_wrong_usage_is_told():
    assert "--head" in command("start", code=2)
    assert "--resources" in command("start", "--head", "--resources", "nonsense", code=2)
    command("start", "--address=127.0.0.1:1", code=1)
    command("no-such-command", code=2)
    assert "start" in command("--help")


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
def test_a_blocking_start_ends_with_its_command(how):
    process = subprocess.Popen(
        [sys.executable, "-m", "cyray.cli", "start", "--head", "--port=0", "--block"],
        stdout=subprocess.PIPE,
        text=True,
    )
    for line in process.stdout:
        if "--block" in line:
            break
    assert len(session_processes()) > 1
    process.send_signal(how)
    process.wait(10)
    process.stdout.close()
    eventually(lambda: not session_processes(), 2.0)


def test_stop_kills_at_once_with_force():
    command("start", "--head", "--port=0", "--num-cpus=1")
    assert "Stopped all" in command("stop", "--force")
    eventually(lambda: not session_processes(), 2.0)


def test_a_cluster_outlives_its_drivers(address):
    for _ in range(2):
        cyray.init(address="auto")
        assert cyray.cluster_resources()["CPU"] == 2
        cyray.shutdown()
    assert "/2.0 CPU" in command("status")


def test_without_a_cluster_there_is_nothing_to_stop_or_show():
    assert "Did not find any active cyray processes." in command("stop")
    command("status", code=1)


@pytest.mark.timeout(120)
def test_microbenchmark_prints_its_cases():
    text = command("microbenchmark", "--filter", "tasks sync", "--seconds", "0.1", "--repeat", "2")
    assert "single client tasks sync per second" in text
