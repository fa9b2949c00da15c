"""An object lives as long as anybody holds a ref to it, wherever, and no longer."""

from __future__ import annotations

import gc
import os
import signal

import numpy as np
import pytest
from remote_code import Keeper
from support import Gate, eventually, is_running, store_used_bytes

import cyray
from cyray import _raylet

pytestmark = pytest.mark.usefixtures("shared_session")

BIG = 2_200_000  # floats: too large for the blocks that processes keep at hand


def live():
    gc.collect()
    return _raylet.live_objects()


@pytest.fixture
def settled():
    """How many objects this process knows before the test; the same must be left after it."""

    @cyray.remote
    def warm():
        return 1

    cyray.get([warm.remote() for _ in range(4)])
    before = live()
    eventually(lambda: store_used_bytes() < 8 * BIG)
    used = store_used_bytes() + 4 * BIG
    yield before
    eventually(lambda: live() <= before, what=f"{before} live objects again")
    eventually(lambda: store_used_bytes() <= used, what=f"{used} bytes in the store again")


def test_the_last_ref_frees_small_and_large_objects(settled):
    used = store_used_bytes()
    small, large = cyray.put([1, 2]), cyray.put(np.zeros(BIG))
    assert live() == settled + 2
    assert store_used_bytes() >= used + 8 * BIG
    again = large
    del small, large
    assert live() == settled + 1
    assert store_used_bytes() >= used + 8 * BIG
    del again
    eventually(lambda: store_used_bytes() <= used + 4 * BIG)


def test_results_are_freed(settled):
    @cyray.remote
    def make(n):
        return np.zeros(n)

    refs = [make.remote(10), make.remote(BIG), make.remote(BIG)]
    cyray.get(refs)
    del refs


def test_results_that_nobody_waited_for_are_freed(settled):
    @cyray.remote
    def make():
        return np.zeros(BIG)

    for _ in range(10):
        make.remote()


@pytest.mark.parametrize("caller_is", ["an actor", "a task"])
def test_a_result_that_its_caller_did_not_live_to_see_is_freed(settled, tmp_path, caller_is):
    gate = Gate(tmp_path)

    @cyray.remote
    class Maker:
        def make(self, path):
            open(path).close()
            return np.zeros(BIG), np.ones(BIG), 1

        def ping(self):
            return 1

    def call(maker, path):
        maker.make.options(num_returns=3).remote(path)
        return os.getpid()

    maker = Maker.remote()
    cyray.get(maker.ping.remote())
    used = store_used_bytes()
    if caller_is == "an actor":
        caller = cyray.remote(Caller).remote()
        pid = cyray.get(caller.call.remote(call, maker, gate.path))
        cyray.kill(caller)
    else:
        pid = cyray.get(cyray.remote(call).remote(maker, gate.path))
        os.kill(pid, signal.SIGKILL)
    eventually(lambda: not is_running(pid))
    gate.open()
    cyray.get(maker.ping.remote())
    eventually(lambda: store_used_bytes() <= used + 4 * BIG, what="the results are freed")
    gate.close()


class Caller:
    def call(self, function, *args):
        return function(*args)


def test_several_returns_are_freed_one_by_one(settled):
    @cyray.remote(num_returns=2)
    def make():
        return np.zeros(BIG), np.ones(BIG)

    first, second = make.remote()
    cyray.get([first, second])
    used = store_used_bytes()
    del first
    eventually(lambda: store_used_bytes() <= used - 8 * BIG)
    assert cyray.get(second)[0] == 1


def test_arguments_live_until_the_task_is_done(settled):
    from cyray.test_utils import SignalActor

    signal = SignalActor.remote()

    @cyray.remote
    def use(_, array):
        return float(array.sum())

    result = use.remote(signal.wait.remote(), cyray.put(np.ones(BIG)))
    gc.collect()
    cyray.get(signal.send.remote())
    assert cyray.get(result) == BIG


def test_refs_inside_an_object_keep_what_they_name(settled):
    outer = cyray.put({"list": [cyray.put(np.full(BIG, 3.0))]})
    gc.collect()
    inner = cyray.get(outer)["list"][0]
    del outer
    gc.collect()
    assert cyray.get(inner)[5] == 3.0


def test_refs_nested_three_deep(settled):
    ref = cyray.put(np.full(BIG, 4.0))
    for _ in range(3):
        ref = cyray.put([ref])
    for _ in range(3):
        (ref,) = cyray.get(ref)
    assert cyray.get(ref)[0] == 4.0


def test_a_task_returns_refs_that_it_made(settled):
    @cyray.remote
    def make():
        return [cyray.put(np.full(BIG, float(i))) for i in range(3)]

    refs = cyray.get(make.remote())
    gc.collect()
    assert [cyray.get(ref)[0] for ref in refs] == [0.0, 1.0, 2.0]


def test_a_task_returns_a_ref_that_it_was_given(settled):
    @cyray.remote
    def give_back(refs):
        return refs

    (ref,) = cyray.get(give_back.remote([cyray.put(np.full(BIG, 6.0))]))
    gc.collect()
    assert cyray.get(ref)[0] == 6.0


def test_a_task_returns_refs_of_its_own_tasks(settled):
    @cyray.remote
    def inner(i):
        return np.full(BIG, float(i))

    @cyray.remote
    def outer():
        return [inner.remote(i) for i in range(2)]

    refs = cyray.get(outer.remote())
    assert [float(cyray.get(ref)[0]) for ref in refs] == [0.0, 1.0]


def test_an_actor_holds_refs_that_it_was_given(settled):
    keeper = Keeper.remote()
    used = store_used_bytes()
    cyray.get(keeper.keep.remote([cyray.put(np.full(BIG, 8.0))]))
    gc.collect()
    assert cyray.get(keeper.read.remote()) == 8.0
    assert store_used_bytes() >= used + 8 * BIG
    cyray.get(keeper.drop.remote())
    eventually(lambda: store_used_bytes() <= used + 4 * BIG)


def test_an_actor_holds_refs_of_its_constructor(settled):
    keeper = Keeper.remote([cyray.put(np.full(BIG, 9.0))])
    gc.collect()
    assert cyray.get(keeper.read.remote()) == 9.0


def test_a_dead_actor_holds_nothing(settled):
    keeper = Keeper.remote()
    cyray.get(keeper.keep.remote([cyray.put(np.zeros(BIG))]))
    cyray.kill(keeper)


def test_a_third_process_passes_a_ref_on(settled):
    @cyray.remote
    def pass_on(keeper, refs):
        cyray.get(keeper.keep.remote(refs))

    keeper = Keeper.remote()
    cyray.get(pass_on.remote(keeper, [cyray.put(np.full(BIG, 5.0))]))
    gc.collect()
    assert cyray.get(keeper.read.remote()) == 5.0


class Maker:
    def make(self):
        return [cyray.put([cyray.put(np.ones(BIG))])]

    def pass_by(self):
        return None


class FetchesWhileUnpickled:
    def __init__(self, maker):
        self.maker = maker

    def __setstate__(self, state):
        self.maker = state["maker"]
        (outer,) = cyray.get(self.maker.make.remote(), timeout=20)
        (self.ref,) = cyray.get(outer, timeout=20)


def test_a_ref_that_an_argument_fetches_while_it_is_unpickled_is_no_argument(settled):
    @cyray.remote
    def use(fetched):
        for _ in range(20):  # what the maker is told of its lists comes before these
            cyray.get(fetched.maker.pass_by.remote(), timeout=20)
        return cyray.get(fetched.ref, timeout=20).sum()

    maker = cyray.remote(Maker).remote()
    assert cyray.get(use.remote(FetchesWhileUnpickled(maker)), timeout=40) == BIG


def test_refs_go_around_between_actors(settled):
    actors = [Keeper.remote() for _ in range(3)]
    cyray.get(actors[0].keep.remote([cyray.put(np.full(BIG, 2.0))]))
    gc.collect()
    for i in range(6):
        cyray.get(actors[i % 3].hand_on.remote(actors[(i + 1) % 3]))
    assert cyray.get(actors[0].read.remote()) == 2.0


def test_an_object_whose_owner_died_says_so(settled):
    @cyray.remote
    class Owner:
        def make(self):
            return [cyray.put([1, 2, 3])]

        def pid(self):
            return os.getpid()

    owner = Owner.remote()
    (ref,) = cyray.get(owner.make.remote())
    cyray.kill(owner)
    with pytest.raises(
        (cyray.exceptions.OwnerDiedError, cyray.exceptions.ObjectLostError), match="own"
    ):
        # The value may have been asked for in time; then there is none to ask for any more.
        eventually(lambda: cyray.get(ref, timeout=5) is None, timeout=5)


def test_an_idle_worker_stays_as_long_as_somebody_uses_what_it_owns(settled, tmp_path):
    gate = Gate(tmp_path)
    folder = tmp_path / "waiting"
    folder.mkdir()

    @cyray.remote(num_cpus=0)
    def work(owns):
        (folder / str(os.getpid())).touch()
        open(gate_path).close()  # so each has a worker of its own
        return os.getpid(), [cyray.put("mine")] if owns else []

    gate_path = gate.path
    cpus = int(cyray.cluster_resources()["CPU"])
    count = cpus + 4
    results = [work.remote(number <= cpus) for number in range(count)]
    eventually(lambda: len(list(folder.iterdir())) == count, 30, "all are at the gate")
    gate.open()
    owners, others = {}, []
    for pid, refs in cyray.get(results, timeout=30):
        if refs:
            owners[pid] = refs[0]
        else:
            others.append(pid)
    gate.close()
    assert len(owners) == cpus + 1, "more than may stay idle"
    del results, refs
    eventually(lambda: not any(map(is_running, others)), 30, "those that own nothing have left")
    assert cyray.get(list(owners.values()), timeout=10) == ["mine"] * len(owners)
    pids = list(owners)
    owners.clear()
    eventually(lambda: not all(map(is_running, pids)), 30, "an owner of nothing leaves, too")


@pytest.mark.parametrize("end", ["kill", "restart", "kill at once"])
def test_a_worker_that_owns_what_is_used_becomes_no_actor(settled, end):
    @cyray.remote(num_cpus=cyray.cluster_resources()["CPU"])
    def own():
        return os.getpid(), cyray.put("mine")

    @cyray.remote(num_cpus=0, max_restarts=1)
    class Actor:
        def pid(self):
            return os.getpid()

    owners, refs = zip(*cyray.get([own.remote() for _ in range(3)]), strict=True)
    for _ in range(4):
        actor = Actor.remote()
        if end != "kill at once":
            pid = cyray.get(actor.pid.remote())
            assert pid not in owners
            cyray.kill(actor, no_restart=end == "kill")
        if end == "restart":
            again = await_restart(actor, pid)
            assert again not in owners
        cyray.kill(actor)
        await_death(actor)
    assert cyray.get(list(refs)) == ["mine"] * 3


def await_death(actor):
    """A kill returns when it is decided; until it strikes, the actor answers."""

    def is_dead():
        try:
            cyray.get(actor.pid.remote(), timeout=20)
        except cyray.exceptions.ActorDiedError:
            return True
        return False

    eventually(is_dead, 20, "the actor is dead")


def await_restart(actor, before):
    """The pid of the process that the actor has after the one `before`."""

    def pid():
        try:
            found = cyray.get(actor.pid.remote(), timeout=20)
        except cyray.exceptions.ActorUnavailableError:
            return None
        return found if found != before else None

    return eventually(pid)


def test_ten_thousand_objects_come_and_go(settled):
    refs = [cyray.put(i) for i in range(10_000)]
    assert live() >= settled + 10_000
    del refs


def test_failed_tasks_free_their_arguments(settled):
    @cyray.remote
    def fail(array):
        raise ValueError("no")

    used = store_used_bytes()
    ref = fail.remote(cyray.put(np.zeros(BIG)))
    try:
        cyray.get(ref)
    except ValueError:
        pass
    del ref
    eventually(lambda: store_used_bytes() <= used + 4 * BIG)


def test_a_big_pipeline_needs_little_memory(settled):
    """Each step's input is freed when the step is done: 50 times 18 MB pass through the store."""

    @cyray.remote
    def step(array):
        return array + 1

    used = store_used_bytes()
    ref = cyray.put(np.zeros(BIG))
    for _ in range(50):
        ref = step.remote(ref)
    assert cyray.get(ref)[0] == 50
    eventually(lambda: store_used_bytes() <= used + 12 * BIG)


class NoPickle:
    def __reduce__(self):
        raise TypeError("this cannot be pickled")


def test_a_call_that_cannot_be_sent_keeps_nothing(settled):
    @cyray.remote
    def f(*args, **kwargs):
        return 1

    @cyray.remote
    class Taker:
        def take(self, *args, **kwargs):
            return 1

    actor = Taker.remote()
    for call in (f.remote, actor.take.remote):
        ref = cyray.put(np.zeros(BIG))
        with pytest.raises(TypeError, match="cannot be pickled"):
            call([ref], ref, np.zeros(BIG), key={"ref": ref}, last=NoPickle())


def test_results_that_cannot_be_sent_as_a_whole_keep_nothing(settled):
    @cyray.remote(num_returns=3)
    def f():
        return np.zeros(BIG), [cyray.put(np.zeros(BIG))], NoPickle()

    for ref in f.remote():
        with pytest.raises(TypeError, match="cannot be pickled"):
            cyray.get(ref)


def test_results_that_do_not_all_fit_keep_nothing(settled):
    too_large = int(cyray.cluster_resources()["object_store_memory"]) + 1

    @cyray.remote(num_returns=3)
    def f():
        return np.zeros(BIG), [cyray.put(np.zeros(BIG))], np.zeros(too_large, dtype=np.uint8)

    for ref in f.remote():
        with pytest.raises(cyray.exceptions.ObjectStoreFullError):
            cyray.get(ref)
