"""Becoming a worker: in a forked child of the zygote, or in a process of its own.

Place: below `zygote` and `__main__`, above `main`. Threading: one thread.
"""

from __future__ import annotations

import faulthandler
import os
import sys
from collections.abc import Iterable
from typing import Any

from cyray import _compat, _raylet
from cyray._os import machine
from cyray._process import me
from cyray._spec import accelerators
from cyray._worker import label, main

# A library that makes a thread for each CPU at import would make them in the zygote.
_ONE_THREAD = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


def log(text: str) -> None:
    sys.stderr.write(f"zygote {os.getpid()}: {text}\n")
    sys.stderr.flush()


def _thread_count() -> int:
    return len(os.listdir("/proc/self/task"))


def import_all(names: Iterable[str]) -> None:
    """Imports modules; one that fails is reported and left out, but for cyray's own."""
    import importlib

    added = [name for name in _ONE_THREAD if name not in os.environ]
    os.environ.update(dict.fromkeys(added, "1"))
    threads = _thread_count()
    for name in names:
        try:
            importlib.import_module(name)
        except (Exception, SystemExit) as error:  # a command's module may end in sys.exit()
            if name.startswith("cyray."):
                raise
            log(f"cannot preload {name!r}: {type(error).__name__}: {error}")
        now = _thread_count()
        if now > threads:
            log(
                f"importing {name!r} started {now - threads} thread(s), which forked workers do not "
                "have; a lock that one of them holds stays locked there"
            )
            threads = now
    for name in added:
        del os.environ[name]


def import_preload() -> None:
    """Imports the modules that the node was told to have ready."""
    # Where whoever named them finds them; workers get their driver's path anyway.
    path = os.environ.get("CYRAY_PRELOAD_PATH", "").split(os.pathsep)
    sys.path.extend(folder for folder in path if folder and folder not in sys.path)
    import_all(name for name in os.environ.get("CYRAY_PRELOAD", "").split(",") if name)


# Where the title of this process is: address and bytes.
_title_area: tuple[int, int] | None = None


def make_room_for_title() -> None:
    """To be called once, in the process whose command line it is; its children have it too."""
    global _title_area
    with open("/proc/self/cmdline", "rb") as file:
        line = file.read()
    _title_area = _compat.title_area()
    if _title_area is not None:  # what was added for the title alone is not shown
        _raylet.write_title(*_title_area, line.rstrip(b".\0"))


class _Prepared:
    """What a worker has whoever it is. A fork that finds it there need not write all those pages."""

    def __init__(self) -> None:
        # The worker's __main__ is nobody's module: neither the zygote's names nor its file.
        self.main_module = type(sys)("__main__")
        vars(self.main_module)["__builtins__"] = sys.modules["builtins"]
        self.streams = _streams()
        self.labelled = [label.labelled(stream, _raylet.current_label) for stream in self.streams]
        faulthandler.enable(2)  # a crash leaves its stack in the log


_prepared: _Prepared | None = None


def _streams() -> list[Any]:
    """New ones on 1 and 2, made on a pipe: on a file they would remember its end, where others write."""
    read, write = os.pipe()
    own = [os.dup(number) for number in (1, 2)]
    try:
        for number in (1, 2):
            os.dup2(write, number)
        return [
            open(number, "w", buffering=1, errors="backslashreplace", closefd=False)
            for number in (1, 2)
        ]
    finally:
        for number, fd in zip((1, 2), own, strict=True):
            os.dup2(fd, number)
            os.close(fd)
        os.close(read)
        os.close(write)


def prepare_worker() -> None:
    """All of becoming a worker that is the same for each: once, in the zygote or in a fresh process."""
    global _prepared
    # As the environment has them, before cyray sets the variables itself.
    for kind, variable in accelerators.VARIABLES.items():
        if visible := machine.visible_devices(variable):
            me.visible_devices[kind] = visible
    _prepared = _Prepared()


def become_worker(fd: int, worker_id: str) -> None:
    """Serves as that worker and does not return: in a process that is prepared, or a fork of it."""
    assert _prepared is not None
    sys.modules["__main__"] = _prepared.main_module
    sys.argv = [""]
    sys.__stdout__, sys.__stderr__ = _prepared.streams  # type: ignore[misc]
    sys.stdout, sys.stderr = _prepared.labelled
    if _title_area is not None:
        _raylet.own_title(*_title_area, "IDLE")
    main.main(fd, worker_id)
