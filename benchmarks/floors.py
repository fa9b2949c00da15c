"""The floors that cyray's figures are held to, and whether they were met."""

from __future__ import annotations

from dataclasses import dataclass

from benchmarks.cases import Metric
from benchmarks.results import Results


@dataclass(frozen=True)
class Floor:
    """At least `factor` times what engine `of` did in the same round; the plain number `factor`
    without an engine. For a metric where less is better: at most."""

    metric: str
    factor: float
    of: str = ""


FLOORS = (
    Floor("init", 0.25),
    Floor("first_task", 0.03),
    Floor("shutdown", 0.3),
    Floor("task_sync", 15, "processpool"),
    Floor("task_sync", 150, "ray"),
    Floor("task_async", 30, "processpool"),
    Floor("task_async", 200, "ray"),
    Floor("task_async", 10, "mppool"),
    # Spinning must not be worse than blocking; the machine's noise is a few percent.
    Floor("busy_sync", 0.95, "blocking"),
    Floor("busy_async", 0.95, "blocking"),
    Floor("chain", 80, "ray"),
    Floor("no_cpu", 150, "ray"),
    Floor("speedup", 1.8),
    Floor("stream_items", 200_000),
    Floor("cancel_10k", 0.3),
    Floor("groups", 657),
    Floor("crowd", 250),
    Floor("crowd_bytes", 3e6),
    Floor("crowd_end", 1000),
    Floor("actor_sync", 90, "ray"),
    Floor("actor_async", 100, "ray"),
    Floor("async_actor", 80, "ray"),
    Floor("actor_life", 40, "ray"),
    Floor("actor_life", 100),
    Floor("put_int", 500, "ray"),
    Floor("put_1mb", 0.6, "limit"),
    Floor("put_1mb_kept", 0.6, "limit"),
    Floor("put_100mb", 0.85, "limit"),
    Floor("put_100mb_kept", 0.85, "limit"),
    Floor("get_100mb", 15, "ray"),
    Floor("get_refs", 60, "ray"),
    Floor("holding_refs", 30, "ray"),
    Floor("args_10k", 0.5),
    Floor("returns_3k", 0.3),
    Floor("get_10k_objects", 0.5),
    Floor("queued", 20),
    Floor("queued_bytes", 400),
    Floor("far_tasks", 100, "ray"),
    Floor("far_calls", 50, "ray"),
    Floor("far_object", 0.8, "limit"),
    Floor("broadcast", 0.4),
    Floor("idle_cpu", 0.5),
    Floor("idle_pss", 80e6),
    Floor("idle_threads", 3),
)


@dataclass(frozen=True)
class Verdict:
    floor: Floor
    bound: float  # what the floor comes to, in the metric's unit
    measured: float
    ratio: float | None  # to the other engine, when the floor names one
    met: bool


def check(results: Results, metrics: dict[str, Metric]) -> list[Verdict]:
    """One verdict for each floor whose figures were measured."""
    return [
        verdict
        for floor in FLOORS
        if (verdict := _verdict(results, floor, metrics[floor.metric].more_is_better)) is not None
    ]


def _verdict(results: Results, floor: Floor, more_is_better: bool) -> Verdict | None:
    measured = results.median(floor.metric, "cyray")
    if measured is None:
        return None
    if not floor.of:
        met = measured >= floor.factor if more_is_better else measured <= floor.factor
        return Verdict(floor, floor.factor, measured, None, met)
    base = results.median(floor.metric, floor.of)
    ratio = results.ratio(floor.metric, "cyray", floor.of)
    if base is None or ratio is None:
        return None
    met = ratio >= floor.factor if more_is_better else ratio <= floor.factor
    return Verdict(floor, floor.factor * base, measured, ratio, met)
