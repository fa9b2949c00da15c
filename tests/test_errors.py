"""Errors: how what a task raises, or what happens to it, reaches whoever asks for its result."""

from __future__ import annotations

import contextlib
import os
import pickle
import re
import signal
import sys
import threading

import numpy as np
import pytest
import remote_code
from support import eventually, gcs_pid

import cyray
from cyray import _raylet
from cyray.exceptions import RayError, RayTaskError, WorkerCrashedError
from cyray.test_utils import SignalActor

pytestmark = pytest.mark.usefixtures("shared_session")


def raised_by(ref, timeout=20):
    with pytest.raises(BaseException) as caught:
        cyray.get(ref, timeout=timeout)
    return caught.value


def test_an_error_is_of_both_classes():
    @cyray.remote
    def f():
        raise KeyError("the key")

    error = raised_by(f.remote())
    assert isinstance(error, KeyError) and isinstance(error, RayTaskError)
    assert isinstance(error, RayError)
    assert type(error).__name__ == "RayTaskError(KeyError)"
    assert isinstance(error.cause, KeyError) and error.cause.args == ("the key",)
    assert error.args == (error.cause,)


def test_the_text_shows_where_it_ran_and_the_users_frames_only():
    @cyray.remote
    def outermost():
        def innermost():
            raise ValueError("the reason")

        innermost()

    text = str(raised_by(outermost.remote()))
    assert text.startswith("cyray::outermost() (pid=")
    assert "in outermost" in text and "in innermost" in text
    assert "ValueError: the reason" in text
    assert "\x1b[" not in text
    assert ".pxi" not in text and "cyray/_worker" not in text


def test_errors_of_the_users_own_classes_keep_their_attributes():
    @cyray.remote
    def f():
        raise remote_code.CustomError(42, "text")

    error = raised_by(f.remote())
    assert isinstance(error, remote_code.CustomError)
    assert error.code == 42 and error.cause.code == 42


def test_classes_that_only_the_task_knows():
    @cyray.remote
    def f():
        class Local(RuntimeError):
            pass

        raise Local("inside")

    error = raised_by(f.remote())
    assert isinstance(error, RuntimeError)
    assert "Local: inside" in str(error)


def test_the_cause_chain_is_in_the_text():
    @cyray.remote
    def f():
        try:
            raise KeyError("first")
        except KeyError as error:
            raise ValueError("second") from error

    text = str(raised_by(f.remote()))
    assert "first" in text and "second" in text and "direct cause" in text


def test_an_error_passes_through_nested_tasks_with_its_class():
    @cyray.remote
    def inner():
        raise ZeroDivisionError("deep")

    @cyray.remote
    def middle():
        return cyray.get(inner.remote())

    @cyray.remote
    def outer():
        return cyray.get(middle.remote())

    error = raised_by(outer.remote())
    assert isinstance(error, ZeroDivisionError)
    assert isinstance(error.cause, ZeroDivisionError)
    assert str(error).startswith("cyray::outer()")
    assert "cyray::inner()" in str(error)


def test_a_failed_argument_is_the_tasks_error():
    @cyray.remote
    def fail():
        raise KeyError("source")

    @cyray.remote
    def use(value):
        return value

    error = raised_by(use.remote(use.remote(fail.remote())))
    assert isinstance(error, KeyError)
    assert "At least one of the input arguments for this task could not be computed" in str(error)
    assert "cyray::fail()" in str(error)


def test_a_failure_passes_through_a_chain_of_any_length():
    @cyray.remote
    def fail():
        raise KeyError("source")

    @cyray.remote
    def use(value):
        return value

    ref = fail.remote()
    for _ in range(20_000):
        ref = use.remote(ref)
    assert isinstance(raised_by(ref), KeyError)


def test_a_large_error_is_an_error_wherever_it_goes():
    @cyray.remote
    def fail():
        raise KeyError("x" * 300_000)

    @cyray.remote
    def use(value):
        return type(value)

    ref = fail.remote()
    assert isinstance(raised_by(ref), KeyError)
    assert isinstance(raised_by(use.remote(ref)), KeyError)

    @cyray.remote
    class Use:
        def use(self, value):
            return type(value)

    assert isinstance(raised_by(Use.remote().use.remote(ref)), KeyError)


def test_a_large_error_that_is_tried_again_is_not_taken_for_the_result(tmp_path):
    path = str(tmp_path / "tries")

    @cyray.remote(retry_exceptions=True)
    def flaky():
        with open(path, "a") as file:
            file.write(".")
        if os.path.getsize(path) < 2:
            raise KeyError("x" * 300_000)
        return b"y" * 300_000

    assert cyray.get(flaky.remote()) == b"y" * 300_000


def test_a_failed_argument_is_no_reason_to_try_again(tmp_path):
    path = str(tmp_path / "tries")

    @cyray.remote
    def fail():
        with open(path, "a") as file:
            file.write(".")
        raise KeyError("source")

    @cyray.remote(retry_exceptions=True, max_retries=3)
    def use(value):
        return value

    assert isinstance(raised_by(use.remote(fail.remote())), KeyError)
    assert os.path.getsize(path) == 1


def test_an_error_is_raised_every_time_it_is_asked_for():
    @cyray.remote
    def f():
        raise ValueError("again")

    ref = f.remote()
    for _ in range(3):
        with pytest.raises(ValueError, match="again"):
            cyray.get(ref)


def test_get_of_a_list_raises_without_waiting_for_the_rest():
    gate = SignalActor.remote()

    @cyray.remote
    def fail():
        raise ValueError("quick")

    never = gate.wait.remote()
    with pytest.raises(ValueError, match="quick"):
        cyray.get([never, fail.remote()], timeout=20)


def test_errors_of_several_returns():
    @cyray.remote(num_returns=3)
    def f():
        raise ValueError("all of them")

    for ref in f.remote():
        assert isinstance(raised_by(ref), ValueError)


def test_an_error_that_cannot_be_pickled_arrives_as_text():
    @cyray.remote
    def f():
        error = ValueError("has a lock")
        error.lock = threading.Lock()
        raise error

    error = raised_by(f.remote())
    assert isinstance(error, RayTaskError)
    assert "has a lock" in str(error)


def test_an_error_whose_text_raises():
    @cyray.remote
    def f():
        class Hostile(Exception):
            def __str__(self):
                raise RuntimeError("no text")

            __repr__ = __str__

            def __reduce__(self):
                raise RuntimeError("no pickle")

        raise Hostile

    assert isinstance(raised_by(f.remote()), RayTaskError)


def test_errors_that_are_values_are_values():
    @cyray.remote
    def f():
        return ValueError("returned")

    assert isinstance(cyray.get(f.remote()), ValueError)
    assert isinstance(cyray.get(cyray.put(KeyError("put"))), KeyError)


def test_errors_can_be_pickled_and_raised_again():
    @cyray.remote
    def f():
        raise KeyError("k")

    error = pickle.loads(pickle.dumps(raised_by(f.remote())))
    assert isinstance(error, KeyError) and error.cause.args == ("k",)
    assert str(error).startswith("cyray::f()")


@pytest.mark.skipif(sys.version_info < (3, 11), reason="there are no exception groups")
def test_exception_groups():
    @cyray.remote
    def f():
        raise ExceptionGroup("several", [ValueError(1), KeyError(2)])  # noqa: F821

    error = raised_by(f.remote())
    assert isinstance(error, ExceptionGroup)  # noqa: F821
    assert [type(one) for one in error.exceptions] == [ValueError, KeyError]


def test_base_exceptions_do_not_end_the_worker_silently():
    @cyray.remote
    def f():
        raise KeyboardInterrupt("mine")

    error = raised_by(f.remote())
    assert "KeyboardInterrupt" in str(error)


def test_endless_recursion_is_an_error_like_any_other():
    @cyray.remote
    def f(n):
        def down(n):
            return down(n + 1)

        return down(n)

    assert isinstance(raised_by(f.remote(0)), RecursionError)


def test_a_result_that_cannot_be_pickled():
    @cyray.remote
    def f():
        return threading.Lock()

    error = raised_by(f.remote())
    assert isinstance(error, TypeError) and "pickle" in str(error)


def test_a_function_that_cannot_be_pickled_is_refused_at_the_call():
    lock = threading.Lock()

    @cyray.remote
    def f():
        return lock

    with pytest.raises(TypeError, match="pickle"):
        f.remote()


def test_a_function_or_class_that_carries_too_much_is_refused_at_the_call(capfd):
    data = bytes(96 << 20)

    @cyray.remote
    def f():
        return len(data)

    @cyray.remote
    class A:
        def f(self):
            return len(data)

    for call in (f.remote, A.remote):
        with pytest.raises(ValueError, match=r"takes 96 MiB pickled.*at most 95 MiB.*cyray\.put"):
            call()
    data = data[: 70 << 20]
    assert cyray.get(f.remote()) == cyray.get(A.remote().f.remote()) == len(data)
    assert "takes 70 MiB pickled" in capfd.readouterr().err


def test_a_module_that_workers_cannot_import():
    class Gone:
        def __reduce__(self):
            return __import__, ("no_such_module_for_this_test",)

    @cyray.remote
    def f(x):
        return x

    assert isinstance(raised_by(f.remote(Gone())), ModuleNotFoundError)


def test_a_worker_that_dies_is_an_error_when_no_retry_is_left():
    @cyray.remote(max_retries=0)
    def die():
        os._exit(1)

    error = raised_by(die.remote())
    assert isinstance(error, WorkerCrashedError)
    assert re.search(r"worker \(pid \d+\) died while it ran .*die, .*: exit code 1\.", str(error))

    @cyray.remote(max_retries=0)
    def killed():
        os.kill(os.getpid(), signal.SIGKILL)

    assert isinstance(raised_by(killed.remote()), WorkerCrashedError)


def test_a_segmentation_fault_is_a_dead_worker():
    @cyray.remote(max_retries=0)
    def crash():
        import ctypes

        ctypes.string_at(0)

    assert isinstance(raised_by(crash.remote()), WorkerCrashedError)


def test_a_task_runs_again_when_its_worker_dies(tmp_path):
    attempts = tmp_path / "attempts"

    @cyray.remote
    def dies_twice():
        with open(attempts, "a") as file:
            file.write(".")
        if os.path.getsize(attempts) < 3:
            os._exit(1)
        return "done"

    assert cyray.get(dies_twice.remote(), timeout=20) == "done"
    assert attempts.read_text() == "..."


def test_no_more_retries_than_allowed(tmp_path):
    attempts = tmp_path / "attempts"

    @cyray.remote(max_retries=1)
    def dies():
        with open(attempts, "a") as file:
            file.write(".")
        os._exit(1)

    assert isinstance(raised_by(dies.remote()), WorkerCrashedError)
    assert attempts.read_text() == ".."


def test_other_tasks_survive_the_death_of_a_worker():
    @cyray.remote
    def work(i):
        return i

    @cyray.remote(max_retries=0)
    def die():
        os._exit(1)

    refs = [work.remote(i) for i in range(200)]
    deaths = [die.remote() for _ in range(3)]
    refs += [work.remote(i) for i in range(200)]
    assert cyray.get(refs, timeout=30) == list(range(200)) * 2
    for ref in deaths:
        assert isinstance(raised_by(ref), WorkerCrashedError)


def count_runs(folder, name):
    """Says that the task `name` runs; to be called by it."""
    with open(folder / str(name), "a") as file:
        file.write(".")


@pytest.mark.parametrize("late_argument", [False, True])
def test_the_task_that_ended_its_worker_is_charged_and_short_ones_before_it_keep_their_results(
    tmp_path, late_argument
):
    @cyray.remote(max_retries=0, num_cpus=cyray.cluster_resources()["CPU"])
    def note(name, argument=None):
        count_runs(tmp_path, name)
        return name

    @cyray.remote(max_retries=1, num_cpus=cyray.cluster_resources()["CPU"])
    def end(name):
        count_runs(tmp_path, name)
        os._exit(1)

    @cyray.remote
    def large():
        return b"x" * 200_000

    cyray.get([note.remote(f"warm{i}") for i in range(100)])  # it is known to be short
    notes, ends = [], []
    for i in range(10):
        argument = large.remote() if late_argument and i % 3 == 0 else None
        notes += [note.remote(f"before{i}.{j}") for j in range(3)]
        if late_argument:
            notes.append(note.remote(f"late{i}", argument))
        ends.append(end.remote(f"end{i}"))
        notes += [note.remote(f"behind{i}.{j}") for j in range(3)]
    names = cyray.get(notes, timeout=50)
    for ref in ends:
        assert isinstance(raised_by(ref), WorkerCrashedError)
    for name in names:
        assert (tmp_path / name).read_text() == ".", name
    for i in range(10):
        assert (tmp_path / f"end{i}").read_text() == "..", i


def test_an_actors_calls_before_the_one_that_ends_it_keep_their_results(tmp_path):
    @cyray.remote
    class Counter:
        def __init__(self):
            self.count = 0

        def add(self):
            self.count += 1
            return self.count

        def end(self):
            os._exit(1)

    for _ in range(5):
        counter = Counter.remote()
        refs = [counter.add.remote() for _ in range(20)]
        end = counter.end.remote()
        assert cyray.get(refs, timeout=20) == list(range(1, 21))
        assert isinstance(raised_by(end), cyray.exceptions.ActorDiedError)


def test_a_task_that_exits_its_process():
    @cyray.remote(max_retries=0)
    def leave():
        sys.exit(3)

    assert isinstance(raised_by(leave.remote()), RayError)


def test_exceptions_are_tried_again_only_when_asked_for(tmp_path):

    folder = str(tmp_path)

    def flaky(name, good):
        path = os.path.join(folder, name)
        with open(path, "a") as file:
            file.write(".")
        if os.path.getsize(path) < good:
            raise KeyError(name)
        return os.path.getsize(path)

    never = cyray.remote(flaky)
    always = cyray.remote(retry_exceptions=True)(flaky)
    listed = cyray.remote(retry_exceptions=[KeyError], max_retries=5)(flaky)
    other = cyray.remote(retry_exceptions=[ValueError])(flaky)
    assert isinstance(raised_by(never.remote("never", 2)), KeyError)
    assert cyray.get(always.remote("always", 3)) == 3
    assert cyray.get(listed.remote("listed", 5)) == 5
    assert isinstance(raised_by(other.remote("other", 2)), KeyError)
    assert isinstance(raised_by(always.remote("too often", 9)), KeyError)
    assert os.path.getsize(tmp_path / "too often") == 4


def test_an_actors_error_names_the_method():
    @cyray.remote
    class A:
        def method(self):
            raise ValueError("here")

        def __repr__(self):
            return "MyA(1)"

    text = str(raised_by(A.remote().method.remote()))
    assert "A.method()" in text and "MyA(1)" in text


def test_the_error_of_an_actor_says_which_one():
    @cyray.remote
    class A:
        def method(self):
            raise ValueError("here")

    actor = A.remote()
    assert f"actor_id={actor._actor_id.hex()}" in str(raised_by(actor.method.remote()))


def test_an_error_with_a_hostile_text_leaves_its_worker_alive():
    class Hostile(ValueError):
        def __str__(self):
            raise RuntimeError("no text")

    @cyray.remote(max_retries=0)
    def f():
        raise Hostile("read-only")

    error = raised_by(f.remote())
    assert isinstance(error, RayTaskError) and not isinstance(error, WorkerCrashedError)


def test_errors_of_the_user_that_speak_of_read_only_stay_the_users():
    class Refused(ValueError):
        pass

    @cyray.remote
    def f(error):
        raise error

    for mine in (
        ValueError("the account is read-only"),
        TypeError("read-only: no change"),
        ValueError("array is read-only", 1),
    ):
        error = raised_by(f.remote(mine))
        assert type(error.cause) is type(mine) and error.cause.args == mine.args
    error = raised_by(f.remote(Refused("this buffer is read-only")))
    assert type(error.cause).__name__ == "Refused" and error.cause.args == (
        "this buffer is read-only",
    )


def test_writing_into_an_argument_names_the_remedy():
    @cyray.remote
    def assigns(array):
        array[0] = 1

    @cyray.remote
    def sorts(array):
        array.sort()

    @cyray.remote
    def adds(array):
        array += 1

    @cyray.remote
    def writes(view):
        memoryview(view)[0] = 1

    @cyray.remote
    def asks_for_it(array):
        import ctypes

        ctypes.c_char.from_buffer(array)

    for task in (assigns, sorts, adds, writes, asks_for_it):
        error = raised_by(task.remote(np.zeros(10)))
        assert isinstance(error, ValueError)
        assert "inout" in str(error) and "writable=True" in str(error)


def test_an_error_in_a_list_is_raised_at_once_in_a_task_too():
    gate = SignalActor.remote()

    @cyray.remote
    def fail():
        raise ValueError("quick")

    @cyray.remote
    def waits(gate):
        with pytest.raises(ValueError, match="quick"):
            cyray.get([gate.wait.remote(), gate.wait.remote(), fail.remote()])
        return "told"

    assert cyray.get(waits.remote(gate), timeout=20) == "told"
    with pytest.raises(cyray.exceptions.GetTimeoutError, match="2 of 3"):
        cyray.get([gate.wait.remote(), cyray.put(1), gate.wait.remote()], timeout=0.02)


def test_get_or_create_shows_what_is_wrong_with_an_argument():
    @cyray.remote
    class A:
        def __init__(self, x):
            pass

    class Refuses:
        def __reduce__(self):
            raise ValueError("not this one")

    with pytest.raises(ValueError, match="not this one"):
        A.options(name="refused", get_if_exists=True).remote(Refuses())


@pytest.fixture
def python_sees_interrupts():
    # A test run in the background inherits SIGINT ignored; a program at a terminal does not.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def is_stopped(pid):
    states = []
    for thread in os.listdir(f"/proc/{pid}/task"):
        with open(f"/proc/{pid}/task/{thread}/stat") as file:
            states.append(file.read().rpartition(")")[2].split()[0])
    return set(states) == {"T"}


@contextlib.contextmanager
def interrupted_in(wait):
    """Ctrl-C once the process says that it waits so; the block raises KeyboardInterrupt."""

    def interrupt():
        eventually(lambda: wait in _raylet.describe(), timeout=20)
        os.kill(os.getpid(), signal.SIGINT)

    thread = threading.Thread(target=interrupt)
    with pytest.raises(KeyboardInterrupt):
        thread.start()
        yield
    thread.join()


@pytest.mark.usefixtures("python_sees_interrupts")
def test_ctrl_c_in_the_driver_interrupts_get():
    gate = SignalActor.remote()
    ref = gate.wait.remote()
    with interrupted_in("a thread waits for 1 of 1 objects"):
        cyray.get(ref, timeout=20)
    assert cyray.get(cyray.put(1)) == 1


@pytest.mark.usefixtures("python_sees_interrupts")
def test_ctrl_c_interrupts_a_wait_for_the_gcs():
    gcs = gcs_pid()
    os.kill(gcs, signal.SIGSTOP)
    eventually(lambda: is_stopped(gcs))
    try:
        with interrupted_in("a thread waits for the GCS's answer to ListNodes"):
            cyray.nodes()
    finally:
        os.kill(gcs, signal.SIGCONT)
    assert len(cyray.nodes()) == 1


class Odd(type):
    def __instancecheck__(cls, instance):
        raise LookupError("a class that cannot say what its instances are")


class OddError(Exception, metaclass=Odd):
    """Asked by isinstance when a task failed."""


class Unspeakable(Exception):
    def __reduce__(self):
        raise MemoryError("cannot be pickled")

    def __repr__(self):
        raise KeyboardInterrupt("cannot be shown")

    __str__ = __repr__


@pytest.mark.parametrize("several", [1, 3], ids=["main thread", "task threads"])
def test_a_call_is_answered_when_even_its_error_fails(several):
    @cyray.remote(retry_exceptions=[OddError], max_concurrency=several, num_cpus=1)
    def fail(kind):
        raise Unspeakable if kind == "unspeakable" else ValueError("plain")

    for _ in range(2):
        refs = [fail.remote("plain"), fail.remote("unspeakable"), fail.remote("plain")]
        with pytest.raises(cyray.exceptions.RayError):
            cyray.get(refs[1], timeout=30)
        for ref in (refs[0], refs[2]):
            with pytest.raises(ValueError, match="plain"):
                cyray.get(ref, timeout=30)


def test_an_exit_whose_code_cannot_be_shown_is_an_exit():
    class Odd:
        def __repr__(self):
            raise ValueError("cannot be shown")

    @cyray.remote(max_retries=0)
    def leave():
        raise SystemExit(Odd())

    with pytest.raises(
        cyray.exceptions.WorkerCrashedError, match=r"sys\.exit\(\) is called\.\n  It was process"
    ):
        cyray.get(leave.remote(), timeout=30)


def test_a_call_of_an_async_actor_is_answered_when_even_its_error_fails():
    @cyray.remote
    class Failing:
        @cyray.method(retry_exceptions=[OddError])
        async def fail(self, kind):
            raise Unspeakable if kind == "unspeakable" else ValueError("plain")

        @cyray.method(retry_exceptions=[OddError])
        def fail_at_once(self):
            raise ValueError("plain")

        async def pid(self):
            return os.getpid()

    actor = Failing.remote()
    pid = cyray.get(actor.pid.remote())
    with pytest.raises(cyray.exceptions.RayError):
        cyray.get(actor.fail.remote("unspeakable"), timeout=30)
    for call in (lambda: actor.fail.remote("plain"), actor.fail_at_once.remote):
        with pytest.raises(ValueError, match="plain"):
            cyray.get(call(), timeout=30)
    assert cyray.get(actor.pid.remote()) == pid
