"""What `@remote(...)`, `.options(...)` and `@method(...)` accept, and the resources it amounts to.

Place: the ground; pure functions on dicts, used by `_api` before anything is sent, and for what a
node offers.
Each option is one row of a table: how it is checked, and where it is valid. An unknown name is a
ValueError that lists the valid ones, a wrong type a TypeError, a value out of range a ValueError.
Options that this version cannot honour are refused by name; those that can be ignored without
changing what a program means are in `_HARMLESS`, each with the reason.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from cyray._spec import labels, saves
from cyray._spec.plans import UNIT
from cyray._spec.strategies import (
    Group,
    NodeAffinitySchedulingStrategy,
    NodeLabelSchedulingStrategy,
    PlacementGroupSchedulingStrategy,
    choice_of,
)

ASYNC_CONCURRENCY = 1000
# Calls of a class without `async def`, and tasks that share a worker, run on a thread each.
MOST_THREADS = 1000
# Of a task, up and down from 0.
MOST_PRIORITY = 1_000_000
# Characters of a name, which goes with each call and is shown in titles, logs and errors.
MOST_TEXT = 10_000
_MOST_UNITS = 2**63 - 1
_MOST_INT = 2**31 - 1
_MOST_SECONDS = 10**9
_MOST_RETURNS = 1_000_000  # what the reply to one task is sure to hold
_STREAMING = ("streaming", "dynamic")
_CAPTURE_WITHOUT_GROUP = (
    "'placement_group_capture_child_tasks' says that what a task or actor in a placement group submits is in "
    "that group too, and no group is given: add placement_group=group, or give scheduling_strategy="
    "PlacementGroupSchedulingStrategy(group, placement_group_capture_child_tasks=True)."
)


# --- Checks: each raises TypeError or ValueError, and returns the value to keep -----------------
# A value is compared with others only once its type is known: `==` of an array, a table or any class
# of the user's may give anything, or raise.


def number(name: str, value: Any) -> Any:
    if value is None:
        return None
    if isinstance(value, bool) or not hasattr(type(value), "__float__"):
        raise TypeError(_wrong_type(name, value, "a number"))
    if not isinstance(value, int):
        try:
            amount = float(value)
        except (TypeError, ValueError, OverflowError):  # an array of several, say
            raise TypeError(_wrong_type(name, value, "a number")) from None
        if not math.isfinite(amount):
            raise ValueError(f"The quantity of resource {name} must be finite, not {value}.")
    else:
        amount = value
    if amount < 0:
        raise ValueError(f"The quantity of resource {name} cannot be negative")
    units_of(name, value)
    return value


def gpus(name: str, value: Any) -> Any:
    if number(name, value) is not None and value > 1 and units_of(name, value) % UNIT:
        raise ValueError(f"num_gpus above 1 must be a whole number, not {value}.")
    return value


def _resources(name: str, value: Any) -> Any:
    if value is None:
        return None
    if not isinstance(value, Mapping):
        raise TypeError(_wrong_type(name, value, "a dict of resource names and amounts"))
    for key, amount in value.items():
        if not isinstance(key, str):
            raise TypeError(f"The names in 'resources' must be strings, not {key!r}.")
        if key in ("CPU", "GPU"):
            raise ValueError(
                f"Use the 'num_{key.lower()}s' keyword instead of '{key}' in 'resources' keyword"
            )
        if key == "memory":
            raise ValueError("Use the 'memory' keyword instead of 'memory' in 'resources' keyword")
        if not key or any(c in key for c in ",=\n"):
            raise ValueError(
                f"{key!r} is not a resource name: it has a character at least, and no comma, '=' or "
                "newline."
            )
        text("resources", key)
        if amount is None:
            raise TypeError(f"The amount of resource {key} is None.")
        number(key, amount)
    return dict(value)


def int_at_least(low: int, most: int = _MOST_INT) -> Callable[[str, Any], Any]:
    def check(name: str, value: Any) -> Any:
        if value is None:
            return None
        try:
            number = operator.index(value)
        except TypeError:
            number = None
        if number is None or isinstance(value, bool):
            raise TypeError(_wrong_type(name, value, "an int"))
        if not low <= number <= most:
            raise ValueError(
                f"The keyword '{name}' only accepts integers from {low} to {most}, not {number}."
            )
        return number

    return check


def _of_type(kind: type, words: str) -> Callable[[str, Any], Any]:
    def check(name: str, value: Any) -> Any:
        if value is not None and not isinstance(value, kind):
            raise TypeError(_wrong_type(name, value, words))
        return value

    return check


flag = _of_type(bool, "a bool")


def text(name: str, value: Any) -> Any:
    """Text that can leave this process: a lone surrogate (a byte of a file's name, say) cannot."""
    if value is None:
        return None
    if not isinstance(value, str):
        raise TypeError(_wrong_type(name, value, "a string"))
    try:
        value.encode()
    except UnicodeEncodeError:
        raise ValueError(
            f"'{name}' must be text that UTF-8 can hold; {value!r} has a lone surrogate."
        ) from None
    if len(value) > MOST_TEXT:
        raise ValueError(
            f"'{name}' takes at most {MOST_TEXT:,} characters, and {value[:40]!r}... has {len(value):,}."
        )
    return value


def _non_empty_text(name: str, value: Any) -> Any:
    if text(name, value) == "":
        raise ValueError(f"'{name}' cannot be an empty string. Pass None, or leave it out.")
    return value


def _num_returns(name: str, value: Any) -> Any:
    if isinstance(value, str) and value in _STREAMING:
        return value
    if isinstance(value, str):
        raise ValueError(
            f"The keyword 'num_returns' only accepts integers, 'streaming' and 'dynamic', not {value!r}."
        )
    return int_at_least(0, _MOST_RETURNS)(name, value)


def _timeout(name: str, value: Any) -> Any:
    if value is None:
        return None
    if isinstance(value, bool) or not hasattr(type(value), "__float__"):
        raise TypeError(_wrong_type(name, value, "a number of seconds"))
    if not isinstance(value, (int, float)):  # one of NumPy's
        try:
            value = float(value)
        except (TypeError, ValueError, OverflowError):
            raise TypeError(_wrong_type(name, value, "a number of seconds")) from None
    if not 0 < value <= _MOST_SECONDS:
        raise ValueError(
            f"'{name}' must be more than 0 seconds and at most {_MOST_SECONDS:,}, not {value}."
        )
    return value


def _max_ahead(name: str, value: Any) -> Any:
    if value is None or (isinstance(value, int) and value == -1):
        return None
    return int_at_least(1)(name, value)


def _max_pending(name: str, value: Any) -> Any:
    if value is None or (isinstance(value, int) and value == -1):
        return None
    if isinstance(value, int) and not isinstance(value, bool) and value < 1:
        raise ValueError(
            f"The keyword '{name}' only accepts -1 (any number) and integers from 1 on."
        )
    return int_at_least(1)(name, value)


def _retry_exceptions(name: str, value: Any) -> Any:
    if value is None or isinstance(value, bool):
        return value
    if not isinstance(value, (list, tuple)):
        raise TypeError(_wrong_type(name, value, "a bool or a list of exception classes"))
    for item in value:
        if not (isinstance(item, type) and issubclass(item, BaseException)):
            raise TypeError(f"'{name}' must list exception classes; {item!r} is none.")
    return list(value)


def _lifetime(name: str, value: Any) -> Any:
    if value is not None and not (isinstance(value, str) and value in ("detached", "non_detached")):
        raise ValueError(f"'{name}' must be None, 'detached' or 'non_detached', not {value!r}.")
    return value


def _groups(name: str, value: Any) -> Any:
    if value is None:
        return None
    if not isinstance(value, Mapping):
        raise TypeError(_wrong_type(name, value, "a dict of group names and calls at once"))
    at_once = int_at_least(1)
    for key, most in value.items():
        if not isinstance(key, str):
            raise TypeError(f"The names in '{name}' must be strings, not {key!r}.")
        _non_empty_text(name, key)
        if most is None:
            raise TypeError(f"How many calls of the group {key!r} run at once is None.")
        at_once(f"{name}[{key!r}]", most)
    return {key: operator.index(most) for key, most in value.items()}


def _strategy(name: str, value: Any) -> Any:
    if value is None or (isinstance(value, str) and value in ("DEFAULT", "SPREAD")):
        return value
    if isinstance(value, str):
        raise ValueError(
            f"'{name}' must be 'DEFAULT', 'SPREAD' or a strategy object, not {value!r}."
        )
    if isinstance(value, NodeAffinitySchedulingStrategy):
        return value
    if isinstance(value, NodeLabelSchedulingStrategy):
        choice_of({"scheduling_strategy": value})
        return value
    if isinstance(value, PlacementGroupSchedulingStrategy):
        return _in_group(value)
    if type(value).__name__.endswith("SchedulingStrategy"):
        raise ValueError(f"{type(value).__name__} is not supported yet.")
    raise TypeError(_wrong_type(name, value, "'DEFAULT', 'SPREAD' or a strategy object"))


def _in_group(strategy: PlacementGroupSchedulingStrategy) -> PlacementGroupSchedulingStrategy:
    """A strategy that names a placement group and a bundle which it has, or none at all."""
    group, index = strategy.placement_group, strategy.placement_group_bundle_index
    if group is None or group.is_empty:
        if strategy.placement_group_capture_child_tasks:
            raise ValueError(_CAPTURE_WITHOUT_GROUP)
        return strategy
    if int_at_least(-1)("placement_group_bundle_index", index) >= 0 and index >= group.bundle_count:
        raise ValueError(
            f"placement_group_bundle_index={index}: the placement group has the bundles 0 to "
            f"{group.bundle_count - 1}."
        )
    return strategy


def _label_selector(name: str, value: Any) -> Any:
    if value is not None:
        labels.selector_of(value)
    return value


def _fallback(name: str, value: Any) -> Any:
    if value is None:
        return None
    if not isinstance(value, (list, tuple)):
        raise TypeError(_wrong_type(name, value, "a list of dicts"))
    for each in value:
        if not isinstance(each, Mapping) or set(each) != {"label_selector"}:
            raise ValueError(f"'{name}' takes dicts with a 'label_selector' alone, not {each!r}.")
        labels.selector_of(each["label_selector"])
    return value


def _group(name: str, value: Any) -> Any:
    is_default = isinstance(value, str) and value == "default"
    if value is None or is_default or isinstance(value, Group):
        return value
    raise TypeError(_wrong_type(name, value, "a PlacementGroup"))


def _inout(name: str, value: Any) -> Any:
    """Names and positions of the arguments that the function writes into, as a tuple."""
    if value is None:
        return None
    items = (value,) if isinstance(value, (str, int)) else value
    if isinstance(items, bool) or not isinstance(items, (list, tuple)):
        raise TypeError(_wrong_type(name, value, "argument names or positions"))
    for item in items:
        if isinstance(item, bool) or not isinstance(item, (str, int)):
            raise TypeError(f"'{name}' takes argument names and positions; {item!r} is neither.")
        if isinstance(item, int) and item < 0:
            raise ValueError(f"'{name}': positions count from 0, {item} is none.")
    if len(set(items)) != len(items):
        raise ValueError(f"'{name}' names an argument twice: {items!r}.")
    return tuple(items)


def _wrong_type(name: str, value: Any, wanted: str) -> str:
    return f"The type of keyword '{name}' must be {wanted}, but received {type(value).__name__}."


# --- The tables -------------------------------------------------------------------------------

_Check = Callable[[str, Any], Any]

_COMMON: dict[str, _Check] = {
    "num_cpus": number,
    "num_gpus": gpus,
    "memory": number,
    "resources": _resources,
    "accelerator_type": _non_empty_text,
    "name": text,
    "scheduling_strategy": _strategy,
    "label_selector": _label_selector,
    "fallback_strategy": _fallback,
    # The same in the spelling of before.
    "placement_group": _group,
    "placement_group_bundle_index": int_at_least(-1),
    "placement_group_capture_child_tasks": flag,
}
_TASK: dict[str, _Check] = {
    **_COMMON,
    "num_returns": _num_returns,
    "max_retries": int_at_least(-1),
    "retry_exceptions": _retry_exceptions,
    "max_calls": int_at_least(0),
    "max_concurrency": int_at_least(1, MOST_THREADS),
    "inout": _inout,
    "_generator_backpressure_num_objects": _max_ahead,
    "timeout_s": _timeout,
    "priority": int_at_least(-MOST_PRIORITY, MOST_PRIORITY),
    "max_running": int_at_least(1),
}
_ACTOR: dict[str, _Check] = {
    **_COMMON,
    "name": _non_empty_text,
    "namespace": _non_empty_text,
    "lifetime": _lifetime,
    "get_if_exists": flag,
    "max_restarts": int_at_least(-1),
    "max_task_retries": int_at_least(-1),
    "max_concurrency": int_at_least(1),
    "concurrency_groups": _groups,
    "max_pending_calls": _max_pending,
    "checkpoint": saves.checkpoint,
}
_METHOD: dict[str, _Check] = {
    "name": text,
    "num_returns": _num_returns,
    "max_task_retries": int_at_least(-1),
    "retry_exceptions": _retry_exceptions,
    "_generator_backpressure_num_objects": _max_ahead,
    "timeout_s": _timeout,
    "concurrency_group": _non_empty_text,
}

_ALIASES = {"num_return_vals": "num_returns", "max_reconstructions": "max_restarts"}

# Accepted and dropped, with what makes that right: (values that may be dropped, or None for any).
_HARMLESS: dict[str, tuple[Any, ...] | None] = {
    # Only about what is recorded, and nothing is recorded yet.
    "enable_task_events": None,
    "_labels": None,
    "_metadata": None,
    # A promise to need less order than calls get anyway.
    "allow_out_of_order_execution": (None, True, False),
    # Only the values that say "as if not given".
    "runtime_env": (None, {}),
    "object_store_memory": (None,),
    "enable_tensor_transport": (None, False),
    "tensor_transport": (None,),
    "_num_objects_per_yield": (None, 1),
    "_actor_generator_backpressure_num_objects": (None, -1),
}
_METHOD_HARMLESS = frozenset(
    (
        "enable_task_events",
        "tensor_transport",
        "_labels",
        "_num_objects_per_yield",
    )
)
_ACTOR_ONLY_HARMLESS = frozenset(
    (
        "allow_out_of_order_execution",
        "object_store_memory",
        "_actor_generator_backpressure_num_objects",
    )
)
_TASK_HARMLESS = frozenset(_HARMLESS) - _ACTOR_ONLY_HARMLESS
_ACTOR_HARMLESS = frozenset(_HARMLESS)


def task_options(options: Mapping[str, Any], in_options: bool = False) -> dict[str, Any]:
    """Checks a task's options; returns those that were given, under their present names.

    `in_options`: they come from `.options(...)`, where `max_calls` is not allowed.
    """
    if in_options and "max_calls" in options:
        raise ValueError("Setting 'max_calls' is not supported in '.options()'.")
    checked = _with_group(_checked(options, _TASK, _TASK_HARMLESS, "remote functions"))
    if checked.get("max_running") and (checked.get("max_concurrency") or 1) > 1:
        raise ValueError(
            "Give 'max_running' or 'max_concurrency', not both of them: tasks that are counted one by "
            "one do not share a worker."
        )
    return checked


def actor_options(options: Mapping[str, Any], in_options: bool = False) -> dict[str, Any]:
    """Checks an actor's options; returns those that were given, under their present names."""
    if in_options and "concurrency_groups" in options:
        raise ValueError("Setting 'concurrency_groups' is not supported in '.options()'.")
    checked = _with_group(_checked(options, _ACTOR, _ACTOR_HARMLESS, "actors"))
    if checked.get("get_if_exists") and not checked.get("name"):
        raise ValueError("The actor name must be specified to use `get_if_exists`.")
    return checked


def _with_group(options: dict[str, Any]) -> dict[str, Any]:
    """The same, a group that is named by options of its own as a strategy."""
    strategy = options.get("scheduling_strategy")
    if isinstance(strategy, NodeLabelSchedulingStrategy) and (
        options.get("label_selector") or options.get("fallback_strategy")
    ):
        raise ValueError(
            "Give 'label_selector' or a NodeLabelSchedulingStrategy, not both of them."
        )
    group = options.pop("placement_group", "default")
    index = options.pop("placement_group_bundle_index", None)
    capture = options.pop("placement_group_capture_child_tasks", None)
    if isinstance(group, str) or (group is None and "scheduling_strategy" in options):
        if index not in (None, -1):
            raise ValueError("'placement_group_bundle_index' needs a 'placement_group'.")
        if capture:
            raise ValueError(_CAPTURE_WITHOUT_GROUP)
        return options
    if options.get("scheduling_strategy") is not None:
        raise ValueError("Give 'scheduling_strategy' or 'placement_group', not both of them.")
    strategy = PlacementGroupSchedulingStrategy(group, -1 if index is None else index, capture)
    return {**options, "scheduling_strategy": _in_group(strategy)}


def method_options(options: Mapping[str, Any]) -> dict[str, Any]:
    """Checks the options of an actor method; returns those that were given."""
    return _checked(options, _METHOD, _METHOD_HARMLESS, "actor methods")


def _checked(
    options: Mapping[str, Any], table: dict[str, _Check], harmless: frozenset[str], what: str
) -> dict[str, Any]:
    checked: dict[str, Any] = {}
    for given, value in options.items():
        name = _ALIASES.get(given, given)
        check = table.get(name)
        if check is not None:
            if name in checked:
                raise ValueError(f"Option '{given}' is another name of '{name}'; give one of them.")
            checked[name] = check(name, value)
        elif name in harmless:
            allowed = _HARMLESS[name]
            if allowed is not None and not _is_one_of(value, allowed):
                raise ValueError(f"Option '{name}={value!r}' for {what} is not supported yet.")
        else:
            valid = sorted({*table, *(other for other in harmless if _HARMLESS[other] is None)})
            raise ValueError(
                f"Invalid option keyword {given} for {what}. {_where(name)}{did_you_mean(given, valid)}"
                f"Valid ones are [{', '.join(valid)}]."
            )
    return checked


def did_you_mean(given: str, valid: Iterable[str]) -> str:
    """A sentence and a space that names the valid one which is most like it; empty where none is."""
    import difflib

    close = difflib.get_close_matches(given, list(valid), 1)
    return f"Did you mean {close[0]}? " if close else ""


def _where(name: str) -> str:
    """A sentence that says whose option it is, when it is somebody's."""
    whose = [
        what
        for what, table in (("remote functions", _TASK), ("actors", _ACTOR), ("methods", _METHOD))
        if name in table
    ]
    return f"It is an option of {' and of '.join(whose)}. " if whose else ""


def _is_one_of(value: Any, allowed: tuple[Any, ...]) -> bool:
    return value is None or (isinstance(value, (int, str, list, dict)) and value in allowed)


def concurrency_of(options: Mapping[str, Any], is_async: bool, class_name: str) -> int:
    """How many calls of an actor run at once.

    Raises:
        ValueError: more threads are asked for than a worker has.
    """
    asked: int | None = options.get("max_concurrency")
    if asked is None:
        return ASYNC_CONCURRENCY if is_async else 1
    if not is_async and asked > MOST_THREADS:
        raise ValueError(
            f"max_concurrency={asked}: the calls of {class_name}, which has no `async def` method, run "
            f"on a thread each, and a worker has at most {MOST_THREADS}."
        )
    return asked


def groups_of(
    options: Mapping[str, Any], is_async: bool, class_name: str
) -> tuple[tuple[str, int, bool], ...]:
    """The concurrency groups of an actor, as `plans.CallGroup`s, the default one first.

    Raises:
        ValueError: they need more threads than a worker has.
    """
    groups = {"": concurrency_of(options, is_async, class_name)}
    groups.update(options.get("concurrency_groups") or {})
    # Each group's loop is on a thread of its own, and another one takes calls to it.
    threads = 2 * len(groups) if is_async else sum(groups.values())
    if threads > MOST_THREADS:
        raise ValueError(
            f"concurrency_groups: the groups of {class_name} need {threads:,} threads in all, and a "
            f"worker has at most {MOST_THREADS}."
        )
    return tuple((name, at_once, not is_async and at_once == 1) for name, at_once in groups.items())


def calls_of(options: Mapping[str, Any]) -> int:
    """How often a process runs a function before it leaves; 0: any number. One that has used GPUs leaves at
    once, as only its end gives their memory back for certain."""
    calls: int | None = options.get("max_calls")
    if calls is None:
        return 1 if options.get("num_gpus") else 0
    return calls


def yields(name: str, kind: str | None, num_returns: int | str | None) -> str | None:
    """How `name` gives its results: None, all at its end; "streaming" or "dynamic", one after the other.

    `kind`: as `_compat.generator_kind` gives it.

    Raises:
        ValueError: it is a generator, and fewer than two results are asked for by their number.
    """
    if isinstance(num_returns, str):
        return num_returns
    if kind is None:
        return None
    if num_returns is None:
        return "streaming"
    if num_returns < 2:
        raise ValueError(
            f"{name} is a generator: num_returns={num_returns} would lose what it yields. Leave it out "
            "and iterate over what .remote() returns, or give how many it yields, 2 or more."
        )
    return None


# --- Resources --------------------------------------------------------------------------------


def units_of(name: str, value: Any) -> int:
    """`value` in units of 1/10000, rounded down: so many parts of a whole fit into it.

    Raises:
        ValueError: it is less than one unit, and not 0; or more than can be counted.
    """
    scaled = value * UNIT if isinstance(value, int) else float(value) * UNIT
    if scaled > _MOST_UNITS:
        raise ValueError(f"The quantity of resource {name} is too large: {value}.")
    units = round(scaled)
    if abs(scaled - units) > 1e-6 * max(
        1.0, abs(scaled)
    ):  # else it is what a float makes of a whole number
        units = math.floor(scaled)
    if units == 0 and scaled > 0:
        raise ValueError(
            f"The precision of the fractional quantity of resource {name} cannot go beyond 0.0001"
        )
    return units
