"""What the machine itself can do: a socket round trip between spinning processes, a copy into warm
shared memory, a forked child. No engine can be faster at the same thing in Python."""

from __future__ import annotations

import mmap
import os
import socket
from collections.abc import Callable

from benchmarks.cases.objects import KEPT, MB
from benchmarks.measure import Pace, latencies, rate, typical_rate
from benchmarks.processes import busy_cores


def limits() -> dict[str, Callable[[], dict[str, float]]]:
    """By case, as the cases themselves are: name -> a function that returns metrics."""
    return {
        "task_sync": lambda: best_ping_pong("task_sync"),
        "task_sync_on_busy_cores": ping_pong_on_busy_cores,
        "actor_sync": lambda: best_ping_pong("actor_sync"),
        "actor_life": lambda: {"actor_life": rate(fork_one)},
        "put_1mb": lambda: copy_rates(MB, "put_1mb"),
        "put_100mb": lambda: copy_rates(100 * MB, "put_100mb"),
    }


def _receive(end: socket.socket) -> bytes:
    while True:
        try:
            return end.recv(64)
        except BlockingIOError:
            continue


def ping_pong(seconds: float, spin: bool = True) -> Pace:
    """Round trips of 8 bytes between two processes, which never sleep or, without `spin`, block."""
    ours, theirs = socket.socketpair()
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


def best_ping_pong(key: str) -> dict[str, float]:
    """Spinning or blocking, whichever is faster: the former only while nobody else wants the cores."""
    paces = [ping_pong(0.7, spin) for spin in (True, False)]
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
