"""Commit messages: a subject of at most 72 characters, an empty line, a body that says why.

Usage: `python tools/check_commits.py [FILE]`. With a file (git's commit-msg hook) its message is checked;
without one, those since the last tag, since the rule came or, on a branch, since it left main, whichever
is nearest. Merges are let through.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
MAX_SUBJECT = 72


def faults(message: str) -> list[str]:
    """What is wrong with a message; git's own comments do not count."""
    message = message.partition("# ------------------------ >8 ------------------------")[0]
    lines = [line for line in message.splitlines() if not line.startswith("#")]
    while lines and not lines[-1].strip():
        lines.pop()
    if not lines:
        return ["it is empty"]
    if lines[0].startswith(("Merge ", "Revert ", "fixup! ", "squash! ")):
        return []
    found = []
    if len(lines[0]) > MAX_SUBJECT:
        found.append(f"its subject has {len(lines[0])} characters, more than {MAX_SUBJECT}")
    if len(lines) > 1 and lines[1].strip():
        found.append("no empty line follows its subject")
    if not any(line.strip() for line in lines[2:]):
        found.append("it has no body that says why")
    return found


def git(*command: str, root: Path = ROOT) -> str:
    done = subprocess.run(["git", *command], cwd=root, capture_output=True, text=True, check=False)
    return done.stdout.strip() if done.returncode == 0 else ""


def first_unchecked(root: Path = ROOT) -> str:
    """The commit behind which those to check begin; "" when the clone is too shallow to tell."""
    head = git("rev-parse", "HEAD", root=root)
    came = git("log", "--diff-filter=A", "--format=%H", "--", "tools/check_commits.py", root=root)
    starts = [git("describe", "--tags", "--abbrev=0", root=root), *came.splitlines()[-1:]]
    starts += [git("merge-base", "HEAD", name, root=root) for name in ("main", "origin/main")]
    counted = [
        (int(git("rev-list", "--count", f"{start}..HEAD", root=root)), start)
        for start in starts
        if start and start != head
    ]
    return min(counted)[1] if counted else ""


def main() -> int:
    if len(sys.argv) > 1:
        messages = {"the message": Path(sys.argv[1]).read_text()}
    else:
        start = first_unchecked()
        if not start:
            print("no tag, branch point or first commit of this rule to check from")
            return 1
        hashes = git("rev-list", f"{start}..HEAD").split()
        messages = {name[:9]: git("log", "-1", "--format=%B", name) for name in hashes}
    failed = 0
    for name, message in messages.items():
        for fault in faults(message):
            failed += 1
            print(f"{name}: {fault}")
    print(f"{len(messages)} commits, {failed} faults")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
