"""Plans: what the core needs to know of a task, a method or an actor, decided once from its options.

Place: the ground. `_api` makes them, `submit.pxi` reads them, and equal plans share a template. Typed,
frozen, hashable (but for `ActorPlan`, which is used once); the defaults of options stand here alone.
"""

# Annotations are evaluated here: NamedTuple would compile each as a string, which takes a millisecond.

import math
from collections.abc import Collection, Mapping
from typing import Any, NamedTuple

from cyray._spec.labels import Choice, Selector
from cyray._spec.strategies import (
    NodeAffinitySchedulingStrategy,
    PlacementGroupSchedulingStrategy,
    choice_of,
    node_id_of,
)

UNIT = 10_000  # of a whole resource
DEFAULT_MAX_RETRIES = 3  # of tasks
# wire::SchedulingStrategy
ANYWHERE, SPREAD, ON_NODE = 0, 1, 2
_STRATEGIES = {None: ANYWHERE, "DEFAULT": ANYWHERE, "SPREAD": SPREAD}

# wire::Yields
AT_ONCE, STREAMED, GATHERED = 0, 1, 2
_YIELDS = {None: AT_ONCE, "streaming": STREAMED, "dynamic": GATHERED}

Amounts = tuple[tuple[str, int], ...]  # of resources, by name, in units of 1/10000


class Placement(NamedTuple):
    """Where it may run."""

    demand: Amounts = ()
    strategy: int = ANYWHERE
    node: bytes = b""  # for ON_NODE; 20 bytes
    soft: bool = False  # another node will do where that one is gone
    group: bytes = b""  # a placement group, 18 bytes, in whose bundles it is to be
    bundle: int = -1  # which of them; -1: any
    labels: Choice = ()  # of nodes, the best first; (): any node


class GroupPlan(NamedTuple):
    """A placement group that is to be made."""

    group_id: bytes
    bundles: tuple[Amounts, ...]
    policy: int  # wire::GroupPolicy
    name: str  # "": none
    namespace: str
    detached: bool = False
    creator_actor: bytes = b""  # with which it goes
    soft_target: bytes = b""  # a node
    selectors: tuple[Selector, ...] = ()  # of the bundles' nodes; (): any


class CallGroup(NamedTuple):
    """Calls of an actor that share its threads, or an event loop. The default one has no name."""

    name: str
    at_once: int = 1  # so many run at a time
    in_order: bool = True  # those of each caller, in the order of submission


class TaskPlan(NamedTuple):
    """The tasks of a function with these options."""

    name: str
    placement: Placement
    num_returns: int = 1
    max_retries: int = DEFAULT_MAX_RETRIES
    max_concurrency: int = 1
    extra: bytes = b""  # pickled, for the worker's Python alone
    yields: int = AT_ONCE
    max_ahead: int = 0  # of a generator: items that wait for consumers; 0: any number
    timeout_ms: int = 0  # of a run; 0: none
    priority: int = 0  # higher first among what waits of the job
    max_running: int = 0  # at once in the job, of the function; 0: any number
    limited: bytes = b""  # which function that is: 16 bytes
    signature: tuple[Any, ...] | None = None  # which arguments calls may have; None: any


class MethodPlan(NamedTuple):
    """The calls of an actor's method."""

    name: str
    method: str
    num_returns: int = 1
    max_retries: int = 0
    extra: bytes = b""
    yields: int = AT_ONCE
    max_ahead: int = 0
    timeout_ms: int = 0
    signature: tuple[Any, ...] | None = None
    group: int = 0  # its place among those of the actor


class ActorPlan(NamedTuple):
    """One actor that is to be made."""

    function_id: bytes
    pickled: bytes  # its class
    class_name: str
    name: str  # "": none
    namespace: str
    placement: Placement
    held: Amounts  # while it lives
    meta: dict[str, Any]  # of its handles
    handle_meta: bytes  # the same, pickled
    extra: bytes  # pickled, for the worker's Python alone
    detached: bool = False
    max_restarts: int = 0
    max_concurrency: int = 1


def amounts(demand: Mapping[str, int]) -> Amounts:
    """A demand as plans have it."""
    return tuple(sorted(demand.items()))


def placement(options: Mapping[str, Any], demand: Mapping[str, int]) -> Placement:
    """Where what has these options (already checked) may run."""
    strategy = options.get("scheduling_strategy")
    choice = choice_of(options)
    if strategy is None or isinstance(strategy, str):
        return Placement(amounts(demand), _STRATEGIES[strategy], labels=choice)
    if isinstance(strategy, PlacementGroupSchedulingStrategy | NodeAffinitySchedulingStrategy):
        if choice:
            raise ValueError(
                f"'label_selector' cannot be given with a {type(strategy).__name__}, which says where it runs."
            )
        if isinstance(strategy, PlacementGroupSchedulingStrategy):
            return _in_group(strategy, demand)
        node = node_id_of(strategy.node_id)
        return Placement(amounts(demand), ON_NODE, node, bool(strategy.soft))
    return Placement(amounts(demand), labels=choice)


def _in_group(strategy: PlacementGroupSchedulingStrategy, demand: Mapping[str, int]) -> Placement:
    group, index = strategy.placement_group, strategy.placement_group_bundle_index
    if group is None or group.is_empty:
        return Placement(amounts(demand))
    candidates = group.shapes if index < 0 else [group.bundle_specs[index]]
    if not any(_holds(bundle, demand) for bundle in candidates):
        asked = {name: amount / UNIT for name, amount in demand.items()}
        where = f"any bundle ({candidates})" if index < 0 else f"bundle {index} ({candidates[0]})"
        raise ValueError(f"The demand {asked} does not fit into {where} of the placement group.")
    return Placement(amounts(demand), group=group.id.binary(), bundle=index)


def _holds(bundle: Mapping[str, float], demand: Mapping[str, int]) -> bool:
    return all(round(bundle.get(name, 0) * UNIT) >= amount for name, amount in demand.items())


def group_extra(options: Mapping[str, Any]) -> tuple[bytes, list[dict[str, float]], bool] | None:
    """What the worker is to know of the placement group of what has these options: its id, the shapes of its
    bundles, whether what it submits is to be in it, too. It goes with each function and actor: a group may
    have thousands of bundles, which who wants them asks the GCS for."""
    strategy = options.get("scheduling_strategy")
    if not isinstance(strategy, PlacementGroupSchedulingStrategy):
        return None
    group = strategy.placement_group
    if group is None or group.is_empty:
        return None
    captures = bool(strategy.placement_group_capture_child_tasks)
    return group.id.binary(), group.shapes, captures


def task_plan(
    name: str,
    options: Mapping[str, Any],
    demand: Mapping[str, int],
    extra: bytes,
    yields: str | None = None,
    signature: tuple[Any, ...] | None = None,
) -> TaskPlan:
    """Of a function with these options (already checked)."""
    retries = options.get("max_retries")
    return TaskPlan(
        name,
        placement(options, demand),
        num_returns=_returns(options, yields),
        yields=_YIELDS[yields],
        max_ahead=options.get("_generator_backpressure_num_objects") or 0,
        timeout_ms=math.ceil((options.get("timeout_s") or 0) * 1000),
        priority=options.get("priority") or 0,
        max_running=options.get("max_running") or 0,
        max_retries=DEFAULT_MAX_RETRIES if retries is None else retries,
        max_concurrency=options.get("max_concurrency") or 1,
        extra=extra,
        signature=signature,
    )


def method_plan(
    meta: Mapping[str, Any], name: str, options: Mapping[str, Any], yields: str | None = None
) -> MethodPlan:
    """Of a method of an actor with this meta; `options` (already checked) are the method's own.

    Raises:
        ValueError: the actor has no concurrency group of that name.
    """
    retries = options.get("max_task_retries")
    return MethodPlan(
        # That of one call, `.options(name=...)`, goes with the call.
        meta["methods"].get(name, {}).get("name") or f"{meta['class_name']}.{name}",
        name,
        num_returns=_returns(options, yields),
        yields=_YIELDS[yields],
        max_ahead=options.get("_generator_backpressure_num_objects") or 0,
        timeout_ms=math.ceil((options.get("timeout_s") or 0) * 1000),
        max_retries=meta.get("max_task_retries", 0) if retries is None else retries,
        extra=options.get("extra", b""),
        signature=options.get("signature"),
        group=_group_index(f"{meta['class_name']}.{name}", options, meta.get("groups", ())),
    )


def _group_index(
    method: str, options: Mapping[str, Any], groups: tuple[tuple[str, int, bool], ...]
) -> int:
    wanted = options.get("concurrency_group")
    if wanted is None:
        return 0
    names = [group[0] for group in groups]
    if wanted not in names[1:]:
        raise ValueError(no_such_group(method, wanted, names[1:]))
    return names.index(wanted)


def no_such_group(method: str, wanted: str, names: Collection[str]) -> str:
    """What is said of a method that is to run in a group that its class does not define."""
    has = f"has [{', '.join(names)}]" if names else "has none"
    return (
        f"{method} is to run in the concurrency group {wanted!r}, and its class {has}: groups are "
        "defined with the class, @cyray.remote(concurrency_groups={'name': calls at once})."
    )


def _returns(options: Mapping[str, Any], yields: str | None) -> int:
    returns = options.get("num_returns")
    return 1 if returns is None or yields is not None else int(returns)
