"""What later programs find in `ray._private.internal_api`: `free`."""

from cyray._api.free import free

__all__ = ["free"]
