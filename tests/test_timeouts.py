"""`timeout_s`: tasks and calls that run for too long end as when they are cancelled, then by force."""

from __future__ import annotations

import asyncio
import os
import threading
import time

import pytest
from support import eventually, is_running

import cyray
from cyray.exceptions import ActorDiedError, RayTaskError, TaskTimeoutError

pytestmark = pytest.mark.usefixtures("shared_session")


def functions():
    # Local, so that they travel by value: workers need not import this file.
    @cyray.remote(timeout_s=0.3)
    def sleep(seconds, path=None):
        if path is not None:
            open(path, "w").close()
        time.sleep(seconds)
        return "in time"

    return (sleep,)


(sleep,) = functions()


def timed_out(ref, ended=None):
    """`ended`: what has ended with it."""
    with pytest.raises(TaskTimeoutError) as raised:
        cyray.get(ref, timeout=30)
    assert raised.value.task_id == ref.task_id().hex()
    assert isinstance(raised.value, TimeoutError)
    text = str(raised.value)
    assert ("did not end when it was told to" in text) == (ended is not None)
    assert ended is None or f"{ended} was ended, as the " in text
    return text


@pytest.fixture(autouse=True)
def everything_comes_back():
    yield
    eventually(lambda: cyray.available_resources().get("CPU") == 2, 10, "both CPUs are free")


def test_a_task_that_runs_for_too_long_is_interrupted():
    refs = [sleep.remote(60), sleep.remote(0), sleep.options(timeout_s=None).remote(0.5)]
    assert timed_out(refs[0]) == "The task sleep ran for longer than its timeout_s=0.3."
    assert cyray.get(refs[1:]) == ["in time"] * 2


def test_time_counts_from_the_start_of_the_run(gate):
    @cyray.remote(num_cpus=2)
    def holds(gate):
        open(gate).close()

    holder = holds.remote(gate.path)
    queued = [sleep.remote(0) for _ in range(3)]
    ready, _ = cyray.wait(queued, timeout=0.5)
    assert not ready
    gate.open()
    assert cyray.get([holder, *queued], timeout=20) == [None, *["in time"] * 3]


def test_what_catches_the_interrupt_has_its_result_and_no_error_is_tried_again(tmp_path):
    @cyray.remote(timeout_s=0.2, max_retries=-1, retry_exceptions=True)
    def cleans_up(path, fails):
        with open(path, "a") as file:
            file.write("x")
        try:
            time.sleep(60)
        except KeyboardInterrupt:
            if fails:
                raise RuntimeError("no way out") from None
            return cyray.get_runtime_context().is_canceled()

    assert cyray.get(cleans_up.remote(str(tmp_path / "a"), False), timeout=20) is True
    with pytest.raises(RayTaskError, match="no way out"):
        cyray.get(cleans_up.remote(str(tmp_path / "b"), True), timeout=20)
    assert (tmp_path / "b").read_text() == "x"


def test_what_does_not_end_is_ended_by_force(tmp_path):
    @cyray.remote(timeout_s=0.2, max_retries=-1)
    def stubborn(path):
        with open(path, "a") as file:
            file.write(f"{os.getpid()} ")
        sum(iter(int, 1))  # compiled code that holds the GIL and asks for no signal

    text = timed_out(stubborn.remote(str(tmp_path / "it")), "")
    [pid] = (tmp_path / "it").read_text().split()
    assert f"The worker (pid {pid}) was ended, as the task did not end" in text
    eventually(lambda: not is_running(int(pid)), 10, "its process ends")


def test_what_it_has_submitted_ends_with_it(tmp_path):
    @cyray.remote(num_cpus=0, timeout_s=0.5)
    def parent(path):
        return cyray.get(sleep.options(timeout_s=None).remote(60, path))

    timed_out(parent.remote(str(tmp_path / "child")))
    # everything_comes_back: the child does not sleep on.


def test_generators_end_at_their_timeout():
    @cyray.remote(timeout_s=0.5)
    def ticks():
        while True:
            yield 1
            time.sleep(0.01)

    *items, last = ticks.remote()
    assert cyray.get(items) == [1] * len(items)
    with pytest.raises(TaskTimeoutError):
        cyray.get(last)


def test_calls_of_async_actors_are_cancelled():
    @cyray.remote
    class Service:
        async def sleep(self, seconds):
            await asyncio.sleep(seconds)
            return seconds

        async def shield(self):
            try:
                await asyncio.sleep(60)
            except asyncio.CancelledError:
                return "cleaned"

    service = Service.remote()
    call = service.sleep.options(timeout_s=0.2)
    refs = [call.remote(60), call.remote(0), service.sleep.remote(0.5)]
    timed_out(refs[0])
    assert cyray.get(refs[1:]) == [0, 0.5]
    assert cyray.get(service.shield.options(timeout_s=0.2).remote(), timeout=20) == "cleaned"
    cyray.kill(service)


@cyray.remote(concurrency_groups={"io": 8, "clock": 1})
class Loops:
    def __init__(self):
        self.opened = [threading.Event(), threading.Event()]

    async def hold(self, number):
        return self.opened[number].wait(30)

    def hold_plainly(self, number):
        return self.opened[number].wait(30)

    async def is_late(self):
        return cyray.get_runtime_context().is_canceled()

    def is_plainly_late(self):
        return cyray.get_runtime_context().is_canceled()

    async def items(self):
        yield cyray.get_runtime_context().is_canceled()

    @cyray.method(concurrency_group="clock", timeout_s=0.2)
    async def sleep(self):
        await asyncio.sleep(60)

    @cyray.method(concurrency_group="clock")
    async def open(self, number):
        self.opened[number].set()


@pytest.mark.parametrize("hold", ["hold", "hold_plainly"])
@pytest.mark.parametrize("group", [None, "io"])
def test_time_that_a_call_waits_for_its_loop_does_not_count(hold, group):
    loops = Loops.remote()
    options = {} if group is None else {"concurrency_group": group}
    late = {"timeout_s": 0.1, **options}
    hold = getattr(loops, hold).options(**options)
    held = [
        hold.remote(0),
        hold.remote(1),
    ]  # the loop takes the second one together with what follows
    waiting = [
        loops.is_late.options(**late).remote(),
        loops.is_plainly_late.options(**late).remote(),
        loops.items.options(**late).remote(),
    ]
    cyray.get(loops.open.remote(0), timeout=20)
    timed_out(loops.sleep.remote())
    assert cyray.wait(waiting[:1], timeout=0)[0] == []
    cyray.get(loops.open.remote(1), timeout=20)
    assert cyray.get([*held, *waiting[:2]], timeout=20) == [True, True, False, False]
    assert [cyray.get(ref) for ref in waiting[2]] == [False]
    cyray.kill(loops)


def test_a_call_that_cannot_be_interrupted_can_ask_and_ends_its_actor_at_last():
    @cyray.remote(max_restarts=1)
    class Worker:
        def pid(self):
            return os.getpid()

        @cyray.method(timeout_s=0.2)
        def asks(self):
            while not cyray.get_runtime_context().is_canceled():
                time.sleep(0.005)
            return "stopped"

        @cyray.method(timeout_s=0.2)
        def hangs(self):
            time.sleep(600)

    worker = Worker.remote()
    first = cyray.get(worker.pid.remote())
    assert cyray.get(worker.asks.remote(), timeout=20) == "stopped"
    assert cyray.get(worker.pid.remote()) == first
    timed_out(worker.hangs.remote(), f"The actor (pid {first})")

    def restarted():
        try:
            return cyray.get(worker.pid.remote(), timeout=20) != first
        except ActorDiedError:
            raise
        except cyray.exceptions.RayActorError:
            return False

    eventually(restarted, 20, "it is another process")
    timed_out(worker.hangs.remote(), "")

    def dead():
        try:
            cyray.get(worker.pid.remote(), timeout=20)
        except ActorDiedError as error:
            return str(error).startswith(
                "The actor is dead because it was ended for a call over its timeout_s: Worker.hangs did not "
                "end when it was told to."
            )
        except cyray.exceptions.RayActorError:
            pass
        return False

    eventually(dead, 20, "it is dead, and says why")


@pytest.mark.parametrize("wrong", [0, -1, float("nan"), float("inf"), 10**10])
def test_wrong_values_are_named(wrong):
    with pytest.raises(ValueError, match="'timeout_s' must be more than 0 seconds"):
        sleep.options(timeout_s=wrong)
    with pytest.raises(TypeError, match="timeout_s"):
        sleep.options(timeout_s="1")
