"""The threads that take tasks beside the main one: of threaded actors, and of tasks that share a worker.

Threading: started by whichever thread finds that there are too few; they live as long as the process.
"""

from __future__ import annotations

import threading
from typing import Any

from cyray import _raylet

_threads: list[threading.Thread] = []


def ensure_threads(count: int) -> None:
    """So many threads in all take tasks; for tasks and actors that run several at once."""
    while len(_threads) < count - 1:
        thread = threading.Thread(
            target=_raylet.run_task_thread,
            args=(_no_event,),
            name=f"cyray-task-{len(_threads) + 1}",
            daemon=True,
        )
        thread.start()
        _threads.append(thread)


def start_group(group: int, name: str, count: int) -> None:
    """So many threads take the calls of that concurrency group of this actor, and no others."""
    for number in range(1, count + 1):
        threading.Thread(
            target=_raylet.run_task_thread,
            args=(_no_event, group),
            name=f"cyray-{name}-{number}",
            daemon=True,
        ).start()


def _no_event(event: tuple[Any, ...]) -> None:
    raise AssertionError(f"the main thread alone takes events, not this one: {event!r}")
