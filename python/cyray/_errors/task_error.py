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
from typing import Any

from cyray import _compat
from cyray._errors import cause as _cause
from cyray._errors.cause import class_name as _class_name
from cyray._errors.cause import safe_text as _safe_text
from cyray._errors.root import RayError, UnserializableException
from cyray._os.files import PACKAGE_DIR

_MAX_TRACEBACK_CHARS = 64 * 1024
_DEPENDENCY_LINE = "At least one of the input arguments for this task could not be computed:"


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
                blob = _cause.dump(cause)
            why_not = "cannot be pickled"
            if blob is not None and len(blob) > _cause.MOST_BYTES:
                why_not = f"takes {len(blob)} bytes, and an error at most {_cause.MOST_BYTES}"
                blob = _cause.dump_shortened(cause)
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
        if isinstance(self, cause_class) or _is_control(cause_class) or _is_bare_group(self.cause):
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
        blob = self.__dict__.get("_cyray_blob") or _cause.dump(self.cause)
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
        cause = _cause.load(blob)
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


def _is_bare_group(cause: BaseException) -> bool:
    # A BaseExceptionGroup that is no Exception, for what is in it: no class is that and an Exception.
    return _cause.is_group(cause) and not isinstance(cause, Exception)


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
    if _cause.is_group(cause):  # An exception group needs its parts.
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
    target.__cause__, target.__context__ = source.__cause__, source.__context__
    target.__suppress_context__ = source.__suppress_context__


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
