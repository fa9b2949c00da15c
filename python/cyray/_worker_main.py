"""A worker process: what happens around the tasks it runs.

Place: above `_raylet`, whose `run_worker` is the loop; called by the zygote in a forked child, or as
`python -m cyray._worker_main FD WORKER_ID`. Policy only: what a job, an actor, an error or an exit means
to Python. Threading: main thread; extra threads for threaded actors and tasks that share a worker.
"""

from __future__ import annotations

import functools
import json
import os
import signal
import sys
import threading
from types import FrameType
from typing import Any

from cyray import _compat, _raylet
from cyray._pickle import extra as _extra

EXIT_ERROR = 1


class ActorExit(BaseException):
    """Raised by `exit_actor()`: ends the actor, not the call alone."""


class State:
    """What this process knows about what it is, for the runtime context."""

    def __init__(self) -> None:
        self.namespace = ""
        self.actor_name: str | None = None
        self.actor_meta: dict[str, Any] = {}
        self.incarnation = 0
        self.gpu_ids: list[int] = []
        self.visible_gpus: list[str] | None = None
        self.held: dict[str, int] | None = None
        self.pending_actor: tuple[Any, ...] | None = None
        self.loop: AsyncLoop | None = None

    def assigned_resources(self) -> dict[str, float]:
        if self.held is not None:
            return {name: amount / 10_000 for name, amount in self.held.items()}
        demand = _raylet.current_demand() or {}
        return {name: amount / 10_000 for name, amount in demand.items()}


state = State()


def main(fd: int, worker_id: str) -> None:
    """Serve as a worker on the connected socket `fd` until told to leave. Does not return."""
    code = 0
    try:
        visible = os.environ.get("CUDA_VISIBLE_DEVICES")
        state.visible_gpus = visible.split(",") if visible else None
        # A handler, not SIG_IGN: what a task starts would inherit that.
        signal.signal(signal.SIGINT, _on_interrupt)
        _raylet.connect(fd, bytes.fromhex(worker_id))
        from cyray import _logs

        _logs.install_label_writer(_raylet.current_label)
        _raylet.run_worker(on_event)
    except SystemExit:
        pass
    except BaseException:  # the log says why this worker ended
        import traceback

        traceback.print_exc()
        code = EXIT_ERROR
    _leave(code)


def _on_interrupt(number: int, frame: FrameType | None) -> None:
    """SIGINT interrupts the user's code on the main thread; between tasks it means nothing."""
    if state.loop is not None:  # the loop of an async actor runs many calls at once
        return
    while frame is not None and frame.f_code is not main.__code__:
        if not frame.f_globals.get("__name__", "").startswith("cyray."):
            raise KeyboardInterrupt
        frame = frame.f_back


def leave_from_thread() -> None:
    """Ends this process from a thread that is not its main one. Does not return."""
    _leave(0)


def _leave(code: int) -> None:
    try:
        _compat.run_exit_functions()
    finally:
        for stream in (sys.stdout, sys.stderr):
            try:
                stream.flush()
            except (OSError, ValueError):
                pass
        os._exit(code)


def on_event(event: tuple[Any, ...]) -> None:
    """What the core tells this worker, on its main thread."""
    kind = event[0]
    if kind == _raylet.EVENT_ASSIGN_JOB:
        _, _, state.namespace, config = event
        _adopt_job(config)
    elif kind == _raylet.EVENT_BECOME_ACTOR:
        state.pending_actor = event
    elif kind == _raylet.EVENT_CREATE_ACTOR:
        _create_actor(event[1])
    elif kind == _raylet.EVENT_EXIT:
        _exit_requested()
    elif kind == _raylet.EVENT_CALLBACK:
        _raylet.run_callback(event[1])


def _adopt_job(config: bytes) -> None:
    if not config:
        return
    wanted = json.loads(config)
    known = set(sys.path)
    sys.path.extend(path for path in wanted["sys_path"] if path not in known)
    try:
        os.chdir(wanted["cwd"])
    except OSError as error:
        sys.stderr.write(f"cyray: cannot enter the driver's folder {wanted['cwd']!r}: {error}\n")


# --- Functions ------------------------------------------------------------------------------------------


def find_method(instance: Any, name: str) -> Any:
    """The bound method of this actor that a template names."""
    if name == "__ray_ready__":
        return lambda: True
    if name == "__ray_terminate__":
        return _terminate
    if name == "__ray_call__":
        return lambda function, *args, **kwargs: function(instance, *args, **kwargs)
    return getattr(instance, name)


_threads: list[threading.Thread] = []


def ensure_threads(count: int) -> None:
    """So many threads in all take tasks; for tasks and actors that run several at once."""
    while len(_threads) < count - 1:
        thread = threading.Thread(
            target=_raylet.run_tasks,
            args=(on_event, None),
            name=f"cyray-task-{len(_threads) + 1}",
            daemon=True,
        )
        thread.start()
        _threads.append(thread)


def show_gpus(gpu_ids: list[int]) -> None:
    """Makes the assigned GPUs the visible ones, before user code looks."""
    visible = state.visible_gpus
    names = [visible[i] if visible and i < len(visible) else str(i) for i in gpu_ids]
    os.environ["CUDA_VISIBLE_DEVICES"] = ",".join(names)


# --- Errors ---------------------------------------------------------------------------------------------


def leaves(error: BaseException) -> str | None:
    """Why this process has to end after `error`; None when only the task failed."""
    if isinstance(error, ActorExit):
        return "exit_actor() is called."
    if isinstance(error, SystemExit):
        return f"sys.exit({error.code!r}) is called."
    return None


def task_error(error: BaseException, name: str, instance: Any) -> BaseException:
    """What the caller gets for an exception of user code."""
    from cyray._errors.task_error import RayTaskError

    if _is_write_refused(error):
        error = _explain_read_only(error)
    actor_id, actor_repr = _raylet.current_actor_id(), None
    if instance is not None and type(instance).__repr__ is not object.__repr__:
        try:
            actor_repr = repr(instance)
        except Exception:  # a repr may do anything
            actor_repr = None
    return RayTaskError.from_exception(
        error,
        name,
        os.getpid(),
        _raylet.identity()["node_ip"],
        actor_repr,
        actor_id.hex() if actor_id else None,
    )


# How Python, numpy and Cython say that a buffer is not to be written.
_WRITE_REFUSED = (
    "is read-only",
    "read-only memory",
    "read-only view",
    "not writable",
    "not writeable",
)
_MEMORY = ("array", "buffer", "memory", "destination", "view", "object is not")


def _is_write_refused(error: BaseException) -> bool:
    """Whether the function wrote into an argument that was not its own."""
    if type(error) not in (ValueError, BufferError, TypeError):  # a subclass is the user's own
        return False
    if len(error.args) != 1 or not isinstance(error.args[0], str):
        return False
    text = error.args[0].lower()
    return any(w in text for w in _WRITE_REFUSED) and any(w in text for w in _MEMORY)


def _explain_read_only(error: BaseException) -> BaseException:
    hint = (
        f"{error.args[0]} (arguments are read-only views of shared objects: to write into one, name it in "
        "remote(fn, inout=...), or fetch it with cyray.get(ref, writable=True))"
    )
    explained = ValueError(hint).with_traceback(error.__traceback__)
    explained.__cause__ = error.__cause__
    return explained


def dependency_error(error: Any, name: str) -> BaseException:
    """The error of a task one of whose arguments failed."""
    from cyray._errors.classes import RaySystemError
    from cyray._errors.task_error import RayTaskError

    if isinstance(error, BaseException):
        return RayTaskError.from_dependency(error, name)
    return RaySystemError(f"an argument of {name} holds a broken error: {error!r}")


def plain_error(error: BaseException, name: str) -> BaseException:
    """For an error that could not even be serialized."""
    from cyray._errors.classes import RaySystemError

    return RaySystemError(f"The error of {name} could not be serialized: {error!r}")


# --- Actors ---------------------------------------------------------------------------------------------


def _create_actor(context: Any) -> None:
    assert state.pending_actor is not None
    _, actor_id, incarnation, label, extra, concurrency, _ = state.pending_actor
    try:
        _become_actor(state.pending_actor, _extra.loads(extra))
        instance = _raylet.construct_actor(context)
        if state.loop is None and concurrency > 1:
            ensure_threads(concurrency)  # before the first call may come
    except BaseException as error:  # whatever stood in its way is the actor's death
        leave = leaves(error)
        if leave is None:
            from cyray._errors.classes import ActorDiedError

            cause = task_error(error, f"{label}.__init__", None)
            died = ActorDiedError.from_init_error(cause, actor_id.hex(), label)
            _raylet.actor_ready(actor_id, incarnation, False, _raylet.encode_error(died))
        else:
            _raylet.worker_exiting(True, leave)
        raise SystemExit(EXIT_ERROR) from None
    _name_actor(instance, label)
    _raylet.actor_ready(actor_id, incarnation, True)
    if state.loop is not None:
        state.loop.run()


def _become_actor(event: tuple[Any, ...], options: dict[str, Any]) -> None:
    _, actor_id, incarnation, label, _, concurrency, gpu_ids = event
    meta = options.get("meta", {})
    state.actor_meta, state.incarnation = meta, incarnation
    state.actor_name = options.get("name") or ""
    state.held = options.get("held", {})
    state.gpu_ids = gpu_ids
    if gpu_ids:
        show_gpus(gpu_ids)
    _raylet.become_actor(actor_id, label, bool(meta.get("in_order", True)))
    if meta.get("is_async"):
        state.loop = AsyncLoop(concurrency)


def _name_actor(instance: Any, label: str) -> None:
    if type(instance).__repr__ is not object.__repr__:
        try:
            _raylet.set_actor_label(str(repr(instance)))
        except Exception:  # a repr may do anything
            _raylet.set_actor_label(label)


def _terminate() -> None:
    raise ActorExit


def _exit_requested() -> None:
    hook = getattr(_raylet.actor_instance(), "__ray_shutdown__", None)
    if hook is not None:
        try:
            hook()
        except Exception:
            import traceback

            traceback.print_exc()
    _raylet.worker_exiting(True, "the worker was asked to leave")
    raise SystemExit(0)


class AsyncLoop:
    """The event loop of an async actor; it also polls the core's sockets."""

    def __init__(self, limit: int) -> None:
        import asyncio

        self._limit = limit
        self.loop = asyncio.new_event_loop()
        asyncio.set_event_loop(self.loop)
        self._wake = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._exit: BaseException | None = None

    def run(self) -> None:
        """Serve calls until the process has to leave."""
        _raylet.use_external_loop(self._wake)
        _raylet.use_loop(functools.partial(self.loop.call_soon, self._poll))
        self.loop.add_reader(_raylet.poll_fd(), self._poll)
        self.loop.add_reader(self._wake, self._woken)
        self.loop.call_soon(self._poll)
        self.loop.run_forever()
        raise self._exit or SystemExit(0)

    def stop(self) -> None:
        self.loop.stop()

    def _woken(self) -> None:
        os.eventfd_read(self._wake)
        self._poll()

    def _poll(self) -> None:
        _raylet.turn_ended()
        try:
            _raylet.poll_async(on_event, self.loop, self._limit)
        except SystemExit as error:
            self._exit = error
            self.loop.stop()


def is_loop_of_actor(loop: Any) -> bool:
    """Whether `loop` is the one that this async actor runs on, which takes the core's events."""
    return state.loop is not None and state.loop.loop is loop


def stop_loop() -> None:
    """Ends the event loop of this async actor, and with it the process."""
    if state.loop is not None:
        state.loop.stop()


if __name__ == "__main__":
    from cyray import _zygote

    _zygote.import_preload()
    _zygote.become_worker(int(sys.argv[1]), sys.argv[2])
