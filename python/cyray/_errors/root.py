"""The root of the exceptions, and what stands for one that could not be unpickled. Place: the ground."""


class RayError(Exception):
    """The root of everything cyray raises on its own account."""


class UnserializableException(RayError):
    """An exception that could not be unpickled here; holds its text."""
