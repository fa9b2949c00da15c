"""The one door from the core upwards: what `_raylet` calls of Python, by name.

Place: the ground; imports nothing of cyray. A name leads to a function of any room; its module is
imported when the core asks for it the first time. tests/unit/test_layers.py reads the table: `_raylet`
imports nothing else of cyray but `_compat`, and what the table leads to counts as an import of nobody.
"""

from __future__ import annotations

import importlib
from typing import Any

TABLE = {
    # A driver's.
    "auto_init": "cyray._driver.init:auto_init",
    "tell_of_silence": "cyray._driver.silence:tell_of_registration",
    "registration_failed": "cyray._driver.silence:registration_failed",
    "why_missing": "cyray._driver.waiting:why_missing",
    "why_store_full": "cyray._driver.waiting:why_store_full",
    "ensure_event_thread": "cyray._driver.events:ensure_event_thread",
    # What calls mean.
    "describe_task": "cyray._api.task:describe",
    "merge_task_options": "cyray._api.task:merge",
    "describe_method": "cyray._api.method:describe_method",
    "method_options": "cyray._spec.options:method_options",
    "signature_checker": "cyray._api.signature:checker",
    "tell_of_pinned": "cyray._api.pinned:tell",
    "cell_number": "cyray._api.cells:number",
    "ref_future": "cyray._api.future:RefFuture",
    "bind_function": "cyray._api.graph:FunctionNode",
    "bind_method": "cyray._api.graph:bind_method",
    "refs_inside": "cyray._api.nested:refs_inside",
    # A worker's.
    "find_method": "cyray._worker.actor:find_method",
    "show_cpus": "cyray._worker.cpus:show_cpus",
    "show_devices": "cyray._worker.devices:show_devices",
    "ensure_threads": "cyray._worker.threads:ensure_threads",
    "run_coroutine": "cyray._worker.coroutines:run",
    "leaves": "cyray._worker.errors:leaves",
    "gives_up": "cyray._worker.errors:gives_up",
    "leave_from_thread": "cyray._worker.main:leave_from_thread",
    "stop_loop": "cyray._process:stop_loop",
    "is_loop_of_actor": "cyray._process:is_loop_of_actor",
    "task_error": "cyray._worker.errors:task_error",
    "dependency_error": "cyray._worker.errors:dependency_error",
    "plain_error": "cyray._worker.errors:plain_error",
    # The ground, imported late because it takes its time.
    "dumps_by_value": "cyray._pickle.by_value:dumps",
    "custom_types": "cyray._pickle.custom:types",
    "pickle_definition": "cyray._pickle.definition:pickle_definition",
    "load_definition": "cyray._pickle.definition:load_definition",
    "content_id": "cyray._pickle.definition:content_id",
    "load_extra": "cyray._pickle.extra:loads",
    "task_id": "cyray._ids:TaskID",
    "job_id": "cyray._ids:JobID",
    "load_retry_types": "cyray._pickle.extra:load_retry_types",
    "of_status": "cyray._errors.from_core:of_status",
    "system_error": "cyray._errors.from_core:system_error",
    "raise_error": "cyray._errors.from_core:raise_error",
    "get_timeout": "cyray._errors.from_core:get_timeout",
    "pending_calls_limit": "cyray._errors.from_core:pending_calls_limit",
    "from_dependency": "cyray._errors.from_core:from_dependency",
}


def resolve(name: str) -> Any:
    """The function behind a name; KeyError when the table has none of it."""
    module, _, attribute = TABLE[name].partition(":")
    return getattr(importlib.import_module(module), attribute)


# What a worker needs for its first task, and for what that may do.
WORKERS_NEED = (
    "cyray._worker.main",
    "cyray._worker.errors",
    "cyray._pickle.definition",
    "cyray._api.task",
    "cyray._api.method",
    "cyray._api.remote",
    "cyray._api.actor_class",
    "cyray._driver.init",
    "cyray._errors.from_core",
    "cyray.exceptions",
)


def import_ahead() -> None:
    """Imports what the first task of a driver needs: for a moment in which there is only to wait."""
    for name in ("describe_task", "dumps_by_value"):
        resolve(name)
