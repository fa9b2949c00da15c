"""What the raylets and processes of a cluster said of themselves, found by who it concerns.

Place: pure; made of the JSON of `_raylet.node_dump(everywhere=True)`, read by `why` and by the commands.
The shapes are those of `raylet/node_dump.cc` and `core/process_report.h`. What others wrote may lack anything.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

Row = dict[str, Any]
ACCELERATOR = "accelerator_type:"
TASK_DIGITS = 32  # of an object's id, which begins with that of its task


class Facts:
    """An index over the nodes' answers."""

    def __init__(self, answer: Row) -> None:
        self.nodes: list[Row] = answer.get("nodes", [])
        self.silent_nodes: list[str] = answer.get("silent_nodes", [])
        self.processes: dict[str, Row] = {}  # by worker id, with "ip"
        self.workers: dict[str, Row] = {}  # the same, as their raylet knows them
        self.drivers: dict[str, Row] = {}  # by job
        self.actors: dict[str, Row] = {}  # by actor id
        self.actor_of: dict[str, str] = {}  # its id, by worker id
        self.running: dict[str, tuple[str, Row]] = {}  # worker id and task, by task id
        self.pending: dict[str, Row] = {}  # by task id
        self.groups: dict[
            str, Row
        ] = {}  # placement groups, by id, as far as the GCS has told of them
        for node in self.nodes:
            self._add(node)

    @classmethod
    def parse(cls, text: str) -> Facts:
        """Of an answer; of a raylet that did not answer, as good as nothing."""
        try:
            answer = json.loads(text)
        except ValueError:
            return cls({})
        return cls(answer if isinstance(answer, dict) else {})

    def _add(self, node: Row) -> None:
        ip, node_id = node.get("ip", ""), node.get("node_id", "")
        for process in node.get("processes", []):
            worker = process.get("worker_id", "")
            self.processes[worker] = {**process, "ip": ip, "node_id": node_id}
            for task in process.get("running", []):
                self.running[task["task_id"]] = (worker, task)
            for task in process.get("pending", []):
                self.pending[task["task_id"]] = task
        for worker in node.get("workers", []):
            self.workers[worker["worker_id"]] = {**worker, "ip": ip, "node_id": node_id}
        for driver in node.get("drivers", []):
            self.drivers[driver["job"]] = {**driver, "ip": ip}
            self.workers[driver["worker_id"]] = {**driver, "ip": ip, "state": "driver"}
        for actor in node.get("actors", []):
            self.actors[actor["actor_id"]] = {**actor, "node_id": node_id}
            if actor.get("worker_id"):
                self.actor_of[actor["worker_id"]] = actor["actor_id"]

    def task_of(self, found: Row) -> Row | None:
        """What makes an object, as far as anybody has said."""
        task = found.get("task")
        if task is None:
            task = self.pending.get(found.get("object_id", "")[:TASK_DIGITS])
        return task

    def job_of(self, worker: str) -> str:
        for known in (self.processes, self.workers):
            if known.get(worker, {}).get("job"):
                return str(known[worker]["job"])
        return ""

    def running_at(self, worker: str) -> list[Row]:
        return list(self.processes.get(worker, {}).get("running", []))

    def waits_of(self, worker: str) -> list[Row]:
        """What the threads of a process wait for: those waits that are for objects."""
        process = self.processes.get(worker, {})
        waits = [wait for wait in process.get("waits", []) if wait.get("size")]
        if not waits and process.get("awaits"):
            waits = [{"objects": process["awaits"], "for_all": False}]
        return waits

    def lent(self) -> Iterator[tuple[Row, Row]]:
        """`(node, lease)` of all that is lent."""
        for node in self.nodes:
            for lease in node.get("leases", {}).get("lent", []):
                yield node, lease

    def request_of_actor(self, actor: str) -> Row | None:
        """What an actor that is not placed waits for, at the raylet where it does."""
        for node in self.nodes:
            for pending in node.get("leases", {}).get("pending", []):
                if pending.get("actor") == actor:
                    return {**pending, "node_id": node.get("node_id", "")}
        return None


def amounts(resources: Row) -> str:
    """ "CPU: 1, GPU: 0.5, accelerator_type:V100": of a kind of accelerator next to nothing is asked for."""
    return ", ".join(
        name if name.startswith(ACCELERATOR) else f"{name}: {number(value)}"
        for name, value in sorted(resources.items())
    )


def number(value: float) -> str:
    """Without zeros that say nothing."""
    return f"{value:.4f}".rstrip("0").rstrip(".")


def covers(have: Row, demand: Row) -> bool:
    return all(have.get(name, 0) >= amount for name, amount in demand.items() if amount > 0)


def seconds(ms: float) -> str:
    """ "0.4 s", "12 s", "5 min", "3 h"."""
    if ms < 10_000:
        return f"{ms / 1000:.1f} s"
    if ms < 120_000:
        return f"{ms / 1000:.0f} s"
    return f"{ms / 60_000:.0f} min" if ms < 7_200_000 else f"{ms / 3_600_000:.0f} h"
