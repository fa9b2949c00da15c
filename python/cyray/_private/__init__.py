"""Names that code written for Ray imports from here, and what a person debugs a hang with."""

from __future__ import annotations

import os
import sys
import threading


def dump() -> str:
    """The state of this user's running nodes, for a person.

    Their processes and the ends of their logs, which needs no answer of anybody; and, when this
    process is connected and its raylet answers within two seconds, who waits for what.
    """
    from cyray._node import sessions
    from cyray._os import proc
    from cyray._os.files import read_text

    parts = []
    for session_dir in sessions.sessions():
        records = sessions.node_records(session_dir)
        if not records:
            continue
        parts.append(f"session {session_dir}")
        for process in proc.descendants(record["pid"] for record in records):
            parts.append(f"  {_describe_process(process.pid)}")
        logs = os.path.join(session_dir, "logs")
        for name in sorted(os.listdir(logs)):
            lines = read_text(os.path.join(logs, name)).splitlines()[-10:]
            parts += [f"  {name}: {line}" for line in lines]
    return "\n".join([*parts, _ask_node()])


def _ask_node() -> str:
    if "cyray._raylet" not in sys.modules:
        return ""
    from cyray._api.cluster import node_info

    answer: list[str] = []
    asking = threading.Thread(target=lambda: answer.append(node_info()), daemon=True)
    asking.start()
    asking.join(2.0)
    return answer[0] if answer else "(the raylet does not answer)"


def _describe_process(pid: int) -> str:
    from cyray._os import proc
    from cyray._os.files import read_text

    command = proc.command_line(pid).replace(b"\0", b" ").decode(errors="replace").strip()
    waits = []
    try:
        threads = os.listdir(f"/proc/{pid}/task")
    except OSError:
        threads = []
    for thread in threads:
        name = read_text(f"/proc/{pid}/task/{thread}/comm").strip()
        where = read_text(f"/proc/{pid}/task/{thread}/wchan").strip()
        waits.append(f"{name}: {where or 'running'}")
    return f"{pid} {command[:100]} [{'; '.join(waits)}]"
