"""The `cyray` command: starts and ends nodes of this machine, and shows what a cluster does.

Place: the package's outermost layer; nothing imports it. A file a command. Nodes that it starts run until
`cyray stop`: they have no lifeline, but with `--block`. Exit codes: 0 done, 1 failed (the reason is on
stderr), 2 wrong usage.
"""

from __future__ import annotations

import click

from cyray.cli import listing, microbenchmark, stack, start, status, stop


def _print_version(context: click.Context, _: click.Parameter, wanted: bool) -> None:
    if wanted and not context.resilient_parsing:
        import cyray

        click.echo(f"cyray, version {cyray.__version__}")
        context.exit()


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.option(
    "--version",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_print_version,
    help="Show the version and exit.",
)
def main() -> None:
    """Tasks, actors and objects, in parallel, on one machine or many."""


for _command in (
    start.start,
    stop.stop,
    status.status,
    listing.list_command,
    stack.stack,
    microbenchmark.microbenchmark,
):
    main.add_command(_command)
