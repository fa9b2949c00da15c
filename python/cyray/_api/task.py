"""What a remote function is made of: options, pickle, template. Policy, once per function and options.

Place: called by `RemoteFunction` of `_raylet` before the first call and at `.options()`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from cyray import _compat
from cyray._api.signature import signature_of
from cyray._pickle import extra as _extra
from cyray._pickle.definition import display_name, identity_of
from cyray._spec import demands, plans
from cyray._spec import options as _options


def merge(options: Mapping[str, Any], more: Mapping[str, Any]) -> dict[str, Any]:
    """The options of `f.options(**more)`, checked."""
    return {**options, **_options.task_options(more, in_options=True)}


def describe(function: Any, options: Mapping[str, Any], captured: bool = False) -> plans.TaskPlan:
    """The plan of a remote function's tasks, but for the pickled function itself. `captured`: those that are
    in the placement group of what submits them."""
    if captured:
        from cyray._api.placement import captured as strategy

        options = {**options, "scheduling_strategy": strategy()}
    kind = _compat.generator_kind(function)
    yields = _options.yields(display_name(function), kind, options.get("num_returns"))
    extra: dict[str, Any] = {}
    if options.get("inout"):
        if yields or _compat.is_coroutine_function(function):
            raise ValueError(
                f"inout of {display_name(function)}: what a function wrote is returned with its result, and "
                "this one yields or is `async def`."
            )
        extra["inout"] = inout_slots(options["inout"], function)
    if options.get("retry_exceptions"):
        extra["retry_exceptions"] = _extra.retry_types(options["retry_exceptions"])
    if calls := _options.calls_of(options):
        extra["max_calls"] = calls
    demand = demands.resource_demand(options, "task")
    if demand != {"CPU": plans.UNIT}:
        extra["demand"] = demand
    if group := plans.group_extra(options):
        extra["group"] = group
    signature = signature_of(function)
    plan = plans.task_plan(
        display_name(function),
        options,
        demand,
        _extra.dumps(extra),
        yields,
        signature and tuple(signature),
    )
    return plan._replace(limited=identity_of(function)) if plan.max_running else plan


def inout_slots(inout: Any, function: Any) -> tuple[Any, ...]:
    """The written arguments: by name and by position, as far as the signature tells both.

    Raises:
        ValueError: the function has no argument of that name or position.
    """
    import inspect

    given = (inout,) if isinstance(inout, (int, str)) else tuple(inout)
    try:
        parameters = list(inspect.signature(function).parameters.values())
    except (TypeError, ValueError):  # builtins and pybind11: what is given has to do
        return given
    positional = [
        p.name for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)
    ]
    names = [p.name for p in parameters]
    open_ended = any(p.kind is p.VAR_KEYWORD for p in parameters)
    slots = list(given)
    for slot in given:
        if isinstance(slot, int):
            if slot >= len(positional) and not any(p.kind is p.VAR_POSITIONAL for p in parameters):
                raise ValueError(
                    f"inout names position {slot} (from 0 on), but {display_name(function)} takes "
                    f"{len(positional)} positional arguments."
                )
            slots += positional[slot : slot + 1]
        elif slot in positional:
            slots.append(positional.index(slot))
        elif slot not in names and not open_ended:
            raise ValueError(
                f"inout names {slot!r}, which is no argument of {display_name(function)}. "
                f"{_options.did_you_mean(slot, names)}It takes {', '.join(names) or 'none'}."
            )
    return tuple(slots)
