"""Options that only a worker's Python side reads, as bytes: `inout`, `retry_exceptions`, `demand`, an actor's.

Place: the one pickling of what the core carries and does not read (`extra` of a template and of an
actor). Classes in it may be of `__main__` or of a function, which no worker can import: the rule for
what travels by value is that of every value (`by_value`).
"""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from typing import Any


def retry_types(value: Any) -> Any:
    """`True`, or a tuple of exception types."""
    return value if isinstance(value, bool) else tuple(value)


def dumps(extra: Mapping[str, Any]) -> bytes:
    """The bytes; empty when there are no options."""
    if not extra:
        return b""
    from cyray._pickle import by_value

    return by_value.dumps_either(dict(extra))


def loads(pickled: bytes) -> dict[str, Any]:
    """The options that `dumps` was given."""
    return pickle.loads(pickled) if pickled else {}
