"""The table: one row a metric, one column an engine; and the floors that cyray's numbers are held to."""

from __future__ import annotations

import statistics
from dataclasses import dataclass

from benchmarks.cases import Metric
from benchmarks.engines import ENGINES

# metric -> engine -> the values of all repetitions
Results = dict[str, dict[str, list[float]]]


@dataclass(frozen=True)
class Floor:
    metric: str
    factor: float
    of: str = ""  # an engine, or "" for an absolute number

    def text(self) -> str:
        return f"{self.factor:g} x {ENGINES[self.of][2]}" if self.of else f"{self.factor:g}"


FLOORS = (
    Floor("init", 0.25),
    Floor("first_task", 0.03),
    Floor("shutdown", 0.3),
    Floor("task_sync", 15, "processpool"),
    Floor("task_sync", 150, "ray"),
    Floor("task_async", 30, "processpool"),
    Floor("task_async", 200, "ray"),
    Floor("task_async", 10, "mppool"),
    Floor("actor_sync", 90, "ray"),
    Floor("actor_async", 100, "ray"),
    Floor("async_actor", 80, "ray"),
    Floor("chain", 80, "ray"),
    Floor("put_int", 500, "ray"),
    Floor("get_refs", 60, "ray"),
    Floor("holding_refs", 30, "ray"),
    Floor("put_1mb", 0.6, "limit"),
    Floor("put_100mb", 0.85, "limit"),
    Floor("get_100mb", 15, "ray"),
    Floor("args_10k", 0.5),
    Floor("returns_3k", 0.3),
    Floor("get_10k_objects", 0.5),
    Floor("queued", 20),
    Floor("queued_bytes", 400),
    Floor("actor_life", 40, "ray"),
    Floor("actor_life", 100),
    Floor("speedup", 1.8),
    Floor("idle_cpu", 0.5),
    Floor("idle_pss", 80e6),
    Floor("idle_threads", 3),
)


def median(results: Results, metric: str, engine: str) -> float | None:
    values = results.get(metric, {}).get(engine)
    return statistics.median(values) if values else None


def number(value: float | None, unit: str) -> str:
    if value is None:
        return "-"
    if unit == "/s":
        return f"{value:,.0f}/s" if value >= 10 else f"{value:.2g}/s"
    if unit == "B/s":
        return f"{value / 1e9:.2f} GB/s"
    if unit == "B":
        return f"{value / 1e6:.1f} MB" if value >= 1e6 else f"{value:,.0f} B"
    if unit == "s":
        return f"{value * 1e3:.1f} ms" if value < 1 else f"{value:.2f} s"
    if unit == "us":
        return f"{value:,.0f} us" if value >= 10 else f"{value:.1f} us"
    if unit == "%":
        return f"{value:.2f} %"
    if unit == "x":
        return f"{value:.2f} x"
    return f"{value:g}"


def factor(results: Results, metric: Metric, other: str) -> str:
    """How many times better cyray is than `other`."""
    ours, theirs = median(results, metric.key, "cyray"), median(results, metric.key, other)
    if not ours or not theirs:
        return ""
    times = ours / theirs if metric.more_is_better else theirs / ours
    return f"{times:,.0f} x" if times >= 10 else f"{times:.1f} x"


def table(results: Results, metrics: list[Metric], engines: list[str]) -> str:
    titles = [ENGINES[engine][2] for engine in engines]
    lines = [
        "| case | " + " | ".join(titles) + " | cyray / Ray |",
        "|---|" + "---:|" * (len(engines) + 1),
    ]
    for metric in metrics:
        if metric.key not in results:
            continue
        cells = [number(median(results, metric.key, engine), metric.unit) for engine in engines]
        lines.append(
            f"| {metric.title} | " + " | ".join(cells) + f" | {factor(results, metric, 'ray')} |"
        )
    return "\n".join(lines)


def floors(results: Results, metrics: list[Metric]) -> tuple[str, int]:
    """The floors as a table, and how many are missed."""
    by_key = {metric.key: metric for metric in metrics}
    lines = ["| case | floor | cyray | met |", "|---|---:|---:|---|"]
    missed = 0
    for floor in FLOORS:
        metric = by_key[floor.metric]
        ours = median(results, floor.metric, "cyray")
        base = median(results, floor.metric, floor.of) if floor.of else 1.0
        if ours is None or base is None:
            continue
        bound = floor.factor * base
        met = ours >= bound if metric.more_is_better else ours <= bound
        missed += not met
        lines.append(
            f"| {metric.title} ({floor.metric}) | {floor.text() if floor.of else ''} "
            f"{number(bound, metric.unit)} | {number(ours, metric.unit)} | {'yes' if met else 'NO'} |"
        )
    return "\n".join(lines), missed
