"""What the machine itself can do: a socket round trip between spinning processes, a copy into warm
shared memory, a forked child. No engine can be faster at the same thing in Python."""

from __future__ import annotations

import mmap
import os
import socket
import time

from benchmarks.engines.base import Engine


class LimitEngine(Engine):
    can = frozenset({"limit"})

    def start(self) -> None:
        pass

    def stop(self) -> None:
        pass

    def limit(self, metric: str) -> float:
        measure = {
            "task_sync": ping_pong,
            "actor_sync": ping_pong,
            "put_1mb": lambda: copy_rate(1_000_000),
            "put_100mb": lambda: copy_rate(100_000_000),
            "actor_life": fork_rate,
        }.get(metric)
        return float("nan") if measure is None else measure()


def _receive(end: socket.socket) -> bytes:
    while True:
        try:
            return end.recv(64)
        except BlockingIOError:
            continue


def ping_pong(seconds: float = 1.0) -> float:
    """Round trips a second of 8 bytes between two processes that never sleep."""
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    theirs.setblocking(False)
    child = os.fork()
    if child == 0:
        ours.close()
        while message := _receive(theirs):
            theirs.send(message)
        os._exit(0)
    theirs.close()
    count = 0
    start = time.perf_counter()
    while (elapsed := time.perf_counter() - start) < seconds:
        for _ in range(100):
            ours.send(b"12345678")
            _receive(ours)
        count += 100
    ours.close()
    os.waitpid(child, 0)
    return count / elapsed


def copy_rate(size: int, area_bytes: int = 256_000_000) -> float:
    """Bytes a second copied into shared memory that was touched before, place after place: an object
    store cannot hand out the same cache lines again while objects live there."""
    import numpy as np

    fd = os.memfd_create("limit")
    os.ftruncate(fd, area_bytes)
    with mmap.mmap(fd, area_bytes) as area:
        target = np.frombuffer(area, dtype=np.uint8)
        target[:] = 1
        source = np.ones(size, dtype=np.uint8)
        places = area_bytes // size
        rounds = max(8, 1_000_000_000 // size)
        start = time.perf_counter()
        for i in range(rounds):
            at = i % places * size
            target[at : at + size] = source
        elapsed = time.perf_counter() - start
        del target
    os.close(fd)
    return rounds * size / elapsed


def fork_rate() -> float:
    count = 100
    start = time.perf_counter()
    for _ in range(count):
        child = os.fork()
        if child == 0:
            os._exit(0)
        os.waitpid(child, 0)
    return count / (time.perf_counter() - start)
