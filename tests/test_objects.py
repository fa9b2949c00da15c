"""put, get and wait: values, messages, timeouts, refs, and memory shared between processes."""

from __future__ import annotations

import collections
import copy
import dataclasses
import datetime
import decimal
import pickle
import threading

import numpy as np
import pytest
from support import eventually

import cyray
from cyray.exceptions import GetTimeoutError, RayTimeoutError
from cyray.test_utils import SignalActor

pytestmark = pytest.mark.usefixtures("shared_session")

INIT = {"object_store_memory": 200 * 1024**2}


@dataclasses.dataclass
class Record:
    name: str
    items: list


Point = collections.namedtuple("Point", "x y")

VALUES = [
    None, True, False, 0, -1, 2**62, 2**63, -(2**64), 10**100, 0.5, float("inf"), 1 + 2j, "", "text",
    "\u00e4\u4e2d\U0001f600", "\ud800", "x" * 200_000, b"", b"bytes", b"y" * 200_000, bytearray(b"ab"), (), (1, "a"),
    [], [1, [2, [3]]], {}, {"a": 1, 2: (3,)}, {1, 2}, frozenset("ab"), range(5), slice(1, 2), ...,
    decimal.Decimal("1.5"), datetime.date(2020, 1, 2), Point(1, 2), Record("r", [1]), int, len,
]  # fmt: skip


@pytest.mark.parametrize("value", VALUES, ids=lambda value: repr(value)[:20])
def test_values_come_back_equal_and_of_their_own_type(value):
    back = cyray.get(cyray.put(value))
    assert back == value
    assert type(back) is type(value)


def test_nan_comes_back():
    back = cyray.get(cyray.put(float("nan")))
    assert back != back


def test_functions_and_local_classes_come_back_usable():
    factor = 3

    class Local:
        def times(self, x):
            return x * factor

    assert cyray.get(cyray.put(lambda x: x + factor))(1) == 4
    assert cyray.get(cyray.put(Local())).times(2) == 6


def test_get_of_a_list_keeps_order_and_repeats():
    refs = [cyray.put(i) for i in range(100)]
    assert cyray.get(refs[::-1]) == list(range(99, -1, -1))
    assert cyray.get([refs[3]] * 3) == [3, 3, 3]
    assert cyray.get([]) == []


def test_get_of_ten_thousand():
    refs = [cyray.put(i) for i in range(10_000)]
    assert cyray.get(refs) == list(range(10_000))


def test_an_object_that_holds_ten_thousand_refs():
    ref = cyray.put([cyray.put(i) for i in range(10_000)])
    inner = cyray.get(ref)
    assert cyray.get(inner[::1000]) == list(range(0, 10_000, 1000))


@pytest.mark.parametrize("kind", [list, tuple])
def test_refs_alone_in_a_sequence(kind):
    refs = [cyray.put(i) for i in range(5)]
    sent = kind([*refs, refs[0]])

    @cyray.remote
    def describe(given, wrapped):
        return type(given).__name__, cyray.get(list(given)), wrapped[0] == given

    assert cyray.get(describe.remote(cyray.put(sent), [sent])) == (
        kind.__name__,
        [0, 1, 2, 3, 4, 0],
        True,
    )
    assert cyray.get(cyray.put(sent)) == sent
    assert cyray.get(cyray.put((sent, 1, []))) == (sent, 1, [])
    assert cyray.get(cyray.put(kind())) == kind()


def test_get_refuses_what_is_no_ref():
    for wrong in (1, "refs", {cyray.put(1)}, iter([])):
        with pytest.raises(ValueError, match="Invalid type of object refs"):
            cyray.get(wrong)
    with pytest.raises(TypeError, match="not an ObjectRef"):
        cyray.get([1])


def test_put_of_a_ref_is_refused_but_in_a_list_it_is_fine():
    ref = cyray.put(1)
    with pytest.raises(TypeError, match="wrap it in a list"):
        cyray.put(ref)
    assert cyray.get(cyray.get(cyray.put([ref]))[0]) == 1
    with pytest.raises(ValueError, match="_owner"):
        cyray.put(1, _owner=object())


def test_get_times_out():
    never = SignalActor.remote()
    ref = never.wait.remote()
    with pytest.raises(GetTimeoutError):
        cyray.get(ref, timeout=0.1)
    with pytest.raises(RayTimeoutError):
        cyray.get([cyray.put(1), ref], timeout=0)
    with pytest.raises(TimeoutError):
        cyray.get(ref, 0.01)
    assert cyray.get(cyray.put(1), timeout=0) == 1
    there = cyray.put(1)
    for nonsense in (-1, float("nan"), "1"):
        for waiting in (ref, there):  # it is wrong although nobody has to wait
            with pytest.raises((ValueError, TypeError)):
                cyray.get(waiting, timeout=nonsense)
            with pytest.raises((ValueError, TypeError)):
                cyray.get([waiting], timeout=nonsense)
            with pytest.raises((ValueError, TypeError)):
                cyray.wait([waiting], timeout=nonsense)
    ready, rest = cyray.wait([ref], timeout=0.05)
    assert (ready, rest) == ([], [ref])
    cyray.kill(never)


def test_a_get_that_times_out_says_what_it_waited_for():
    never = SignalActor.remote()
    cyray.get(never.__ray_ready__.remote())

    def text_of(refs):
        with pytest.raises(GetTimeoutError) as caught:
            cyray.get(refs, timeout=0.05)
        return str(caught.value)

    ref = never.wait.remote()
    called = text_of([cyray.put(1), ref])
    assert "1 of 2 object(s) not ready after 0.05 s" in called
    assert rf"object {ref.hex()}: the result of call SignalActor.wait (attempt 1), pushed" in called

    @cyray.remote(resources={"nowhere": 1})
    def unplaceable(argument=None):
        return argument

    assert "task unplaceable (attempt 1), queued for a worker with {CPU: 1, nowhere: 1}" in (
        text_of(unplaceable.remote())
    )
    assert "which waits for 1 of its arguments" in text_of(unplaceable.remote(ref))
    many = text_of([never.wait.remote() for _ in range(9)])
    # Three of the nine are named, each by itself and by what holds it up.
    assert many.count("SignalActor.wait") == 6 and many.count("and others") == 2
    with pytest.raises(GetTimeoutError) as caught:
        cyray.get(ref, timeout=0)  # who polls gets no story
    assert "SignalActor" not in str(caught.value)
    cyray.kill(never)


@pytest.mark.parametrize("timeout", ["1", [1], {}])
def test_a_timeout_that_is_no_number_is_named(timeout):
    ref = cyray.put(1)
    for use in (cyray.get, lambda ref, timeout: cyray.wait([ref], timeout=timeout)):
        with pytest.raises(TypeError, match="a timeout is None or a number"):
            use(ref, timeout=timeout)


def test_several_refs_are_one_list():
    with pytest.raises(TypeError, match="given as one list"):
        cyray.get(cyray.put(1), cyray.put(2))


def test_wait_returns_ready_refs_in_the_order_given():
    refs = [cyray.put(i) for i in range(5)]
    ready, rest = cyray.wait(refs, num_returns=3)
    assert ready == refs[:3] and rest == refs[3:]
    ready, rest = cyray.wait(refs, 5, 1.0)
    assert ready == refs and rest == []
    assert cyray.wait([]) == ([], [])


def test_wait_for_tasks_that_end_at_different_times():
    signal = SignalActor.remote()

    @cyray.remote(num_cpus=0)
    def wait_for(signal):
        cyray.get(signal.wait.remote())
        return "late"

    @cyray.remote
    def quick():
        return "early"

    late, early = wait_for.remote(signal), quick.remote()
    ready, rest = cyray.wait([late, early])
    assert (ready, rest) == ([early], [late])
    ready, rest = cyray.wait([late, early], num_returns=2, timeout=0.02)
    assert (ready, rest) == ([early], [late])
    cyray.get(signal.send.remote())
    ready, rest = cyray.wait([late, early], num_returns=2, timeout=10)
    assert (ready, rest) == ([late, early], [])
    assert cyray.get(late) == "late"


def test_a_failed_task_counts_as_ready():
    @cyray.remote
    def fail():
        raise ValueError

    ready, rest = cyray.wait([fail.remote()], timeout=10)
    assert len(ready) == 1 and not rest


def test_a_list_may_change_while_others_wait_for_it():
    signal = SignalActor.remote()
    gets = [signal.wait.remote() for _ in range(50)]
    waits = [signal.wait.remote() for _ in range(50)]
    results = []
    threads = [
        threading.Thread(target=lambda: results.append(cyray.get(gets))),
        threading.Thread(target=lambda: results.append(cyray.wait(waits, num_returns=50))),
    ]
    for thread in threads:
        thread.start()
    eventually(lambda: cyray.get(signal.cur_num_waiters.remote()) == 100)
    del gets[:], waits[1:]
    cyray.get(signal.send.remote())
    for thread in threads:
        thread.join(20)
    assert sorted(len(result) for result in results) == [2, 50]


def test_wait_refuses_bad_arguments():
    ref = cyray.put(1)
    with pytest.raises(TypeError, match="single ObjectRef"):
        cyray.wait(ref)
    with pytest.raises(TypeError):
        cyray.wait([1])
    with pytest.raises(ValueError, match="unique"):
        cyray.wait([ref, ref])
    with pytest.raises(ValueError):
        cyray.wait([ref], num_returns=0)
    with pytest.raises(ValueError):
        cyray.wait([ref], num_returns=2)


def test_refs_are_values_of_their_ids():
    ref = cyray.put(1)
    assert cyray.ObjectID is cyray.ObjectRef
    assert repr(ref) == f"ObjectRef({ref.hex()})" and len(ref.hex()) == 40
    assert ref.binary() == bytes.fromhex(ref.hex())
    assert ref == copy.copy(ref) == copy.deepcopy(ref)
    other = cyray.put(1)
    assert ref != other and len({ref, other, ref}) == 2
    assert ref != 1
    with pytest.raises(TypeError):
        cyray.ObjectRef(b"x" * 20)


def test_a_ref_pickled_by_hand_is_the_same_object():
    ref = cyray.put([1, 2])
    again = pickle.loads(pickle.dumps(ref))
    assert again == ref
    del ref
    assert cyray.get(again) == [1, 2]


def test_aliases_stay_aliases():
    inner = [0]
    back = cyray.get(cyray.put([inner, inner]))
    assert back[0] is back[1]
    array = np.ones(50_000)
    back = cyray.get(cyray.put([array, array]))
    assert back[0] is back[1]


def test_a_list_that_holds_itself():
    loop = []
    loop.append(loop)
    back = cyray.get(cyray.put(loop))
    assert back[0] is back


def test_objects_cannot_be_changed_by_those_who_got_them():
    value = [1, 2, 3]
    ref = cyray.put(value)
    value.append(4)
    got = cyray.get(ref)
    got.append(5)
    assert cyray.get(ref) == [1, 2, 3]


@pytest.mark.parametrize("size", [10, 1000, 100_000, 1_000_000])
def test_large_arrays_are_read_only_and_all_are_aligned(size):
    array = np.arange(size, dtype=np.float64)
    back = cyray.get(cyray.put(array))
    np.testing.assert_array_equal(back, array)
    assert back.ctypes.data % 64 == 0
    if size < 10_000:  # inline: a private copy
        assert back.flags.writeable
        return
    assert not back.flags.writeable
    with pytest.raises(ValueError, match="read-only"):
        back[0] = 1
    with pytest.raises(ValueError):
        back.flags.writeable = True


def test_a_large_array_is_not_copied_by_get():
    ref = cyray.put({"a": np.zeros(1_000_000), "b": [np.ones(500_000)]})
    first, second = cyray.get(ref), cyray.get(ref)
    assert first["a"].ctypes.data == second["a"].ctypes.data
    assert first["b"][0].ctypes.data == second["b"][0].ctypes.data


def test_a_view_keeps_its_memory_after_the_last_ref():
    view = cyray.get(cyray.put(np.full(1_000_000, 7.0)))
    part = view[1000:2000]
    del view
    for i in range(30):  # Others want the memory.
        cyray.put(np.full(1_000_000, float(i)))
    assert (part == 7.0).all()


def test_writable_gives_a_private_copy():
    array = np.zeros(1_000_000)
    ref = cyray.put(array)
    mine = cyray.get(ref, writable=True)
    assert mine.flags.writeable
    mine[:] = 1
    assert cyray.get(ref)[0] == 0
    other = cyray.get(ref, writable=True)
    assert other[0] == 0
    other[0] = 2
    assert mine[0] == 1
    small = cyray.get(cyray.put(np.zeros(4)), writable=True)
    small[0] = 3
    assert small[0] == 3
    del ref
    assert mine.sum() == 1_000_000


@pytest.mark.parametrize("size", [100, 300_000])
def test_buffers_keep_their_type(size):
    data = bytes(range(256)) * (size // 256 + 1)
    view = cyray.get(cyray.put(memoryview(data)))
    assert type(view) is memoryview and view == data
    assert view.readonly == (size > 100_000)
    back = cyray.get(cyray.put(bytearray(data)))
    assert type(back) is bytearray and back == data
    back[0] = 9
    typed = memoryview(np.arange(size, dtype=np.int32).reshape(2, -1))
    back = cyray.get(cyray.put(typed))
    assert (back.format, back.shape) == (typed.format, typed.shape) and back == typed


@pytest.mark.parametrize(
    "array",
    [
        np.zeros(0),
        np.zeros((0, 3)),
        np.float64(1.5),
        np.asfortranarray(np.arange(6.0).reshape(2, 3)),
        np.arange(20.0).reshape(4, 5)[::2, ::-1],
        np.arange(4, dtype=">i4"),
        np.zeros(3, dtype=[("x", "f8"), ("y", "i4")]),
        np.array([True, False]),
    ],
    ids=["empty", "empty table", "scalar", "fortran", "strided", "big-endian", "records", "bools"],
)
def test_memoryviews_of_every_kind(array):
    view = memoryview(array)
    for back in (cyray.get(cyray.put(view)), cyray.get(cyray.put([view]))[0]):
        assert type(back) is memoryview
        assert (back.format, back.shape) == (view.format, view.shape)
        np.testing.assert_array_equal(np.asarray(back), array)


@pytest.mark.parametrize(
    "array",
    [
        np.zeros((0, 3)),
        np.float32(1.5),
        np.arange(60_000).reshape(200, 300)[::2, ::3],
        np.asfortranarray(np.arange(60_000.0).reshape(200, 300)),
        np.array(["a", "bc"]),
        np.array([object, None, 1], dtype=object),
        np.zeros(3, dtype=[("x", "f8"), ("y", "i4")]),
        np.arange(5).astype("datetime64[D]"),
        np.ones(200_000, dtype=bool),
        np.array(7.5),
        np.arange(12, dtype=">i4").reshape(3, 2, 2),
        np.arange(6, dtype=np.float16) * 1j,
        np.arange(3).astype(np.dtype("f8", metadata={"unit": "m"})),
        np.arange(4).view(np.recarray),
    ],
    ids=["empty", "scalar", "strided", "fortran", "text", "objects", "records", "dates", "bools",
         "no dimension", "big endian", "complex", "metadata", "subclass"],
)  # fmt: skip
def test_arrays_of_every_kind(array):
    @cyray.remote
    def give_back(value):
        return value

    for back in (cyray.get(cyray.put(array)), cyray.get(give_back.remote(array))):
        np.testing.assert_array_equal(back, array)
        assert type(back) is type(array)
        assert (back.dtype, back.shape) == (array.dtype, array.shape)
        assert back.dtype.metadata == array.dtype.metadata


def test_an_array_beside_others_is_the_same_one():
    array = np.arange(10)
    first, second = cyray.get(cyray.put([array, array]))
    assert first is second


def test_a_full_store_says_so_and_works_again():
    keep = [cyray.put(np.zeros(20 * 1024**2, dtype=np.uint8)) for _ in range(8)]
    with pytest.raises(cyray.exceptions.ObjectStoreFullError):
        cyray.put(np.zeros(100 * 1024**2, dtype=np.uint8))
    with pytest.raises(cyray.exceptions.ObjectStoreFullError):
        cyray.put(np.zeros(300 * 1024**2, dtype=np.uint8))
    assert cyray.get(keep[0])[0] == 0
    keep.clear()

    def fits():
        try:
            return cyray.put(np.zeros(100 * 1024**2, dtype=np.uint8))
        except cyray.exceptions.ObjectStoreFullError:
            return None

    eventually(fits, what="room for 100 MB")


def test_what_only_this_process_knows_is_read_after_the_store_was_full():
    keep = [cyray.put(np.full(1024**2, n, dtype=np.uint8)) for n in range(60)]
    with pytest.raises(cyray.exceptions.ObjectStoreFullError):
        cyray.put(np.zeros(180 * 1024**2, dtype=np.uint8))
    for n, ref in enumerate(keep):
        assert cyray.get(ref, timeout=20)[0] == n


def test_a_result_that_does_not_fit_is_the_tasks_error():
    @cyray.remote
    def big():
        return np.zeros(300 * 1024**2, dtype=np.uint8)

    with pytest.raises(cyray.exceptions.ObjectStoreFullError):
        cyray.get(big.remote())


def test_freed_memory_is_used_again():
    for i in range(40):
        ref = cyray.put(np.full(5 * 1024**2, i % 256, dtype=np.uint8))
        assert cyray.get(ref)[-1] == i % 256


def test_the_same_large_object_in_several_processes():
    array = np.arange(2_000_000)
    ref = cyray.put(array)

    @cyray.remote
    def total(values):
        return int(values.sum()), values.flags.writeable

    assert cyray.get([total.remote(ref) for _ in range(6)]) == [(int(array.sum()), False)] * 6


def test_what_cannot_be_pickled_is_a_clear_error():
    import threading

    with pytest.raises(TypeError, match="pickle"):
        cyray.put(threading.Lock())

    @cyray.remote
    def f(x):
        return x

    with pytest.raises(TypeError, match="pickle"):
        f.remote(threading.Lock())
    assert cyray.get(f.remote(1)) == 1


def test_pickles_made_by_hand_pass_through():
    loop = []
    loop.append(loop)

    @cyray.remote
    def f(data):
        return f"passed {pickle.loads(data)} into f."

    assert cyray.get(f.remote(pickle.dumps(loop))) == "passed [[...]] into f."


def test_deeply_nested_lists():
    deep = []
    for _ in range(300):
        deep = [deep]
    assert cyray.get(cyray.put(deep)) == deep
