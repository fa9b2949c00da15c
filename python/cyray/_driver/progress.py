"""Progress bars of tasks and actors, as their driver shows them.

Place: under `logs`, which finds their states among the output of workers; `cyray.experimental.tqdm_ray` makes
the states. In a terminal with tqdm installed they are bars below the output, elsewhere lines of text.
Threading: thread-safe; output goes through `hidden`, so that it does not run into the bars.
"""

from __future__ import annotations

import contextlib
import json
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any

MARK = "__cyray_tqdm__:"  # begins a line of output that is a state


class ProgressBars:
    """What is shown. `make_bar(desc, unit, total, position)` gives a bar of tqdm's; None: lines of text."""

    def __init__(self, make_bar: Callable[..., Any] | None) -> None:
        self._make_bar = make_bar
        self._lock = threading.RLock()
        self._bars: dict[str, tuple[int, Any]] = {}  # by id: the place in the order, and the bar
        self._said: dict[str, str] = {}  # by id: the last line

    def take(self, line: str, prefix: str = "") -> str | None:
        """Shows the state in a line that begins with MARK; returns text to be printed, if any."""
        try:
            state = json.loads(line[len(MARK) :])
            made = state["id"], state["x"], state["total"], state["desc"], state["unit"]
        except (ValueError, KeyError, TypeError):
            return f"{prefix}{line}"  # a program's own line that happens to begin so
        return self.show(*made, closed=bool(state.get("closed")), prefix=prefix)

    def show(
        self, bar_id: str, x: float, total: float | None, desc: str, unit: str, **more: Any
    ) -> str | None:
        """Shows how far something is; `closed`: it is over, `prefix`: who does it. Returns text to be printed."""
        prefix = more.get("prefix", "")
        with self._lock:
            if self._make_bar is None:
                text = prefix + as_text(x, total, desc, unit)
                said = self._said.pop(bar_id, None)
                if not more.get("closed"):
                    self._said[bar_id] = text
                return None if text == said else text
            if bar_id not in self._bars:
                place = min(set(range(len(self._bars) + 1)) - {at for at, _ in self._bars.values()})
                self._bars[bar_id] = place, self._make_bar(f"{prefix}{desc}", unit, total, place)
            bar = self._bars[bar_id][1]
            bar.set_description(f"{prefix}{desc}", refresh=False)
            bar.n, bar.total = x, total
            bar.refresh()
            if more.get("closed"):
                del self._bars[bar_id]
                bar.close()
        return None

    @contextlib.contextmanager
    def hidden(self) -> Iterator[None]:
        """No bar is on the screen inside of it."""
        with self._lock:
            for _, bar in self._bars.values():
                bar.clear()
            try:
                yield
            finally:
                for _, bar in self._bars.values():
                    bar.refresh()


def as_text(x: float, total: float | None, desc: str, unit: str) -> str:
    """`desc: 3/10 it (30 %)`."""
    start = f"{desc}: " if desc else ""
    if not total:
        return f"{start}{x} {unit}"
    return f"{start}{x}/{total} {unit} ({100 * x / total:.0f} %)"


_bars: ProgressBars | None = None
_making = threading.Lock()


def bars() -> ProgressBars:
    """This process's."""
    global _bars
    with _making:
        if _bars is None:
            _bars = ProgressBars(_bar_of_tqdm())
        return _bars


def forget() -> None:
    """In the child of a fork: the parent's bars, and locks that one of its threads may hold."""
    global _bars, _making
    _bars, _making = None, threading.Lock()


def _bar_of_tqdm() -> Callable[..., Any] | None:
    isatty = getattr(sys.stderr, "isatty", None)  # what a program puts there may have none
    if isatty is None or not isatty():
        return None
    try:
        from tqdm import tqdm
    except ImportError:
        return None
    return lambda desc, unit, total, position: tqdm(
        desc=desc, unit=unit, total=total, position=position, leave=False
    )
