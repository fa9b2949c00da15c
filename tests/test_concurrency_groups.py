"""Concurrency groups: limits of their own for some methods of an actor, which hold up no others."""

from __future__ import annotations

import asyncio
import os
import threading

import pytest
from support import eventually, is_running

import cyray
from cyray.actor import exit_actor
from cyray.exceptions import RayActorError, TaskCancelledError
from cyray.test_utils import SignalActor

pytestmark = pytest.mark.usefixtures("shared_session")


@cyray.remote(concurrency_groups={"io": 2, "compute": 1})
class Threads:
    def __init__(self):
        self.opened = threading.Event()
        self.local = threading.local()
        self.pair = threading.Barrier(2)
        self.seen = []

    @cyray.method(concurrency_group="io")
    def hold(self):
        return self.opened.wait(30)

    @cyray.method(concurrency_group="io")
    def meet(self):
        self.pair.wait(20)
        return threading.get_ident()

    @cyray.method(concurrency_group="compute")
    def see(self, x):
        self.seen.append(x)
        return list(self.seen)

    @cyray.method(concurrency_group="compute")
    def here(self):
        return threading.get_ident()

    def open(self):
        self.opened.set()
        return threading.current_thread() is threading.main_thread()

    def forget(self):
        self.opened.clear()


@cyray.remote(concurrency_groups={"io": 2, "other": 1})
class Loops:
    def __init__(self):
        self.opened = threading.Event()
        self.running = self.most = 0
        self.gate = None

    @cyray.method(concurrency_group="io")
    async def io_loop(self):
        return threading.get_ident(), id(asyncio.get_running_loop())

    @cyray.method(concurrency_group="io")
    def io_plain(self):
        return threading.get_ident(), id(asyncio.get_running_loop())

    async def default_loop(self):
        return threading.get_ident(), id(asyncio.get_running_loop())

    @cyray.method(concurrency_group="other")
    def other_loop(self):
        return threading.get_ident(), id(asyncio.get_running_loop())

    @cyray.method(concurrency_group="io")
    async def count(self, turns):
        self.running += 1
        self.most = max(self.most, self.running)
        for _ in range(turns):
            await asyncio.sleep(0)
        self.running -= 1
        return self.most

    @cyray.method(concurrency_group="other")
    def block(self):
        return self.opened.wait(30)

    def block_main(self):
        return self.opened.wait(30)

    @cyray.method(concurrency_group="io")
    async def open(self):
        self.opened.set()
        return "open"

    @cyray.method(concurrency_group="io")
    async def add(self, boxed, by):
        return await boxed[0] + by

    @cyray.method(concurrency_group="io")
    async def sleep(self):
        await asyncio.Event().wait()

    @cyray.method(concurrency_group="io")
    async def items(self, n):
        for i in range(n):
            yield i

    @cyray.method(concurrency_group="other")
    async def leave(self):
        exit_actor()

    def pid(self):
        return os.getpid()


def test_a_blocked_group_holds_up_no_other():
    threads = Threads.remote()
    held = [threads.hold.remote() for _ in range(5000)]  # more than are sent ahead
    assert cyray.get([threads.see.remote(i) for i in range(3)], timeout=20)[-1] == [0, 1, 2]
    assert cyray.wait(held, timeout=0)[0] == []
    assert cyray.get(threads.open.remote(), timeout=20) is True
    assert all(cyray.get(held))


def test_a_group_runs_as_many_calls_as_it_may_and_in_threads_of_its_own():
    threads = Threads.remote()
    assert len(set(cyray.get([threads.meet.remote(), threads.meet.remote()], timeout=20))) == 2
    assert len(set(cyray.get([threads.here.remote() for _ in range(10)]))) == 1


def test_calls_of_a_group_that_runs_one_at_a_time_run_in_order_though_an_argument_is_late():
    threads = Threads.remote()
    gate = SignalActor.remote()

    @cyray.remote
    def late(gate):
        cyray.get(gate.wait.remote())
        return "late"

    refs = [threads.see.remote(late.remote(gate)), threads.see.remote("after")]
    assert cyray.get(threads.open.remote(), timeout=20)
    assert cyray.wait(refs, timeout=0)[0] == []
    cyray.get(gate.send.remote())
    assert cyray.get(refs[1]) == ["late", "after"]


def test_a_call_may_name_another_group():
    threads = Threads.remote()
    held = [threads.hold.remote(), threads.hold.remote()]  # the io group is full
    opened = threads.open.options(concurrency_group="io").remote()
    assert cyray.wait([opened], timeout=0)[0] == []
    own_thread = threads.open.options(concurrency_group="compute").remote()
    assert cyray.get(own_thread, timeout=20) is False
    assert cyray.get([opened, *held], timeout=20) == [False, True, True]


def test_the_default_group_has_a_limit_of_its_own():
    @cyray.remote(concurrency_groups={"one": 1}, max_concurrency=3)
    class Meeting:
        def __init__(self):
            self.three = threading.Barrier(3)

        def meet(self):
            self.three.wait(20)

        @cyray.method(concurrency_group="one")
        def here(self):
            return threading.get_ident()

    meeting = Meeting.remote()
    refs = [meeting.meet.remote() for _ in range(3)]
    assert len(set(cyray.get([meeting.here.remote() for _ in range(9)]))) == 1
    cyray.get(refs, timeout=20)


def test_handles_know_the_groups_wherever_they_go():
    threads = Threads.options(name="groups").remote()
    held = [threads.hold.remote() for _ in range(3)]

    @cyray.remote
    def elsewhere(threads, named):
        seen = cyray.get(threads.see.remote("task"), timeout=20)
        cyray.get(cyray.get_actor(named).open.remote(), timeout=20)
        return seen

    assert cyray.get(elsewhere.remote(threads, "groups")) == ["task"]
    assert all(cyray.get(held))


def test_each_group_of_an_async_actor_has_a_loop_and_a_thread():
    loops = Loops.remote()
    names = ["io_loop", "io_plain", "default_loop", "other_loop"]
    io, plain, default, other = cyray.get([getattr(loops, name).remote() for name in names])
    assert io == plain
    assert len({io, default, other}) == 3
    assert len({thread for thread, _ in (io, default, other)}) == 3


def test_a_group_of_an_async_actor_has_its_limit():
    loops = Loops.remote()
    assert max(cyray.get([loops.count.remote(5) for _ in range(50)], timeout=20)) == 2


@pytest.mark.parametrize("blocked", ["block", "block_main"])
def test_a_loop_that_is_blocked_holds_up_no_other(blocked):
    loops = Loops.remote()
    waiting = getattr(loops, blocked).remote()
    assert cyray.get(loops.add.remote([cyray.put(1)], 2), timeout=20) == 3
    assert [cyray.get(ref) for ref in loops.items.remote(100)] == list(range(100))
    slow = loops.items.options(_generator_backpressure_num_objects=2).remote(20)
    assert [cyray.get(ref) for ref in slow] == list(range(20))
    sleeping = loops.sleep.remote()
    cyray.get(loops.io_loop.remote(), timeout=20)
    cyray.cancel(sleeping)
    with pytest.raises(TaskCancelledError):
        cyray.get(sleeping, timeout=20)
    assert cyray.get(loops.open.remote(), timeout=20) == "open"
    assert cyray.get(waiting, timeout=20) is True


@pytest.mark.parametrize("group", ["io", "other"])
def test_a_call_that_is_cancelled_before_it_begins_never_runs(group):
    loops = Loops.remote()
    held = loops.block.options(concurrency_group=group).remote()
    queued = [
        loops.pid.options(concurrency_group=group).remote(),
        loops.sleep.options(concurrency_group=group).remote(),
    ]
    outside = "other" if group == "io" else "io"
    cyray.get(loops.io_loop.options(concurrency_group=outside).remote(), timeout=20)
    for ref in queued:
        cyray.cancel(ref)
        with pytest.raises(TaskCancelledError):
            cyray.get(ref, timeout=20)
    assert cyray.wait([held], timeout=0)[0] == []
    assert cyray.get(loops.open.options(concurrency_group=outside).remote(), timeout=20) == "open"
    assert cyray.get(held, timeout=20) is True


def test_leaving_from_the_loop_of_a_group_ends_the_actor():
    loops = Loops.remote()
    pid = cyray.get(loops.pid.remote())
    with pytest.raises(RayActorError):
        cyray.get(loops.leave.remote(), timeout=20)
    eventually(lambda: not is_running(pid), 20)


def test_the_last_handle_ends_an_actor_with_groups():
    threads, loops = Threads.remote(), Loops.remote()
    pids = cyray.get([loops.pid.remote(), threads.__ray_call__.remote(lambda _: os.getpid())])
    cyray.get([threads.see.remote(1), loops.io_loop.remote()])
    del threads, loops
    eventually(lambda: not any(map(is_running, pids)), 20)


def test_a_restarted_actor_has_its_groups():
    @cyray.remote(concurrency_groups={"io": 1}, max_restarts=1, max_task_retries=-1)
    class Phoenix:
        def __init__(self):
            self.opened = threading.Event()

        @cyray.method(concurrency_group="io")
        def hold(self):
            return self.opened.wait(30)

        def pid(self):
            return os.getpid()

        def open(self):
            self.opened.set()

    phoenix = Phoenix.remote()
    held = [phoenix.hold.remote() for _ in range(3)]
    pid = cyray.get(phoenix.pid.remote(), timeout=20)
    os.kill(pid, 9)
    assert cyray.get(phoenix.pid.remote(), timeout=20) != pid
    cyray.get(phoenix.open.remote(), timeout=20)
    assert all(cyray.get(held, timeout=20))


def test_a_group_that_is_not_there_is_refused_where_it_is_named():
    class Plain:
        @cyray.method(concurrency_group="oi")
        def work(self):
            pass

    with pytest.raises(ValueError, match=r"Plain\.work .* 'oi', and its class has \[io\]"):
        cyray.remote(concurrency_groups={"io": 2})(Plain)
    with pytest.raises(ValueError, match="'oi', and its class has none"):
        cyray.remote(Plain)
    threads = Threads.remote()
    with pytest.raises(ValueError, match=r"'oi', and its class has \[io, compute\]"):
        threads.open.options(concurrency_group="oi").remote()


def test_more_threads_than_a_worker_has_are_refused():
    @cyray.remote(concurrency_groups={"io": 600}, max_concurrency=600)
    class Many:
        pass

    with pytest.raises(ValueError, match="1,200 threads"):
        Many.remote()
