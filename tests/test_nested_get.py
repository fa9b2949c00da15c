"""get of tuples, dicts and containers in containers: the same shape with values in the place of refs."""

from __future__ import annotations

import collections

import pytest

import cyray
from cyray.exceptions import GetTimeoutError
from cyray.test_utils import SignalActor

pytestmark = pytest.mark.usefixtures("shared_session")

Pair = collections.namedtuple("Pair", "left right")


@cyray.remote
def square(x):
    return x * x


@cyray.remote
def fail(text):
    raise KeyError(text)


def test_a_tuple_gives_a_tuple_and_a_dict_a_dict():
    refs = [square.remote(i) for i in range(3)]
    assert cyray.get(tuple(refs)) == (0, 1, 4)
    found = cyray.get({"b": refs[2], "a": refs[1], 7: refs[0]})
    assert list(found.items()) == [("b", 4), ("a", 1), (7, 0)]
    assert type(found) is dict


@pytest.mark.parametrize("empty", [(), {}, [], [[]], {"a": []}, ([], {}, ())])
def test_what_holds_no_ref_comes_back_as_it_is(empty):
    assert cyray.get(empty) == empty
    assert type(cyray.get(empty)) is type(empty)


def test_containers_in_containers_keep_their_shape():
    ref = cyray.put("x")
    shape = [ref, (ref, [ref]), {"k": {"deep": [ref, ref]}, "t": ()}]
    values = ["x", ("x", ["x"]), {"k": {"deep": ["x", "x"]}, "t": ()}]
    assert cyray.get(shape) == values
    assert shape[0] is ref, "the given containers stay as they are"


def test_named_tuples_keep_their_class_and_other_subclasses_become_plain():
    found = cyray.get(Pair(left=square.remote(2), right=[square.remote(3)]))
    assert found == Pair(4, [9])
    assert type(found) is Pair
    assert type(cyray.get(collections.OrderedDict(a=square.remote(2)))) is dict


def test_values_that_are_containers_of_refs_themselves_are_not_gone_into():
    inner = cyray.put(1)
    assert cyray.get((cyray.put([inner]),)) == ([inner],)


@pytest.mark.parametrize(
    ("wrong", "where"),
    [
        (lambda ref: [ref, 1], "the value 1, which is not an ObjectRef."),
        (lambda ref: (ref, None), "the value None"),
        (lambda ref: [ref, [ref, "x"]], r"it stands at \[1\]\[1\]"),
        (lambda ref: {"a": [ref, {"b": 2.5}]}, r"it stands at \['a'\]\[1\]\['b'\]"),
        (lambda ref: [ref, {ref}], "not an ObjectRef"),
    ],
)
def test_what_is_no_ref_is_refused_with_its_place(wrong, where):
    with pytest.raises(TypeError, match=where):
        cyray.get(wrong(cyray.put(1)))


def test_a_list_that_holds_itself_is_refused():
    endless: list = []
    endless.append(endless)
    with pytest.raises(RecursionError):
        cyray.get(endless)


def test_the_first_error_is_raised_without_waiting_for_the_rest():
    gate = SignalActor.remote()
    late = gate.wait.remote()
    with pytest.raises(KeyError, match="boom"):
        cyray.get({"late": late, "failed": [fail.remote("boom")]})
    cyray.get(gate.send.remote())
    assert cyray.get((late,)) == (None,)


def test_one_timeout_counts_all_that_is_missing():
    gate = SignalActor.remote()
    late = gate.wait.remote()
    with pytest.raises(GetTimeoutError, match=r"1 of 3 object\(s\) not ready after 0.05 s"):
        cyray.get({"there": [cyray.put(1), cyray.put(2)], "late": (late,)}, timeout=0.05)
    cyray.get(gate.send.remote())


def test_writable_holds_for_what_is_inside():
    import numpy as np

    array = cyray.get({"a": (cyray.put(np.zeros(100_000)),)}, writable=True)["a"][0]
    array[0] = 1.0
    assert array.sum() == 1.0
