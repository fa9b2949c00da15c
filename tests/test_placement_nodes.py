"""Placement groups over several nodes: strategies, lost bundles, nodes that join."""

from __future__ import annotations

import pytest
from remote_code import InAGroup, group_here
from support import eventually

import cyray
from cyray.util.placement_group import (
    placement_group,
    placement_group_table,
    remove_placement_group,
)
from cyray.util.scheduling_strategies import PlacementGroupSchedulingStrategy as InGroup


def free_cpus():
    return cyray.available_resources().get("CPU", 0)


@pytest.fixture
def three(cluster):
    """A head without CPUs, and three nodes with two each."""
    cluster.add_node(num_cpus=0, object_store_memory=100 * 1000**2)
    cluster.connect()
    cluster.others = [
        cluster.add_node(num_cpus=2, object_store_memory=100 * 1000**2) for _ in range(3)
    ]
    return cluster


def nodes_of(group):
    return list(placement_group_table(group)["bundles_to_node_id"].values())


@pytest.mark.parametrize(
    "strategy, bundles, different",
    [
        ("STRICT_PACK", [{"CPU": 1}] * 2, 1),
        ("PACK", [{"CPU": 1}] * 2, 1),
        ("PACK", [{"CPU": 1}] * 4, 2),
        ("SPREAD", [{"CPU": 1}] * 3, 3),
        ("SPREAD", [{"CPU": 1}] * 5, 3),
        ("STRICT_SPREAD", [{"CPU": 2}, {"CPU": 1}, {"CPU": 2}], 3),
    ],
)
def test_strategies(three, strategy, bundles, different):
    group = placement_group(bundles, strategy=strategy)
    assert group.wait(30)
    assert len(set(nodes_of(group))) == different
    here = cyray.remote(lambda: cyray.get_runtime_context().get_node_id())
    refs = [
        here.options(scheduling_strategy=InGroup(group, index)).remote()
        for index in range(len(bundles))
    ]
    assert cyray.get(refs, timeout=30) == nodes_of(group)
    remove_placement_group(group)
    eventually(lambda: free_cpus() == 6)


def test_lost_bundles_are_placed_again(three):
    group = placement_group([{"CPU": 1}] * 2, strategy="STRICT_SPREAD")
    assert group.wait(30)
    kept, lost = nodes_of(group)
    first = InAGroup.options(scheduling_strategy=InGroup(group, 0)).remote()
    second = InAGroup.options(max_restarts=1, scheduling_strategy=InGroup(group, 1)).remote()
    pid = cyray.get(first.pid.remote(), timeout=30)
    cyray.get(second.pid.remote(), timeout=30)
    three.remove_node(next(node for node in three.others if node.node_id == lost))
    eventually(lambda: lost not in nodes_of(group), timeout=30)
    assert group.wait(30)
    assert nodes_of(group)[0] == kept
    assert nodes_of(group)[1] not in (kept, lost)
    assert cyray.get(first.pid.remote(), timeout=30) == pid
    assert cyray.get(second.group.options(max_task_retries=-1).remote(), timeout=30) == group


def test_a_group_waits_for_a_node_that_joins(three):
    group = placement_group([{"CPU": 2}] * 4, strategy="STRICT_SPREAD")
    ref = group_here.options(scheduling_strategy=InGroup(group, 3)).remote()
    assert not group.wait(0.2)
    three.add_node(num_cpus=2, object_store_memory=100 * 1000**2)
    assert group.wait(30)
    assert cyray.get(ref, timeout=30) == group


def test_strict_pack_prefers_the_node_that_is_named(three):
    for node in three.others:
        group = placement_group(
            [{"CPU": 1}], strategy="STRICT_PACK", _soft_target_node_id=node.node_id
        )
        assert group.wait(30)
        assert nodes_of(group) == [node.node_id]
        remove_placement_group(group)
