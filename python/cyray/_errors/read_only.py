"""How Python, numpy and Cython say that a buffer is not to be written. Place: the ground."""

from __future__ import annotations

_WRITE_REFUSED = (
    "is read-only",
    "read-only memory",
    "read-only view",
    "not writable",
    "not writeable",
)
_MEMORY = ("array", "buffer", "memory", "destination", "view", "object is not")


def is_write_refused(error: BaseException) -> bool:
    """Whether it says that somebody wrote into memory that is only to be read."""
    if type(error) not in (ValueError, BufferError, TypeError):  # a subclass is the user's own
        return False
    if len(error.args) != 1 or not isinstance(error.args[0], str):
        return False
    text = error.args[0].lower()
    return any(w in text for w in _WRITE_REFUSED) and any(w in text for w in _MEMORY)
