"""Scheduling strategies: the objects that say where a task or an actor is to run, and what they amount to.

Place: the ground, above `labels`; public as `cyray.util.scheduling_strategies`. Of a placement group, which is
above, it is known what `Group` has. Which strategy an object is is seen by its class, and here alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from cyray._spec import labels

if TYPE_CHECKING:
    from cyray._api.placement import PlacementGroup


class Group:
    """What plans and strategies know of a placement group; the one class of these is `PlacementGroup`."""

    __slots__ = ()
    id: Any

    @property
    def is_empty(self) -> bool:
        raise NotImplementedError

    @property
    def bundle_specs(self) -> list[dict[str, float]]:
        raise NotImplementedError

    @property
    def shapes(self) -> list[dict[str, float]]:
        """The bundles, each kind once: what fits into none of these fits nowhere in the group."""
        raise NotImplementedError

    @property
    def bundle_count(self) -> int:
        raise NotImplementedError


def node_id_of(hex_id: Any) -> bytes:
    """The 20 bytes of a node's id. ValueError when it is not 40 hex digits."""
    try:
        found = bytes.fromhex(hex_id)
    except (TypeError, ValueError):
        found = b""
    if len(found) != 20:
        raise ValueError(f"Invalid node id {hex_id!r}: it must be 40 hex digits.")
    return found


class PlacementGroupSchedulingStrategy:
    """Run in a placement group.

    `placement_group`: a `PlacementGroup`; None: in none, also where it would be captured.
    `placement_group_bundle_index`: in that bundle; -1: in any. `placement_group_capture_child_tasks`: whether
    the tasks and actors that it submits are in the group as well, unless they say otherwise.
    """

    def __init__(
        self,
        placement_group: PlacementGroup | None,
        placement_group_bundle_index: int = -1,
        placement_group_capture_child_tasks: bool | None = None,
    ) -> None:
        if placement_group is not None and not isinstance(placement_group, Group):
            raise TypeError(
                f"placement_group must be a PlacementGroup, not {type(placement_group).__name__}."
            )
        self.placement_group = placement_group
        self.placement_group_bundle_index = placement_group_bundle_index
        self.placement_group_capture_child_tasks = placement_group_capture_child_tasks

    def __repr__(self) -> str:
        return (
            f"PlacementGroupSchedulingStrategy({self.placement_group}, "
            f"placement_group_bundle_index={self.placement_group_bundle_index})"
        )


class _Condition:
    """What is wanted of the value of a label."""

    _cyray_op: int
    values: tuple[str, ...] = ()

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(map(repr, self.values))})"


class In(_Condition):
    """The node has the label, with one of these values."""

    _cyray_op = labels.IN

    def __init__(self, *values: str) -> None:
        self.values = _checked(values)


class NotIn(_Condition):
    """The node has not the label with one of these values."""

    _cyray_op = labels.NOT_IN

    def __init__(self, *values: str) -> None:
        self.values = _checked(values)


class Exists(_Condition):
    """The node has the label."""

    _cyray_op = labels.EXISTS


class DoesNotExist(_Condition):
    """The node has not the label."""

    _cyray_op = labels.DOES_NOT_EXIST


def _checked(values: tuple[str, ...]) -> tuple[str, ...]:
    if not values:
        raise ValueError("In and NotIn take one value or more.")
    return tuple(labels.value_of("", value) for value in values)


class NodeLabelSchedulingStrategy:
    """Run on a node with certain labels.

    `hard`: conditions by label, all of which must hold: `{"region": In("eu", "us"), "gpu": Exists()}`. `soft`: others
    that should: a node where they hold is taken if one has room, or else could ever have it.
    """

    def __init__(
        self,
        hard: dict[str, _Condition] | None = None,
        *,
        soft: dict[str, _Condition] | None = None,
    ) -> None:
        if not hard and not soft:
            raise ValueError("The `hard` and `soft` parameters cannot both be empty.")
        labels.terms_of(hard, "hard")
        labels.terms_of(soft, "soft")
        self.hard = hard
        self.soft = soft

    def __repr__(self) -> str:
        return f"NodeLabelSchedulingStrategy(hard={self.hard}, soft={self.soft})"


class NodeAffinitySchedulingStrategy:
    """Run on a given node.

    `node_id`: its hex id, as in `nodes()[i]["NodeID"]`. `soft`: elsewhere when it is not there.
    ValueError when the id is not 40 hex digits.
    """

    def __init__(self, node_id: str, soft: bool) -> None:
        if not isinstance(node_id, str):
            raise TypeError(f"node_id must be a hex string, not {type(node_id).__name__}.")
        node_id_of(node_id)
        self.node_id = node_id
        self.soft = bool(soft)

    def __repr__(self) -> str:
        return f"NodeAffinitySchedulingStrategy(node_id={self.node_id!r}, soft={self.soft})"


def choice_of(options: Mapping[str, Any]) -> labels.Choice:
    """The selectors of labels that options (already checked) ask for, the best first; () for any node."""
    strategy = options.get("scheduling_strategy")
    if isinstance(strategy, NodeLabelSchedulingStrategy):
        hard, soft = labels.terms_of(strategy.hard, "hard"), labels.terms_of(strategy.soft, "soft")
        both = tuple(sorted({*hard, *soft}))
        return (both, hard) if soft else (hard,)
    selector = options.get("label_selector")
    first = labels.selector_of(selector) if selector else ()
    others = [
        labels.selector_of(each["label_selector"])
        for each in options.get("fallback_strategy") or ()
    ]
    if not first and not others:
        return ()
    return (first, *others)
