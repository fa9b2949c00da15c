"""Amounts of a node's resources that change while it runs."""

from __future__ import annotations

import pytest
from support import eventually

import cyray
from cyray.util import set_resource

INIT = {"num_cpus": 2}
pytestmark = pytest.mark.usefixtures("shared_session")


@cyray.remote
def one():
    return 1


def available(name):
    return cyray.available_resources().get(name, 0)


def test_a_task_that_waits_begins_when_its_resource_is_there():
    ref = one.options(resources={"licence": 2}).remote()
    assert cyray.wait([ref], timeout=0.1)[0] == []
    set_resource("licence", 2)
    assert cyray.get(ref, timeout=20) == 1
    eventually(lambda: available("licence") == 2)
    set_resource("licence", 0)
    eventually(lambda: "licence" not in cyray.cluster_resources())


def test_what_runs_goes_on_when_less_is_left(gate):
    set_resource("slots", 2)

    @cyray.remote(num_cpus=0, resources={"slots": 1})
    def hold(path):
        open(path).close()
        return 1

    refs = [hold.remote(gate.path) for _ in range(2)]
    eventually(lambda: available("slots") == 0, timeout=20)
    set_resource("slots", 1)
    late = hold.remote(gate.path)
    gate.open()
    assert cyray.get([*refs, late], timeout=20) == [1, 1, 1]
    eventually(lambda: available("slots") == 1)
    set_resource("slots", 0)


def test_cpus(gate):
    set_resource("CPU", 3)
    eventually(lambda: cyray.cluster_resources()["CPU"] == 3)
    assert cyray.get(one.options(num_cpus=3).remote(), timeout=20) == 1
    set_resource("CPU", 2)
    eventually(lambda: cyray.cluster_resources()["CPU"] == 2)


@pytest.mark.parametrize(
    "name, amount, error, match",
    [
        ("GPU", 1, ValueError, "'GPU' cannot be set"),
        ("object_store_memory", 1, ValueError, "cannot be set"),
        ("node:1.2.3.4", 1, ValueError, "cannot be set"),
        ("", 1, TypeError, "non-empty"),
        ("x", -1, ValueError, "x"),
        ("x", "many", TypeError, "keyword 'x'"),
        ("x", None, TypeError, "amount of resource x is None"),
        ("x\udc80", 1, ValueError, "'name'.*lone surrogate"),
    ],
)
def test_bad_amounts_are_refused(name, amount, error, match):
    with pytest.raises(error, match=match):
        set_resource(name, amount)


def test_bad_nodes_are_refused():
    with pytest.raises(ValueError, match="40 hex digits"):
        set_resource("x", 1, node_id="abc")
