"""An actor in its worker: how it is made, and which of its methods a call means.

Place: `main` has the events, `_raylet` the calls. Threading: made on the main thread, asked for methods by
any.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from cyray import _raylet
from cyray._pickle import extra as _extra
from cyray._process import ActorExit, me
from cyray._spec import plans
from cyray._spec.plans import UNIT
from cyray._worker import cpus, devices, errors, saves
from cyray._worker.aio import AsyncLoop, start_group_loop
from cyray._worker.threads import ensure_threads, start_group

EXIT_ERROR = 1


def create(event: tuple[Any, ...], context: Any, on_event: Callable[..., None]) -> None:
    """Becomes the actor of `event` and runs its constructor, which `context` carries. An async actor serves
    in here until the process has to leave. Whatever stands in the way is the actor's death."""
    _, actor_id, incarnation, label, extra, _, _ = event
    during = f"{label}.__init__"
    try:
        options = _extra.loads(extra)
        loop = _become(event, options)

        def construct() -> Any:
            made = _raylet.construct_actor(context)
            saves.begin(made, options.get("saves"), actor_id, incarnation, label)
            return made

        instance = construct() if loop is None else loop.run_first(construct)
        _serve_groups(me.actor_meta.get("groups", ()), loop)  # before the first call may come
    except BaseException as error:  # whatever stood in its way is the actor's death
        end = errors.leaves(error)
        if isinstance(error, saves.RestoreFailed) and error.__cause__ is not None:
            during, error = str(error), error.__cause__
        if end is None:
            from cyray._errors.classes import ActorDiedError

            cause = errors.task_error(error, during, None)
            died = ActorDiedError.from_init_error(cause, actor_id.hex(), label)
            _raylet.actor_ready(actor_id, incarnation, False, _raylet.encode_value(died))
        else:
            _raylet.worker_exiting(end.intended, end.reason)
        raise SystemExit(EXIT_ERROR) from None
    _label_actor(instance, label)
    _raylet.actor_ready(actor_id, incarnation, True)
    if loop is not None:
        loop.run(on_event)


def _become(event: tuple[Any, ...], options: dict[str, Any]) -> AsyncLoop | None:
    _, actor_id, incarnation, label, _, concurrency, gpu_ids = event
    meta = options.get("meta", {})
    me.actor_meta, me.incarnation = meta, incarnation
    me.actor_name = options.get("name") or ""
    me.held = options.get("held", {})
    me.gpu_ids = gpu_ids
    if gpu_ids:
        devices.show_devices(gpu_ids)
    cpus.show_cpus(max(1, me.held.get("CPU", 0) // UNIT))
    is_async = bool(meta.get("is_async", False))
    groups = meta.get("groups", (plans.CallGroup(""),))
    _raylet.become_actor(actor_id, label, groups, is_async, options.get("group"))
    if is_async:
        loop = AsyncLoop(concurrency)
        me.loop = loop.loop
        return loop
    return None


def _serve_groups(groups: tuple[tuple[str, int, bool], ...], loop: AsyncLoop | None) -> None:
    if loop is None and groups and groups[0][1] > 1:
        ensure_threads(groups[0][1])
    for number, (name, at_once, _) in enumerate(groups[1:], 1):
        if loop is None:
            start_group(number, name, at_once)
        else:
            start_group_loop(number, name)


def _label_actor(instance: Any, label: str) -> None:
    if type(instance).__repr__ is not object.__repr__:
        try:
            _raylet.set_actor_label(str(repr(instance)))
        except Exception:  # a repr may do anything
            _raylet.set_actor_label(label)


def run_shutdown_hook() -> None:
    """What the class wants done before the actor ends in order; what that raises goes to the log."""
    hook = getattr(_raylet.actor_instance(), "__ray_shutdown__", None)
    if hook is None:
        return
    try:
        hook()
    except Exception:
        import traceback

        traceback.print_exc()


def _terminate() -> None:
    run_shutdown_hook()
    raise ActorExit


def find_method(instance: Any, name: str) -> Any:
    """The bound method of this actor that a template names."""
    if name == "__ray_ready__":
        return lambda: True
    if name == "__ray_terminate__":
        return _terminate
    if name == "__ray_call__":
        return lambda function, *args, **kwargs: function(instance, *args, **kwargs)
    return getattr(instance, name)
