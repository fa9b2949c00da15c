"""The `cyray` command with a real cluster: start, attach, status, stop."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest


def command(*args: str, code: int = 0) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "cyray.cli", *args],
        capture_output=True,
        text=True,
        timeout=50,
    )
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout


@pytest.fixture
def started():
    command("start", "--head", "--port=0", "--num-cpus=2")
    yield
    command("stop")


def test_a_started_cluster_is_attached_to_and_stopped(started):
    import cyray

    cyray.init(address="auto")
    assert cyray.cluster_resources()["CPU"] == 2

    @cyray.remote
    def f():
        return os.getpid()

    assert cyray.get(f.remote()) != os.getpid()
    cyray.shutdown()
    report = command("status")
    assert "Node status" in report
    assert "/2.0 CPU" in report


def test_a_cluster_outlives_its_drivers(started):
    import cyray

    for _ in range(2):
        cyray.init(address="auto", namespace="mine")
        cyray.shutdown()
    assert "/2.0 CPU" in command("status")


def test_stop_without_cluster_says_so():
    assert "Did not find any active cyray processes." in command("stop")


def test_status_without_cluster_fails():
    command("status", code=1)


@pytest.mark.timeout(120)
def test_microbenchmark_prints_its_cases():
    text = command("microbenchmark", "--filter", "tasks sync", "--seconds", "0.1", "--repeat", "2")
    assert "single client tasks sync per second" in text
