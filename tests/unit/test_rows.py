"""The rows that `cyray list` and `cyray status -v` show, and how they are filtered and written."""

from __future__ import annotations

import json

import click
import pytest

from cyray._driver.facts import Facts
from cyray.cli import listing, report, rows

ANSWER = {
    "nodes": [
        {
            "node_id": "aa",
            "ip": "10.0.0.1",
            "resources": {"total": {"CPU": 1.0}, "available": {}},
            "leases": {"lent": [{"worker_id": "w1", "resources": {"CPU": 1.0}, "for_ms": 3_000}]},
            "workers": [{"worker_id": "w1", "pid": 11, "job": "01", "state": "leased"}],
            "drivers": [
                {"worker_id": "d1", "pid": 10, "job": "01", "title": "python main.py"},
                {"worker_id": "me", "pid": 99, "job": "02", "title": "cyray list"},
            ],
            "actors": [],
            "silent": [12],
            "store": {
                "largest": [
                    {"object_id": "o1", "bytes": 5, "pins": 1, "state": "sealed", "owner": "d1"}
                ]
            },
            "processes": [
                {
                    "worker_id": "w1",
                    "pid": 11,
                    "job": "01",
                    "running": [{"task_id": "t1", "name": "f", "for_ms": 2_000}],
                },
                {
                    "worker_id": "d1",
                    "pid": 10,
                    "job": "01",
                    "pending": [
                        {"task_id": "t1", "name": "f", "place": "pushed", "worker": "w1"},
                        {
                            "task_id": "t2",
                            "name": "g",
                            "place": "queued",
                            "demand": {"CPU": 1.0},
                        },
                    ],
                    "waits": [{"what": "objects", "size": 1, "missing": 1, "for_ms": 6_000,
                               "for_all": True, "objects": [{"object_id": "t2".ljust(40, "0"),
                               "state": "pending", "task": {"task_id": "t2", "name": "g",
                               "place": "queued", "demand": {"CPU": 1.0}}}]}],
                },
            ],
        }
    ]
}  # fmt: skip
FACTS = Facts(ANSWER)


def test_a_task_that_runs_is_one_row_with_what_both_sides_say():
    running, waiting = rows.tasks(FACTS)
    assert (running["name"], running["state"], running["worker_pid"]) == ("f", "RUNNING", 11)
    assert running["submitter_pid"] == 10 and running["for"] == "2.0 s"
    assert (waiting["state"], waiting["waits_for"]) == ("PENDING_NODE_ASSIGNMENT", "CPU: 1")
    assert list(running) == list(waiting)


def test_the_driver_that_asks_is_no_row():
    assert [row["pid"] for row in rows.workers(FACTS, "me")] == [11, 10]
    jobs = [{"job_id": job, "running": True, "driver_pid": 1, "entrypoint": "", "namespace": name,
             "start_ms": 0, "end_ms": 0} for job, name in (("01", ""), ("02", "command"))]  # fmt: skip
    assert [row["job_id"] for row in rows.jobs(jobs, "command")] == ["01"]


def test_an_object_names_its_owner():
    (found,) = rows.objects(FACTS)
    assert (found["object_size"], found["owner_pid"], found["owner"]) == (5, 10, "python main.py")


def test_states_of_actors_are_as_ray_has_them():
    actor = {"actor_id": "a", "class_name": "A", "state": "PendingCreation", "name": "", "pid": 0,
             "node_id": "", "job_id": "", "namespace": "", "restarts": 0, "death_cause": "",
             "saved_ms": 0}  # fmt: skip
    (row,) = rows.actors([actor], 9_000)
    assert (row["state"], row["last_save"]) == ("PENDING_CREATION", "")
    (row,) = rows.actors([{**actor, "saved_ms": 5_000}], 9_000)
    assert row["last_save"] == "4.0 s ago"


def test_the_long_status_says_who_holds_and_who_waits():
    text = report.waits_report(FACTS, "me")
    assert "10.0.0.1: CPU: 1 is held since 3.0 s by the worker pid 11" in text
    assert "the driver pid 10 on 10.0.0.1 waits since 6.0 s for 1 of 1 objects:" in text
    assert "g waits for CPU: 1:" in text
    assert "process 12 on 10.0.0.1 does not answer" in text


def test_the_long_status_lists_tasks_and_threads_apart():
    text = report.waits_report(FACTS, "me")
    tasks, threads = text.index("Tasks that wait\n"), text.index("Threads that wait\n")
    assert " g of process 10: PENDING_NODE_ASSIGNMENT, for CPU: 1\n" in text[tasks:threads]
    assert " f of process" not in text[tasks:threads], "it runs"
    assert "(none)" in report.waits_report(Facts({}), "me")


def test_what_a_pending_task_waits_for_is_said_in_full():
    labels = {"text": "region in (us)", "selectors": []}
    group = "ab" * 18
    pending = [
        {"task_id": "t1", "name": "f", "place": "queued", "demand": {"CPU": 1.0}, "labels": labels},
        {"task_id": "t2", "name": "f", "place": "queued", "node_affinity": "cd" * 20,
         "demand": {f"CPU_group_{group}": 1.0, f"bundle_group_{group}": 0.001}},
        {"task_id": "t3", "name": "A.m", "place": "queued", "actor": "a", "class": "A",
         "waits": "which no node can take"},
        {"task_id": "t4", "name": "f", "place": "queued", "demand": {"CPU": 1.0}, "labels": labels},
    ]  # fmt: skip
    process = {"worker_id": "d", "pid": 1, "pending": pending}
    facts = Facts({"nodes": [{"processes": [process]}]})
    facts.groups = {group: {"name": "mine"}}
    told = [row["waits_for"] for row in rows.tasks(facts)]
    assert told == [
        "CPU: 1 on a node with region in (us)",
        "CPU: 1 in the placement group 'mine' on node cdcdcdcd",
        "the actor A, which no node can take",
        "CPU: 1 on a node with region in (us)",
    ]
    assert "f (2 of them) of process 1: PENDING_NODE" in report.waits_report(facts, "me")


def test_filters_compare_texts_and_name_columns():
    found = rows.tasks(FACTS)
    assert len(listing._filtered(found, (("state", True, "running"),))) == 1
    assert len(listing._filtered(found, (("name", False, "f"),))) == 1
    with pytest.raises(click.UsageError, match="No column is named 'x'; there are task_id"):
        listing._filtered(found, (("x", True, "1"),))


def test_rows_are_written_as_table_json_and_yaml():
    found = rows.tasks(FACTS)
    assert json.loads(listing._json(found)) == found
    assert listing._table([]) == "(nothing)" and listing._yaml([]) == "[]"
    head, first, _ = listing._table(found).splitlines()
    assert head.split()[:2] == ["TASK_ID", "NAME"] and first.split()[:2] == ["t1", "f"]
    assert listing._yaml(found).splitlines()[0] == '- task_id: "t1"'
