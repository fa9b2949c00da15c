"""A worker process: its start, its end, and what the core tells it in between.

Place: `process.become_worker` calls `main`; the loop is `run_worker` of `_raylet`. Threading: the main
thread alone; `threads` has the others.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from types import FrameType
from typing import Any

from cyray import _compat, _raylet
from cyray._os import machine
from cyray._process import me
from cyray._worker import actor, label

# The actor that the next creation task makes.
_pending_actor: tuple[Any, ...] | None = None


def main(fd: int, worker_id: str) -> None:
    """Serve as a worker on the connected socket `fd` until told to leave. Does not return."""
    code = 0
    try:
        me.visible_gpus = machine.visible_gpus() or None
        # A handler, not SIG_IGN: what a task starts would inherit that.
        signal.signal(signal.SIGINT, _on_interrupt)
        _raylet.connect(fd, bytes.fromhex(worker_id))
        label.install(_raylet.current_label)
        _raylet.run_worker(on_event)
    except SystemExit:
        pass
    except BaseException:  # the log says why this worker ended
        import traceback

        traceback.print_exc()
        code = actor.EXIT_ERROR
    _leave(code)


def _on_interrupt(number: int, frame: FrameType | None) -> None:
    """SIGINT interrupts the user's code on the main thread; between tasks it means nothing."""
    if me.loop is not None:  # the loop of an async actor runs many calls at once
        return
    if frame is not None and frame.f_code is main.__code__ and _raylet.current_task() is not None:
        raise KeyboardInterrupt  # compiled code of the user's, which has no frame
    while frame is not None and frame.f_code is not main.__code__:
        if not frame.f_globals.get("__name__", "").startswith("cyray."):
            raise KeyboardInterrupt
        frame = frame.f_back


def leave_from_thread(failed: bool = False) -> None:
    """Ends this process from a thread that is not its main one. Does not return."""
    _leave(actor.EXIT_ERROR if failed else 0)


def _leave(code: int) -> None:
    try:
        _compat.run_exit_functions()
    finally:
        for stream in (sys.stdout, sys.stderr):
            try:
                stream.flush()
            except (OSError, ValueError):
                pass
        os._exit(code)


def on_event(event: tuple[Any, ...]) -> None:
    """What the core tells this worker, on its main thread."""
    global _pending_actor
    kind = event[0]
    if kind == _raylet.EVENT_ASSIGN_JOB:
        _, _, me.namespace, config = event
        _adopt_job(config)
    elif kind == _raylet.EVENT_BECOME_ACTOR:
        _pending_actor = event
    elif kind == _raylet.EVENT_CREATE_ACTOR:
        assert _pending_actor is not None
        actor.create(_pending_actor, event[1], on_event)
    elif kind == _raylet.EVENT_EXIT:
        _exit_requested()
    elif kind == _raylet.EVENT_CALLBACK:
        _raylet.run_callback(event[1])


def _adopt_job(config: bytes) -> None:
    if not config:
        return
    wanted = json.loads(config)
    known = set(sys.path)
    sys.path.extend(path for path in wanted["sys_path"] if path not in known)
    if not wanted["cwd"]:
        return  # the driver's was removed
    try:
        os.chdir(wanted["cwd"])
    except OSError as error:
        sys.stderr.write(f"cyray: cannot enter the driver's folder {wanted['cwd']!r}: {error}\n")


def _exit_requested() -> None:
    hook = getattr(_raylet.actor_instance(), "__ray_shutdown__", None)
    if hook is not None:
        try:
            hook()
        except Exception:
            import traceback

            traceback.print_exc()
    _raylet.worker_exiting(True, "the worker was asked to leave")
    raise SystemExit(0)
