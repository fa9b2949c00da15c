"""`cyray status`: what a cluster has and waits for."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Iterator
from typing import Any

import click

ANSWER_LIMIT_S = 30.0


@click.command()
@click.option("--address", help="host:port of the cluster; the one of this machine by default.")
def status(address: str | None) -> None:
    """Show nodes, resources and demand of a cluster."""
    import cyray
    from cyray import _raylet
    from cyray.cli.report import cluster_report

    _connect(address)
    try:
        with _answers_in_time():
            report = cluster_report(
                cyray.nodes(),
                cyray.cluster_resources(),
                cyray.available_resources(),
                _raylet.pending_demands(),
            )
        click.echo(report)
    finally:
        cyray.shutdown()


@contextlib.contextmanager
def _answers_in_time() -> Iterator[None]:
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


def _connect(address: str | None) -> None:
    import cyray

    if address == "local":
        raise click.UsageError("'local' names no cluster: give host:port, or nothing.")
    try:
        cyray.init(address=address or "auto", log_to_driver=False)
    except (OSError, ValueError, RuntimeError) as error:
        raise click.ClickException(str(error)) from None
