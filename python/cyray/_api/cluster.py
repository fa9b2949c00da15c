"""What the cluster has: nodes and resources, as Ray shows them."""

from __future__ import annotations

from typing import Any

from cyray import _raylet


def require_started() -> None:
    """Raises RaySystemError when there is no cluster to ask."""
    if not _raylet.is_connected():
        from cyray._errors.classes import RaySystemError

        raise RaySystemError(
            "cyray has not been started yet. You can start it with 'cyray.init()'."
        )


def nodes() -> list[dict[str, Any]]:
    """A dict per node that ever joined, as Ray shows them."""
    require_started()
    session = _raylet.identity()["session_dir"]
    return [
        {
            "NodeID": node["node_id"],
            "Alive": node["alive"],
            "alive": node["alive"],
            "NodeManagerAddress": node["ip"],
            "NodeManagerHostname": node["hostname"],
            "NodeManagerPort": node["port"],
            "ObjectManagerPort": node["port"],
            "ObjectStoreSocketName": node["socket"] or f"{session}/sockets/plasma_store",
            "RayletSocketName": node["socket"],
            "MetricsExportPort": node["metrics_port"],
            "NodeName": node["ip"],
            "DeathReasonMessage": node["death_reason"],
            "Labels": node["labels"],
            "Resources": node["total"] if node["alive"] else {},
        }
        for node in _raylet.list_nodes()
    ]


def cluster_resources() -> dict[str, float]:
    """Totals over the living nodes."""
    return _sum("total")


def available_resources() -> dict[str, float]:
    """What is free now on the living nodes; resources that are all in use are left out."""
    return {name: amount for name, amount in _sum("available").items() if amount > 0}


def _sum(which: str) -> dict[str, float]:
    require_started()
    total: dict[str, float] = {}
    for node in _raylet.list_nodes():
        if node["alive"]:
            for name, amount in node[which].items():
                total[name] = round(total.get(name, 0) + amount, 4)
    return total


def node_info() -> str:
    """What this process and everybody else on its node wait for: text, then JSON."""
    if not _raylet.is_connected():
        return ""
    return f"{_raylet.describe()}{_raylet.node_dump()}"
