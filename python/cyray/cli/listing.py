"""`cyray list KIND`: tasks, actors, nodes, workers, jobs and objects of this user's clusters, as they are now.

Place: a command; `rows` makes the rows. What is over is not kept anywhere: tasks are listed while they run
or wait, dead actors and nodes as long as the GCS knows them.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any

import click

from cyray.cli import connect, rows

Row = dict[str, Any]


def _of_tasks() -> list[Row]:
    from cyray._driver import waiting

    return rows.tasks(waiting.ask())


def _of_workers() -> list[Row]:
    from cyray import _raylet
    from cyray._driver import waiting

    return rows.workers(waiting.ask(), _raylet.identity()["worker_id"])


def _of_objects() -> list[Row]:
    from cyray._driver import waiting

    return rows.objects(waiting.ask())


def _of_actors() -> list[Row]:
    from cyray import _raylet

    return rows.actors(_raylet.list_actors(), time.time() * 1000)


def _of_nodes() -> list[Row]:
    from cyray import _raylet

    return rows.nodes(_raylet.list_nodes())


def _of_jobs() -> list[Row]:
    from cyray import _raylet

    return rows.jobs(_raylet.list_jobs(), connect.NAMESPACE)


_KINDS: dict[str, Callable[[], list[Row]]] = {
    "tasks": _of_tasks,
    "actors": _of_actors,
    "nodes": _of_nodes,
    "workers": _of_workers,
    "jobs": _of_jobs,
    "objects": _of_objects,
}


class _Filter(click.ParamType):
    """ "key=value" or "key!=value"."""

    name = "key=value"

    def convert(self, value: Any, param: Any, ctx: Any) -> Any:
        if isinstance(value, tuple):
            return value
        key, sign, wanted = str(value).partition("=")
        if not sign or not key.strip("!"):
            self.fail(f"{value!r} is not of the form key=value or key!=value", param, ctx)
        return key.rstrip("!").strip(), not key.endswith("!"), wanted.strip()


@click.command("list")
@click.argument("kind", type=click.Choice(list(_KINDS)))
@click.option("--address", help="host:port of one cluster; else all of this user on this machine.")
@click.option("--format", "style", type=click.Choice(["table", "json", "yaml"]), default="table")
@click.option(
    "-f", "--filter", "filters", type=_Filter(), multiple=True, help="key=value, key!=value."
)
@click.option("--limit", type=click.IntRange(1), default=100, help="The most rows (100).")
def list_command(
    kind: str,
    address: str | None,
    style: str,
    filters: tuple[tuple[str, bool, str], ...],
    limit: int,
) -> None:
    """List tasks, actors, nodes, workers, jobs or objects, of a program's own node too."""
    found: list[Row] = []
    for one in connect.addresses(address):
        with connect.connected(one), connect.answers_in_time():
            found += _KINDS[kind]()
    found = _filtered(found, filters)
    shown = found[:limit]
    click.echo(_FORMATS[style](shown))
    if len(found) > limit:
        click.echo(f"{len(found) - limit} more rows are left out (--limit {limit}).", err=True)


def _filtered(found: list[Row], filters: tuple[tuple[str, bool, str], ...]) -> list[Row]:
    for key, equal, wanted in filters:
        if found and key not in found[0]:
            raise click.UsageError(f"No column is named {key!r}; there are {', '.join(found[0])}.")
        found = [row for row in found if (str(row[key]).lower() == wanted.lower()) == equal]
    return found


def _table(found: list[Row]) -> str:
    if not found:
        return "(nothing)"
    columns = [key for key in found[0] if any(str(row[key]) != "" for row in found)]
    lines = [[key.upper() for key in columns]]
    lines += [[_cell(row[key]) for key in columns] for row in found]
    widths = [max(len(line[i]) for line in lines) for i in range(len(columns))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in lines
    )


def _cell(value: Any) -> str:
    text = str(value).partition("\n")[0]
    return text if len(text) <= 60 else text[:57] + "..."


def _json(found: list[Row]) -> str:
    return json.dumps(found, indent=2)


def _yaml(found: list[Row]) -> str:
    """A list of mappings; scalars are written as in JSON, which YAML reads."""
    if not found:
        return "[]"
    lines = []
    for row in found:
        for i, (key, value) in enumerate(row.items()):
            lines.append(f"{'  ' if i else '- '}{key}: {json.dumps(value)}")
    return "\n".join(lines)


_FORMATS: dict[str, Callable[[list[Row]], str]] = {"table": _table, "json": _json, "yaml": _yaml}
