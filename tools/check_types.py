"""What mypy and pyright say of the programs in tests/typing/golden, compared with their comments.

Usage: `python tools/check_types.py [PROGRAM...]`. Comments of a line:

    reveal_type(x)  # is: int               both show this type, without the names of modules
    reveal_type(x)  # mypy is: T1 # pyright is: T2
    f.remote("a")   # mypy: text # pyright: text      each reports an error that has this text

Prints each line where a checker says something else, or nothing, and exits with 1 when there is any. pyright
is run as basedpyright, the build of it that needs no network, with pyright's own defaults.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections import defaultdict
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
GOLDEN = ROOT / "tests" / "typing" / "golden"
CHECKERS = ("mypy", "pyright")

Said = dict[tuple[str, int], list[str]]  # (file, line): texts

_COMMENT = re.compile(r"#\s*((?:mypy |pyright )?is|mypy|pyright): (.*?)(?=\s#|$)")


def expected(path: Path, checker: str) -> tuple[dict[int, str], dict[int, str]]:
    """The types and the errors that the comments of a program have for a checker, by line."""
    types: dict[int, str] = {}
    errors: dict[int, str] = {}
    for number, line in enumerate(path.read_text().splitlines(), 1):
        for kind, text in _COMMENT.findall(line):
            if kind == "is":
                types.setdefault(number, text)
            elif kind == f"{checker} is":
                types[number] = text
            elif kind == checker:
                errors[number] = text
    return types, errors


def ask_mypy(paths: list[Path]) -> tuple[Said, Said]:
    """Types and errors, by file and line."""
    command = [
        sys.executable,
        "-m",
        "mypy",
        "--no-error-summary",
        "--hide-error-context",
        "--no-pretty",
    ]
    done = subprocess.run(
        [*command, "--python-version=3.10", "--config-file=", *map(str, paths)],
        cwd=ROOT / "python",
        capture_output=True,
        text=True,
    )
    types: Said = defaultdict(list)
    errors: Said = defaultdict(list)
    for line in done.stdout.splitlines():
        found = re.match(r"(.+?):(\d+): (note|error): (.*)", line)
        if not found:
            continue
        key = Path(found[1]).name, int(found[2])
        shown = re.match(r'Revealed type is "(.*)"', found[4])
        if shown:
            types[key].append(plain(shown[1]))
        elif found[3] == "error":
            errors[key].append(plain(found[4]))
    if done.stderr:
        sys.exit(f"mypy: {done.stderr}")
    return types, errors


def ask_pyright(paths: list[Path]) -> tuple[Said, Said]:
    """Types and errors, by file and line."""
    project = GOLDEN / "pyrightconfig.json"
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "basedpyright",
            "--outputjson",
            "-p",
            str(project),
            *map(str, paths),
        ],
        cwd=ROOT / "python",
        capture_output=True,
        text=True,
    )
    if not done.stdout.lstrip().startswith("{"):
        sys.exit(f"pyright: {done.stdout}{done.stderr}")
    types: Said = defaultdict(list)
    errors: Said = defaultdict(list)
    for item in json.loads(done.stdout)["generalDiagnostics"]:
        key = Path(item["file"]).name, item["range"]["start"]["line"] + 1
        shown = re.match(r'Type of ".*" is "(.*)"$', item["message"], re.S)
        if shown:
            types[key].append(plain(shown[1]))
        elif item["severity"] == "error":
            errors[key].append(" ".join(item["message"].split()))
    return types, errors


def plain(text: str) -> str:
    """Without the names of modules before those of classes."""
    return re.sub(r"\b(?:\w+\.)+(?=\w)", "", text)


def differences(path: Path, checker: str, types: Said, errors: Said) -> list[str]:
    """Lines of a program of which the checker says something else than the comments."""
    wanted_types, wanted_errors = expected(path, checker)
    count = len(path.read_text().splitlines())
    found = []
    for line in range(1, count + 1):
        where = f"{path.relative_to(ROOT)}:{line}: {checker}"
        said = types.get((path.name, line), [])
        wanted = [wanted_types[line]] if line in wanted_types else []
        if said != wanted:
            found.append(f"{where} shows {said}, not {wanted}")
        said = errors.get((path.name, line), [])
        text = wanted_errors.get(line)
        if text is None and said:
            found.append(f"{where} reports {said}")
        elif text is not None and not any(text in one for one in said):
            found.append(f"{where} reports {said or 'nothing'}, not {text!r}")
    return found


def main() -> int:
    paths = [Path(name).resolve() for name in sys.argv[1:]] or sorted(GOLDEN.glob("*.py"))
    asked = {"mypy": ask_mypy(paths), "pyright": ask_pyright(paths)}
    found = [
        text
        for path in paths
        for checker in CHECKERS
        for text in differences(path, checker, *asked[checker])
    ]
    for text in found:
        print(text)
    print(f"types of {len(paths)} programs under mypy and pyright: {len(found)} differences")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
