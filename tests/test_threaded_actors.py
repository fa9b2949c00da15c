"""Actors with max_concurrency > 1: calls on several threads of one process."""

from __future__ import annotations

import os
import threading

import pytest
from support import eventually, is_running

import cyray

pytestmark = pytest.mark.usefixtures("shared_session")


def test_calls_run_on_several_threads_at_once():
    @cyray.remote(max_concurrency=4)
    class Meeting:
        def __init__(self):
            self.barrier = threading.Barrier(4)

        def meet(self):
            self.barrier.wait(timeout=20)
            return threading.get_ident()

    meeting = Meeting.remote()
    assert len(set(cyray.get([meeting.meet.remote() for _ in range(4)]))) == 4


def test_hundreds_of_threads_are_honoured():
    @cyray.remote(max_concurrency=300)
    class Meeting:
        def __init__(self):
            self.barrier = threading.Barrier(300)

        def meet(self):
            self.barrier.wait(timeout=40)

    meeting = Meeting.remote()
    cyray.get([meeting.meet.remote() for _ in range(300)])


def test_more_threads_than_a_worker_has_are_refused():
    @cyray.remote(max_concurrency=1001)
    class Meeting:
        pass

    with pytest.raises(ValueError, match="at most 1000"):
        Meeting.remote()


def test_no_more_at_once_than_allowed():
    @cyray.remote(max_concurrency=2)
    class Limited:
        def __init__(self):
            self.lock, self.pair = threading.Lock(), threading.Barrier(2)
            self.running = self.most = 0

        def work(self):
            with self.lock:
                self.running += 1
                self.most = max(self.most, self.running)
            self.pair.wait(timeout=20)
            with self.lock:
                self.running -= 1
            return self.most

    limited = Limited.remote()
    assert max(cyray.get([limited.work.remote() for _ in range(12)])) == 2


def test_one_blocked_call_does_not_block_the_others():
    @cyray.remote(max_concurrency=2)
    class Door:
        def __init__(self):
            self.event = threading.Event()

        def wait(self):
            return self.event.wait(20)

        def open(self):
            self.event.set()

    door = Door.remote()
    waiting = door.wait.remote()
    cyray.get(door.open.remote(), timeout=10)
    assert cyray.get(waiting) is True


def test_threads_get_and_submit():
    @cyray.remote
    def double(x):
        return 2 * x

    @cyray.remote(max_concurrency=4)
    class Calls:
        def work(self, x, nested):
            return cyray.get(double.remote(x)) + cyray.get(nested[0])

    calls = Calls.remote()
    one = cyray.put(1)
    assert cyray.get([calls.work.remote(i, [one]) for i in range(40)]) == [
        2 * i + 1 for i in range(40)
    ]


def test_errors_are_the_calls_own():
    @cyray.remote(max_concurrency=3)
    class Failing:
        def call(self, i):
            if i % 2:
                raise ValueError(str(i))
            return i

    failing = Failing.remote()
    for i, ref in enumerate([failing.call.remote(i) for i in range(10)]):
        if i % 2:
            with pytest.raises(ValueError, match=str(i)):
                cyray.get(ref)
        else:
            assert cyray.get(ref) == i


def test_leaving_from_a_thread_ends_the_process():
    from cyray.actor import exit_actor

    @cyray.remote(max_concurrency=3)
    class Leaver:
        def pid(self):
            return os.getpid()

        def leave(self):
            exit_actor()

    for _ in range(3):
        leaver = Leaver.remote()
        pid = cyray.get([leaver.pid.remote() for _ in range(20)])[0]
        with pytest.raises(cyray.exceptions.RayActorError):
            cyray.get(leaver.leave.remote(), timeout=10)
        eventually(lambda: not is_running(pid), 3.0)  # noqa: B023


def test_the_last_handle_ends_a_threaded_actor():
    @cyray.remote(max_concurrency=3)
    class Threads:
        def pid(self):
            return os.getpid()

    for _ in range(3):
        threads = Threads.remote()
        pid = cyray.get([threads.pid.remote() for _ in range(20)])[0]
        del threads
        eventually(lambda: not is_running(pid), 3.0)  # noqa: B023


def test_many_calls():
    @cyray.remote(max_concurrency=8)
    class Echo:
        def echo(self, x):
            return x, os.getpid()

    echo = Echo.remote()
    results = cyray.get([echo.echo.remote(i) for i in range(2000)])
    assert [value for value, _ in results] == list(range(2000))
    assert len({pid for _, pid in results}) == 1


def test_threads_of_the_users_own_may_use_the_engine():
    @cyray.remote
    class Own:
        def work(self):
            results = []

            def thread():
                results.append(cyray.get(cyray.put("from a thread")))

            started = threading.Thread(target=thread)
            started.start()
            started.join(20)
            return results

    assert cyray.get(Own.remote().work.remote()) == ["from a thread"]
