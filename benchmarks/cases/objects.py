"""put and get: small values, large arrays, many refs.

A large put is measured twice, for where it lands decides how fast it can be: dropped at once, so
that the next one may take the same memory again, maybe still in the cache; and with the newest
kept, so that each one goes elsewhere. The limit copies into memory with the same reuse.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from typing import Any

from benchmarks import work
from benchmarks.cases import Metric, case
from benchmarks.engines.base import STORE_BYTES, Engine
from benchmarks.measure import rate, typical_rate

MB = 1_000_000
# How many of the newest objects live while the next is put: far more bytes than a cache has.
KEPT = {1 * MB: 200, 100 * MB: 2}
WARM_S = 5.0


@case("objects", "objects", Metric("put_int", "put of an int", "/s"))
def put_int(engine: Engine) -> dict[str, float]:
    def batch() -> int:
        for i in range(100):
            engine.put(i)
        return 100

    return {"put_int": rate(batch)}


def _put_rates(engine: Engine, size: int, key: str) -> dict[str, float]:
    import numpy as np

    value = np.ones(size, dtype=np.uint8)
    count = max(1, 20 * MB // size)

    def dropped() -> int:
        for _ in range(count):
            engine.put(value)
        return count * size

    newest: deque[Any] = deque(maxlen=KEPT[size])

    def kept() -> int:
        for _ in range(count):
            newest.append(engine.put(value))
        return count * size

    if not engine.store_is_warm:
        _fill_store(dropped)
        engine.store_is_warm = True
    found = {key: typical_rate(dropped, 1.2)}
    for _ in range(KEPT[size] // count + 1):
        kept()
    found[f"{key}_kept"] = typical_rate(kept, 1.2)
    return found


def _fill_store(put: Callable[[], int]) -> None:
    """Memory that was never touched costs many times as much: engines that take new memory while
    they still have to notice what was dropped get time to touch all of theirs."""
    start = time.perf_counter()
    done = 0
    while done < 2 * STORE_BYTES and time.perf_counter() - start < WARM_S:
        done += put()


@case(
    "objects",
    "objects",
    Metric("put_1mb", "put of 1 MB, dropped at once", "B/s"),
    Metric("put_1mb_kept", "put of 1 MB, the newest 200 kept", "B/s"),
)
def put_1mb(engine: Engine) -> dict[str, float]:
    return _put_rates(engine, MB, "put_1mb")


@case(
    "objects",
    "objects",
    Metric("put_100mb", "put of 100 MB, dropped at once", "B/s"),
    Metric("put_100mb_kept", "put of 100 MB, the newest 2 kept", "B/s"),
)
def put_100mb(engine: Engine) -> dict[str, float]:
    return _put_rates(engine, 100 * MB, "put_100mb")


@case("objects", "refs", Metric("get_100mb", "get of a 100 MB array, again and again", "/s"))
def get_100mb(engine: Engine) -> dict[str, float]:
    import numpy as np

    ref = engine.put(np.ones(100 * MB, dtype=np.uint8))

    def batch() -> int:
        for _ in range(10):
            engine.get(ref)
        return 10

    return {"get_100mb": rate(batch)}


@case("objects", "refs", Metric("get_refs", "get of 10,000 refs", "/s"))
def get_refs(engine: Engine) -> dict[str, float]:
    task = engine.task(work.nothing)
    refs = [task() for _ in range(engine.ref_count)]
    engine.get_all(refs)

    def batch() -> int:
        engine.get_all(refs)
        return len(refs)

    return {"get_refs": rate(batch)}


@case(
    "objects",
    "nested_refs",
    Metric("holding_refs", "object that holds 10,000 refs: put + get", "/s"),
)
def holding_refs(engine: Engine) -> dict[str, float]:
    refs = engine.int_refs(10_000)

    def one() -> int:
        assert len(engine.get(engine.put(refs))) == len(refs)
        return 1

    return {"holding_refs": rate(one)}
