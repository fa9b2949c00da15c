"""This process as a driver: its one session, how it ends, and the lock of both.

Place: wiring between `_node` (processes) and `_raylet` (the core); `init` makes sessions. Threading: `lock`
guards `current`; nothing of a user's runs under it.
"""

from __future__ import annotations

import atexit
import collections
import os
import sys
import threading
from collections.abc import Callable
from typing import Any

from cyray import _hooks, _raylet
from cyray._driver import events, hints, unread
from cyray._node import interrupts
from cyray._node.local import LocalNode
from cyray._node.options import NodeOptions
from cyray._process import me


def _anonymous_namespace() -> str:
    """A namespace that no other driver has: a random UUID."""
    import uuid

    return str(uuid.uuid4())


lock = threading.RLock()
current: Session | None = None  # guarded by lock
# What users wait with for sessions that have ended: callables, to be called under no lock. They stand here
# before anybody may be interrupted, and until they are called.
_waiting: collections.deque[Callable[[], Any]] = collections.deque()


class Session:
    """What `init` makes: the node, when it is started here, and who this process is.

    It is this process's session before anything of it exists: wherever init ends (Ctrl-C comes at
    any time), `shutdown` finds what there is.
    """

    def __init__(self, namespace: str | None) -> None:
        self.node: Any = None
        self.namespace = namespace or _anonymous_namespace()

    def register(self) -> None:
        """From now on it is this process's."""
        global current
        current = self
        me.namespace = self.namespace
        # atexit runs first what was registered last. `_node.local` has registered the end of this process's
        # nodes when it was imported, and the driver must leave before they end, or what is still on its
        # way (output of workers) is lost.
        atexit.unregister(_at_exit)
        atexit.register(_at_exit)

    def start_node(self, own: dict[str, Any], preload: tuple[str, ...]) -> str:
        """Starts a node for this session alone; the path of its socket."""
        given = {name: value for name, value in own.items() if value is not None}
        self.node = LocalNode(
            NodeOptions(**given, preload=preload),
            start=False,
            while_starting=_hooks.import_ahead,
        )
        self.node.start()
        return str(self.node.socket)

    def end(self, exiting_interpreter: bool) -> None:
        """Leaves the node and ends it. Can be called again when it was interrupted."""
        events.end_event_thread()
        if _raylet.is_connected():
            unread.tell_of_errors(all_of_them=True)
            unread.tell_of_unfinished()
        _raylet.disconnect(exiting_interpreter, _waiting)
        if self.node is not None:
            self.node.stop()


def shutdown(_exiting_interpreter: bool = False, wait_for_processes: bool = False) -> None:
    """Leave the cluster, and end the node that `init` started. Idempotent.

    What was got stays valid: arrays that lie in shared memory become private copies. Threads and
    futures that wait get a RuntimeError.
    """
    try:
        with lock:
            end_session(_exiting_interpreter)
    finally:
        call_waiting()


def _at_exit() -> None:
    """`shutdown` for the end of the interpreter. Ctrl-C hurries what is the user's own, and cuts off
    nothing of cyray's."""
    interrupted = False
    with interrupts.held_back() as held:
        while not lock.acquire(timeout=0.1):
            if held.came:  # another thread starts or ends a session, and may take long for it
                break
        else:
            try:
                end_session(exiting_interpreter=True)
            finally:
                lock.release()
    try:
        call_waiting()
    except KeyboardInterrupt:
        interrupted = True
    if interrupted or held.came:
        interrupts.end_of_it()


def end_session(exiting_interpreter: bool = False) -> None:
    """With the lock held; `call_waiting`, without it, is to follow."""
    global current
    if current is None:
        return
    hints.remove()
    current.end(exiting_interpreter)
    current, me.namespace = None, ""
    if "cyray._driver.logs" in sys.modules:
        _waiting.append(sys.modules["cyray._driver.logs"].flush)


def call_waiting() -> None:
    """Calls what is the user's own code (callbacks of futures, streams). It may wait for a thread that
    calls init or shutdown, so no lock is held. All are called, whatever one of them raises; Ctrl-C goes
    on at the end."""
    interrupt: BaseException | None = None
    while True:
        try:
            callback = _waiting.popleft()
        except IndexError:
            break
        try:
            callback()
        except KeyboardInterrupt as error:
            interrupt = error
        except BaseException:  # the others count too
            events.report("a callback failed at shutdown")
    if interrupt is not None:
        raise interrupt


def is_initialized() -> bool:
    """Whether this process is connected to a node."""
    return _raylet.is_connected()


def _after_fork_in_child() -> None:
    global current, lock
    current, me.namespace = None, ""
    lock = threading.RLock()  # a thread that the child does not have may have held it
    _waiting.clear()  # the parent's
    events.forget_event_thread()
    if "cyray._driver.logs" in sys.modules:
        sys.modules["cyray._driver.logs"].forget()


os.register_at_fork(after_in_child=_after_fork_in_child)
