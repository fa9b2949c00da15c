"""Names for annotations."""

from cyray._raylet import ObjectRef

__all__ = ["ObjectRef"]
