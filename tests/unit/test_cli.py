"""The `cyray` command, with a raylet that only pretends."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile

import pytest
from click.testing import CliRunner

from cyray._node import sessions
from cyray._os.files import PACKAGE_DIR
from cyray.cli import main
from cyray.cli.report import cluster_report, format_bytes

FAKE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "fake_raylet.py")


@pytest.fixture(autouse=True)
def fake_binaries(tmp_path, monkeypatch):
    for name in ("raylet", "gcs_server"):
        path = tmp_path / name
        path.write_text(f'#!/bin/sh\nexec {sys.executable} -I -S {FAKE} "$@"\n')
        path.chmod(0o755)
    base = tempfile.mkdtemp(prefix="cyc", dir="/tmp")
    monkeypatch.setenv("CYRAY_BIN_DIR", str(tmp_path))
    monkeypatch.setenv("CYRAY_TMPDIR", base)
    monkeypatch.delenv("CYRAY_ADDRESS", raising=False)
    monkeypatch.delenv("FAKE_RAYLET", raising=False)
    yield
    run("stop", "--force")
    shutil.rmtree(base)


def run(*args: str):
    return CliRunner().invoke(main, args)


def records() -> list[dict]:
    return [r for session in sessions.sessions() for r in sessions.node_records(session)]


def test_start_says_what_to_do_next():
    result = run("start", "--head", "--num-cpus=2")
    assert result.exit_code == 0, result.output
    assert "Local node IP: 127.0.0.1" in result.output
    assert "cyray runtime started." in result.output
    assert "cyray start --address='127.0.0.1:6379'" in result.output
    for command in ("cyray stop", "cyray status", "cyray.init(address='auto')"):
        assert command in result.output
    assert sessions.read_current_cluster() == "127.0.0.1:6379"


def test_a_started_node_has_no_lifeline():
    run("start", "--head")
    with open(os.path.join(records()[0]["session_dir"], "seen.json")) as file:
        assert json.load(file)["args"]["lifeline_fd"] is None


def test_resources_are_json():
    assert run("start", "--head", "--resources", '{"Custom": 1.5}').exit_code == 0
    with open(os.path.join(records()[0]["session_dir"], "seen.json")) as file:
        assert "Custom=1.5" in json.load(file)["args"]["resources"]
    for wrong in ("{", "[1]", "3"):
        assert run("start", "--head", "--port=0", "--resources", wrong).exit_code == 2
    assert run("start", "--head", "--port=0", "--resources", '{"CPU": 1}').exit_code == 1


@pytest.mark.parametrize("option", ["--num-cpus", "--num-gpus"])
@pytest.mark.parametrize("value", ["nan", "inf", "-1", "two"])
def test_amounts_are_finite_numbers(option, value):
    result = run("start", "--head", "--port=0", f"{option}={value}")
    assert (result.exit_code, option in result.output) == (2, True), result.output
    assert run("stop", "--grace-period=nan").exit_code == 2
    assert sessions.sessions() == []


def test_names_of_modules_are_checked_and_may_have_blanks_between():
    result = run("start", "--head", "--port=0", "--preload=a-b")
    assert (result.exit_code, "--preload: 'a-b' is not" in result.output) == (1, True)
    assert "not the name" not in run("start", "--head", "--port=-1", "--preload=os, re,").output


def test_a_head_takes_no_token(token):
    result = run("start", "--head", "--port=0", f"--token-file={token}")
    assert (result.exit_code, "--token-file goes with --address" in result.output) == (2, True)


@pytest.mark.parametrize("ip", ["localhost", "::1", "nowhere"])
def test_the_address_of_a_node_is_one(ip):
    result = run("start", "--head", f"--node-ip-address={ip}")
    assert (result.exit_code, "must be an IPv4 address" in result.output) == (1, True)


def test_a_node_that_cannot_be_noted_is_not_left(monkeypatch):
    def fail(address):
        raise OSError(28, "No space left on device", "cyray_current_cluster")

    monkeypatch.setattr(sessions, "write_current_cluster", fail)
    result = run("start", "--head", "--port=0")
    assert (result.exit_code, "No space left on device" in result.output) == (1, True)
    assert records() == []


def test_a_second_head_on_the_port_is_refused():
    run("start", "--head", "--port=7001")
    result = run("start", "--head", "--port=7001")
    assert result.exit_code == 1
    assert "already running at 127.0.0.1:7001" in result.output
    assert run("start", "--head", "--port=7002").exit_code == 0


def test_a_node_joins_the_session_of_its_head():
    run("start", "--head", "--port=7001")
    result = run("start", "--address=127.0.0.1:7001")
    assert result.exit_code == 0, result.output
    assert [record["head"] for record in records()] == [True, False]
    assert len({record["session_dir"] for record in records()}) == 1


@pytest.fixture
def elsewhere():
    """Address of a head that is not of this machine's sessions."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"127.0.0.1:{server.getsockname()[1]}"


@pytest.fixture
def token(tmp_path):
    path = tmp_path / "token"
    path.write_text("ab" * 32 + "\n")
    return path


def test_a_cluster_elsewhere_needs_its_token(elsewhere, token):
    result = run("start", f"--address={elsewhere}")
    assert result.exit_code == 1
    assert "--token-file" in result.output
    assert run("start", f"--address={elsewhere}", f"--token-file={token}").exit_code == 0
    with open(os.path.join(records()[0]["session_dir"], "token")) as file:
        assert file.read() == "ab" * 32


def test_what_is_no_token_is_refused(elsewhere, token, tmp_path):
    for text in ("", "secret\n", "g" * 64, "ab" * 33):
        token.write_text(text)
        result = run("start", f"--address={elsewhere}", f"--token-file={token}")
        assert result.exit_code == 1
        assert f"{token} holds no cluster token" in result.output
    result = run("start", f"--address={elsewhere}", f"--token-file={tmp_path}/none")
    assert result.exit_code == 1
    assert f"{tmp_path}/none" in result.output


def test_a_head_that_is_not_there_is_told_at_once(token):
    result = run("start", "--address=127.0.0.1:1", f"--token-file={token}")
    assert result.exit_code == 1
    assert "No cluster answers at 127.0.0.1:1" in result.output
    assert sessions.sessions() == []


def test_a_node_that_joins_names_the_address_that_the_head_can_reach(elsewhere, token):
    joined = ("start", f"--address={elsewhere}", f"--token-file={token}")
    assert "Local node IP: 127.0.0.1" in run(*joined).output
    assert "Local node IP: 127.0.0.9" in run(*joined, "--node-ip-address=127.0.0.9").output
    # Whoever joined is where the programs of this machine attach.
    assert sessions.read_current_cluster() == elsewhere


def test_next_steps_tell_other_machines_of_the_token(monkeypatch):
    monkeypatch.setattr("cyray.cli.start._check_port", lambda options: None)
    assert "token" not in run("start", "--head", "--port=7001").output
    other = run("start", "--head", "--port=7002", "--node-ip-address=10.1.2.3")
    assert f"copy {records()[0]['session_dir']}/token there" in other.output
    assert "--token-file" in other.output


def test_a_port_that_others_use_is_named(elsewhere):
    port = elsewhere.rpartition(":")[2]
    result = run("start", "--head", f"--port={port}")
    assert result.exit_code == 1
    assert f"{elsewhere} cannot be listened on (Address already in use)" in result.output
    assert "--port" in result.output


def test_another_folder_is_named_for_the_commands_to_come(tmp_path, monkeypatch):
    base = tempfile.mkdtemp(prefix="cyd", dir="/tmp")
    try:
        result = run("start", "--head", f"--temp-dir={base}")
        assert f"CYRAY_TMPDIR={base}" in result.output
        run("stop", "--force")
    finally:
        shutil.rmtree(base)


def test_the_version_needs_no_installed_package():
    import re

    assert re.fullmatch(r"cyray, version \d+\.\d+\.\d+\n", run("--version").output)


def test_head_or_address_must_be_given():
    assert run("start").exit_code == 2
    assert run("start", "--head", "--address=a:1").exit_code == 2


def test_a_raylet_that_fails_is_an_error(monkeypatch):
    monkeypatch.setenv("FAKE_RAYLET", "error")
    result = run("start", "--head")
    assert result.exit_code == 1
    assert "the port is taken" in result.output
    assert sessions.read_current_cluster() == ""


def test_stop_counts_what_it_ended():
    assert f"processes (looked in {sessions.base_dir()}; CYRAY_TMPDIR" in run("stop").output
    run("start", "--head", "--port=7001")
    run("start", "--head", "--port=7002")
    result = run("stop")
    assert (result.exit_code, result.output) == (0, "Stopped all 2 cyray processes.\n")
    assert records() == []


def test_block_ends_with_the_node():
    # The package may not be built: its folder is enough.
    code = (
        "import sys, types\n"
        "m = types.ModuleType('cyray'); m.__path__ = [sys.argv.pop(1)]; sys.modules['cyray'] = m\n"
        "from cyray.cli import main; main()"
    )
    package = PACKAGE_DIR
    process = subprocess.Popen(
        [sys.executable, "-c", code, package, "start", "--head", "--port=0", "--block"],
        stdout=subprocess.PIPE,
        text=True,
    )
    for line in process.stdout:
        if "--block" in line:
            break
    assert len(records()) == 1
    process.terminate()
    assert process.wait(timeout=10) == 0
    process.stdout.close()
    assert records() == []


def test_status_without_a_cluster_fails_in_words():
    assert f"looked in {sessions.base_dir()}" in run("status").output
    result = run("status", "--address=127.0.0.1:9")
    assert result.exit_code == 1
    assert "No node of a cluster at 127.0.0.1:9" in result.output
    assert run("status", "--address=local").exit_code == 2


def test_the_status_report_has_its_sections():
    text = cluster_report(
        [
            {
                "NodeID": "ab" * 20,
                "Alive": True,
                "NodeManagerAddress": "127.0.0.1",
                "Resources": {"CPU": 2.0, "memory": 1024.0, "node:127.0.0.1": 1.0},
            },
            {"NodeID": "cd" * 20, "Alive": False, "NodeManagerAddress": "10.0.0.1"},
        ],
        {"CPU": 2.0, "memory": 2048.0, "node:127.0.0.1": 1.0},
        {"CPU": 0.5, "memory": 1024.0},
    )
    for section in ("Node status", "Active:", "Pending:", "Recent failures:", "Total Usage:"):
        assert section in text
    assert "1.5/2.0 CPU" in text
    assert "1.00KiB/2.00KiB memory" in text
    assert "node:127.0.0.1" not in text.split("Resources")[1]


def test_bytes_are_readable():
    assert [format_bytes(n) for n in (0, 1536, 3 << 30, 5 << 40)] == [
        "0B",
        "1.50KiB",
        "3.00GiB",
        "5.00TiB",
    ]
