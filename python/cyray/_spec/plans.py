"""Plans: what the core needs to know of a task, a method or an actor, decided once from its options.

Place: the ground. `_api` makes them, `submit.pxi` reads them, and equal plans share a template. Typed,
frozen, hashable (but for `ActorPlan`, which is used once); the defaults of options stand here alone.
"""

# Annotations are evaluated here: NamedTuple would compile each as a string, which takes a millisecond.

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

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
    if strategy is None or isinstance(strategy, str):
        return Placement(amounts(demand), _STRATEGIES[strategy])
    node = bytes.fromhex(strategy.node_id)
    return Placement(amounts(demand), ON_NODE, node, bool(strategy.soft))


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
        max_retries=DEFAULT_MAX_RETRIES if retries is None else retries,
        max_concurrency=options.get("max_concurrency") or 1,
        extra=extra,
        signature=signature,
    )


def method_plan(
    meta: Mapping[str, Any], name: str, options: Mapping[str, Any], yields: str | None = None
) -> MethodPlan:
    """Of a method of an actor with this meta; `options` (already checked) are the method's own."""
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
    )


def _returns(options: Mapping[str, Any], yields: str | None) -> int:
    returns = options.get("num_returns")
    return 1 if returns is None or yields is not None else int(returns)
