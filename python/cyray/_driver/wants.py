"""What a task or an actor wants of nodes, as reports say it: in the words of people, and which nodes may have it.

Place: pure; under `why` and the commands, beside `facts`. Reports name the resources of a placement group as the
core does (`common/bundle_names.h`): "CPU_group_<index>_<group>" and "CPU_group_<group>" for what a bundle has,
and "bundle_group_..." for the bundle itself.
"""

from __future__ import annotations

import itertools
import re
from typing import NamedTuple

from cyray._driver.facts import Facts, Row, amounts, covers
from cyray._spec import labels

_OF_BUNDLE = re.compile(r"(.+)_group_(?:(\d+)_)?([0-9a-f]{36})")
_BUNDLE = "bundle"


class Bundle(NamedTuple):
    """A placement group that something is to be in, and which of its bundles; -1: any."""

    group: str  # hex id
    number: int = -1

    def words(self, groups: dict[str, Row]) -> str:
        """ "bundle 0 of the placement group 'mine'"; `groups`: what is known of groups, by id."""
        group = group_words(self.group, groups)
        return group if self.number < 0 else f"bundle {self.number} of {group}"

    def marker(self) -> str:
        """A resource that a node has while the bundle, or any, is in place there."""
        number = "" if self.number < 0 else f"{self.number}_"
        return f"{_BUNDLE}_group_{number}{self.group}"


class Want(NamedTuple):
    """Resources, by the core's names, and on which nodes."""

    demand: Row
    labels: Row = {}  # `text`, and `selectors`, of which a node must match one
    node: str = ""  # hex id of the one that it is bound to
    soft: bool = False  # to that, as long as it could have the resources
    turn_of: int = 0  # max_running, where as many run in the job, or are about to
    at: str = ""  # hex id of the node that was chosen for it, whatever was asked for

    @staticmethod
    def of(row: Row) -> Want:
        """Of a task that waits for a worker."""
        return Want(
            row.get("demand", {}),
            row.get("labels", {}),
            row.get("node_affinity", ""),
            bool(row.get("node_affinity_soft")),
            row.get("turn_of", 0),
        )

    def words(self, groups: dict[str, Row]) -> str:
        """ "CPU: 1 in the placement group 'mine'", "a worker on a node with region in (eu)"."""
        if self.turn_of:
            return f"its turn: as many run in the job as its max_running={self.turn_of} allows"
        text = words(self.demand, groups) or "a worker"
        if self.labels:
            text += f" on a node with {self.labels.get('text', '?')}"
        if self.node:
            text += f" on node {self.node[:8]}" + (", or another one without that" * self.soft)
        return text

    def may_be_at(self, node: Row, nodes: list[Row]) -> bool:
        """Whether it may run there, whatever is free."""
        if self.at and node.get("node_id") != self.at:
            return False
        if self.node and node.get("node_id") != self.node:
            bound = next((n for n in nodes if n.get("node_id") == self.node), None)
            if not self.soft or (bound is not None and covers(total(bound), self.demand)):
                return False
        return self.matches(node)

    def matches(self, node: Row) -> bool:
        """Whether the node has the labels."""
        has = node.get("labels", {})
        selectors = self.labels.get("selectors", [])
        return not selectors or any(all(_holds(t, has) for t in terms) for terms in selectors)


def _holds(term: Row, has: dict[str, str]) -> bool:
    there, value = term["key"] in has, has.get(term["key"])
    if term["op"] == labels.EXISTS:
        return there
    if term["op"] == labels.DOES_NOT_EXIST:
        return not there
    return (value in term["values"]) == (term["op"] == labels.IN)


def group_words(group: str, groups: dict[str, Row]) -> str:
    """ "the placement group 'mine'", or its id where it has no name."""
    name = groups.get(group, {}).get("name")
    return f"the placement group {name!r}" if name else f"the placement group {group}"


def total(node: Row) -> Row:
    """What a node has, by the core's names."""
    return dict(node.get("resources", {}).get("total", {}))


def available(node: Row) -> Row:
    """What of it is free."""
    return dict(node.get("resources", {}).get("available", {}))


def bundle_of(resources: Row) -> Bundle | None:
    """In which bundle these resources are, if in any."""
    found = [match for name in resources if (match := _OF_BUNDLE.fullmatch(name))]
    if not found:
        return None
    return Bundle(found[0][3], max(int(match[2] or -1) for match in found))


def group_is_named(facts: Facts) -> bool:
    """Whether a node has a bundle of a placement group, or something that waits is to be in one."""
    pending = (row for node in facts.nodes for row in node.get("leases", {}).get("pending", []))
    demands = (row.get("demand", {}) for rows in (pending, facts.pending.values()) for row in rows)
    return any(bundle_of(names) for names in itertools.chain(map(total, facts.nodes), demands))


def base(name: str) -> str:
    """ "CPU" for what a bundle has of it, too."""
    match = _OF_BUNDLE.fullmatch(name)
    return name if match is None else match[1]


def plain(resources: Row) -> Row:
    """The same by the names that people use: "CPU" for what is a bundle's, too."""
    out: Row = {}
    for name, amount in resources.items():
        match = _OF_BUNDLE.fullmatch(name)
        if match is None:
            out[name] = out.get(name, 0) + amount
        elif (
            match[2] is None and match[1] != _BUNDLE
        ):  # of its two names the one that always is there
            out[match[1]] = out.get(match[1], 0) + amount
    return out


def words(resources: Row, groups: dict[str, Row]) -> str:
    """ "CPU: 1 in bundle 0 of the placement group 'mine'"; "" for nothing."""
    bundle = bundle_of(resources)
    if bundle is None:
        return amounts(resources)
    return f"{amounts(plain(resources)) or 'a place'} in {bundle.words(groups)}"


def shown(resources: Row) -> Row:
    """What of a node's resources is not of bundles, nor large numbers, nor there by itself."""
    return {
        name: value
        for name, value in resources.items()
        if ":" not in name
        and name not in ("memory", "object_store_memory")
        and not _OF_BUNDLE.fullmatch(name)
    }


def kept_by_groups(node: Row, names: set[str]) -> dict[str, Row]:
    """What of these resources the bundles on a node keep, by group."""
    kept: dict[str, Row] = {}
    for name, amount in total(node).items():
        match = _OF_BUNDLE.fullmatch(name)
        if match and match[2] is None and match[1] in names:
            kept.setdefault(match[3], {})[match[1]] = amount
    return kept
