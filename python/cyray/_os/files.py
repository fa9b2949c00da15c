"""Small files, read and written whole, as a program that may be interrupted should.

Place: the ground; imports nothing of cyray. Threading: none.
"""

from __future__ import annotations

import errno
import os
import stat
import sys
from collections.abc import Iterator

_MOST_LINKS = 40  # on one way, as the kernel has it
PACKAGE_DIR = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))


def read_text(path: str) -> str:
    """The file's text, or an empty string when it cannot be read."""
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read()
    except OSError:
        return ""


def write_new(path: str, text: str) -> None:
    """Writes a file that was not there, of this user's alone (0600).

    Raises OSError, which names the file; it is not there then.
    """
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
    try:
        with open(os.open(path, flags, 0o600), "wb") as file:
            file.write(text.encode())
    except OSError as error:
        if not isinstance(error, FileExistsError):
            unlink(path)
        raise OSError(error.errno, error.strerror, path) from None


def write_atomically(path: str, text: str) -> None:
    """Writes a file of this user's alone (0600). Whoever reads it sees all of the text or what was there."""
    # A new file whatever is there: in a shared folder the name may be somebody's file, or a link.
    temporary = f"{path}.{os.urandom(8).hex()}"
    try:
        write_new(temporary, text)
    except OSError as error:
        raise OSError(error.errno, error.strerror, path) from None
    os.replace(temporary, path)


def working_folder() -> str:
    """Where this process is; an empty string when that folder was removed."""
    try:
        return os.getcwd()
    except OSError:
        return ""


def import_path() -> list[str]:
    """`sys.path` with absolute folders, for another process; what is relative to a folder that was
    removed leads nowhere, and is left out."""
    here = working_folder()
    return [os.path.abspath(path or here) for path in sys.path if here or os.path.isabs(path)]


def way_to(path: str) -> Iterator[tuple[str, os.stat_result]]:
    """Each folder and link on the way from / to a folder, itself the last, before anything below it is
    looked at. Links are followed; what is not there is made (0700).

    Raises OSError where something can be neither entered nor made.
    """
    here, links = "/", 0
    ahead = path.split("/")[::-1]
    yield here, os.lstat(here)
    while ahead:
        name = ahead.pop()
        if name in ("", "."):
            continue
        if name == "..":
            here = os.path.dirname(here)
            continue
        place = os.path.join(here, name)
        found = _lstat_or_make(place)
        yield place, found
        if stat.S_ISLNK(found.st_mode):
            links += 1
            if links > _MOST_LINKS:
                raise OSError(errno.ELOOP, os.strerror(errno.ELOOP))
            target = os.readlink(place)
            here = "/" if target.startswith("/") else here
            ahead += target.split("/")[::-1]
        elif stat.S_ISDIR(found.st_mode):
            here = place
        else:
            raise OSError(errno.ENOTDIR, os.strerror(errno.ENOTDIR))


def _lstat_or_make(place: str) -> os.stat_result:
    try:
        return os.lstat(place)
    except FileNotFoundError:
        pass
    try:
        os.mkdir(place, 0o700)
    except FileExistsError:
        pass  # somebody was quicker
    return os.lstat(place)


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
