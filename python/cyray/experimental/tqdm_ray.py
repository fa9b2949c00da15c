"""Progress bars that work in tasks and actors: the calls of `tqdm.tqdm`, shown by the driver.

Place: above `_driver.progress`. In a worker a bar prints its state, at most once in `flush_interval_s`, and the
driver shows it; in a driver it is shown at once. Threading: a bar is used by one thread.
"""

from __future__ import annotations

import json
import sys
import time
import uuid
from collections.abc import Iterable, Iterator, Sized
from typing import Any

from cyray import _raylet
from cyray._driver import progress

__all__ = ["RAY_TQDM_MAGIC", "instance", "safe_print", "tqdm"]

RAY_TQDM_MAGIC = progress.MARK  # begins the lines of states, for what filters output


class tqdm:
    """A progress bar.

    Args:
        iterable: what `for item in tqdm(iterable)` gives, a step an item.
        desc: shown before it.
        total: how many steps there are; `len(iterable)` when not given, where it has one.
        unit: of a step, "it".
        position: taken and not used: the driver orders the bars of all processes.
        flush_interval_s: seconds between two states, at least.

    Example:
        @cyray.remote
        def work(items):
            for item in tqdm_ray.tqdm(items, desc="work"):
                ...
    """

    DEFAULT_FLUSH_INTERVAL_SECONDS = 1.0

    def __init__(
        self,
        iterable: Iterable[Any] | None = None,
        desc: str | None = None,
        total: float | None = None,
        unit: str | None = None,
        position: int | None = None,
        flush_interval_s: float | None = None,
    ) -> None:
        if total is None and isinstance(iterable, Sized):
            total = len(iterable)
        self._iterable = iterable
        self._desc, self._unit, self._total = desc or "", unit or "it", total
        self._interval = (
            self.DEFAULT_FLUSH_INTERVAL_SECONDS if flush_interval_s is None else flush_interval_s
        )
        self._x: float = 0
        self._id = uuid.uuid4().hex
        self._closed = False
        self._told = 0.0  # when, by time.monotonic
        self.refresh()

    def set_description(self, desc: str) -> None:
        """Show another text before it."""
        self._desc = desc
        self._tell_now_and_then()

    def update(self, n: float = 1) -> None:
        """`n` more steps are done."""
        self._x += n
        self._tell_now_and_then()

    def refresh(self) -> None:
        """Show the present state now."""
        self._tell()

    def close(self) -> None:
        """It is over. Nothing happens at a second time."""
        if not self._closed:
            self._closed = True
            self._tell()

    @property
    def total(self) -> float | None:
        """How many steps there are; None: not known."""
        return self._total

    @total.setter
    def total(self, total: float | None) -> None:
        self._total = total

    @property
    def n(self) -> float:
        """How many steps are done."""
        return self._x

    @n.setter
    def n(self, n: float) -> None:
        self._x = n

    def __iter__(self) -> Iterator[Any]:
        if self._iterable is None:
            raise ValueError("tqdm() was given no iterable")
        try:
            for item in self._iterable:
                yield item
                self.update()
        finally:
            self.close()

    def __enter__(self) -> tqdm:
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()

    def _tell_now_and_then(self) -> None:
        if time.monotonic() - self._told >= self._interval:
            self._tell()

    def _tell(self) -> None:
        self._told = time.monotonic()
        if _raylet.current_task() is None and _raylet.current_actor_id() is None:
            text = progress.bars().show(
                self._id, self._x, self._total, self._desc, self._unit, closed=self._closed
            )
            if text is not None:
                print(text, file=sys.stderr, flush=True)
            return
        state = {
            "id": self._id,
            "x": self._x,
            "total": self._total,
            "desc": self._desc,
            "unit": self._unit,
            "closed": self._closed,
        }
        print(f"{progress.MARK}{json.dumps(state)}", flush=True)


def instance() -> progress.ProgressBars:
    """The bars of this process."""
    return progress.bars()


def safe_print(*args: Any, **kwargs: Any) -> None:
    """`print` that does not run into the bars of this process."""
    with progress.bars().hidden():
        print(*args, **kwargs)
