"""Ids of a real session: every hex id that cyray tells is one of its class, and refs know theirs."""

from __future__ import annotations

import pytest

import cyray

pytestmark = pytest.mark.usefixtures("shared_session")


@cyray.remote
def ids():
    context = cyray.get_runtime_context()
    return (
        context.get_task_id(),
        context.get_job_id(),
        context.get_node_id(),
        context.get_worker_id(),
    )


def test_a_ref_knows_its_task_and_its_job():
    ref = ids.remote()
    task, job, node, worker = cyray.get(ref)
    assert ref.task_id() == cyray.TaskID.from_hex(task)
    assert ref.job_id() == ref.task_id().job_id() == cyray.JobID.from_hex(job)
    assert cyray.NodeID.from_hex(node).hex() == cyray.nodes()[0]["NodeID"]
    assert cyray.WorkerID.from_hex(worker).hex() == worker


def test_an_actor_belongs_to_its_job():
    @cyray.remote(num_cpus=0)
    class Actor:
        def id(self):
            return cyray.get_runtime_context().get_actor_id()

    job = cyray.JobID.from_hex(cyray.get_runtime_context().get_job_id())
    assert cyray.ActorID.from_hex(cyray.get(Actor.remote().id.remote())).job_id() == job


def test_ids_travel_as_values():
    ref = cyray.put(1)
    assert cyray.get(cyray.put({ref.task_id(): [ref.job_id()]})) == {ref.task_id(): [ref.job_id()]}


def test_texts_of_refs():
    ref = cyray.put(1)
    assert repr(ref) == str(ref) == f"ObjectRef({ref.hex()})"
    assert len(ref.hex()) == 2 * ref.size() == 2 * len(ref.binary()) == 40
    assert ref.hex().startswith(ref.task_id().hex())
    assert not ref.is_nil()
    assert ref.call_site() == ""
    assert cyray.ObjectID is cyray.ObjectRef
    assert cyray.ObjectRef[int] is cyray.ObjectRef
    assert isinstance(ref, cyray.ObjectRef[int])
