"""What a driver tells of itself to the workers of its job.

Place: read by `init` when it connects, and by `_worker.main` when a worker is given the job.
"""

from __future__ import annotations

import json
import os
import sys

from cyray._node import sessions


def entrypoint() -> str:
    """The program's command line, for people; an argument may be no text at all."""
    line = " ".join(getattr(sys, "argv", ()))[:4096]
    return line.encode("utf-8", "replace").decode()


def job_config() -> bytes:
    """JSON of what workers need to be like this process: Python, import path, folder."""
    main = sys.modules.get("__main__")
    script = getattr(main, "__file__", None)
    paths = [os.path.abspath(path or os.getcwd()) for path in sys.path]
    if script:
        paths.insert(0, os.path.dirname(os.path.abspath(script)))
    config = {
        "python": os.path.abspath(sys.executable) if sys.executable else "",
        "python_path": sessions.python_path(),
        "sys_path": paths,
        "cwd": os.getcwd(),
    }
    return json.dumps(config).encode()
