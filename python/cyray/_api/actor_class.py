"""Actor classes: options, pickle, methods. Policy, once per class.

Place: above `_raylet`, which has the handle and what happens at each call.
"""

from __future__ import annotations

import inspect
import pickle
from collections.abc import Mapping
from typing import Any, NamedTuple

from cyray import _compat, _raylet
from cyray._api.actors import get_actor
from cyray._api.method import BUILTIN_METHODS, portable
from cyray._driver.init import auto_init
from cyray._errors.classes import ActorAlreadyExistsError
from cyray._pickle import definition
from cyray._pickle import extra as _extra
from cyray._process import me
from cyray._spec import options as _options
from cyray._spec import plans


class ActorClassInheritanceException(TypeError):
    """A class cannot inherit from what `@remote` made of another."""


class ActorClass:
    """What `@remote` makes of a class: `A.remote(...)` starts an actor."""

    __name__: str

    def __init__(self, cls: type, options: dict[str, Any]) -> None:
        self.underlying_class = cls
        self._options = options
        self._class: ClassPlan | None = None
        self._session = 0  # that it was described in: another one takes the class as it is then
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
        plan = self._plan(options, name, namespace)
        try:
            return _raylet.create_actor(plan, args, kwargs, wait=bool(name))
        except ActorAlreadyExistsError:
            if options.get("get_if_exists"):
                return get_actor(name, namespace)  # somebody else was quicker
            raise

    def _plan(self, options: Mapping[str, Any], name: str, namespace: str) -> plans.ActorPlan:
        session = _raylet.session_number()
        if self._class is None or self._session != session:
            self._class = ClassPlan.of(self.underlying_class)
            self._session = session
        described = self._class
        is_async = described.meta["is_async"]
        concurrency = _options.concurrency_of(options, is_async, self.__name__)
        meta = {
            **described.meta,
            "in_order": not is_async and concurrency == 1,
            "max_concurrency": concurrency,
            "max_task_retries": options.get("max_task_retries") or 0,
        }
        demand, held = _options.actor_demands(options)
        return plans.ActorPlan(
            described.function_id,
            described.pickled,
            described.class_name,
            name,
            namespace,
            plans.placement(options, demand),
            plans.amounts(held),
            meta,
            handle_meta=pickle.dumps(meta, 5),
            extra=_extra.dumps({"meta": meta, "held": held, "name": name}),
            detached=options.get("lifetime") == "detached",
            max_restarts=options.get("max_restarts") or 0,
            max_concurrency=concurrency,
        )

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


class ClassPlan(NamedTuple):
    """Everything about an actor class that does not depend on its options."""

    function_id: bytes
    pickled: bytes
    class_name: str
    meta: dict[str, Any]

    @staticmethod
    def of(cls: type) -> ClassPlan:
        """The class as it is now."""
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
            is_async = (
                is_async
                or _compat.is_coroutine_function(function)
                or _compat.generator_kind(function) == "async generator"
            )
            methods[name] = portable(getattr(function, "__cyray_method_options__", {}))
            if kind := _compat.generator_kind(function):
                methods[name]["generator"] = kind
        meta = {"class_name": cls.__name__, "methods": methods, "is_async": is_async}
        return ClassPlan(definition.content_id(pickled), pickled, cls.__name__, meta)
