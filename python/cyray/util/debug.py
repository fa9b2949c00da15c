"""`log_once`: for messages that a process says once, or once a minute, however often it comes by.

Place: no more than a set of keys in this process. Threading: thread-safe; each key is True for one caller.
"""

from __future__ import annotations

import threading
import time
from typing import Any

__all__ = ["disable_log_once_globally", "enable_periodic_logging", "log_once", "reset_log_once"]

_PERIOD_S = 60.0
_lock = threading.Lock()
_said: dict[Any, float] = {}  # when, by key
_disabled = False
_periodic = False


def log_once(key: Any) -> bool:
    """Whether this is the first time for the key: `if log_once("slow"): logger.warning(...)`.

    After `enable_periodic_logging` it is so again every 60 s, after `disable_log_once_globally` never.
    """
    now = time.monotonic()
    with _lock:
        last = _said.get(key)
        if _disabled or (last is not None and not (_periodic and now - last > _PERIOD_S)):
            return False
        _said[key] = now
        return True


def disable_log_once_globally() -> None:
    """Have `log_once` say False in this process, until `enable_periodic_logging`."""
    global _disabled
    _disabled = True


def enable_periodic_logging() -> None:
    """Have `log_once` say True once a minute for each key."""
    global _disabled, _periodic
    _disabled, _periodic = False, True


def reset_log_once(key: Any = None) -> None:
    """Forget a key, or all of them."""
    with _lock:
        if key is None:
            _said.clear()
        else:
            _said.pop(key, None)
