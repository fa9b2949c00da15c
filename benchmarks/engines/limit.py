"""What the machine itself can do: a socket round trip between spinning processes, a copy into warm
shared memory, a forked child. No engine can be faster at the same thing in Python."""

from __future__ import annotations

import mmap
import os
import socket
import time
from collections.abc import Callable

from benchmarks.cases.nodes import LARGE
from benchmarks.cases.objects import KEPT, MB
from benchmarks.measure import Pace, latencies, rate, repeated, typical_rate
from benchmarks.processes import busy_cores

CHUNK = 4 * MB


def limits() -> dict[str, Callable[[], dict[str, float]]]:
    """By case, as the cases themselves are: name -> a function that returns metrics."""
    return {
        "task_sync": lambda: best_ping_pong("task_sync"),
        "task_sync_on_busy_cores": ping_pong_on_busy_cores,
        "actor_sync": lambda: best_ping_pong("actor_sync"),
        "actor_life": lambda: {"actor_life": rate(fork_one)},
        "put_1mb": lambda: copy_rates(MB, "put_1mb"),
        "put_100mb": lambda: copy_rates(100 * MB, "put_100mb"),
        "far_task": lambda: best_ping_pong("far_task", tcp_pair),
        "far_call": lambda: best_ping_pong("far_call", tcp_pair),
        "far_object": tcp_stream,
    }


def _receive(end: socket.socket) -> bytes:
    while True:
        try:
            return end.recv(64)
        except BlockingIOError:
            continue


Pair = tuple[socket.socket, socket.socket]


def tcp_pair() -> Pair:
    with socket.create_server(("127.0.0.1", 0)) as server:
        ours = socket.create_connection(server.getsockname())
        theirs, _ = server.accept()
    for end in (ours, theirs):
        end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return ours, theirs


def ping_pong(
    seconds: float, spin: bool = True, pair: Callable[[], Pair] = socket.socketpair
) -> Pace:
    """Round trips of 8 bytes between two processes, which never sleep or, without `spin`, block."""
    ours, theirs = pair()
    ours.setblocking(not spin)
    theirs.setblocking(not spin)
    child = os.fork()
    if child == 0:
        ours.close()
        while message := _receive(theirs):
            theirs.send(message)
        os._exit(0)
    theirs.close()

    def round_trip() -> None:
        ours.send(b"12345678")
        _receive(ours)

    pace = latencies(round_trip, seconds)
    ours.close()
    os.waitpid(child, 0)
    return pace


def best_ping_pong(key: str, pair: Callable[[], Pair] = socket.socketpair) -> dict[str, float]:
    """Spinning or blocking, whichever is faster: the former only while nobody else wants the cores."""
    paces = [ping_pong(0.7, spin, pair) for spin in (True, False)]
    return max(paces, key=lambda pace: pace.rate).metrics(key)


def ping_pong_on_busy_cores() -> dict[str, float]:
    with busy_cores():
        return best_ping_pong("busy_sync")


def copy_rates(size: int, key: str) -> dict[str, float]:
    """Bytes a second copied into shared memory that was touched before: into one place again and
    again, as when a put object is dropped at once; and place after place, as when the newest ones
    live on."""
    places = KEPT[size] + 1
    fd = os.memfd_create("limit")
    os.ftruncate(fd, places * size)
    with mmap.mmap(fd, places * size) as area:
        os.close(fd)
        return {
            key: typical_rate(_copies(area, size, 1), 1.2),
            f"{key}_kept": typical_rate(_copies(area, size, places), 1.2),
        }


def _copies(area: mmap.mmap, size: int, places: int) -> Callable[[], int]:
    import numpy as np

    source = np.ones(size, dtype=np.uint8)
    target = np.frombuffer(area, dtype=np.uint8)
    target[:] = 1
    count = max(1, 20 * MB // size)
    at = 0

    def copies() -> int:
        nonlocal at
        for _ in range(count):
            target[at : at + size] = source
            at = (at + size) % (places * size)
        return count * size

    return copies


def fork_one() -> int:
    child = os.fork()
    if child == 0:
        os._exit(0)
    os.waitpid(child, 0)
    return 1


def tcp_stream() -> dict[str, float]:
    """Bytes a second of one plain TCP connection, from warm shared memory into warm shared memory
    of another process."""
    ours, theirs = tcp_pair()
    child = os.fork()
    if child == 0:
        ours.close()
        _send_areas(theirs)
        os._exit(0)
    theirs.close()
    target = _warm_area()

    def once() -> float:
        start = time.perf_counter()
        ours.sendall(b"go")
        at = 0
        while at < LARGE:
            at += ours.recv_into(target[at : at + CHUNK])
        return LARGE / (time.perf_counter() - start)

    once()
    found = repeated(once, seconds=5.0, at_most=5)
    ours.close()
    os.waitpid(child, 0)
    return {"far_object": found}


def _warm_area() -> memoryview:
    area = mmap.mmap(-1, LARGE)
    for at in range(0, LARGE, mmap.PAGESIZE):
        area[at] = 1
    return memoryview(area)


def _send_areas(end: socket.socket) -> None:
    source = _warm_area()
    while end.recv(2):
        for at in range(0, LARGE, CHUNK):
            end.sendall(source[at : at + CHUNK])
