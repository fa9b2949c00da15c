"""Which clusters a command asks, and how it asks them: as a driver of each, one after the other.

Place: below the commands, above the public API. A program's own node counts: it is found by its session's
folder.
"""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Iterator
from typing import Any

import click

ANSWER_LIMIT_S = 30.0
# Of commands that ask: by it lists of jobs leave them out.
NAMESPACE = "_cyray_command"


@contextlib.contextmanager
def connected(address: str) -> Iterator[None]:
    """This process as a driver of the cluster."""
    import cyray

    if address == "local":
        raise click.UsageError("'local' names no cluster: give host:port, or nothing.")
    try:
        cyray.init(address=address, namespace=NAMESPACE, log_to_driver=False)
    except (OSError, ValueError, RuntimeError) as error:
        raise click.ClickException(str(error)) from None
    try:
        yield
    finally:
        cyray.shutdown()


def addresses(address: str | None) -> list[str]:
    """The cluster that is named, else all of this user that have a node on this machine."""
    if address or os.environ.get("CYRAY_ADDRESS"):
        return [address or "auto"]
    found = list(dict.fromkeys(record["gcs_address"] for record in nodes_here()))
    if not found:
        from cyray._node import sessions

        raise click.ClickException(
            f"No node of this user runs on this machine (looked in {sessions.base_dir()}; CYRAY_TMPDIR "
            "names another folder)."
        )
    return found


def nodes_here() -> list[dict[str, Any]]:
    """The records of this user's nodes that run on this machine."""
    from cyray._node import sessions

    try:
        folders = sessions.sessions()
    except RuntimeError as error:
        raise click.ClickException(str(error)) from None
    records = [record for folder in folders for record in sessions.node_records(folder)]
    return [record for record in records if record.get("gcs_address")]


@contextlib.contextmanager
def answers_in_time() -> Iterator[None]:
    """Questions to a GCS have no limit of their own: a program outlives its restarts."""

    def give_up(_number: int, _frame: Any) -> None:
        raise click.ClickException(
            f"The cluster's GCS did not answer within {ANSWER_LIMIT_S:.0f} s; its log is "
            "gcs_server.out in the logs folder of the head's session."
        )

    previous = signal.signal(signal.SIGALRM, give_up)
    signal.setitimer(signal.ITIMER_REAL, ANSWER_LIMIT_S)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, previous)
