"""`multiprocessing.Pool` on the nodes of the cluster, and a queue that counts what is done."""

from __future__ import annotations

from multiprocessing import TimeoutError

from cyray.util.multiprocessing.pool import Pool
from cyray.util.multiprocessing.queue import JoinableQueue

__all__ = ["JoinableQueue", "Pool", "TimeoutError"]
