"""The text of `cyray status`: nodes, what they offer, and how much of it is in use.

Place: pure formatting of what `nodes()`, `cluster_resources()`, `available_resources()` and
`_raylet.pending_demands()` return, and of what a cluster says of itself (`Facts`).
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence
from typing import Any

from cyray._driver import why
from cyray._driver.facts import Facts, seconds
from cyray.cli import rows

_RULE = "---------------------------------------------------------------"
_BYTES = ("memory", "object_store_memory")
_MOST_LINES = 40  # of tasks that wait


def cluster_report(
    nodes: list[dict[str, Any]],
    total: dict[str, float],
    available: dict[str, float],
    pending: Sequence[tuple[dict[str, float], int]] = (),
) -> str:
    """The report, in the sections that users of Ray know.

    `pending`: demands and how many tasks and actors have waited for each of them.
    """
    alive = [node for node in nodes if node.get("Alive")]
    dead = [node for node in nodes if not node.get("Alive")]
    stamp = time.strftime("%Y-%m-%d %H:%M:%S")
    lines = [
        f"======== Cluster status: {stamp} ========",
        "Node status",
        "---------------------------------------------------------------",
        "Active:",
        *[f" {_node_line(node)}" for node in alive],
        *([] if alive else [" (no active nodes)"]),
        "Pending:",
        " (no pending nodes)",
        "Recent failures:",
        *[f" {_failure_line(node)}" for node in dead],
        *([] if dead else [" (no failures)"]),
        "",
        "Resources",
        "---------------------------------------------------------------",
        "Total Usage:",
        *[f" {line}" for line in _usage_lines(total, available)],
        "",
        "From request_resources:",
        " (none)",
        "Pending Demands:",
        *[f" {_demand_line(demand, count)}" for demand, count in pending],
        *([] if pending else [" (no resource demands)"]),
    ]
    return "\n".join(lines)


def waits_report(facts: Facts, own: str) -> str:
    """Who holds what, which tasks wait and for what, and whose threads do and why; without those of the
    process that asks."""
    lines = ["Held", _RULE]
    for node, lease in facts.lent():
        lines.append(f" {node.get('ip', '?')}: {why.describe_holder(facts, node, lease)}")
    if len(lines) == 2:
        lines.append(" (nothing)")
    lines += ["", "Tasks that wait", _RULE, *_pending_lines(facts)]
    lines += ["", "Threads that wait", _RULE]
    before = len(lines)
    for worker, process in facts.processes.items():
        if worker == own:
            continue
        for wait in facts.waits_of(worker):
            lines.append(f" {_waiter(facts, worker, process, wait)}:")
            lines += [f" {line}" for line in why.explain(wait.get("objects", []), facts)]
    if len(lines) == before:
        lines.append(" (nobody)")
    for node in facts.nodes:
        for pid in node.get("silent", []):
            lines.append(f" process {pid} on {node.get('ip', '?')} does not answer: is it stopped?")
    return "\n".join(lines)


def _pending_lines(facts: Facts) -> list[str]:
    """A line for all tasks of a name that wait alike."""
    alike = Counter(
        (row["name"], row["state"], row["waits_for"], row["submitter_pid"])
        for row in rows.tasks(facts)
        if row["state"] != "RUNNING"
    )
    lines = []
    for (name, state, waits, pid), count in alike.most_common(_MOST_LINES):
        many = f" ({count} of them)" if count > 1 else ""
        wanted = f", for {waits}" if waits else ""
        lines.append(f" {name}{many} of process {pid}: {state}{wanted}")
    if len(alike) > _MOST_LINES:
        lines.append(f" and {len(alike) - _MOST_LINES} more kinds (`cyray list tasks`)")
    return lines or [" (none)"]


def _waiter(facts: Facts, worker: str, process: dict[str, Any], wait: dict[str, Any]) -> str:
    running = ", ".join(task["name"] for task in process.get("running", []))
    who = why.describe_process(facts, worker) + (f" in {running}" if running else "")
    if "for_ms" not in wait:
        return f"{who} awaits"
    return f"{who} waits since {seconds(wait['for_ms'])} for {wait['missing']} of {wait['size']} objects"


def _node_line(node: dict[str, Any]) -> str:
    resources = node.get("Resources", {})
    offered = ", ".join(f"{_amount(resources[name])} {name}" for name in _counted(resources))
    return f"1 {node.get('NodeID', '')} at {node.get('NodeManagerAddress', '')} ({offered})"


def _failure_line(node: dict[str, Any]) -> str:
    reason = node.get("DeathReasonMessage") or node.get("DeathReason") or "no reason is known"
    return f"{node.get('NodeID', '')} at {node.get('NodeManagerAddress', '')}: {reason}"


def _demand_line(demand: dict[str, float], count: int) -> str:
    # A submitter asks for a few leases at a time, however many tasks are behind them.
    amounts = ", ".join(f"{name!r}: {float(amount)}" for name, amount in sorted(demand.items()))
    return f"{{{amounts}}}: {count}+ pending tasks/actors"


def _usage_lines(total: dict[str, float], available: dict[str, float]) -> list[str]:
    lines = []
    for name in sorted(total):
        if name.startswith("node:"):
            continue
        used = max(0.0, total[name] - available.get(name, 0.0))
        if name in _BYTES:
            lines.append(f"{format_bytes(used)}/{format_bytes(total[name])} {name}")
        else:
            lines.append(f"{used:.1f}/{total[name]:.1f} {name}")
    return lines or ["(none)"]


def _counted(resources: dict[str, float]) -> list[str]:
    return [name for name in sorted(resources) if name not in _BYTES and ":" not in name]


def _amount(value: float) -> str:
    return f"{value:.4f}".rstrip("0").rstrip(".")


def format_bytes(count: float) -> str:
    """ "0B", "1.50KiB", "2.00GiB"."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if abs(count) < 1024:
            return f"{count:.0f}B" if unit == "B" else f"{count:.2f}{unit}"
        count /= 1024
    return f"{count:.2f}TiB"
