"""How a driver finds out why it waits: questions and notices that may take long, and who is asked at all."""

from __future__ import annotations

import threading

import pytest
from support import eventually

from cyray import _raylet
from cyray._driver import waiting, wants
from cyray._driver.facts import Facts

GROUP = "ab" * 18


def named(name):
    return [thread for thread in threading.enumerate() if thread.name == name]


def test_one_question_is_at_the_gcs_however_many_ask(monkeypatch):
    answer, asked = threading.Event(), []

    def list_groups():
        asked.append(1)
        assert answer.wait(30)
        return [{"id": "a", "name": "mine"}]

    monkeypatch.setattr(_raylet, "list_groups", list_groups)
    groups = waiting._GroupsOfGcs()
    assert [groups.ask(0) for _ in range(20)] == [{}] * 20
    assert len(named("cyray-groups")) == 1
    answer.set()
    eventually(lambda: not named("cyray-groups"))
    assert asked == [1]
    assert groups.ask(30) == {"a": {"id": "a", "name": "mine"}}, "the next one asks anew"
    assert asked == [1, 1]


def test_who_asks_at_the_end_of_the_session_gets_nothing(monkeypatch):
    def list_groups():
        raise RuntimeError("it is over")

    monkeypatch.setattr(_raylet, "list_groups", list_groups)
    groups = waiting._GroupsOfGcs()
    assert groups.ask(30) == {} and groups.ask(30) == {}


def test_notices_are_made_one_by_one_on_a_thread_that_ends(capfd):
    notices, go_on, told = waiting._OneByOne("cyray-test-notice"), threading.Event(), []

    def fail():
        raise ValueError("a fault")

    notices.start(lambda: told.append(go_on.wait(30)))
    for number in range(10):
        notices.start(lambda number=number: told.append(number))
    notices.start(fail)
    notices.start(lambda: told.append("last"))
    assert len(named("cyray-test-notice")) == 1 and told == []
    go_on.set()
    eventually(lambda: not named("cyray-test-notice"))
    assert told == [True, *range(10), "last"]
    assert "a fault" in capfd.readouterr().err
    notices.start(lambda: told.append("again"))
    eventually(lambda: told[-1] == "again")


def node(total=(), pending=(), tasks=()):
    return {
        "resources": {"total": dict(total)},
        "leases": {"pending": [{"demand": demand} for demand in pending]},
        "processes": [
            {"pending": [{"task_id": str(n), "demand": tasks[n]} for n in range(len(tasks))]}
        ],
    }


@pytest.mark.parametrize(
    ("answer", "named"),
    [
        (node({"CPU": 2.0}), False),
        (node({"CPU": 2.0}, tasks=[{"bundle_group_of_mine": 1.0}]), False),
        (node({f"bundle_group_0_{GROUP}": 1000.0}), True),
        (node(pending=[{"CPU": 1.0}, {f"CPU_group_{GROUP}": 1.0}]), True),
        (node(tasks=[{"CPU": 1.0}, {f"CPU_group_1_{GROUP}": 1.0}]), True),
    ],
)
def test_the_gcs_is_asked_when_a_placement_group_is_named(answer, named):
    assert wants.group_is_named(Facts({"nodes": [answer]})) == named
