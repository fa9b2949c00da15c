"""`cyray stop`: ends what `cyray start` started."""

from __future__ import annotations

import click

from cyray._node import end, sessions
from cyray.cli.types import Amount


@click.command()
@click.option("-f", "--force", is_flag=True, help="Kill at once.")
@click.option("-g", "--grace-period", type=Amount(), default=16, help="Seconds before killing.")
def stop(force: bool, grace_period: float) -> None:
    """End all nodes of this user on this machine."""
    try:
        outcome = end.end_all(0.0 if force else grace_period)
    except RuntimeError as error:
        raise click.ClickException(str(error)) from None
    if outcome.found == 0:
        click.echo(
            f"Did not find any active cyray processes (looked in {sessions.base_dir()}; CYRAY_TMPDIR names "
            "another folder)."
        )
        return
    if outcome.left:
        raise click.ClickException(
            f"Stopped only {outcome.found - outcome.left} out of {outcome.found} cyray processes."
        )
    click.echo(f"Stopped all {outcome.found} cyray processes.")
