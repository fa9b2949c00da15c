"""What the environment variables of cyray may say. A value that means nothing is refused by name, as an
argument is, and not taken for the default.

Place: pure; asked by `_driver.init` and `local`. Those that name places (CYRAY_ADDRESS, CYRAY_TMPDIR, CYRAY_BIN_DIR,
CYRAY_TOKEN_FILE) are checked where they are followed.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

_SWITCH = ("0", "1")
_LEVELS = ("debug", "info", "warning", "error")
_MOST_SPIN_US = 50
_MOST_SAVES_MIB = 1 << 20


def _is_spin(value: str) -> bool:
    return value.isascii() and value.isdigit() and int(value[:9]) <= _MOST_SPIN_US


def _is_mib(value: str) -> bool:
    return value.isascii() and value.isdigit() and 0 < int(value[:9]) <= _MOST_SAVES_MIB


def _is_seconds(value: str) -> bool:
    try:
        return 0 <= float(value) < math.inf
    except ValueError:
        return False


_VALUES: dict[str, tuple[Callable[[str], bool], str]] = {
    "CYRAY_BACKEND_LOG_LEVEL": (_LEVELS.__contains__, "debug, info, warning or error"),
    "CYRAY_DEDUP_LOGS": (_SWITCH.__contains__, "0 or 1"),
    "CYRAY_ENABLE_AUTO_CONNECT": (_SWITCH.__contains__, "0 or 1"),
    "CYRAY_IGNORE_UNHANDLED_ERRORS": (_SWITCH.__contains__, "0 or 1"),
    "CYRAY_SAVES_MIB": (_is_mib, f"a number of MiB from 1 to {_MOST_SAVES_MIB}"),
    "CYRAY_SPIN_US": (_is_spin, f"a number of microseconds from 0 to {_MOST_SPIN_US}"),
    "CYRAY_WAIT_NOTICE_S": (_is_seconds, "a number of seconds, 0 or more"),
}


def check(environment: Mapping[str, str]) -> None:
    """Raises ValueError for a value that means nothing; an empty one counts as not set."""
    for name, (is_valid, words) in _VALUES.items():
        value = environment.get(name)
        if value and not is_valid(value):
            raise ValueError(f"The environment variable {name} must be {words}, not {value!r}.")
