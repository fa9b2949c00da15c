"""What the GCS keeps for a cluster and Python asks it for: keys and values, jobs, actors."""

from __future__ import annotations

import os
import signal

import pytest
from support import eventually, gcs_pid, run_driver

import cyray
from cyray import _raylet

pytestmark = pytest.mark.usefixtures("shared_session")


def test_keys_and_values_are_of_their_space():
    assert _raylet.kv_put("one", "key", b"first")
    assert not _raylet.kv_put("one", "key", b"second", overwrite=False)
    assert _raylet.kv_get("one", "key") == b"first"
    assert not _raylet.kv_put("one", "key", b"third")
    assert _raylet.kv_get("one", "key") == b"third"
    assert _raylet.kv_get("two", "key") is None
    _raylet.kv_put("one", "keys", b"")
    _raylet.kv_put("one", "other", b"x")
    assert sorted(_raylet.kv_keys("one", "key")) == ["key", "keys"]
    assert _raylet.kv_delete("one", "key", prefix=True) == 2
    assert _raylet.kv_keys("one") == ["other"]
    assert _raylet.kv_get("one", "keys") is None


def test_a_value_that_no_message_can_carry_is_refused_and_the_session_goes_on():
    value = bytes(513 << 20)  # zeros that nobody looks at take no memory
    with pytest.raises(ValueError, match=rf"KvPut carries {len(value) + 7} bytes.* may carry "):
        _raylet.kv_put("one", "huge", value)
    assert _raylet.kv_get("one", "huge") is None


def test_what_was_acknowledged_survives_the_gcs():
    for i in range(20):
        _raylet.kv_put("kept", str(i), str(i).encode())
    before = gcs_pid()
    os.kill(before, signal.SIGKILL)
    assert [_raylet.kv_get("kept", str(i)) for i in range(20)] == [
        str(i).encode() for i in range(20)
    ]
    assert eventually(gcs_pid) != before


def test_jobs_come_and_go(tmp_path):
    mine = cyray.get_runtime_context().get_job_id()
    program = """
        import sys
        import cyray

        cyray.init(address=sys.argv[1], namespace="theirs")
        print(cyray.get_runtime_context().get_job_id())
    """
    out, _ = run_driver(tmp_path, program, cyray.get_runtime_context().gcs_address)
    theirs = out.strip()
    assert theirs != mine

    def jobs():
        return {job["job_id"]: job for job in _raylet.list_jobs()}

    eventually(lambda: not jobs()[theirs]["running"])
    assert jobs()[theirs]["namespace"] == "theirs"
    assert jobs()[theirs]["entrypoint"].endswith(
        "driver.py " + cyray.get_runtime_context().gcs_address
    )
    assert jobs()[mine]["running"] and jobs()[mine]["driver_pid"] == os.getpid()
