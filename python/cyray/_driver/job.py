"""What a driver tells of itself to the workers of its job.

Place: read by `init` when it connects, and by `_worker.main` when a worker is given the job.
"""

from __future__ import annotations

import json
import os
import sys

from cyray._node import sessions
from cyray._os import files


def entrypoint() -> str:
    """The program's command line, for people; an argument may be no text at all."""
    line = " ".join(getattr(sys, "argv", ()))[:4096]
    return line.encode("utf-8", "replace").decode()


def job_config() -> bytes:
    """JSON of what workers need to be like this process: Python, import path, folder."""
    main = sys.modules.get("__main__")
    script = getattr(main, "__file__", None)
    paths = files.import_path()
    if script and (os.path.isabs(script) or files.working_folder()):
        paths.insert(0, os.path.dirname(os.path.abspath(script)))
    config = {
        "python": os.path.abspath(sys.executable) if sys.executable else "",
        "python_path": sessions.python_path(),
        "sys_path": paths,
        "cwd": files.working_folder(),
    }
    return json.dumps(config).encode()
