"""The zygote: imports everything once, then forks a ready worker in about a millisecond.

Place: started by the raylet as `python -m cyray._worker.zygote FD PID`, one per node; FD is one end of
a SOCK_SEQPACKET pair (docs/architecture.md has the messages), PID the raylet's number.
Threading: one thread, always; a second one at the time of a fork would leave its locks locked in
the child, so the zygote says in its log which import started one.
Invariants: every child is reported as forked, with a descriptor that names it (pidfd), before it is
reported as exited; a child holds none of the zygote's descriptors and leads a session of its own.
What workers leave behind becomes the zygote's child: the raylet made it a reaper of orphans. Those
of a dead worker's session are killed; one that made a session of its own lives on until the node
ends. When the raylet goes, all that descends from the zygote goes, then the zygote; also while the
zygote still imports and serves nobody.
"""

from __future__ import annotations

import gc
import json
import os
import select
import signal
import socket
import sys
import time
from typing import Any

from cyray import _compat, _hooks, _raylet
from cyray._os import proc
from cyray._worker.process import (
    become_worker,
    import_all,
    import_preload,
    log,
    make_room_for_title,
    prepare_worker,
)

_END_LIMIT_S = 30.0  # for the kernel to end what was killed
# For resource trackers to remove what the killed have left in /dev/shm: some milliseconds, but on a
# busy machine.
_TRACKER_LIMIT_S = 15.0
_RAYLET_LIMIT_S = 0.5  # its descriptors are closed a moment before its children become others'
_LOOK_MS = 20
_SWEEP_MS = 50  # after a worker's end: several that end together are cleaned up after once
_SWEEPS = 200  # then a process that cannot be killed is left alone
_NEEDED = ("cyray._raylet", *_hooks.WORKERS_NEED, "cloudpickle")
# Some need these; imported when nobody has asked for a worker for a while.
_LATER = ("asyncio", "queue", "concurrent.futures.thread")
_IDLE_MS = 300
_HANDLED = (int(signal.SIGCHLD), int(signal.SIGTERM))


class Zygote:
    """The loop: messages of the raylet in, forks and reports out."""

    def __init__(self, fd: int, raylet: int) -> None:
        self._socket = socket.socket(fileno=fd)
        self._socket.setblocking(True)
        self._raylet = raylet
        self._serves = False
        self._children: set[int] = set()
        # Sessions of dead workers, and how many more times their orphans are looked for.
        self._dead_sessions: dict[int, int] = {}
        null = os.open(os.devnull, os.O_RDONLY)  # first: it may be the one that takes 0
        if null != 0:
            os.dup2(null, 0)
            os.close(null)
        self._wakeup_read, self._wakeup_write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        # Comes when the raylet dies: its closed socket says so too, and then this one tidies up.
        signal.signal(signal.SIGTERM, lambda *_: self._end_unless_serving())
        signal.set_wakeup_fd(self._wakeup_write, warn_on_full_buffer=False)
        # The raylet has blocked SIGTERM, so that one that came before is not the default's, an end
        # that leaves the node's other processes behind.
        signal.pthread_sigmask(signal.SIG_SETMASK, [])

    def run(self) -> tuple[int, str] | None:
        """Serves until the raylet is gone (None); in a forked child: its socket and worker id."""
        self._serves = True
        self._send({"op": "ready", "pid": os.getpid()})
        server = _raylet.ForkServer(self._socket.fileno(), self._wakeup_read)
        idle_ms = _IDLE_MS
        while True:
            sys.stdout.flush()
            sys.stderr.flush()
            event = server.serve(_SWEEP_MS if self._dead_sessions else idle_ms)
            if event == "child":
                worker_id, fds = server.take_order()
                self._become_worker(fds)
                return fds[0], worker_id
            for pid in server.take_forked():
                self._children.add(pid)
                self._dead_sessions.pop(pid, None)  # the number of one who has left nothing
            if event == "woken":
                self._reap()
            elif event == "closed":
                self._end()
                return None
            elif self._dead_sessions:
                self._sweep()
            else:
                idle_ms = -1
                import_all(_LATER)
                gc.freeze()

    def _become_worker(self, fds: list[int]) -> None:
        """In the child: lets go of all that is the zygote's."""
        os.setsid()  # what it starts can be told from what others start
        signal.set_wakeup_fd(-1)
        for number in _HANDLED:
            _compat.set_signal_handler(number, _compat.DEFAULT_ACTION)
        os.close(self._socket.detach())
        os.close(self._wakeup_read)
        os.close(self._wakeup_write)
        for source, target in ((fds[1], 1), (fds[2], 2)):
            os.dup2(source, target)
            if source > 2:
                os.close(source)
        _reseed()
        gc.enable()

    def _reap(self) -> bool:
        """Reports who has ended. Whether no child is left."""
        try:
            os.read(self._wakeup_read, 4096)
        except BlockingIOError:
            pass
        while True:
            try:
                pid, status, used = os.wait4(-1, os.WNOHANG)
            except ChildProcessError:
                return True
            if pid == 0:
                return False
            if pid in self._children:
                self._children.remove(pid)
                self._dead_sessions[pid] = _SWEEPS
                most = used.ru_maxrss * 1024
                self._send({"op": "exited", "pid": pid, "status": status, "most_bytes": most})

    def _sweep(self) -> None:
        """Kills the orphans of dead workers. Trackers end by themselves, after all others."""
        found = set()
        for process in _own_children():
            if process.pid in self._children or process.zombie:
                continue
            if process.session not in self._dead_sessions:
                continue
            tracker = proc.may_be_resource_tracker(process.pid)
            if not tracker:
                proc.kill(process)
            if not tracker or not proc.command_line(process.pid):
                found.add(process.session)
        # What the killed have started comes here next.
        left = {session: n - 1 for session, n in self._dead_sessions.items() if session in found}
        self._dead_sessions = {session: n for session, n in left.items() if n > 0}

    def _send(self, message: dict[str, Any]) -> None:
        try:
            self._socket.send(json.dumps(message).encode())
        except OSError:
            pass  # The raylet is gone; the next receive says so.

    def _raylet_is_dead(self) -> bool:
        return os.getppid() != self._raylet

    def _end_unless_serving(self) -> None:
        """While modules are imported, for as long as they take, nobody looks at the socket."""
        if not self._serves and self._raylet_is_dead():
            self._serves = True  # once
            self._end()
            os._exit(0)

    def _end(self) -> None:
        path = os.environ.get("CYRAY_RAYLET_SOCKET")
        if path:
            _unlink(path)
            link = os.path.join(os.path.dirname(path), "plasma_store")
            if os.path.islink(link) and not os.path.exists(link):
                _unlink(link)
        self._end_descendants()
        self._say_farewell()

    def _end_descendants(self) -> None:
        """Kills until nobody is left: who forks meanwhile leaves a child that the next look finds.

        The raylet does the same when it can: whichever of the two is killed, the other goes on.
        """
        poll = select.poll()
        poll.register(self._wakeup_read, select.POLLIN)
        now = time.monotonic()
        deadline, trackers_until = now + _END_LIMIT_S, None
        raylet_until = now + _RAYLET_LIMIT_S
        nobody = False  # was found at the last look
        while now < deadline:
            alone = self._reap()
            left = [process for process in self._below() if not process.zombie]
            others = [p for p in left if not proc.may_be_resource_tracker(p.pid)]
            for process in others:
                proc.kill(process)
            # The list may miss one whose parent ended while it was read: then it is a child now, or,
            # if it descended from the raylet alone, in the next list.
            raylet_gone = now >= raylet_until or self._raylet_is_dead()
            if alone and raylet_gone and not left:
                if nobody or not self._raylet_is_dead():
                    return
                nobody = True
            else:
                nobody = False
            if left and not others:
                trackers_until = trackers_until or now + _TRACKER_LIMIT_S
                if now >= trackers_until:
                    for process in left:
                        proc.kill(process)
            poll.poll(_LOOK_MS)
            now = time.monotonic()

    def _say_farewell(self) -> None:
        """Becomes the program that tells the GCS of this node's end, when the raylet is dead."""
        command = os.environ.get("CYRAY_FAREWELL")
        if command and self._raylet_is_dead():
            argv = json.loads(command)
            os.execv(argv[0], argv)

    def _below(self) -> list[proc.Process]:
        everyone, me = proc.processes(), os.getpid()
        below = proc.descendants([me], everyone)[1:]
        node = os.environ.get("CYRAY_NODE_ID")
        if not node or not self._raylet_is_dead():
            return below
        # Workers that the raylet started without the zygote, and what these started: its death left
        # them to whoever adopts the orphans of this machine.
        known = {me, *(process.pid for process in below)}
        marked = [
            process.pid
            for process in everyone
            if process.pid not in known
            and proc.has_in_environment(process.pid, f"CYRAY_NODE_ID={node}")
        ]
        return below + proc.descendants(marked, everyone)


def _own_children() -> list[proc.Process]:
    """The orphans among them too. Nobody else reaps them: none leaves the list while it is read."""
    me = os.getpid()
    try:
        with open(f"/proc/self/task/{me}/children", "rb") as file:
            pids = [int(pid) for pid in file.read().split()]
    except OSError:  # not on every kernel
        return [process for process in proc.processes() if process.parent == me]
    found = (proc.read_process(pid) for pid in pids)
    return [process for process in found if process is not None]


def _unlink(path: str) -> None:
    try:
        os.unlink(path)
    except OSError:
        pass


def _reseed() -> None:
    # `random` reseeds itself after a fork; numpy's global generator does not.
    numpy_random = sys.modules.get("numpy.random")
    if numpy_random is not None:
        numpy_random.seed()


def main(argv: list[str]) -> None:
    """`argv`: the descriptor's number, the raylet's."""
    started = time.monotonic()
    gc.disable()
    zygote = Zygote(int(argv[0]), int(argv[1]))
    import_all(_NEEDED)
    make_room_for_title()
    import_preload()
    prepare_worker()
    gc.collect()
    gc.freeze()  # Shared pages stay shared: the collector does not touch what is here now.
    log(f"ready, imports took {(time.monotonic() - started) * 1000:.0f} ms")
    child = zygote.run()
    del zygote
    if child is not None:
        become_worker(*child)


if __name__ == "__main__":
    # Under its real name, so that nothing of it lives in a worker's __main__.
    from cyray._worker import zygote

    zygote.main(sys.argv[1:])
