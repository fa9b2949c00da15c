"""Claims of the pages that can be compared with the code: paths, commands, options, variables."""

from __future__ import annotations

import builtins
import inspect
import os
import re
from pathlib import Path

import pytest

from cyray import exceptions
from cyray._spec import options as _options
from cyray.cli import main

from .names import resolves

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted(
    path for path in [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("examples/*/*.md")]
)
GUIDE = (ROOT / "docs" / "guide.md").read_text()


def table_after(heading: str) -> list[str]:
    """First cells of the first table after a heading of the guide."""
    text = GUIDE[GUIDE.index(f"\n{heading}\n") :]
    rows = re.search(r"^\|---.*\n((?:\|.*\n)+)", text, re.M)
    assert rows, heading
    return [row.split(" | ")[0].strip("| ") for row in rows.group(1).splitlines()]


def names(cells: list[str]) -> set[str]:
    return {name for cell in cells for name in re.findall(r"`(\w+)`", cell)}


@pytest.mark.parametrize("page", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_paths_and_links_lead_somewhere(page: Path) -> None:
    text = re.sub(r"^```.*?^```", "", page.read_text(), flags=re.M | re.S)
    missing = []
    for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", text):
        if not (page.parent / target).exists():
            missing.append(target)
    tops = "|".join(re.escape(path.name) for path in ROOT.iterdir() if path.is_dir())
    for target in re.findall(rf"`((?:{tops})/[\w./-]+)`", text):
        if not (ROOT / target).exists() and not target.startswith(("build/", ".venv/")):
            missing.append(target)
    assert missing == []


@pytest.mark.parametrize("page", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_headings_that_are_linked_to_exist(page: Path) -> None:
    text = page.read_text()
    slugs = {
        re.sub(r"[^\w -]", "", heading.lower()).strip().replace(" ", "-").replace("--", "-")
        for heading in re.findall(r"^#+ (.+)$", text, re.M)
    }
    linked = re.findall(r"\]\(#([^)]+)\)", text)
    assert [link for link in linked if link not in slugs] == []


def dotted_names(text: str) -> set[str]:
    """What a page says is below `cyray`: `cyray.a.b`, and `from cyray.a import b, c`."""
    # Not in the names of programs, files, sockets and labels: `cyray.sock`, `.../cyray.so`, `cyray.io/...`.
    named = set(re.findall(r"(?<![\w./-])cyray\.(?!io/)([A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*)", text))
    for module, imported in re.findall(r"from cyray(?:\.([\w.]+))? import ([\w, ]+)", text):
        names = [part.strip().split(" as ")[0] for part in imported.split(",")]
        named |= {f"{module}.{name}" if module else name for name in names if name}
    return named


@pytest.mark.parametrize("page", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_names_of_the_package_exist(page: Path) -> None:
    text = page.read_text()
    others = {"Gcs"}  # the service's name in gRPC
    names = sorted(dotted_names(text) - others)
    assert [name for name in names if not resolves(name)] == []


def test_exceptions_of_the_guide_exist() -> None:
    there = vars(exceptions).keys() | vars(builtins).keys()
    assert set(re.findall(r"`([A-Z]\w*Error)`", GUIDE)) - there == set()


def test_names_that_are_not_there_are_found() -> None:
    text = "`cyray.gett(ref)`, `cyray.util.queue.Queue`, from cyray.util import ActorPool, Nothing"
    missing = {name for name in dotted_names(text) if not resolves(name)}
    assert missing == {"gett", "util.Nothing"}


def test_make_targets_of_the_pages_exist() -> None:
    targets = set(re.findall(r"^([\w -]+):", (ROOT / "Makefile").read_text(), re.M))
    known = {target for line in targets for target in line.split()}
    for page in PAGES:
        for target in re.findall(r"`make ([\w-]+)`", page.read_text()):
            assert target in known, (page.name, target)


def test_commands_and_their_options_exist() -> None:
    for page in PAGES:
        for command, rest in re.findall(
            r"cyray (start|status|stop|microbenchmark)([^`\n#]*)", page.read_text()
        ):
            options = {name for param in main.commands[command].params for name in param.opts}
            for option in re.findall(r"(?<![\w-])--[\w-]+", rest):
                assert option in options, (page.name, command, option)


def test_every_shown_option_of_the_command_line_is_in_the_guide() -> None:
    for name, command in main.commands.items():
        for param in command.params:
            if not getattr(param, "hidden", False) and name in ("start", "stop", "status"):
                assert any(option in GUIDE for option in param.opts), (name, param.name)


def test_the_guide_has_every_argument_of_init() -> None:
    worker = pytest.importorskip("cyray._driver.init")
    arguments = inspect.signature(worker.init).parameters
    assert names(table_after("## Install and start")) == set(arguments) - {"legacy"}


def test_the_guide_has_every_option_of_tasks_and_actors() -> None:
    known = {*_options._TASK, *_options._ACTOR, *_options._METHOD}
    assert names(table_after("## Options")) == known


def test_the_guide_has_every_environment_variable() -> None:
    read = set()
    for folder, ending in (("python", "*.p*"), ("cpp", "*.cc")):
        for path in (ROOT / folder).rglob(ending):
            if path.suffix in (".py", ".pyx", ".pxi", ".cc"):
                read |= set(
                    re.findall(
                        r'(?:environ(?:\.get)?[\[(]|getenv\()"(CYRAY_\w+)"', path.read_text()
                    )
                )
    internal = {
        "CYRAY_PRELOAD",
        "CYRAY_PRELOAD_PATH",
        "CYRAY_FAREWELL",
        "CYRAY_RAYLET_SOCKET",
        "CYRAY_NODE_ID",
    }
    shown = set(re.findall(r"`(CYRAY_\w+)(?:=\w+)?`", GUIDE))
    assert read - internal == shown


# Each folder in them has a line of its own; a line of any other folder is for all that is in it.
SPLIT = {"", "cpp", "cpp/cyray", "python", "python/cyray", "tests"}


def folders_with_sources() -> set[str]:
    hidden = ("build", "dist", "shared", "_bin", "__pycache__")
    found: set[str] = set()
    for folder, names, files in os.walk(ROOT):
        names[:] = [n for n in names if not n.startswith((".", *hidden)) and ".egg" not in n]
        relative = os.path.relpath(folder, ROOT)
        if relative != "." and any(not name.endswith((".so", ".pyc")) for name in files):
            found.add(relative)
    return found


def folders_of_the_table() -> set[str]:
    text = (ROOT / "docs" / "architecture.md").read_text()
    text = text[text.index("## Layers and folders") :]
    rows = re.search(r"^\|---.*\n((?:\|.*\n)+)", text, re.M)
    assert rows
    named: set[str] = set()
    for row in rows.group(1).splitlines():
        parent = ""
        for name in re.findall(r"`([\w./-]+)`", row.split(" | ")[0]):
            # `cpp/cyray/util`, `common`: beside each other.
            beside = os.path.join(parent, name)
            named.add(beside if "/" not in name and (ROOT / beside).is_dir() else name)
            parent = os.path.dirname(name) or parent
    return named


def test_each_folder_has_its_line_in_the_table_of_the_architecture() -> None:
    named = folders_of_the_table()
    missing = []
    for folder in sorted(folders_with_sources()):
        above = [str(path) for path in Path(folder).parents if str(path) != "."]
        if folder not in named and not any(a in named and a not in SPLIT for a in above):
            missing.append(folder)
    assert missing == []
    assert [folder for folder in sorted(named) if not (ROOT / folder).is_dir()] == []
