"""Who it may be that does not answer: what a person is told who waits for a raylet or the GCS.

Place: above `sessions`; asked when nobody has answered for long. Reads records and /proc, starts nothing.
"""

from __future__ import annotations

import os
from typing import Any

from cyray._node import sessions
from cyray._os import proc


def describe(socket: str) -> str:
    """What is known of those that this process talks to by the socket of its raylet, in a sentence."""
    session_dir = os.path.dirname(os.path.dirname(socket))
    records = sessions.node_records(session_dir)
    own = [record for record in records if record.get("socket") == socket]
    logs = os.path.join(session_dir, "logs")
    for record in own:
        if proc.is_stopped(record["pid"]):
            return _stopped("the raylet", record["pid"])
    for pid in _gcs_servers(records):
        if proc.is_stopped(pid):
            return _stopped("the GCS, which the raylet asks,", pid)
    if records and not own:
        return f"no raylet of {socket} runs any more; its log is in {logs}."
    log = f"{os.path.basename(socket)}.out"
    if any(record.get("head") for record in records):
        return f"what the raylet and the GCS do is in {log} and gcs_server.out of {logs}."
    where = own[0].get("gcs_address", "") if own else ""
    return (
        f"what the raylet does is in {log} of {logs}; the GCS at {where} runs on another machine."
    )


def _gcs_servers(records: list[dict[str, Any]]) -> list[int]:
    heads = {record["pid"] for record in records if record.get("head")}
    children = [process.pid for process in proc.processes() if process.parent in heads]
    return [pid for pid in children if b"gcs_server" in proc.command_line(pid).split(b"\0")[0]]


def _stopped(who: str, pid: int) -> str:
    return f"{who} is stopped (process {pid}, as by SIGSTOP): `kill -CONT {pid}` lets it go on."
