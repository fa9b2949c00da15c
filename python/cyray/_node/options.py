"""What a node is to be, and the amounts that it offers.

Place: data and pure rules; `local` starts what is described here.
"""

# Annotations are evaluated here: NamedTuple would compile each as a string, which takes a millisecond.

import re
from collections.abc import Mapping
from typing import Any, NamedTuple

from cyray._os import machine
from cyray._spec import labels
from cyray._spec import options as spec

MIN_OBJECT_STORE_BYTES = 75 * 1024 * 1024
MAX_OBJECT_STORE_BYTES = 200 * 1000**3
OBJECT_STORE_SHARE = 0.3
# What every node offers by itself: how large its store is, and which node it is.
_OWN_RESOURCES = ("object_store_memory", "node:")
_MOST_PRESTARTED = 10_000
_prestart = spec.int_at_least(0, _MOST_PRESTARTED)
_port = spec.int_at_least(0, 65_535)


class NodeOptions(NamedTuple):
    """What a node is to be. None stands for "as detected"."""

    num_cpus: float | None = None
    num_gpus: float | None = None
    memory: int | None = None
    object_store_memory: int | None = None
    resources: Mapping[str, float] = {}
    labels: Mapping[str, str] = {}
    head: bool = True
    gcs_address: str | None = None  # of the head, for further nodes
    session_dir: str | None = None  # of the head, for further nodes on its machine
    token: str | None = None  # of the cluster, where a new session folder is made for it
    node_ip: str = "127.0.0.1"
    port: int = 0
    advertise_port: int = 0  # where other nodes reach it, through a proxy; 0: at `port`
    gcs_port: int = 0
    metrics_export_port: int = 0  # where it answers Prometheus
    preload: tuple[str, ...] = ()
    prestart: int | None = None
    lifeline: bool = True  # the node ends with this process
    env: Mapping[str, str] = {}


def module_names(given: Any, what: str = "worker_preload") -> tuple[str, ...]:
    """The modules that workers are to have imported; `what` is where they were given.

    Raises:
        TypeError, ValueError: they are no list, or one of them is no name of a module.
    """
    if isinstance(given, str) or not isinstance(given, (list, tuple)):
        raise TypeError(f"{what} must be a list of module names, not {given!r}.")
    for name in given:
        if not isinstance(name, str) or not all(part.isidentifier() for part in name.split(".")):
            raise ValueError(f"{what}: {name!r} is not the name of a module.")
        spec.text(what, name)
    return tuple(given)


def checked(options: NodeOptions) -> NodeOptions:
    """The same with plain containers, None standing for an empty one.

    Raises:
        TypeError, ValueError: an option, by its name, says what no node can be.
    """
    _check_amounts(options)
    check_ip(options.node_ip)
    preload = () if options.preload is None else options.preload
    return options._replace(
        resources=dict(options.resources or {}),
        labels=labels.node_labels(options.labels),
        preload=module_names(preload, "preload"),
        prestart=_prestart("prestart", options.prestart),
        metrics_export_port=_port("metrics_export_port", options.metrics_export_port) or 0,
        env=_environment(options.env),
    )


def _environment(given: Any) -> dict[str, str]:
    given = {} if given is None else given
    if not isinstance(given, Mapping):
        raise TypeError(f"env must be a dict of environment variables, not {given!r}.")
    for name, value in given.items():
        if not isinstance(name, str) or not isinstance(value, str):
            raise TypeError(f"env takes strings, as os.environ does, not {name!r}: {value!r}.")
        if not name or "=" in name or "\0" in name + value:
            raise ValueError(f"env: no environment variable can be {name!r}: {value!r}.")
    return dict(given)


def node_resources(options: NodeOptions) -> tuple[int, dict[str, float]]:
    """The bytes of the object store, and the resources by name of a node with these (checked) options.

    Raises:
        TypeError, ValueError: the size of the store is none.
    """
    available = machine.available_memory_bytes()
    store = _store_bytes(options.object_store_memory, available)
    memory = options.memory
    if memory is None:
        memory = max(0, available - store)
    cpus = options.num_cpus
    gpus = options.num_gpus
    resources: dict[str, float] = {
        "CPU": machine.cpu_count() if cpus is None else cpus,
        "GPU": machine.gpu_count() if gpus is None else gpus,
        "memory": memory,
        "object_store_memory": store,
        f"node:{options.node_ip}": 1.0,
    }
    if options.head:
        resources["node:__internal_head__"] = 1.0
    if resources["GPU"]:
        model = machine.gpu_model()
        if model:
            resources[f"accelerator_type:{model}"] = 1.0
    resources.update(options.resources)
    return store, {name: amount for name, amount in resources.items() if amount}


def _check_amounts(options: NodeOptions) -> None:
    names = ("num_cpus", "num_gpus", "memory", "resources")
    spec.task_options({name: getattr(options, name) for name in names})
    for name in options.resources or ():
        if name.startswith(_OWN_RESOURCES):
            raise ValueError(
                f"{name!r} cannot be in 'resources': each node has it of its own. The size of the "
                "store is object_store_memory."
            )


def check_ip(ip: Any) -> None:
    """Raises ValueError unless it is a node's address."""
    parts = ip.split(".") if isinstance(ip, str) else ()
    if len(parts) != 4 or not all(re.fullmatch("[0-9]{1,3}", p) and int(p) < 256 for p in parts):
        raise ValueError(f"A node's address must be an IPv4 address such as 10.0.0.1, not {ip!r}.")


def _store_bytes(wanted: int | None, available: int) -> int:
    if wanted is None:
        share = int(min(available * OBJECT_STORE_SHARE, MAX_OBJECT_STORE_BYTES))
        return max(share, MIN_OBJECT_STORE_BYTES)
    if isinstance(wanted, bool) or not isinstance(wanted, (int, float)) or wanted % 1:
        raise TypeError(f"object_store_memory must be a whole number of bytes, not {wanted!r}.")
    if wanted < MIN_OBJECT_STORE_BYTES:
        raise ValueError(
            f"Attempting to cap object store memory usage at {wanted} bytes, but the minimum "
            f"allowed is {MIN_OBJECT_STORE_BYTES} bytes."
        )
    total = machine.total_memory_bytes()
    if wanted > total:
        raise ValueError(
            f"An object store of {wanted} bytes is more than this machine's memory of {total} bytes."
        )
    return int(wanted)
