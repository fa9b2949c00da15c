"""`cyray microbenchmark`: what calls, tasks, actors and objects cost on this machine."""

from __future__ import annotations

import click

from cyray.cli.types import Amount


@click.command()
@click.option("--filter", "pattern", default="", help="Only cases whose name contains this.")
@click.option("--seconds", type=Amount(0.01), default=1.0, help="Per measurement.")
@click.option("--repeat", type=click.IntRange(1), default=4, help="Measurements per case.")
@click.option("--num-cpus", type=click.IntRange(1), help="CPUs of the node that is started.")
def microbenchmark(pattern: str, seconds: float, repeat: int, num_cpus: int | None) -> None:
    """Measure calls, tasks, actors and objects per second, on a node of its own."""
    import cyray
    from cyray.cli import cases

    try:
        cyray.init(address="local", num_cpus=num_cpus)
    except (OSError, ValueError, RuntimeError) as error:
        raise click.ClickException(str(error)) from None
    try:
        measured = cases.run(click.echo, pattern, seconds, repeat)
    finally:
        cyray.shutdown()
    if not measured:
        raise click.ClickException(
            f"No case has {pattern!r} in its name; without --filter all run."
        )
