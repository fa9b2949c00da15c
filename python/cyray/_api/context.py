"""`get_runtime_context()`: where this code runs, as ids and names.

Place: reads a small source object over `_process` and the core; holds no state of its own.
Threading: every property is read when it is asked for, in the asking thread.
"""

from __future__ import annotations

from typing import Any

from cyray import _raylet
from cyray._driver.init import auto_init
from cyray._process import me
from cyray._spec import accelerators


class RuntimeContext:
    """Answers about the process, task and actor that ask.

    `source` has `job_id`, `node_id`, `worker_id`, `current_task_id`, `current_task_name`,
    `current_actor_id` (hex strings; None where there is none), `namespace`, `gcs_address`,
    `session_dir` and `assigned_resources()`; further attributes are read when it has them.
    """

    def __init__(self, source: Any) -> None:
        self._source = source

    def get(self) -> dict[str, Any]:
        """The ids as a dict; those that do not apply are left out."""
        context: dict[str, Any] = {
            "job_id": self.get_job_id(),
            "node_id": self.get_node_id(),
            "namespace": self.namespace,
        }
        for key, value in (("task_id", self.get_task_id()), ("actor_id", self.get_actor_id())):
            if value is not None:
                context[key] = value
        return context

    def get_job_id(self) -> str:
        """Hex id of the job: one driver and all that works for it."""
        return self._source.job_id

    def get_node_id(self) -> str:
        """Hex id of the node that this process runs on."""
        return self._source.node_id

    def get_worker_id(self) -> str:
        """Hex id of this process."""
        return self._source.worker_id

    def get_task_id(self) -> str | None:
        """Hex id of the running task; None in a driver outside of any."""
        return self._source.current_task_id

    def get_task_name(self) -> str | None:
        """Name of the running task: `options(name=...)`, or the function's."""
        return self._source.current_task_name

    def get_task_function_name(self) -> str | None:
        """Name of the running function or method."""
        return getattr(self._source, "current_function_name", self._source.current_task_name)

    def get_actor_id(self) -> str | None:
        """Hex id of the actor that this process is; None when it is none."""
        return self._source.current_actor_id

    def get_actor_name(self) -> str | None:
        """Name of the actor that this process is; "" when it has none, None when it is none."""
        if self._source.current_actor_id is None:
            return None
        return getattr(self._source, "current_actor_name", None) or ""

    def get_placement_group_id(self) -> str | None:
        """Hex id of the placement group that this task or actor is in; None when it is in none."""
        group = self._source.placement_group
        return None if group is None else group[0].hex()

    def get_assigned_resources(self) -> dict[str, float]:
        """What the running task or actor holds: `{"CPU": 1.0}`, `{}` for a default actor."""
        return self._source.assigned_resources()

    def get_accelerator_ids(self) -> dict[str, list[str]]:
        """Instances of accelerators held, as strings, by kind: `{"GPU": ["0"], "TPU": [], ...}`."""
        held = accelerators.by_kind(getattr(self._source, "device_numbers", ()))
        return {kind: [str(i) for i in held.get(kind, ())] for kind in accelerators.VARIABLES}

    def get_resource_ids(self) -> dict[str, list[str]]:
        """The name that `get_accelerator_ids` had before."""
        return self.get_accelerator_ids()

    def get_node_labels(self) -> dict[str, str]:
        """Labels of this node: its own, and `cyray.io/node-id`."""
        return self._source.node_labels()

    def get_session_name(self) -> str:
        """Name of the session folder: `session_<date>_<time>_<micros>_<pid>`."""
        return self._source.session_dir.rstrip("/").rsplit("/", 1)[-1]

    def get_temp_dir(self) -> str:
        """The folder of all sessions."""
        return self._source.session_dir.rstrip("/").rsplit("/", 1)[0]

    def get_runtime_env_string(self) -> str:
        """The runtime environment as JSON: an empty one."""
        return "{}"

    def is_canceled(self) -> bool:
        """Whether the running task or call was cancelled."""
        return bool(getattr(self._source, "is_canceled", False))

    @property
    def namespace(self) -> str:
        """The namespace of named actors that this job uses."""
        return self._source.namespace

    @property
    def gcs_address(self) -> str:
        """`ip:port` of the GCS."""
        return self._source.gcs_address

    @property
    def runtime_env(self) -> dict[str, Any]:
        """The runtime environment: an empty one."""
        return {}

    @property
    def current_actor(self) -> Any:
        """A handle of the actor that this process is; RuntimeError when it is none."""
        make_handle = getattr(self._source, "current_actor_handle", None)
        if self._source.current_actor_id is None or make_handle is None:
            raise RuntimeError("This method is only available in an actor.")
        return make_handle()

    @property
    def was_current_actor_reconstructed(self) -> bool:
        """Whether this actor's process is not its first one."""
        if self._source.current_actor_id is None:
            raise RuntimeError("This method should never be called outside of an actor.")
        return bool(getattr(self._source, "actor_incarnation", 0))

    @property
    def should_capture_child_tasks_in_placement_group(self) -> bool:
        """Whether what this task or actor submits is in its placement group, too."""
        group = self._source.placement_group
        return group is not None and bool(group[2])

    # Names of earlier ages, as properties.
    job_id = property(get_job_id)
    node_id = property(get_node_id)
    task_id = property(get_task_id)
    actor_id = property(get_actor_id)
    worker_id = property(get_worker_id)

    def __repr__(self) -> str:
        return f"RuntimeContext({self.get()})"


def gpu_ids(source: Any) -> list[int | str]:
    """The GPUs that the running task or actor holds.

    Ints, or the entries of a CUDA_VISIBLE_DEVICES that was set before cyray set it (strings when they
    are UUIDs): `source.visible_gpus` is that list or None, `source.gpu_ids` the held indexes.
    """
    held = list(getattr(source, "gpu_ids", ()))
    visible = getattr(source, "visible_gpus", None)
    if visible is None:
        return held
    entries = [visible[index] for index in held if 0 <= index < len(visible)]
    return [int(entry) if entry.isdigit() else entry for entry in entries]


class ContextSource:
    """What `RuntimeContext` reads."""

    def __getattr__(self, name: str) -> Any:
        if name in ("job_id", "node_id", "worker_id", "gcs_address", "session_dir"):
            return _raylet.identity()[name]
        raise AttributeError(name)

    @property
    def namespace(self) -> str:
        return me.namespace

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
    def is_canceled(self) -> bool:
        return _raylet.is_cancelled()

    @property
    def current_actor_id(self) -> str | None:
        actor = _raylet.current_actor_id()
        return actor.hex() if actor else None

    @property
    def current_actor_name(self) -> str | None:
        return me.actor_name

    @property
    def actor_incarnation(self) -> int:
        return me.incarnation

    def current_actor_handle(self) -> Any:
        actor_id = _raylet.current_actor_id()
        assert actor_id is not None, "asked in actors alone"
        return _raylet.make_handle(actor_id, me.actor_meta, None)

    @property
    def device_numbers(self) -> list[int]:
        return _raylet.current_gpu_ids() or me.gpu_ids

    @property
    def gpu_ids(self) -> list[int]:
        return accelerators.by_kind(self.device_numbers).get("GPU", [])

    @property
    def visible_gpus(self) -> list[str] | None:
        return me.visible_devices.get("GPU")

    def node_labels(self) -> dict[str, str]:
        here = self.node_id
        return next((n["labels"] for n in _raylet.list_nodes() if n["node_id"] == here), {})

    @property
    def placement_group(self) -> tuple[bytes, list[dict[str, float]], bool] | None:
        return _raylet.current_group()

    def assigned_resources(self) -> dict[str, float]:
        return {name: amount / 10_000 for name, amount in _held().items()}


def _held() -> dict[str, int]:
    return me.held if me.held is not None else _raylet.current_demand() or {}


def get_runtime_context() -> Any:
    """Where this code runs: ids of job, node, worker, task and actor, as a `RuntimeContext`."""
    auto_init()
    return RuntimeContext(ContextSource())


def get_gpu_ids() -> list[int | str]:
    """The GPUs assigned to the running task or actor."""
    auto_init()
    return gpu_ids(ContextSource())
