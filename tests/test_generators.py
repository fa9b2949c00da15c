"""Streaming generators: items while the task runs, errors, back-pressure, retries, and their end."""

from __future__ import annotations

import asyncio
import os
import signal
import time

import numpy as np
import pytest
from support import eventually, is_running

import cyray
from cyray import ObjectRefGenerator
from cyray.exceptions import (
    ActorDiedError,
    GetTimeoutError,
    RayError,
    RayTaskError,
    TaskCancelledError,
    WorkerCrashedError,
)

pytestmark = pytest.mark.usefixtures("shared_session")


def functions():
    # Local, so that they travel by value: workers need not import this file.
    @cyray.remote
    def count(n):
        yield from range(n)

    @cyray.remote(num_cpus=0)
    def noted(path, n, pause=0.0):
        try:
            for i in range(n):
                with open(path, "a") as file:
                    file.write(f"{i}\n")
                yield i
                time.sleep(pause)
        finally:
            open(f"{path}.ended", "w").close()

    return count, noted


count, noted = functions()


def lines(path):
    return len(path.read_text().splitlines()) if path.exists() else 0


def ends_early(path, n):
    """The producer is over, and has not made all."""
    eventually(lambda: os.path.exists(f"{path}.ended"), 20, "the producer ends")
    assert lines(path) < n


def stays_ahead(refs, path, n, most, value=lambda i: i, first=0):
    """Takes the rest of the `n` items; the producer was never more than `most` ahead of that."""
    for i in range(first, n):
        assert lines(path) <= i + most
        assert int(np.max(cyray.get(next(refs)))) == value(i)
    assert list(refs) == []


# --- Items ----------------------------------------------------------------------------------------


def test_refs_come_in_order_and_end():
    refs = count.remote(1000)
    assert type(refs) is ObjectRefGenerator
    assert iter(refs) is refs
    assert cyray.get(refs) is refs
    assert [cyray.get(ref) for ref in refs] == list(range(1000))
    assert next(refs, "end") == "end"
    assert refs.is_finished()
    assert cyray.get(refs.completed()) is None


def test_nothing_yielded_is_an_end_at_once():
    assert list(count.remote(0)) == []


def test_items_come_while_the_task_runs(gate):
    @cyray.remote
    def two(gate):
        yield "first"
        open(gate).close()
        yield "second"

    refs = two.remote(gate.path)
    assert cyray.get(next(refs)) == "first"
    assert not refs.next_ready()
    assert not refs.is_finished()
    assert cyray.wait([refs, refs.completed()], timeout=0.1) == ([], [refs, refs.completed()])
    gate.open()
    assert cyray.wait([refs], timeout=20) == ([refs], [])
    assert cyray.get(next(refs)) == "second"
    assert list(refs) == []
    assert cyray.wait([refs], timeout=20) == ([refs], []), "next would not wait"


@pytest.mark.parametrize("size", [10, 200_000])
def test_whatever_can_be_iterated_is_yielded(size):
    class Countdown:
        def __init__(self, n):
            self.n = n

        def __iter__(self):
            return self

        def __next__(self):
            if self.n == 0:
                raise StopIteration
            self.n -= 1
            return np.full(size, self.n)

    @cyray.remote(num_returns="streaming")
    def arrays(n, what):
        return Countdown(n) if what == "iterator" else [np.full(size, i) for i in range(n)]

    values = [int(cyray.get(ref)[-1]) for ref in arrays.remote(20, "iterator")]
    assert values == list(range(19, -1, -1))
    assert [int(cyray.get(ref)[0]) for ref in arrays.remote(20, "list")] == list(range(20))
    refs = cyray.remote(num_returns="streaming")(lambda: 7).remote()
    with pytest.raises(TypeError, match=r"is to yield its results, and returned int"):
        cyray.get(next(refs))


def test_refs_inside_items_live():
    @cyray.remote
    def holders(n):
        for i in range(n):
            yield [cyray.put(np.full(50_000, i)), i]

    got = [cyray.get(ref) for ref in holders.remote(5)]
    assert [int(cyray.get(inner)[0]) for inner, _ in got] == [0, 1, 2, 3, 4]


def test_items_are_arguments_before_they_are_there(tmp_path):
    @cyray.remote
    def double(x):
        return 2 * x

    refs = noted.remote(str(tmp_path / "it"), 5, 0.05)
    doubled = [double.remote(ref) for ref in refs]
    assert cyray.get(doubled) == [0, 2, 4, 6, 8]


def test_a_task_consumes_what_it_called():
    @cyray.remote
    def total(n):
        return sum(cyray.get(ref) for ref in count.remote(n))

    @cyray.remote
    def relays(n):
        for ref in count.remote(n):
            yield cyray.get(ref) + 1

    assert cyray.get(total.remote(100)) == 4950
    assert [cyray.get(ref) for ref in relays.remote(4)] == [1, 2, 3, 4]


def test_async_for():
    async def collect():
        return [await ref async for ref in count.remote(50)]

    assert asyncio.run(collect()) == list(range(50))

    async def gives_up(refs):
        return await asyncio.wait_for(anext(refs), 0.1)

    never = cyray.remote(num_cpus=0)(lambda: time.sleep(60))
    refs = never.options(num_returns="streaming").remote()
    with pytest.raises((TimeoutError, asyncio.TimeoutError)):
        asyncio.run(gives_up(refs))
    cyray.cancel(refs)
    with pytest.raises(TaskCancelledError):
        cyray.get(next(refs))


def test_dynamic_ones_are_one_ref_to_all():
    @cyray.remote(num_returns="dynamic")
    def parts(n, fail=False):
        for i in range(n):
            yield np.full(30_000, i) if i % 2 else i
        if fail:
            raise KeyError("after all")

    ref = parts.remote(4)
    assert type(ref) is cyray.ObjectRef
    refs = list(cyray.get(ref))
    assert [int(np.max(cyray.get(one))) for one in refs] == [0, 1, 2, 3]
    del ref
    assert cyray.get(refs[0]) == 0

    @cyray.remote
    def consumes(refs):
        return [int(np.max(cyray.get(one))) for one in refs]

    assert cyray.get(consumes.remote(parts.remote(3))) == [0, 1, 2]
    *_, last = cyray.get(parts.remote(2, fail=True))
    with pytest.raises(KeyError):
        cyray.get(last)


# --- Errors ---------------------------------------------------------------------------------------


def test_an_error_is_the_last_item():
    @cyray.remote
    def breaks():
        yield 1
        raise KeyError("in the middle")

    refs = breaks.remote()
    first, last = list(refs)
    assert cyray.get(first) == 1
    with pytest.raises(KeyError, match="in the middle"):
        cyray.get(last)
    with pytest.raises(KeyError):
        cyray.get(refs.completed())


def test_what_cannot_be_pickled_is_an_error_in_its_place():
    @cyray.remote
    def locks():
        import threading

        yield 1
        yield threading.Lock()
        yield 3

    first, last = list(locks.remote())
    assert cyray.get(first) == 1
    with pytest.raises(RayTaskError, match="pickle"):
        cyray.get(last)


def test_with_a_number_of_returns_what_came_before_an_error_is_kept_and_a_surplus_ignored():
    @cyray.remote(num_returns=3)
    def yields(n, fail):
        for i in range(n):
            yield np.full(30_000, i) if i == 1 else i
        if fail:
            raise KeyError("after it")

    def values(refs):
        out = []
        for ref in refs:
            try:
                out.append(int(np.max(cyray.get(ref))))
            except (KeyError, ValueError) as error:
                out.append(type(error.cause if hasattr(error, "cause") else error).__name__)
        return out

    assert values(yields.remote(3, False)) == [0, 1, 2]
    assert values(yields.remote(10, True)) == [0, 1, 2]
    assert values(yields.remote(2, True)) == [0, 1, "KeyError"]
    assert values(yields.remote(2, False)) == [0, 1, "ValueError"]
    assert values(yields.remote(0, True)) == ["KeyError"] * 3


@pytest.mark.parametrize("how", ["dies", "raises"])
@pytest.mark.parametrize("size", [1, 30_000])
def test_one_that_is_tried_again_makes_no_item_twice(tmp_path, how, size):
    @cyray.remote(max_retries=3, retry_exceptions=True)
    def unlucky(folder, how):
        for i in range(30):
            marker = os.path.join(folder, f"{i}")
            if i % 10 == 9 and not os.path.exists(marker):
                open(marker, "w").close()
                if how == "raises":
                    raise RuntimeError("again")
                os.kill(os.getpid(), signal.SIGKILL)
            yield np.full(size, i)

    values = [int(cyray.get(ref)[0]) for ref in unlucky.remote(str(tmp_path), how)]
    assert values == list(range(30))


def test_one_that_dies_for_good_keeps_what_it_yielded(gate):
    @cyray.remote(max_retries=0)
    def dies(gate):
        yield 1
        yield 2
        open(gate).close()
        os.kill(os.getpid(), signal.SIGKILL)

    refs = dies.remote(gate.path)
    assert [cyray.get(next(refs)) for _ in range(2)] == [1, 2]
    gate.open()
    with pytest.raises(WorkerCrashedError):
        cyray.get(next(refs))
    assert list(refs) == []


# --- Back-pressure and the end --------------------------------------------------------------------


def test_the_producer_waits_for_its_consumer_by_items(tmp_path):
    path = tmp_path / "it"
    refs = noted.options(_generator_backpressure_num_objects=4).remote(str(path), 100)
    eventually(lambda: lines(path) == 4, 20, "it gets ahead")
    stays_ahead(refs, path, 100, 4)
    one = noted.options(_generator_backpressure_num_objects=1).remote(str(tmp_path / "one"), 50)
    stays_ahead(one, tmp_path / "one", 50, 1)
    for wrong in (0, -2):
        with pytest.raises(ValueError, match="_generator_backpressure_num_objects"):
            noted.options(_generator_backpressure_num_objects=wrong)


def test_the_producer_waits_for_its_consumer_by_bytes(tmp_path):
    @cyray.remote
    def large(path, n):
        for i in range(n):
            with open(path, "a") as file:
                file.write(f"{i}\n")
            yield np.full(1_000_000, i % 256, dtype=np.uint8)

    path = tmp_path / "it"
    refs = large.remote(str(path), 300)
    # One CPU of two is lent while it waits: others run.
    assert cyray.get(cyray.remote(num_cpus=2)(lambda: 1).remote(), timeout=20) == 1
    assert lines(path) >= 2
    stays_ahead(refs, path, 300, 70, value=lambda i: i % 256)


def test_who_drops_it_ends_it(tmp_path):
    path = tmp_path / "it"
    refs = noted.remote(str(path), 10_000, 0.005)
    kept = next(refs)
    del refs
    ends_early(path, 10_000)
    assert cyray.get(kept) == 0
    waits = noted.options(_generator_backpressure_num_objects=2).remote(str(tmp_path / "b"), 100)
    eventually(lambda: lines(tmp_path / "b") == 2, 20, "it gets ahead")
    del waits
    ends_early(tmp_path / "b", 100)


def test_close_ends_it(tmp_path):
    refs = noted.remote(str(tmp_path / "it"), 10_000, 0.005)
    next(refs)
    refs.close()
    assert list(refs) == []
    ends_early(tmp_path / "it", 10_000)
    refs.close()
    for what in (refs.send, refs.throw):
        with pytest.raises(NotImplementedError, match="another process"):
            what(None)


def test_cancel_is_its_last_item(tmp_path):
    refs = noted.remote(str(tmp_path / "it"), 10_000, 0.005)
    next(refs)
    cyray.cancel(refs)
    rest = list(refs)
    with pytest.raises(TaskCancelledError):
        cyray.get(rest[-1])
    with pytest.raises(TaskCancelledError):
        cyray.get(refs.completed())
    queued = count.options(resources={"nowhere": 1}).remote(3)
    cyray.cancel(queued)
    with pytest.raises(TaskCancelledError):
        cyray.get(next(queued))
    assert list(queued) == []


def test_one_thread_waits_and_another_looks(tmp_path):
    refs = noted.remote(str(tmp_path / "it"), 3, 0.05)
    assert [cyray.get(ref) for ref in refs] == [0, 1, 2]
    slow = (
        cyray.remote(num_cpus=0)(lambda: time.sleep(60)).options(num_returns="streaming").remote()
    )
    with pytest.raises(GetTimeoutError):
        cyray.get(slow.completed(), timeout=0.1)
    cyray.cancel(slow)


# --- Methods --------------------------------------------------------------------------------------


@pytest.fixture(params=["plain", "threads", "async"])
def producer(request):
    class Producer:
        def __init__(self):
            self.made = 0

        def items(self, n, pause=0.0):
            for i in range(n):
                self.made += 1
                yield i
                time.sleep(pause)

        def count(self):
            return self.made

    class Async(Producer):
        async def items(self, n, pause=0.0):
            for i in range(n):
                self.made += 1
                yield i
                await asyncio.sleep(pause)

        async def listed(self, n):
            return [i async for i in self.items(n)]

    made = {
        "plain": lambda: cyray.remote(Producer).remote(),
        "threads": lambda: cyray.remote(max_concurrency=3)(Producer).remote(),
        "async": lambda: cyray.remote(Async).remote(),
    }[request.param]()
    yield request.param, made
    cyray.kill(made)


def test_methods_yield(producer):
    kind, actor = producer
    assert [cyray.get(ref) for ref in actor.items.remote(500)] == list(range(500))
    pair = actor.items.options(num_returns=2).remote(2)
    assert cyray.get(pair) == [0, 1]
    streams = [actor.items.remote(20) for _ in range(3)]
    assert [[cyray.get(ref) for ref in refs] for refs in streams] == [list(range(20))] * 3
    if kind == "async":
        refs = actor.listed.options(num_returns="streaming").remote(4)
        assert [cyray.get(ref) for ref in refs] == [0, 1, 2, 3]


def test_methods_wait_for_their_consumers_and_end_with_them(producer):
    kind, actor = producer
    refs = actor.items.options(_generator_backpressure_num_objects=3).remote(1000)
    assert cyray.get(next(refs)) == 0
    if kind != "plain":  # others run meanwhile
        eventually(lambda: cyray.get(actor.count.remote()) >= 3, 20, "it goes on")
        assert cyray.get(actor.count.remote(), timeout=20) <= 6
    assert [cyray.get(next(refs)) for _ in range(5)] == [1, 2, 3, 4, 5]
    del refs
    assert cyray.get(actor.count.remote(), timeout=20) <= 12
    whole = actor.items.options(_generator_backpressure_num_objects=3).remote(200)
    assert [cyray.get(ref) for ref in whole] == list(range(200))
    assert [cyray.get(ref) for ref in actor.items.remote(3)] == [0, 1, 2]


def test_a_method_that_is_cancelled_ends_between_two_items(producer):
    _, actor = producer
    refs = actor.items.remote(100_000, 0.002)
    next(refs)
    cyray.cancel(refs)
    *_, last = refs
    with pytest.raises(TaskCancelledError):
        cyray.get(last)
    assert cyray.get(actor.count.remote(), timeout=20) < 100_000


def test_an_actor_that_dies_keeps_what_it_yielded():
    @cyray.remote
    class Mortal:
        def items(self):
            yield 1
            time.sleep(60)

    actor = Mortal.remote()
    refs = actor.items.remote()
    assert cyray.get(next(refs)) == 1
    cyray.kill(actor)
    with pytest.raises(ActorDiedError):
        cyray.get(next(refs))
    assert list(refs) == []


def test_a_call_that_is_tried_again_makes_no_item_twice(tmp_path):
    @cyray.remote(max_restarts=-1, max_task_retries=-1)
    class Unlucky:
        def items(self, folder):
            for i in range(30):
                marker = os.path.join(folder, f"{i}")
                if i % 10 == 9 and not os.path.exists(marker):
                    open(marker, "w").close()
                    os.kill(os.getpid(), signal.SIGKILL)
                yield i

    actor = Unlucky.remote()
    assert [cyray.get(ref) for ref in actor.items.remote(str(tmp_path))] == list(range(30))
    cyray.kill(actor)


def test_a_plain_generator_on_a_loop_lets_others_run():
    @cyray.remote
    class Service:
        def plain(self, n):
            yield from range(n)

        async def fast(self, n):
            for i in range(n):
                yield i

        async def ping(self):
            return "pong"

    service = Service.remote()
    for method in (service.plain, service.fast):
        refs = method.options(_generator_backpressure_num_objects=2).remote(10)
        assert cyray.get(next(refs)) == 0
        assert cyray.get(service.ping.remote(), timeout=20) == "pong"
        assert [cyray.get(ref) for ref in refs] == list(range(1, 10))
        assert [cyray.get(ref) for ref in method.remote(2000)] == list(range(2000))
    cyray.kill(service)


# --- async def tasks ------------------------------------------------------------------------------


def test_tasks_that_are_async_run_on_a_loop_of_their_own(tmp_path):
    @cyray.remote
    async def add(a, b):
        await asyncio.sleep(0)
        return a + b

    @cyray.remote
    async def ticks(n):
        for i in range(n):
            await asyncio.sleep(0)
            yield i

    @cyray.remote
    async def nested():
        return await add.remote(3, 4)

    @cyray.remote
    async def sleeps(path):
        open(path, "w").close()
        await asyncio.sleep(60)

    assert cyray.get(add.remote(1, 2)) == 3
    assert cyray.get([add.remote(i, 1) for i in range(20)]) == list(range(1, 21))
    assert [cyray.get(ref) for ref in ticks.remote(5)] == [0, 1, 2, 3, 4]
    assert cyray.get(ticks.options(num_returns=2).remote(5)) == [0, 1]
    assert cyray.get(nested.remote()) == 7
    ref = sleeps.remote(str(tmp_path / "it"))
    eventually(lambda: os.path.exists(tmp_path / "it"), 20, "it begins")
    cyray.cancel(ref)
    with pytest.raises(TaskCancelledError):
        cyray.get(ref, timeout=20)


def test_dynamic_ones_wait_for_nobody():
    @cyray.remote(num_returns="dynamic", _generator_backpressure_num_objects=3)
    def parts(n):
        yield from range(n)

    assert cyray.get(list(cyray.get(parts.remote(20), timeout=30))) == list(range(20))


def test_an_async_generator_that_is_cancelled_cleans_up(tmp_path):
    @cyray.remote
    async def ticks(path):
        try:
            yield 1
            await asyncio.sleep(60)
        finally:
            open(path, "w").close()

    refs = ticks.remote(str(tmp_path / "clean"))
    assert cyray.get(next(refs)) == 1
    cyray.cancel(refs)
    with pytest.raises(TaskCancelledError):
        cyray.get(next(refs))
    eventually(lambda: os.path.exists(tmp_path / "clean"), 20, "its finally runs")


def test_inout_is_refused_where_results_come_one_by_one():
    with pytest.raises(ValueError, match="inout of"):
        cyray.remote(inout="x")(lambda x: x).options(num_returns="streaming").remote(1)


# --- Consumers elsewhere --------------------------------------------------------------------------


def test_a_generator_is_given_to_a_task():
    @cyray.remote
    def consumes(refs, most):
        values = []
        for ref in refs:
            values.append(cyray.get(ref))
            if len(values) == most:
                break
        return values

    assert cyray.get(consumes.remote(count.remote(200), 0)) == list(range(200))
    refs = count.remote(20)
    assert cyray.get(next(refs)) == 0
    assert refs.next_ready()
    assert cyray.get(consumes.remote(refs, 5)) == [1, 2, 3, 4, 5], "looking takes nothing"
    assert [cyray.get(ref) for ref in refs] == list(range(6, 20)), "each item goes to one consumer"


def test_who_looks_first_elsewhere_loses_nothing():
    @cyray.remote
    def looks(refs):
        values = []
        while not refs.is_finished():
            refs.next_ready()
            cyray.wait([refs])
            ref = next(refs, None)
            if ref is not None:
                values.append(cyray.get(ref))
        return values

    assert cyray.get(looks.remote(count.remote(50)), timeout=60) == list(range(50))


def test_several_consumers_share_the_items(tmp_path):
    @cyray.remote(num_cpus=0)
    def consumes(box):
        return [cyray.get(ref) for ref in box["refs"]]

    refs = noted.options(_generator_backpressure_num_objects=10).remote(str(tmp_path / "it"), 500)
    shares = cyray.get([consumes.remote({"refs": refs}) for _ in range(3)])
    assert sorted(value for share in shares for value in share) == list(range(500))
    assert all(share == sorted(share) for share in shares)


def test_an_actor_keeps_one_and_ends_it_with_itself(tmp_path):
    @cyray.remote
    class Keeper:
        def keep(self, refs):
            self.refs = refs

        async def first(self, n):
            return [await (await anext(self.refs)) for _ in range(n)]

    path = tmp_path / "it"
    keeper = Keeper.remote()
    cyray.get(keeper.keep.remote(noted.remote(str(path), 10_000, 0.005)))
    assert cyray.get(keeper.first.remote(5)) == [0, 1, 2, 3, 4]
    cyray.kill(keeper)
    ends_early(path, 10_000)


@pytest.mark.parametrize("kind", ["task", "method", "async method"])
def test_a_producer_that_waits_ends_with_its_owner(tmp_path, kind):
    class Producer:
        def items(self, path):
            try:
                while True:
                    yield os.getpid()
            finally:
                open(path, "w").close()

    class Async:
        async def items(self, path):
            try:
                while True:
                    yield os.getpid()
            finally:
                open(path, "w").close()

    @cyray.remote(num_cpus=0)
    class Owner:
        def begin(self, made, path):
            call = getattr(made, "items", made)
            self.refs = call.options(_generator_backpressure_num_objects=2).remote(path)
            return cyray.get(next(self.refs))

    if kind == "task":
        made = cyray.remote(num_cpus=0, num_returns="streaming")(
            lambda path: Producer().items(path)
        )
    else:
        made = cyray.remote(num_cpus=0)(Producer if kind == "method" else Async).remote()
    owner = Owner.remote()
    path = str(tmp_path / "ended")
    pid = cyray.get(owner.begin.remote(made, path))
    assert not os.path.exists(path)
    cyray.kill(owner)
    # A worker that was lent to a process that died is ended with what runs there.
    eventually(lambda: os.path.exists(path) or not is_running(pid), 20, "it ends")
    if kind != "task":
        assert cyray.get(next(made.items.remote(path))) == pid, "its actor lives on"


def test_items_of_an_owner_that_is_gone_are_errors(tmp_path):
    @cyray.remote
    class Owner:
        def begin(self, path):
            return [noted.remote(path, 10_000, 0.005)]

    owner = Owner.remote()
    [refs] = cyray.get(owner.begin.remote(str(tmp_path / "it")))
    assert cyray.get(next(refs)) == 0
    cyray.kill(owner)

    def ends():
        try:
            for ref in refs:
                cyray.get(ref)
        except RayError:
            return True
        return False

    eventually(ends, 20, "its items are errors")
