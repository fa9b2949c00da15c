"""A tour of cyray on this machine: what it does and how long it takes. `make demo` runs it.

1. tasks, objects, actors, each with its time;
2. a real job: an index of every word of the standard library's sources, one task a file, merged by
   actors, against a serial loop and concurrent.futures.ProcessPoolExecutor doing the same;
3. the Cython examples, 1 to 8.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import sysconfig
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

import cyray

WORD = re.compile(r"[A-Za-z_]\w+")
HERE = Path(__file__).resolve().parent


def timed(label: str, function: Callable[[], Any], count: int = 1) -> Any:
    start = time.perf_counter()
    result = function()
    seconds = time.perf_counter() - start
    rate = f"  {count / seconds:12,.0f}/s" if count > 1 else ""
    print(f"  {label:<58} {seconds * 1e3:9.1f} ms{rate}")
    return result


def nothing() -> None:
    return None


def total(array: np.ndarray) -> float:
    return float(array.sum())


class Account:
    def __init__(self) -> None:
        self.balance = 0

    def deposit(self, amount: int) -> int:
        self.balance += amount
        return self.balance


def basics() -> None:
    print("\nTasks, objects, actors")
    task = cyray.remote(nothing)
    timed("first task", lambda: cyray.get(task.remote()))
    cyray.get([task.remote() for _ in range(1000)])
    timed(
        "2,000 tasks, one at a time",
        lambda: [cyray.get(task.remote()) for _ in range(2000)],
        2000,
    )
    timed(
        "20,000 tasks, all at once",
        lambda: cyray.get([task.remote() for _ in range(20_000)]),
        20_000,
    )
    array = np.ones(12_500_000)
    cyray.put(array)  # the first touch of memory is the machine's cost, not the engine's
    ref = timed("put an array of 100 MB", lambda: cyray.put(array))
    timed("get it 1,000 times", lambda: [cyray.get(ref) for _ in range(1000)], 1000)
    sums = timed(
        "8 tasks that add it up, in place",
        lambda: cyray.get([cyray.remote(total).remote(ref) for _ in range(8)]),
    )
    assert sums == [12_500_000.0] * 8
    account = timed("create an actor and call it", new_account)
    timed(
        "5,000 calls of the actor, all at once",
        lambda: cyray.get([account.deposit.remote(1) for _ in range(5000)]),
        5000,
    )
    assert cyray.get(account.deposit.remote(0)) == 5001


def new_account() -> Any:
    account = cyray.remote(Account).remote()
    cyray.get(account.deposit.remote(1))
    return account


# --- The index of the standard library ------------------------------------------------------------


def words_of(path: str) -> Counter[str]:
    return Counter(WORD.findall(Path(path).read_text(encoding="utf-8", errors="replace")))


class Index:
    """Merges the words of many files; one actor merges a part of them."""

    def __init__(self) -> None:
        self.words: Counter[str] = Counter()

    def add(self, words: Counter[str]) -> int:
        self.words.update(words)
        return len(self.words)

    def result(self) -> Counter[str]:
        return self.words


def index_serially(paths: list[str]) -> Counter[str]:
    merged: Counter[str] = Counter()
    for path in paths:
        merged.update(words_of(path))
    return merged


def index_with_pool(paths: list[str]) -> Counter[str]:
    merged: Counter[str] = Counter()
    with ProcessPoolExecutor() as pool:
        for words in pool.map(words_of, paths):
            merged.update(words)
    return merged


def index_with_cyray(paths: list[str]) -> Counter[str]:
    task = cyray.remote(words_of)
    # Actors that only merge need no CPU of their own while they wait.
    mergers = [cyray.remote(num_cpus=0)(Index).remote() for _ in range(2)]
    added = [
        # The words go from the worker that counted them to the actor, not through this process.
        mergers[i % len(mergers)].add.remote(task.remote(path))
        for i, path in enumerate(paths)
    ]
    cyray.get(added)
    merged: Counter[str] = Counter()
    for part in cyray.get([merger.result.remote() for merger in mergers]):
        merged.update(part)
    return merged


def index_the_standard_library() -> None:
    root = Path(sysconfig.get_path("stdlib"))
    paths = [str(path) for path in sorted(root.rglob("*.py")) if "site-packages" not in path.parts]
    size = sum(os.path.getsize(path) for path in paths)
    print(f"\nAn index of the standard library: {len(paths):,} files, {size / 1e6:.1f} MB")
    index_serially(paths[:50])
    serial = timed("a serial loop", lambda: index_serially(paths))
    pool = timed("ProcessPoolExecutor", lambda: index_with_pool(paths))
    ours = timed("cyray: one task a file, merged by actors", lambda: index_with_cyray(paths))
    assert serial == pool == ours
    common = ", ".join(f"{word} {count:,}" for word, count in ours.most_common(5))
    print(f"  {len(ours):,} words; the most common: {common}")


def cython_examples() -> None:
    print("\nCython examples 1 to 8", flush=True)
    subprocess.run([sys.executable, "cython_main.py", "all"], cwd=HERE / "cython", check=True)
    print("\nC++ functions and classes through pybind11", flush=True)
    subprocess.run([sys.executable, "pybind_main.py"], cwd=HERE / "pybind11", check=True)


def main() -> None:
    print(f"cyray on {os.cpu_count()} CPUs, Python {sys.version.split()[0]}")
    timed("init", lambda: cyray.init())
    basics()
    index_the_standard_library()
    timed("shutdown", cyray.shutdown)
    cython_examples()


if __name__ == "__main__":
    main()
