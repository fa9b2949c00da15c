"""`pip install .` into a fresh environment: what is in the package there, and that it works.

Slow, because it builds everything (again only what changed, in build/wheel-*), and in need of a
package index for the build requirements. The environment borrows only the tests' own libraries.
"""

from __future__ import annotations

import os
import subprocess
import sysconfig
import venv
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., str]:
    """Runs the Python of an environment into which the tree was installed."""
    folder = tmp_path_factory.mktemp("env")
    venv.create(folder, with_pip=True)
    python = str(folder / "bin" / "python")

    def run(*arguments: str, at: Path = folder) -> str:
        done = subprocess.run(
            [python, *arguments], cwd=at, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    run("-m", "pip", "install", "-q", "--disable-pip-version-check", str(ROOT))
    # Behind the environment's own packages; the .pth files in it, the tree's among them, do not count.
    site = run("-c", "import sysconfig; print(sysconfig.get_path('purelib'))").strip()
    Path(site, "libraries_of_the_tests.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return run


def test_the_installed_package_is_the_one_that_is_found(installed: Callable[..., str]) -> None:
    where = installed("-c", "import cyray; print(cyray.__file__)").strip()
    assert Path(where).is_relative_to(
        Path(installed("-c", "import sys; print(sys.prefix)").strip())
    )
    assert not Path(where).is_relative_to(ROOT)


def test_what_is_said_of_built_files_is_true_of_the_installed_ones(
    installed: Callable[..., str],
) -> None:
    installed(
        "-m", "pytest", "-q", "-p", "no:cacheprovider", str(ROOT / "tests" / "test_packaging.py")
    )  # fmt: skip


def test_programs_and_the_command_work(installed: Callable[..., str], tmp_path: Path) -> None:
    assert "[1, 2, 3, 4, 5]" in installed(str(ROOT / "examples" / "first.py"), at=tmp_path)
    scripts = installed("-c", "import sysconfig; print(sysconfig.get_path('scripts'))").strip()
    command = [os.path.join(scripts, "cyray"), "--version"]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=tmp_path)
    assert "cyray" in done.stdout
