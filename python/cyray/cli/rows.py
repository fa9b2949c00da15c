"""The rows of `cyray list`: from what a cluster says to one flat dict for each thing.

Place: pure. Reads what `Facts`, `list_nodes()`, `list_actors()` and `list_jobs()` of `_raylet` say.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from cyray._driver.facts import Facts, amounts, seconds
from cyray._driver.wants import Want

Row = dict[str, Any]

# Where a task is, in Ray's words.
_STATES = {
    "args": "PENDING_ARGS_AVAIL",
    "queued": "PENDING_NODE_ASSIGNMENT",
    "pushed": "SUBMITTED_TO_WORKER",
    "limbo": "PENDING_ACTOR_TASK_RECONNECT",
}


def nodes(rows: Iterable[Row]) -> list[Row]:
    return [
        {
            "node_id": row["node_id"],
            "state": "ALIVE" if row["alive"] else "DEAD",
            "node_ip": row["ip"],
            "node_name": row["hostname"],
            "is_head_node": row["is_head"],
            "resources_total": amounts(row["total"]),
            "resources_available": amounts(row["available"]) if row["alive"] else "",
            "state_message": row["death_reason"],
        }
        for row in rows
    ]


def actors(rows: Iterable[Row], now_ms: float) -> list[Row]:
    """`now_ms`: since 1970, for the ages of saves."""
    return [
        {
            "actor_id": row["actor_id"],
            "class_name": row["class_name"],
            "state": _in_capitals(row["state"]),
            "name": row["name"],
            "pid": row["pid"],
            "node_id": row["node_id"],
            "job_id": row["job_id"],
            "ray_namespace": row["namespace"],
            "restarts": row["restarts"],
            "last_save": _age(row["saved_ms"], now_ms),
            "death_cause": row["death_cause"],
        }
        for row in rows
    ]


def _age(then_ms: float, now_ms: float) -> str:
    return f"{seconds(max(0.0, now_ms - then_ms))} ago" if then_ms else ""


def _in_capitals(name: str) -> str:
    """PendingCreation: PENDING_CREATION."""
    return "".join(f"_{c}" if c.isupper() and i else c for i, c in enumerate(name)).upper()


def jobs(rows: Iterable[Row], commands: str) -> list[Row]:
    """All but those of this namespace: of commands that only asked."""
    return [
        {
            "job_id": row["job_id"],
            "status": "RUNNING" if row["running"] else "FINISHED",
            "driver_pid": row["driver_pid"],
            "entrypoint": row["entrypoint"],
            "namespace": row["namespace"],
            "start_time_ms": row["start_ms"],
            "end_time_ms": row["end_ms"],
        }
        for row in rows
        if row["namespace"] != commands
    ]


def workers(facts: Facts, own: str) -> list[Row]:
    """Workers and drivers, but the driver that asks."""
    rows = []
    for worker_id, worker in facts.workers.items():
        if worker_id == own:
            continue
        process = facts.processes.get(worker_id, {})
        actor = facts.actors.get(facts.actor_of.get(worker_id, ""), {})
        rows.append(
            {
                "worker_id": worker_id,
                "worker_type": "DRIVER" if worker.get("state") == "driver" else "WORKER",
                "pid": worker.get("pid", 0),
                "ip": worker.get("ip", ""),
                "state": str(worker.get("state", "")).upper(),
                "actor": actor.get("class", ""),
                "running": ", ".join(task["name"] for task in process.get("running", [])),
                "waits_for": ", ".join(_wait(wait) for wait in process.get("waits", [])),
                "job_id": worker.get("job", ""),
                "answers": worker_id in facts.processes,
            }
        )
    return rows


def _wait(wait: Row) -> str:
    if wait.get("size"):
        return f"{wait['missing']} of {wait['size']} objects"
    return f"{wait.get('what', '')}{wait.get('detail', '')}"


def tasks(facts: Facts) -> list[Row]:
    """Tasks and calls of actors that run, or are submitted and not over."""
    rows: dict[str, Row] = {}
    for process in facts.processes.values():
        for task in process.get("pending", []):
            rows[task["task_id"]] = _pending(task, process, facts)
    for process in facts.processes.values():
        for task in process.get("running", []):
            row = _running(task, process)
            rows[task["task_id"]] = {**rows.get(task["task_id"], {}), **row, "waits_for": ""}
    for row in rows.values():
        for key in ("submitter_pid", "waits_for"):
            row.setdefault(key, "")
    return list(rows.values())


def _pending(task: Row, process: Row, facts: Facts) -> Row:
    worker = facts.workers.get(task.get("worker", ""), {})
    waits = ""
    if task.get("actor"):
        said = task.get("waits") or ""
        waits = f"the actor {task.get('class') or task['actor']}, {said}" if said else ""
    elif task.get("place") == "queued":
        waits = Want.of(task).words(facts.groups)
    if task.get("place") == "args":
        waits = f"{len(task.get('args', []))}+ arguments"
    return {
        "task_id": task["task_id"],
        "name": task.get("name", ""),
        "state": _STATES.get(task.get("place", ""), "NIL"),
        "for": "",
        "worker_pid": worker.get("pid", ""),
        "node_ip": worker.get("ip", ""),
        "job_id": process.get("job", ""),
        "submitter_pid": process.get("pid", ""),
        "waits_for": waits,
    }


def _running(task: Row, process: Row) -> Row:
    return {
        "task_id": task["task_id"],
        "name": task.get("name", ""),
        "state": "RUNNING",
        "for": seconds(task.get("for_ms", 0)),
        "worker_pid": process.get("pid", ""),
        "node_ip": process.get("ip", ""),
        "job_id": process.get("job", ""),
    }


def objects(facts: Facts) -> list[Row]:
    """The largest in each node's store."""
    rows = []
    for node in facts.nodes:
        for found in node.get("store", {}).get("largest", []):
            owner = facts.workers.get(found.get("owner", ""), {})
            rows.append(
                {
                    "object_id": found["object_id"],
                    "object_size": found["bytes"],
                    "state": str(found["state"]).upper(),
                    "pins": found["pins"],
                    "owner_pid": owner.get("pid", ""),
                    "owner": owner.get("title", "") if owner.get("state") == "driver" else "",
                    "ip": node.get("ip", ""),
                    "node_id": node.get("node_id", ""),
                }
            )
    return sorted(rows, key=lambda row: -row["object_size"])
