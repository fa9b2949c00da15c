"""tools/check_types.py: what the comments of a program say, and what counts as a difference."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tools"))
import check_types

PROGRAM = """\
reveal_type(x)  # is: int
reveal_type(y)  # mypy is: Never # pyright is: Unknown
call("a")  # mypy: incompatible type # pyright: cannot be assigned
plain()
"""


@pytest.fixture
def program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(check_types, "ROOT", tmp_path)
    path = tmp_path / "program.py"
    path.write_text(PROGRAM)
    return path


def found(program, types, errors, checker="mypy"):
    def by_key(said):
        return {("program.py", line): texts for line, texts in said.items()}

    return check_types.differences(program, checker, by_key(types), by_key(errors))


def test_comments_are_of_both_checkers_or_of_one(program):
    assert check_types.expected(program, "mypy") == (
        {1: "int", 2: "Never"},
        {3: "incompatible type"},
    )
    assert check_types.expected(program, "pyright") == (
        {1: "int", 2: "Unknown"},
        {3: "cannot be assigned"},
    )


def test_what_is_as_expected_is_no_difference(program):
    types = {1: ["int"], 2: ["Never"]}
    assert found(program, types, {3: ["Argument 1 has incompatible type str"]}) == []


@pytest.mark.parametrize(
    ("types", "errors", "text"),
    [
        (
            {1: ["str"], 2: ["Never"]},
            {3: ["incompatible type"]},
            "1: mypy shows ['str'], not ['int']",
        ),
        ({1: ["int"]}, {3: ["incompatible type"]}, "2: mypy shows [], not ['Never']"),
        ({1: ["int"], 2: ["Never"]}, {}, "3: mypy reports nothing, not 'incompatible type'"),
        ({1: ["int"], 2: ["Never"]}, {3: ["other"]}, "3: mypy reports ['other'], not"),
        (
            {1: ["int"], 2: ["Never"]},
            {3: ["incompatible type"], 4: ["what"]},
            "4: mypy reports ['what']",
        ),
    ],
)
def test_each_other_thing_that_is_said_is_one(program, types, errors, text):
    (difference,) = found(program, types, errors)
    assert difference.startswith(f"program.py:{text}")


def test_names_of_modules_are_left_out():
    assert check_types.plain("cyray._raylet.ObjectRef[builtins.int]") == "ObjectRef[int]"
