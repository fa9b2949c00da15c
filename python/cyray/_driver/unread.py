"""What a program leaves: errors of tasks that nobody got, and tasks that nobody waited for.

Place: beside `waiting`; `events` looks once a second, `session` at the end. Threading: any.
"""

from __future__ import annotations

import os
import sys
from typing import Any

from cyray import _raylet

_MOST_AT_ONCE = 5


def tell_of_errors(all_of_them: bool = False) -> None:
    """Prints errors that nobody has got for a second or two, or at all; each once."""
    errors, left_out = _raylet.unread_errors(all_of_them, _MOST_AT_ONCE)
    if os.environ.get("CYRAY_IGNORE_UNHANDLED_ERRORS") == "1":
        return
    texts = [_describe(error) for error in errors if not _is_wanted(error)]
    text = "".join(
        "cyray: an error that nobody has got (get() its ref, or set CYRAY_IGNORE_UNHANDLED_ERRORS=1):\n"
        f"{told}\n"
        for told in texts
    )
    if left_out:
        text += f"cyray: and {left_out} more errors that nobody has got\n"
    write(text)


def _is_wanted(error: Any) -> bool:
    """Whether the program itself has asked for it, or is told of it anyway."""
    from cyray._errors.classes import (
        ActorDiedError,
        LocalRayletDiedError,
        ObjectFreedError,
        TaskCancelledError,
        WorkerCrashedError,
    )

    if isinstance(error, ActorDiedError) and not error.actor_init_failed:
        # It was killed by the program, or has left by itself.
        return any(
            words in str(error) for words in ("killed by `cyray.kill`", "INTENDED_USER_EXIT")
        )
    if isinstance(error, WorkerCrashedError):
        return "was cancelled by force" in str(error)
    return isinstance(error, (LocalRayletDiedError, ObjectFreedError, TaskCancelledError))


def _describe(error: Any) -> str:
    from cyray._errors.task_error import RayTaskError

    try:
        text = str(error)
    except Exception:  # a cause may do anything in its __str__
        text = "(its text cannot be had)"
    return text if isinstance(error, RayTaskError) else f"{type(error).__name__}: {text}"


def tell_of_unfinished() -> None:
    """Prints, at the end, how many tasks end with the program, if any of them has not run."""
    not_begun, tasks, calls = _raylet.unfinished()
    if not not_begun and not tasks:
        return  # calls of actors alone may be meant to go on for as long as the program
    parts = []
    if not_begun:
        parts.append(f"{not_begun} had not begun")
    if tasks + calls:
        parts.append(f"{tasks + calls} {'was' if tasks + calls == 1 else 'were'} running")
    count = not_begun + tasks + calls
    write(
        f"cyray: {count} {'task was' if count == 1 else 'tasks were'} dropped when this session ended: "
        f"{' and '.join(parts)}. get() or wait() for their refs to have them run to their end.\n"
    )


def write(text: str) -> None:
    """To stderr, where there is one."""
    if not text or sys.stderr is None:
        return
    try:
        sys.stderr.write(text)
        sys.stderr.flush()
    except (OSError, ValueError):
        pass  # a closed one: there is nobody to tell
