"""What old programs find in `ray.internal`: `free`."""

from cyray._api.free import free

__all__ = ["free"]
