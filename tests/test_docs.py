"""What README and guide show: every Python block runs as it stands, in the order of the page."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
BLOCK = re.compile(r"^```python\n(.*?)^```", re.M | re.S)

# The examples that the pages import must be built; scripts/examples.sh does that once.
import examples_path  # noqa: E402, F401


@pytest.mark.parametrize("page", ["README.md", "docs/guide.md"])
def test_python_blocks_run_as_they_stand(page: str, tmp_path: Path) -> None:
    blocks = BLOCK.findall((ROOT / page).read_text())
    assert blocks
    program = tmp_path / "page.py"
    program.write_text("\n".join(blocks))
    done = subprocess.run(
        [sys.executable, str(program)], cwd=tmp_path, capture_output=True, text=True, timeout=50
    )
    assert done.returncode == 0, done.stderr
