"""The cases, by group. A case is a function of a started engine that returns metrics by key."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass

from benchmarks.engines.base import Engine

GROUPS = ("tasks", "actors", "objects", "scale", "idle")


@dataclass(frozen=True)
class Metric:
    key: str
    title: str
    unit: str  # "/s", "s", "us", "B/s", "B", "%", "x", ""
    more_is_better: bool = True


@dataclass(frozen=True)
class Case:
    name: str
    group: str
    needs: str  # a capability of base.Engine.can
    metrics: tuple[Metric, ...]
    run: Callable[[Engine], dict[str, float]]


CASES: dict[str, Case] = {}


def case(
    group: str, needs: str, *metrics: Metric
) -> Callable[[Callable[[Engine], dict[str, float]]], Callable[[Engine], dict[str, float]]]:
    def register(run: Callable[[Engine], dict[str, float]]) -> Callable[[Engine], dict[str, float]]:
        CASES[run.__name__] = Case(run.__name__, group, needs, metrics, run)
        return run

    return register


# These come from starting and stopping an engine, which every run does (child.py).
LIFE_METRICS = (
    Metric("init", "init()", "s", False),
    Metric("first_task", "first task after it", "s", False),
    Metric("shutdown", "shutdown()", "s", False),
)

for _group in GROUPS:
    importlib.import_module(f"benchmarks.cases.{_group}")


def all_metrics() -> list[Metric]:
    return [*LIFE_METRICS, *(metric for each in CASES.values() for metric in each.metrics)]
