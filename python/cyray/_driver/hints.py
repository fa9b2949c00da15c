"""What to do about an error that ends the program, or a cell of a notebook, where cyray knows more than the error says.

Place: `init` installs it, `shutdown` takes it back. Threading: the main thread's, like `sys.excepthook`. Invariant: who
was there before is called first, whatever happens here.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from types import TracebackType
from typing import Any

from cyray._errors.read_only import is_write_refused

_OF_READ_ONLY = (
    "cyray: values of more than 100 KiB that get() returns are read-only views of shared memory. To write into one, "
    "use cyray.get(ref, writable=True), which copies only the pages that change.\n"
)
_before: Callable[..., Any] | None = None


def hint_for(error: BaseException | None) -> str:
    """The lines for people; empty when there is nothing to add."""
    return _OF_READ_ONLY if error is not None and is_write_refused(error) else ""


def install() -> None:
    """From now on errors that nobody catches are followed by their hints."""
    global _before
    if _before is not None:  # another hook that came later calls this one
        return
    _before, sys.excepthook = sys.excepthook, _on_error
    shell = _shell()
    if shell is not None:
        shell.events.register("post_run_cell", _after_cell)


def remove() -> None:
    """Undoes `install`, where nobody has put something else in its place."""
    global _before
    if sys.excepthook is not _on_error:
        return
    sys.excepthook, _before = _before or sys.__excepthook__, None
    shell = _shell()
    if shell is not None:
        shell.events.unregister("post_run_cell", _after_cell)


def _shell() -> Any:
    # IPython shows errors of cells itself; who runs in it has imported it.
    ipython = sys.modules.get("IPython")
    return None if ipython is None else ipython.get_ipython()


def _on_error(
    kind: type[BaseException], error: BaseException, traceback: TracebackType | None
) -> None:
    (_before or sys.__excepthook__)(kind, error, traceback)
    _tell(error)


def _after_cell(result: Any) -> None:
    _tell(getattr(result, "error_in_exec", None))


def _tell(error: BaseException | None) -> None:
    hint = hint_for(error)
    if hint and sys.stderr is not None:
        sys.stderr.write(hint)
