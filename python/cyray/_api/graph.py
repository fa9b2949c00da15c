"""Graphs of calls that are described first and run later: what `bind` gives, and `execute`.

Place: what a call means; public as `cyray.dag`, reached from `_raylet` through `_hooks`. Nodes are immutable
but for the actor that a graph has made; each run walks the graph once and keeps its refs until it returns, in
an order in which whatever a node needs comes before it. Threading: a graph may be run by several threads.
"""

from __future__ import annotations

import inspect
import threading
from collections.abc import Callable, Mapping
from typing import Any, Generic, NoReturn, TypeVar

from cyray import _raylet
from cyray._api.method import BUILTIN_METHODS, may_be_called
from cyray._api.signature import check_call, check_constructor, checker
from cyray._spec import options as _options

_Out = TypeVar("_Out", covariant=True)

Values = dict["DAGNode[Any]", Any]  # what each node of a run gave
Fill = Callable[[Values], Any]


class DAGNode(Generic[_Out]):
    """A step of a graph: something to be called, with values and other steps for arguments.

    Steps come from `f.bind(...)`, `Actor.bind(...)`, `handle.method.bind(...)`, `InputNode` and
    `MultiOutputNode`. Those among the arguments, also in lists, tuples and dicts, are steps before this one.
    """

    _args: tuple[Any, ...] = ()
    _kwargs: Mapping[str, Any] = {}
    _needed: tuple[DAGNode, ...] = ()
    _takes_input: bool = False

    def __init__(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        self._args, self._kwargs = args, kwargs
        needed: dict[DAGNode, None] = {}
        self._fill_args = _filler(args, needed, ())
        self._fill_kwargs = _filler(kwargs, needed, ())
        self._needs(*needed)

    def _needs(self, *nodes: DAGNode) -> None:
        self._needed = nodes
        self._takes_input = any(node._takes_input for node in nodes)

    def execute(self, *args: Any, **kwargs: Any) -> _Out:
        """Run this step and all that it needs; returns at once.

        The arguments are the input: `InputNode` stands for the one that is given, or its items and
        attributes for several. A step that several others need runs once. Every run makes tasks and
        calls anew; actors of the graph are made by the first one, and end when the graph is gone. The
        run after the death of one makes it again, from the arguments that it was bound with.

        Returns:
            What `.remote()` of this step returns: mostly an `ObjectRef`; a list of them for
            `MultiOutputNode`, a handle for an actor, the value for an input.

        Raises:
            TypeError: the graph has an `InputNode` and nothing is given, or the other way round.
        """
        if self._takes_input != bool(args or kwargs):
            raise TypeError(
                f"{self!r} depends on an InputNode: execute() needs its value"
                if self._takes_input
                else f"execute() got arguments, and no InputNode is in the graph of {self!r}"
            )
        values: Values = {}
        for node in _in_order(self):
            values[node] = node._run(values, args, kwargs)
        return values[self]

    def get_args(self) -> tuple[Any, ...]:
        """The positional arguments of `bind`."""
        return self._args

    def get_kwargs(self) -> dict[str, Any]:
        """The keyword arguments of `bind`."""
        return dict(self._kwargs)

    def _before(self) -> tuple[DAGNode, ...]:
        # What has to run before this does.
        return self._needed

    def _run(self, values: Values, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        raise NotImplementedError

    def _arguments(self, values: Values) -> tuple[tuple[Any, ...], dict[str, Any]]:
        return (
            self._fill_args(values) if self._fill_args else self._args,
            self._fill_kwargs(values) if self._fill_kwargs else dict(self._kwargs),
        )

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(_hint(name) or f"{type(self).__name__!r} has no attribute {name!r}")

    def __reduce__(self) -> NoReturn:
        raise TypeError(
            f"{self!r} stands for something that is yet to be computed and cannot be sent or copied. Give "
            "it to bind(), as an argument or in a list, tuple or dict; or send the ref that its "
            "execute() returns."
        )


def _hint(name: str) -> str | None:
    if name == "experimental_compile":
        return (
            "Compiled graphs are not there. execute() runs the graph as it is: each step is a task or a "
            "call of an actor."
        )
    if name == "remote":
        return "A step of a graph has no remote(): execute() runs it."
    return None


class FunctionNode(DAGNode[_Out]):
    """`f.bind(...)`: a task."""

    def __init__(self, function: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        check_call(function.underlying_function, args, kwargs)
        self._function = function
        super().__init__(args, kwargs)

    def get_options(self) -> dict[str, Any]:
        """The function's options, with those of `.options(...)`."""
        return dict(self._function.task_options)

    def _run(self, values: Values, _args: Any, _kwargs: Any) -> Any:
        args, kwargs = self._arguments(values)
        return self._function.remote(*args, **kwargs)

    def __repr__(self) -> str:
        return f"FunctionNode({self._function.__name__})"


class ClassNode(DAGNode[Any]):
    """`Actor.bind(...)`: an actor, and `node.method.bind(...)` calls of it.

    Calls run in the order in which they were bound: one that runs has those before it run, too. The actor
    is made when something of the graph that needs it runs the first time, once in a session, and again when
    it has died: the run in which that shows raises `ActorDiedError`, the next one has a new actor.
    """

    def __init__(
        self,
        create: Callable[[tuple[Any, ...], dict[str, Any]], Any],
        cls: type,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
    ) -> None:
        self._class = cls
        self._actor = _Construction(create, cls, args, kwargs)
        # Calls know the actor and not this object, which knows the last of them: no circle keeps a graph.
        self._last_call: ClassMethodNode | None = None
        super().__init__((), {})
        self._args, self._kwargs = args, kwargs
        self._needs(self._actor)

    def _run(self, values: Values, _args: Any, _kwargs: Any) -> Any:
        return values[self._actor]

    def __getattr__(self, name: str) -> Any:
        cls = self.__dict__.get("_class")
        known = cls is not None and (
            name in BUILTIN_METHODS
            or (may_be_called(cls)(name) and callable(getattr(cls, name, None)))
        )
        if not known:
            hint = _hint(name) if name != "bind" else "An actor of a graph is bound already."
            raise AttributeError(hint or f"{self!r} has no method {name!r}")
        return UnboundMethod(self, name, {})

    def __repr__(self) -> str:
        return f"ClassNode({self._class.__name__})"


class _Construction(DAGNode[Any]):
    """The actor behind a `ClassNode`, made once in a session and as often as it dies."""

    def __init__(
        self,
        create: Callable[[tuple[Any, ...], dict[str, Any]], Any],
        cls: type,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
    ) -> None:
        check_constructor(cls, args, kwargs)
        super().__init__(args, kwargs)
        if self._takes_input:
            raise ValueError(
                f"An InputNode cannot be an argument of {cls.__name__}.bind(), nor of what it depends on: the "
                "actor is made once, and the input is another one in each run. Give it to a method."
            )
        self._create, self._class = create, cls
        self._lock = threading.RLock()  # pickling an argument may run anything, this graph too
        self._handle: Any = None

    def _before(self) -> tuple[DAGNode, ...]:
        return () if self._is_made() else self._needed

    def _is_made(self) -> bool:
        handle = self._handle
        return handle is not None and not handle._is_stale and not handle._has_died

    def _run(self, values: Values, _args: Any, _kwargs: Any) -> Any:
        with self._lock:
            # One that dies just now is made again by the next run, which has its arguments.
            if not self._is_made() and all(node in values for node in self._needed):
                args, kwargs = self._arguments(values)
                self._handle = self._create(args, kwargs)
            return self._handle

    def __repr__(self) -> str:
        return f"ClassNode({self._class.__name__})"


class UnboundMethod:
    """A method of an actor of a graph: `node.method.bind(...)`, `node.method.options(...).bind(...)`."""

    def __init__(self, node: ClassNode, name: str, options: dict[str, Any]) -> None:
        self._node, self._name, self._options = node, name, options

    def options(self, **options: Any) -> UnboundMethod:
        """The same method with other options for what is bound through the result."""
        merged = {**self._options, **_options.method_options(options)}
        return UnboundMethod(self._node, self._name, merged)

    def bind(self, *args: Any, **kwargs: Any) -> ClassMethodNode:
        """A call as a step of a graph; it runs after the calls of this actor that were bound before."""
        node = self._node
        attribute = inspect.getattr_static(node._class, self._name, None)
        bound = not isinstance(attribute, staticmethod)
        if attribute is not None:
            check_call(getattr(attribute, "__func__", attribute), args, kwargs, int(bound))
        call = ClassMethodNode(
            _MethodOf(node._actor, self._name, self._options), args, kwargs, node._last_call
        )
        node._last_call = call
        return call

    def __getattr__(self, name: str) -> NoReturn:
        if name == "remote":
            raise AttributeError(
                f"The actor of a graph is not there yet: {self!r}.bind(...) makes a step of the graph."
            )
        raise AttributeError(f"{type(self).__name__!r} has no attribute {name!r}")

    def __repr__(self) -> str:
        return f"{self._node._class.__name__}.{self._name}"


class _MethodOf:
    """A method of an actor that a graph makes; a method of the handle once there is one."""

    def __init__(self, actor: _Construction, name: str, options: dict[str, Any]) -> None:
        self.actor, self._name, self._options = actor, name, options
        self._found: tuple[Any, Any] = (None, None)

    def of(self, handle: Any) -> Any:
        known, method = self._found
        if known is not handle:
            method = getattr(handle, self._name)
            if self._options:
                method = method.options(**self._options)
            self._found = (handle, method)
        return method

    def __repr__(self) -> str:
        return f"{self.actor._class.__name__}.{self._name}"


class ClassMethodNode(DAGNode[Any]):
    """`handle.method.bind(...)` or `node.method.bind(...)`: a call of an actor."""

    def __init__(
        self,
        method: Any,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        after: ClassMethodNode | None = None,
    ) -> None:
        self._method = method
        super().__init__(args, kwargs)
        if isinstance(method, _MethodOf):
            self._needs(method.actor, *([after] if after else []), *self._needed)

    def _run(self, values: Values, _args: Any, _kwargs: Any) -> Any:
        method = self._method
        if isinstance(method, _MethodOf):
            method = method.of(values[method.actor])
        args, kwargs = self._arguments(values)
        return method.remote(*args, **kwargs)

    def __repr__(self) -> str:
        return (
            f"ClassMethodNode({str(self._method).removeprefix('ActorMethod(').removesuffix(')')})"
        )


class _ResultNode(DAGNode[Any]):
    """One of several results of a call."""

    def __init__(self, call: ClassMethodNode, index: int) -> None:
        super().__init__((call, index), {})
        self._call, self._index = call, index

    def _run(self, values: Values, _args: Any, _kwargs: Any) -> Any:
        return values[self._call][self._index]

    def __repr__(self) -> str:
        return f"{self._call!r}[{self._index}]"


class MultiOutputNode(DAGNode[list[Any]]):
    """Several steps as one: `execute` returns the list of what each of them returns."""

    def __init__(self, nodes: list[DAGNode] | tuple[DAGNode, ...]) -> None:
        """TypeError when `nodes` is not a list or tuple of steps."""
        if not isinstance(nodes, (list, tuple)) or not all(isinstance(n, DAGNode) for n in nodes):
            raise TypeError(f"MultiOutputNode takes a list of steps of a graph, not {nodes!r}")
        self._nodes = tuple(nodes)
        super().__init__(self._nodes, {})

    def _run(self, values: Values, _args: Any, _kwargs: Any) -> list[Any]:
        return [values[node] for node in self._nodes]

    def __repr__(self) -> str:
        return f"MultiOutputNode({list(self._nodes)})"


class _Taken(DAGNode[Any]):
    """What an input and its parts have in common: `node.name` and `node[key]` are parts of it."""

    __iter__ = None  # __getitem__ alone would make it endless

    def __getattr__(self, name: str) -> InputAttributeNode:
        if name.startswith("_") or _hint(name):
            super().__getattr__(name)
        return InputAttributeNode(self, name, as_item=False)

    def __getitem__(self, key: Any) -> InputAttributeNode:
        return InputAttributeNode(self, key, as_item=True)


class InputNode(_Taken):
    """What `execute` is given.

    With one argument it stands for that, and `inp[key]` and `inp.name` for its items and attributes. With
    several, or with keywords, `inp[0]` is the first one, `inp["name"]` and `inp.name` the one of that keyword.

    Example:
        with InputNode() as inp:
            graph = f.bind(inp)
        cyray.get(graph.execute(3))
    """

    def __init__(self) -> None:
        super().__init__((), {})
        self._takes_input = True

    def __enter__(self) -> InputNode:
        return self

    def __exit__(self, *_error: object) -> None:
        pass

    def _run(self, _values: Values, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        return args[0] if len(args) == 1 and not kwargs else DAGInputData(args, kwargs)

    def __repr__(self) -> str:
        return "InputNode"


class InputAttributeNode(_Taken):
    """An item or attribute of the input."""

    def __init__(self, of: DAGNode, key: Any, as_item: bool) -> None:
        super().__init__((), {})
        self._of, self._key, self._as_item = of, key, as_item
        self._needs(of)

    def _run(self, values: Values, _args: Any, _kwargs: Any) -> Any:
        whole = values[self._of]
        if isinstance(whole, _raylet.ObjectRef):
            raise TypeError(
                f"{self!r}: the input is a ref, whose value is not known here. Give a value to execute(), "
                "or the ref to a step that takes it apart."
            )
        return whole[self._key] if self._as_item else getattr(whole, self._key)

    def __repr__(self) -> str:
        return f"{self._of!r}[{self._key!r}]" if self._as_item else f"{self._of!r}.{self._key}"


class DAGInputData:
    """Several arguments of `execute`: by number, and by name as items or attributes."""

    def __init__(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        self._args, self._kwargs = args, kwargs

    def __getitem__(self, key: int | str) -> Any:
        if isinstance(key, str):
            if key not in self._kwargs:
                raise KeyError(f"execute() was given no argument named {key!r}")
            return self._kwargs[key]
        try:
            return self._args[key]
        except IndexError:
            raise IndexError(
                f"execute() was given {len(self._args)} positional arguments, and the graph takes "
                f"number {key}, from 0 on"
            ) from None

    def __getattr__(self, name: str) -> Any:
        if name in self.__dict__.get("_kwargs", ()):
            return self._kwargs[name]
        raise AttributeError(f"execute() was given no argument named {name!r}")


# --- What _raylet asks for ---------------------------------------------------------------------


def bind_method(
    method: Any,
    signature: tuple[Any, ...] | None,
    num_returns: int,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
) -> ClassMethodNode | tuple[DAGNode, ...]:
    """`handle.method.bind(...)`; of a method with several results, a step for each of them."""
    if signature is not None:
        checker(signature)(*args, **kwargs)
    call = ClassMethodNode(method, args, kwargs)
    if num_returns < 2:
        return call
    return tuple(_ResultNode(call, index) for index in range(num_returns))


# --- Walking -----------------------------------------------------------------------------------


def _in_order(last: DAGNode) -> list[DAGNode]:
    """What has to run for `last`, each once, after all that it needs; graphs of any depth."""
    order: list[DAGNode] = []
    seen: set[DAGNode] = set()
    stack = [(last, False)]
    while stack:
        node, ready = stack.pop()
        if ready:
            order.append(node)
        elif node not in seen:
            seen.add(node)
            stack.append((node, True))
            stack += [(needed, False) for needed in reversed(node._before())]
    return order


def _filler(
    part: Any, needed: dict[DAGNode, None], inside: tuple[int, ...]
) -> Callable[[Values], Any] | None:
    """What makes `part` with values in the places of its steps, which join `needed`; None: it has no steps."""
    if isinstance(part, DAGNode):
        needed[part] = None
        return lambda values: values[part]
    if id(part) in inside:  # a list that has itself inside
        return None
    within = (*inside, id(part))
    if isinstance(part, dict):
        by_key = {key: _filler(value, needed, within) for key, value in part.items()}
        if not any(by_key.values()):
            return None
        same = dict(part)
        return lambda values: {
            key: fill(values) if (fill := by_key[key]) else value for key, value in same.items()
        }
    if isinstance(part, (list, tuple)):
        fills = [_filler(item, needed, within) for item in part]
        if not any(fills):
            return None
        items = list(part)
        make = list if isinstance(part, list) else getattr(type(part), "_make", tuple)
        return lambda values: make(
            fill(values) if fill else item for fill, item in zip(fills, items, strict=True)
        )
    return None
