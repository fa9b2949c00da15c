"""A proxy that stands before a raylet's port and does to connections what networks do.

Place: in `_node`, for `cluster_utils`. Threading: one thread moves the bytes; the methods are thread-safe.
Invariant: nothing blocks while the lock is held, whatever the two ends of a connection do.
"""

from __future__ import annotations

import contextlib
import errno
import os
import random
import selectors
import socket
import threading
import time
from collections import deque
from collections.abc import Callable

from cyray._os import proc

_READ_BYTES = 256 << 10
_BUFFER_BYTES = 1 << 20  # unsent in one direction; then that direction is not read


class _Direction:
    """The bytes of a connection that go one way."""

    def __init__(self, source: socket.socket, target: socket.socket) -> None:
        self.source = source
        self.target = target
        self.waiting: deque[tuple[float, bytearray]] = deque()  # when they may go on
        self.bytes = 0

    def due(self, now: float) -> bool:
        return bool(self.waiting) and self.waiting[0][0] <= now


class _Connection:
    def __init__(self, near: socket.socket, far: socket.socket, budget: int | None) -> None:
        self.near = near
        self.far = far
        self.directions = (_Direction(near, far), _Direction(far, near))
        self.left = budget  # bytes until it is cut; None: never
        self.established = False

    def establish(self) -> bool:
        """Whether the far end has answered, or still may."""
        try:
            self.far.getpeername()
        except OSError as error:
            if error.errno != errno.ENOTCONN:
                return False
            return self.far.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == 0
        self.established = True
        return True

    def close(self) -> None:
        for direction in self.directions:
            _reset(direction.source)


def _is_dialed_by(near: socket.socket, pid: int) -> bool:
    """Whether that process made the connection of which `near` is our end."""
    try:
        return proc.holds_connection(pid, near.getpeername(), near.getsockname())
    except OSError:  # it has ended
        return False


def _reset(end: socket.socket) -> None:
    """Ends a connection as a firewall or a dying machine does."""
    with contextlib.suppress(OSError):
        end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    end.close()


class FaultProxy:
    """Forwards TCP connections of `port` to `target_port` of this machine, until told otherwise.

    Everything it does, it does to connections that others make to the target, in both directions of
    each. What the target itself dials goes through the proxies of those that it dials, if they have
    any: `Cluster.cut_off` tells all of them. `cuts` and `connections` count what happened.
    """

    def __init__(self, target_port: int = 0) -> None:
        """Listens at once; without `target_port` connections wait for `forward_to`."""
        self.target_port = target_port
        self.cuts = 0
        self.connections = 0
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._listener.setblocking(False)
        self.port: int = self._listener.getsockname()[1]
        self._open: list[_Connection] = []
        self._lock = threading.Lock()
        self._stalled = False
        self._refusing = False
        self._refused_pids: set[int] = set()
        self._delay_s = 0.0
        self._budget: Callable[[], int | None] = lambda: None
        self._wake_read, self._wake_write = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        self._ended = False
        self._thread = threading.Thread(target=self._run, name="cyray-fault-proxy", daemon=True)
        self._thread.start()

    @property
    def closed(self) -> bool:
        """Whether `close` was called."""
        return self._ended

    @property
    def held_bytes(self) -> int:
        """Bytes that were read from one end and not yet sent to the other."""
        with self._lock:
            return sum(way.bytes for connection in self._open for way in connection.directions)

    def forward_to(self, target_port: int) -> None:
        """From now on connections are forwarded, also those that wait."""
        self._check_open()
        self.target_port = target_port
        self._wake()

    # --- Faults ---

    def cut(self) -> int:
        """Resets all connections to the target now; new ones are forwarded. How many there were."""
        self._check_open()
        with self._lock:
            return self._cut_all()

    def cut_each_after(self, least: int, most: int, seed: int = 0) -> None:
        """Resets each new connection to the target after a random number of bytes, between those."""
        self._check_open()
        chance = random.Random(seed)
        with self._lock:
            self._budget = lambda: chance.randint(least, most)

    def stall(self) -> None:
        """Moves nothing more on connections to the target, and resets nothing, until `heal`."""
        self._check_open()
        self._set(stalled=True)

    def drop(self, dialed_by: int | None = None) -> None:
        """Resets all connections to the target and every new one, until `heal`.

        `dialed_by`: the pid of a process (a node's raylet: `node.pid`); only those that this process makes.
        What the target dials is left alone.
        """
        self._check_open()
        with self._lock:
            if dialed_by is None:
                self._refusing = True
                self._cut_all()
            else:
                self._refused_pids.add(dialed_by)
                self._cut_where(lambda connection: _is_dialed_by(connection.near, dialed_by))
        self._wake()

    def admit(self, pid: int) -> None:
        """Takes `drop(dialed_by=pid)` back, and no other fault."""
        self._check_open()
        with self._lock:
            self._refused_pids.discard(pid)

    def delay(self, seconds: float) -> None:
        """Lets what comes from now on, in either direction of a connection, wait for so long."""
        self._check_open()
        with self._lock:
            self._delay_s = seconds

    def heal(self) -> None:
        """Forwards as before all faults, and at once what was delayed."""
        self._check_open()
        with self._lock:
            self._budget = lambda: None
            self._delay_s = 0.0
            self._refusing = False
            self._refused_pids.clear()
            for connection in self._open:
                connection.left = None
                for way in connection.directions:
                    way.waiting = deque((0.0, data) for _, data in way.waiting)
        self._set(stalled=False)

    def close(self) -> None:
        """Ends the proxy and its connections; new ones find nobody. Nothing when it is closed already."""
        with self._lock:
            if self._ended:
                return
            self._ended = True
        self._wake()
        self._thread.join()
        with self._lock:
            self._cut_all()
        self._listener.close()
        with self._lock:
            os.close(self._wake_read)
            os.close(self._wake_write)
            self._wake_write = -1

    # --- Forwarding ---

    def _check_open(self) -> None:
        if self._ended:
            raise RuntimeError(
                f"This FaultProxy (port {self.port}) was closed: nothing goes through it any more. To "
                "cut connections for a while, use drop() and heal()."
            )

    def _set(self, stalled: bool) -> None:
        with self._lock:
            self._stalled = stalled
        self._wake()

    def _wake(self) -> None:
        with self._lock, contextlib.suppress(OSError):
            os.write(self._wake_write, b"w")

    def _cut_all(self) -> int:
        return self._cut_where(lambda connection: True)

    def _cut_where(self, is_meant: Callable[[_Connection], bool]) -> int:
        meant = [connection for connection in self._open if is_meant(connection)]
        self.cuts += len(meant)
        for connection in meant:
            connection.close()
            self._open.remove(connection)
        return len(meant)

    def _refuses(self, near: socket.socket) -> bool:
        return self._refusing or any(_is_dialed_by(near, pid) for pid in self._refused_pids)

    def _run(self) -> None:
        while not self._ended:
            with selectors.DefaultSelector() as selector:
                with self._lock:
                    timeout = self._register(selector)
                ready = selector.select(timeout)
            with self._lock:
                for key, _ in ready:
                    if key.fileobj == self._wake_read:
                        with contextlib.suppress(OSError):
                            os.read(self._wake_read, 4096)
                    elif key.fileobj is self._listener:
                        self._accept()
                if not self._stalled:
                    self._move_all()

    def _register(self, selector: selectors.BaseSelector) -> float | None:
        selector.register(self._wake_read, selectors.EVENT_READ)
        if self.target_port:
            selector.register(self._listener, selectors.EVENT_READ)
        if self._stalled:
            return None
        now = time.monotonic()
        due: list[float] = []
        wanted: dict[socket.socket, int] = {}
        for connection in self._open:
            if not connection.established:
                wanted[connection.far] = selectors.EVENT_WRITE
                continue
            for way in connection.directions:
                if way.bytes < _BUFFER_BYTES:
                    wanted[way.source] = wanted.get(way.source, 0) | selectors.EVENT_READ
                if way.due(now):
                    wanted[way.target] = wanted.get(way.target, 0) | selectors.EVENT_WRITE
                elif way.waiting:
                    due.append(way.waiting[0][0] - now)
        for end, events in wanted.items():
            selector.register(end, events)
        return min(due) if due else None

    def _accept(self) -> None:
        try:
            near, _ = self._listener.accept()
        except OSError:
            return
        self.connections += 1
        if self._refuses(near):
            self.cuts += 1  # before the other end can see it
            _reset(near)
            return
        far = socket.socket()
        for end in (near, far):
            end.setblocking(False)
            end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if far.connect_ex(("127.0.0.1", self.target_port)) not in (0, errno.EINPROGRESS):
            _reset(near)
            far.close()
            return
        self._open.append(_Connection(near, far, self._budget()))

    def _move_all(self) -> None:
        now = time.monotonic()
        for connection in list(self._open):
            going = connection.established or connection.establish()
            ways = connection.directions if connection.established else ()
            if not (going and all(self._move(connection, way, now) for way in ways)):
                connection.close()
                self._open.remove(connection)

    def _move(self, connection: _Connection, way: _Direction, now: float) -> bool:
        """False: the connection has ended, by itself or because its bytes are used up."""
        try:
            if way.bytes < _BUFFER_BYTES:
                size = _READ_BYTES
                if connection.left is not None:
                    size = min(size, max(connection.left, 1))
                with contextlib.suppress(BlockingIOError):
                    data = way.source.recv(size)
                    if not data:
                        return False
                    way.waiting.append((now + self._delay_s, bytearray(data)))
                    way.bytes += len(data)
            while way.due(now):
                part: bytes | bytearray = way.waiting[0][1]
                if connection.left is not None:
                    part = part[: connection.left]
                with contextlib.suppress(BlockingIOError):
                    sent = way.target.send(part)
                    way.bytes -= sent
                    del way.waiting[0][1][:sent]
                    if connection.left is not None:
                        connection.left -= sent
                        if connection.left <= 0:
                            self.cuts += 1
                            return False
                    if not way.waiting[0][1]:
                        way.waiting.popleft()
                    continue
                break
        except OSError:
            return False
        return True
