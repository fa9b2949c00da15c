"""The command line of a raylet, as docs/architecture.md has it.

Place: pure, but for looking where the programs are.
"""

from __future__ import annotations

import os
import sys

from cyray._node.options import NodeOptions, node_resources
from cyray._os.files import PACKAGE_DIR
from cyray._spec import labels


def raylet_command(options: NodeOptions) -> list[str]:
    """Program and arguments, but for those that say where its session is (`in_session`).

    Raises:
        RuntimeError: the programs are not there.
        TypeError, ValueError: the size of the store is none, or the address of the head is missing.
    """
    store_bytes, resources = node_resources(options)
    command = [
        find_binary("raylet"),
        "--node-ip", options.node_ip,
        "--port", str(options.port),
        "--metrics-export-port", str(options.metrics_export_port),
        "--python", sys.executable,
        "--resources", ",".join(f"{_quoted(k)}={_decimal(v)}" for k, v in resources.items()),
        "--object-store-memory", str(store_bytes),
        "--labels", ",".join(f"{key}={value}" for key, value in _labels(options, resources).items()),
    ]  # fmt: skip
    if options.head:
        command += ["--head", "--gcs-port", str(options.gcs_port)]
        command += ["--gcs-server", find_binary("gcs_server")]
    else:
        if not options.gcs_address:
            raise ValueError("A node that is not the head needs the head's gcs_address.")
        command += ["--gcs-address", options.gcs_address]
    if options.advertise_port:
        command += ["--advertise-port", str(options.advertise_port)]
    if options.preload:
        command += ["--preload", ",".join(options.preload)]
    if options.prestart is not None:
        command += ["--prestart", str(options.prestart)]
    return command


def _labels(options: NodeOptions, resources: dict[str, float]) -> dict[str, str]:
    models = [name for name in resources if name.startswith("accelerator_type:")]
    found = {labels.ACCELERATOR_TYPE: models[0].partition(":")[2]} if models else {}
    return {**found, **options.labels}


def in_session(session_dir: str, socket: str, ready_fd: int, lifeline_fd: int) -> list[str]:
    """The other arguments; `lifeline_fd` is -1 for a node that outlives its starter."""
    command = [
        "--session-dir", session_dir,
        "--socket", socket,
        "--token-file", os.path.join(session_dir, "token"),
        "--ready-fd", str(ready_fd),
    ]  # fmt: skip
    if lifeline_fd >= 0:
        command += ["--lifeline-fd", str(lifeline_fd)]
    return command


def find_binary(name: str) -> str:
    """The path of a daemon: in `$CYRAY_BIN_DIR` where that is set, else in the package's own folder."""
    given = os.environ.get("CYRAY_BIN_DIR")
    if given:
        path = os.path.join(given, name)
        if not os.access(path, os.X_OK):
            raise RuntimeError(f"CYRAY_BIN_DIR names {given!r}, which has no program {name!r}.")
        return path
    folders = [os.path.join(PACKAGE_DIR, "_bin")]
    # An editable install has its binaries beside the extension, not beside the sources.
    extension = sys.modules.get("cyray._raylet")
    if extension is not None and getattr(extension, "__file__", None):
        folders.append(os.path.join(os.path.dirname(str(extension.__file__)), "_bin"))
    for folder in folders:
        path = os.path.join(folder, name)
        if os.access(path, os.X_OK):
            return path
    raise RuntimeError(f"The program {name!r} is in none of {folders}; is cyray built?")


def _quoted(name: str) -> str:
    # Commas part the resources of the raylet's command line.
    return name.replace("%", "%25").replace(",", "%2C")


def _decimal(amount: float) -> str:
    return str(amount) if isinstance(amount, int) else f"{amount:.4f}".rstrip("0").rstrip(".")
