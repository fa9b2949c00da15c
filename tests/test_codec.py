"""Values to bytes and back, without a session: any value comes back equal, no bytes break the process."""

from __future__ import annotations

import math
import pickle

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from cyray import _raylet
from cyray._errors import from_core
from cyray.exceptions import RayError

SIMPLE = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.integers(-(2**63), 2**63 - 1),
    st.floats(),
    st.text(),
    st.text(alphabet=st.characters(codec="utf-8", categories=["Cs", "L"])),
    st.binary(),
)
ARRAYS = npst.arrays(
    dtype=st.one_of(
        npst.integer_dtypes(),
        npst.unsigned_integer_dtypes(),
        npst.floating_dtypes(),
        npst.complex_number_dtypes(),
        npst.boolean_dtypes(),
        npst.datetime64_dtypes(endianness="="),  # numpy's pickles lose another one
        npst.unicode_string_dtypes(),
        npst.array_dtypes(),
    ),
    shape=npst.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=5),
)
LEAVES = st.one_of(
    SIMPLE, ARRAYS, st.binary().map(bytearray), st.binary(min_size=1).map(memoryview)
)
NESTED = st.recursive(
    st.one_of(SIMPLE, ARRAYS),
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.lists(inner, max_size=4).map(tuple),
        st.dictionaries(st.text(max_size=5), inner, max_size=4),
    ),
    max_leaves=12,
)
VALUES = st.one_of(LEAVES, NESTED)
ONE_BY_ONE = settings(
    max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow], derandomize=True
)


def same(one: object, other: object) -> bool:
    """Equal in type and content; nan is the same as nan."""
    if isinstance(one, memoryview):
        return isinstance(other, memoryview) and one.tobytes() == other.tobytes()
    if type(one) is not type(other):
        return False
    if isinstance(one, np.ndarray):
        return (
            one.dtype == other.dtype
            and one.shape == other.shape
            and one.tobytes() == other.tobytes()
        )
    if isinstance(one, (list, tuple)):
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, dict):
        return list(one) == list(other) and all(same(one[key], other[key]) for key in one)
    if isinstance(one, float) and math.isnan(one):
        return math.isnan(other)
    return one == other


@ONE_BY_ONE
@given(VALUES, st.booleans())
def test_any_value_comes_back_as_it_was(value, writable):
    assert same(_raylet.decode_value(_raylet.encode_value(value), writable), value)


DTYPES = st.one_of(
    npst.integer_dtypes(endianness="?"),
    npst.floating_dtypes(endianness="?"),
    npst.boolean_dtypes(),
    npst.byte_string_dtypes(),
    npst.array_dtypes(),
)


def in_another_order(array: np.ndarray, how: str) -> np.ndarray:
    """The same numbers, or some of them, elsewhere in memory."""
    if how == "F":
        return np.asfortranarray(array)
    if how == "transposed":
        return array.T
    if how == "reversed":
        return array[::-1]
    if how == "every second":
        return array[..., ::2]
    if how == "broadcast":
        return np.broadcast_to(array, (2, *array.shape))
    return array


@ONE_BY_ONE
@given(
    npst.arrays(DTYPES, npst.array_shapes(min_dims=1, max_dims=4, max_side=5)),
    st.sampled_from(["C", "F", "transposed", "reversed", "every second", "broadcast"]),
    st.booleans(),
    st.booleans(),
)
def test_arrays_in_any_order_come_back_with_their_numbers(array, how, nested, writable):
    given_ = in_another_order(array, how)
    back = _raylet.decode_value(_raylet.encode_value([given_] if nested else given_), writable)
    back = back[0] if nested else back
    # Of an array with gaps numpy's own pickle has the numbers in the machine's byte order.
    native = given_.dtype.newbyteorder("=")
    assert same(back, given_) or same(back, given_.astype(native))
    if given_.flags.c_contiguous or given_.flags.f_contiguous:
        assert back.flags.f_contiguous == given_.flags.f_contiguous


POOL = st.lists(
    st.one_of(
        st.just([]).map(list),
        st.dictionaries(st.text(max_size=2), st.integers(), max_size=2),
        st.binary(min_size=1, max_size=3).map(bytearray),
        npst.arrays(np.float64, npst.array_shapes()),
        st.sets(st.integers(), max_size=3),
    ),
    min_size=1,
    max_size=4,
)


@ONE_BY_ONE
@given(POOL, st.lists(st.integers(0, 3), min_size=2, max_size=8), st.booleans())
def test_what_is_one_object_stays_one_and_no_other(pool, picks, looped):
    value = [pool[pick % len(pool)] for pick in picks]
    if looped:
        value.append(value)
        for one in pool:
            if type(one) is list:
                one.append(value)
    back = _raylet.decode_value(_raylet.encode_value(value))
    pattern = [[one is other for other in value] for one in value]
    assert [[one is other for other in back] for one in back] == pattern
    if not looped:
        assert same(back, value)
    for one in back:
        if looped and type(one) is list and one is not back:
            assert one[-1] is back


@ONE_BY_ONE
@given(npst.arrays(np.int64, npst.array_shapes(min_side=1)))
def test_arrays_come_back_read_only_unless_asked_for_otherwise(array):
    encoded = _raylet.encode_value(array)
    assert not _raylet.decode_value(encoded).flags.writeable
    mine = _raylet.decode_value(encoded, writable=True)
    mine.flat[0] ^= 1
    assert (_raylet.decode_value(encoded) == array).all()


# What decoding bytes that are no value may raise: errors that a task or `get` hands on.
CLEAN = (
    ValueError, TypeError, KeyError, IndexError, AttributeError, EOFError, OverflowError, MemoryError,
    ImportError, RuntimeError, NotImplementedError, BufferError, pickle.UnpicklingError, RayError,
)  # fmt: skip


def decode_whatever(encoded: bytes) -> None:
    for writable in (False, True):
        try:
            _raylet.decode_value(encoded, writable)
        except CLEAN:
            pass


# Without a pickle in it: a mutated pickle may do what any program may.
UNPICKLED = st.one_of(
    st.none(),
    st.floats(),
    st.text(),
    st.binary(),
    npst.arrays(np.float32, npst.array_shapes(min_dims=0, min_side=0)),
)


@ONE_BY_ONE
@given(UNPICKLED, st.data())
def test_mutated_bytes_raise_a_clean_error_or_are_another_value(value, data):
    encoded = bytearray(_raylet.encode_value(value))
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(encoded) - 1))
        encoded[at] = data.draw(st.integers(0, 255))
    # The tags of pickles and of memoryviews, whose shape is one.
    if encoded[0] in (7, 8, 11):
        return
    decode_whatever(bytes(encoded[: data.draw(st.integers(0, len(encoded)))]))
    decode_whatever(bytes(encoded) + data.draw(st.binary(max_size=70)))


@ONE_BY_ONE
@given(st.sampled_from([7, 9, 10, 11, 12, 13, 16, 17, 255]), st.binary(max_size=200))
def test_arbitrary_bytes_after_a_tag_raise_a_clean_error(tag, content):
    head = content[:3]
    if tag in (7, 11) and content[15:]:  # no opcode of pickle but its end
        content = content[:15] + bytes(len(content) - 15)
    decode_whatever(bytes([tag]) + head + content)


@pytest.mark.parametrize("tag", [12, 13])
def test_tables_and_errors_do_not_nest_without_end(tag):
    """A recursion for every few bytes of a peer would overflow the stack."""
    level = bytes([tag]) + bytes(63 if tag == 12 else 4)
    with pytest.raises(ValueError, match="cut off, or claims more"):
        _raylet.decode_value(level * 100_000 + b"\0")


def test_an_integer_of_the_wrong_size_is_refused():
    for size in (1, 2, 8, 10):
        with pytest.raises(ValueError, match="wrong size"):
            _raylet.decode_value(b"\3" + bytes(size - 1))


def test_an_array_of_objects_is_refused():
    encoded = _raylet.encode_value(np.zeros(2)).replace(b"<f8", b"|O8")
    with pytest.raises(ValueError, match="encoded array"):
        _raylet.decode_value(encoded)


def test_every_kind_of_error_and_every_status_has_a_class():
    """Of C++'s numbers and Python's tables, which are written in two places."""
    end_of_stream = 11  # which no program gets to see
    numbers = [*_raylet.ERROR_KINDS, end_of_stream]
    assert sorted(numbers) == list(range(1, len(numbers) + 1))
    assert set(_raylet.ERROR_KINDS.values()) == set(from_core.FAILURE_CLASSES)
    for number, kind in _raylet.ERROR_KINDS.items():
        error = _raylet.decode_value(bytes([9, number]) + bytes(16) + b"the reason")
        assert type(error) is from_core.FAILURE_CLASSES[kind] and "the reason" in str(error)
    assert len(from_core.STATUS_CLASSES) == len(_raylet.STATUS_CODES)
    named = {
        name: cls and cls.__name__
        for name, cls in zip(_raylet.STATUS_CODES, from_core.STATUS_CLASSES, strict=True)
    }
    assert named["OK"] is None
    assert named["AlreadyExists"] == "ActorAlreadyExistsError"
    assert named["Disconnected"] == "LocalRayletDiedError"
    assert named["Unauthenticated"] == "AuthenticationError"
    assert named["ObjectStoreFull"] == "ObjectStoreFullError"
    assert named["Cancelled"] == "TaskCancelledError"
