"""Actor classes: options, pickle, methods. Policy, once per class.

Place: above `_raylet`, which has the handle and what happens at each call.
"""

from __future__ import annotations

import inspect
import pickle
from collections.abc import Mapping
from typing import Any

from cyray import _compat, _raylet, _remote_function
from cyray._errors.classes import ActorAlreadyExistsError
from cyray._pickle import definition
from cyray._pickle import extra as _extra
from cyray._spec import options as _options

BUILTIN_METHODS = ("__ray_ready__", "__ray_terminate__", "__ray_call__")


class ActorClassInheritanceException(TypeError):
    """A class cannot inherit from what `@remote` made of another."""


class ActorClass:
    """What `@remote` makes of a class: `A.remote(...)` starts an actor."""

    __name__: str

    def __init__(self, cls: type, options: dict[str, Any]) -> None:
        self.underlying_class = cls
        self._options = options
        self._description: dict[str, Any] = {}
        self._session = ""  # that it was described in: another one takes the class as it is then
        for name in ("__module__", "__name__", "__qualname__", "__doc__"):
            setattr(self, name, getattr(cls, name, None))

    @property
    def __cyray_wraps__(self) -> type:
        return self.underlying_class

    def __init_subclass__(cls, **kwargs: Any) -> None:
        raise ActorClassInheritanceException(
            "No class can inherit from an actor class: inherit from the plain class, and apply "
            "`@remote` to both."
        )

    def __mro_entries__(self, bases: tuple[Any, ...]) -> tuple[Any, ...]:
        raise ActorClassInheritanceException(
            f"{self.__name__!r} is an actor class, and no class can inherit from it: inherit from the "
            "plain class, and apply `@remote` to both."
        )

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        raise TypeError(
            f"Actors cannot be instantiated directly. Instead of '{self.__name__}()', use "
            f"'{self.__name__}.remote()'."
        )

    def remote(self, *args: Any, **kwargs: Any) -> Any:
        """Start an actor; returns its handle at once."""
        return self._create(args, kwargs, self._options)

    def options(self, **options: Any) -> BoundActorClass:
        """The same class with other options for the actors made through the result."""
        merged = {**self._options, **_options.actor_options(options, in_options=True)}
        return BoundActorClass(self, merged)

    def _remote(
        self,
        args: tuple[Any, ...] | list[Any] | None = None,
        kwargs: dict[str, Any] | None = None,
        **options: Any,
    ) -> Any:
        return self.options(**options).remote(*(args or ()), **(kwargs or {}))

    def _create(
        self, args: tuple[Any, ...], kwargs: dict[str, Any], options: Mapping[str, Any]
    ) -> Any:
        from cyray import _worker

        _worker.auto_init()
        name = options.get("name") or ""
        namespace = options.get("namespace") or _worker.current_namespace()
        if options.get("get_if_exists"):
            try:
                return _worker.get_actor(name, namespace)
            except ValueError:
                pass
        description = self._describe(options)
        description["name"], description["namespace"] = name, namespace
        try:
            return _raylet.create_actor(description, args, kwargs, wait=bool(name))
        except ActorAlreadyExistsError:
            if options.get("get_if_exists"):
                return _worker.get_actor(name, namespace)  # somebody else was quicker
            raise

    def _describe(self, options: Mapping[str, Any]) -> dict[str, Any]:
        session = _raylet.identity()["worker_id"]
        if self._session != session:
            self._description = describe_class(self.underlying_class)
            self._session = session
        description = dict(self._description)
        concurrency = _options.concurrency_of(
            options, description["meta"]["is_async"], self.__name__
        )
        meta = {
            **description["meta"],
            "in_order": not description["meta"]["is_async"] and concurrency == 1,
            "max_concurrency": concurrency,
            "max_task_retries": options.get("max_task_retries") or 0,
        }
        placement, held = _options.actor_demands(options)
        description.update(
            meta=meta,
            handle_meta=pickle.dumps(meta, 5),
            extra=_extra.dumps({"meta": meta, "held": held, "name": options.get("name") or ""}),
            placement=placement,
            held=held,
            detached=options.get("lifetime") == "detached",
            max_restarts=options.get("max_restarts") or 0,
            max_concurrency=concurrency,
            **_remote_function.strategy_of(options),
        )
        return description

    def __repr__(self) -> str:
        return f"ActorClass({self.__name__})"

    def __reduce__(self) -> Any:
        return ActorClass, (self.underlying_class, self._options)


class BoundActorClass:
    """`A.options(...)`."""

    def __init__(self, actor_class: ActorClass, options: dict[str, Any]) -> None:
        self._class = actor_class
        self._options = options

    def remote(self, *args: Any, **kwargs: Any) -> Any:
        """Start an actor; returns its handle at once."""
        return self._class._create(args, kwargs, self._options)


def describe_class(cls: type) -> dict[str, Any]:
    """Everything about an actor class that does not depend on its options."""
    pickled = definition.pickle_definition(cls)
    methods: dict[str, dict[str, Any]] = {name: {} for name in BUILTIN_METHODS}
    is_async = False
    for name in dir(cls):
        if name.startswith("__") and name != "__call__":
            continue
        function = inspect.getattr_static(cls, name)
        function = getattr(function, "__func__", function)
        if not callable(function) and not callable(getattr(cls, name, None)):
            continue
        is_async = is_async or _compat.is_coroutine_function(function)
        methods[name] = _portable(getattr(function, "__cyray_method_options__", {}))
    return {
        "function_id": definition.content_id(pickled),
        "pickled": pickled,
        "class_name": cls.__name__,
        "meta": {"class_name": cls.__name__, "methods": methods, "is_async": is_async},
    }


def _portable(options: Mapping[str, Any]) -> dict[str, Any]:
    # Handles go to processes that do not know the user's classes: those inside are bytes to them.
    portable = dict(options)
    retry = portable.pop("retry_exceptions", None)
    if retry:
        portable["extra"] = _extra.dumps({"retry_exceptions": _extra.retry_types(retry)})
    return portable


def describe_method(
    meta: dict[str, Any], name: str, overrides: dict[str, Any] | None
) -> dict[str, Any]:
    """The template of a method: overrides of the call > `@method` > the actor's options."""
    options = {**meta["methods"].get(name, {}), **_portable(overrides or {})}
    if "retry_exceptions" in (overrides or {}) and not (overrides or {})["retry_exceptions"]:
        options.pop("extra", None)  # this call takes back what `@method` says
    num_returns = options.get("num_returns")
    retries = options.get("max_task_retries")
    return {
        # That of one call, `.options(name=...)`, goes with the call.
        "name": meta["methods"].get(name, {}).get("name") or f"{meta['class_name']}.{name}",
        "method": name,
        "num_returns": 1 if num_returns is None else num_returns,
        "max_retries": meta.get("max_task_retries", 0) if retries is None else retries,
        "extra": options.get("extra", b""),
    }


def method(*args: Any, **options: Any) -> Any:
    """Give a method of an actor class its own options: `@method(num_returns=2)`.

    Raises:
        ValueError, TypeError: an option is unknown or of the wrong type.
    """
    if args or not options:
        raise TypeError("@method takes keyword options alone, such as @method(num_returns=2)")
    checked = _options.method_options(options)

    def annotate(function: Any) -> Any:
        function.__cyray_method_options__ = checked
        return function

    return annotate


def exit_actor() -> None:
    """End the actor that runs this code; calls that are queued fail with its death.

    Raises:
        TypeError: this process is no actor.
    """
    if _raylet.current_actor_id() is None:
        raise TypeError("exit_actor called on a non-actor worker.")
    from cyray._worker_main import ActorExit

    raise ActorExit
