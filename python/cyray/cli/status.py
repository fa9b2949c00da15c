"""`cyray status`: what a cluster has and waits for."""

from __future__ import annotations

import click


@click.command()
@click.option("--address", help="host:port of the cluster; the one of this machine by default.")
def status(address: str | None) -> None:
    """Show nodes, resources and demand of a cluster."""
    import cyray
    from cyray import _raylet
    from cyray.cli.report import cluster_report

    _connect(address)
    try:
        click.echo(
            cluster_report(
                cyray.nodes(),
                cyray.cluster_resources(),
                cyray.available_resources(),
                _raylet.pending_demands(),
            )
        )
    finally:
        cyray.shutdown()


def _connect(address: str | None) -> None:
    import cyray

    if address == "local":
        raise click.UsageError("'local' names no cluster: give host:port, or nothing.")
    try:
        cyray.init(address=address or "auto", log_to_driver=False)
    except (OSError, ValueError, RuntimeError) as error:
        raise click.ClickException(str(error)) from None
