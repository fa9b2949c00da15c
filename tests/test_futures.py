"""Refs as futures: `await`, `.future()`, `.as_future()`, in drivers, tasks, actors and threads."""

from __future__ import annotations

import asyncio
import concurrent.futures
import gc
import sys
import threading
import weakref

import numpy as np
import pytest
from support import eventually

import cyray
from cyray import _raylet
from cyray.test_utils import SignalActor

pytestmark = pytest.mark.usefixtures("shared_session")


@cyray.remote(num_cpus=0)
def double(x):
    return 2 * x


@cyray.remote(num_cpus=0)
def fill(number):
    return np.full(1 << 20, number, dtype=np.uint8)


@cyray.remote(num_cpus=0)
def fail():
    raise KeyError("the task's")


async def await_several():
    first = await double.remote(1)
    rest = await asyncio.gather(double.remote(2), double.remote(3).as_future())
    late = await asyncio.wait_for(double.remote(4), timeout=20)
    wrapped = await asyncio.wrap_future(double.remote(5).future())
    return [first, *rest, late, wrapped]


def test_refs_are_awaited_in_every_way():
    assert asyncio.run(await_several()) == [2, 4, 6, 8, 10]


def test_a_callback_that_exits_costs_nobody_else_an_event(capfd):
    done = fail.remote().future()
    done.add_done_callback(lambda _: sys.exit(1))
    assert double.remote(3).future().result(timeout=20) == 6
    assert double.remote(4).future().result(timeout=20) == 8


def test_a_failed_task_raises_where_it_is_awaited():
    async def main():
        with pytest.raises(KeyError, match="the task's"):
            await fail.remote()
        results = await asyncio.gather(fail.remote(), double.remote(1), return_exceptions=True)
        return isinstance(results[0], KeyError), results[1]

    assert asyncio.run(main()) == (True, 2)
    with pytest.raises(KeyError):
        fail.remote().future().result(timeout=20)


def test_what_was_awaited_and_is_not_kept_goes_at_once():
    """Without the help of the collector of cycles."""
    freed = []

    async def main():
        for ref in (cyray.put(np.zeros(1 << 20, dtype=np.uint8)), fill.remote(7)):
            value = await ref
            weakref.finalize(value, freed.append, len(value))
            del value
            await asyncio.sleep(0)

    gc.collect()
    gc.disable()
    try:
        asyncio.run(main())
        assert freed == [1 << 20, 1 << 20]
    finally:
        gc.enable()


def test_awaits_that_were_given_up_leave_nothing_behind():
    signal = SignalActor.remote()
    ref = signal.wait.remote()
    before = sys.getrefcount(ref)

    async def main():
        for _ in range(20):
            with pytest.raises(asyncio.TimeoutError):
                await asyncio.wait_for(ref, timeout=0.001)
        task = asyncio.ensure_future(asyncio.shield(ref.as_future()))
        await asyncio.sleep(0)
        kept = sys.getrefcount(ref)
        task.cancel()
        return kept

    assert asyncio.run(main()) > before
    for _ in range(20):
        assert ref.future().cancel()
    # The one that was shielded is cancelled with its loop.
    eventually(lambda: sys.getrefcount(ref) <= before + 3)
    cyray.get(signal.send.remote())
    assert cyray.get(ref) is None
    eventually(lambda: gc.collect() is not None and sys.getrefcount(ref) == before)


def test_an_awaited_ref_can_time_out_and_be_awaited_again():
    signal = SignalActor.remote()

    async def main():
        ref = signal.wait.remote()
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(ref, timeout=0.02)
        await signal.send.remote()
        return await ref

    assert asyncio.run(main()) is None


def test_futures_are_those_of_the_standard_library():
    futures = [double.remote(i).future() for i in range(20)]
    done = concurrent.futures.wait(futures, timeout=20).done
    assert sorted(future.result() for future in done) == [2 * i for i in range(20)]
    seen = []
    future = double.remote(50).future()
    called = threading.Event()
    future.add_done_callback(lambda future: (seen.append(future.result()), called.set()))
    assert called.wait(20) and seen == [100]


def test_a_future_that_was_cancelled_is_left_alone(capsys):
    signal = SignalActor.remote()
    future = signal.wait.remote().future()
    assert future.cancel()
    cyray.get(signal.send.remote())
    assert double.remote(1).future().result(timeout=20) == 2  # the same thread completes both
    assert future.cancelled()
    assert "lost" not in capsys.readouterr().err


def test_a_future_that_is_done_keeps_the_value_and_not_the_object():
    @cyray.remote
    def fails():
        raise ValueError("on purpose")

    gc.collect()
    before = _raylet.live_objects()
    done, failed = double.remote(3).future(), fails.remote().future()
    cancelled = cyray.put(b"x").future()
    assert done.result(timeout=20) == 6
    assert isinstance(failed.exception(timeout=20), ValueError)
    if not cancelled.cancel():
        cancelled.result(timeout=20)
    # What the thread of events has in its hands goes a moment later.
    eventually(lambda: _raylet.live_objects() <= before, 20, "the objects have gone")
    assert done.result() == 6
    with pytest.raises(ValueError, match="on purpose"):
        failed.result()


def test_a_task_waits_for_a_future():
    @cyray.remote
    def waits():
        return double.remote(4).future().result(timeout=20)

    assert cyray.get(waits.remote(), timeout=30) == 8


def test_a_task_that_waits_for_a_future_lets_others_use_its_cpus():
    @cyray.remote
    def needs_a_cpu(x):
        return 2 * x

    @cyray.remote(num_cpus=2)
    def has_them_all(x, what):
        future = needs_a_cpu.remote(x).future()
        return getattr(future, what)(timeout=20)

    assert cyray.get(has_them_all.remote(4, "result"), timeout=30) == 8
    assert cyray.get(has_them_all.remote(4, "exception"), timeout=30) is None


def test_a_future_in_a_task_times_out():
    @cyray.remote
    def waits(signal):
        with pytest.raises(concurrent.futures.TimeoutError):
            signal.wait.remote().future().result(timeout=0.02)

    cyray.get(waits.remote(SignalActor.remote()), timeout=30)


def test_a_task_runs_an_event_loop_of_its_own():
    @cyray.remote
    def loops():
        return asyncio.run(await_several())

    assert cyray.get([loops.remote() for _ in range(3)], timeout=30) == [[2, 4, 6, 8, 10]] * 3


def test_methods_and_threads_of_actors_wait_for_futures():
    @cyray.remote
    class Plain:
        def wait(self, x):
            return double.remote(x).future().result(timeout=20)

        def in_a_thread(self, x):
            with concurrent.futures.ThreadPoolExecutor() as pool:
                return pool.submit(self.wait, x).result(timeout=20)

    @cyray.remote
    class Async:
        async def in_a_thread(self, x):
            return await asyncio.to_thread(double.remote(x).future().result, 20)

        async def own_loop_in_a_thread(self):
            return await asyncio.to_thread(asyncio.run, await_several())

        def blocks(self, x):
            return double.remote(x).future().result(timeout=20)

    plain, threaded = Plain.remote(), Plain.options(max_concurrency=3).remote()
    refs = [actor.wait.remote(i) for i in range(5) for actor in (plain, threaded)]
    assert cyray.get(refs, timeout=30) == [2 * i for i in range(5) for _ in range(2)]
    assert cyray.get([plain.in_a_thread.remote(4), threaded.in_a_thread.remote(5)]) == [8, 10]
    actor = Async.remote()
    assert cyray.get([actor.in_a_thread.remote(i) for i in range(5)], timeout=30) == [0, 2, 4, 6, 8]
    assert cyray.get(actor.own_loop_in_a_thread.remote(), timeout=30) == [2, 4, 6, 8, 10]
    assert cyray.get(actor.blocks.remote(3), timeout=30) == 6


def test_a_get_in_a_coroutine_blocks_and_comes_back():
    @cyray.remote
    class Async:
        async def get(self, x):
            return cyray.get(double.remote(x))

    actor = Async.remote()
    assert cyray.get([actor.get.remote(i) for i in range(20)], timeout=30) == [
        2 * i for i in range(20)
    ]
