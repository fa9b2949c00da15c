"""The thread that takes the core's events: output of workers, warnings, futures; in a worker, once it is
needed, futures and what concerns calls on the loops of concurrency groups. A driver's also looks once a second what there is to tell of.

Threading: one daemon thread a process; a user's callbacks run on it.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

from cyray import _raylet

_LOOK_S = 1.0  # between two looks

_event_thread: threading.Thread | None = None
_ending = False


def ensure_event_thread() -> None:
    """The thread that takes the core's events, once; a worker's takes no output and no warnings."""
    global _event_thread, _ending
    if _event_thread is not None:
        return
    _ending = False
    _event_thread = threading.Thread(target=_take_events, name="cyray-events", daemon=True)
    _event_thread.start()


def _take_events() -> None:
    me = threading.current_thread()
    look, period = _looks()
    due = time.monotonic() + (period or 0.0)
    while _event_thread is me:
        event = _raylet.next_event(period)
        if event is None and (period is None or _ending or not _raylet.is_connected()):
            return  # the core stops, and nothing is left
        try:
            if event is not None:
                handle_event(event)
            if period is not None and time.monotonic() >= due:
                due = time.monotonic() + period
                look()
        except BaseException:  # a broken stdout, or a callback that exits: the thread goes on
            report("an event was lost")


def _looks() -> tuple[Callable[[], None], float | None]:
    """What a driver does from time to time, and how often, in seconds; None: never, as in workers."""
    try:
        is_driver = _raylet.identity()["is_driver"]
    except RuntimeError:  # the session is over
        is_driver = False
    if not is_driver:
        return lambda: None, None
    patience_s = notice_s()
    period_s = min(_LOOK_S, patience_s / 5) if patience_s else _LOOK_S
    watch: Any = None
    errors_due = time.monotonic() + _LOOK_S

    def look() -> None:
        nonlocal watch, errors_due
        from cyray._driver import unread, waiting  # not while `init` has to be quick

        watch = watch or waiting.Watch(patience_s, period_s)
        watch.look()
        if time.monotonic() >= errors_due:
            errors_due = time.monotonic() + _LOOK_S
            unread.tell_of_errors()

    return look, period_s


def notice_s() -> float:
    """After how many seconds a wait is told of; 0: never."""
    return float(os.environ.get("CYRAY_WAIT_NOTICE_S") or 5.0)


def report(what: str) -> None:
    """The traceback of the exception that is handled, where it cannot be raised."""
    import traceback

    if sys.__stderr__ is not None:
        try:
            sys.__stderr__.write(f"cyray: {what}:\n{traceback.format_exc()}")
        except (OSError, ValueError):
            pass  # a closed one: there is nobody to tell


def handle_event(event: tuple[Any, ...]) -> None:
    """One event of the core, on whatever thread takes them."""
    kind = event[0]
    if kind == _raylet.EVENT_CALLBACK:
        _raylet.run_callback(event[1])
    elif kind == _raylet.EVENT_CANCEL:  # this and the next in a worker, of calls on a group's loop
        _raylet.cancel_call(event[1])
    elif kind == _raylet.EVENT_ROOM:
        _raylet.room_made(event[1])
    elif kind == _raylet.EVENT_LOG_LINES:
        from cyray._driver import logs

        pid, ip, label, is_stderr, lines = event[1:]
        logs.print_lines(pid, ip, label, is_stderr, lines)
    elif kind == _raylet.EVENT_WARNING:
        sys.stderr.write(f"cyray: {event[1]}\n")
    elif kind == _raylet.EVENT_SILENCE:
        from cyray._driver import silence

        silence.tell_of_question(event[1])


def end_event_thread() -> None:
    """Takes what is still to come, and ends the thread; it may be the one that asks."""
    global _event_thread, _ending
    thread = _event_thread
    if thread is not None and thread.ident not in (None, threading.get_ident()):
        if _raylet.is_connected():
            _raylet.flush_output()  # what workers have printed until now
            _ending = True
            _raylet.stop_events()
        thread.join(1.0)
    _event_thread = None


def forget_event_thread() -> None:
    """In a forked child, which does not have it."""
    global _event_thread
    _event_thread = None
