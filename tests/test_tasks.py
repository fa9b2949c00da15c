"""Remote functions: how they are made, called, given options, nested and chained."""

from __future__ import annotations

import functools
import inspect
import math
import os
import signal
import subprocess
import sys
import threading

import numpy as np
import pytest
import remote_code
from support import command_line, eventually, is_running, run_driver

import cyray
from cyray.test_utils import SignalActor

pytestmark = pytest.mark.usefixtures("shared_session")


def test_the_three_forms_of_remote():
    @cyray.remote
    def plain():
        return 1

    @cyray.remote(num_cpus=1)
    def with_options():
        return 2

    def function():
        return 3

    refs = [plain.remote(), with_options.remote(), cyray.remote(function).remote()]
    assert cyray.get(refs) == [1, 2, 3]
    assert function() == 3


def test_what_is_remote_already_is_refused():
    @cyray.remote
    class Actor:
        def method(self):
            return 1

    actor = Actor.remote()
    remote = cyray.remote(abs)
    for target in (Actor, Actor.options(num_cpus=0), actor, actor.method, remote, remote.remote(1)):
        with pytest.raises(TypeError, match="either a function or a class"):
            cyray.remote(target)


def test_a_remote_function_keeps_its_names():
    @cyray.remote
    def documented(x):
        "What it does."

    assert documented.__name__ == "documented"
    assert documented.__doc__ == "What it does."
    assert "documented" in repr(documented)


def test_a_remote_function_cannot_be_called_directly():
    @cyray.remote
    def f():
        pass

    with pytest.raises(
        TypeError, match=r"Remote functions cannot be called directly.*f\.remote\(\)"
    ):
        f()


@pytest.mark.parametrize("target", [1, "text", None, [1]])
def test_remote_takes_functions_and_classes_only(target):
    with pytest.raises(TypeError, match="must be applied to either a function or a class"):
        cyray.remote(target)


def test_remote_with_empty_parentheses_is_refused():
    with pytest.raises(TypeError, match="must be applied either with no arguments"):
        cyray.remote()


def test_bad_options_are_refused_by_name():
    with pytest.raises(ValueError, match="Invalid option keyword num_cpu for remote functions"):
        cyray.remote(num_cpu=1)(print)
    with pytest.raises(TypeError, match="num_cpus"):
        cyray.remote(num_cpus="1")(print)
    with pytest.raises(ValueError, match="cannot be negative"):
        cyray.remote(num_cpus=-1)(print)
    with pytest.raises(ValueError, match=r"0\.0001"):
        cyray.remote(num_cpus=0.00001)(print)
    with pytest.raises(ValueError, match="num_cpus"):
        cyray.remote(resources={"CPU": 1})(print)
    with pytest.raises(ValueError, match="max_calls"):
        cyray.remote(lambda: 1).options(max_calls=1)


def test_arguments_defaults_and_keywords():
    @cyray.remote
    def f(a, b=2, *rest, c, d=4, **more):
        return a, b, rest, c, d, more

    assert cyray.get(f.remote(1, c=3)) == (1, 2, (), 3, 4, {})
    assert cyray.get(f.remote(1, 5, 6, 7, c=3, d=8, e=9)) == (1, 5, (6, 7), 3, 8, {"e": 9})
    assert cyray.get(f.remote(a=1, b=cyray.put(5), c=cyray.put(3)))[:2] == (1, 5)


def test_wrong_arguments_are_refused_as_python_would():
    def f(a, b=2, /, c=3, *, d=4):
        return a, b, c, d

    remote = cyray.remote(f)
    calls = (
        ((), {}),
        ((1, 2, 3, 4), {}),
        ((1,), {"a": 1}),
        ((1,), {"e": 5}),
        ((1, 2, 3), {"c": 3}),
    )
    for args, kwargs in calls:
        with pytest.raises(TypeError) as wanted:
            f(*args, **kwargs)
        with pytest.raises(TypeError) as refused:
            remote.remote(*args, **kwargs)
        assert str(refused.value) == str(wanted.value)
    for _ in range(2):  # the second time its keywords were seen
        assert cyray.get(remote.remote(1, c=5, d=6)) == (1, 2, 5, 6)
        with pytest.raises(TypeError, match="unexpected keyword"):
            remote.remote(1, c=5, e=6)


def test_arguments_are_those_of_what_is_called_not_of_what_it_wraps():
    def inject(function):
        @functools.wraps(function)
        def call(*args):
            return function(10, *args)

        return call

    @cyray.remote
    @inject
    def add(a, b):
        return a + b

    assert cyray.get(add.remote(1)) == 11
    with pytest.raises(TypeError, match="argument"):
        cyray.get(add.remote(1, 2))
    assert cyray.get(cyray.remote(functools.partial(divmod, 7)).remote(2)) == (3, 1)


def test_a_remote_function_has_the_signature_of_its_function():
    def function(a: int, *, b=2) -> int:
        return a + b

    remote = cyray.remote(function)
    assert inspect.signature(remote) == inspect.signature(function)
    assert remote.__wrapped__ is function
    assert (remote.__module__, remote.__qualname__) == (__name__, function.__qualname__)


def test_a_process_leaves_after_max_calls():
    @cyray.remote(max_calls=2)
    def pid():
        return os.getpid()

    pids = cyray.get([pid.remote() for _ in range(12)])
    assert all(pids.count(one) <= 2 for one in pids)
    full = {one for one in pids if pids.count(one) == 2}
    assert full
    eventually(lambda: not any(is_running(one) for one in full), 10)


def test_a_process_that_leaves_loses_no_result_and_nothing_that_waits_behind():
    @cyray.remote(max_calls=1)
    def lends(value):
        return [cyray.put(value)]

    @cyray.remote
    def use(refs):
        return cyray.get(refs[0])

    given = [lends.remote(bytes([i]) * 200_000) for i in range(6)]
    used = cyray.get([use.remote(ref) for ref in given])
    assert used == [bytes([i]) * 200_000 for i in range(6)]
    refs = [ref for (ref,) in cyray.get(given)]
    assert cyray.get(refs) == used


def test_the_title_of_a_process_tells_what_runs_there():
    @cyray.remote
    def title():
        import setproctitle

        with open("/proc/self/cmdline") as file:
            return os.getpid(), setproctitle.getproctitle(), file.read().rstrip("\0")

    pid, asked, shown = cyray.get(title.options(name="special_f").remote())
    assert asked == shown == "cyray::special_f"
    eventually(lambda: command_line(pid).strip() == "cyray::IDLE", 10)
    long = "ü" * 500
    _, asked, shown = cyray.get(title.options(name=long).remote())
    assert asked == shown and len(asked) > 100 and f"cyray::{long}".startswith(asked)


def test_an_interrupt_in_a_task_does_not_interrupt_who_gets_its_result():
    @cyray.remote(max_retries=0)
    def interrupted():
        raise KeyboardInterrupt("in the task")

    with pytest.raises(cyray.exceptions.RayTaskError) as caught:
        cyray.get(interrupted.remote())
    assert not isinstance(caught.value, KeyboardInterrupt)
    assert isinstance(caught.value.cause, KeyboardInterrupt)


def test_a_third_of_a_cpu_and_the_threads_of_libraries():
    threads = cyray.remote(lambda: os.environ.get("OMP_NUM_THREADS"))
    wanted = os.environ.get("OMP_NUM_THREADS")
    assert cyray.get(threads.options(num_cpus=1 / 3).remote()) == (wanted or "1")
    assert cyray.get(threads.options(num_cpus=2).remote()) == (wanted or "2")


def test_options_override_the_decorator_for_their_calls():
    @cyray.remote(num_returns=1)
    def f():
        return 1, 2

    a, b = f.options(num_returns=2).remote()
    assert cyray.get([a, b]) == [1, 2]
    a, b = f._remote(args=[], num_returns=2)
    assert cyray.get([a, b]) == [1, 2]
    a, b = f._remote(args=[], kwargs={}, num_return_vals=2)
    assert cyray.get([a, b]) == [1, 2]
    assert cyray.get(f.remote()) == (1, 2)


def test_several_returns_from_tuples_lists_and_iterators():
    @cyray.remote(num_return_vals=3)
    def make(kind):
        values = (1, "two", [3])
        return iter(values) if kind == "iterator" else values if kind == "tuple" else list(values)

    for kind in ("tuple", "list", "iterator"):
        refs = make.remote(kind)
        assert isinstance(refs, list)
        assert cyray.get(refs) == [1, "two", [3]]


def test_no_returns():
    @cyray.remote(num_returns=0)
    def f():
        return None

    assert f.remote() is None


def test_a_wrong_number_of_returns_is_an_error_of_every_one():
    @cyray.remote(num_returns=2)
    def f(value):
        return value

    for value, text in (
        (1, "num_returns=2"),
        ((1,), "returned 1 objects"),
        ((1, 2, 3), "more than"),
    ):
        for ref in f.remote(value):
            with pytest.raises(ValueError, match=text):
                cyray.get(ref)


def test_generators_give_as_many_as_were_asked_for():
    def count(start):
        while True:
            yield start
            start += 1

    @cyray.remote(num_returns=3)
    def three():
        yield from (1, "two", [3])

    assert cyray.get(three.remote()) == [1, "two", [3]]
    assert cyray.get(cyray.remote(num_returns=2)(count).remote(0)) == [0, 1], "it may be endless"
    for returns in (0, 1):  # nothing would run, or a generator would have to travel
        with pytest.raises(ValueError, match=r"count is a generator.*num_returns"):
            cyray.remote(count).options(num_returns=returns).remote(0)

    async def events():
        yield 1
        yield 2

    assert cyray.get(cyray.remote(num_returns=2)(events).remote()) == [1, 2]


def test_names_that_utf8_cannot_hold():
    @cyray.remote
    def names(**values):
        return values

    odd = {"a\udc80": 1, "b": [2], "\ud800" * 3: np.arange(3)}
    assert list(cyray.get(names.remote(**odd))) == list(odd)

    def named():
        return cyray.get_runtime_context().get_task_name()

    named.__name__ = named.__qualname__ = "named\udc80"
    assert cyray.get(cyray.remote(named).remote()) == r"named\udc80"


def test_many_returns():
    @cyray.remote(num_returns=3000)
    def f():
        return range(3000)

    assert cyray.get(f.remote()) == list(range(3000))


def test_chains_pass_values_not_refs():
    @cyray.remote
    def one():
        return 1

    @cyray.remote
    def plus_one(value):
        return value + 1

    ref = one.remote()
    for _ in range(100):
        ref = plus_one.remote(ref)
    assert cyray.get(ref) == 101


def test_refs_in_containers_stay_refs():
    @cyray.remote
    def kinds(direct, inside):
        return type(direct).__name__, type(inside[0]).__name__, cyray.get(inside[0])

    assert cyray.get(kinds.remote(cyray.put(1), [cyray.put(2)])) == ("int", "ObjectRef", 2)


def test_a_diamond_of_dependencies():
    @cyray.remote
    def add(*values):
        return sum(values)

    layer = [add.remote(i) for i in range(8)]
    while len(layer) > 1:
        layer = [add.remote(*layer[i : i + 2], *layer[i : i + 2]) for i in range(0, len(layer), 2)]
    assert cyray.get(layer[0]) == 8 * sum(range(8))


def test_nested_tasks_as_refs_and_as_values():
    @cyray.remote
    def f():
        return 1

    @cyray.remote
    def g():
        return [f.remote() for _ in range(4)]

    @cyray.remote
    def h():
        return cyray.get([f.remote() for _ in range(4)])

    refs = cyray.get(g.remote())
    assert all(isinstance(ref, cyray.ObjectRef) for ref in refs)
    assert cyray.get(refs) == [1] * 4
    assert cyray.get(h.remote()) == [1] * 4


def test_returning_a_ref_gives_a_ref_of_a_ref():
    @cyray.remote
    def f():
        return cyray.put("inner")

    inner = cyray.get(f.remote())
    assert isinstance(inner, cyray.ObjectRef)
    assert cyray.get(inner) == "inner"


def test_tasks_may_use_what_is_defined_after_them():
    @cyray.remote
    def early():
        return cyray.get(late.remote()) + 1

    @cyray.remote
    def late():
        return 1

    assert cyray.get(early.remote()) == 2


def test_recursion_deeper_than_there_are_cpus():
    @cyray.remote
    def depth(n):
        return 0 if n == 0 else 1 + cyray.get(depth.remote(n - 1))

    assert cyray.get(depth.remote(8)) == 8


def test_a_tree_of_nested_tasks():
    @cyray.remote
    def fib(n):
        return n if n < 2 else sum(cyray.get([fib.remote(n - 1), fib.remote(n - 2)]))

    assert cyray.get(fib.remote(7)) == 13


def test_a_redefined_function_is_the_new_one():
    results = []
    for i in range(3):

        @cyray.remote
        def f():
            return i  # noqa: B023

        results.append(cyray.get(f.remote()))
    assert results == [0, 1, 2]


def test_closures_see_the_values_of_the_first_call():
    values = [1, 2]

    @cyray.remote
    def f():
        return values

    assert cyray.get(f.remote()) == [1, 2]


def test_functions_of_modules():
    assert cyray.get(cyray.remote(remote_code.add).remote(1)) == 11
    assert cyray.get(cyray.remote(remote_code.add).remote(1, b=2)) == 3
    assert cyray.get(remote_code.decorated.remote(4)) == 8
    assert cyray.get(remote_code.calls_decorated.remote(4)) == 9


def test_modules_keep_their_state_in_a_worker():
    count = cyray.remote(remote_code.count_calls)
    counts = [cyray.get(count.remote()) for _ in range(20)]
    assert max(counts) > 1


def test_functions_of_main(tmp_path):
    out, _ = run_driver(
        tmp_path,
        """
        import functools
        import cyray

        FACTOR = 3

        class Point:
            def __init__(self, x):
                self.x = x

        def logged(function):
            @functools.wraps(function)
            def wrapper(*args):
                return function(*args)

            return wrapper

        @functools.lru_cache(maxsize=10)
        def factor():
            return FACTOR

        @logged
        def helper(p):
            return p.x * factor()

        class WithFields(Exception):
            def __init__(self, *, code):
                super().__init__(f"code {code}")
                self.code = code

        @cyray.remote
        @logged
        def f(p):
            if p.x < 0:
                raise WithFields(code=p.x)
            return Point(helper(p))

        if __name__ == "__main__":
            cyray.init(num_cpus=1)
            result = cyray.get(f.remote(Point(5)))
            print(result.x, type(result) is Point)
            print(cyray.get(cyray.remote(factor).remote()))
            try:
                cyray.get(f.remote(Point(-1)))
            except WithFields as error:
                print(error.code)
        """,
    )
    assert out == "15 True\n3\n-1\n"


@pytest.mark.parametrize("how", ["-c", "stdin", "-m"])
def test_programs_without_a_file_of_their_own(tmp_path, how):
    program = """
import cyray

class Point:
    x = 3

@cyray.remote
def f(p):
    return Point, p.x

print(cyray.get(f.remote(Point())) == (Point, 3))
"""
    (tmp_path / "program.py").write_text(program)
    command = {"-c": ["-c", program], "stdin": ["-"], "-m": ["-m", "program"]}[how]
    done = subprocess.run(
        [sys.executable, *command], input=program if how == "stdin" else "", cwd=tmp_path,
        capture_output=True, text=True, timeout=50,
    )  # fmt: skip
    assert done.stdout == "True\n", done.stderr


@pytest.mark.parametrize(
    ("function", "args", "result"),
    [
        (len, ([1, 2],), 2),
        (math.sqrt, (16.0,), 4.0),
        (max, (3, 9), 9),
        (str.upper, ("abc",), "ABC"),
        (functools.partial(pow, 2), (5,), 32),
        (np.add, (1, 2), 3),
        (lambda x: -x, (4,), -4),
    ],
    ids=["len", "sqrt", "max", "method descriptor", "partial", "ufunc", "lambda"],
)
def test_callables_that_are_no_python_functions(function, args, result):
    assert cyray.get(cyray.remote(function).remote(*args)) == result


def test_a_remote_function_can_be_passed_to_a_task():
    @cyray.remote
    def square(x):
        return x * x

    @cyray.remote
    def apply(function, values):
        return cyray.get([function.remote(value) for value in values])

    assert cyray.get(apply.remote(square, [1, 2, 3])) == [1, 4, 9]


def test_a_thousand_tasks_in_flight():
    @cyray.remote
    def f(i):
        return i

    assert cyray.get([f.remote(i) for i in range(1000)]) == list(range(1000))


def test_ten_thousand_tasks_whose_refs_are_dropped():
    @cyray.remote
    def f():
        return 1

    for _ in range(10_000):
        f.remote()
    assert cyray.get(f.remote()) == 1


def test_big_arguments_and_results():
    @cyray.remote
    def negate(array):
        return -array

    array = np.arange(1_000_000, dtype=np.float64)
    np.testing.assert_array_equal(cyray.get(negate.remote(array)), -array)
    np.testing.assert_array_equal(cyray.get(negate.remote(negate.remote(array))), array)


@pytest.mark.parametrize("size", [0, 1, 1000, 102_390, 102_400, 102_410, 300_000, 5_000_000])
def test_bytes_of_any_size_pass_both_ways(size):
    @cyray.remote
    def f(data):
        return data

    data = os.urandom(size)
    assert cyray.get(f.remote(data)) == data


def test_many_arguments():
    @cyray.remote
    def count(*values):
        return len(values), sum(values)

    assert cyray.get(count.remote(*range(2000))) == (2000, sum(range(2000)))
    refs = [cyray.put(i) for i in range(2000)]
    assert cyray.get(count.remote(*refs)) == (2000, sum(range(2000)))


def test_many_values_that_are_small_one_by_one():
    """More than what goes into one message, as arguments, as refs and as results."""

    @cyray.remote(num_returns=200)
    def same(*values, more):
        return [*values, *more.values()]

    values = [os.urandom(90_000) for _ in range(100)]
    more = {f"k{i}": os.urandom(90_000) for i in range(100)}
    expected = values + list(more.values())
    assert cyray.get(same.remote(*values, more=more)) == expected
    refs = [cyray.put(value) for value in values]
    assert cyray.get(same.remote(*refs, more=more)) == expected
    count = cyray.remote(lambda *args, **kwargs: [*args, *kwargs.values()])
    assert cyray.get(count.remote(*values, **more)) == expected


def test_tasks_run_in_other_processes_and_those_are_used_again():
    @cyray.remote
    def pid():
        return os.getpid()

    pids = set(cyray.get([pid.remote() for _ in range(50)]))
    assert os.getpid() not in pids
    assert 1 <= len(pids) <= 2


def test_threads_of_the_driver_submit_at_the_same_time():
    @cyray.remote
    def f(i):
        return i

    results = {}

    def work(k):
        results[k] = [cyray.get(f.remote(k * 1000 + i)) for i in range(50)]

    threads = [threading.Thread(target=work, args=(k,)) for k in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == {k: [k * 1000 + i for i in range(50)] for k in range(6)}


def test_a_short_task_does_not_wait_behind_a_long_one(gate):
    path = gate.path

    @cyray.remote
    def long():
        open(path).close()

    @cyray.remote
    def short(value):
        return value

    assert cyray.get([short.remote(i) for i in range(10)]) == list(range(10))
    first = long.remote()  # on the worker that ran the short ones
    assert cyray.get(short.remote(1), timeout=20) == 1
    refs = [short.remote(i) for i in range(50)]  # now there are two
    assert cyray.get(refs, timeout=20) == list(range(50))
    gate.open()
    cyray.get(first)


def test_signal_handlers_run_while_a_task_waits():
    gate = SignalActor.remote()

    @cyray.remote
    def wait(raises):
        def handler(*_):
            if raises:
                raise InterruptedError("enough")
            gate.send.remote()

        signal.signal(signal.SIGALRM, handler)
        signal.setitimer(signal.ITIMER_REAL, 0.05)
        return cyray.get(gate.wait.remote(), timeout=20)

    with pytest.raises(InterruptedError, match="enough"):
        cyray.get(wait.remote(True))
    assert cyray.get(wait.remote(False)) is None


def test_what_a_task_knows_about_itself():
    @cyray.remote
    def f():
        context = cyray.get_runtime_context()
        return (
            context.get_task_name(),
            context.get_task_id(),
            context.get_job_id(),
            context.get_actor_id(),
            context.get_assigned_resources(),
        )

    name, task_id, job_id, actor_id, resources = cyray.get(f.options(name="special").remote())
    assert name == "special"
    assert len(task_id) == 32
    assert job_id == cyray.get_runtime_context().get_job_id()
    assert actor_id is None
    assert resources == {"CPU": 1.0}
    assert cyray.get_runtime_context().get_task_id() is None


def test_a_task_can_be_awaited_and_made_a_future():
    import asyncio

    @cyray.remote
    def f(x):
        return x

    async def main():
        first = await f.remote(1)
        return [first, *await asyncio.gather(*(f.remote(i).as_future() for i in range(20)))]

    assert asyncio.run(main()) == [1, *range(20)]
    assert f.remote(5).future().result(timeout=10) == 5


def test_workers_forget_functions_that_nobody_has_any_more():
    all_cpus = cyray.cluster_resources()["CPU"]

    def make(number):
        return lambda kept=remote_code.Counted(): (number, kept.alive)

    for number in range(2_500):
        one = cyray.remote(num_cpus=all_cpus)(make(number))
        assert cyray.get(one.remote())[0] == number
    assert cyray.get(one.remote())[1] < 1_600


def test_what_cannot_be_pickled_is_named_where_it_is_passed_captured_or_returned():
    lock = threading.Lock()

    @cyray.remote
    def takes(*args, **kwargs):
        pass

    @cyray.remote
    def captures():
        return lock

    @cyray.remote
    def returns():
        return [threading.Lock()]

    @cyray.remote
    class Takes:
        def __init__(self, *args):
            pass

        def method(self, **kwargs):
            pass

    actor = Takes.remote()
    for call, said in (
        (lambda: takes.remote(1, 2, [lock]), r"position 2 \(from 0 on\): args\[2\]\[0\] is"),
        (lambda: takes.remote(1, 2, second={"a": lock}), r"argument 'second': second\['a'\] is"),
        (lambda: Takes.remote(lock), "position 0"),
        (lambda: actor.method.remote(a=1, b=lock), "argument 'b'"),
        (captures.remote, r"the function .*captures .* uses the captured variable lock; lock is"),
        (lambda: cyray.get(returns.remote()), r"\[<unlocked.*: value\[0\] is"),
    ):
        with pytest.raises(TypeError, match=f"Could not serialize.*{said}"):
            call()
