"""Which part of a value it is that cannot be pickled, as a report for people.

Threading: the caller's. Pickling runs the value's own code, as passing it to a task does.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any, TextIO

from cyray._pickle import blame, by_value


class FailureTuple:
    """A part that cannot be pickled.

    Attributes: `obj`, the part; `name`, what it is called; `parent`, the value that it is a part of (the one that was
    asked about, when that is to blame itself).
    """

    def __init__(self, obj: Any, name: str, parent: Any) -> None:
        self.obj = obj
        self.name = name
        self.parent = parent

    def __repr__(self) -> str:
        return f"FailTuple({self.name} [obj={_short(self.obj)}, parent={_short(self.parent)}])"


def inspect_serializability(
    obj: Any, name: str | None = None, depth: int = 3, print_file: TextIO | None = None
) -> tuple[bool, set[FailureTuple]]:
    """Whether `obj` can be passed to a task, and if not, because of what.

    Args:
        obj: any value; a function with what it uses, a class with its members.
        name: what it is called in the report; by default its own name, or what it looks like.
        depth: how many steps from `obj` the parts are looked for, at least 0.
        print_file: where the report goes; standard output by default.

    Returns:
        `(True, set())`, or `(False, failures)` with a `FailureTuple` for each part that was found: the innermost
        ones, within `depth`.

    Raises:
        ValueError: `depth` is negative.
    """
    if depth < 0:
        raise ValueError(f"depth is a number of steps, at least 0, not {depth}")
    out = sys.stdout if print_file is None else print_file
    name = name or getattr(obj, "__name__", None) or _short(obj)
    print(f"Can {_short(obj)} be pickled?", file=out)
    error = _error_of(obj)
    if error is None:
        print("  yes", file=out)
        return True, set()
    report = _Report(lambda line: print(line, file=out))
    report.look_into(obj, name, obj, error, depth, 1)
    print("Cannot be pickled:", file=out)
    for failure in report.failures:
        print(f"  {failure!r}", file=out)
    print(
        "There may be more. Make such a thing where it is used, inside the function or in an actor, or say with "
        "cyray.util.register_serializer how it travels.",
        file=out,
    )
    return False, set(report.failures)


class _Report:
    def __init__(self, say: Callable[[str], None]) -> None:
        self.say = say
        self.failures: list[FailureTuple] = []
        self._seen: set[int] = set()

    def look_into(
        self, obj: Any, name: str, parent: Any, error: Exception, depth: int, level: int
    ) -> None:
        """Finds the innermost parts of `obj`, which raises `error` when it is pickled."""
        self._seen.add(id(obj))
        self.say(f"{'  ' * level}{name}: {_text_of(error)}")
        found = False
        if depth > 0:
            for step, part in blame.parts(obj):
                if id(part) in self._seen:
                    continue
                inner = _error_of(part)
                if inner is not None:
                    found = True
                    called = step.name.lstrip(".") or getattr(part, "__name__", name)
                    self.look_into(part, called, obj, inner, depth - 1, level + 1)
        if not found:
            self.failures.append(FailureTuple(obj, name, parent))


def _error_of(value: Any) -> Exception | None:
    try:
        by_value.probe(value)
    except Exception as error:
        return error
    return None


def _text_of(error: Exception) -> str:
    try:
        return str(error)
    except Exception:  # an error of the user's own
        return type(error).__qualname__


def _short(value: Any) -> str:
    try:
        return repr(value)[:200]
    except Exception:  # a repr may do anything
        return f"a {type(value).__qualname__}"
