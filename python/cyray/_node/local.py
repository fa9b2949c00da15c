"""Starts and ends the raylet of a node, and keeps the folder of its session.

Place: `init`, `cluster_utils` and the `cyray` command start nodes through `LocalNode`.
Threading: a LocalNode is used by one thread at a time. Costs a few milliseconds: it starts the
raylet with posix_spawn and needs no subprocess module.
Invariants: a session folder is 0700, its token 0600; the write end of a lifeline is open in the
starting process alone (not in its forked children), so the node ends when that process does;
`stop` leaves no zombie.
"""

from __future__ import annotations

import atexit
import json
import os
import re
import select
import signal
import sys
import time
import weakref
from collections.abc import Callable
from typing import Any

from cyray._node import environment
from cyray._node.command import in_session, raylet_command
from cyray._node.options import NodeOptions, checked
from cyray._node.sessions import (
    clean_old_sessions,
    make_session,
    node_record_path,
    package_version,
    python_path,
    take_node_name,
)
from cyray._os import machine, proc
from cyray._os.files import import_path, read_text, unlink, write_atomically

READY_TIMEOUT_S = 30.0
SILENCE_S = 5.0  # then a person is told what is waited for
_ZYGOTE_LINE = re.compile(r"zygote \d+: ")  # as _worker/process.py writes them
STOP_GRACE_S = 5.0  # usually some 20 ms; a busy machine takes its time


class LocalNode:
    """A node of this machine: its raylet process and everything below it.

    Attributes: `session_dir`, `socket`, `node_id` (hex), `gcs_address`, `port`,
    `metrics_export_port`, `pid` (of the raylet), `node_ip`, `options`.
    """

    def __init__(
        self,
        options: NodeOptions | None = None,
        start: bool = True,
        while_starting: Callable[[], None] | None = None,
    ) -> None:
        """`start`: as `start()` would; without it whoever made this can end what a start leaves behind
        when it is interrupted. `while_starting` is called while there is nothing to do but wait."""
        # What no node can be makes no folder.
        self.options = checked(options if options is not None else NodeOptions())
        environment.check({**os.environ, **self.options.env})
        self._command = raylet_command(self.options)
        self.session_dir = self.options.session_dir or make_session(self.options.token)
        self.name = take_node_name(self.session_dir, self.options.head)
        self.socket = os.path.join(self.session_dir, "sockets", self.name)
        self.log_path = os.path.join(self.session_dir, "logs", f"{self.name}.out")
        self.node_ip = self.options.node_ip
        self.node_id = ""
        self.gcs_address = ""
        self.port = 0
        self.metrics_export_port = 0
        self.pid = 0
        self._lifeline = -1
        self._exit_status: int | None = None
        self._while_starting = while_starting
        if start:
            self.start()

    def alive(self) -> bool:
        """Whether the raylet runs; reaps it when it does not."""
        if not self.pid:
            return False
        if self._exit_status is None:
            try:
                pid, status = os.waitpid(self.pid, os.WNOHANG)
            except ChildProcessError:  # Somebody else in this process reaped it.
                self._exit_status = 0
            else:
                if pid:
                    self._exit_status = status
        return self._exit_status is None

    def stop(self, graceful: bool = True) -> None:
        """Ends the node and everything it started. Idempotent."""
        if graceful:
            self._close_lifeline()
        if self.alive():
            self._signal(signal.SIGTERM if graceful else signal.SIGKILL)
            if not self.wait(STOP_GRACE_S):
                self._signal(signal.SIGKILL)
                self.wait(5.0)
        self._close_lifeline()  # of one that is killed not before: it would begin to end in order
        self.forget()

    def kill(self) -> None:
        """SIGKILL to the raylet alone, as a crash would be; what it started ends by itself."""
        self.stop(graceful=False)

    def forget(self) -> None:
        """Removes the note that tells others of this node, and its sockets' names."""
        paths = [node_record_path(self.session_dir, self.name), self.socket]
        if self.options.head:
            paths.append(os.path.join(self.session_dir, "sockets", "plasma_store"))
        for path in paths:
            unlink(path)
        _live_nodes.discard(self)

    def tell_of_imports(self) -> None:
        """Names the modules of `preload` that could not be imported, or that a fork does not keep whole, on
        stderr. Workers can do without; whoever asked for them should know. Waits until the zygote has tried.
        """
        path = os.path.join(self.session_dir, "logs", "zygote.out")
        deadline = time.monotonic() + READY_TIMEOUT_S
        while "ready, imports took" not in (log := read_text(path)):
            if time.monotonic() > deadline or not self.alive():
                break
            time.sleep(0.01)
        for line in log.splitlines():
            own = _ZYGOTE_LINE.match(line)  # modules may print what they like
            what = line[own.end() :] if own else ""
            if what.startswith("cannot preload "):
                sys.stderr.write(f"cyray: workers do not have {what[len('cannot preload ') :]}\n")
            elif what.startswith("importing "):
                sys.stderr.write(f"cyray: {what}\n")

    # --- Starting ---

    def start(self) -> None:
        """Starts the node and waits until clients may register.

        Raises RuntimeError, with the end of the raylet's log, when it does not come up.
        """
        machine.fill_standard_descriptors()
        lifeline_read = -1
        ready_read, ready_write = os.pipe()
        passed = [ready_write]
        try:
            if self.options.lifeline:
                lifeline_read, self._lifeline = os.pipe()
                passed.append(lifeline_read)
                _live_nodes.add(self)
            where = in_session(self.session_dir, self.socket, ready_write, lifeline_read)
            self._spawn([*self._command, *where], passed)
        except BaseException:
            os.close(ready_read)
            self.stop()
            raise
        finally:
            for fd in passed:
                os.close(fd)
        try:
            # While the raylet starts, what has to be done anyway.
            if self.options.head:
                os.symlink("raylet", os.path.join(self.session_dir, "sockets", "plasma_store"))
            self._write_record()
            if self.options.head:
                clean_old_sessions(self.session_dir)
            if self._while_starting is not None:
                self._while_starting()
            ready = self._read_ready(ready_read)
        except BaseException:
            self.stop()
            raise
        finally:
            os.close(ready_read)
        self.node_id = ready["node_id"]
        self.gcs_address = ready.get("gcs_address", "")
        self.port = int(ready.get("port", 0))
        self.metrics_export_port = int(ready.get("metrics_port", 0))
        self._write_record()

    def _spawn(self, command: list[str], passed: list[int]) -> None:
        actions: list[tuple[Any, ...]] = [
            (os.POSIX_SPAWN_OPEN, 0, "/dev/null", os.O_RDONLY, 0),
            (os.POSIX_SPAWN_OPEN, 1, self.log_path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600),
            (os.POSIX_SPAWN_DUP2, 1, 2),
        ]
        # Python's own descriptors close on exec; a library's may not.
        for entry in os.listdir("/proc/self/fd"):
            fd = int(entry)
            if fd > 2 and fd not in passed and _inheritable(fd):
                actions.append((os.POSIX_SPAWN_CLOSE, fd))
        # Onto itself: clears close-on-exec in the child alone.
        actions += [(os.POSIX_SPAWN_DUP2, fd, fd) for fd in passed]
        path = python_path()
        env = {**os.environ, **({"PYTHONPATH": path} if path else {}), **self.options.env}
        if self.options.preload:
            env["CYRAY_PRELOAD_PATH"] = os.pathsep.join(import_path())
        self.pid = os.posix_spawn(
            command[0],
            command,
            env,
            file_actions=actions,
            setsid=True,  # Ctrl-C in the terminal is the driver's business.
            setsigmask=[],
            setsigdef=[signal.SIGINT, signal.SIGTERM, signal.SIGPIPE, signal.SIGCHLD],
        )

    def _read_ready(self, fd: int) -> dict[str, Any]:
        deadline = time.monotonic() + READY_TIMEOUT_S
        poll = select.poll()
        poll.register(fd, select.POLLIN)
        received = b""
        silent_until = time.monotonic() + SILENCE_S
        while b"\n" not in received:
            left_s = max(min(deadline, silent_until) - time.monotonic(), 0)
            if not poll.poll(int(left_s * 1000)):
                if silent_until > deadline:
                    self._fail(f"was not ready after {READY_TIMEOUT_S:.0f} s")
                silent_until = float("inf")
                self._tell_of_silence()
                continue
            chunk = os.read(fd, 65536)
            if not chunk:
                break
            received += chunk
        try:
            ready = json.loads(received or b"{}")
        except ValueError:
            ready = {}
        if "error" in ready:
            raise RuntimeError(f"{ready['error']}\n(logs: {self.session_dir}/logs)")
        if "node_id" not in ready:
            self._fail("could not start: it ended before it was ready")
        return ready

    def _tell_of_silence(self) -> None:
        from cyray._node import silence

        joins = (
            f" to join the cluster at {self.options.gcs_address}" if not self.options.head else ""
        )
        sys.stderr.write(
            f"cyray: still waiting for the raylet (process {self.pid}){joins}, {READY_TIMEOUT_S:.0f} s at "
            f"most; {silence.describe(self.socket)}\n"
        )

    def _fail(self, what: str) -> None:
        tails = []
        for name in (f"{self.name}.out", "gcs_server.out", "zygote.out"):
            lines = read_text(os.path.join(self.session_dir, "logs", name)).splitlines()[-20:]
            if lines:
                tails.append(f"The end of {name}:\n" + "\n".join(f"  {line}" for line in lines))
        log = "\n".join(tails) or "Its logs are empty."
        raise RuntimeError(f"The raylet {what} (logs: {self.session_dir}/logs).\n{log}")

    def _write_record(self) -> None:
        record = {
            "pid": self.pid,
            "start": proc.start_ticks(self.pid),
            "head": self.options.head,
            "node_id": self.node_id,
            "node_ip": self.node_ip,
            "socket": self.socket,
            "gcs_address": self.gcs_address or self.options.gcs_address or "",
            "daemon": not self.options.lifeline,
            "version": package_version(),
        }
        path = node_record_path(self.session_dir, self.name)
        write_atomically(path, json.dumps(record))

    # --- Ending ---

    def _signal(self, number: int) -> None:
        # A child that was not reaped: the number is no other process's.
        try:
            os.kill(self.pid, number)
        except (ProcessLookupError, PermissionError):
            pass

    def wait(self, seconds: float) -> bool:
        """Whether the raylet ended within so many seconds."""
        if not self.pid or not self.alive():
            return True
        proc.wait_gone(self.pid, seconds)
        return not self.alive()

    def _close_lifeline(self) -> None:
        fd, self._lifeline = self._lifeline, -1
        if fd >= 0:
            os.close(fd)


_live_nodes: weakref.WeakSet[LocalNode] = weakref.WeakSet()


def _after_fork_in_child() -> None:
    # A forked child must not keep the node of its dead parent alive, nor end it at its own exit.
    for node in list(_live_nodes):
        node._close_lifeline()
        node._exit_status = 0
    _live_nodes.clear()


def _stop_all() -> None:
    from cyray._node import interrupts

    with interrupts.held_back() as held:
        for node in list(_live_nodes):
            node.stop()
    if held.came:
        interrupts.end_of_it()


os.register_at_fork(after_in_child=_after_fork_in_child)
atexit.register(_stop_all)


def _inheritable(fd: int) -> bool:
    try:
        return os.get_inheritable(fd)
    except OSError:  # The folder's own descriptor, closed by now.
        return False
