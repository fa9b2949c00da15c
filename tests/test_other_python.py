"""Drivers of another environment than the node's: their workers run the Python that they run."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
import textwrap

import pytest
from support import command

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))


@pytest.fixture
def address():
    """Address of a cluster that this Python started."""
    text = command("start", "--head", "--port=0", "--num-cpus=2", "--preload=colorsys")
    yield text.split("--address='")[1].split("'")[0]
    command("stop")


@pytest.fixture
def environment(tmp_path):
    """A virtual environment with a module that only it has; cyray and what it needs are found."""
    folder = tmp_path / "venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True)
    (site,) = folder.glob("lib/python*/site-packages")
    paths = [os.path.join(ROOT, "python"), sysconfig.get_path("purelib")]
    (site / "found.pth").write_text("\n".join(paths))
    (site / "only_here.py").write_text("def value():\n    return 42\n")
    return folder


def run(python: str, folder, source: str, *args: str) -> str:
    path = folder / "driver.py"
    path.write_text(textwrap.dedent(source))
    done = subprocess.run(
        [python, str(path), *args], capture_output=True, text=True, timeout=50, cwd=folder
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


WHERE = """
    import sys
    import cyray

    cyray.init(address=sys.argv[1], namespace="shared")

    @cyray.remote
    def where():
        return sys.prefix

    @cyray.remote
    class Actor:
        def where(self):
            return sys.prefix

    @cyray.remote
    def outer():
        return cyray.get(where.remote())

    actor = Actor.remote()
    places = cyray.get([where.remote(), outer.remote(), actor.where.remote()])
    print(*sorted(set(places)))
"""


def test_workers_of_another_environment_are_of_that_one(address, environment, tmp_path):
    out = run(str(environment / "bin" / "python"), tmp_path, WHERE, address)
    assert out == f"{environment}\n"
    # Drivers of the node's own Python get forks of its zygote, as ever.
    assert run(sys.executable, tmp_path, WHERE, address) == f"{sys.prefix}\n"


def test_modules_that_only_the_driver_has_are_found_by_its_workers(address, environment, tmp_path):
    source = """
        import sys
        import cyray
        import only_here

        cyray.init(address=sys.argv[1])
        print(cyray.get(cyray.remote(only_here.value).remote()))
    """
    assert run(str(environment / "bin" / "python"), tmp_path, source, address) == "42\n"


def test_a_python_that_cannot_run_workers_is_an_error_that_says_so(address, tmp_path):
    program = tmp_path / "python"
    program.write_text("#!/bin/sh\necho no such luck >&2; exit 3\n")
    program.chmod(0o755)
    source = """
        import sys
        import cyray

        sys.executable = sys.argv[2]
        cyray.init(address=sys.argv[1])
        try:
            cyray.get(cyray.remote(len).remote([]))
        except cyray.exceptions.RayError as error:
            print(type(error).__name__, error)
    """
    out = run(sys.executable, tmp_path, source, address, str(program))
    assert out.startswith("TaskUnschedulableError")
    for part in (str(program), "exit code 3", "no such luck"):
        assert part in out
    assert run(sys.executable, tmp_path, WHERE, address) == f"{sys.prefix}\n"
