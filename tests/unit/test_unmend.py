"""Patches that take a mend out: each fits today's code, and the track record knows it."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tools"))
import unmend

in_a_checkout = pytest.mark.skipif(
    shutil.which("git") is None or not (unmend.ROOT / ".git").exists(),
    reason="needs a checkout and git",
)


@in_a_checkout
def test_each_patch_applies() -> None:
    assert unmend.that_do_not_apply([]) == []


def test_the_track_record_names_each_patch() -> None:
    record = (unmend.ROOT / "docs" / "reliability.md").read_text()
    assert [patch.name for patch in unmend.patches([]) if f"`{patch.name}`" not in record] == []


def test_a_patch_that_does_not_say_how_it_is_found_is_refused(tmp_path: Path) -> None:
    patch = tmp_path / "some.patch"
    patch.write_text("Fault: something\n\ndiff --git a/x b/x\n")
    with pytest.raises(ValueError, match="Simulator:"):
        unmend.Patch(patch)


def test_an_unknown_patch_is_refused() -> None:
    with pytest.raises(ValueError, match="no such patch: nobody"):
        unmend.patches(["nobody"])
