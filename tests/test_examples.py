"""The example programs run as their pages say, and what they once found in the engine stays fixed."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from types import ModuleType

import examples_path  # noqa: F401 - builds what the examples need

EXAMPLES = Path(__file__).resolve().parent.parent / "examples"


def run(folder: str, *command: str) -> str:
    done = subprocess.run(
        [sys.executable, *command],
        cwd=EXAMPLES / folder,
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_first_script() -> None:
    assert "[1, 2, 3, 4, 5]" in run(".", "first.py")


def test_cython_help_names_every_example() -> None:
    text = run("cython", "cython_main.py", "--help")
    assert all(f"example{n}" in text for n in range(1, 9))


def test_cython_examples_one_to_eight() -> None:
    text = run("cython", "cython_main.py", "all")
    assert all(f"example{n}:" in text for n in range(1, 9))
    assert "fib_through_cdef(20): 6765" in text
    assert "gram_matrix_into, trace" in text


def test_every_pyx_opens_with_the_two_lines_of_the_page() -> None:
    for path in (EXAMPLES / "cython" / "cython_examples").glob("*.pyx"):
        first, second = path.read_text().splitlines()[:2]
        assert first == "#!python"
        assert second.startswith("# cython: embedsignature=True, binding=True")


def test_pybind_example() -> None:
    assert "moving average: [0.0, 0.5, 1.0, 2.0, 3.0, 4.0]" in run("pybind11", "pybind_main.py")


def test_actors_in_workers_that_ran_tasks_on_threads_are_still_sequential(
    cyray_start: ModuleType,
) -> None:
    import threading

    def name_of_thread() -> str:
        return threading.current_thread().name

    class Where:
        def run(self) -> str:
            return threading.current_thread().name

    shared = cyray_start.remote(name_of_thread, max_concurrency=3)
    cyray_start.get([shared.remote() for _ in range(20)])
    for _ in range(4):
        actor = cyray_start.remote(Where).remote()
        names = cyray_start.get([actor.run.remote() for _ in range(50)], timeout=10)
        assert set(names) == {"MainThread"}
