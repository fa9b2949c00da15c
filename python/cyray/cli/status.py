"""`cyray status`: what a cluster has and waits for."""

from __future__ import annotations

import click

from cyray.cli import connect


@click.command()
@click.option("--address", help="host:port of the cluster; the one of this machine by default.")
@click.option("-v", "--verbose", is_flag=True, help="Also who holds what, and who waits for what.")
def status(address: str | None, verbose: bool) -> None:
    """Show nodes, resources and demand of a cluster, or of a program's own node."""
    for one in _addresses(address):
        with connect.connected(one), connect.answers_in_time():
            click.echo(_report(verbose))


def _addresses(address: str | None) -> list[str]:
    """The cluster that programs attach to, else those that programs have started for themselves."""
    from cyray._node import addresses

    if address is None:
        try:
            addresses.resolve("auto")
        except ConnectionError:
            return connect.addresses(None)
        except (OSError, ValueError, RuntimeError) as error:
            raise click.ClickException(str(error)) from None
    return [address or "auto"]


def _report(verbose: bool) -> str:
    import cyray
    from cyray import _raylet
    from cyray._driver import waiting
    from cyray.cli import report

    text = report.cluster_report(
        cyray.nodes(),
        cyray.cluster_resources(),
        cyray.available_resources(),
        _raylet.pending_demands(),
    )
    if not verbose:
        return text
    return f"{text}\n\n{report.waits_report(waiting.ask(), _raylet.identity()['worker_id'])}"
