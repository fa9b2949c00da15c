"""Small files, read and written whole, as a program that may be interrupted should.

Place: the ground; imports nothing of cyray. Threading: none.
"""

from __future__ import annotations

import os

PACKAGE_DIR = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))


def read_text(path: str) -> str:
    """The file's text, or an empty string when it cannot be read."""
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read()
    except OSError:
        return ""


def write_atomically(path: str, text: str) -> None:
    """Writes a file of this user's alone (0600). Whoever reads it sees all of the text or what was there."""
    # A new file whatever is there: in a shared folder the name may be somebody's file, or a link.
    temporary = f"{path}.{os.urandom(8).hex()}"
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
    with open(os.open(temporary, flags, 0o600), "w") as file:
        file.write(text)
    os.replace(temporary, path)


def link_atomically(target: str, path: str) -> None:
    """Makes `path` a link to `target`, in place of the one that is there."""
    temporary = f"{path}.{os.urandom(8).hex()}"
    os.symlink(target, temporary)
    os.replace(temporary, path)


def unlink(path: str) -> None:
    """Removes a file that may be gone already."""
    try:
        os.unlink(path)
    except FileNotFoundError:
        pass
