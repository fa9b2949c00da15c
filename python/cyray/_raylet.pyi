# For type checkers: the extension's names are documented where they are written, in _raylet.pyx.
from typing import Any

def __getattr__(name: str) -> Any: ...
