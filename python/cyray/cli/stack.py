"""`cyray stack`: where every worker of this machine is, in Python and in the kernel.

Place: a command; asks no raylet, so that it works when those hang.
"""

from __future__ import annotations

import os

import click

from cyray.cli import connect


@click.command()
@click.option("--pid", "pids", type=int, multiple=True, help="Of these processes alone.")
def stack(pids: tuple[int, ...]) -> None:
    """Print the Python stacks of this user's workers on this machine, with what they run."""
    from cyray._os import proc, stacks

    found = 0
    for record in connect.nodes_here():
        for process in proc.descendants([record["pid"]]):
            if pids and process.pid not in pids:
                continue
            if not stacks.can_be_asked(process.pid):
                continue
            found += 1
            click.echo(_describe(process.pid))
    if pids and not found:
        raise click.ClickException("No worker of this user on this machine has such a pid.")
    if not found:
        click.echo("No workers of this user run on this machine.")


def _describe(pid: int) -> str:
    from cyray._os import proc, stacks

    title = proc.command_line(pid).replace(b"\0", b" ").decode(errors="replace").strip()
    lines = [f"==== {title} (pid {pid}) ===="]
    if proc.is_stopped(pid):
        lines.append(
            f"It is stopped: `kill -CONT {pid}` lets it go on, and then it says where it is."
        )
    else:
        text = stacks.read(pid)
        lines.append(text.rstrip() if text else "It did not answer: it has ended, or does not run.")
    return "\n".join([*lines, *_native(pid), ""])


def _native(pid: int) -> list[str]:
    """Where its threads wait in the kernel."""
    from cyray._os.files import read_text

    try:
        threads = sorted(os.listdir(f"/proc/{pid}/task"), key=int)
    except OSError:
        return []
    lines = []
    for thread in threads:
        name = read_text(f"/proc/{pid}/task/{thread}/comm").strip()
        where = read_text(f"/proc/{pid}/task/{thread}/wchan").strip()
        lines.append(
            f"  thread {thread} {name}: {'in ' + where if where.strip('0') else 'running'}"
        )
    return lines
