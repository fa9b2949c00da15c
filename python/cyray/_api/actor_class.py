"""Actor classes: options, pickle, methods. Policy, once per class.

Place: above `_raylet`, which has the handle and what happens at each call.
"""

from __future__ import annotations

import inspect
import pickle
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Generic, NamedTuple, ParamSpec, TypeVar, overload

from cyray import _compat, _raylet
from cyray._api import cells
from cyray._api.actors import get_actor
from cyray._api.method import BUILTIN_METHODS, may_be_called, portable
from cyray._api.signature import check_constructor, signature_of
from cyray._driver.init import auto_init
from cyray._errors.classes import ActorAlreadyExistsError
from cyray._pickle import definition
from cyray._pickle import extra as _extra
from cyray._process import me
from cyray._spec import demands, plans, saves
from cyray._spec import options as _options

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from cyray._api.graph import ClassNode
    from cyray._raylet import ActorHandle, ObjectRef
    from cyray._spec.typed import ActorOptions

_P = ParamSpec("_P")
_T = TypeVar("_T")
_K = TypeVar("_K", covariant=True)  # the class: what it is made with is what `remote` takes


class ActorClassInheritanceException(TypeError):
    """Kept for programs that catch it: a class can inherit from what `@remote` made of another."""


class _Maker(Generic[_K]):
    """What makes actors of a class: the class itself, or one with other options."""

    @overload
    def remote(
        self: _Maker[Callable[_P, _T]], *args: _P.args, **kwargs: _P.kwargs
    ) -> ActorHandle[_T]: ...
    @overload
    def remote(
        self: _Maker[Callable[_P, _T]], _ref: ObjectRef[Any], /, *args: Any, **kwargs: Any
    ) -> ActorHandle[_T]: ...
    @overload
    def remote(
        self: _Maker[Callable[_P, _T]],
        _a: Any,
        _ref: ObjectRef[Any],
        /,
        *args: Any,
        **kwargs: Any,
    ) -> ActorHandle[_T]: ...
    @overload
    def remote(
        self: _Maker[Callable[_P, _T]],
        _a: Any,
        _b: Any,
        _ref: ObjectRef[Any],
        /,
        *args: Any,
        **kwargs: Any,
    ) -> ActorHandle[_T]: ...
    @overload
    def remote(
        self: _Maker[Callable[_P, _T]],
        _a: Any,
        _b: Any,
        _c: Any,
        _ref: ObjectRef[Any],
        /,
        *args: Any,
        **kwargs: Any,
    ) -> ActorHandle[_T]: ...
    def remote(self, *args: Any, **kwargs: Any) -> Any:
        """Start an actor; returns its handle at once."""
        return self._cyray_start(args, kwargs)

    def bind(self, *args: Any, **kwargs: Any) -> ClassNode:
        """An actor as a step of a graph (`cyray.dag`); it is made when the graph runs."""
        from cyray._api.graph import ClassNode

        return ClassNode(self._cyray_start, self._cyray_wrapped, args, kwargs)

    def _cyray_start(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        raise NotImplementedError

    @property
    def _cyray_wrapped(self) -> type:
        raise NotImplementedError


class ActorClass(_Maker[_K]):
    """What `@remote` makes of a class: `A.remote(...)` starts an actor.

    Its other attributes are the class's: constants, static and class methods, and its methods as functions,
    with their signatures. `class B(A)` inherits from the class, and is a plain one until it is decorated.
    """

    __name__: str

    def __init__(self, cls: type, options: dict[str, Any]) -> None:
        self.underlying_class = cls
        self._cyray_options = options
        self._cyray_class: ClassPlan | None = None
        # The session and the cell that it was described in: others take the class as it is then.
        self._cyray_made_in: tuple[int, int] | None = None
        for name in ("__module__", "__name__", "__qualname__", "__doc__"):
            setattr(self, name, getattr(cls, name, None))
        self.__wrapped__ = cls

    @property
    def __cyray_wraps__(self) -> type:
        return self.underlying_class

    def __getattribute__(self, name: str) -> Any:
        if name == "__init__":  # for `A.__init__(self)` in a class that inherits
            return object.__getattribute__(self, "underlying_class").__init__
        return object.__getattribute__(self, name)

    def __getattr__(self, name: str) -> Any:
        if name[:2] == "__" == name[-2:] or "underlying_class" not in self.__dict__:
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
        return getattr(self.underlying_class, name)

    def __dir__(self) -> list[str]:
        return sorted({*object.__dir__(self), *dir(self.underlying_class)})

    def __mro_entries__(self, bases: tuple[Any, ...]) -> tuple[type, ...]:
        return (self.underlying_class,)

    def __instancecheck__(self, instance: Any) -> bool:
        return isinstance(instance, self.underlying_class)

    def __subclasscheck__(self, subclass: type) -> bool:
        return issubclass(subclass, self.underlying_class)

    def __getitem__(self, item: Any) -> ActorClass[_K]:
        self.underlying_class[item]  # type: ignore[index]  # TypeError where it is not generic
        return self

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        raise TypeError(
            f"Actors cannot be instantiated directly. Instead of '{self.__name__}()', use "
            f"'{self.__name__}.remote()'."
        )

    def options(self, **options: Unpack[ActorOptions]) -> BoundActorClass[_K]:
        """The same class with other options for the actors made through the result."""
        merged = {**self._cyray_options, **_options.actor_options(options, in_options=True)}
        saves.rules_of(self.underlying_class, merged)
        return BoundActorClass(self, merged)

    def _remote(
        self,
        args: tuple[Any, ...] | list[Any] | None = None,
        kwargs: dict[str, Any] | None = None,
        **options: Any,
    ) -> Any:
        return self.options(**options)._cyray_start(tuple(args or ()), kwargs or {})

    def _cyray_start(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        return self._cyray_create(args, kwargs, self._cyray_options)

    @property
    def _cyray_wrapped(self) -> type:
        return self.underlying_class

    def _cyray_create(
        self, args: tuple[Any, ...], kwargs: dict[str, Any], options: Mapping[str, Any]
    ) -> Any:
        auto_init()
        check_constructor(self.underlying_class, args, kwargs)
        name = options.get("name") or ""
        namespace = options.get("namespace") or me.namespace
        plan = self._cyray_plan(options, name, namespace)
        if not options.get("get_if_exists"):
            return _raylet.create_actor(plan, args, kwargs, wait=bool(name))
        while True:
            try:
                return get_actor(name, namespace)
            except ValueError:
                pass
            try:
                return _raylet.create_actor(plan, args, kwargs, wait=True)
            except ActorAlreadyExistsError:
                pass  # somebody else was quicker; by now it may have ended again

    def _cyray_plan(self, options: Mapping[str, Any], name: str, namespace: str) -> plans.ActorPlan:
        made_in = (_raylet.session_number(), cells.number())
        if self._cyray_class is None or self._cyray_made_in != made_in:
            self._cyray_class = ClassPlan.of(self.underlying_class)
            self._cyray_made_in = made_in
        described = self._cyray_class
        is_async = described.meta["is_async"]
        rules = saves.rules_of(self.underlying_class, options)
        groups = _options.groups_of(options, is_async, self.__name__)
        meta = {
            **described.meta,
            "groups": groups,
            "max_pending_calls": options.get("max_pending_calls") or 0,
            "max_task_retries": options.get("max_task_retries") or 0,
            "saved": rules is not None,
        }
        if _raylet.captures(options.get("scheduling_strategy")):
            from cyray._api.placement import captured

            options = {**options, "scheduling_strategy": captured()}
        demand, held = demands.actor_demands(options)
        group = plans.group_extra(options)
        extra = {"meta": meta, "held": held, "name": name, "group": group, "saves": rules}
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
            extra=_extra.dumps(extra),
            detached=options.get("lifetime") == "detached",
            max_restarts=options.get("max_restarts") or 0,
            max_concurrency=groups[0][1],
        )

    def __repr__(self) -> str:
        return f"ActorClass({self.__name__})"

    def __reduce__(self) -> Any:
        return ActorClass, (self.underlying_class, self._cyray_options)


class BoundActorClass(_Maker[_K]):
    """`A.options(...)`."""

    def __init__(self, actor_class: ActorClass[_K], options: dict[str, Any]) -> None:
        self._class = actor_class
        self._options = options

    def _cyray_start(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        return self._class._cyray_create(args, kwargs, self._options)

    @property
    def _cyray_wrapped(self) -> type:
        return self._class.underlying_class


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
        for name in filter(may_be_called(cls), dir(cls)):
            attribute = inspect.getattr_static(cls, name)
            function = getattr(attribute, "__func__", attribute)
            if not callable(function) and not callable(getattr(cls, name, None)):
                continue
            kind = _compat.generator_kind(function)
            is_async |= _compat.is_coroutine_function(function) or kind == "async generator"
            methods[name] = portable(getattr(function, "__cyray_method_options__", {}))
            if kind:
                methods[name]["generator"] = kind
            signature = signature_of(function, bound=not isinstance(attribute, staticmethod))
            if signature is not None:
                methods[name]["signature"] = tuple(signature)
        meta = {"class_name": cls.__name__, "methods": methods, "is_async": is_async}
        return ClassPlan(definition.content_id(pickled), pickled, cls.__name__, meta)


def check_groups(cls: type, options: Mapping[str, Any]) -> None:
    """Whether the class has the concurrency groups that its methods name.

    Raises:
        ValueError: it lacks one.
    """
    groups = options.get("concurrency_groups") or {}
    for name in dir(cls):
        attribute = inspect.getattr_static(cls, name, None)
        function = getattr(attribute, "__func__", attribute)
        wanted = getattr(function, "__cyray_method_options__", {}).get("concurrency_group")
        if wanted is not None and wanted not in groups:
            raise ValueError(plans.no_such_group(f"{cls.__name__}.{name}", wanted, groups))
