"""Actors with async methods: many calls at once on one event loop."""

from __future__ import annotations

import asyncio
import contextvars
import os
import signal
import threading

import pytest
from support import eventually, is_running

import cyray
from cyray.exceptions import RayActorError, RayTaskError
from cyray.test_utils import Semaphore, SignalActor

pytestmark = pytest.mark.usefixtures("shared_session")


def test_calls_wait_beside_each_other():
    signal_actor = SignalActor.remote()
    refs = [signal_actor.wait.remote() for _ in range(50)]
    eventually(lambda: cyray.get(signal_actor.cur_num_waiters.remote()) == 50)
    assert cyray.wait(refs, num_returns=1, timeout=0)[0] == []
    cyray.get(signal_actor.send.remote())
    assert cyray.get(refs) == [None] * 50


def test_threads_that_are_left_from_tasks_run_no_calls():
    @cyray.remote(max_concurrency=3)
    def task():
        return os.getpid()

    @cyray.remote(num_cpus=1)
    class Actor:
        async def where(self):
            return os.getpid(), threading.current_thread() is threading.main_thread()

    had_threads: set[int] = set()
    met = False
    for _ in range(20):
        had_threads.update(cyray.get([task.remote() for _ in range(6)]))
        actor = Actor.remote()
        for pid, on_main_thread in cyray.get([actor.where.remote() for _ in range(10)], timeout=20):
            assert on_main_thread
            met = met or pid in had_threads
        cyray.kill(actor)
        if met:
            break
    assert met, "an actor came into a worker that had served tasks"


def test_tasks_wait_for_a_signal_though_there_are_fewer_cpus():
    signal_actor = SignalActor.remote()

    @cyray.remote
    def wait_and_go(signal_actor):
        cyray.get(signal_actor.wait.remote())
        return os.getpid()

    tasks = [wait_and_go.remote(signal_actor) for _ in range(4)]
    eventually(lambda: cyray.get(signal_actor.cur_num_waiters.remote()) == 4, 10)
    cyray.get(signal_actor.send.remote())
    assert len(cyray.get(tasks)) == 4


def test_a_semaphore_counts():
    semaphore = Semaphore.remote(2)
    cyray.get([semaphore.acquire.remote(), semaphore.acquire.remote()])
    assert cyray.get(semaphore.locked.remote())
    third = semaphore.acquire.remote()
    assert cyray.wait([third], timeout=0.05)[0] == []
    cyray.get(semaphore.release.remote())
    assert cyray.get(third)


def test_plain_methods_run_on_the_loop():
    @cyray.remote
    class Mixed:
        def __init__(self):
            self.event = asyncio.Event()
            self.order = []

        async def wait(self):
            await self.event.wait()
            self.order.append("waited")
            return self.order

        def send(self):
            self.order.append("sent")
            self.event.set()

    mixed = Mixed.remote()
    waited = mixed.wait.remote()
    cyray.get(mixed.send.remote())
    assert cyray.get(waited) == ["sent", "waited"]


def test_a_thousand_calls():
    @cyray.remote
    class Echo:
        async def echo(self, x):
            await asyncio.sleep(0)
            return x

    echo = Echo.remote()
    assert cyray.get([echo.echo.remote(i) for i in range(1000)]) == list(range(1000))


def test_as_many_at_once_as_allowed():
    @cyray.remote(max_concurrency=3)
    class Limited:
        def __init__(self):
            self.running = self.most = 0
            self.full = asyncio.Event()

        async def work(self):
            self.running += 1
            self.most = max(self.most, self.running)
            if self.running == 3:
                self.full.set()
            await self.full.wait()
            self.running -= 1
            return self.most

    limited = Limited.remote()
    assert max(cyray.get([limited.work.remote() for _ in range(20)], timeout=20)) == 3


@pytest.mark.parametrize("limit", [1, 2])
def test_calls_await_refs_although_no_further_one_may_begin(limit):
    signal_actor = SignalActor.remote()

    @cyray.remote(num_cpus=0)
    def waits(x):
        cyray.get(signal_actor.wait.remote())
        return x

    @cyray.remote(max_concurrency=limit)
    class Awaiting:
        async def arrived(self, refs):
            return await refs[0]

        async def own(self, x):
            return await waits.remote(x)

    actor = Awaiting.remote()
    calls = [actor.arrived.remote([waits.remote(n)]) for n in range(limit)]
    calls += [actor.own.remote(n) for n in range(limit, 2 * limit)]
    eventually(lambda: cyray.get(signal_actor.cur_num_waiters.remote()) >= limit, 20)
    cyray.get(signal_actor.send.remote())
    assert cyray.get(calls, timeout=20) == list(range(2 * limit))


def test_errors_are_the_calls_own():
    @cyray.remote
    class Failing:
        async def fail(self, text):
            await asyncio.sleep(0)
            raise KeyError(text)

        async def work(self):
            return 1

    failing = Failing.remote()
    refs = [failing.fail.remote(i) for i in range(3)]
    for i, ref in enumerate(refs):
        with pytest.raises(KeyError, match=str(i)):
            cyray.get(ref)
    assert cyray.get(failing.work.remote()) == 1


def test_refs_are_awaited_in_an_actor():
    @cyray.remote
    def double(x):
        return 2 * x

    @cyray.remote
    class Awaits:
        async def one(self, x):
            return await double.remote(x)

        async def many(self, n):
            return await asyncio.gather(*[double.remote(i) for i in range(n)])

        async def refs(self, refs):
            return [await ref for ref in refs]

        async def failing(self):
            @cyray.remote
            def fail():
                raise ValueError("inner")

            try:
                await fail.remote()
            except ValueError:
                return "caught"

    awaits = Awaits.remote()
    assert cyray.get(awaits.one.remote(4)) == 8
    assert cyray.get(awaits.many.remote(20)) == [2 * i for i in range(20)]
    assert cyray.get(awaits.refs.remote([cyray.put("a"), double.remote(1)])) == ["a", 2]
    assert cyray.get(awaits.failing.remote()) == "caught"


def test_actors_call_each_other_in_a_ring():
    @cyray.remote
    class Ring:
        def set_next(self, other):
            self.other = other

        async def pass_on(self, hops):
            return 0 if hops == 0 else 1 + await self.other.pass_on.remote(hops - 1)

    ring = [Ring.remote() for _ in range(3)]
    cyray.get([a.set_next.remote(b) for a, b in zip(ring, ring[1:] + ring[:1], strict=True)])
    assert cyray.get(ring[0].pass_on.remote(30)) == 30
    for actor in ring:
        cyray.kill(actor)


def test_background_work_goes_on_between_calls():
    @cyray.remote
    class Ticker:
        def __init__(self):
            self.ticks = 0

        async def start(self):
            self.task = asyncio.get_running_loop().create_task(self.tick())

        async def tick(self):
            while True:
                self.ticks += 1
                await asyncio.sleep(0.001)

        async def read(self):
            return self.ticks

    ticker = Ticker.remote()
    cyray.get(ticker.start.remote())
    eventually(lambda: cyray.get(ticker.read.remote()) > 5)


def test_a_constructor_uses_the_loop_of_the_methods():
    @cyray.remote
    class Loops:
        def __init__(self):
            self.loop = asyncio.get_event_loop()

        async def same(self):
            return asyncio.get_running_loop() is self.loop

    assert cyray.get(Loops.remote().same.remote())


def test_each_call_knows_its_own_task():
    @cyray.remote
    class Context:
        def __init__(self):
            self.count, self.all_here = 0, asyncio.Event()

        async def ids(self):
            self.count += 1
            if self.count == 5:
                self.all_here.set()
            await self.all_here.wait()
            context = cyray.get_runtime_context()
            in_thread = await asyncio.to_thread(context.get_task_id)
            return context.get_actor_id(), context.get_task_id(), in_thread, context.get_task_name()

        def plain(self):
            return cyray.get_runtime_context().get_task_id()

    context = Context.remote()
    calls = [context.ids.options(name=f"call {i}").remote() for i in range(5)]
    results = cyray.get(calls, timeout=20)
    assert {actor for actor, _, _, _ in results} == {context._actor_id.hex()}
    assert [task for _, task, _, _ in results] == [ref.task_id().hex() for ref in calls]
    assert [task for _, _, task, _ in results] == [ref.task_id().hex() for ref in calls]
    assert [name for _, _, _, name in results] == [f"call {i}" for i in range(5)]
    ref = context.plain.remote()
    assert cyray.get(ref) == ref.task_id().hex()


def test_calls_are_tasks_of_the_loop():
    @cyray.remote
    class Tasks:
        def __init__(self):
            self.begun = []
            self.variable = contextvars.ContextVar("variable", default=None)

        async def wait(self, number):
            self.begun.append(number)
            await asyncio.Event().wait()

        def cancel_all(self):
            tasks = asyncio.all_tasks(asyncio.get_event_loop())
            for task in tasks:
                task.cancel()
            return len(tasks)

        def begun_ones(self):
            return self.begun

        async def timeout(self):
            try:
                await asyncio.wait_for(asyncio.Event().wait(), 0.001)
            except asyncio.TimeoutError:
                return "too late"

        async def context(self, value):
            before = self.variable.get()
            self.variable.set(value)
            await asyncio.sleep(0)
            return before, self.variable.get()

    tasks = Tasks.remote()
    assert cyray.get(tasks.timeout.remote(), timeout=20) == "too late"
    # Plain methods run at once, before those that came with them had their first step.
    waiting = [tasks.wait.remote(i) for i in range(20)]
    cancelled = cyray.get(tasks.cancel_all.remote(), timeout=20)
    begun = cyray.get(tasks.begun_ones.remote(), timeout=20)
    assert cancelled == len(waiting) and begun == list(range(len(begun)))
    for ref in waiting:
        with pytest.raises(RayTaskError) as raised:
            cyray.get(ref, timeout=20)
        assert isinstance(raised.value.cause, asyncio.CancelledError)
    assert cyray.get([tasks.context.remote(i) for i in range(3)]) == [(None, i) for i in range(3)]


def test_death_fails_all_that_wait():
    @cyray.remote
    class Waits:
        async def wait(self):
            await asyncio.Event().wait()

        async def pid(self):
            return os.getpid()

    waits = Waits.remote()
    pid = cyray.get(waits.pid.remote())
    refs = [waits.wait.remote() for _ in range(20)]
    os.kill(pid, signal.SIGKILL)
    for ref in refs:
        with pytest.raises(RayActorError):
            cyray.get(ref, timeout=10)


def test_exit_actor_in_an_async_method():
    from cyray.actor import exit_actor

    @cyray.remote
    class Leaver:
        async def leave(self):
            exit_actor()

        async def pid(self):
            return os.getpid()

    leaver = Leaver.remote()
    pid = cyray.get(leaver.pid.remote())
    with pytest.raises(RayActorError):
        cyray.get(leaver.leave.remote(), timeout=10)
    eventually(lambda: not is_running(pid), 3.0)


def test_the_driver_awaits_many_calls_on_its_own_loop():
    @cyray.remote
    class Echo:
        async def echo(self, x):
            return x

    echo = Echo.remote()

    async def main():
        return await asyncio.gather(*[echo.echo.remote(i) for i in range(200)])

    assert asyncio.run(main()) == list(range(200))
