"""`cyray list`, `cyray stack` and `cyray status -v` show what runs, also on a program's own node."""

from __future__ import annotations

import json
import os

import pytest
from support import command, eventually

import cyray


@pytest.fixture
def busy(gate):
    """A program's own node with a task that runs at a gate, one that waits, and an actor."""
    cyray.init(num_cpus=1)
    path = gate.path

    @cyray.remote
    def stuck_here():
        open(path).close()
        return 1

    @cyray.remote
    def comes_later():
        return 2

    @cyray.remote(num_cpus=0)
    class Counter:
        def pid(self):
            return os.getpid()

    counter = Counter.options(name="c").remote()
    pid = cyray.get(counter.pid.remote())
    refs = [stuck_here.remote(), comes_later.remote()]
    yield pid
    gate.open()
    assert cyray.get(refs) == [1, 2]
    cyray.shutdown()


def listed(kind, *args):
    return json.loads(command("list", kind, "--format", "json", *args))


def test_tasks_are_listed_with_where_they_are(busy):
    def look():
        found = {row["name"]: row for row in listed("tasks")}
        return found if found.get("stuck_here", {}).get("state") == "RUNNING" else None

    tasks = eventually(look, 20)
    assert tasks["comes_later"]["state"] != "RUNNING"
    assert tasks["stuck_here"]["submitter_pid"] == os.getpid()
    assert [row["name"] for row in listed("tasks", "--filter", "state=running")] == ["stuck_here"]
    assert [row["name"] for row in listed("tasks", "-f", "state!=RUNNING")] == ["comes_later"]
    assert "1 more rows are left out (--limit 1)" in command("list", "tasks", "--limit", "1")


def test_actors_workers_nodes_and_jobs_are_listed(busy):
    (actor,) = listed("actors")
    assert (actor["class_name"], actor["name"], actor["state"]) == ("Counter", "c", "ALIVE")
    assert actor["pid"] == busy
    workers = {row["pid"]: row for row in listed("workers")}
    assert workers[busy]["actor"] == "Counter"
    assert workers[os.getpid()]["worker_type"] == "DRIVER"
    (node,) = listed("nodes")
    assert node["state"] == "ALIVE" and "CPU: 1" in node["resources_total"]
    (job,) = listed("jobs")  # those that asked above are none
    assert (job["driver_pid"], job["status"]) == (os.getpid(), "RUNNING")


def test_objects_are_listed_the_largest_first(busy):
    refs = [cyray.put(bytes(size << 20)) for size in (1, 2)]
    ours = {ref.hex() for ref in refs}
    found = [row for row in listed("objects") if row["object_id"] in ours]
    assert [row["object_id"] for row in found] == [refs[1].hex(), refs[0].hex()]
    assert found[0]["owner_pid"] == os.getpid()


def test_rows_come_as_a_table_or_as_yaml(busy):
    table = command("list", "actors")
    assert table.splitlines()[0].startswith("ACTOR_ID") and "Counter" in table
    assert '- actor_id: "' in command("list", "actors", "--format", "yaml")
    said = command("list", "actors", "--filter", "nosuch=1", code=2)
    assert "No column is named 'nosuch'" in said
    assert "not of the form key=value" in command("list", "actors", "-f", "x", code=2)


def test_stacks_say_where_each_worker_is(busy):
    def look():
        text = command("stack")
        return text if "in stuck_here" in text else None

    text = eventually(look, 20)
    assert "==== cyray::stuck_here (pid " in text
    assert f"==== cyray::Counter (pid {busy}) ====" in text
    alone = command("stack", "--pid", str(busy))
    assert "stuck_here" not in alone and "Counter" in alone
    assert "No worker" in command("stack", "--pid", "1", code=1)
    assert cyray.get(cyray.get_actor("c").pid.remote()) == busy  # it goes on


def test_status_sees_a_programs_own_node_and_who_holds_what(busy):
    def look():
        text = command("status", "-v")
        return text if "it runs stuck_here" in text else None

    text = eventually(look, 20)
    assert "/1.0 CPU" in text
    assert "CPU: 1 is held since" in text and "it runs stuck_here for" in text


def test_without_a_node_there_is_nothing_to_list():
    assert "No node of this user runs" in command("list", "tasks", code=1)
    assert "No workers of this user run" in command("stack")
