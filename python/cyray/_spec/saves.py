"""When the state of an actor is saved: the option `checkpoint=`, and what a class must have for it.

Place: the ground; pure. A class is saved that has `__cyray_save__` and `__cyray_restore__`, or that is a
`cyray.actor.Checkpointable`, where its process may be restarted.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any, NamedTuple

from cyray import _compat

SAVE, RESTORE = "__cyray_save__", "__cyray_restore__"
CHECKPOINTABLE = "__cyray_checkpointable__"  # an attribute of classes that decide themselves
_MOST_CALLS = 2**31 - 1
_MOST_SECONDS = 10**9


class SaveRules(NamedTuple):
    """When an actor is saved: whichever comes first."""

    calls: int = 0  # after so many that ended; 0: however many
    seconds: float = 0.0  # a change is unsaved for so long at most; 0: for however long
    asks: bool = False  # its `should_checkpoint` is asked after each call


# Of a class that can be saved, where nothing is said.
DEFAULT = SaveRules(seconds=1.0)


def checkpoint(name: str, value: Any) -> SaveRules | None:
    """What `checkpoint=` says: calls, a time, or a mapping of both."""
    if value is None or isinstance(value, SaveRules):
        return value
    if _is_timedelta(value):
        return SaveRules(seconds=_seconds(name, value.total_seconds()))
    if isinstance(value, Mapping):
        return _both(name, value)
    if isinstance(value, int) and not isinstance(value, bool):
        return SaveRules(calls=_calls(name, value))
    raise TypeError(
        f"The type of keyword '{name}' must be an int (calls), a datetime.timedelta or a dict of 'calls' and "
        f"'seconds', but received {type(value).__name__}."
    )


def _is_timedelta(value: Any) -> bool:
    datetime = sys.modules.get("datetime")  # whoever has one has imported it
    return datetime is not None and isinstance(value, datetime.timedelta)


def _both(name: str, value: Mapping[Any, Any]) -> SaveRules:
    if not value or not set(value) <= {"calls", "seconds"}:
        raise ValueError(
            f"'{name}' takes a dict of 'calls', 'seconds' or both, not {dict(value)!r}."
        )
    calls: Any = value.get("calls")
    seconds: Any = value.get("seconds")
    if _is_timedelta(seconds):
        seconds = seconds.total_seconds()
    if calls is not None and (isinstance(calls, bool) or not isinstance(calls, int)):
        raise TypeError(f"'calls' in '{name}' must be an int, not {type(calls).__name__}.")
    if seconds is not None and (isinstance(seconds, bool) or not isinstance(seconds, (int, float))):
        raise TypeError(f"'seconds' in '{name}' must be a number, not {type(seconds).__name__}.")
    if calls is None and seconds is None:
        raise ValueError(f"'{name}' says neither after how many calls nor after how long.")
    return SaveRules(
        0 if calls is None else _calls(name, calls),
        0.0 if seconds is None else _seconds(name, seconds),
    )


def _calls(name: str, calls: int) -> int:
    if not 1 <= calls <= _MOST_CALLS:
        raise ValueError(f"'{name}' takes from 1 to {_MOST_CALLS:,} calls, not {calls}.")
    return calls


def _seconds(name: str, seconds: float) -> float:
    if not 0 < seconds <= _MOST_SECONDS:
        raise ValueError(
            f"'{name}' takes more than 0 seconds and at most {_MOST_SECONDS:,}, not {seconds}."
        )
    return float(seconds)


def rules_of(cls: type, options: Mapping[str, Any]) -> SaveRules | None:
    """When actors of that class with these options (already checked) are saved; None: they are not.

    Raises:
        TypeError: the class has one of the two methods and not the other, or has them as coroutines.
        ValueError: `checkpoint=` for a class that cannot be saved, or that is never restarted.
    """
    has = _is_saveable(cls)
    asked: SaveRules | None = options.get("checkpoint")
    asks = bool(getattr(cls, CHECKPOINTABLE, False))
    if asked is not None and asks:
        raise ValueError(
            f"checkpoint={_told(asked)}: {cls.__name__} is a Checkpointable, whose should_checkpoint() "
            "says when it is saved."
        )
    if asked is not None and not has:
        raise ValueError(
            f"checkpoint={_told(asked)}: {cls.__name__} cannot be saved. It needs the methods "
            f"{SAVE}(self), which returns its state, and {RESTORE}(self, state)."
        )
    if asked is not None and not options.get("max_restarts"):
        raise ValueError(
            f"checkpoint={_told(asked)}: {cls.__name__} is never restarted, so nothing would read what is "
            "saved. Give max_restarts= with it."
        )
    if not options.get("max_restarts"):
        return None
    if asks:
        return SaveRules(asks=True)
    return (asked or DEFAULT) if has else None


def _is_saveable(cls: type) -> bool:
    found = [name for name in (SAVE, RESTORE) if callable(getattr(cls, name, None))]
    if len(found) == 1:
        missing = RESTORE if found[0] == SAVE else SAVE
        raise TypeError(
            f"{cls.__name__} has {found[0]} and no {missing}: an actor that is saved needs both, "
            f"{SAVE}(self), which returns its state, and {RESTORE}(self, state)."
        )
    for name in found:
        if _compat.is_coroutine_function(getattr(cls, name)):
            raise TypeError(
                f"{cls.__name__}.{name} is `async def`: no call runs meanwhile, so it has to be plain."
            )
    if found and getattr(cls, CHECKPOINTABLE, False):
        raise TypeError(
            f"{cls.__name__} is a Checkpointable and has {SAVE}: it can be saved in one way."
        )
    return bool(found)


def _told(rules: SaveRules) -> str:
    if rules.calls and rules.seconds:
        return repr({"calls": rules.calls, "seconds": rules.seconds})
    return str(rules.calls) if rules.calls else f"{rules.seconds:g} s"
