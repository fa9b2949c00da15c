"""wait in all its forms: what it takes, what it gives, what it refuses."""

from __future__ import annotations

import collections

import numpy as np
import pytest

import cyray

pytestmark = pytest.mark.usefixtures("shared_session")


@pytest.fixture
def refs():
    return [cyray.put(i) for i in range(4)]


@cyray.remote
def at_the_gate(path):
    open(path).close()


def test_arguments_by_position(refs):
    assert cyray.wait(refs, 2, 0.5) == (refs[:2], refs[2:])
    assert cyray.wait(refs, 1, None, False) == (refs[:1], refs[1:])


@pytest.mark.parametrize("count", [np.int64(2), np.int8(2), np.uint32(2), 2], ids=repr)
def test_num_returns_of_any_type_of_integer(refs, count):
    assert cyray.wait(refs, num_returns=count) == (refs[:2], refs[2:])


@pytest.mark.parametrize("count", [2.0, np.float64(2), "2", None, True, np.bool_(True)], ids=repr)
def test_num_returns_that_is_no_integer_is_refused(refs, count):
    with pytest.raises(TypeError, match="num_returns must be an int"):
        cyray.wait(refs, num_returns=count)


@pytest.mark.parametrize("count", [0, -1, 5, np.int64(5), -(2**70), 2**70])
def test_num_returns_that_cannot_be_had_is_refused(refs, count):
    with pytest.raises(ValueError, match="num_returns"):
        cyray.wait(refs, num_returns=count)


@pytest.mark.parametrize(
    "kind", [tuple, collections.deque, dict.fromkeys, lambda refs: dict.fromkeys(refs).keys()]
)
def test_any_collection_of_refs_is_taken_in_its_order(refs, kind):
    assert cyray.wait(kind(refs), num_returns=3) == (refs[:3], refs[3:])
    assert cyray.wait(kind([])) == ([], [])


def test_a_set_and_an_array_of_refs(refs):
    ready, rest = cyray.wait(set(refs), num_returns=4)
    assert set(ready) == set(refs)
    assert rest == []
    assert cyray.wait(np.array(refs, dtype=object), num_returns=4) == (refs, [])


@pytest.mark.parametrize(
    ("wrong", "text"),
    [
        (lambda refs: refs[0], "got a single ObjectRef"),
        (lambda refs: iter(refs), "expected a list"),
        (lambda refs: (ref for ref in refs), "expected a list"),
        (lambda refs: None, "expected a list"),
        (lambda refs: "refs", "list containing <class 'str'>"),
        (lambda refs: [*refs, 1], "list containing <class 'int'>"),
        (lambda refs: [refs], "list containing <class 'list'>"),
    ],
)
def test_what_is_no_collection_of_refs_is_refused(refs, wrong, text):
    with pytest.raises(TypeError, match=text):
        cyray.wait(wrong(refs))


def test_a_ref_that_is_there_twice_is_refused_and_can_be_waited_for_afterwards(refs):
    for _ in range(2):
        with pytest.raises(ValueError, match="unique"):
            cyray.wait([*refs, refs[2]])
        assert cyray.wait(refs, num_returns=4) == (refs, [])


@pytest.mark.parametrize("ready_at", [[], [0], [2], [3], [0, 2], [1, 2, 3], [0, 1, 2, 3]], ids=repr)
def test_both_lists_keep_the_order(refs, gate, ready_at):
    late = [at_the_gate.remote(gate.path) for _ in range(4 - len(ready_at))]
    pending = iter(late)
    mixed = [refs[at] if at in ready_at else next(pending) for at in range(4)]
    given = list(mixed)
    ready, rest = cyray.wait(mixed, num_returns=4, timeout=0.02)
    assert ready == [mixed[at] for at in ready_at]
    assert rest == late
    assert mixed == given
    gate.open()
    cyray.get(late)


def test_no_more_than_num_returns_are_ready(refs):
    assert cyray.wait(refs, num_returns=2, timeout=0) == (refs[:2], refs[2:])
    assert cyray.wait(refs, timeout=0) == (refs[:1], refs[1:])


def test_generators_among_refs(refs):
    @cyray.remote(num_returns="streaming")
    def count(n):
        yield from range(n)

    generator = count.remote(1)
    mixed = [refs[0], generator, refs[1]]
    assert cyray.wait(mixed, num_returns=3) == (mixed, [])
    with pytest.raises(TypeError, match="single ObjectRefGenerator"):
        cyray.wait(generator)
    with pytest.raises(ValueError, match="unique"):
        cyray.wait([generator, refs[0], generator])
    assert cyray.get(list(generator)) == [0]
    # Its end and its `completed()` are the same object.
    both = [generator, generator.completed()]
    assert cyray.wait(both, num_returns=2) == (both, [])


def test_ten_thousand_refs_one_at_a_time():
    refs = [cyray.put(i) for i in range(10_000)]
    rest, seen = list(refs), []
    while rest:
        ready, rest = cyray.wait(rest)
        seen += ready
    assert seen == refs


def test_refs_of_a_session_that_is_over_are_refused(refs):
    cyray.shutdown()
    with pytest.raises(RuntimeError, match="shut down"):
        cyray.wait(refs)
    cyray.init(num_cpus=2)
