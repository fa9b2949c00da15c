"""RayTaskError: how an exception of user code travels from a worker to whoever gets the result.

Place: the ground; behind `cyray.exceptions`, which is where its names are public. Built on the worker with
`from_exception`, pickled as text plus the cause's own pickle, raised as `RayTaskError(KeyError)`.
Invariants: building one never fails, whatever the user's exception does in `__str__`, `__reduce__`
or `__init_subclass__`; the user's constructor is never called where its arguments are not known;
importing this module imports nothing that is not loaded anyway.
"""

from __future__ import annotations

import os
import pickle
import sys
from collections.abc import Callable
from typing import Any

from cyray import _compat
from cyray._os.files import PACKAGE_DIR

_MAX_TRACEBACK_CHARS = 64 * 1024
# Of the pickle of a cause: with the traceback it is less than what an error may take
# (kMaxErrorBytes of common/encoding.h). A part of it that takes more than the second is left out then.
_MOST_CAUSE_BYTES = 60 << 20
_MOST_PART_BYTES = 64 * 1024
_PLAIN = (type(None), bool, int, float, complex, str, bytes)
_DEPENDENCY_LINE = "At least one of the input arguments for this task could not be computed:"


class RayError(Exception):
    """The root of everything cyray raises on its own account."""


class UnserializableException(RayError):
    """An exception that could not be unpickled here; holds its text."""


class RayTaskError(RayError):
    """User code in a task or an actor method raised.

    `get` raises it as an instance of a class that is also a subclass of the cause's class, so that
    `except KeyError` catches the `KeyError` of a task. `str()` is where it ran, then the user's
    frames; `.cause` is the user's exception itself, `.args == (cause,)`.

    Attributes: `function_name`, `pid`, `ip`, `actor_id` (hex or None), `actor_repr` (or None),
    `traceback_str` (the frames and the message), `cause`. In the two-class form an attribute of
    the same name on the user's exception wins, except `cause`.
    """

    def __init__(
        self,
        function_name: str,
        traceback_str: str,
        cause: BaseException,
        **where: Any,
    ) -> None:
        """`where`: any of pid, ip, actor_repr, actor_id."""
        fields = {
            "function_name": function_name,
            "traceback_str": traceback_str,
            "pid": where.get("pid"),
            "ip": where.get("ip"),
            "actor_repr": where.get("actor_repr"),
            "actor_id": where.get("actor_id"),
        }
        _fill_task_error(self, fields, cause)

    @staticmethod
    def from_exception(
        exc: BaseException,
        function_name: str,
        pid: int,
        ip: str,
        actor_repr: str | None = None,
        actor_id: str | None = None,
    ) -> RayTaskError:
        """The error that a worker stores for `exc`, raised by `function_name`. Never fails.

        An error that came out of a `get` inside the task keeps its original cause, so errors do
        not nest deeper with every task they pass through; the text shows the whole way.
        """
        where = {"pid": pid, "ip": ip, "actor_repr": actor_repr, "actor_id": actor_id}
        text = _format_user_traceback(exc)
        inner = exc.__dict__.get("_cyray_fields") if isinstance(exc, RayTaskError) else None
        cause: BaseException = exc if inner is None else exc.__dict__["cause"]
        try:
            blob = exc.__dict__.get("_cyray_blob") if inner is not None else None
            if blob is None:
                blob = _dump_cause(cause)
            why_not = "cannot be pickled"
            if blob is not None and len(blob) > _MOST_CAUSE_BYTES:
                why_not = f"takes {len(blob)} bytes, and an error at most {_MOST_CAUSE_BYTES}"
                blob = _dump_shortened(cause)
            if blob is None:
                cause = RayError(
                    f"The exception raised by the task, a {_class_name(cause)}, {why_not}. "
                    f"Its text: {_cut(_safe_text(cause))}"
                )
                blob = pickle.dumps(cause, protocol=5)
            error = RayTaskError(function_name, text, cause, **where)
            error.__dict__["_cyray_blob"] = blob
            return error
        except BaseException as failure:  # Whatever user code does while it is being described.
            why = RayError(
                f"A {_class_name(exc)} that could not be described ({_safe_text(failure)})"
            )
            return RayTaskError(function_name, text, why, **where)

    @staticmethod
    def from_dependency(error: BaseException, function_name: str) -> BaseException:
        """The error of a task that never ran because `error` is what one of its arguments is.

        Has the same cause, and the dependency's own text below a line that says so. An error that
        is not a task's (an actor that died, a lost object) is handed on as it is.
        """
        fields = error.__dict__.get("_cyray_fields") if isinstance(error, RayTaskError) else None
        if fields is None:
            return error
        text = f"  {_DEPENDENCY_LINE}\n{_class_name(error)}: {error}"
        dependent = RayTaskError(function_name, text, error.__dict__["cause"])
        if "_cyray_blob" in error.__dict__:
            dependent.__dict__["_cyray_blob"] = error.__dict__["_cyray_blob"]
        return dependent

    def make_dual_exception_type(self) -> type:
        """The class `RayTaskError(<cause's class>)`; raises TypeError when there can be none."""
        return _dual_class(type(self.cause))

    def as_instanceof_cause(self) -> RayTaskError:
        """This error as an instance of its cause's class too; itself when that cannot be."""
        cause_class = type(self.cause)
        if isinstance(self, cause_class) or _is_control(cause_class):
            return self
        try:
            dual_class = _dual_class(cause_class)
            dual = _new_instance(dual_class, self.cause)
            _fill_task_error(dual, self.__dict__["_cyray_fields"], self.cause)
            _copy_attributes(self.cause, dual)
        except Exception as error:
            _warn_once(cause_class, error)
            return self
        dual.__dict__["_cyray_blob"] = self.__dict__.get("_cyray_blob")
        return dual

    def __str__(self) -> str:
        fields = self.__dict__["_cyray_fields"]
        where = [f"{key}={fields[key]}" for key in ("pid", "ip", "actor_id") if fields[key]]
        if fields["actor_repr"]:
            where.append(f"repr={fields['actor_repr']}")
        header = f"cyray::{fields['function_name']}()"
        if where:
            header += f" ({', '.join(where)})"
        return f"{header}\n{fields['traceback_str']}"

    def __repr__(self) -> str:
        return f"{type(self).__name__}({_safe_repr(self.cause)})"

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_cyray") or name == "cause" or "cause" not in self.__dict__:
            raise AttributeError(name)
        if name in self.__dict__["_cyray_fields"]:
            return self.__dict__["_cyray_fields"][name]
        return getattr(self.__dict__["cause"], name)

    def __reduce__(self) -> tuple[Any, ...]:
        blob = self.__dict__.get("_cyray_blob") or _dump_cause(self.cause)
        if blob is None:
            blob = pickle.dumps(RayError(_safe_text(self.cause)), protocol=5)
        dual = type(self) is not RayTaskError
        return _rebuild_task_error, (self.__dict__["_cyray_fields"], blob, dual)


def _fill_task_error(error: RayTaskError, fields: dict[str, Any], cause: BaseException) -> None:
    # Through the dict: the class of the cause may forbid setattr (a frozen dataclass).
    error.__dict__["_cyray_fields"] = fields
    error.__dict__["cause"] = cause
    BaseException.args.__set__(error, (cause,))  # type: ignore[attr-defined]


def _rebuild_task_error(fields: dict[str, Any], blob: bytes, dual: bool) -> RayTaskError:
    try:
        cause = pickle.loads(blob)
    except Exception as error:
        cause = UnserializableException(
            f"The task's exception could not be unpickled here ({_safe_text(error)}). "
            f"What it was:\n{fields['traceback_str']}"
        )
    result = RayTaskError.__new__(RayTaskError)
    _fill_task_error(result, fields, cause)
    result.__dict__["_cyray_blob"] = blob
    return result.as_instanceof_cause() if dual else result


def _is_control(cause_class: type) -> bool:
    # They say what is to become of the process, generator or asyncio task that raises them: of whoever gets
    # a task's result they say nothing.
    kinds: tuple[type, ...] = (KeyboardInterrupt, SystemExit, GeneratorExit)
    asyncio = sys.modules.get("asyncio")
    if asyncio is not None:
        kinds += (asyncio.CancelledError,)
    return issubclass(cause_class, kinds)


_dual_classes: dict[type, type] = {}


def _dual_class(cause_class: type) -> type:
    found = _dual_classes.get(cause_class)
    if found is None:
        if issubclass(RayTaskError, cause_class):
            found = RayTaskError
        else:
            name = f"RayTaskError({cause_class.__name__})"
            body = {"__module__": RayTaskError.__module__, "__qualname__": name, "__doc__": None}
            found = type(cause_class)(name, (RayTaskError, cause_class), body)
        if len(_dual_classes) > 1000:  # Classes made in a loop must not pile up here.
            _dual_classes.clear()
        _dual_classes[cause_class] = found
    return found


def _new_instance(dual_class: type, cause: BaseException) -> Any:
    # The user's __new__ and __init__ are not called: their arguments are not known. The memory
    # layout is the built-in base's, so its __new__ is the one to call.
    base = _compat.builtin_base(dual_class)
    if hasattr(base, "exceptions"):  # An exception group needs its parts.
        return base.__new__(dual_class, cause.message, cause.exceptions)  # type: ignore[attr-defined]
    return base.__new__(dual_class)


def _copy_attributes(source: BaseException, target: BaseException) -> None:
    """Gives `target` the attributes of `source`: its dict, its slots, its C members (errno, ...)."""
    for owner in type(source).__mro__:
        if owner in (Exception, BaseException, object, RayError):
            continue
        for member in _compat.data_descriptors(owner):
            try:
                member.__set__(target, member.__get__(source))
            except (AttributeError, TypeError, ValueError):
                pass  # Read-only or never set.
    for name, value in source.__dict__.items():
        if name != "cause" and not name.startswith("_cyray"):
            target.__dict__[name] = value


def _dump_cause(cause: BaseException) -> bytes | None:
    """`cause` as bytes that are known to load again, or None."""
    attempts = (lambda: cause, lambda: _Raw(cause))
    for attempt in attempts:
        for dump in (pickle.dumps, _cloudpickle_dumps):
            try:
                blob = dump(attempt(), protocol=5)
                loaded = pickle.loads(blob)
            except Exception:
                continue
            # A constructor that is called with other arguments than the first time may succeed
            # and still make another exception.
            if attempt is attempts[-1] or _alike(getattr(loaded, "args", None), cause.args):
                return blob
    return None


def _dump_shortened(cause: BaseException) -> bytes | None:
    """`cause` of the same class, without what is large in it; None when it is still too large."""
    try:
        blob = _cloudpickle_dumps(_Raw(cause, _shortened), protocol=5)
        pickle.loads(blob)
    except Exception:
        return None
    return blob if len(blob) <= _MOST_CAUSE_BYTES else None


def _shortened(value: Any) -> Any:
    size = len(_cloudpickle_dumps(value, 5))
    if size <= _MOST_PART_BYTES:
        return value
    left_out = f"... {size} bytes in all; an error takes at most {_MOST_CAUSE_BYTES} ..."
    if type(value) is str:
        return value[: _MOST_PART_BYTES // 4] + left_out
    if type(value) is bytes:
        return value[: _MOST_PART_BYTES // 4] + left_out.encode()
    return f"<a {_class_name(value)}: {left_out}>"


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
        return _cloudpickle_dumps(one, 5) == _cloudpickle_dumps(other, 5)
    except Exception:  # not to be pickled, or nested without end
        return False


def _cloudpickle_dumps(value: Any, protocol: int) -> bytes:
    import cloudpickle

    return cloudpickle.dumps(value, protocol=protocol)


class _Raw:
    """Pickles an exception as class, args and attributes, without calling its constructor.

    For the many classes whose `__init__` takes other arguments than it hands to its base.
    """

    def __init__(
        self, cause: BaseException, change: Callable[[Any], Any] = lambda value: value
    ) -> None:
        """`change`: what stands for each argument and attribute."""
        self._class = type(cause)
        self._args = tuple(map(change, cause.args))
        self._attributes = {name: change(value) for name, value in cause.__dict__.items()}

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild_raw, (self._class, self._args, self._attributes)


def _rebuild_raw(cause_class: type, args: tuple[Any, ...], attributes: dict[str, Any]) -> Any:
    base = _compat.builtin_base(cause_class)
    cause = base.__new__(cause_class, *args)
    base.__init__(cause, *args)  # Fills errno and the like.
    BaseException.args.__set__(cause, args)  # type: ignore[attr-defined]
    cause.__dict__.update(attributes)
    return cause


def _is_engine_frame(filename: str) -> bool:
    """Whether a frame is cyray's own machinery (its private modules), not the user's code."""
    folder, base = os.path.split(filename)
    if base.endswith((".pyx", ".pxi")):  # Cython names its files relative to the build.
        return filename.endswith("cyray/_raylet.pyx") or folder.endswith("cyray/includes")
    if folder != PACKAGE_DIR and not folder.startswith(PACKAGE_DIR + os.sep):
        return False
    inside = filename[len(PACKAGE_DIR) + 1 :].split(os.sep)
    return any(part.startswith("_") for part in inside)


def _format_user_traceback(exc: BaseException) -> str:
    """The traceback as Python prints it, without cyray's frames and the first heading line."""
    try:
        import traceback

        report = traceback.TracebackException(type(exc), exc, exc.__traceback__)
        _drop_engine_frames(report, set())
        lines = list(report.format())
        if lines and lines[0].startswith("Traceback (most recent call last)"):
            lines.pop(0)
        text = "".join(lines).rstrip("\n")
    except BaseException as error:
        text = f"{_class_name(exc)}: {_safe_text(exc)} (no traceback: {_safe_text(error)})"
    return _cut(text)


def _cut(text: str) -> str:
    if len(text) <= _MAX_TRACEBACK_CHARS:
        return text
    half = _MAX_TRACEBACK_CHARS // 2
    return f"{text[:half]}\n... {len(text) - 2 * half} characters left out ...\n{text[-half:]}"


def _drop_engine_frames(report: Any, seen: set[int]) -> None:
    if report is None or id(report) in seen:
        return
    seen.add(id(report))
    report.stack[:] = [f for f in report.stack if not _is_engine_frame(f.filename)]
    _drop_engine_frames(report.__cause__, seen)
    _drop_engine_frames(report.__context__, seen)
    for part in getattr(report, "exceptions", None) or ():
        _drop_engine_frames(part, seen)


def _class_name(value: object) -> str:
    cls = type(value)
    return (
        cls.__qualname__ if cls.__module__ == "builtins" else f"{cls.__module__}.{cls.__qualname__}"
    )


def _safe_text(value: object) -> str:
    try:
        return str(value)
    except BaseException:
        return f"<{type(value).__name__} whose str() fails>"


def _safe_repr(value: object) -> str:
    try:
        return repr(value)
    except BaseException:
        return f"<{type(value).__name__} whose repr() fails>"


_warned: set[type] = set()


def _warn_once(cause_class: type, error: Exception) -> None:
    if cause_class in _warned:
        return
    _warned.add(cause_class)
    import logging

    logging.getLogger("cyray").warning(
        "%s cannot be subclassed (%s): its tasks' errors are raised as plain RayTaskError.",
        cause_class.__name__,
        _safe_text(error),
    )


# They are the public module's: that is where tracebacks, docs and pickles find them.
for _public in (RayError, RayTaskError, UnserializableException):
    _public.__module__ = "cyray.exceptions"
