"""One adapter an engine, all with the interface of base.Engine."""

from __future__ import annotations

import importlib

from benchmarks.engines.base import Engine

# name -> (module, class, title of its column, whether it lives in the peers' environment)
ENGINES = {
    "cyray": ("ray_like", "CyrayEngine", "cyray", False),
    "ray": ("ray_like", "RayEngine", "Ray", True),
    "dask": ("dask_engine", "DaskEngine", "Dask", True),
    "processpool": ("executors", "ProcessPoolEngine", "ProcessPool", True),
    "mppool": ("executors", "PoolEngine", "mp.Pool", True),
    "loky": ("executors", "LokyEngine", "loky", True),
    "limit": ("limit", "LimitEngine", "limit", True),
}


def make_engine(name: str) -> Engine:
    module, cls, _, _ = ENGINES[name]
    engine: Engine = getattr(importlib.import_module(f"benchmarks.engines.{module}"), cls)()
    return engine
