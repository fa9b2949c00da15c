"""Whether a name that a page mentions is there."""

from __future__ import annotations

import importlib

import cyray


def resolves(dotted: str) -> bool:
    """Whether a name below `cyray`, its parts joined by dots, is there: modules, and what is in them."""
    found: object = cyray
    path = "cyray"
    for part in dotted.split("."):
        path += f".{part}"
        try:
            found = getattr(found, part)
        except AttributeError:
            try:
                found = importlib.import_module(path)
            except ImportError:
                return False
    return True
