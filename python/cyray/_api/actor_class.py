"""Actor classes: options, pickle, methods. Policy, once per class.

Place: above `_raylet`, which has the handle and what happens at each call.
"""

from __future__ import annotations

import inspect
import pickle
from collections.abc import Mapping
from typing import Any

from cyray import _compat, _raylet
from cyray._api.actors import get_actor
from cyray._api.method import BUILTIN_METHODS, portable
from cyray._api.task import strategy_of
from cyray._driver.init import auto_init
from cyray._errors.classes import ActorAlreadyExistsError
from cyray._pickle import definition
from cyray._pickle import extra as _extra
from cyray._process import me
from cyray._spec import options as _options


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
        auto_init()
        name = options.get("name") or ""
        namespace = options.get("namespace") or me.namespace
        if options.get("get_if_exists"):
            try:
                return get_actor(name, namespace)
            except ValueError:
                pass
        description = self._describe(options)
        description["name"], description["namespace"] = name, namespace
        try:
            return _raylet.create_actor(description, args, kwargs, wait=bool(name))
        except ActorAlreadyExistsError:
            if options.get("get_if_exists"):
                return get_actor(name, namespace)  # somebody else was quicker
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
            **strategy_of(options),
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
        methods[name] = portable(getattr(function, "__cyray_method_options__", {}))
    return {
        "function_id": definition.content_id(pickled),
        "pickled": pickled,
        "class_name": cls.__name__,
        "meta": {"class_name": cls.__name__, "methods": methods, "is_async": is_async},
    }
