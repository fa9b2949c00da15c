"""This process as a driver: start, attach, leave; and what the public functions share.

Place: wiring between the public package, `_node` (processes) and `_raylet` (the core). The state is
one `Session`. Threading: init and shutdown under a lock; one daemon thread takes the core's
events (output of workers, warnings, futures; in a worker, and only once it is needed: futures).
"""

from __future__ import annotations

import atexit
import os
import pickle
import sys
import threading
from collections.abc import Callable
from typing import Any

from cyray import _hooks, _raylet

_lock = threading.RLock()
_session: Session | None = None
_event_thread: threading.Thread | None = None


class Session:
    """What `init` makes: the node, when it is started here, and who this process is.

    It is this process's session before anything of it exists: wherever init ends (Ctrl-C comes at
    any time), `shutdown` finds what there is.
    """

    def __init__(self, namespace: str | None) -> None:
        self.node: Any = None
        self._waiting: list[Callable[[], Any]] = []
        self.namespace = namespace or _anonymous_namespace()

    def register(self) -> None:
        """From now on it is this process's."""
        global _session
        _session = self
        # atexit runs first what was registered last. `_node` registers the end of this process's nodes
        # when it is imported, and the driver must leave before they end, or what is still on its way
        # (output of workers) is lost.
        import cyray._node.local  # noqa: F401

        atexit.unregister(shutdown)
        atexit.register(shutdown, _exiting_interpreter=True)

    def start_node(self, own: dict[str, Any], preload: tuple[str, ...]) -> str:
        """Starts a node for this session alone; the path of its socket."""
        from cyray._node.local import LocalNode
        from cyray._node.options import NodeOptions

        given = {name: value for name, value in own.items() if value is not None}
        self.node = LocalNode(
            NodeOptions(**given, preload=preload),
            start=False,
            while_starting=_hooks.import_ahead,
        )
        self.node.start()
        return str(self.node.socket)

    def end(self, exiting_interpreter: bool) -> list[Callable[[], Any]]:
        """Leaves the node and ends it. Can be called again when it was interrupted.

        Returns what users wait with: callables, to be called outside of all locks.
        """
        global _event_thread
        thread = _event_thread
        if thread is not None and thread.ident not in (None, threading.get_ident()):
            if _raylet.is_connected():
                _raylet.flush_output()  # what workers have printed until now
                _raylet.stop_events()
            thread.join(1.0)
        _event_thread = None
        self._waiting += _raylet.disconnect(exiting_interpreter)
        if self.node is not None:
            self.node.stop()
        return self._waiting


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


def init(
    address: str | None = None,
    *,
    num_cpus: float | None = None,
    num_gpus: float | None = None,
    memory: int | None = None,
    resources: dict[str, float] | None = None,
    object_store_memory: int | None = None,
    namespace: str | None = None,
    log_to_driver: bool = True,
    ignore_reinit_error: bool = False,
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
        object_store_memory: bytes of the started node's shared memory for objects.
        namespace: of named actors; an anonymous one of its own when not given.
        log_to_driver: print the output of workers here.
        ignore_reinit_error: return the present context when cyray is initialized already.
        worker_preload: names of modules that workers have imported before they run anything; one
            that cannot be imported is reported and left out.

    Raises:
        RuntimeError: initialized already, an unknown argument, or the node did not start.
        TypeError: an argument of the wrong type.
        ConnectionError: there is no such cluster.
        ValueError: what a node is to be, together with the address of a cluster.
    """
    address = _with_legacy(address, legacy)
    preload = _module_names(worker_preload)
    own = {
        "num_cpus": num_cpus,
        "num_gpus": num_gpus,
        "memory": memory,
        "resources": resources,
        "object_store_memory": object_store_memory,
    }
    if namespace is not None and not namespace:
        raise ValueError('"" is not a valid namespace. Pass None to not specify a namespace.')
    session = Session(namespace)
    try:
        with _lock:
            if _raylet.is_connected():  # workers always are
                if ignore_reinit_error:
                    return RayContext()
                raise RuntimeError(
                    "Maybe you called cyray.init twice by accident? This process is connected already: "
                    "call cyray.shutdown() first, or cyray.init(ignore_reinit_error=True) to go on "
                    "with the session that there is."
                )
            interrupted = _end_session()  # a shutdown that did not come to its end
            _raylet.connect(
                _find_or_start(session, address, own, preload),
                namespace=session.namespace,
                entrypoint=" ".join(sys.argv)[:4096],
                job_config=_job_config(),
                log_to_driver=log_to_driver,
            )
            ensure_event_thread()
            context = RayContext()
        _call_all(interrupted)
        if preload:  # not under the lock: it takes as long as the imports do
            session.node.tell_of_failed_imports()
    except BaseException:
        if _session is session:
            shutdown()
        raise
    return context


def _find_or_start(
    session: Session, address: str | None, own: dict[str, Any], preload: tuple[str, ...]
) -> str:
    """The path of a raylet's socket: of the cluster that is meant, or of a node started for `session`."""
    from cyray._node import addresses
    from cyray._os import machine as _machine

    _machine.raise_descriptor_limit()
    target = addresses.resolve(address)
    if target is not None:
        _refuse_with_address({**own, "worker_preload": preload or None})
    session.register()
    return session.start_node(own, preload) if target is None else target.socket


def _refuse_with_address(own: dict[str, Any]) -> None:
    given = [name for name, value in own.items() if value is not None]
    if given:
        raise ValueError(
            f"When connecting to an existing cluster, {' and '.join(given)} must not be provided."
        )


def _with_legacy(address: str | None, legacy: dict[str, Any]) -> str | None:
    """The address, given under an old name too; refuses arguments that nobody knows."""
    unknown = [name for name in legacy if name not in _LEGACY]
    if unknown:
        raise RuntimeError(f"Unknown keyword argument(s): {', '.join(unknown)}")
    for name, value in legacy.items():
        if _LEGACY[name] == "address":
            address = value
    return address


def _anonymous_namespace() -> str:
    """A namespace that no other driver has: a random UUID."""
    import uuid

    return str(uuid.uuid4())


def _module_names(given: Any) -> tuple[str, ...]:
    if isinstance(given, str) or not isinstance(given, (list, tuple)):
        raise TypeError(f"worker_preload must be a list of module names, not {given!r}.")
    for name in given:
        if not isinstance(name, str) or not all(part.isidentifier() for part in name.split(".")):
            raise ValueError(f"worker_preload: {name!r} is not the name of a module.")
    return tuple(given)


def _job_config() -> bytes:
    """What workers of this job need to be like this process: Python, import path, folder."""
    import json

    from cyray._node import sessions

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


def auto_init() -> None:
    """`init()` for programs that did not call it; not in workers, which always are connected."""
    if _raylet.is_connected():
        return
    if os.environ.get("CYRAY_ENABLE_AUTO_CONNECT") == "0":
        raise RuntimeError("cyray is not initialized: call cyray.init() first.")
    with _lock:  # another thread may do the same
        if not _raylet.is_connected():
            init()


def shutdown(_exiting_interpreter: bool = False, wait_for_processes: bool = False) -> None:
    """Leave the cluster, and end the node that `init` started. Idempotent.

    What was got stays valid: arrays that lie in shared memory become private copies. Threads and
    futures that wait get a RuntimeError.
    """
    with _lock:
        waiting = _end_session(_exiting_interpreter)
    _call_all(waiting)


def _end_session(exiting_interpreter: bool = False) -> list[Callable[[], Any]]:
    """With the lock held; what it returns is for `_call_all`, without the lock."""
    global _session
    if _session is None:
        return []
    waiting = _session.end(exiting_interpreter)
    _session = None
    if "cyray._logs" in sys.modules:
        waiting.append(sys.modules["cyray._logs"].flush)
    return waiting


def _call_all(waiting: list[Callable[[], Any]]) -> None:
    """Calls what is the user's own code (callbacks of futures, streams). It may wait for a thread that
    calls init or shutdown, so no lock is held."""
    for callback in waiting:
        try:
            callback()
        except Exception:  # the others count too
            _report("a callback failed at shutdown")


def is_initialized() -> bool:
    """Whether this process is connected to a node."""
    return _raylet.is_connected()


def current_namespace() -> str:
    """The namespace in which this process names and finds actors."""
    if _session is not None:
        return _session.namespace
    from cyray import _worker_main

    return _worker_main.state.namespace


# --- Events -----------------------------------------------------------------------------------------


def ensure_event_thread() -> None:
    """The thread that takes the core's events, once; a worker's takes no more than callbacks."""
    global _event_thread
    if _event_thread is not None:
        return
    _event_thread = threading.Thread(target=_take_events, name="cyray-events", daemon=True)
    _event_thread.start()


def _take_events() -> None:
    me = threading.current_thread()
    while _event_thread is me:
        event = _raylet.next_event()
        if event is None:  # the core stops, and nothing is left
            return
        try:
            handle_event(event)
        except Exception:  # a broken stdout must not end the thread
            _report("an event was lost")


def _report(what: str) -> None:
    """The traceback of the exception that is handled, where it cannot be raised."""
    import traceback

    if sys.__stderr__ is not None:
        try:
            sys.__stderr__.write(f"cyray: {what}:\n{traceback.format_exc()}")
        except (OSError, ValueError):
            pass  # a closed one: there is nobody to tell


def handle_event(event: tuple[Any, ...]) -> None:
    """One event of the core, on whatever thread takes them."""
    kind = event[0]
    if kind == _raylet.EVENT_CALLBACK:
        _raylet.run_callback(event[1])
    elif kind == _raylet.EVENT_LOG_LINES:
        from cyray import _logs

        pid, ip, label, is_stderr, lines = event[1:]
        _logs.print_lines(pid, ip, label, is_stderr, lines)
    elif kind == _raylet.EVENT_WARNING:
        sys.stderr.write(f"cyray: {event[1]}\n")


# --- Questions ----------------------------------------------------------------------------------------


def get_actor(name: str, namespace: str | None = None) -> Any:
    """A weak handle of a named actor.

    Raises:
        ValueError: there is none of that name in the namespace.
    """
    if not isinstance(name, str) or not name:
        raise ValueError("Please supply a non-empty value to get_actor")
    auto_init()
    where = current_namespace() if namespace is None else namespace
    found = _raylet.get_actor_by_name(name, where)
    if found is None:
        raise ValueError(
            f"Failed to look up actor with name '{name}' in the namespace '{where}': nobody made it "
            "there, or it is dead. cyray.util.list_named_actors(all_namespaces=True) shows those "
            "that live."
        )
    actor_id, meta = found
    return _raylet.make_handle(actor_id, pickle.loads(meta), None)


def list_named_actors(all_namespaces: bool) -> list[tuple[str, str]]:
    """Names and namespaces of the named actors that are not dead."""
    mine = current_namespace()
    return [
        (actor["name"], actor["namespace"])
        for actor in _raylet.list_actors()
        if actor["name"]
        and actor["state"] != "Dead"
        and (all_namespaces or actor["namespace"] == mine)
    ]


def kill(actor: Any, *, no_restart: bool = True) -> None:
    """End an actor's process at once; it is restarted only with `no_restart=False`.

    Raises:
        ValueError: `actor` is not an actor handle.
        ActorHandleNotFoundError: it is one of a session that was shut down.
    """
    if not isinstance(actor, _raylet.ActorHandle):
        raise ValueError(f"cyray.kill() only supported for actors. Got: {type(actor)}.")
    if actor._is_stale:
        from cyray._errors.classes import ActorHandleNotFoundError

        raise ActorHandleNotFoundError(f"{actor} belongs to a cyray session that was shut down.")
    _raylet.kill_actor(actor._actor_id, no_restart, "")


def require_started() -> None:
    """Raises RaySystemError when there is no cluster to ask."""
    if not _raylet.is_connected():
        from cyray._errors.classes import RaySystemError

        raise RaySystemError(
            "cyray has not been started yet. You can start it with 'cyray.init()'."
        )


def nodes() -> list[dict[str, Any]]:
    """A dict per node that ever joined, as Ray shows them."""
    require_started()
    session = _raylet.identity()["session_dir"]
    return [
        {
            "NodeID": node["node_id"],
            "Alive": node["alive"],
            "alive": node["alive"],
            "NodeManagerAddress": node["ip"],
            "NodeManagerHostname": node["hostname"],
            "NodeManagerPort": node["port"],
            "ObjectManagerPort": node["port"],
            "ObjectStoreSocketName": node["socket"] or f"{session}/sockets/plasma_store",
            "RayletSocketName": node["socket"],
            "MetricsExportPort": 0,
            "NodeName": node["ip"],
            "DeathReasonMessage": node["death_reason"],
            "Labels": {},
            "Resources": node["total"] if node["alive"] else {},
        }
        for node in _raylet.list_nodes()
    ]


def cluster_resources() -> dict[str, float]:
    """Totals over the living nodes."""
    return _sum("total")


def available_resources() -> dict[str, float]:
    """What is free now on the living nodes; resources that are all in use are left out."""
    return {name: amount for name, amount in _sum("available").items() if amount > 0}


def _sum(which: str) -> dict[str, float]:
    require_started()
    total: dict[str, float] = {}
    for node in _raylet.list_nodes():
        if node["alive"]:
            for name, amount in node[which].items():
                total[name] = round(total.get(name, 0) + amount, 4)
    return total


def node_info() -> str:
    """What this process and everybody else on its node wait for: text, then JSON."""
    if not _raylet.is_connected():
        return ""
    return f"{_raylet.describe()}{_raylet.node_dump()}"


class ContextSource:
    """What `RuntimeContext` reads."""

    def __getattr__(self, name: str) -> Any:
        if name in ("job_id", "node_id", "worker_id", "gcs_address", "session_dir"):
            return _raylet.identity()[name]
        raise AttributeError(name)

    @property
    def namespace(self) -> str:
        return current_namespace()

    @property
    def current_task_id(self) -> str | None:
        return self._of_task(0)

    @property
    def current_task_name(self) -> str | None:
        return self._of_task(1)

    @property
    def current_function_name(self) -> str | None:
        return self._of_task(2)

    @staticmethod
    def _of_task(part: int) -> str | None:
        task = _raylet.current_task()
        return task[part] if task else None

    @property
    def current_actor_id(self) -> str | None:
        actor = _raylet.current_actor_id()
        return actor.hex() if actor else None

    @property
    def current_actor_name(self) -> str | None:
        return _state().actor_name

    @property
    def actor_incarnation(self) -> int:
        return _state().incarnation

    def current_actor_handle(self) -> Any:
        return _raylet.make_handle(_raylet.current_actor_id(), _state().actor_meta, None)

    @property
    def gpu_ids(self) -> list[int]:
        return _raylet.current_gpu_ids() or _state().gpu_ids

    @property
    def visible_gpus(self) -> list[str] | None:
        return _state().visible_gpus

    def assigned_resources(self) -> dict[str, float]:
        return _state().assigned_resources()


def _state() -> Any:
    from cyray import _worker_main

    return _worker_main.state


def get_runtime_context() -> Any:
    """Where this code runs: ids of job, node, worker, task and actor, as a `RuntimeContext`."""
    from cyray import _runtime_context

    auto_init()
    return _runtime_context.RuntimeContext(ContextSource())


def get_gpu_ids() -> list[int | str]:
    """The GPUs assigned to the running task or actor."""
    from cyray import _runtime_context

    auto_init()
    return _runtime_context.gpu_ids(ContextSource())


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
        )
        from cyray import __version__

        self.address_info = dict(self)
        self.dashboard_url = ""
        self.python_version = sys.version.split()[0]
        self.ray_version = __version__

    def disconnect(self) -> None:
        shutdown()

    def __enter__(self) -> RayContext:
        return self

    def __exit__(self, *exc: object) -> None:
        shutdown()


def _after_fork_in_child() -> None:
    global _session, _event_thread
    _session = None
    _event_thread = None
    _raylet.abandon_after_fork()


os.register_at_fork(after_in_child=_after_fork_in_child)
