"""Plans: frozen, equal when they mean the same, and the defaults of options."""

from __future__ import annotations

import pytest

import cyray
from cyray._spec import plans
from cyray.util.placement_group import PlacementGroup
from cyray.util.scheduling_strategies import (
    NodeAffinitySchedulingStrategy,
    PlacementGroupSchedulingStrategy,
)

CPU = {"CPU": 10_000}


def test_a_function_without_options_has_the_defaults():
    plan = plans.task_plan("f", {}, CPU, b"")
    assert plan == plans.TaskPlan("f", plans.Placement((("CPU", 10_000),)))
    assert (plan.num_returns, plan.max_retries, plan.max_concurrency) == (1, 3, 1)


def test_zero_is_not_the_default():
    options = {"num_returns": 0, "max_retries": 0, "max_concurrency": 2}
    plan = plans.task_plan("f", options, {}, b"")
    assert (plan.num_returns, plan.max_retries, plan.max_concurrency) == (0, 0, 2)
    assert plan.placement.demand == ()


def test_plans_that_mean_the_same_are_equal_and_hashable():
    one = plans.task_plan("f", {}, {"CPU": 1, "GPU": 2}, b"x")
    other = plans.task_plan("f", {"num_returns": 1}, {"GPU": 2, "CPU": 1}, b"x")
    assert one == other and hash(one) == hash(other)
    assert one != plans.task_plan("f", {}, {"CPU": 1}, b"x")


def test_what_goes_with_each_actor_of_a_group_does_not_grow_with_the_group():
    group = PlacementGroup(
        cyray.PlacementGroupID.of(cyray.JobID.from_int(1)), [{"CPU": 1.0}, {"GPU": 1.0}] * 500
    )
    strategy = PlacementGroupSchedulingStrategy(group)
    told = plans.group_extra({"scheduling_strategy": strategy})
    assert told == (group.id.binary(), [{"CPU": 1.0}, {"GPU": 1.0}], False)
    with pytest.raises(ValueError, match="does not fit into any bundle") as caught:
        plans.placement({"scheduling_strategy": strategy}, {"CPU": 20_000})
    assert len(str(caught.value)) < 200


def test_plans_are_frozen():
    plan = plans.task_plan("f", {}, CPU, b"")
    with pytest.raises(AttributeError):
        plan.name = "g"  # type: ignore[misc]
    with pytest.raises(AttributeError):
        plan.more = 1  # type: ignore[attr-defined]


def test_strategies():
    assert plans.placement({}, CPU).strategy == plans.ANYWHERE
    assert plans.placement({"scheduling_strategy": "DEFAULT"}, CPU).strategy == plans.ANYWHERE
    assert plans.placement({"scheduling_strategy": "SPREAD"}, CPU).strategy == plans.SPREAD
    node = "ab" * 20
    strategy = NodeAffinitySchedulingStrategy(node, soft=True)
    placed = plans.placement({"scheduling_strategy": strategy}, CPU)
    assert placed == plans.Placement((("CPU", 10_000),), plans.ON_NODE, bytes.fromhex(node), True)


def test_a_method_takes_its_own_options_before_those_of_the_actor():
    meta = {"class_name": "A", "methods": {"m": {"name": "named"}}, "max_task_retries": 2}
    plan = plans.method_plan(meta, "m", {})
    assert plan == plans.MethodPlan("named", "m", 1, 2, b"")
    assert plans.method_plan(meta, "n", {"max_task_retries": 0, "num_returns": 2}) == (
        plans.MethodPlan("A.n", "n", 2, 0, b"")
    )
