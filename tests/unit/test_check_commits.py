"""What a commit's message must be."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tools"))
import check_commits


@pytest.mark.parametrize(
    "message",
    [
        "Say what is done\n\nAnd why.\n",
        "x" * 72 + "\n\nWhy.\n# a comment of git's\n",
        "Merge branch 'other'\n",
    ],
)
def test_a_subject_and_a_reason_are_enough(message: str) -> None:
    assert check_commits.faults(message) == []


@pytest.mark.parametrize(
    "message, fault",
    [
        ("x" * 73 + "\n\nWhy.\n", "73 characters"),
        ("Say what is done\n", "no body"),
        ("Say what is done\n\n\n# a comment\n", "no body"),
        ("Say what is done\nAnd why.\n\nMore.\n", "no empty line"),
        ("\n# nothing\n", "empty"),
    ],
)
def test_what_is_wrong_is_told(message: str, fault: str) -> None:
    (found,) = check_commits.faults(message)
    assert fault in found
