"""Labels in a worker's output: which task or actor printed what comes next.

A labelled stream announces the running task's name with a line `\\x1ecyray-label:<name>` (which the
raylet swallows) when it changed since the last output.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

LABEL_MARK = "\x1ecyray-label:"


class _LabelWriter:
    """A text stream that announces the current label before output when it has changed.

    The two streams are two pipes, so each announces for itself. Everything but `write` and
    `writelines` is the wrapped stream's.
    """

    def __init__(self, stream: Any, label: Callable[[], str | None]) -> None:
        self._stream = stream
        self._label = label
        self._announced: str | None = None
        self._at_line_start = True

    def write(self, text: str) -> int:
        if not text:
            return 0
        # In the middle of a line the mark would become part of it.
        if self._at_line_start:
            label = self._label()
            if label is not None and label != self._announced:
                self._announced = label
                name = label.replace("\n", " ").replace("\r", " ")
                self._stream.write(f"{LABEL_MARK}{name}\n{text}")
                self._at_line_start = text.endswith("\n")
                return len(text)
        self._at_line_start = text.endswith("\n")
        return self._stream.write(text)

    def writelines(self, lines: Iterable[str]) -> None:
        for line in lines:
            self.write(line)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def __iter__(self) -> Any:
        return iter(self._stream)


def labelled(stream: Any, label: Callable[[], str | None]) -> Any:
    """`stream`, line-buffered, and labelled.

    `label()` returns the name of the running task or actor, or None; it is called at every line.
    """
    if hasattr(stream, "reconfigure"):
        stream.reconfigure(line_buffering=True, errors="backslashreplace")
    return _LabelWriter(stream, label)
