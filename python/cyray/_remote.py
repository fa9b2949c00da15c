"""The `remote` decorator: makes remote functions and actor classes.

Place: a thin choice between `_raylet.RemoteFunction` and `_actor.ActorClass`.
"""

from __future__ import annotations

from typing import Any

from cyray import _compat, _raylet
from cyray._spec import options as _options


def remote(*args: Any, **options: Any) -> Any:
    """Make a function or class remote.

    `@remote`, `@remote(num_cpus=2, ...)`, `remote(function)` or `remote(function, inout=("out",))`:
    Python, Cython (`def`, `cpdef`), pybind11 and builtin functions; Python classes, classes and
    `cdef` classes of a `.pyx`, pybind11 classes.

    Options (of functions / of classes): `num_cpus`, `num_gpus`, `memory` (bytes), `resources`,
    `num_returns`, `max_retries`, `retry_exceptions`, `inout` (names or positions of arguments that
    the function writes into; they come back as its result), `max_concurrency` / `max_restarts`,
    `max_task_retries`, `name`, `namespace`, `lifetime`, `get_if_exists`, ...

    Raises:
        TypeError: applied to something that is neither; an option has the wrong type.
        ValueError: an option is unknown or out of range.
    """
    if args:
        if len(args) > 1:
            raise TypeError("remote() takes one function or class, and options by keyword")
        return _make(args[0], options)
    if not options:
        raise TypeError(
            "The @remote decorator must be applied either with no arguments and no parentheses "
            "('@cyray.remote') or with options ('@cyray.remote(num_cpus=2)')."
        )
    return lambda target: _make(target, options)


def _make(target: Any, options: dict[str, Any]) -> Any:
    if isinstance(target, type):
        from cyray import _actor

        return _actor.ActorClass(target, _options.actor_options(options))
    from cyray import _remote_function

    if isinstance(target, _raylet.RemoteFunction) or not _remote_function.is_function(target):
        raise TypeError(
            "The @cyray.remote decorator must be applied to either a function or a class, not to "
            f"{type(target).__name__}."
        )
    if _compat.is_coroutine_function(target):
        raise ValueError(
            "'async def' should not be used for remote tasks. You can wrap the async function with "
            "asyncio.run(f()), or use an async actor."
        )
    return _raylet.RemoteFunction(target, _options.task_options(options))
