"""What the engines are given to do. Functions of an importable module, so that no engine has to pickle code."""

from __future__ import annotations

import importlib
import os
import time
from collections.abc import Iterator
from typing import Any


def nothing() -> None:
    return None


def process_id() -> int:
    return os.getpid()


def add_one(x: int) -> int:
    return x + 1


def count_arguments(*args: Any) -> int:
    return len(args)


def many_values(n: int) -> list[int]:
    return list(range(n))


def count_up(n: int) -> Iterator[int]:
    yield from range(n)


def sleep_long() -> None:
    time.sleep(3600)


def spin_200_us() -> int:
    """200 microseconds of work by the clock of the process, so that a shared core counts honestly."""
    end = time.thread_time_ns() + 200_000
    loops = 0
    while time.thread_time_ns() < end:
        loops += 1
    return loops


class Echo:
    def ping(self) -> None:
        return None

    def pid(self) -> int:
        return os.getpid()


class AsyncEcho:
    async def ping(self) -> None:
        return None


class Holder:
    """Makes large objects on its node, and takes those of others."""

    def __init__(self, package: str) -> None:
        self._api = importlib.import_module(package)

    def make(self, size: int) -> list[Any]:
        """The ref of a new array, in a list, so that the array stays here."""
        import numpy as np

        return [self._api.put(np.ones(size, dtype=np.uint8))]

    def take(self, array: Any) -> int:
        return len(array)
