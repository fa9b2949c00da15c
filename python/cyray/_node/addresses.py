"""Which cluster `init(address=...)` and the command line mean.

Place: above `sessions`; asked by `_driver.init` and `cli`. Pure rules over environment, session
folders and arguments; starts nothing. An address is resolved to a raylet of this machine, because a
process talks to the cluster through its own node's raylet alone.
"""

# Annotations are evaluated here: NamedTuple would compile each as a string, which takes a millisecond.

import os
from typing import Any, NamedTuple

from cyray._node import sessions

_LOCAL_HOSTS = ("localhost", "127.0.0.1", "::1", "0.0.0.0")


class AttachTarget(NamedTuple):
    """A running node of this machine to attach to."""

    session_dir: str
    socket: str
    gcs_address: str
    node_ip: str
    node_id: str


def resolve(address: str | None) -> AttachTarget | None:
    """The node to attach to, or None when a new one is to be started.

    None: `CYRAY_ADDRESS`, else the cluster that `cyray start` started here, else a new node.
    "auto": the same, but ConnectionError instead of a new node. "local": always a new node.
    "host:port": the cluster whose GCS listens there. ConnectionError when it cannot be reached
    from this machine or runs another version of cyray, ValueError for what is no address.
    """
    if address is not None and not isinstance(address, str):
        raise TypeError(f"The address must be a string, not {type(address).__name__}.")
    given = address
    if address is None or address == "auto":
        address = os.environ.get("CYRAY_ADDRESS") or None
        if address == "auto":
            given, address = "auto", None
        elif address is not None:
            return _named_by_environment(address)
    if address == "local":
        return None
    if address is not None:
        return _find(_checked(address))
    current = sessions.read_current_cluster()
    if current:
        target = _find_or_none(current)
        if target is not None:
            return target
    if given == "auto":
        target = _any_daemon()
        if target is None:
            raise ConnectionError(
                "Could not find any running cyray cluster on this machine (looked in "
                f"{sessions.base_dir()}). Start one with `cyray start --head`, or give its address; "
                "CYRAY_TMPDIR names another folder."
            )
        return target
    return None


def _named_by_environment(address: str) -> AttachTarget | None:
    if address == "local":
        return None
    try:
        return _find(_checked(address))
    except (ValueError, ConnectionError) as error:
        raise type(error)(f"CYRAY_ADDRESS is {address!r}. {error}") from None


def _checked(address: str) -> str:
    if "://" in address:
        raise ValueError(
            f"{address!r}: there is no client protocol; a program talks to a cluster through a node of "
            "its own machine, by 'host:port'."
        )
    host, colon, port = address.rpartition(":")
    if not colon or not host or not port.isdecimal() or not 0 < int(port) < 65536:
        raise ValueError(f"{address!r} is no address: it must be 'auto', 'local' or 'host:port'.")
    return address


def _find(address: str) -> AttachTarget:
    target = _find_or_none(address)
    if target is None:
        raise ConnectionError(
            f"No node of a cluster at {address} runs on this machine (looked in "
            f"{sessions.base_dir()}). Start one with `cyray start --head` or `cyray start "
            f"--address={address}`."
        )
    return target


def _find_or_none(address: str) -> AttachTarget | None:
    for session_dir in sessions.sessions():
        for record in sessions.node_records(session_dir):
            if _same_address(address, record.get("gcs_address") or "", record):
                return _target(record)
    return None


def _any_daemon() -> AttachTarget | None:
    for session_dir in sessions.sessions():
        for record in sessions.node_records(session_dir):
            if record.get("daemon") and record.get("gcs_address"):
                return _target(record)
    return None


def _same_address(wanted: str, found: str, record: dict[str, Any]) -> bool:
    if wanted == found:
        return bool(found)
    wanted_host, _, wanted_port = wanted.rpartition(":")
    found_host, _, found_port = found.rpartition(":")
    if wanted_port != found_port or not found:
        return False
    own = {*_LOCAL_HOSTS, record.get("node_ip")}
    return wanted_host in own and found_host in own


def _target(record: dict[str, Any]) -> AttachTarget:
    version = sessions.package_version()
    if record.get("version", "") != version:
        raise ConnectionError(
            f"The node at {record['gcs_address']} runs cyray {record.get('version', '?')}, this "
            f"program {version}. All of a cluster must be of one version: `cyray stop`, then start "
            "it again with this one."
        )
    return AttachTarget(
        session_dir=record["session_dir"],
        socket=record["socket"],
        gcs_address=record["gcs_address"],
        node_ip=record["node_ip"],
        node_id=record.get("node_id", ""),
    )
