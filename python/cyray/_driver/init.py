"""`init`: what its arguments mean, and what it makes of them.

Place: above `session`, which holds what is made. Threading: under the session's lock, but for what may
take long.
"""

from __future__ import annotations

import os
import sys
from typing import Any

from cyray import _raylet
from cyray._driver import hints
from cyray._driver import session as sessions
from cyray._driver.events import ensure_event_thread
from cyray._driver.job import entrypoint, job_config
from cyray._driver.session import Session, call_waiting, shutdown
from cyray._node import addresses, environment
from cyray._node.options import module_names
from cyray._node.sessions import package_version
from cyray._os import machine
from cyray._process import me
from cyray._spec import options as _options

# What old programs say, and what it means now; None: accepted and without effect here.
_LEGACY = {
    "redis_address": "address",
    "driver_object_store_memory": None,
    "include_webui": None,
    "include_dashboard": None,
    "dashboard_host": None,
    "dashboard_port": None,
    "configure_logging": None,
    "logging_level": None,
    "logging_format": None,
}

# Arguments of Ray's that are not shown. Without the underscore they are options of a node.
_HIDDEN = ("_metrics_export_port",)


def init(
    address: str | None = None,
    *,
    num_cpus: float | None = None,
    num_gpus: float | None = None,
    memory: int | None = None,
    resources: dict[str, float] | None = None,
    labels: dict[str, str] | None = None,
    object_store_memory: int | None = None,
    namespace: str | None = None,
    log_to_driver: bool = True,
    ignore_reinit_error: bool = False,
    cancel_on_interrupt: bool = False,
    worker_preload: list[str] | tuple[str, ...] = (),
    **legacy: Any,
) -> RayContext:
    """Start cyray on this machine, or attach to a cluster.

    Args:
        address: `None` attaches to `CYRAY_ADDRESS` or the cluster that `cyray start` started on this
            machine and else starts a node of its own; `"auto"` only attaches; `"local"` always
            starts; `"host:port"` attaches to that cluster.
        num_cpus, num_gpus, memory, resources: what the started node offers; detected when not
            given. Amounts are logical. `memory` in bytes.
        labels: of the started node, for `label_selector` and `NodeLabelSchedulingStrategy`.
        object_store_memory: bytes of the started node's shared memory for objects.
        namespace: of named actors; an anonymous one of its own when not given.
        log_to_driver: print the output of workers here.
        ignore_reinit_error: return the present context when cyray is initialized already.
        cancel_on_interrupt: Ctrl-C during a `get` cancels what that `get` waits for.
        worker_preload: names of modules that workers have imported before they run anything; one
            that cannot be imported is reported and left out.

    Raises:
        RuntimeError: initialized already, an unknown argument, or the node did not start.
        TypeError: an argument of the wrong type.
        ConnectionError: there is no such cluster.
        ValueError: what a node is to be, together with the address of a cluster.
    """
    address = _with_legacy(address, legacy)
    preload = module_names(worker_preload)
    own = {
        "num_cpus": num_cpus,
        "num_gpus": num_gpus,
        "memory": memory,
        "resources": resources,
        "labels": labels,
        "object_store_memory": object_store_memory,
        **{name: legacy.get(name) for name in _HIDDEN},
    }
    if _options.text("namespace", namespace) == "":
        raise ValueError('"" is not a valid namespace. Pass None to not specify a namespace.')
    _options.flag("log_to_driver", log_to_driver)
    _options.flag("ignore_reinit_error", ignore_reinit_error)
    _options.flag("cancel_on_interrupt", cancel_on_interrupt)
    session = Session(namespace)
    try:
        with sessions.lock:
            if _raylet.is_connected():  # workers always are
                if ignore_reinit_error:
                    return RayContext()
                raise RuntimeError(
                    "Maybe you called cyray.init twice by accident? This process is connected already: "
                    "call cyray.shutdown() first, or cyray.init(ignore_reinit_error=True) to go on "
                    "with the session that there is."
                )
            sessions.end_session()  # a shutdown that did not come to its end
            _raylet.connect(
                _find_or_start(session, address, own, preload),
                namespace=session.namespace,
                entrypoint=entrypoint(),
                job_config=job_config(),
                log_to_driver=log_to_driver,
            )
            _raylet.cancel_on_interrupt(cancel_on_interrupt)
            ensure_event_thread()
            hints.install()
            context = RayContext()
        call_waiting()
        if preload:  # not under the lock: it takes as long as the imports do
            session.node.tell_of_imports()
    except BaseException:
        if sessions.current is session:
            shutdown()
        else:
            call_waiting()
        raise
    return context


def _find_or_start(
    session: Session, address: str | None, own: dict[str, Any], preload: tuple[str, ...]
) -> str:
    """The path of a raylet's socket: of the cluster that is meant, or of a node started for `session`."""
    environment.check(os.environ)
    machine.fill_standard_descriptors()
    machine.raise_descriptor_limit()
    target = addresses.resolve(address)
    if target is not None:
        _refuse_with_address({**own, "worker_preload": preload or None})
    session.register()
    if target is None:
        node = {name.removeprefix("_"): value for name, value in own.items()}
        me.raylet_socket = session.start_node(node, preload)
    else:
        me.raylet_socket = target.socket
    return me.raylet_socket


def _refuse_with_address(own: dict[str, Any]) -> None:
    given = [name for name, value in own.items() if value is not None]
    if given:
        raise ValueError(
            f"When connecting to an existing cluster, {' and '.join(given)} must not be provided."
        )


def _with_legacy(address: str | None, legacy: dict[str, Any]) -> str | None:
    """The address, given under an old name too; refuses arguments that nobody knows."""
    unknown = [name for name in legacy if name not in _LEGACY and name not in _HIDDEN]
    if unknown:
        known = ["address", *(init.__kwdefaults__ or ())]
        raise RuntimeError(
            f"Unknown keyword argument(s): {', '.join(unknown)}. "
            f"{''.join(_options.did_you_mean(name, known) for name in unknown)}"
            f"There are {', '.join(known)}."
        )
    for name, value in legacy.items():
        if _LEGACY.get(name) == "address" and value is not None:
            if address is not None:
                raise ValueError(f"{name} is an old name of address; give one of them.")
            address = value
    return address


class RayContext(dict[str, Any]):
    """What `init` returns: addresses of the cluster; ends it when used in a `with`."""

    def __init__(self) -> None:
        who = _raylet.identity()
        super().__init__(
            node_ip_address=who["node_ip"],
            gcs_address=who["gcs_address"],
            address=who["gcs_address"],
            session_dir=who["session_dir"],
            node_id=who["node_id"],
            metrics_export_port=who["metrics_port"],
        )
        self.address_info = dict(self)
        self.dashboard_url = ""
        self.python_version = sys.version.split()[0]
        self.ray_version = package_version()

    def disconnect(self) -> None:
        shutdown()

    def __enter__(self) -> RayContext:
        return self

    def __exit__(self, *exc: object) -> None:
        shutdown()


def auto_init() -> None:
    """`init()` for programs that did not call it; not in workers, which always are connected."""
    if _raylet.is_connected():
        return
    if os.environ.get("CYRAY_ENABLE_AUTO_CONNECT") == "0":
        raise RuntimeError("cyray is not initialized: call cyray.init() first.")
    init(ignore_reinit_error=True)  # another thread may do the same
