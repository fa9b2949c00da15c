"""cyray.internal.free: values go by hand, for everybody who has a ref."""

from __future__ import annotations

import threading

import numpy as np
import pytest
from support import eventually

import cyray
from cyray.exceptions import ObjectFreedError, ObjectLostError
from cyray.internal import free
from cyray.test_utils import SignalActor

pytestmark = pytest.mark.usefixtures("shared_session")

MIB = 1024**2
INIT = {"object_store_memory": 100 * MIB}


@cyray.remote
def ones(mib):
    return np.ones(mib * MIB, dtype=np.uint8)


@cyray.remote
def first_of(array):
    return array[0]


@cyray.remote(num_cpus=0)
class Holder:
    """Keeps refs of others, and what it got of them last."""

    def keep(self, refs):
        self.refs = refs
        return [cyray.get(ref) is not None for ref in refs]

    def is_freed(self, at):
        try:
            cyray.get(self.refs[at])
        except ObjectFreedError:
            return True
        return False

    def free(self, at):
        free([self.refs[at]])

    def make(self):
        self.refs = [cyray.put(1), cyray.put(np.ones(MIB))]
        return self.refs


def assert_freed(ref):
    with pytest.raises(ObjectFreedError, match=ref.hex()):
        cyray.get(ref)
    assert cyray.wait([ref], timeout=0) == ([ref], [])


@pytest.mark.parametrize("make", [lambda: cyray.put(1), lambda: cyray.put(np.ones(MIB))])
def test_a_freed_put_cannot_be_got_any_more(make):
    ref, other = make(), make()
    free([ref])
    assert_freed(ref)
    assert cyray.get(other) is not None
    free([ref])
    assert issubclass(ObjectFreedError, ObjectLostError)


def test_a_result_is_freed_on_the_node_that_made_it():
    ref = ones.remote(1)
    assert cyray.get(ref)[0] == 1
    free(ref)
    assert_freed(ref)


def test_memory_comes_back_though_the_refs_live():
    refs = []
    for _ in range(6):  # each takes more than half of the store
        ref = cyray.put(np.ones(60 * MIB, dtype=np.uint8))
        assert cyray.get(first_of.remote(ref)) == 1
        free([ref])
        refs.append(ref)
    for ref in refs:
        assert_freed(ref)


def test_what_was_got_before_stays_as_it_is():
    ref = cyray.put(np.arange(MIB))
    array = cyray.get(ref)
    free([ref])
    assert_freed(ref)
    assert array[-1] == MIB - 1


@pytest.mark.parametrize("at", [0, 1])
def test_borrowers_that_have_read_it_learn_of_it(at):
    refs = [cyray.put(1), cyray.put(np.ones(MIB))]
    holder = Holder.remote()
    assert cyray.get(holder.keep.remote(refs)) == [True, True]
    free([refs[at]])
    eventually(lambda: cyray.get(holder.is_freed.remote(at)))
    assert not cyray.get(holder.is_freed.remote(1 - at))


@pytest.mark.parametrize("at", [0, 1])
def test_a_borrower_frees_it_for_the_owner_and_for_other_borrowers(at):
    owner, other = Holder.remote(), Holder.remote()
    refs = cyray.get(owner.make.remote())
    cyray.get([other.keep.remote(refs), *refs])
    free([refs[at]])
    assert_freed(refs[at])
    eventually(lambda: cyray.get(owner.is_freed.remote(at)))
    eventually(lambda: cyray.get(other.is_freed.remote(at)))
    cyray.get(other.free.remote(1 - at))
    eventually(lambda: cyray.get(owner.is_freed.remote(1 - at)))


def is_freed(ref) -> bool:
    try:
        cyray.get(ref)
    except ObjectFreedError:
        return True
    return False


def test_an_object_that_is_not_there_yet_is_freed_for_whoever_waits():
    gate = SignalActor.remote()

    @cyray.remote
    def late(gate):
        cyray.get(gate.wait.remote())
        return np.ones(MIB)

    ref = late.remote(gate)
    taken = first_of.remote(ref)
    outcomes = []
    thread = threading.Thread(target=lambda: outcomes.append(is_freed(ref)))
    thread.start()
    free([ref])
    thread.join()
    assert outcomes == [True]
    assert is_freed(taken), "a task that takes it fails"
    cyray.get(gate.send.remote())
    eventually(lambda: cyray.available_resources().get("CPU") == 2)  # its task has ended
    assert_freed(ref)


def test_refs_inside_a_freed_value_let_go_of_their_objects():
    from cyray import _raylet

    before = _raylet.live_objects()
    outer = cyray.put([cyray.put(i) for i in range(10)])
    assert _raylet.live_objects() == before + 11
    free([outer])
    eventually(lambda: _raylet.live_objects() == before + 1)
    assert_freed(outer)


def test_local_only_frees_for_good_what_no_other_node_has():
    small, large = cyray.put(1), cyray.put(np.ones(MIB))
    free([small, large], local_only=True)
    assert cyray.get(small) == 1
    assert_freed(large)


@pytest.mark.parametrize("wrong", [1, None, [1], "ref", [None]])
def test_what_is_no_ref_is_refused(wrong):
    with pytest.raises(TypeError, match="free\\(\\) takes ObjectRefs"):
        free(wrong)
    free([])


def test_old_programs_find_it_where_it_was():
    from cyray._private import internal_api

    assert cyray.internal.free is internal_api.free is free
