"""A user's exception as bytes that are known to load again, with what hangs on it.

Place: the ground, under `task_error`. What hangs on an exception: the parts of a group, `__cause__`, `__context__`.
Pickle drops the last two, and one part that it cannot take spoils the whole. So each exception is pickled by itself,
the next best way when one fails, and they are tied together again on the other side. Invariant: nothing here raises,
but `load`; the user's constructor is never called where its arguments are not known.
"""

from __future__ import annotations

import pickle
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from cyray import _compat
from cyray._errors.root import RayError, UnserializableException

# Of what may travel with an error: with the traceback it is less than what one may take (kMaxErrorBytes of
# common/encoding.h). A part that takes more than the second is left out where the whole takes too much.
MOST_BYTES = 60 << 20
_MOST_PART_BYTES = 64 * 1024
_MOST_RELATED = 100  # exceptions that causes and contexts lead to
_PLAIN = (type(None), bool, int, float, complex, str, bytes)

Change = Callable[[Any], Any]


def dump(cause: BaseException, change: Change | None = None) -> bytes | None:
    """`cause` as bytes that are known to load again, or None. `change`: what stands for each of its arguments and
    attributes."""
    try:
        related = _related(cause)
        if len(related) == 1 and not is_group(cause):
            return _dump_alone(cause, change)
        number = {id(one): i for i, one in enumerate(related)}
        nodes = [_node(one, number, change) for one in related]
        if nodes[0].blob is None:
            return None
        blob = pickle.dumps(_Tied([_or_text(n, e) for n, e in zip(nodes, related, strict=True)]), 5)
        pickle.loads(blob)
    except Exception:
        return None
    return blob


def dump_shortened(cause: BaseException) -> bytes | None:
    """As `dump`, without what is large in it; None when it is still too large."""
    blob = dump(cause, _shortened)
    return blob if blob is not None and len(blob) <= MOST_BYTES else None


def load(blob: bytes) -> BaseException:
    """The other side of `dump`. Raises whatever loading the exception itself raises."""
    cause: BaseException = pickle.loads(blob)
    return cause


def is_group(error: BaseException) -> bool:
    return hasattr(_compat.builtin_base(type(error)), "exceptions")


def class_name(value: object) -> str:
    cls = type(value)
    return (
        cls.__qualname__ if cls.__module__ == "builtins" else f"{cls.__module__}.{cls.__qualname__}"
    )


def safe_text(value: object) -> str:
    try:
        return str(value)
    except BaseException:
        return f"<{type(value).__name__} whose str() fails>"


# --- Exceptions that belong together ------------------------------------------------------------------


class _Node(NamedTuple):
    """One exception; others by their numbers."""

    blob: bytes | None  # of a group: without its parts
    parts: tuple[int, ...] | None
    cause: int | None
    context: int | None
    suppresses: bool


def _related(cause: BaseException) -> list[BaseException]:
    """`cause`, then all that its groups, causes and contexts lead to, each once."""
    found = [cause]
    seen = {id(cause)}
    for one in found:
        chained = (one.__cause__, one.__context__) if len(found) < _MOST_RELATED else ()
        for other in (*chained, *_parts_of(one)):
            if other is not None and id(other) not in seen:
                seen.add(id(other))
                found.append(other)
    return found


def _parts_of(error: Any) -> tuple[BaseException, ...]:
    return tuple(error.exceptions) if is_group(error) else ()


def _node(error: BaseException, number: dict[int, int], change: Change | None) -> _Node:
    parts = tuple(number[id(one)] for one in _parts_of(error)) if is_group(error) else None
    return _Node(
        _dump_alone(error, change),
        parts,
        number.get(id(error.__cause__)),
        number.get(id(error.__context__)),
        error.__suppress_context__,
    )


def _or_text(node: _Node, error: BaseException) -> _Node:
    if node.blob is not None:
        return node
    instead = RayError(
        f"A {class_name(error)} that cannot be pickled. Its text: {safe_text(error)}"
    )
    return node._replace(blob=pickle.dumps(instead, 5), parts=None)


class _Tied:
    """Pickles as the first of its nodes, with the others where they belong."""

    def __init__(self, nodes: list[_Node]) -> None:
        self._nodes = [tuple(node) for node in nodes]

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild_tied, (self._nodes,)


def _rebuild_tied(pickled: list[tuple[Any, ...]]) -> BaseException:
    nodes = [_Node(*node) for node in pickled]
    made: dict[int, BaseException] = {}
    # From the last on: the parts of a group come behind it.
    for i in reversed(range(len(nodes))):
        made[i] = _rebuild_node(nodes[i], made, is_first=i == 0)
    for i, node in enumerate(nodes):
        if node.cause is not None:
            made[i].__cause__ = made[node.cause]
        if node.context is not None:
            made[i].__context__ = made[node.context]
        made[i].__suppress_context__ = node.suppresses
    return made[0]


def _rebuild_node(node: _Node, made: dict[int, BaseException], is_first: bool) -> BaseException:
    try:
        if node.parts is None:
            return load(node.blob or b"")
        kind, args, attributes, slots = pickle.loads(node.blob or b"")
        return _rebuild_raw(kind, (args[0], [made[i] for i in node.parts]), attributes, slots)
    except Exception as error:
        if is_first:
            raise
        return UnserializableException(f"It could not be unpickled here ({safe_text(error)}).")


# --- One exception ------------------------------------------------------------------------------------


def _dump_alone(cause: BaseException, change: Change | None) -> bytes | None:
    """One exception without those that hang on it."""
    changes: list[Change | None] = [None, _same, _portable] if change is None else [change]
    for one in changes:
        for dumps in (_dumps_by_reference, _dumps_by_value):
            try:
                what = _form_of(cause, one)
                blob = dumps(what)
                loaded = pickle.loads(blob)
            except Exception:
                continue
            # A constructor that is called with other arguments than the first time may succeed
            # and still make another exception.
            if what is not cause or _is_as(loaded, cause):
                return blob
    return None


def _form_of(cause: BaseException, change: Change | None) -> Any:
    """What is pickled of it. `change` None: itself, as its class wants it."""
    if is_group(cause):
        return _Raw(cause, change or _same).of_group()
    return cause if change is None else _Raw(cause, change)


def _dumps_by_reference(value: Any) -> bytes:
    from cyray._pickle import custom

    if custom.types:
        raise pickle.PicklingError("one of them may be for it")
    blob = pickle.dumps(value, protocol=5)
    if b"__main__" in blob:
        raise pickle.PicklingError("__main__ is another module elsewhere")
    return blob


def _dumps_by_value(value: Any) -> bytes:
    from cyray._pickle import by_value

    return by_value.dumps_bare(value)


def _is_as(loaded: Any, cause: BaseException) -> bool:
    if not _alike(getattr(loaded, "args", None), cause.args):
        return False
    slots = dict(_slots_of(cause))
    return not slots or _alike(dict(_slots_of(loaded)), slots)


def _slots_of(error: BaseException) -> Iterator[tuple[str, Any]]:
    """What the slots of the user's classes hold; pickle drops it."""
    builtin = _compat.builtin_base(type(error))
    for owner in type(error).__mro__:
        if owner is builtin:
            return
        for member in _compat.data_descriptors(owner):
            try:
                yield member.__name__, member.__get__(error)
            except AttributeError:  # never set
                pass


class _Raw:
    """Pickles an exception as class, args and attributes, without calling its constructor.

    For the many classes whose `__init__` takes other arguments than it hands to its base.
    """

    def __init__(self, cause: BaseException, change: Change) -> None:
        """`change`: what stands for each argument and attribute."""
        self._class = type(cause)
        given = cause.args[:1] if is_group(cause) else cause.args
        self._args = tuple(map(change, given))
        self._attributes = {name: change(value) for name, value in cause.__dict__.items()}
        self._slots = {name: change(value) for name, value in _slots_of(cause)}

    def of_group(self) -> tuple[Any, ...]:
        """What `_rebuild_raw` takes, but for the parts."""
        return self._class, self._args, self._attributes, self._slots

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild_raw, self.of_group()


def _rebuild_raw(
    cause_class: type, args: tuple[Any, ...], attributes: dict[str, Any], slots: dict[str, Any]
) -> Any:
    base = _compat.builtin_base(cause_class)
    cause = base.__new__(cause_class, *args)
    base.__init__(cause, *args)  # Fills errno and the like.
    BaseException.args.__set__(cause, args)  # type: ignore[attr-defined]
    cause.__dict__.update(attributes)
    for owner in cause_class.__mro__:
        for member in _compat.data_descriptors(owner):
            if member.__name__ in slots:
                member.__set__(cause, slots[member.__name__])
    return cause


def _same(value: Any) -> Any:
    return value


def _portable(value: Any) -> Any:
    """`value`, or a text where it cannot be pickled."""
    try:
        pickle.loads(_dumps_by_value(value))
    except Exception:
        return f"<a {class_name(value)}, which cannot be pickled>"
    return value


def _shortened(value: Any) -> Any:
    try:
        size = len(_dumps_by_value(value))
    except Exception:
        return _portable(value)
    if size <= _MOST_PART_BYTES:
        return value
    left_out = f"... {size} bytes in all; an error takes at most {MOST_BYTES} ..."
    if type(value) is str:
        return value[: _MOST_PART_BYTES // 4] + left_out
    if type(value) is bytes:
        return value[: _MOST_PART_BYTES // 4] + left_out.encode()
    return f"<a {class_name(value)}: {left_out}>"


def _alike(one: Any, other: Any) -> bool:
    """Whether both are the same value, without asking the user's classes: their `==` may give anything.

    An array gives an array, a table raises. What is no plain value is alike when its pickle is.
    """
    if type(one) is not type(other):
        return False
    if type(one) in _PLAIN:
        return bool(one == other) or (one != one and other != other)
    try:
        if type(one) in (tuple, list):
            return len(one) == len(other) and all(map(_alike, one, other))
        if type(one) is dict:
            return _alike(list(one.items()), list(other.items()))
        return _dumps_by_value(one) == _dumps_by_value(other)
    except Exception:  # not to be pickled, or nested without end
        return False
