"""as_completed and map_unordered: values as they come, no more calls than asked for."""

from __future__ import annotations

import itertools

import pytest

import cyray
from cyray.test_utils import SignalActor
from cyray.util import as_completed, map_unordered

pytestmark = pytest.mark.usefixtures("shared_session")


@cyray.remote
def square(x):
    return x * x


@cyray.remote
def fail_at(x, bad):
    if x == bad:
        raise KeyError(x)
    return x


@cyray.remote(num_cpus=0)
class Gated:
    """Answers a call when it is told to; counts those that came."""

    def __init__(self):
        self.came = 0

    def double(self, x):
        self.came += 1
        return 2 * x

    def count(self):
        return self.came


def test_values_come_as_they_are_ready_not_as_they_were_asked_for():
    gate = SignalActor.remote()
    late = gate.wait.remote()
    there = square.remote(3)
    results = as_completed([late, there])
    assert next(results) == 9
    cyray.get(gate.send.remote())
    assert list(results) == [None]


@pytest.mark.parametrize("chunk_size", [1, 3, 10, 1000])
def test_each_value_comes_once_whatever_the_chunk(chunk_size):
    refs = [square.remote(i) for i in range(50)]
    assert sorted(as_completed(refs, chunk_size=chunk_size)) == [i * i for i in range(50)]
    assert sorted(as_completed(tuple(refs), chunk_size=chunk_size, fetch_local=False)) == [
        i * i for i in range(50)
    ]


def test_a_chunk_need_not_be_full():
    gate = SignalActor.remote()
    refs = [square.remote(2), gate.wait.remote()]
    results = as_completed(refs, chunk_size=2, timeout=10)
    assert next(results) == 4
    cyray.get(gate.send.remote())


def test_refs_instead_of_values_let_a_program_treat_each_error():
    outcomes = []
    for ref in as_completed([fail_at.remote(i, 2) for i in range(4)], yield_obj_refs=True):
        try:
            outcomes.append(cyray.get(ref, timeout=0))
        except KeyError as error:
            outcomes.append(str(error.cause))
    assert sorted(outcomes, key=str) == [0, 1, "2", 3]


def test_an_error_ends_the_iteration():
    results = as_completed([fail_at.remote(1, 1)])
    with pytest.raises(KeyError):
        next(results)
    assert list(results) == []


def test_nothing_to_wait_for():
    assert list(as_completed([])) == []
    assert list(map_unordered(square, [])) == []


def test_map_unordered_takes_functions_methods_and_callables():
    actor = Gated.remote()
    assert sorted(map_unordered(square, range(5))) == [0, 1, 4, 9, 16]
    assert sorted(map_unordered(actor.double, [1, 2])) == [2, 4]
    assert sorted(map_unordered(lambda x: square.remote(x + 1), [1, 2])) == [4, 9]
    refs = list(map_unordered(square, [3], yield_obj_refs=True))
    assert cyray.get(refs) == [9]


def test_items_are_taken_as_results_are():
    taken = []

    def items():
        for i in itertools.count():
            taken.append(i)
            yield i

    results = map_unordered(square, items(), backpressure_size=4, chunk_size=1)
    assert taken == [], "nothing is called before the first result is asked for"
    for seen in range(1, 20):
        next(results)
        assert len(taken) <= seen + 4
    results.close()


def test_without_backpressure_all_items_are_called_at_once():
    actor = Gated.remote()
    results = map_unordered(actor.double, range(30), backpressure_size=None)
    next(results)
    assert cyray.get(actor.count.remote()) == 30
    assert len(list(results)) == 29


@pytest.mark.parametrize(
    ("call", "error", "text"),
    [
        (lambda: as_completed([], chunk_size=0), ValueError, "chunk_size"),
        (lambda: as_completed([], num_returns=2), TypeError, "num_returns"),
        (lambda: map_unordered(square, [], backpressure_size=0), ValueError, "backpressure_size"),
        (lambda: map_unordered(square, [], chunk_size=-1), ValueError, "chunk_size"),
        (lambda: map_unordered(5, []), TypeError, "callable"),
        (
            lambda: map_unordered(int, [], backpresure_size=1),
            TypeError,
            "Did you mean backpressure_size",
        ),
        (lambda: list(map_unordered(lambda x: x, [1])), TypeError, "not an ObjectRef"),
        (lambda: list(as_completed([1])), TypeError, "ObjectRef"),
    ],
)
def test_what_makes_no_sense_is_refused(call, error, text):
    with pytest.raises(error, match=text):
        call()


def test_a_task_that_waits_gives_its_cpu_away():
    @cyray.remote
    def all_of(n):
        return sum(map_unordered(square, range(n), backpressure_size=8))

    assert cyray.get([all_of.remote(20) for _ in range(4)]) == [2470] * 4
