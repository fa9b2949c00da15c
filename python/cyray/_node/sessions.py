"""Session folders: where they are, who lives in them, and when they are removed.

    <base>/session_<date>_<time>_<micros>_<pid>/   0700
        token                 0600, the cluster token (64 hex digits)
        raylet.json           one per node of the session: pid, socket, address; 0600
        sockets/  logs/
    <base>/session_latest     link to the newest
    <base>/cyray_current_cluster   address of the cluster that `cyray start` started here

Place: below `local`, `addresses` and `cli`. Threading: none; everything is in the file system.
Invariant: a folder is removed only when no process of it lives and 20 newer ones exist.
"""

from __future__ import annotations

import json
import os
import stat
import sys
import time
from typing import Any

from cyray._os import proc
from cyray._os.files import (
    PACKAGE_DIR,
    link_atomically,
    read_text,
    unlink,
    way_to,
    write_atomically,
    write_new,
)

KEPT_SESSIONS = 20
_PREFIX = "session_"
_MAX_SOCKET_PATH = 107
_CURRENT_CLUSTER = "cyray_current_cluster"
_LATEST = "session_latest"


def base_dir() -> str:
    """The folder of all sessions of this user, made when it is not there.

    `/tmp/cyray`, or `/tmp/cyray-<uid>` where that one is somebody else's; `CYRAY_TMPDIR` moves it.
    RuntimeError when others could exchange the folder that `CYRAY_TMPDIR` names, or what is in it.
    """
    path = os.environ.get("CYRAY_TMPDIR")
    if path:
        path = _absolute(path)
        _check_named(path)
        return path
    for path in ("/tmp/cyray", f"/tmp/cyray-{os.getuid()}"):
        try:
            os.mkdir(path, 0o700)
        except FileExistsError:
            pass
        except OSError as error:
            raise RuntimeError(
                f"The folder {path} of the sessions cannot be made ({error.strerror}); set "
                "CYRAY_TMPDIR to a folder that you may write to."
            ) from None
        if _is_ours(path):
            if stat.S_IMODE(os.lstat(path).st_mode) & 0o022:  # Others could swap what is in it.
                os.chmod(path, 0o700)
            return path
    raise RuntimeError("/tmp/cyray and its replacement belong to other users; set CYRAY_TMPDIR.")


def _absolute(path: str) -> str:
    try:
        path = os.path.abspath(path)
        path.encode()
    except FileNotFoundError:
        raise RuntimeError(
            f"CYRAY_TMPDIR names {path!r}, and the folder that this is relative to was removed; set it "
            "to an absolute path."
        ) from None
    except UnicodeEncodeError:
        raise RuntimeError(
            f"CYRAY_TMPDIR names {os.fsencode(path)!r}, which is not UTF-8; set it to a folder whose "
            "name is."
        ) from None
    return path


def _check_named(path: str) -> None:
    """That nobody else can exchange the folder that CYRAY_TMPDIR names, nor what this user makes in it.

    It and all folders and links on the way to it are ours, or root's; where others may write, it is
    sticky as /tmp is, and the names that all sessions share there are ours. It is made when it is not
    there, in folders that were checked.
    """
    shared = False
    try:
        for place, found in way_to(path):
            if not stat.S_ISLNK(found.st_mode):
                shared = bool(found.st_mode & 0o022)
            _check_on_the_way(path, place, found)
    except OSError as error:
        raise RuntimeError(
            f"CYRAY_TMPDIR names {path!r}, which cannot be made ({error.strerror}); set it to a folder "
            "that you may write to."
        ) from None
    if not shared:
        return
    for name in (_LATEST, _CURRENT_CLUSTER):
        try:
            owner = os.lstat(os.path.join(path, name)).st_uid
        except OSError:
            continue
        if owner != os.getuid():
            raise RuntimeError(
                f"CYRAY_TMPDIR names {path!r}, where {name!r} belongs to user {owner}: it is left "
                "alone, and you would be led where that user wants. Set CYRAY_TMPDIR to a folder of "
                "your own."
            )


def _check_on_the_way(path: str, place: str, found: os.stat_result) -> None:
    mode = stat.S_IMODE(found.st_mode)
    what = f"CYRAY_TMPDIR names {path!r}"
    if place != path:
        what += f", and {place!r} is on the way to it"
    who = f"{what}, which belongs to user {found.st_uid} (mode {mode:04o})"
    if found.st_uid not in (os.getuid(), 0):
        raise RuntimeError(
            f"{who} and not to you, user {os.getuid()}: its owner could exchange what you put there. "
            "Set it to a folder of your own."
        )
    if stat.S_ISDIR(found.st_mode) and mode & 0o022 and not mode & stat.S_ISVTX:
        raise RuntimeError(
            f"{who}: others may exchange what you put there. `chmod go-w {place}`, or set it to a folder "
            "that only you may write to."
        )


def _is_ours(path: str) -> bool:
    """Whether it is a folder of this user: what somebody else wrote must not be believed."""
    try:
        found = os.lstat(path)
    except OSError:
        return False
    return stat.S_ISDIR(found.st_mode) and found.st_uid == os.getuid()


def make_session(token: str | None = None) -> str:
    """A new session folder with a token (a new one unless given); `session_latest` leads to it."""
    base = base_dir()
    path = _make_session_folder(base)
    try:
        for name in ("sockets", "logs"):
            os.mkdir(os.path.join(path, name), 0o700)
        write_new(os.path.join(path, "token"), token or os.urandom(32).hex())
    except OSError as error:
        _remove_tree(path)
        raise RuntimeError(
            f"A session folder in {base} cannot be written ({error.strerror}); set CYRAY_TMPDIR to a "
            "folder with room."
        ) from None
    latest = os.path.join(base, _LATEST)
    try:
        link_atomically(os.path.basename(path), latest)
    except OSError:
        pass  # Only a convenience, and another process may be doing the same.
    return path


def _make_session_folder(base: str) -> str:
    while True:
        now = time.time()
        stamp = time.strftime("%Y-%m-%d_%H-%M-%S", time.localtime(now))
        path = os.path.join(base, f"{_PREFIX}{stamp}_{int(now * 1e6) % 1_000_000:06}_{os.getpid()}")
        if len(path) + len("/sockets/raylet.999") > _MAX_SOCKET_PATH:
            raise RuntimeError(
                f"The folder {base} has too long a name for sockets in it (they may have "
                f"{_MAX_SOCKET_PATH} characters in all); set CYRAY_TMPDIR to a shorter one."
            )
        try:
            os.mkdir(path, 0o700)
            return path
        except FileExistsError:
            continue  # The clock moves on.
        except OSError as error:
            raise RuntimeError(
                f"No session folder can be made in {base} ({error.strerror}); set CYRAY_TMPDIR to a "
                "folder that you may write to."
            ) from None


def take_node_name(session_dir: str, head: bool) -> str:
    """`raylet` for the head, else the first `raylet.<n>` that nobody has: its record exists, empty, from
    now on, for another process may be starting a node here too.
    """
    if head:
        return "raylet"
    number = 1
    while True:
        path = node_record_path(session_dir, f"raylet.{number}")
        try:
            os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
        except FileExistsError:
            number += 1
        else:
            return f"raylet.{number}"


def node_record_path(session_dir: str, name: str) -> str:
    return os.path.join(session_dir, f"{name}.json")


def node_records(session_dir: str, live_only: bool = True) -> list[dict[str, Any]]:
    """What the nodes of a session wrote about themselves; the head's first.

    A record is a dict with pid, start, head, node_id, node_ip, socket, gcs_address, daemon, version;
    `path` and `session_dir` are added.
    """
    records = []
    try:
        names = sorted(os.listdir(session_dir))
    except OSError:
        return []
    for name in names:
        if not (name.startswith("raylet") and name.endswith(".json")):
            continue
        path = os.path.join(session_dir, name)
        try:
            record = json.loads(read_text(path))
        except ValueError:
            continue
        if not isinstance(record, dict) or not isinstance(record.get("pid"), int):
            continue
        if live_only and not record_is_live(record):
            continue
        records.append({**record, "path": path, "session_dir": session_dir})
    return sorted(records, key=lambda record: not record.get("head"))


def record_is_live(record: dict[str, Any]) -> bool:
    """Whether the raylet of a record runs: the same process, not a later one with its pid."""
    ticks = proc.start_ticks(record["pid"])
    return bool(ticks) and ticks == record.get("start")


def sessions() -> list[str]:
    """Paths of this user's session folders, newest first."""
    base = base_dir()
    names = [n for n in os.listdir(base) if n.startswith(_PREFIX) and n != _LATEST]
    # The name begins with the time it was made.
    paths = [os.path.join(base, n) for n in sorted(names, reverse=True) if ".json" not in n]
    return [path for path in paths if _is_ours(path)]


def session_is_live(session_dir: str) -> bool:
    """Whether a node of the session runs, or its maker lives and may be starting one."""
    if node_records(session_dir):
        return True
    maker = session_dir.rsplit("_", 1)[-1]
    return maker.isdigit() and bool(proc.start_ticks(int(maker)))


def clean_old_sessions(keep: str) -> None:
    """Removes folders of dead sessions beyond the newest ones; never `keep`, never a live one."""
    for path in sessions()[KEPT_SESSIONS:]:
        if path != keep and not session_is_live(path):
            _remove_tree(path)


def _remove_tree(path: str) -> None:
    # shutil would do; importing it costs more than this whole module.
    try:
        if os.path.islink(path) or os.lstat(path).st_uid != os.getuid():
            return
        with os.scandir(path) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    _remove_tree(entry.path)
                else:
                    os.unlink(entry.path)
        os.rmdir(path)
    except OSError:
        pass  # Somebody else is cleaning too.


def write_current_cluster(address: str) -> None:
    """Notes the cluster that programs on this machine attach to."""
    path = os.path.join(base_dir(), _CURRENT_CLUSTER)
    write_atomically(path, address + "\n")


def read_current_cluster() -> str:
    """The address of the current cluster, or an empty string."""
    return read_text(os.path.join(base_dir(), _CURRENT_CLUSTER)).strip()


def forget_current_cluster() -> None:
    unlink(os.path.join(base_dir(), _CURRENT_CLUSTER))


def package_version() -> str:
    """The version of cyray that runs here."""
    return str(getattr(sys.modules["cyray"], "__version__", ""))


def python_path() -> str:
    """The PYTHONPATH with which another process finds the package that runs here."""
    root = os.path.dirname(PACKAGE_DIR)
    given = os.environ.get("PYTHONPATH", "")
    if root in sys.path and root not in given.split(os.pathsep):
        return f"{root}{os.pathsep}{given}" if given else root
    return given
