"""What `@remote`, `.options` and `@method` accept, and which resources that means."""

from __future__ import annotations

import numpy as np
import pytest

from cyray._spec import options as _options
from cyray._spec import typed
from cyray._spec.demands import actor_demands, resource_demand
from cyray._spec.options import (
    actor_options,
    concurrency_of,
    groups_of,
    method_options,
    task_options,
)
from cyray.util.scheduling_strategies import (
    NodeAffinitySchedulingStrategy,
    PlacementGroupSchedulingStrategy,
)


def test_given_options_come_back():
    assert task_options({"num_cpus": 2, "name": "special"}) == {"num_cpus": 2, "name": "special"}


def test_old_names_become_present_ones():
    assert task_options({"num_return_vals": 3}) == {"num_returns": 3}
    assert actor_options({"max_reconstructions": -1}) == {"max_restarts": -1}
    with pytest.raises(ValueError, match="another name"):
        task_options({"num_return_vals": 3, "num_returns": 3})


def test_concurrency_groups_have_names_and_sizes():
    groups = {"concurrency_groups": {"io": 2, "cpu": 1}}
    assert actor_options(groups) == groups
    assert groups_of(groups, False, "A") == (("", 1, True), ("io", 2, False), ("cpu", 1, True))
    assert groups_of(groups, True, "A")[0] == ("", 1000, False)
    for wrong in ([("io", 2)], {1: 2}, {"io": "2"}, {"io": None}, {"io": True}):
        with pytest.raises(TypeError):
            actor_options({"concurrency_groups": wrong})
    for wrong in ({"io": 0}, {"": 1}):
        with pytest.raises(ValueError):
            actor_options({"concurrency_groups": wrong})
    with pytest.raises(ValueError, match="not supported in"):
        actor_options(groups, in_options=True)


def test_minus_one_is_no_limit_of_pending_calls():
    assert actor_options({"max_pending_calls": -1}) == {"max_pending_calls": None}
    assert actor_options({"max_pending_calls": 7}) == {"max_pending_calls": 7}


def test_seconds_may_be_numpys():
    given = task_options({"timeout_s": np.float32(0.5)})["timeout_s"]
    assert given == 0.5 and type(given) is float
    with pytest.raises(TypeError, match="timeout_s"):
        task_options({"timeout_s": np.ones(2)})


@pytest.mark.parametrize("wrong", ["in(a,b", "!in(a", "in (a)", "not(a)"])
def test_what_is_no_selector_is_shown_the_forms(wrong):
    with pytest.raises(ValueError, match=r"several, 'in\(a,b\)' or '!in\(a,b\)'"):
        task_options({"label_selector": {"region": wrong}})


def test_an_unknown_option_lists_the_valid_ones():
    with pytest.raises(ValueError, match=r"Invalid option keyword nmu_cpus.*num_cpus"):
        task_options({"nmu_cpus": 1})
    with pytest.raises(ValueError, match="for actors"):
        actor_options({"max_retries": 1})
    with pytest.raises(ValueError, match="It is an option of remote functions and of methods"):
        actor_options({"num_returns": 1})
    with pytest.raises(ValueError, match=r"for remote functions\. It is an option of actors"):
        task_options({"lifetime": "detached"})
    with pytest.raises(ValueError, match="for actor methods"):
        method_options({"num_cpus": 1})


@pytest.mark.parametrize(
    "options",
    [
        {"num_cpus": "2"},
        {"num_cpus": True},
        {"num_gpus": [1]},
        {"resources": [("a", 1)]},
        {"resources": {1: 1}},
        {"resources": {"a": None}},
        {"max_retries": 1.5},
        {"max_retries": True},
        {"name": 3},
        {"retry_exceptions": ValueError},
        {"retry_exceptions": [3]},
        {"scheduling_strategy": 3},
        {"inout": {"a"}},
        {"inout": [1.5]},
        {"accelerator_type": 4},
    ],
)
def test_a_wrong_type_is_a_type_error(options):
    with pytest.raises(TypeError):
        task_options(options)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_cpus": -1}, "The quantity of resource num_cpus cannot be negative"),
        ({"num_cpus": float("nan")}, "finite"),
        ({"num_cpus": 0.00005}, "cannot go beyond 0.0001"),
        ({"resources": {"CPU": 1}}, "num_cpus"),
        ({"resources": {"GPU": 1}}, "num_gpus"),
        ({"resources": {"a": -1}}, "negative"),
        ({"resources": {"a,b": 1}}, "not a resource name"),
        ({"resources": {"": 1}}, "not a resource name"),
        ({"resources": {"\udc80": 1}}, "lone surrogate"),
        ({"name": "a\udc80"}, "'name' must be text that UTF-8 can hold"),
        ({"accelerator_type": "\udc80"}, "accelerator_type"),
        ({"num_returns": -1}, "num_returns"),
        ({"num_returns": "three"}, "integers, 'streaming' and 'dynamic'"),
        ({"_generator_backpressure_num_objects": 0}, "_generator_backpressure_num_objects"),
        ({"num_returns": 10**9}, "from 0 to 1000000"),
        ({"max_retries": -2}, "max_retries"),
        ({"max_concurrency": 0}, "max_concurrency"),
        ({"scheduling_strategy": "RANDOM"}, "SPREAD"),
        ({"inout": [0, 0]}, "twice"),
        ({"inout": -1}, "count from 0"),
        ({"runtime_env": {"env_vars": {}}}, "not supported yet"),
        ({"label_selector": {"a": "b c"}}, "Invalid value 'b c'"),
    ],
)
def test_a_wrong_value_is_a_value_error(options, message):
    with pytest.raises(ValueError, match=message):
        task_options(options)


def test_options_without_effect_are_accepted_and_dropped():
    assert task_options({"runtime_env": {}, "enable_task_events": False, "_labels": {}}) == {}
    assert actor_options({"allow_out_of_order_execution": True}) == {}


def test_max_calls_belongs_to_the_decorator():
    assert task_options({"max_calls": 2}) == {"max_calls": 2}
    with pytest.raises(ValueError, match="integers from 0"):
        task_options({"max_calls": -1})
    with pytest.raises(ValueError, match=r"\.options\(\)"):
        task_options({"max_calls": 1}, in_options=True)


def test_inout_takes_names_and_positions():
    assert task_options({"inout": "out"}) == {"inout": ("out",)}
    assert task_options({"inout": 0}) == {"inout": (0,)}
    assert task_options({"inout": ["out", 1]}) == {"inout": ("out", 1)}


def test_actor_names():
    assert actor_options({"name": "a", "get_if_exists": True, "lifetime": "detached"})
    with pytest.raises(ValueError, match="must be specified"):
        actor_options({"get_if_exists": True})
    with pytest.raises(ValueError, match="empty string"):
        actor_options({"name": ""})
    with pytest.raises(ValueError, match="empty string"):
        actor_options({"namespace": ""})
    with pytest.raises(ValueError, match=r"namespace.* lone surrogate"):
        actor_options({"namespace": "\udc80"})
    with pytest.raises(ValueError, match="lifetime"):
        actor_options({"lifetime": "forever"})


def test_node_affinity_is_a_strategy():
    strategy = NodeAffinitySchedulingStrategy("ab" * 20, soft=True)
    assert task_options({"scheduling_strategy": strategy})["scheduling_strategy"] is strategy
    with pytest.raises(ValueError, match="40 hex digits"):
        NodeAffinitySchedulingStrategy("xyz", soft=False)


@pytest.mark.parametrize("check", [task_options, actor_options])
@pytest.mark.parametrize(
    "given",
    [
        {"placement_group_capture_child_tasks": True},
        {"placement_group": "default", "placement_group_capture_child_tasks": True},
        {"placement_group": None, "placement_group_capture_child_tasks": True},
        {
            "scheduling_strategy": PlacementGroupSchedulingStrategy(
                None, placement_group_capture_child_tasks=True
            )
        },
        {"scheduling_strategy": "SPREAD", "placement_group_capture_child_tasks": True},
    ],
)
def test_children_are_captured_by_a_group(check, given):
    with pytest.raises(ValueError, match="no group is given: add placement_group=group"):
        check(given)
    assert check({"placement_group_capture_child_tasks": False}) == {}


def test_what_only_looks_like_a_strategy_is_none():
    class OtherSchedulingStrategy:
        hard = soft = node_id = None

    with pytest.raises(ValueError, match="OtherSchedulingStrategy is not supported"):
        task_options({"scheduling_strategy": OtherSchedulingStrategy()})


def test_what_only_looks_like_a_placement_group_is_none():
    class Other:
        id, is_empty, bundle_specs, bundle_count = b"", False, [{"CPU": 1}], 1

    with pytest.raises(TypeError, match="must be a PlacementGroup, not Other"):
        PlacementGroupSchedulingStrategy(Other())
    for check in (task_options, actor_options):
        with pytest.raises(TypeError, match="placement_group"):
            check({"placement_group": Other()})


def test_a_task_needs_one_cpu():
    assert resource_demand({}, "task") == {"CPU": 10_000}
    assert resource_demand({"num_cpus": 0}, "task") == {}
    assert resource_demand({"num_gpus": 0.5}, "task") == {"CPU": 10_000, "GPU": 5_000}
    assert resource_demand({"num_cpus": 0.0001}, "task") == {"CPU": 1}


def test_an_actor_without_resources_is_placed_by_a_cpu_and_holds_none():
    assert actor_demands({}) == ({"CPU": 10_000}, {})


def test_an_actor_that_names_a_resource_holds_what_it_says():
    assert actor_demands({"num_cpus": 0}) == ({}, {})
    assert actor_demands({"num_cpus": 2})[1] == {"CPU": 20_000}
    assert actor_demands({"resources": {"Custom": 1}})[1] == {"CPU": 10_000, "Custom": 10_000}


def test_an_accelerator_type_is_a_thousandth_of_a_resource():
    demand = resource_demand({"num_cpus": 0, "accelerator_type": "V100"}, "task")
    assert demand == {"accelerator_type:V100": 10}


def test_more_than_one_gpu_is_whole():
    assert resource_demand({"num_gpus": 2.0}, "task")["GPU"] == 20_000
    for check in (task_options, actor_options):
        with pytest.raises(ValueError, match="whole number"):
            check({"num_gpus": 1.5})


def test_every_fraction_of_a_ten_thousandth_is_exact():
    for units in range(1, 10_001, 7):
        assert resource_demand({"num_cpus": units / 10_000}, "task") == {"CPU": units}


@pytest.mark.parametrize(
    "option", [{"memory": 1 << 60}, {"resources": {"a": 1e18}}, {"max_retries": 1 << 40}]
)
def test_amounts_that_no_number_on_the_wire_holds_are_refused(option):
    with pytest.raises(ValueError, match=next(iter(option.get("resources", option)))):
        task_options(option)


class NoTruth:
    """As an array: what `==` and `<` give has no single truth value."""

    def __eq__(self, other):
        return self

    def __bool__(self):
        raise RuntimeError("asked a value of the user's for its truth")

    __hash__ = None
    __lt__ = __le__ = __gt__ = __ge__ = __eq__


@pytest.mark.parametrize("check", [task_options, actor_options, method_options])
def test_a_value_of_any_class_is_refused_by_name(check):
    from cyray._spec import options as _options

    table = {
        task_options: {**_options._TASK, **dict.fromkeys(_options._TASK_HARMLESS)},
        actor_options: {**_options._ACTOR, **dict.fromkeys(_options._ACTOR_HARMLESS)},
        method_options: {**_options._METHOD, **dict.fromkeys(_options._METHOD_HARMLESS)},
    }[check]
    for name in table:
        if _options._HARMLESS.get(name, ()) is None:
            continue  # anything may be dropped
        with pytest.raises((TypeError, ValueError), match=name):
            check({name: NoTruth()})


def test_an_array_is_no_number():
    numpy = pytest.importorskip("numpy")
    with pytest.raises(TypeError, match="num_cpus"):
        task_options({"num_cpus": numpy.zeros(3)})
    assert task_options({"num_cpus": numpy.float64(0.5)}) == {"num_cpus": 0.5}


def test_no_more_threads_than_a_worker_has():
    with pytest.raises(ValueError, match="max_concurrency"):
        task_options({"max_concurrency": 1001})
    with pytest.raises(ValueError, match="a worker has at most 1000"):
        concurrency_of({"max_concurrency": 1001}, False, "A")
    assert concurrency_of({"max_concurrency": 1001}, True, "A") == 1001
    assert concurrency_of({}, True, "A") == 1000
    assert concurrency_of({}, False, "A") == 1


@pytest.mark.parametrize("check", [task_options, actor_options, method_options])
def test_a_name_that_is_too_long_is_refused(check):
    assert check({"name": "n" * 10_000}) == {"name": "n" * 10_000}
    with pytest.raises(ValueError, match=r"'name' takes at most 10,000 characters, .* has 10,001"):
        check({"name": "n" * 10_001})


@pytest.mark.parametrize(
    ("told", "table", "harmless"),
    [
        (typed.TaskOptions, _options._TASK, _options._TASK_HARMLESS),
        (typed.ActorOptions, _options._ACTOR, _options._ACTOR_HARMLESS),
        (typed.MethodOptions, _options._METHOD, _options._METHOD_HARMLESS),
    ],
)
def test_type_checkers_are_told_of_the_options_that_there_are(told, table, harmless):
    names = set(told.__annotations__) - {"max_reconstructions"}  # an old name of one of them
    assert names == (set(table) | harmless) - {"num_returns"}  # stands in the signatures
