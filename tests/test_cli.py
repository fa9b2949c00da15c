"""The `cyray` command: a cluster that outlives the command, several drivers, a second node."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading

import click.testing
import pytest
from support import (
    Driver,
    command,
    eventually,
    find_process,
    run_driver,
    session_processes,
)

import cyray
import cyray.cli.connect


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


def head_and_gcs():
    (raylet,) = [pid for pid, text in session_processes().items() if "_bin/raylet" in text]
    return {"the raylet": raylet, "the GCS": find_process(raylet, "gcs_server")}


@contextlib.contextmanager
def stopped(pid):
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


def read_until(stream, part):
    """The line that has it."""
    for line in stream:
        if part in line:
            return line
    raise AssertionError(f"{part!r} was never said")


STATUS = [sys.executable, "-m", "cyray.cli", "status"]


@pytest.mark.parametrize("who", ["the raylet", "the GCS"])
def test_who_waits_for_a_process_that_stands_still_is_told_for_which(address, who):
    pid = head_and_gcs()[who]
    with stopped(pid):
        status = subprocess.Popen(STATUS, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        said = read_until(status.stderr, "still waiting for the raylet at ")
        assert "to register this program, 30 s at most" in said
        assert who in said and f"is stopped (process {pid}, as by SIGSTOP)" in said
    out, err = status.communicate(timeout=30)
    assert status.returncode == 0 and "Cluster status" in out and err == ""


def test_a_question_to_a_cluster_that_stands_still_is_told_of(address, tmp_path):
    raylet = head_and_gcs()["the raylet"]
    driver = Driver(
        tmp_path,
        """
        import sys
        import cyray

        cyray.init(address=sys.argv[1])
        print("connected", flush=True)
        sys.stdin.readline()
        print(len(cyray.nodes()))
        """,
        address,
        stdin=True,
    )
    assert driver.line() == "connected"
    with stopped(raylet):
        driver.process.stdin.write("go\n")
        driver.process.stdin.flush()
        said = read_until(driver.process.stderr, "still waiting for the GCS at ")
        assert f"GCS at {address} to answer ListNodes; the raylet is stopped" in said
    assert driver.finish()[0] == "1\n"


@pytest.mark.slow
@pytest.mark.timeout(120)
@pytest.mark.parametrize("who", ["the raylet", "the GCS"])
def test_waiting_for_a_process_that_stands_still_ends(address, who):
    pid = head_and_gcs()[who]
    with stopped(pid):
        said = command("status", code=1)
        assert "did not register this program: no answer within 30 s" in said
        assert f"is stopped (process {pid}, as by SIGSTOP)" in said


def test_the_answers_to_status_are_not_awaited_for_ever(address, monkeypatch):
    # The module of the command, which has the command's name in its package.
    monkeypatch.setattr(sys.modules["cyray.cli.connect"], "ANSWER_LIMIT_S", 0.05)
    monkeypatch.setattr(cyray, "nodes", lambda: threading.Event().wait(30))
    result = click.testing.CliRunner().invoke(cyray.cli.main, ["status", "--address", address])
    assert result.exit_code == 1
    assert "The cluster's GCS did not answer within 0 s" in result.output
    assert not cyray.is_initialized()


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
    said = command("stop")
    assert (
        f"any active cyray processes (looked in {os.environ['CYRAY_TMPDIR']}; CYRAY_TMPDIR" in said
    )
    command("status", code=1)


@pytest.mark.timeout(120)
def test_microbenchmark_prints_its_cases():
    text = command("microbenchmark", "--filter", "tasks sync", "--seconds", "0.1", "--repeat", "2")
    assert "single client tasks sync per second" in text
