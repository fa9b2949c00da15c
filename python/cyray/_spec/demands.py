"""What options and bundles ask for, in units of 1/10000 of a resource.

Place: the ground, above `options`, which checks them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from cyray._spec.options import gpus, number, text, units_of
from cyray._spec.plans import UNIT


def bundle_demand(index: int, bundle: Mapping[str, Any]) -> dict[str, int]:
    """What a bundle of a placement group keeps, in units of 1/10000; zero amounts are left out."""
    demand: dict[str, int] = {}
    for name, amount in bundle.items():
        text(f"bundles[{index}]", name)
        if not name or amount is None:
            raise TypeError(
                f"Bundle {index} must map names of resources to amounts, not {bundle!r}."
            )
        if units := offered_units(name, amount):
            demand[name] = units
    return demand


def offered_units(name: str, amount: Any) -> int:
    """What somebody offers or keeps of one resource, in units of 1/10000.

    Raises:
        TypeError: it is not a number.
        ValueError: less than nothing, or a part of a GPU beside whole ones.
    """
    if amount is None:
        raise TypeError(f"The amount of resource {name} is None.")
    check = gpus if name == "GPU" else number
    return units_of(name, check(name, amount))


def resource_demand(options: Mapping[str, Any], kind: str) -> dict[str, int]:
    """What `options` (already checked) ask for, in units of 1/10000; zero amounts are left out.

    `kind`: "task" (1 CPU unless told otherwise), "actor_placement" or "actor_held". An actor
    that names no resource takes one CPU to be placed and none while it lives; one that names any
    holds exactly that, and a CPU unless `num_cpus` says otherwise.
    """
    if kind not in ("task", "actor_placement", "actor_held"):
        raise ValueError(f"{kind!r} is no kind of demand.")
    cpus = options.get("num_cpus")
    if cpus is None:
        named = any(
            options.get(key) is not None
            for key in ("num_gpus", "memory", "resources", "accelerator_type")
        )
        cpus = 0 if kind == "actor_held" and not named else 1
    demand: dict[str, int] = {}
    for name, value in (
        ("CPU", cpus),
        ("GPU", options.get("num_gpus")),
        ("memory", options.get("memory")),
        *(options.get("resources") or {}).items(),
    ):
        units = units_of(name, value) if value else 0
        if units:
            demand[name] = units
    if options.get("accelerator_type"):
        demand[f"accelerator_type:{options['accelerator_type']}"] = UNIT // 1000
    return demand


def actor_demands(options: Mapping[str, Any]) -> tuple[dict[str, int], dict[str, int]]:
    """What an actor needs to be placed, and what it holds while it lives."""
    return resource_demand(options, "actor_placement"), resource_demand(options, "actor_held")
