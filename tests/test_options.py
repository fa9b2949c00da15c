"""`.options(...)` at the call: what it costs, what it shares, and the names it gives."""

from __future__ import annotations

import re

import pytest
import remote_code

import cyray
from cyray import _raylet

pytestmark = pytest.mark.usefixtures("shared_session")


class Counted:
    """Counts how often it is pickled here, and unpickled in a worker."""

    def __init__(self):
        self.pickled = 0

    def __reduce__(self):
        self.pickled += 1
        return remote_code.count_loads, ()


def test_options_in_a_loop_send_the_function_once():
    counted = Counted()

    @cyray.remote
    def loads():
        assert counted
        return remote_code.LOADS

    refs = [loads.options(name=f"task {i}", max_retries=i % 3).remote() for i in range(50)]
    assert set(cyray.get(refs)) == {1}
    pickled = counted.pickled
    first, second = loads.options(num_returns=2, num_cpus=0).remote(), loads.remote()
    assert cyray.get(second) == 1
    assert len(first) == 2
    assert counted.pickled == pickled


def test_demands_that_are_given_once_leave_little_behind():
    @cyray.remote
    def double(n):
        return 2 * n

    def templates_in_use():
        return int(re.search(r"(\d+) templates in use", _raylet.describe())[1])

    for first in range(0, 1000, 100):
        numbers = range(first, first + 100)
        refs = [double.options(memory=n + 1, num_cpus=0.01).remote(n) for n in numbers]
        assert cyray.get(refs, timeout=50) == [2 * n for n in numbers]
    # The last 512 plans can be found again, the last 64 options are remembered.
    assert templates_in_use() < 700
    assert cyray.get(double.options(memory=1).remote(3), timeout=20) == 6


def test_names_go_with_the_task():
    @cyray.remote
    def names(fails=False):
        if fails:
            raise ValueError
        context = cyray.get_runtime_context()
        return context.get_task_name(), context.get_task_function_name()

    refs = [names.options(name=f"task {i}").remote() for i in range(5)]
    assert cyray.get(refs) == [(f"task {i}", "names") for i in range(5)]
    assert cyray.get(names.remote()) == ("names", "names")
    for call in (names.options(name="special"), cyray.remote(name="special")(lambda: 1 / 0)):
        with pytest.raises((ValueError, ZeroDivisionError)) as caught:
            cyray.get(call.remote(True) if call.__name__ == "names" else call.remote())
        assert str(caught.value).startswith("cyray::special()")


def test_the_error_of_an_argument_names_the_task_by_its_name():
    @cyray.remote
    def fail():
        raise ValueError

    @cyray.remote
    def use(value):
        return value

    with pytest.raises(ValueError) as caught:
        cyray.get(use.options(name="the user").remote(fail.remote()))
    assert str(caught.value).startswith("cyray::the user()")


def test_options_of_methods_take_everything_that_can_be_given():
    @cyray.remote(max_task_retries=3)
    class Flaky:
        def __init__(self):
            self.calls = 0

        def works_the_third_time(self):
            self.calls += 1
            if self.calls < 3:
                raise KeyError(self.calls)
            return self.calls, cyray.get_runtime_context().get_task_name()

        @cyray.method(name="given by the class")
        def named(self):
            return cyray.get_runtime_context().get_task_name()

    actor = Flaky.remote()
    call = actor.works_the_third_time.options(retry_exceptions=[KeyError], name="patient")
    assert cyray.get(call.remote()) == (3, "patient")
    assert cyray.get(call.remote()) == (4, "patient")
    assert cyray.get(actor.works_the_third_time.remote()) == (5, "Flaky.works_the_third_time")
    assert cyray.get(actor.named.remote()) == "given by the class"
    assert cyray.get(actor.named.options(name="and by the call").remote()) == "and by the call"


def test_the_same_options_give_the_same_function_again():
    @cyray.remote
    def f():
        return 1

    half = f.options(num_cpus=0.5, resources={"a": 1})
    assert f.options(num_cpus=0.5, resources={"a": 1}) is half
    assert f.options(num_cpus=0.25) is not half
    assert half.options(num_returns=1) is not f.options(num_returns=1)
    with pytest.raises(TypeError):  # equal to 1, and yet another thing
        f.options(num_returns=1).options(num_returns=True)
    made = [f.options(num_cpus=i / 1000) for i in range(1, 200)]
    assert len(set(map(id, made))) == len(made)
    assert f.options(num_cpus=0.5, resources={"a": 1}) is not half
    assert cyray.get(f.options(num_cpus=0.5).remote()) == 1


def test_options_that_no_message_can_carry_are_refused():
    class Large(Exception):
        payload = bytes(11 << 20)

    @cyray.remote
    def f():
        return 1

    with pytest.raises(ValueError, match=r"the options of f take .* bytes; at most 10,485,760"):
        f.options(retry_exceptions=[Large]).remote()
    assert cyray.get(f.remote()) == 1
