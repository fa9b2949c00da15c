"""Placement groups: where bundles go, what runs in them, and how they end."""

from __future__ import annotations

import os
import pickle
import signal
import threading

import pytest
from remote_code import InAGroup, group_here
from support import Driver, eventually, gcs_pid

import cyray
from cyray import _raylet
from cyray.exceptions import (
    ActorDiedError,
    ActorPlacementGroupRemoved,
    GetTimeoutError,
    TaskPlacementGroupRemoved,
)
from cyray.util.placement_group import (
    PlacementGroup,
    get_placement_group,
    placement_group,
    placement_group_table,
    remove_placement_group,
)
from cyray.util.scheduling_strategies import PlacementGroupSchedulingStrategy as InGroup

INIT = {"num_cpus": 4, "resources": {"disk": 2}}
pytestmark = pytest.mark.usefixtures("shared_session")


@pytest.fixture
def groups(shared_session):
    """Makes groups that are removed after the test."""
    made: list[PlacementGroup] = []

    def make(*args, **kwargs):
        group = placement_group(*args, **kwargs)
        made.append(group)
        return group

    yield make
    for group in made:
        remove_placement_group(group)
    eventually(lambda: cyray.available_resources().get("CPU") == 4)


def state_of(group):
    return placement_group_table(group)["state"]


def free_cpus():
    return cyray.available_resources().get("CPU", 0)


# --- Making and looking ------------------------------------------------------------------------


def test_a_group_keeps_its_resources(groups):
    group = groups([{"CPU": 2}, {"CPU": 1, "disk": 0.5}])
    assert group.wait(20)
    eventually(lambda: cyray.available_resources().get("CPU") == 1)
    assert cyray.available_resources()["disk"] == 1.5
    assert cyray.cluster_resources()["CPU"] == 4
    assert not any("group" in name for name in cyray.cluster_resources())
    assert group.bundle_specs == [{"CPU": 2.0}, {"CPU": 1.0, "disk": 0.5}]
    assert group.bundle_count == 2
    table = placement_group_table(group)
    assert table["state"] == "CREATED"
    assert table["strategy"] == "PACK"
    assert table["bundles"] == {0: {"CPU": 2.0}, 1: {"CPU": 1.0, "disk": 0.5}}
    assert set(table["bundles_to_node_id"].values()) == {cyray.nodes()[0]["NodeID"]}
    assert placement_group_table()[group.id.hex()] == table


def test_ready_is_a_ref_of_the_group(groups):
    group = groups([{"CPU": 4}])
    assert cyray.get(group.ready(), timeout=20) == group
    assert cyray.get(group.ready(), timeout=20).bundle_specs == [{"CPU": 4.0}]


def test_a_group_without_room_waits_and_says_for_what(groups):
    first = groups([{"CPU": 3}])
    assert first.wait(20)
    second = groups([{"CPU": 2}])
    assert not second.wait(0)
    assert state_of(second) == "PENDING"
    eventually(
        lambda: (
            "other placement groups have what it needs" in placement_group_table(second)["waits"]
        )
    )
    with pytest.raises(GetTimeoutError):
        cyray.get(second.ready(), timeout=0.1)
    remove_placement_group(first)
    assert second.wait(20)


def test_what_waits_in_or_for_a_group_says_so_in_words_of_users(groups):
    group = groups([{"CPU": 2}], name="mine")
    assert group.wait(20)
    holder = InAGroup.options(num_cpus=2, scheduling_strategy=InGroup(group, 0)).remote()
    cyray.get(holder.group.remote(), timeout=20)
    later = groups([{"CPU": 3}], name="later")

    def story(ref):
        with pytest.raises(GetTimeoutError) as caught:
            cyray.get(ref, timeout=0.05)
        text = str(caught.value)
        assert "CPU_group_" not in text and "bundle_group_" not in text
        return text

    inside = group_here.options(scheduling_strategy=InGroup(group, 0)).remote()
    assert "CPU: 1 in bundle 0 of the placement group 'mine':" in story(inside)
    assert "CPU: 2 in bundle 0 of the placement group 'mine' is held since" in story(inside)
    outside = group_here.options(num_cpus=3).remote()
    assert "CPU: 2 on 127.0.0.1 is kept for the placement group 'mine'" in story(outside)
    eventually(lambda: "other placement groups have what" in story(later.ready()))
    cyray.cancel(outside)


def test_a_group_that_no_node_can_hold_says_so(groups, capfd):
    group = groups([{"CPU": 3}, {"CPU": 2}], strategy="STRICT_PACK", name="too large")
    assert not group.wait(0.05)
    assert "cannot hold STRICT_PACK of" in placement_group_table(group)["waits"]
    eventually(
        lambda: "'too large' cannot be placed" in "".join(capfd.readouterr()), what="warning"
    )


def test_a_resource_in_another_case_is_asked_about(groups):
    group = groups([{"cpu": 1}])
    assert not group.wait(0.05)
    assert "Did you mean CPU by 'cpu'?" in placement_group_table(group)["waits"]


def test_names(groups):
    group = groups([{"CPU": 1}], name="mine")
    assert get_placement_group("mine") == group
    assert get_placement_group("mine").bundle_specs == [{"CPU": 1.0}]
    with pytest.raises(ValueError, match="'mine' exists"):
        placement_group([{"CPU": 1}], name="mine")
    remove_placement_group(group)
    with pytest.raises(ValueError, match="none of that name"):
        get_placement_group("mine")
    assert state_of(group) == "REMOVED"
    assert not group.wait(20)


def test_the_name_of_a_group_that_was_removed_is_free(groups):
    group = groups([{"CPU": 1}], name="again")
    pid = gcs_pid()
    os.kill(pid, signal.SIGSTOP)
    try:
        remover = threading.Thread(target=remove_placement_group, args=(group,))
        remover.start()
        # A question that comes later may overtake what is only on its way.
        eventually(lambda: "RemoveGroup" in _raylet.long_waits(0, 0))
    finally:
        os.kill(pid, signal.SIGCONT)
    remover.join(30)
    assert not remover.is_alive()
    assert groups([{"CPU": 1}], name="again") != group


@pytest.mark.parametrize(
    "arguments, error, match",
    [
        (([],), ValueError, "from 1 to"),
        (([{}],), ValueError, "Bundle 0, {}, is empty"),
        (([{"CPU": 1}, {"CPU": 0}],), ValueError, "Bundle 1"),
        (([{"CPU": -1}],), ValueError, "CPU"),
        (([{"CPU": "two"}],), TypeError, "CPU"),
        (({"CPU": 1},), TypeError, "list of dicts"),
        (([1],), TypeError, "Bundle 0 must be a dict"),
        (([{"CPU": 1}], "CLOSE"), ValueError, "PACK, SPREAD, STRICT_PACK, STRICT_SPREAD"),
        (([{"CPU": 1}], "PACK", "", "for ever"), ValueError, "lifetime"),
        (([{"CPU": 1}], "PACK", "", None, "ab"), ValueError, "STRICT_PACK"),
        (([{"CPU": 1}], "STRICT_PACK", "", None, "ab"), ValueError, "40 hex digits"),
    ],
)
def test_bad_groups_are_refused(arguments, error, match):
    with pytest.raises(error, match=match):
        placement_group(*arguments)


def test_a_task_may_use_the_module_that_the_driver_has_used(groups):
    group = groups([{"CPU": 1}])

    @cyray.remote(num_cpus=0)
    def look(group):
        found = cyray.util.placement_group.placement_group_table(group)
        return found["strategy"], cyray.util.placement_group.PlacementGroup is type(group)

    assert cyray.get(look.remote(group), timeout=30) == ("PACK", True)


def test_groups_travel(groups):
    group = groups([{"CPU": 1}])
    assert pickle.loads(pickle.dumps(group)) == group

    @cyray.remote(num_cpus=0)
    def wait(group):
        return group.wait(20), group.bundle_count

    assert cyray.get(wait.remote(group), timeout=20) == (True, 1)


# --- What runs in them -------------------------------------------------------------------------


def test_tasks_and_actors_run_in_bundles(groups):
    group = groups([{"CPU": 1}, {"CPU": 1}])
    assert (
        cyray.get(group_here.options(scheduling_strategy=InGroup(group)).remote(), timeout=20)
        == group
    )
    assert (
        cyray.get(
            group_here.options(placement_group=group, placement_group_bundle_index=1).remote(),
            timeout=20,
        )
        == group
    )
    actor = InAGroup.options(scheduling_strategy=InGroup(group, 0)).remote()
    inside = cyray.get(actor.group.remote(), timeout=20)
    assert inside == group and inside.bundle_specs == [{"CPU": 1.0}, {"CPU": 1.0}]
    assert cyray.get(group_here.remote(), timeout=20) is None
    default = cyray.remote(InAGroup.underlying_class).options(placement_group=group).remote()
    assert cyray.get(default.group.remote(), timeout=20) == group


def test_a_bundle_bounds_what_runs_in_it(groups, gate, tmp_path):
    group = groups([{"CPU": 1}, {"CPU": 2}])

    @cyray.remote
    def hold(name, path, folder):
        open(f"{folder}/{name}", "w").close()
        open(path).close()
        return name

    in_first = hold.options(scheduling_strategy=InGroup(group, 0))
    refs = [in_first.remote(f"first{i}", gate.path, tmp_path) for i in range(2)]
    anywhere = hold.options(scheduling_strategy=InGroup(group))
    refs += [anywhere.remote(f"any{i}", gate.path, tmp_path) for i in range(3)]

    def started():
        return {name for name in os.listdir(tmp_path) if name != "gate"}

    eventually(lambda: len(started()) == 3, timeout=20)
    # A CPU outside of the group is free, and nothing that waits takes it.
    assert cyray.get(group_here.remote(), timeout=20) is None
    assert len(started()) == 3
    gate.open()
    assert len(cyray.get(refs, timeout=20)) == 5


def test_demands_that_fit_no_bundle_are_refused_at_once(groups):
    group = groups([{"CPU": 1}, {"CPU": 1, "disk": 1}])
    with pytest.raises(ValueError, match=r"does not fit into any bundle"):
        group_here.options(num_cpus=2, scheduling_strategy=InGroup(group)).remote()
    with pytest.raises(ValueError, match=r"does not fit into bundle 0"):
        group_here.options(resources={"disk": 1}, scheduling_strategy=InGroup(group, 0)).remote()
    with pytest.raises(ValueError, match="the bundles 0 to 1"):
        group_here.options(scheduling_strategy=InGroup(group, 2))
    with pytest.raises(ValueError, match="does not fit"):
        InAGroup.options(num_cpus=2, scheduling_strategy=InGroup(group)).remote()
    with pytest.raises(TypeError, match="PlacementGroup"):
        InGroup("group")
    with pytest.raises(ValueError, match="not both"):
        group_here.options(placement_group=group, scheduling_strategy="SPREAD")


def test_what_is_captured_is_described_once_for_each_group(groups):
    @cyray.remote(num_cpus=0)
    def child():
        return cyray.util.placement_group.get_current_placement_group()

    @cyray.remote(num_cpus=0)
    class Parent:
        def submit(self, count):
            from cyray._spec import plans

            described = []
            make = plans.task_plan
            plans.task_plan = lambda *args: described.append(1) or make(*args)
            try:
                found = cyray.get([child.remote() for _ in range(count)])
            finally:
                plans.task_plan = make
            return len(described), set(found)

    for group in (groups([{"CPU": 1}]), groups([{"CPU": 1}])):
        inside = InGroup(group, placement_group_capture_child_tasks=True)
        parent = Parent.options(scheduling_strategy=inside).remote()
        described, found = cyray.get(parent.submit.remote(20), timeout=30)
        assert described <= 2 and found == {group}  # as it is, and in the group
        assert cyray.get(parent.submit.remote(5), timeout=30) == (0, {group})


def test_what_is_submitted_inside_is_captured_when_asked_for(groups):
    group = groups([{"CPU": 2}])

    @cyray.remote
    def parent():
        actor = InAGroup.remote()
        return cyray.get(
            [
                group_here.remote(),
                actor.group.remote(),
                group_here.options(scheduling_strategy=InGroup(None)).remote(),
                group_here.options(scheduling_strategy="SPREAD").remote(),
            ]
        )

    captured = parent.options(
        scheduling_strategy=InGroup(group, placement_group_capture_child_tasks=True)
    )
    assert cyray.get(captured.remote(), timeout=20) == [group, group, None, None]
    plain = parent.options(scheduling_strategy=InGroup(group))
    assert cyray.get(plain.remote(), timeout=20) == [None] * 4

    @cyray.remote(num_cpus=1)
    class Parent:
        async def child(self):
            context = cyray.get_runtime_context()
            assert context.should_capture_child_tasks_in_placement_group
            assert context.get_placement_group_id() == group.id.hex()
            return await group_here.remote()

    actor = Parent.options(placement_group=group, placement_group_capture_child_tasks=True).remote()
    assert cyray.get(actor.child.remote(), timeout=20) == group


def test_a_blocked_task_lends_its_cpu_to_its_bundle(groups):
    group = groups([{"CPU": 1}])
    inside = InGroup(group, placement_group_capture_child_tasks=True)

    @cyray.remote
    def parent():
        return cyray.get(group_here.remote())

    assert cyray.get(parent.options(scheduling_strategy=inside).remote(), timeout=20) == group


# --- Ends --------------------------------------------------------------------------------------


def test_removal_ends_what_runs_in_the_group_and_what_waits_for_it(groups, tmp_path):
    group = groups([{"CPU": 1}, {"CPU": 1}])

    @cyray.remote(max_retries=5)
    def run(path):
        open(path, "w").close()
        signal.pause()

    task = run.options(scheduling_strategy=InGroup(group, 0))
    running = task.remote(tmp_path / "running")
    queued = task.remote(tmp_path / "queued")
    actor = InAGroup.options(max_restarts=5, scheduling_strategy=InGroup(group, 1)).remote()
    cyray.get(actor.pid.remote(), timeout=20)
    eventually(lambda: (tmp_path / "running").exists(), timeout=20)
    remove_placement_group(group)
    for ref in (running, queued):
        with pytest.raises(TaskPlacementGroupRemoved, match=group.id.hex()):
            cyray.get(ref, timeout=20)
    with pytest.raises(ActorPlacementGroupRemoved, match=group.id.hex()):
        cyray.get(actor.pid.remote(), timeout=20)
    with pytest.raises(TaskPlacementGroupRemoved):
        cyray.get(group_here.options(scheduling_strategy=InGroup(group)).remote(), timeout=20)
    late = InAGroup.options(scheduling_strategy=InGroup(group)).remote()
    with pytest.raises(ActorDiedError, match="was removed"):
        cyray.get(late.group.remote(), timeout=20)
    eventually(lambda: free_cpus() == 4)


def test_ready_fails_when_the_group_is_removed_before(groups):
    groups([{"CPU": 4}])
    waiting = groups([{"CPU": 1}])
    ready = waiting.ready()
    remove_placement_group(waiting)
    with pytest.raises(TaskPlacementGroupRemoved):
        cyray.get(ready, timeout=20)


def test_who_waits_for_a_group_of_another_session_is_told_at_once(monkeypatch):
    unknown = PlacementGroup(cyray.PlacementGroupID.of(cyray.JobID.from_int(4711)), [{"CPU": 1}])
    asked, ask = [], _raylet.wait_group
    monkeypatch.setattr(_raylet, "wait_group", lambda *args: asked.append(args) or ask(*args))
    assert not unknown.wait(1)
    assert len(asked) == 1
    with pytest.raises(TaskPlacementGroupRemoved):
        cyray.get(unknown.ready(), timeout=20)


def test_a_group_goes_with_the_actor_that_made_it():
    @cyray.remote(num_cpus=0)
    class Maker:
        def make(self):
            self.group = placement_group([{"CPU": 2}])
            assert self.group.wait(20)
            return self.group

    maker = Maker.remote()
    group = cyray.get(maker.make.remote(), timeout=20)
    assert state_of(group) == "CREATED"
    cyray.kill(maker)
    eventually(lambda: state_of(group) == "REMOVED")
    eventually(lambda: free_cpus() == 4)


def test_a_group_goes_with_its_job_unless_it_is_detached(tmp_path):
    address = cyray.get_runtime_context().gcs_address
    driver = Driver(
        tmp_path,
        """
        import sys, cyray
        from cyray.util.placement_group import placement_group
        cyray.init(address=sys.argv[1], namespace="groups")
        for lifetime in (None, "detached"):
            group = placement_group([{"CPU": 1}], name=str(lifetime), lifetime=lifetime)
            assert group.wait(20)
            print(group.id.hex(), flush=True)
        """,
        address,
    )
    plain, detached = driver.line(), driver.line()
    driver.finish()
    eventually(lambda: placement_group_table()[plain]["state"] == "REMOVED")
    assert placement_group_table()[detached]["state"] == "CREATED"
    eventually(lambda: free_cpus() == 3)
    remove_placement_group(PlacementGroup(cyray.PlacementGroupID.from_hex(detached)))
    eventually(lambda: free_cpus() == 4)


def test_the_gcs_dies(groups):
    kept = groups([{"CPU": 2}], name="kept")
    assert kept.wait(20)
    gone = groups([{"CPU": 1}])
    assert gone.wait(20)
    actor = InAGroup.options(scheduling_strategy=InGroup(kept)).remote()
    pid = cyray.get(actor.pid.remote(), timeout=20)
    before = gcs_pid()
    os.kill(before, signal.SIGKILL)
    remove_placement_group(gone)
    assert cyray.get(actor.pid.remote(), timeout=20) == pid
    assert state_of(kept) == "CREATED"
    assert get_placement_group("kept") == kept
    assert (
        cyray.get(group_here.options(scheduling_strategy=InGroup(kept)).remote(), timeout=20)
        == kept
    )
    eventually(lambda: free_cpus() == 2)
    assert gcs_pid() != before
