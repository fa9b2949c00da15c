"""Another name of `cyray.util.queue`."""

from cyray.util.queue import Empty, Full, Queue

__all__ = ["Empty", "Full", "Queue"]
