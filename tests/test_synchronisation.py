"""Actors that tests and programs wait on: signals and semaphores."""

from __future__ import annotations


def test_a_signal_frees_all_who_wait(cyray_start):
    cyray = cyray_start
    from cyray.test_utils import SignalActor, wait_for_condition

    signal = SignalActor.remote()

    @cyray.remote
    def wait_and_go(signal):
        cyray.get(signal.wait.remote())
        return "go!"

    # More tasks than CPUs: those that wait give theirs back.
    tasks = [wait_and_go.remote(signal) for _ in range(4)]
    wait_for_condition(lambda: cyray.get(signal.cur_num_waiters.remote()) == 4)
    assert cyray.wait(tasks, timeout=0)[0] == []
    cyray.get(signal.send.remote())
    assert cyray.get(tasks) == ["go!"] * 4
    assert cyray.get(signal.cur_num_waiters.remote()) == 0


def test_a_signal_that_is_cleared_holds_the_next_ones(cyray_start):
    cyray = cyray_start
    from cyray.test_utils import SignalActor

    signal = SignalActor.remote()
    cyray.get(signal.send.remote(clear=True))
    late = signal.wait.remote()
    assert cyray.wait([late], timeout=0.05)[0] == []
    cyray.get(signal.send.remote())
    cyray.get(late)
    cyray.get(signal.wait.remote(should_wait=False))


def test_a_semaphore_counts(cyray_start):
    cyray = cyray_start
    from cyray.test_utils import Semaphore

    semaphore = Semaphore.remote(1)
    assert cyray.get(semaphore.acquire.remote())
    assert cyray.get(semaphore.locked.remote())
    second = semaphore.acquire.remote()
    assert cyray.wait([second], timeout=0.05)[0] == []
    cyray.get(semaphore.release.remote())
    assert cyray.get(second)
