"""What the proxy does to connections, over real sockets."""

from __future__ import annotations

import contextlib
import os
import socket
import time

import pytest
from support import eventually

from cyray._node.fault_proxy import FaultProxy


class Pair:
    """Two ends of a connection through the proxy."""

    def __init__(self, proxy, target):
        self.near = socket.create_connection(("127.0.0.1", proxy.port), timeout=20)
        self.far, _ = target.accept()
        self.far.settimeout(20)

    def close(self):
        self.near.close()
        self.far.close()


@pytest.fixture
def target():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(20)
        yield listener


@pytest.fixture
def proxy(target):
    made = FaultProxy(target.getsockname()[1])
    yield made
    made.close()


@pytest.fixture
def pair(proxy, target):
    made = Pair(proxy, target)
    yield made
    made.close()


def read(end, size):
    data = b""
    while len(data) < size:
        part = end.recv(size - len(data))
        assert part, f"the connection ended after {data!r}"
        data += part
    return data


def is_reset(end):
    try:
        return end.recv(1) == b""
    except ConnectionResetError:
        return True


def is_turned_away(port):
    """Whether a new connection ends at once; on a busy machine it does before it is made."""
    try:
        near = socket.create_connection(("127.0.0.1", port), timeout=20)
    except ConnectionResetError:
        return True
    with near:
        return is_reset(near)


def test_bytes_go_both_ways(pair, proxy):
    pair.near.sendall(b"there")
    pair.far.sendall(b"back")
    assert (read(pair.far, 5), read(pair.near, 4)) == (b"there", b"back")
    assert (proxy.connections, proxy.cuts, proxy.held_bytes) == (1, 0, 0)


def test_connections_wait_until_there_is_a_target(target):
    proxy = FaultProxy()
    near = socket.create_connection(("127.0.0.1", proxy.port), timeout=20)
    near.sendall(b"early")
    proxy.forward_to(target.getsockname()[1])
    far, _ = target.accept()
    assert read(far, 5) == b"early"
    near.close()
    far.close()
    proxy.close()


def test_what_is_delayed_waits_and_keeps_its_order(pair, proxy):
    proxy.delay(3600)
    pair.near.sendall(b"one")
    eventually(lambda: proxy.held_bytes == 3, 20)
    pair.far.setblocking(False)
    with pytest.raises(BlockingIOError):
        pair.far.recv(1)
    pair.far.settimeout(20)
    pair.near.sendall(b"two")
    proxy.heal()
    assert read(pair.far, 6) == b"onetwo"
    pair.near.sendall(b"three")
    assert read(pair.far, 5) == b"three"


def test_a_delay_is_as_long_as_it_says(pair, proxy):
    proxy.delay(0.05)
    sent = time.monotonic()
    pair.near.sendall(b"there")
    pair.far.sendall(b"back")
    assert (read(pair.far, 5), read(pair.near, 4)) == (b"there", b"back")
    assert time.monotonic() >= sent + 0.05


def test_a_cut_resets_both_ends(pair, proxy):
    assert proxy.cut() == 1
    assert is_reset(pair.near) and is_reset(pair.far)
    assert (proxy.cuts, proxy.cut()) == (1, 0)


def test_connections_are_cut_after_so_many_bytes(proxy, target):
    proxy.cut_each_after(10, 10)
    pair = Pair(proxy, target)
    pair.near.sendall(b"x" * 1000)
    received = b""
    with contextlib.suppress(ConnectionResetError):
        while part := pair.far.recv(1000):
            received += part
    assert len(received) <= 10
    assert proxy.cuts == 1
    pair.close()


def test_a_stalled_connection_goes_on_when_it_is_healed(pair, proxy):
    proxy.stall()
    pair.near.sendall(b"there")
    proxy.heal()
    assert read(pair.far, 5) == b"there"


def test_dropped_connections_are_refused_until_healed(proxy, target):
    proxy.drop()
    for _ in range(3):
        assert is_turned_away(proxy.port)
    assert proxy.cuts == 3
    proxy.heal()
    Pair(proxy, target).close()


def test_a_target_that_is_not_there_ends_the_connection(proxy, target):
    target.close()
    assert is_turned_away(proxy.port)


def test_a_target_that_does_not_answer_holds_nobody_else_up(target):
    proxy = FaultProxy(target.getsockname()[1])
    pair = Pair(proxy, target)
    with socket.socket() as full, contextlib.ExitStack() as ends:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        proxy.forward_to(full.getsockname()[1])
        for _ in range(30):  # more than it ever lets in
            near = socket.create_connection(("127.0.0.1", proxy.port), timeout=20)
            ends.callback(near.close)
        eventually(lambda: proxy.connections == 31, 20)
        pair.near.sendall(b"there")
        assert read(pair.far, 5) == b"there"
        assert proxy.cut() == 31
    pair.close()
    proxy.close()


def test_connections_of_one_process_alone_are_dropped(proxy, target):
    proxy.drop(dialed_by=os.getppid())
    there = Pair(proxy, target)
    there.near.sendall(b"x")
    assert read(there.far, 1) == b"x"
    assert proxy.cuts == 0
    proxy.drop(dialed_by=os.getpid())
    assert is_reset(there.near) and is_reset(there.far)
    assert is_turned_away(proxy.port)
    there.close()
    proxy.admit(os.getpid())
    again = Pair(proxy, target)
    again.near.sendall(b"y")
    assert read(again.far, 1) == b"y"
    again.close()


def test_a_proxy_can_be_closed_twice_and_says_afterwards_that_it_is(proxy):
    proxy.close()
    proxy.close()
    assert proxy.closed
    for fault in (
        proxy.cut,
        proxy.drop,
        proxy.stall,
        proxy.heal,
        lambda: proxy.delay(1),
        lambda: proxy.admit(1),
        lambda: proxy.cut_each_after(1, 2),
        lambda: proxy.forward_to(1),
    ):
        with pytest.raises(
            RuntimeError, match=rf"port {proxy.port}\) was closed.*drop\(\) and heal"
        ):
            fault()
