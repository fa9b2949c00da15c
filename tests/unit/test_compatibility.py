"""docs/ray-compatibility.md: each row has its tests, what it says is there is there, and the rest is not."""

from __future__ import annotations

import ast
import functools
import re
from pathlib import Path
from typing import NamedTuple

import pytest

from cyray._driver import init
from cyray._spec import options as _options
from cyray.cli import main

from .names import resolves

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "ray-compatibility.md").read_text()
PACKAGE = ROOT / "python" / "cyray"
# Of the environment, and of the syntax.
NO_NAME = re.compile(r"(RAY|CYRAY|CUDA|OMP)_\w+|_\w+")


class Row(NamedTuple):
    id: str
    names: list[str]
    state: str
    tests: list[str]
    text: str


def read_rows() -> list[Row]:
    rows = []
    about_names = False
    for line in PAGE.splitlines():
        cells = [cell.strip() for cell in line.strip("|").split(" | ")]
        if line.startswith("| id "):
            about_names = cells[1] == "names"
        elif re.match(r"\| [A-E]\d", line):
            what, state, how = (*cells[1:], "")[:3]
            spans = re.findall(r"`([^`]+)`", what) if about_names else []
            tests = re.findall(r"`([\w/]+::\w+)`", how)
            rows.append(Row(cells[0], spans, state, tests, how))
    return rows


ROWS = read_rows()
NAMES = [(row.state, row.id, name) for row in ROWS for name in row.names]


@functools.cache
def functions_of(path: Path) -> set[str]:
    tree = ast.parse(path.read_text())
    return {
        node.name for node in tree.body if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))
    }


def test_every_row_of_the_contract_is_there_once():
    numbers: dict[str, list[int]] = {}
    for row in ROWS:
        group, number = re.fullmatch(r"([A-E](?:\d+\.)?)(\d+)", row.id).groups()
        numbers.setdefault(group, []).append(int(number))
    assert {group: found == list(range(1, len(found) + 1)) for group, found in numbers.items()} == (
        dict.fromkeys(numbers, True)
    )
    assert {"A": 55, "E": 35}.items() <= {g: len(n) for g, n in numbers.items()}.items()


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.id)
def test_a_row_has_a_state_and_tests_that_exist(row):
    assert row.state in ("works", "differs", "not")
    assert bool(row.tests) == (row.state != "not"), "what is there has a test, what is not has none"
    for test in row.tests:
        file, name = test.split("::")
        folder, _, file = f"tests/{file}".rpartition("/")
        assert f"test_{name}" in functions_of(ROOT / folder / f"test_{file}.py"), test


def is_option(name: str) -> bool:
    """Whether tasks, actors, methods or `init` have it, with a value that means something."""
    tables = (_options._TASK, _options._ACTOR, _options._METHOD, _options._ALIASES, init._LEGACY)
    of_init = {"address", *(init.init.__kwdefaults__ or ())}
    harmless = {
        option
        for option, allowed in _options._HARMLESS.items()
        if allowed is None or any(value is True for value in allowed)
    }
    return any(name in table for table in tables) or name in of_init | harmless


def is_there(name: str) -> bool | None:
    """None: it is no name of the package."""
    if name.endswith("="):
        return is_option(name[:-1])
    if name.startswith("cyray "):
        return name.split()[1] in main.commands
    if re.fullmatch(r"[A-Za-z_][\w.]*", name) and not NO_NAME.fullmatch(name):
        return resolves(name)
    return None


@pytest.mark.parametrize(("state", "row", "name"), NAMES)
def test_a_name_is_there_or_not_as_its_row_says(state, row, name):
    found = is_there(name)
    assert found is None or found == (state != "not")


def test_names_that_are_there_are_told_from_others():
    for name in (
        "get",
        "util.queue.Queue",
        "num_cpus=",
        "address=",
        "redis_address=",
        "cyray stop",
    ):
        assert is_there(name) is True, name
    for name in (
        "objects",
        "util.iter",
        "runtime_env=",
        "_num_objects_per_yield=",
        "cyray summary",
    ):
        assert is_there(name) is False, name
    assert is_there("RAY_ADDRESS") is is_there("async def") is None


def test_what_nothing_is_said_to_raise_is_named_nowhere_else():
    sources = "".join(
        path.read_text()
        for pattern in ("*.py", "*.pxi", "*.pyx")
        for path in PACKAGE.rglob(pattern)
        if path.name not in ("classes.py", "exceptions.py")
    )
    silent = [row for row in ROWS if row.text.startswith("nothing raises")]
    assert silent
    for row in silent:
        for name in row.names:
            assert name.rpartition(".")[2] not in sources, f"{row.id}: {name}"


def test_every_exception_has_a_row():
    from cyray import exceptions

    named = {name.partition(".")[2] for _, _, name in NAMES if name.startswith("exceptions.")}
    assert set(exceptions.__all__) - named == {"CyrayError", "TaskTimeoutError"}  # cyray's own


def test_the_flag_of_future_is_no_name_of_the_package():
    import cyray.util

    assert not hasattr(cyray.util, "annotations")
