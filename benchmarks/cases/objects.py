"""put and get: small values, large arrays, many refs."""

from __future__ import annotations

from benchmarks import work
from benchmarks.cases import Metric, case
from benchmarks.engines.base import Engine
from benchmarks.measure import rate


@case("objects", "objects", Metric("put_int", "put of an int", "/s"))
def put_int(engine: Engine) -> dict[str, float]:
    def batch() -> int:
        for i in range(100):
            engine.put(i)
        return 100

    return {"put_int": rate(batch)}


def _put_rate(engine: Engine, size: int) -> float:
    import numpy as np

    value = np.ones(size, dtype=np.uint8)
    rounds = max(1, 50_000_000 // size)

    def batch() -> int:
        for _ in range(rounds):
            engine.put(value)
        return rounds * size

    # What is put is dropped at once, as in a pipeline: after a few rounds the memory is warm.
    rate(batch, 0.5)
    return rate(batch, 1.5)


@case("objects", "objects", Metric("put_1mb", "put of 1 MB", "B/s"))
def put_1mb(engine: Engine) -> dict[str, float]:
    return {"put_1mb": _put_rate(engine, 1_000_000)}


@case("objects", "objects", Metric("put_100mb", "put of 100 MB", "B/s"))
def put_100mb(engine: Engine) -> dict[str, float]:
    return {"put_100mb": _put_rate(engine, 100_000_000)}


@case("objects", "refs", Metric("get_100mb", "get of a 100 MB array, again and again", "/s"))
def get_100mb(engine: Engine) -> dict[str, float]:
    import numpy as np

    ref = engine.put(np.ones(100_000_000, dtype=np.uint8))

    def batch() -> int:
        for _ in range(10):
            engine.get(ref)
        return 10

    return {"get_100mb": rate(batch)}


@case("objects", "refs", Metric("get_refs", "get of 10,000 refs", "/s"))
def get_refs(engine: Engine) -> dict[str, float]:
    task = engine.task(work.nothing)
    refs = [task() for _ in range(10_000)]
    engine.get_all(refs)

    def batch() -> int:
        engine.get_all(refs)
        return len(refs)

    return {"get_refs": rate(batch)}


@case(
    "objects", "returns", Metric("holding_refs", "object that holds 10,000 refs: put + get", "/s")
)
def holding_refs(engine: Engine) -> dict[str, float]:
    refs = [engine.put(i) for i in range(10_000)]

    def one() -> int:
        assert len(engine.get(engine.put(refs))) == 10_000
        return 1

    return {"holding_refs": rate(one)}
