"""Calls of one actor, and the life of many."""

from __future__ import annotations

from benchmarks import work
from benchmarks.cases import Metric, case, one_at_a_time
from benchmarks.engines.base import Engine
from benchmarks.measure import latencies, rate

IN_FLIGHT = 1000


def _in_flight(engine: Engine, cls: type) -> float:
    actor = engine.actor(cls)
    engine.get(engine.call(actor, "ping"))

    def batch() -> int:
        engine.get_all([engine.call(actor, "ping") for _ in range(IN_FLIGHT)])
        return IN_FLIGHT

    return rate(batch, 1.5)


@case("actors", "actors", *one_at_a_time("actor_sync", "actor call, one at a time"))
def actor_sync(engine: Engine) -> dict[str, float]:
    actor = engine.actor(work.Echo)
    return latencies(lambda: engine.get(engine.call(actor, "ping"))).metrics("actor_sync")


@case("actors", "actors", Metric("actor_async", "actor calls, 1,000 in flight", "/s"))
def actor_async(engine: Engine) -> dict[str, float]:
    return {"actor_async": _in_flight(engine, work.Echo)}


@case("actors", "async_actors", Metric("async_actor", "async-actor calls, 1,000 in flight", "/s"))
def async_actor(engine: Engine) -> dict[str, float]:
    return {"async_actor": _in_flight(engine, work.AsyncEcho)}


@case("actors", "kill", Metric("actor_life", "actor create + first call + kill", "/s"))
def actor_life(engine: Engine) -> dict[str, float]:
    def life() -> int:
        actor = engine.actor(work.Echo)
        engine.get(engine.call(actor, "ping"))
        engine.kill(actor)
        return 1

    return {"actor_life": rate(life, 2.0)}
