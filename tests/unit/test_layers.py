"""The rooms of the package: imports go down, nobody is in a circle, the core has one door."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tools"))
import check_layers

PACKAGE = check_layers.ROOT / "python" / "cyray"


def test_the_package_keeps_its_order() -> None:
    assert check_layers.breaches(PACKAGE) == []


@pytest.fixture
def package(tmp_path: Path) -> Path:
    """A package in good order; tests put something wrong into it."""
    files = {
        "__init__.py": "from cyray._raylet import get\n",
        "_hooks.py": 'TABLE = {"describe": "cyray._api.task:describe"}\n',
        "_raylet.pyx": 'include "includes/core.pxi"\n',
        "includes/core.pxi": 'from cyray import _hooks\nhook("describe")\n',
        "_node/__init__.py": "",
        "_node/local.py": "from cyray import _raylet\n",
        "_node/end.py": "",
        "_driver/__init__.py": "",
        "_driver/session.py": "from cyray._node import local\n",
        "_worker/__init__.py": "",
        "_worker/main.py": "",
        "_api/__init__.py": "",
        "_api/task.py": "def describe():\n    from cyray._driver import session\n",
    }
    root = tmp_path / "cyray"
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    assert check_layers.breaches(root) == []
    return root


@pytest.mark.parametrize(
    "name, text, told",
    [
        ("_node/end.py", "from cyray._driver import session\n", "'_node' may not import"),
        ("_node/end.py", "def f():\n    import cyray._driver.session\n", "'_node' may not import"),
        ("_node/end.py", "from .. import _driver\n", "'_node' may not import cyray._driver"),
        ("_node/end.py", "from cyray import get\n", "'_node' may not import cyray"),
        ("_worker/main.py", "from cyray._driver import session\n", "'_worker' may not import"),
        (
            "_hooks.py",
            'from cyray import _node\nTABLE = {"describe": "cyray._api.task:describe"}\n',
            "'_hooks' may not import",
        ),
        ("includes/core.pxi", 'hook("describe")\nfrom cyray import _api\n', "its only door is"),
        ("includes/core.pxi", 'hook("describe")\n    import cyray._node\n', "its only door"),
        ("includes/core.pxi", 'hook("describe"); hook("other")\n', "hook('other') is not in"),
        (
            "includes/core.pxi",
            'hook("describe")\nfrom cyray import (  # several\n    _hooks,\n    _api,\n)\n',
            "cyray._raylet:2: the core imports cyray._api",
        ),
        (
            "includes/core.pxi",
            'hook("describe")\nfrom cyray._node import \\\n    end\n',
            "cyray._raylet:2: the core imports cyray._node.end",
        ),
        (
            "includes/core.pxi",
            'hook("describe"); import os, cyray._node.end\n',
            "imports cyray._node",
        ),
        ("includes/core.pxi", "", "nothing asks for 'describe'"),
        ("_node/end.py", 'import_module("cyray._api.task")\n', "'_node' may not import cyray._api"),
        ("_node/end.py", "if not TYPE_CHECKING:\n    import cyray._api\n", "'_node' may not"),
        ("_api/task.py", "", "which is not there"),
        ("_new/__init__.py", "", "the room '_new' is not in the list"),
    ],
)
def test_what_breaks_the_order_is_told(package: Path, name: str, text: str, told: str) -> None:
    (package / name).parent.mkdir(exist_ok=True)
    (package / name).write_text(text)
    found = check_layers.breaches(package)
    assert len(found) == 1
    assert told in found[0]


LAZY = """
if TYPE_CHECKING:
    from cyray.{typed} import describe
_LAZY = {{"describe": "cyray.{lazy}"}}
"""


@pytest.mark.parametrize(
    "name, typed, lazy, told",
    [
        ("__init__.py", "_api.task", "_api.task", None),
        ("_node/end.py", "_api.task", "_api.task", "'_node' may not import cyray._api.task"),
        (
            "__init__.py",
            "_api.task",
            "_driver.session",
            "leads to cyray._driver.session, which has",
        ),
        ("__init__.py", "_driver.session", "_api.task", "not told that 'describe' is of"),
    ],
)
def test_names_that_are_imported_late_count(
    package: Path, name: str, typed: str, lazy: str, told: str | None
) -> None:
    (package / name).write_text(LAZY.format(typed=typed, lazy=lazy))
    found = check_layers.breaches(package)
    assert len(found) == (told is not None)
    assert told is None or told in found[0]


def test_a_circle_inside_a_room_is_told(package: Path) -> None:
    (package / "_node/end.py").write_text("from cyray._node import local\n")
    (package / "_node/local.py").write_text("def f():\n    from cyray._node.end import g\n")
    assert check_layers.breaches(package) == ["a circle: cyray._node.end, cyray._node.local"]


def test_imports_for_type_checkers_do_not_count(package: Path) -> None:
    (package / "_node/end.py").write_text(
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from cyray import _api\n"
    )
    assert check_layers.breaches(package) == []


def test_cimports_are_no_imports(package: Path) -> None:
    part = package / "includes/core.pxi"
    part.write_text(part.read_text() + "from cyray.includes.libcore cimport *\n")
    assert check_layers.breaches(package) == []
