"""Makes the example packages importable here and in workers: builds them when they are not there."""

from __future__ import annotations

import os
import subprocess
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))

subprocess.run([os.path.join(ROOT, "scripts", "examples.sh"), sys.executable], check=True)
for _name in ("cython", "pybind11"):
    _path = os.path.join(ROOT, "examples", _name)
    if _path not in sys.path:
        sys.path.append(_path)
