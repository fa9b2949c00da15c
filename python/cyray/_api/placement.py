"""Placement groups: resources kept together, on nodes chosen together, for tasks and actors that are put into them.

Place: public as `cyray.util.placement_group`; plans and strategies know groups as `Group`. Threading: groups
are immutable; every question goes to the GCS.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from typing import Any

from cyray import _raylet
from cyray._driver import events, waiting
from cyray._driver.init import auto_init
from cyray._ids import JobID, PlacementGroupID
from cyray._process import me
from cyray._spec import demands, labels, plans
from cyray._spec import options as _options
from cyray._spec.strategies import Group, PlacementGroupSchedulingStrategy, node_id_of

POLICIES = ("PACK", "SPREAD", "STRICT_PACK", "STRICT_SPREAD")  # as wire::GroupPolicy counts them
_STATES = {
    "Pending": "PENDING",
    "Created": "CREATED",
    "Removed": "REMOVED",
    "Rescheduling": "RESCHEDULING",
}
_NAMES = {
    "Pack": "PACK",
    "Spread": "SPREAD",
    "StrictPack": "STRICT_PACK",
    "StrictSpread": "STRICT_SPREAD",
}
_MOST_BUNDLES = 10_000
# So long one question to the GCS waits: less than the 5 s after which a driver says that the GCS is silent.
_ASK_S = 4.0


class PlacementGroup(Group):
    """A placement group: bundles of resources that are kept for it.

    Made by `placement_group`; pickles, and means the same in every process of the cluster.
    """

    __slots__ = ("_bundles", "_shapes", "id")

    def __init__(
        self, id: PlacementGroupID, bundle_cache: Sequence[Mapping[str, float]] | None = None
    ) -> None:
        self.id = id
        self._bundles = None if bundle_cache is None else [dict(bundle) for bundle in bundle_cache]
        self._shapes: list[dict[str, float]] | None = None

    @staticmethod
    def empty() -> PlacementGroup:
        """The group that is none: what names it runs in no group."""
        return PlacementGroup(PlacementGroupID.nil(), [])

    @property
    def is_empty(self) -> bool:
        """Whether it is the group that is none."""
        return self.id.is_nil()

    @property
    def bundle_specs(self) -> list[dict[str, float]]:
        """What each bundle has: `[{"CPU": 2.0}, ...]`. ValueError for a group that nobody knows any more."""
        if self._bundles is None:
            self._bundles = _row(self)["bundles"]
        return [dict(bundle) for bundle in self._bundles]

    @property
    def shapes(self) -> list[dict[str, float]]:
        if self._shapes is None:
            kinds = {tuple(sorted(bundle.items())): bundle for bundle in self.bundle_specs}
            self._shapes = list(kinds.values())
        return self._shapes

    @property
    def bundle_count(self) -> int:
        """How many bundles it has."""
        return len(self.bundle_specs)

    def ready(self) -> Any:
        """A ref that is ready when all bundles are in place; its value is this group. `get` raises
        `TaskPlacementGroupRemoved` when the group is removed before."""
        here = PlacementGroupSchedulingStrategy(self)
        return _is_ready().options(scheduling_strategy=here).remote(self)

    def wait(self, timeout_seconds: float = 30) -> bool:
        """Waits until all bundles are in place. False when they are not by then, or the group is removed."""
        if isinstance(timeout_seconds, bool) or not isinstance(timeout_seconds, (int, float)):
            raise TypeError(
                f"timeout_seconds must be a number, not {type(timeout_seconds).__name__}."
            )
        began = now = time.monotonic()
        until, tell_at = began + max(timeout_seconds, 0), began + _patience_s()
        while True:
            ask_s = min(until - now, tell_at - now, _ASK_S)
            row = _raylet.wait_group(self.id.binary(), math.ceil(max(ask_s, 0) * 1000))
            state = None if row is None else row["state"]
            if state in ("Removed", "Created"):
                return state == "Created"
            now = time.monotonic()
            if now >= until:
                return False
            if now >= tell_at:
                tell_at = math.inf
                waiting.tell_of_group(self.id.hex(), row, now - began)

    def __repr__(self) -> str:
        return f"PlacementGroup({self.id.hex()})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, PlacementGroup) and self.id == other.id

    def __hash__(self) -> int:
        return hash(self.id)

    def __reduce__(self) -> Any:
        return _unpickled, (self.id, self._bundles, self._shapes)


def _unpickled(
    id: PlacementGroupID,
    bundles: list[dict[str, float]] | None,
    shapes: list[dict[str, float]] | None,
) -> PlacementGroup:
    group = PlacementGroup(id, bundles)
    group._shapes = shapes
    return group


def _patience_s() -> float:
    """After how many seconds a wait is told of: a driver's, where that is wanted."""
    wanted = events.notice_s() if _raylet.identity()["is_driver"] else 0
    return wanted or math.inf


_ready_function: Any = None


def _is_ready() -> Any:
    global _ready_function
    if _ready_function is None:

        def placement_group_is_ready(group: PlacementGroup) -> PlacementGroup:
            return group

        _ready_function = _raylet.RemoteFunction(placement_group_is_ready, {"num_cpus": 0})
    return _ready_function


def placement_group(
    bundles: Sequence[Mapping[str, float]],
    strategy: str = "PACK",
    name: str = "",
    lifetime: str | None = None,
    _soft_target_node_id: str | None = None,
    bundle_label_selector: Sequence[Mapping[str, str]] | None = None,
) -> PlacementGroup:
    """Asks for resources that are kept together; returns at once, the group may be in place later.

    `bundles`: what each of them holds, `{"CPU": 2, "GPU": 1}`; `"memory"` in bytes. A bundle is on one node.
    `strategy`: `"PACK"`, on few nodes; `"SPREAD"`, on many; `"STRICT_PACK"`, on one; `"STRICT_SPREAD"`, each on
    a node of its own. `name`: for `get_placement_group`, in this job's namespace. `lifetime`: None, the group
    goes with the job, or with the actor that made it; `"detached"`, it stays until it is removed.
    `bundle_label_selector`: for each bundle what its node's labels must be, as a task's `label_selector`.
    `_soft_target_node_id`: hex id of the node for `"STRICT_PACK"` to prefer.

    Raises:
        ValueError: a bundle is empty, a strategy or lifetime is none, the name is taken.
        TypeError: bundles are not dicts of numbers.
    """
    auto_init()
    plan = _plan(bundles, strategy, name, lifetime, _soft_target_node_id)
    if bundle_label_selector:
        plan = plan._replace(selectors=_selectors(bundle_label_selector, len(plan.bundles)))
    _raylet.register_group(plan)
    specs = [
        {resource: amount / plans.UNIT for resource, amount in bundle} for bundle in plan.bundles
    ]
    return PlacementGroup(PlacementGroupID(plan.group_id), specs)


def _plan(
    bundles: Any, strategy: Any, name: Any, lifetime: Any, soft_target: Any
) -> plans.GroupPlan:
    if strategy not in POLICIES:
        raise ValueError(f"Invalid strategy {strategy!r}: it must be one of {', '.join(POLICIES)}.")
    if lifetime not in (None, "detached"):
        raise ValueError(f"'lifetime' must be None or 'detached', not {lifetime!r}.")
    if soft_target is not None and strategy != "STRICT_PACK":
        raise ValueError("'_soft_target_node_id' works with the strategy 'STRICT_PACK' alone.")
    _options.text("name", name)
    job = JobID.from_hex(_raylet.identity()["job_id"])
    return plans.GroupPlan(
        PlacementGroupID.of(job).binary(),
        _bundles(bundles),
        POLICIES.index(strategy),
        name or "",
        me.namespace,
        detached=lifetime == "detached",
        creator_actor=_raylet.current_actor_id() or b"",
        soft_target=b"" if soft_target is None else node_id_of(soft_target),
    )


def _selectors(given: Any, count: int) -> tuple[labels.Selector, ...]:
    if not isinstance(given, Sequence) or isinstance(given, str):
        raise TypeError(f"'bundle_label_selector' must be a list of dicts, not {given!r}.")
    if len(given) != count:
        raise ValueError(
            f"'bundle_label_selector' must have a selector for each of the {count} bundles, not {len(given)}."
        )
    return tuple(labels.selector_of(selector) for selector in given)


def _bundles(bundles: Any) -> tuple[plans.Amounts, ...]:
    if isinstance(bundles, (str, bytes, Mapping)) or not isinstance(bundles, Sequence):
        raise TypeError(f"'bundles' must be a list of dicts, not {type(bundles).__name__}.")
    if not 0 < len(bundles) <= _MOST_BUNDLES:
        raise ValueError(
            f"A placement group has from 1 to {_MOST_BUNDLES:,} bundles, not {len(bundles):,}."
        )
    checked = []
    for index, bundle in enumerate(bundles):
        if not isinstance(bundle, Mapping):
            raise TypeError(f"Bundle {index} must be a dict of resources, not {bundle!r}.")
        demand = demands.bundle_demand(index, bundle)
        if not demand:
            raise ValueError(
                f"Bundle {index}, {dict(bundle)!r}, is empty: it must have some of a resource."
            )
        checked.append(plans.amounts(demand))
    return tuple(checked)


def remove_placement_group(placement_group: PlacementGroup) -> None:
    """Has the group removed: tasks and actors in it end (`TaskPlacementGroupRemoved`, `ActorPlacementGroupRemoved`),
    and what it kept is free a moment after this returns; its name is free at once. Nothing happens when it is
    gone already."""
    auto_init()
    _raylet.remove_group(_checked(placement_group).id.binary())


def get_placement_group(placement_group_name: str) -> PlacementGroup:
    """The group of that name in this job's namespace. ValueError when there is none."""
    auto_init()
    if not placement_group_name or not isinstance(placement_group_name, str):
        raise ValueError(
            f"A placement group's name is a non-empty string, not {placement_group_name!r}."
        )
    row = _raylet.find_group(placement_group_name, me.namespace)
    if row is None:
        raise ValueError(
            f"Failed to look up the placement group {placement_group_name!r} in the namespace "
            f"{me.namespace!r}: there is none of that name."
        )
    return PlacementGroup(PlacementGroupID.from_hex(row["id"]), row["bundles"])


def get_current_placement_group() -> PlacementGroup | None:
    """The group that this task or actor runs in; None when it runs in none. The GCS is asked for its bundles
    when `bundle_specs` is."""
    auto_init()
    found = _raylet.current_group()
    return None if found is None else _group_of(found)


def placement_group_table(placement_group: PlacementGroup | None = None) -> dict[str, Any]:
    """What is known of a group, or by hex id of all of them, the latest that were removed too.

    Each has `placement_group_id`, `name`, `bundles` and `bundles_to_node_id` (by index; "" while a bundle is
    nowhere), `strategy`, `state` (PENDING, CREATED, RESCHEDULING, REMOVED) and `waits`, what it waits for.
    """
    auto_init()
    if placement_group is not None:
        return _table(_row(_checked(placement_group)))
    return {row["id"]: _table(row) for row in _raylet.list_groups()}


def _table(row: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "placement_group_id": row["id"],
        "name": row["name"],
        "bundles": dict(enumerate(row["bundles"])),
        "bundles_to_node_id": dict(enumerate(row["nodes"])),
        "strategy": _NAMES[row["policy"]],
        "state": _STATES[row["state"]],
        "waits": row["waits"],
    }


def _row(group: PlacementGroup) -> dict[str, Any]:
    row = _raylet.find_group("", "", group.id.binary())
    if row is None:
        raise ValueError(
            f"The placement group {group.id.hex()} is not known: it was removed long ago."
        )
    return row


def _checked(group: Any) -> PlacementGroup:
    if not isinstance(group, PlacementGroup):
        raise TypeError(f"A PlacementGroup is expected, not {type(group).__name__}.")
    return group


def captured() -> Any:
    """The strategy that what runs here hands on to what it submits; None when there is none."""
    found = _raylet.current_group()
    if found is None or not found[2]:
        return None
    return PlacementGroupSchedulingStrategy(
        _group_of(found), placement_group_capture_child_tasks=True
    )


def _group_of(found: tuple[bytes, list[dict[str, float]], bool]) -> PlacementGroup:
    group = PlacementGroup(PlacementGroupID(found[0]))
    group._shapes = found[1]  # so that what is submitted in it need not ask the GCS
    return group
