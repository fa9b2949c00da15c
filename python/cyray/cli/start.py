"""`cyray start`: a node that runs until `cyray stop`, or as long as the command with `--block`.

Place: on `_node` alone; it connects to nothing.
"""

from __future__ import annotations

import ipaddress
import json
import os
import re
import signal
import socket
import sys
from typing import Any

import click

from cyray._node import addresses, sessions
from cyray._node.local import LocalNode
from cyray._node.options import NodeOptions, check_ip, module_names
from cyray.cli.types import Amount

DEFAULT_PORT = 6379


class _Json(click.ParamType):
    name = "json"

    def convert(self, value: Any, param: Any, ctx: Any) -> Any:
        try:
            parsed = json.loads(value) if isinstance(value, str) else value
        except ValueError as error:
            self.fail(f"{value!r} is not JSON: {error}", param, ctx)
        if not isinstance(parsed, dict):
            self.fail(f"{value!r} is not a JSON object like '{{\"Custom\": 1}}'", param, ctx)
        return parsed


@click.command()
@click.option("--head", is_flag=True, help="Start the head node of a new cluster.")
@click.option("--address", help="host:port of the cluster to join.")
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    help=f"Port of the head ({DEFAULT_PORT}; 0: any free one).",
)
@click.option(
    "--node-ip-address",
    help="Address of this node for the others (127.0.0.1; when it joins a cluster of another "
    "machine: the one from which this machine reaches it).",
)
@click.option("--num-cpus", type=Amount(), help="CPUs to offer.")
@click.option("--num-gpus", type=Amount(), help="GPUs to offer.")
@click.option("--memory", type=click.IntRange(0), help="Bytes that tasks may ask for.")
@click.option("--resources", type=_Json(), default="{}", help="Others, as '{\"Custom\": 1}'.")
@click.option("--labels", default="", help="Labels of the node, as region=eu,disk=fast.")
@click.option("--object-store-memory", type=click.IntRange(1), help="Bytes of the object store.")
@click.option(
    "--metrics-export-port",
    type=click.IntRange(0, 65535),
    default=0,
    help="Port of this node where Prometheus finds its metrics (0: any free one).",
)
@click.option("--temp-dir", help="Folder of the sessions, instead of /tmp/cyray.")
@click.option("--token-file", help="Token of a cluster whose head is on another machine.")
@click.option("--preload", help="Modules that workers import ahead, as numpy,scipy.")
@click.option("--block", is_flag=True, help="Stay in the foreground until the node ends.")
@click.option("--include-dashboard", type=bool, hidden=True, expose_value=False)
@click.option("--disable-usage-stats", is_flag=True, hidden=True, expose_value=False)
def start(**given: Any) -> None:
    """Start a node: the head of a new cluster, or one that joins."""
    if given["head"] == bool(given["address"]):
        raise click.UsageError("Give either --head or --address=host:port.")
    if given["address"] and given["port"] is not None:
        raise click.UsageError("--port is of the head: it goes with --head.")
    if given["head"] and given["token_file"]:
        raise click.UsageError(
            "--token-file goes with --address: the head of a new cluster makes a token of its own."
        )
    if given["temp_dir"]:
        os.environ["CYRAY_TMPDIR"] = given["temp_dir"]
    try:
        node = _started(given)
    except (RuntimeError, ValueError, TypeError, OSError) as error:
        raise click.ClickException(str(error)) from None
    click.echo(f"Local node IP: {node.node_ip}\nSession folder: {node.session_dir}")
    if given["head"]:
        _print_next_steps(node)
    else:
        _print_boxed("cyray runtime started.")
        click.echo("\nTo terminate the cyray runtime, run\n  cyray stop")
    if given["temp_dir"]:
        click.echo(
            "\nThe commands above and cyray.init() find this node where the environment has\n"
            f"  CYRAY_TMPDIR={sessions.base_dir()}"
        )
    if given["block"]:
        _block(node)


def _started(given: dict[str, Any]) -> LocalNode:
    """A node that runs, and that other programs find; or none."""
    options = _node_options(given)
    if given["head"]:
        _check_port(options)
    else:
        options = _join(options, given)
    node = LocalNode(options)
    try:
        if options.preload:
            node.tell_of_imports()
        sessions.write_current_cluster(node.gcs_address)
    except BaseException:
        node.stop()
        raise
    return node


def _node_options(given: dict[str, Any]) -> NodeOptions:
    def whole(value: float | None) -> float | None:
        return int(value) if value is not None and value == int(value) else value

    preload = [name.strip() for name in (given["preload"] or "").split(",") if name.strip()]
    return NodeOptions(
        num_cpus=whole(given["num_cpus"]),
        num_gpus=whole(given["num_gpus"]),
        memory=given["memory"],
        object_store_memory=given["object_store_memory"],
        resources=given["resources"],
        labels=_labels(given["labels"]),
        head=given["head"],
        node_ip=given["node_ip_address"] or "127.0.0.1",
        gcs_port=DEFAULT_PORT if given["port"] is None else given["port"],
        metrics_export_port=given["metrics_export_port"],
        preload=module_names(preload, "--preload"),
        lifeline=given["block"],
    )


def _labels(text: str) -> dict[str, str]:
    labels = {}
    for item in filter(None, (part.strip() for part in text.split(","))):
        key, equals, value = item.partition("=")
        if not equals:
            raise ValueError(f"--labels: {item!r} is not of the form key=value.")
        labels[key] = value
    return labels


def _check_port(options: NodeOptions) -> None:
    """Tells who has the head's port, before a node tries in vain to listen on it."""
    check_ip(options.node_ip)
    for session_dir in sessions.sessions():
        for record in sessions.node_records(session_dir):
            port = str(record.get("gcs_address") or "").rpartition(":")[2]
            if record.get("head") and port == str(options.gcs_port) and options.gcs_port:
                raise ConnectionError(
                    f"A cyray cluster is already running at {record['gcs_address']}. Run "
                    "`cyray stop` first, or give another --port."
                )
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((options.node_ip, options.gcs_port))
        except OSError as error:
            raise ConnectionError(
                f"{options.node_ip}:{options.gcs_port} cannot be listened on ({error.strerror}); "
                "give another --port or --node-ip-address."
            ) from None


def _join(options: NodeOptions, given: dict[str, Any]) -> NodeOptions:
    """With where the cluster is filled in: a session of this machine, or a new one with its token."""
    address = given["address"]
    try:
        target = addresses.resolve(address)
    except ConnectionError:
        token_file = given["token_file"] or os.environ.get("CYRAY_TOKEN_FILE")
        if not token_file:
            raise ConnectionError(
                f"No node of the cluster at {address} runs on this machine. To join a cluster of "
                "another machine, copy the token file of its session here and give --token-file."
            ) from None
        token = _read_token(token_file)
        own_address = _own_address(address)
        return options._replace(
            gcs_address=address,
            node_ip=given["node_ip_address"] or own_address,
            token=token,
        )
    if target is None:
        raise ValueError("--address must be host:port.")
    return options._replace(session_dir=target.session_dir, gcs_address=target.gcs_address)


def _read_token(path: str) -> str:
    with open(path, errors="replace") as file:
        token = file.read(1000).strip()
    if not re.fullmatch("[0-9a-f]{64}", token):
        raise ValueError(
            f"{path} holds no cluster token: it must be a copy of the file `token` in the session "
            "folder of the cluster's head (64 hex digits)."
        )
    return token


def _own_address(address: str) -> str:
    """The address of this machine as the cluster's head sees it."""
    host, _, port = address.rpartition(":")
    try:
        with socket.create_connection((host, int(port)), timeout=5) as probe:
            return str(probe.getsockname()[0])
    except OSError as error:
        raise ConnectionError(
            f"No cluster answers at {address} ({error.strerror or error}); the address is the one "
            "that `cyray start --head` printed there."
        ) from None


def _print_boxed(text: str) -> None:
    line = "-" * len(text)
    click.echo(f"\n{line}\n{text}\n{line}")


def _print_next_steps(node: LocalNode) -> None:
    _print_boxed("cyray runtime started.")
    join = f"cyray start --address='{node.gcs_address}'"
    click.echo(
        f"""
Next steps
  To add another node to this cluster, run
    {join}"""
    )
    if not ipaddress.ip_address(node.node_ip).is_loopback:
        click.echo(
            f"""  On another machine, copy {node.session_dir}/token there, and run
    {join} --token-file=<the copy>"""
        )
    click.echo(
        """
  To connect to this cluster:
    import cyray
    cyray.init(address='auto')

  To terminate the cyray runtime, run
    cyray stop

  To view the status of the cluster, run
    cyray status"""
    )


class _AskedToEnd(Exception):
    """SIGINT or SIGTERM came."""


def _block(node: LocalNode) -> None:
    """Waits for the node's end; SIGINT and SIGTERM end it in order, SIGKILL by its lifeline."""

    def end(number: int, _frame: Any) -> None:
        for other in (signal.SIGINT, signal.SIGTERM):
            signal.signal(other, signal.SIG_IGN)
        raise _AskedToEnd

    try:
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, end)
        click.echo("\nRunning until the node ends (--block). Ctrl-C ends it.")
        sys.stdout.flush()
        while not node.wait(3600):
            pass
    except _AskedToEnd:
        node.stop()
        return
    node.stop()
    raise click.ClickException(f"The raylet ended unexpectedly; see {node.log_path}.")
