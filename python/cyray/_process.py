"""Who this process is: a driver, a worker, an actor; what it was told of itself.

Place: the ground; imports nothing of cyray. A driver's session and a worker's jobs and actor write it,
the runtime context and the core's hooks read it. Threading: written by the main thread (a driver's:
under its lock), read by any.
"""

from __future__ import annotations

from typing import Any


class ActorExit(BaseException):
    """Raised by `exit_actor()`: ends the actor, not the call alone."""


class Process:
    """What this process knows about what it is."""

    def __init__(self) -> None:
        self.namespace = ""  # in which actors are named and found
        self.raylet_socket = ""  # a driver's: the path, of the last session
        self.actor_name: str | None = None
        self.actor_meta: dict[str, Any] = {}
        self.incarnation = 0
        self.gpu_ids: list[int] = []
        # By kind of accelerator: the entries of its variable before cyray set it.
        self.visible_devices: dict[str, list[str]] = {}
        self.held: dict[str, int] | None = None  # by an actor, in units of 1/10000
        self.loop: Any = None  # of an async actor
        self.exit_code = 0  # of an async actor whose loop is stopped


me = Process()


def is_loop_of_actor(loop: Any) -> bool:
    """Whether `loop` is the one that this async actor runs on, which takes the core's events."""
    return me.loop is not None and me.loop is loop


def stop_loop(code: int) -> None:
    """Ends the event loop of this async actor, and with it the process, which gives `code`."""
    me.exit_code = code
    if me.loop is not None:
        me.loop.stop()
