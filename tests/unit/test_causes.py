"""What hangs on an exception that travels: causes, contexts, parts of groups, slots, notes."""

from __future__ import annotations

import pickle
import sys
import threading
from typing import Any

import numpy as np
import pytest

from cyray._errors import cause as causes
from cyray.exceptions import RayError, RayTaskError, UnserializableException

with_groups = pytest.mark.skipif(sys.version_info < (3, 11), reason="groups came with 3.11")


def travelled(cause: BaseException) -> Any:
    """What a driver gets when a task raised `cause`."""
    error = RayTaskError.from_exception(cause, "f", 1, "127.0.0.1")
    return pickle.loads(pickle.dumps(error)).as_instanceof_cause()


def raised(function: Any) -> BaseException:
    try:
        function()
    except BaseException as error:
        return error
    raise AssertionError("it raised nothing")


def chained() -> None:
    try:
        try:
            raise KeyError("inner")
        except KeyError as error:
            raise ValueError("middle") from error
    except ValueError:
        raise TypeError("outer")  # noqa: B904


def test_causes_and_contexts_come_along() -> None:
    error = travelled(raised(chained))
    for outer in (error, error.cause):
        middle = outer.__context__
        assert type(middle) is ValueError and outer.__cause__ is None
        assert not outer.__suppress_context__
        assert type(middle.__cause__) is KeyError and middle.__cause__.args == ("inner",)
        assert middle.__cause__ is middle.__context__ and middle.__suppress_context__


def test_what_is_raised_from_none_stays_so() -> None:
    def fails() -> None:
        try:
            raise KeyError("hidden")
        except KeyError:
            raise ValueError("shown") from None

    error = travelled(raised(fails))
    assert error.cause.__suppress_context__ and error.cause.__cause__ is None
    assert type(error.cause.__context__) is KeyError


def test_a_chain_that_closes_in_itself_ends() -> None:
    one, two = ValueError(1), KeyError(2)
    one.__cause__, two.__cause__ = two, one
    error = travelled(one)
    assert type(error.cause.__cause__) is KeyError
    assert error.cause.__cause__.__cause__ is error.cause


def test_a_chain_without_end_is_cut() -> None:
    first = last = ValueError(0)
    for number in range(1, 1000):
        last.__context__ = ValueError(number)
        last = last.__context__
    error, length = travelled(first).cause, 0
    while error is not None:
        assert error.args == (length,)
        error, length = error.__context__, length + 1
    assert 10 < length < 1000


class Broken(Exception):
    """Cannot be pickled, however one tries."""

    lock = threading.Lock()

    def __reduce__(self) -> Any:
        raise RuntimeError("no")


def broken(text: str) -> Exception:
    class Local(Broken):
        mine = threading.Lock()

    return Local(text)


def test_a_cause_that_cannot_be_pickled_is_its_text_and_spoils_nothing() -> None:
    outer = ValueError("outer", 1)
    outer.__cause__ = broken("secret")
    error = travelled(outer)
    assert error.cause.args == ("outer", 1)
    assert type(error.cause.__cause__) is RayError and "secret" in str(error.cause.__cause__)


def test_a_cause_whose_class_is_not_here_spoils_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    outer = ValueError("outer")
    outer.__cause__ = Gone("gone")
    blob = causes.dump(outer)
    assert blob is not None
    monkeypatch.delitem(globals(), "Gone")
    loaded = causes.load(blob)
    assert loaded.args == ("outer",) and type(loaded.__cause__) is UnserializableException


class Gone(Exception):
    pass


@with_groups
def test_groups_in_groups_keep_parts_notes_and_what_hangs_on_them() -> None:
    part = raised(chained)
    part.add_note("a part")  # type: ignore[attr-defined]
    inner = ExceptionGroup("inner", [KeyError("x"), broken("secret")])  # type: ignore[list-item]  # noqa: F821
    group = ExceptionGroup("outer", [part, inner])  # type: ignore[list-item]  # noqa: F821
    group.add_note("the group")
    error = travelled(group)
    assert isinstance(error, ExceptionGroup) and error.__notes__ == ["the group"]  # noqa: F821
    first, second = error.cause.exceptions
    assert type(first) is TypeError and first.__notes__ == ["a part"]
    assert type(first.__context__.__cause__) is KeyError
    assert second.message == "inner" and type(second.exceptions[0]) is KeyError
    assert "secret" in str(second.exceptions[1])
    matching, rest = error.split(KeyError)
    assert matching.exceptions[0].exceptions[0].args == ("x",)
    assert type(rest.exceptions[0]) is TypeError


@with_groups
def test_a_group_of_a_class_of_the_users_keeps_its_class_and_attributes() -> None:
    class Failures(ExceptionGroup):  # type: ignore[type-arg]  # noqa: F821
        def __new__(cls, message: str, parts: Any, code: int) -> Any:
            made = super().__new__(cls, message, parts)
            made.code = code
            return made

    error = travelled(Failures("both", [ValueError(1)], 7))
    assert error.code == 7 and type(error.cause).__name__ == "Failures"
    assert error.exceptions[0].args == (1,)


@with_groups
def test_a_group_of_what_is_no_exception_is_the_cause(caplog: pytest.LogCaptureFixture) -> None:
    group = BaseExceptionGroup("both", [KeyboardInterrupt(), ValueError(1)])  # noqa: F821
    error = travelled(group)
    assert type(error) is RayTaskError
    assert [type(part) for part in error.cause.exceptions] == [KeyboardInterrupt, ValueError]
    assert not caplog.text


@with_groups
def test_a_group_that_is_too_large_keeps_its_parts() -> None:
    group = ExceptionGroup("both", [ValueError("x" * 70_000_000), KeyError("small")])  # noqa: F821
    error = travelled(group)
    large, small = error.exceptions
    assert type(large) is ValueError and len(large.args[0]) < 100_000
    assert small.args == ("small",)


class Slotted(Exception):
    __slots__ = ("__own", "code")

    def __init__(self, own: int, *, code: int) -> None:
        super().__init__("a text")
        self.__own, self.code = own, code

    def own(self) -> int:
        return self.__own


class Derived(Slotted):
    __slots__ = ("more", "never")


@pytest.mark.parametrize("kind", [Slotted, Derived])
def test_slots_keep_what_they_hold(kind: Any) -> None:
    made = kind(1, code=2)
    error = travelled(made)
    assert error.code == 2 and error.cause.code == 2 and error.cause.own() == 1
    assert type(error.cause) is kind


def test_arrays_among_the_arguments_and_attributes_come_along() -> None:
    cause = ValueError("a", np.arange(5))
    cause.data = {"b": np.ones(200_000)}  # type: ignore[attr-defined]
    error = travelled(cause)
    assert (error.cause.args[1] == np.arange(5)).all()
    assert error.data["b"].sum() == 200_000


def test_an_error_is_built_without_looking_for_the_culprit(monkeypatch: pytest.MonkeyPatch) -> None:
    from cyray._pickle import blame

    monkeypatch.setattr(blame, "find", None)
    assert isinstance(travelled(ValueError(threading.Lock())), ValueError)
