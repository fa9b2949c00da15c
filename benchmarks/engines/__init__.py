"""One adapter an engine, all with the interface of base.Engine."""

from __future__ import annotations

import importlib
from typing import NamedTuple

from benchmarks.engines.base import Engine


class Entry(NamedTuple):
    module: str
    cls: str
    title: str
    peer: bool = True  # lives in the peers' environment
    column: bool = True  # has a column in the table; else only floors name it


ENGINES = {
    "cyray": Entry("ray_like", "CyrayEngine", "cyray", peer=False),
    "blocking": Entry("ray_like", "BlockingEngine", "cyray blocking", peer=False, column=False),
    "limit": Entry("limit", "", "limit"),  # no engine: see limit.limits
    "ray": Entry("ray_like", "RayEngine", "Ray"),
    "dask": Entry("dask_engine", "DaskEngine", "Dask"),
    "processpool": Entry("executors", "ProcessPoolEngine", "ProcessPool"),
    "mppool": Entry("executors", "PoolEngine", "mp.Pool"),
    "joblib": Entry("executors", "JoblibEngine", "joblib"),
    "loky": Entry("executors", "LokyEngine", "loky"),
}


def make_engine(name: str) -> Engine:
    entry = ENGINES[name]
    module = importlib.import_module(f"benchmarks.engines.{entry.module}")
    engine: Engine = getattr(module, entry.cls)()
    return engine
