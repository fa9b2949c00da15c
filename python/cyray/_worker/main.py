"""A worker process: its start, its end, and what the core tells it in between.

Place: `process.become_worker` calls `main`; the loop is `run_worker` of `_raylet`. Threading: the main
thread alone; `threads` has the others.
"""

from __future__ import annotations

import _thread
import gc
import json
import os
import signal
import sys
import time
from types import FrameType
from typing import Any

from cyray import _compat, _raylet
from cyray._os import stacks
from cyray._process import me
from cyray._worker import actor, saves

_SIGINT, _CANCEL = int(signal.SIGINT), int(_raylet.CANCEL_SIGNAL)

# The actor that the next creation task makes.
_pending_actor: tuple[Any, ...] | None = None
# An import that is given up in its midst leaves parts of a package behind, with which its next import
# fails. But a program may be run by importing it.
_IMPORT_LIMIT_S = 2.0
_LOOK_S = (0.001, 0.01)  # when the innermost frame is of `import`, and when it is not

# The task whose interrupt waits for an import to end, and since when.
_importing: tuple[Any, float] | None = None
# The task for which a SIGINT came that is sent again.
_put_off: tuple[str, str, str] | None = None


def main(fd: int, worker_id: str) -> None:
    """Serve as a worker on the connected socket `fd` until told to leave. Does not return."""
    code = 0
    try:
        stacks.install()
        # A handler, not SIG_IGN: what a task starts would inherit that.
        _compat.set_signal_handler(_SIGINT, _on_interrupt)
        _compat.set_signal_handler(_CANCEL, _on_cancel)
        _raylet.connect(fd, bytes.fromhex(worker_id))
        _raylet.end_on_sigterm()
        _raylet.run_worker(on_event)
    except SystemExit as end:
        code = actor.EXIT_ERROR if end.code else 0
    except BaseException:  # the log says why this worker ended
        import traceback

        traceback.print_exc()
        code = actor.EXIT_ERROR
    _leave(code)


def _on_interrupt(number: int, frame: FrameType | None) -> None:
    """SIGINT interrupts the user's code on the main thread; between tasks it means nothing."""
    global _put_off
    meant, _put_off = _put_off, None
    # The loop of an async actor runs many calls at once.
    if me.loop is not None or not _is_users(frame):
        return
    task = _raylet.current_task()
    if meant is not None and meant != task:
        return
    if look_s := _imports(frame):
        _put_off = task
        _send_again(number, look_s)
    else:
        raise KeyboardInterrupt


def _on_cancel(number: int, frame: FrameType | None) -> None:
    """A task of this worker was cancelled: the one on the main thread, or another one."""
    if look_s := _imports(frame):
        _send_again(number, look_s)
    else:
        _raylet.interrupt_if_cancelled()


def _imports(frame: FrameType | None) -> float:
    """After how many seconds to look again, as an import runs; 0: it may be interrupted.

    Where the innermost frame is of Python's own code of `import`, an exception can leave its locks taken
    for ever. Where it is of a module that is imported, that import ends first, unless it takes too long.
    """
    global _importing
    while frame is not None and frame.f_globals is globals():  # this handler, interrupted itself
        frame = frame.f_back
    innermost, found = frame, False
    while frame is not None and not found:
        found = frame.f_code.co_filename == "<frozen importlib._bootstrap>"
        if found and frame is innermost:
            return _LOOK_S[0]
        frame = frame.f_back
    if not found:
        _importing = None
        return 0
    task, now = _raylet.current_task(), time.monotonic()
    if _importing is None or _importing[0] != task:
        _importing = task, now
    return _LOOK_S[1] if now - _importing[1] < _IMPORT_LIMIT_S else 0


def _send_again(number: int, look_s: float) -> None:
    """The signal once more, when this thread is likely to be elsewhere."""
    _thread.start_new_thread(_send_soon, (_thread.get_ident(), number, look_s))


def _send_soon(thread: int, number: int, look_s: float) -> None:
    time.sleep(look_s)
    signal.pthread_kill(thread, number)


def _is_users(frame: FrameType | None) -> bool:
    """Whether the code of a task runs, not the engine's around it."""
    if frame is not None and frame.f_code is main.__code__:
        return _raylet.current_task() is not None  # compiled code of the user's has no frame
    while frame is not None and frame.f_code is not main.__code__:
        if not frame.f_globals.get("__name__", "").startswith("cyray."):
            return True
        frame = frame.f_back
    return False


def leave_from_thread(failed: bool = False) -> None:
    """Ends this process from a thread that is not its main one. Does not return."""
    _leave(actor.EXIT_ERROR if failed else 0)


def _leave(code: int) -> None:
    try:
        _compat.run_exit_functions()
        # As a Python program's end does: finalisers run, and files that nobody closed are written.
        _raylet.forget_user_code()
        gc.collect()
        _compat.flush_open_files()
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
    elif kind == _raylet.EVENT_CANCEL:
        _raylet.cancel_call(event[1])
    elif kind == _raylet.EVENT_WARNING:
        sys.stderr.write(f"cyray: {event[1]}\n")
        sys.stderr.flush()
    elif kind == _raylet.EVENT_SAVE:
        saves.take()
    elif kind == _raylet.EVENT_ROOM:
        _raylet.room_made(event[1])
    elif kind == _raylet.EVENT_EXIT:
        _exit_requested(event[2], event[1])
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


def _exit_requested(reason: str, for_good: bool) -> None:
    if not for_good:
        saves.take_last()
    actor.run_shutdown_hook()
    _raylet.worker_exiting(for_good, reason or "the worker was asked to leave")
    raise SystemExit(0)
