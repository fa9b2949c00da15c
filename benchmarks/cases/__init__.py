"""The cases, by group. A case is a function of a started engine that returns metrics by key."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass

from benchmarks.engines.base import Engine

# What is idle is looked at before a crowd has been there: its memory stays with the daemons.
GROUPS = ("tasks", "actors", "objects", "idle", "scale", "nodes")

Run = Callable[[Engine], dict[str, float]]


@dataclass(frozen=True)
class Metric:
    key: str
    title: str
    unit: str  # "/s", "s", "us", "B/s", "B", "%", "x", ""
    more_is_better: bool = True

    @property
    def detail(self) -> bool:
        """Belongs to the row above it."""
        return self.title.startswith("- ")


@dataclass(frozen=True)
class Case:
    name: str
    group: str
    needs: str  # a capability of base.Engine.can
    metrics: tuple[Metric, ...]
    run: Run
    # Held to no engine's figure and slow on some: one round is enough for all but cyray.
    once: bool = False


CASES: dict[str, Case] = {}


def case(group: str, needs: str, *metrics: Metric, once: bool = False) -> Callable[[Run], Run]:
    def register(run: Run) -> Run:
        CASES[run.__name__] = Case(run.__name__, group, needs, metrics, run, once)
        return run

    return register


def one_at_a_time(key: str, title: str) -> tuple[Metric, ...]:
    """The metrics that measure.Pace.metrics(key) has."""
    return (
        Metric(key, title, "/s"),
        Metric(f"{key}_p50", "- p50", "us", False),
        Metric(f"{key}_p99", "- p99", "us", False),
        Metric(f"{key}_cpu", "- CPU of all processes for 10,000", "s", False),
    )


# These come from starting and stopping an engine, which every run does (child.py).
START, STOP = "start", "shutdown"
LIFE_METRICS = (
    Metric("init", "init()", "s", False),
    Metric("first_task", "first task after it", "s", False),
    Metric("shutdown", "shutdown()", "s", False),
)

for _group in GROUPS:
    importlib.import_module(f"benchmarks.cases.{_group}")


def all_metrics() -> dict[str, Metric]:
    metrics = [*LIFE_METRICS, *(metric for each in CASES.values() for metric in each.metrics)]
    return {metric.key: metric for metric in metrics}


def case_of(metric: str) -> str:
    """The case that measures it; what a trouble of it is filed under."""
    for each in CASES.values():
        if any(metric == one.key for one in each.metrics):
            return each.name
    return STOP if metric == "shutdown" else START
