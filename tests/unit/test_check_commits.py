"""What a commit's message must be."""

from __future__ import annotations

import subprocess
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


def test_the_nearest_start_that_is_not_the_head_counts(tmp_path: Path) -> None:
    def git(*command: str) -> str:
        identity = ["-c", "user.name=a", "-c", "user.email=a@b", "-c", "init.defaultBranch=main"]
        done = subprocess.run(
            ["git", *identity, *command], cwd=tmp_path, check=True, capture_output=True, text=True
        )
        return done.stdout.strip()

    def commit(name: str) -> str:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
        git("add", name)
        git("commit", "-m", name)
        return git("rev-parse", "HEAD")

    git("init")
    commit("first")
    assert check_commits.first_unchecked(tmp_path) == ""
    rule = commit("tools/check_commits.py")
    commit("second")
    assert check_commits.first_unchecked(tmp_path) == rule, "on main itself"
    git("tag", "v1")
    third = commit("third")
    assert check_commits.first_unchecked(tmp_path) == "v1"
    git("checkout", "-b", "branch")
    commit("fourth")
    assert check_commits.first_unchecked(tmp_path) == third
