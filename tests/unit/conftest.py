"""Unit tests of the Python modules: no cluster, and no built extension is needed."""

from __future__ import annotations

import os
import sys
import types

PYTHON_DIR = os.path.join(os.path.dirname(__file__), "..", "..", "python")

try:
    import cyray  # noqa: F401
except ImportError:
    # Not built here: the modules under test do not need the extension, only their package.
    sys.modules.pop("cyray", None)
    _package = types.ModuleType("cyray")
    _package.__path__ = [os.path.abspath(os.path.join(PYTHON_DIR, "cyray"))]
    sys.modules["cyray"] = _package
