"""What an exception of a task looks like to whoever gets its result."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
import threading
from dataclasses import dataclass

import pytest

from cyray import exceptions
from cyray._errors import classes
from cyray._errors.from_core import of_status, system_error
from cyray.exceptions import RayActorError, RayError, RayTaskError


def failed(exception: BaseException, name: str = "f", **where) -> RayTaskError:
    def user_function():
        raise exception

    try:
        user_function()
    except BaseException as error:
        return RayTaskError.from_exception(error, name, 12, "10.0.0.1", **where)


def travelled(error: RayTaskError) -> RayTaskError:
    return pickle.loads(pickle.dumps(error)).as_instanceof_cause()


class TwoArguments(Exception):
    def __init__(self, first, second):
        super().__init__(f"{first} and {second}")
        self.first = first
        self.second = second


class WithDefault(Exception):
    code = 0

    def __init__(self):
        super().__init__("x")
        self.code = 5


class BrokenStr(Exception):
    def __str__(self):
        raise RuntimeError("no text")

    __repr__ = __str__


class BrokenReduce(Exception):
    def __reduce__(self):
        raise RuntimeError("no pickle")


class Final(Exception):
    def __init_subclass__(cls, **kwargs):
        raise TypeError("final")


@dataclass(frozen=True)
class Frozen(Exception):
    amount: int


class Slotted(Exception):
    __slots__ = ("kept",)


class Mixed(ValueError, OSError):
    pass


def test_an_error_is_also_an_instance_of_its_cause():
    error = travelled(failed(KeyError("a")))
    assert isinstance(error, KeyError)
    assert isinstance(error, RayTaskError)
    assert type(error).__name__ == "RayTaskError(KeyError)"
    assert isinstance(error.cause, KeyError)
    assert error.args == (error.cause,)


def test_the_class_for_a_cause_is_made_once():
    assert type(travelled(failed(KeyError(1)))) is type(travelled(failed(KeyError(2))))


def test_the_text_is_where_it_ran_then_the_users_frames():
    text = str(travelled(failed(ValueError("bad"))))
    lines = text.splitlines()
    assert lines[0] == "cyray::f() (pid=12, ip=10.0.0.1)"
    assert "user_function" in text
    assert "Traceback" not in text
    assert lines[-1] == "ValueError: bad"
    assert "\x1b" not in text


def test_an_actors_error_names_the_actor():
    error = failed(ValueError(), "A.m", actor_repr="A(1)", actor_id="ab12")
    header = str(error).splitlines()[0]
    assert header == "cyray::A.m() (pid=12, ip=10.0.0.1, actor_id=ab12, repr=A(1))"


def test_frames_of_the_engine_are_hidden_and_of_user_pyx_kept():
    package = os.path.dirname(exceptions.__file__)
    source = "def run(g):\n    g()\n"
    scope: dict = {}
    exec(compile(source, os.path.join(package, "_worker", "main.py"), "exec"), scope)
    kernel: dict = {}
    exec(compile("def kernel():\n    1/0\n", "examples/cyray_demo/kernel.pyx", "exec"), kernel)
    core: dict = {}
    exec(compile("def core(g):\n    g()\n", "python/cyray/_raylet.pyx", "exec"), core)
    part: dict = {}
    exec(compile(source, "/build/python/cyray/includes/execute.pxi", "exec"), part)
    try:
        core["core"](lambda: part["run"](lambda: scope["run"](kernel["kernel"])))
    except ZeroDivisionError as error:
        text = str(RayTaskError.from_exception(error, "f", 1, "ip"))
    assert "_worker" not in text
    assert "_raylet" not in text
    assert "execute.pxi" not in text
    assert "kernel.pyx" in text


def test_chained_exceptions_stay_in_the_text():
    try:
        try:
            raise KeyError("inner")
        except KeyError as inner:
            raise ValueError("outer") from inner
    except ValueError as error:
        text = str(RayTaskError.from_exception(error, "f", 1, "ip"))
    assert "inner" in text
    assert "direct cause" in text


def test_attributes_of_the_cause_are_there():
    error = travelled(failed(TwoArguments(1, 2)))
    assert (error.first, error.second) == (1, 2)
    assert isinstance(error.cause, TwoArguments)
    assert str(error.cause) == "1 and 2"


def test_an_attribute_that_hides_a_class_default_is_the_instances():
    assert travelled(failed(WithDefault())).code == 5


def test_errno_of_an_os_error_survives():
    error = travelled(failed(FileNotFoundError(2, "No such file", "/x")))
    assert isinstance(error, FileNotFoundError)
    assert error.errno == 2
    assert error.filename == "/x"


def test_notes_survive():
    cause = ValueError("x")
    cause.__notes__ = ["look here"]
    assert travelled(failed(cause)).__notes__ == ["look here"]


@pytest.mark.parametrize(
    "cause",
    [
        BrokenStr(),
        BrokenReduce("secret"),
        ValueError(threading.Lock()),
        ValueError(lambda: 1),
        Frozen(3),
        Slotted("a"),
        Mixed("a"),
        UnicodeDecodeError("utf-8", b"x", 0, 1, "why"),
        SyntaxError("bad", ("f.py", 1, 2, "text")),
        StopIteration(3),
        KeyboardInterrupt(),
        SystemExit(3),
        RecursionError("deep"),
    ],
    ids=lambda cause: type(cause).__name__,
)
def test_any_exception_travels(cause):
    error = travelled(failed(cause))
    assert isinstance(error, RayTaskError)
    assert str(error).startswith("cyray::f()")
    assert repr(error)


def test_an_unpicklable_cause_becomes_its_text():
    error = travelled(failed(BrokenReduce("secret")))
    # Class, args and attributes travel even when the class refuses to pickle itself.
    assert isinstance(error, BrokenReduce) or "secret" in str(error.cause)

    class Locked(Exception):
        lock = threading.Lock()

    locked = travelled(failed(Locked("secret")))
    assert type(locked.cause) is RayError
    assert "cannot be pickled" in str(locked.cause) and "secret" in str(locked.cause)


def test_what_cannot_be_pickled_in_an_exception_becomes_its_text():
    cause = ValueError("plain", threading.Lock())
    cause.held, cause.code = threading.Lock(), 3
    error = travelled(failed(cause))
    assert isinstance(error, ValueError) and error.code == 3
    assert error.cause.args == ("plain", "<a _thread.lock, which cannot be pickled>")
    assert error.held == "<a _thread.lock, which cannot be pickled>"


def test_a_class_that_cannot_be_subclassed_gives_a_plain_error(caplog):
    error = travelled(failed(Final("x")))
    assert type(error) is RayTaskError
    assert isinstance(error.cause, Final)
    assert "cannot be subclassed" in caplog.text


def test_a_frozen_dataclass_keeps_its_fields():
    assert travelled(failed(Frozen(3))).amount == 3


@pytest.mark.skipif(sys.version_info < (3, 11), reason="exception groups came with 3.11")
def test_an_exception_group_keeps_its_parts():
    error = travelled(failed(ExceptionGroup("both", [ValueError(1), KeyError(2)])))  # noqa: F821
    assert isinstance(error, ExceptionGroup)  # noqa: F821
    assert [type(part) for part in error.exceptions] == [ValueError, KeyError]
    assert error.split(KeyError)[0].exceptions[0].args == (2,)


def test_an_exception_that_cannot_be_unpickled_here_shows_its_text():
    error = failed(TwoArguments(1, 2))
    error.__dict__["_cyray_blob"] = b"\x80\x05cno_such_module\nE\n."
    arrived = travelled(error)
    assert isinstance(arrived.cause, exceptions.UnserializableException)
    assert "1 and 2" in str(arrived.cause)


def test_an_error_of_a_nested_task_keeps_its_first_cause():
    inner = travelled(failed(KeyError("deep"), "inner"))
    outer = travelled(failed(inner, "outer"))
    assert isinstance(outer, KeyError)
    assert isinstance(outer.cause, KeyError)
    assert not isinstance(outer.cause, RayTaskError)
    assert "cyray::outer()" in str(outer)
    assert "cyray::inner()" in str(outer)


def test_a_dependents_error_says_whose_it_is():
    inner = failed(KeyError("deep"), "inner")
    error = travelled(RayTaskError.from_dependency(inner, "outer"))
    assert isinstance(error, KeyError)
    assert "At least one of the input arguments for this task could not be computed:" in str(error)
    assert str(error).index("cyray::outer()") < str(error).index("cyray::inner()")


def test_a_dependents_error_of_a_dead_actor_is_that_error():
    dead = exceptions.ActorDiedError()
    assert RayTaskError.from_dependency(dead, "f") is dead


def test_a_dual_error_pickles_to_the_same_class():
    error = travelled(failed(KeyError("a")))
    again = pickle.loads(pickle.dumps(error))
    assert type(again) is type(error)
    assert str(again) == str(error)


def test_an_endless_text_is_bounded():
    assert len(str(failed(ValueError("x" * 10_000_000)))) < 100_000


class TooMuch(Exception):
    def __init__(self, data, code):
        super().__init__(data)
        self.code = code
        self.more = data + "y"


@pytest.mark.parametrize(
    "cause",
    [
        ValueError("x" * 70_000_000),
        ValueError(b"x" * 70_000_000),
        ValueError(["x" * 70_000_000], 3),
        TooMuch("x" * 40_000_000, 3),
        OSError(5, "x" * 70_000_000),
    ],
    ids=["text", "bytes", "a list", "attributes", "errno"],
)
def test_what_is_too_large_to_travel_keeps_its_class_and_what_is_small(cause):
    error = failed(cause)
    assert len(pickle.dumps(error)) < 1_000_000
    error = travelled(error)
    assert isinstance(error, type(cause)) and isinstance(error, RayTaskError)
    assert "bytes in all; an error takes at most" in str(error.cause.args)
    if isinstance(cause, TooMuch):
        assert error.code == 3 and len(error.more) < 100_000
    if isinstance(cause, OSError):
        assert error.errno == 5


def test_what_is_too_large_and_cannot_be_made_smaller_keeps_its_text():
    cause = ValueError(*(str(i) * 10_000 for i in range(10_000, 12_000)))
    error = travelled(failed(cause))
    assert type(error.cause) is exceptions.RayError
    assert "ValueError" in str(error.cause) and len(str(error.cause)) < 100_000
    assert "bytes, and an error at most 62914560" in str(error.cause)
    assert "pickled" not in str(error.cause)


def test_every_class_is_in_the_public_module_by_its_name():
    defined = {
        name for name, value in vars(classes).items() if isinstance(value, type) and name[0] != "_"
    }
    assert {*defined, "RayTaskError", "UnserializableException"} == set(exceptions.__all__)
    assert all(hasattr(exceptions, name) for name in exceptions.__all__)


def test_every_exception_pickles_and_is_a_cyray_error():
    outside = {"RayConnectionError"}
    for name in exceptions.__all__:
        cls = getattr(exceptions, name)
        if name in outside or cls is RayTaskError:
            continue
        assert issubclass(cls, RayError), name
        error = cls("a message")
        again = pickle.loads(pickle.dumps(error))
        assert type(again) is cls
        assert str(again) == str(error), name


def test_old_names_are_the_same_classes():
    assert exceptions.RayTimeoutError is exceptions.GetTimeoutError
    assert exceptions.RayWorkerError is exceptions.WorkerCrashedError
    assert exceptions.UnreconstructableError is exceptions.ObjectReconstructionFailedError
    assert issubclass(exceptions.GetTimeoutError, TimeoutError)
    assert issubclass(exceptions.ActorAlreadyExistsError, ValueError)


@pytest.mark.parametrize(
    ("kind", "cls"),
    [
        ("worker_crashed", exceptions.WorkerCrashedError),
        ("actor_died", exceptions.ActorDiedError),
        ("actor_unavailable", exceptions.ActorUnavailableError),
        ("object_lost", exceptions.ObjectLostError),
        ("owner_died", exceptions.OwnerDiedError),
        ("object_store_full", exceptions.ObjectStoreFullError),
        ("unschedulable", exceptions.TaskUnschedulableError),
        ("raylet_died", exceptions.LocalRayletDiedError),
        ("internal", exceptions.RaySystemError),
        ("something new", exceptions.RaySystemError),
    ],
)
def test_failures_map_to_exceptions(kind, cls):
    for message in ("", "what happened"):
        error = system_error(kind, message)
        assert type(error) is cls
        assert message in str(error)


def test_an_actor_that_fits_nowhere_is_told_from_a_task():
    error = system_error("unschedulable", "no such node", "ab")
    assert type(error) is exceptions.ActorUnschedulableError


def test_status_numbers_are_those_of_the_core():
    path = os.path.join(os.path.dirname(__file__), "../../cpp/cyray/util/status.h")
    with open(path) as file:
        body = file.read().split("enum class StatusCode")[1].split("};")[0]
    names = [line.strip().split(",")[0].split(" ")[0] for line in body.splitlines()[1:]]
    names = [name for name in names if name.startswith("k")]
    expected = {
        "kInvalidArgument": ValueError,
        "kTimedOut": exceptions.GetTimeoutError,
        "kUnauthenticated": exceptions.AuthenticationError,
        "kObjectStoreFull": exceptions.ObjectStoreFullError,
        "kCancelled": exceptions.TaskCancelledError,
        "kInternal": exceptions.RaySystemError,
    }
    for name, cls in expected.items():
        assert type(of_status(names.index(name), "m")) is cls
    assert type(of_status(len(names), "m")) is exceptions.RaySystemError


def test_a_dead_actor_is_described():
    error = system_error(
        "actor_died", "The actor is dead because it was killed by `cyray.kill`.", "ab"
    )
    assert isinstance(error, RayActorError)
    assert error.actor_id == "ab"
    assert str(error) == (
        "The actor is dead because it was killed by `cyray.kill`.\n\tactor_id: ab"
    )
    assert pickle.loads(pickle.dumps(error)).actor_id == "ab"
    assert error.class_name is None
    error = system_error("actor_unavailable", "\tclass_name: A.B\n\tpid: 3\nIt ended.", "ab")
    assert pickle.loads(pickle.dumps(error)).class_name == "A.B"
    assert str(error).endswith("\n\tactor_id: ab\n\tclass_name: A.B\n\tpid: 3\nIt ended.")
    error = system_error("actor_died", "\tclass_name: A.B\nIt ended.\n\tits log's end", "ab")
    assert str(error) == "It ended.\n\tactor_id: ab\n\tclass_name: A.B\n\tits log's end"
    assert str(system_error("actor_died", "", "ab")).startswith("The actor died unexpectedly")


def test_an_actor_whose_init_raised_shows_that_error():
    init_error = failed(ValueError("no"), "Counter.__init__")
    error = exceptions.ActorDiedError.from_init_error(init_error, "ab", "Counter")
    assert error.actor_init_failed
    assert "because of an error raised in its creation task, cyray::Counter.__init__" in str(error)
    assert pickle.loads(pickle.dumps(error)).cause.cause.args == ("no",)


def test_importing_the_exceptions_imports_no_traceback_module():
    package = os.path.dirname(exceptions.__file__)
    code = (
        "import sys, types\n"
        "before = set(sys.modules)\n"
        "m = types.ModuleType('cyray'); m.__path__ = [sys.argv[1]]; sys.modules['cyray'] = m\n"
        "import cyray.exceptions\n"
        "new = set(sys.modules) - before\n"
        "bad = new & {'traceback', 'inspect', 'logging', 'cloudpickle', 'json', 'subprocess'}\n"
        "assert not bad, bad\n"
    )
    subprocess.run([sys.executable, "-I", "-c", code, package], check=True)


class NoTruth:
    """As an array or a table: what `==` gives has no single truth value."""

    def __init__(self, value):
        self.value = value

    def __eq__(self, other):
        return self

    def __bool__(self):
        raise ValueError("ambiguous")

    __hash__ = None


@pytest.mark.parametrize(
    "args", [(NoTruth(1),), ("text", [NoTruth(1)]), ({"a": NoTruth(1)},), (float("nan"),)]
)
def test_arguments_that_cannot_be_compared_cost_an_exception_nothing(args):
    error = travelled(failed(ValueError(*args)))
    assert isinstance(error, ValueError)
    assert type(error.cause) is ValueError
    assert len(error.cause.args) == len(args)


def test_an_array_among_the_arguments_arrives():
    numpy = pytest.importorskip("numpy")
    error = travelled(failed(ValueError("did not converge", numpy.arange(3))))
    assert isinstance(error, ValueError)
    assert error.cause.args[1].tolist() == [0, 1, 2]


def test_a_constructor_that_changes_its_arguments_is_not_called_again():
    error = travelled(failed(TwoArguments("a", NoTruth(1))))
    assert error.cause.first == "a"
    assert error.cause.second.value == 1
