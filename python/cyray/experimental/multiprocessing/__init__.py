"""Another name of `cyray.util.multiprocessing`."""

from cyray.util.multiprocessing import Pool, TimeoutError

__all__ = ["Pool", "TimeoutError"]
