"""The options of tasks, actors and methods, for type checkers: `**options` of `remote`, `options`, `method`.

Place: the ground; no process imports it. `options` says what each one means and refuses what is not one of
them; tests/unit/test_options.py compares the names. `num_returns` stands in the signatures instead, since it
decides what a call gives.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import timedelta
from typing import Any, Literal, TypedDict


class _Common(TypedDict, total=False):
    num_cpus: float | None
    num_gpus: float | None
    memory: float | None
    resources: Mapping[str, float] | None
    accelerator_type: str | None
    name: str | None
    scheduling_strategy: Any
    max_concurrency: int | None
    runtime_env: Any
    label_selector: Any
    fallback_strategy: Any
    placement_group: Any
    placement_group_bundle_index: int | None
    placement_group_capture_child_tasks: bool | None
    enable_task_events: bool | None
    enable_tensor_transport: bool | None
    tensor_transport: Any
    _labels: Any
    _metadata: Any
    _num_objects_per_yield: int | None


class TaskOptions(_Common, total=False):
    max_retries: int | None
    retry_exceptions: bool | Iterable[type[BaseException]] | None
    max_calls: int | None
    inout: int | str | Iterable[int | str] | None
    timeout_s: float | None
    priority: int | None
    max_running: int | None
    _generator_backpressure_num_objects: int | None


class ActorOptions(_Common, total=False):
    namespace: str | None
    lifetime: Literal["detached", "non_detached"] | None
    get_if_exists: bool
    max_restarts: int | None
    max_reconstructions: int | None
    max_task_retries: int | None
    max_pending_calls: int | None
    checkpoint: int | timedelta | Mapping[str, float | timedelta] | None
    concurrency_groups: Mapping[str, int] | None
    object_store_memory: Any
    allow_out_of_order_execution: bool | None
    _actor_generator_backpressure_num_objects: int | None


class RemoteOptions(TaskOptions, ActorOptions, total=False):
    """Of `@remote(...)`, which does not know yet what it decorates."""


class MethodOptions(TypedDict, total=False):
    name: str | None
    max_task_retries: int | None
    retry_exceptions: bool | Iterable[type[BaseException]] | None
    timeout_s: float | None
    concurrency_group: str | None
    enable_task_events: bool | None
    tensor_transport: Any
    _generator_backpressure_num_objects: int | None
    _labels: Any
    _num_objects_per_yield: int | None
