"""What code asks about where it runs."""

from __future__ import annotations

import types

import pytest

from cyray._api.context import RuntimeContext, gpu_ids


def source(**kwargs):
    values = {
        "job_id": "01000000",
        "node_id": "ab" * 20,
        "worker_id": "cd" * 16,
        "current_task_id": None,
        "current_task_name": None,
        "current_actor_id": None,
        "namespace": "ns",
        "gcs_address": "127.0.0.1:1",
        "session_dir": "/tmp/cyray/session_x",
        "assigned_resources": lambda: {"CPU": 1.0},
    }
    return types.SimpleNamespace(**{**values, **kwargs})


def test_a_driver_has_a_job_and_no_task():
    context = RuntimeContext(source())
    assert context.get_job_id() == context.job_id == "01000000"
    assert context.get_task_id() is None
    assert context.get_actor_id() is None
    assert context.get() == {"job_id": "01000000", "node_id": "ab" * 20, "namespace": "ns"}
    assert context.get_session_name() == "session_x"
    assert context.get_temp_dir() == "/tmp/cyray"
    with pytest.raises(RuntimeError, match="in an actor"):
        _ = context.current_actor


def test_a_task_knows_its_name_and_resources():
    context = RuntimeContext(source(current_task_id="ef" * 16, current_task_name="f"))
    assert context.get_task_id() == "ef" * 16
    assert context.get_task_name() == "f"
    assert context.get_assigned_resources() == {"CPU": 1.0}


def test_an_actor_knows_itself():
    context = RuntimeContext(
        source(current_actor_id="aa" * 16, current_actor_handle=lambda: "handle")
    )
    assert context.get_actor_id() == "aa" * 16
    assert context.get_actor_name() == ""
    assert context.current_actor == "handle"
    assert context.was_current_actor_reconstructed is False


def test_gpu_ids_are_those_held():
    assert gpu_ids(source()) == []
    assert gpu_ids(source(gpu_ids=[0, 1])) == [0, 1]
    assert gpu_ids(source(gpu_ids=[1], visible_gpus=["3", "5"])) == [5]
    assert gpu_ids(source(gpu_ids=[0], visible_gpus=["GPU-ab"])) == ["GPU-ab"]
