"""Takes one mend at a time out of the engine, and looks whether the simulator finds the fault again.

Usage: `python tools/unmend.py [--check] [--python EXE] [NAME ...]`. Each `cpp_tests/sim/unmend/NAME.patch`
takes one mend out of today's code. Its head says what the fault is, and in a line `Simulator:` with which
arguments the simulator is to find it. A patch is applied in a copy of the tree (`build/unmend/tree`), where
only the simulator is built. Exits with 1 when a fault is not found.
`--check` only asks whether each patch still applies: who changes mended code brings its patch up to date.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PATCHES = ROOT / "cpp_tests" / "sim" / "unmend"
PLACE = ROOT / "build" / "unmend"
TREE = PLACE / "tree"
# Where a checkout has it, so that a compiler cache with a base directory knows what is built there.
BUILD = TREE / "build" / "dev"
COPIED = (
    "CMakeLists.txt",
    "cmake",
    "cpp",
    "cpp_tests",
    "python/cyray/_raylet.pyx",
    "python/cyray/includes",
)
FAULT = re.compile(r"^Fault: (.+)$", re.MULTILINE)
ARGUMENTS = re.compile(r"^Simulator: (.+)$", re.MULTILINE)
FAILED = re.compile(r"^seed (\d+) FAILED: \S+ \S+ (.*)$", re.MULTILINE)


class Patch:
    def __init__(self, path: Path) -> None:
        self.path = path
        self.name = path.stem
        text = path.read_text()
        fault, arguments = FAULT.search(text), ARGUMENTS.search(text)
        if fault is None or arguments is None:
            raise ValueError(f"{path}: needs the lines `Fault:` and `Simulator:` at its head")
        self.fault = fault[1]
        self.arguments = arguments[1].split()


def patches(names: list[str]) -> list[Patch]:
    found = [Patch(path) for path in sorted(PATCHES.glob("*.patch"))]
    unknown = set(names) - {patch.name for patch in found}
    if unknown:
        raise ValueError(f"no such patch: {', '.join(sorted(unknown))}")
    return [patch for patch in found if not names or patch.name in names]


def apply(patch: Patch, tree: Path, *options: str) -> subprocess.CompletedProcess[str]:
    # A tree below a repository would be taken for a part of it.
    environment = os.environ | {"GIT_CEILING_DIRECTORIES": str(tree.parent)}
    return subprocess.run(
        ["git", "apply", *options, str(patch.path)],
        cwd=tree,
        env=environment,
        capture_output=True,
        text=True,
    )


def that_do_not_apply(names: list[str]) -> list[str]:
    """A line for each patch that does not fit the tree any more."""
    problems = []
    for patch in patches(names):
        done = apply(patch, ROOT, "--check")
        if done.returncode != 0:
            problems.append(f"{patch.path.relative_to(ROOT)}: {done.stderr.strip()}")
    return problems


def copy_tree() -> None:
    """Brings the copy up to date; files that are the same keep their times, so that little is built."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", *COPIED],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    ).stdout.splitlines()
    wanted = {name for name in listed if (ROOT / name).is_file()}
    for path in TREE.rglob("*"):
        is_built = path.is_relative_to(TREE / "build")
        if path.is_file() and not is_built and str(path.relative_to(TREE)) not in wanted:
            path.unlink()
    for name in wanted:
        content, to = (ROOT / name).read_bytes(), TREE / name
        if not to.is_file() or to.read_bytes() != content:
            to.parent.mkdir(parents=True, exist_ok=True)
            to.write_bytes(content)


def build(python: str) -> None:
    if not (BUILD / "build.ninja").is_file():
        options = [
            "-DCYRAY_BUILD_TESTS=ON",
            "-DCYRAY_BUILD_EXTENSION=OFF",
            f"-DPython_EXECUTABLE={python}",
        ]
        if subprocess.run(["which", "ccache"], capture_output=True).returncode == 0:
            options.append("-DCMAKE_CXX_COMPILER_LAUNCHER=ccache")
        run(["cmake", "-S", str(TREE), "-B", str(BUILD), "-G", "Ninja", *options])
    run(["ninja", "-C", str(BUILD), "cluster_simulator"])


def run(command: list[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(command)}\n{done.stdout}{done.stderr}")


def look_for(patch: Patch) -> str | None:
    """What the simulator says of the first seed that fails; None: none did."""
    simulator = BUILD / "cpp_tests" / "cluster_simulator"
    done = subprocess.run(
        [str(simulator), *patch.arguments, "--first"],
        capture_output=True,
        text=True,
        errors="replace",
    )
    failed = FAILED.search(done.stdout)
    return f"seed {failed[1]}: {failed[2][:200]}" if failed else None


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument(
        "--check", action="store_true", help="only whether each patch still applies"
    )
    parser.add_argument("--python", default=sys.executable, help="for CMake")
    parser.add_argument("names", nargs="*", metavar="NAME")
    options = parser.parse_args()
    if options.check:
        problems = that_do_not_apply(options.names)
        print("\n".join(problems) or "each patch applies")
        return 1 if problems else 0
    TREE.mkdir(parents=True, exist_ok=True)
    missed = 0
    for patch in patches(options.names):
        copy_tree()
        applied = apply(patch, TREE)
        if applied.returncode != 0:
            raise RuntimeError(f"{patch.name}: {applied.stderr}")
        build(options.python)
        said = look_for(patch)
        missed += said is None
        print(f"{patch.name}: {said or 'NOT FOUND'}", flush=True)
    copy_tree()
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
