"""Labels of nodes: what a task, an actor or a bundle wants of them, and where it runs then."""

from __future__ import annotations

import pytest
from support import eventually

import cyray
from cyray.exceptions import GetTimeoutError
from cyray.util.placement_group import placement_group, placement_group_table
from cyray.util.scheduling_strategies import (
    DoesNotExist,
    Exists,
    In,
    NodeAffinitySchedulingStrategy,
    NodeLabelSchedulingStrategy,
    NotIn,
)


@pytest.fixture(scope="module")
def shared_session():
    """A head without labels, and nodes `eu` and `us`, which have more of them."""
    from cyray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, connect=True, head_node_args={"num_cpus": 2})
    eu = cluster.add_node(num_cpus=2, labels={"region": "eu", "disk": "fast"})
    us = cluster.add_node(num_cpus=2, labels={"region": "us"})
    yield {"head": cluster.head_node.node_id, "eu": eu.node_id, "us": us.node_id}
    cyray.shutdown()
    cluster.shutdown()


@pytest.fixture
def nodes(shared_session):
    """Ids by name."""
    return shared_session


@cyray.remote
def where():
    return cyray.get_runtime_context().get_node_id()


@cyray.remote
class Somewhere:
    def where(self):
        return cyray.get_runtime_context().get_node_id()


def test_what_waits_for_labels_names_who_holds_what_has_them(nodes):
    holder = Somewhere.options(num_cpus=2, label_selector={"region": "eu"}).remote()
    assert cyray.get(holder.where.remote(), timeout=20) == nodes["eu"]
    for options in (
        {"label_selector": {"region": "eu"}},
        {"scheduling_strategy": NodeAffinitySchedulingStrategy(nodes["eu"], soft=False)},
    ):
        ref = where.options(**options).remote()

        def look(ref=ref):
            with pytest.raises(GetTimeoutError) as caught:
                cyray.get(ref, timeout=0.05)
            text = str(caught.value)
            assert "that much free" not in text, "other nodes have it, and do not count"
            return "is held since" in text and text

        text = eventually(look)
        assert "on a node with region in (eu)" in text or f"on node {nodes['eu'][:8]}" in text
        assert "CPU: 2 is held since" in text and "by the actor Somewhere" in text
        cyray.cancel(ref)
    cyray.kill(holder)


def test_nodes_tell_their_labels(nodes):
    labels = {node["NodeID"]: node["Labels"] for node in cyray.nodes()}
    assert labels[nodes["eu"]] == {
        "region": "eu", "disk": "fast", "cyray.io/node-id": nodes["eu"],
    }  # fmt: skip
    here = cyray.remote(lambda: cyray.get_runtime_context().get_node_labels())
    assert (
        cyray.get(here.options(label_selector={"disk": "fast"}).remote(), timeout=20)["region"]
        == "eu"
    )


@pytest.mark.parametrize(
    "selector, expected",
    [
        ({"region": "eu"}, "eu"),
        ({"region": "!eu", "cyray.io/node-id": "!in({head})"}, "us"),
        ({"region": "in(asia, us)"}, "us"),
        ({"region": "!in(us,asia)", "disk": "fast"}, "eu"),
        ({"region": "!in(us,eu)"}, "head"),
        ({"ray.io/node-id": "{us}"}, "us"),
    ],
)
def test_selectors(nodes, selector, expected):
    selector = {key: text.format(**nodes) for key, text in selector.items()}
    task = where.options(label_selector=selector)
    assert cyray.get([task.remote() for _ in range(3)], timeout=30) == [nodes[expected]] * 3
    actor = Somewhere.options(label_selector=selector).remote()
    assert cyray.get(actor.where.remote(), timeout=30) == nodes[expected]


@pytest.mark.parametrize(
    "hard, soft, expected",
    [
        ({"region": In("eu", "asia")}, None, "eu"),
        ({"region": Exists(), "disk": DoesNotExist()}, None, "us"),
        ({"region": NotIn("eu", "us")}, None, "head"),
        (None, {"region": In("us")}, "us"),
        ({"region": Exists()}, {"disk": In("fast")}, "eu"),
        ({"region": In("us")}, {"disk": In("fast")}, "us"),
    ],
)
def test_strategies(nodes, hard, soft, expected):
    strategy = NodeLabelSchedulingStrategy(hard, soft=soft)
    assert (
        cyray.get(where.options(scheduling_strategy=strategy).remote(), timeout=30)
        == nodes[expected]
    )
    actor = Somewhere.options(scheduling_strategy=strategy).remote()
    assert cyray.get(actor.where.remote(), timeout=30) == nodes[expected]


def test_a_fallback_is_taken_where_nothing_matches_first(nodes):
    task = where.options(
        label_selector={"region": "asia"},
        fallback_strategy=[{"label_selector": {"region": "us"}}, {"label_selector": {}}],
    )
    assert cyray.get(task.remote(), timeout=30) == nodes["us"]
    task = where.options(
        label_selector={"region": "asia"}, fallback_strategy=[{"label_selector": {"disk": "fast"}}]
    )
    assert cyray.get(task.remote(), timeout=30) == nodes["eu"]


def test_what_matches_no_node_waits_and_says_so(nodes, capfd):
    ref = where.options(label_selector={"region": "asia"}).remote()
    actor = Somewhere.options(label_selector={"zone": "a"}).remote()
    text = []

    def told(words):
        text.extend(capfd.readouterr())
        return words in "".join(text)

    eventually(lambda: told("labels are region in (asia) cannot be scheduled: no node"), timeout=20)
    eventually(lambda: told("labels are zone in (a) cannot be scheduled: no node"), timeout=20)
    cyray.cancel(ref)
    cyray.kill(actor)


def test_bundles_go_where_their_labels_say(nodes):
    group = placement_group(
        [{"CPU": 1}, {"CPU": 1}],
        strategy="SPREAD",
        bundle_label_selector=[{"region": "us"}, {"disk": "fast"}],
    )
    assert group.wait(30)
    seats = placement_group_table(group)["bundles_to_node_id"]
    assert seats == {0: nodes["us"], 1: nodes["eu"]}
    cyray.util.placement_group.remove_placement_group(group)
    waits = placement_group([{"CPU": 1}], bundle_label_selector=[{"region": "asia"}])
    assert not waits.wait(0.05)
    assert "labels" in placement_group_table(waits)["waits"]
    cyray.util.placement_group.remove_placement_group(waits)


@pytest.mark.parametrize(
    "options, error, match",
    [
        ({"label_selector": "eu"}, TypeError, "dict of strings"),
        ({"label_selector": {"a b": "c"}}, ValueError, "Invalid label key 'a b'"),
        ({"label_selector": {"a": "in(x y)"}}, ValueError, "Invalid value 'x y'"),
        ({"label_selector": {"a": 1}}, TypeError, "must be a string such as"),
        ({"fallback_strategy": {"a": "b"}}, TypeError, "list of dicts"),
        ({"fallback_strategy": [{"num_cpus": 1}]}, ValueError, "'label_selector' alone"),
        (
            {
                "label_selector": {"a": "b"},
                "scheduling_strategy": NodeLabelSchedulingStrategy({"a": Exists()}),
            },
            ValueError,
            "not both",
        ),
    ],
)
def test_bad_selectors_are_refused(nodes, options, error, match):
    with pytest.raises(error, match=match):
        where.options(**options)


def test_other_refusals(nodes):
    with pytest.raises(ValueError, match="cannot both be empty"):
        NodeLabelSchedulingStrategy()
    with pytest.raises(ValueError, match="must be In, NotIn"):
        NodeLabelSchedulingStrategy({"a": "b"})
    with pytest.raises(ValueError, match="one value or more"):
        In()
    affinity = NodeAffinitySchedulingStrategy(nodes["eu"], soft=False)
    with pytest.raises(ValueError, match="NodeAffinitySchedulingStrategy"):
        where.options(label_selector={"a": "b"}, scheduling_strategy=affinity).remote()
    with pytest.raises(ValueError, match="set by cyray itself"):
        cyray.cluster_utils.Cluster(
            head_node_args={"labels": {"cyray.io/node-id": "x"}}, initialize_head=True
        )
    with pytest.raises(ValueError, match="for each of the 1 bundles"):
        placement_group([{"CPU": 1}], bundle_label_selector=[{}, {}])
