"""Tasks that share a worker: `remote(fn, max_concurrency=n)`."""

from __future__ import annotations

import os
import threading

import pytest

import cyray

pytestmark = pytest.mark.usefixtures("shared_session")

INIT = {"num_cpus": 1}


def test_tasks_meet_in_one_process():
    barrier_count = 3

    @cyray.remote(max_concurrency=3)
    def meet(folder_key, count):
        import sys

        # State of the process: a barrier that all the tasks in it share.
        barrier = sys.__dict__.setdefault(folder_key, threading.Barrier(count))
        barrier.wait(timeout=20)
        return os.getpid(), threading.get_ident()

    results = cyray.get([meet.remote("_test_meet", barrier_count) for _ in range(barrier_count)])
    assert len({pid for pid, _ in results}) == 1
    assert len({thread for _, thread in results}) == barrier_count


def test_no_more_at_once_than_allowed():
    @cyray.remote(max_concurrency=2)
    def work():
        import sys

        state = sys.__dict__.setdefault(
            "_test_limit",
            {"lock": threading.Lock(), "pair": threading.Barrier(2), "now": 0, "most": 0},
        )
        with state["lock"]:
            state["now"] += 1
            state["most"] = max(state["most"], state["now"])
        state["pair"].wait(timeout=20)
        with state["lock"]:
            state["now"] -= 1
        return state["most"]

    assert max(cyray.get([work.remote() for _ in range(12)])) == 2


def test_each_thread_knows_its_own_task():
    @cyray.remote(max_concurrency=4)
    def who():
        import sys

        first = cyray.get_runtime_context().get_task_id()
        sys.__dict__.setdefault("_test_who", threading.Barrier(4)).wait(timeout=20)
        return first, cyray.get_runtime_context().get_task_id()

    results = cyray.get([who.remote() for _ in range(20)])
    assert all(first == second for first, second in results)
    assert len({first for first, _ in results}) == 20


def test_errors_and_results_do_not_mix():
    @cyray.remote(max_concurrency=4)
    def work(i):
        if i % 5 == 0:
            raise ValueError(str(i))
        return i

    for i, ref in enumerate([work.remote(i) for i in range(40)]):
        if i % 5 == 0:
            with pytest.raises(ValueError, match=str(i)):
                cyray.get(ref)
        else:
            assert cyray.get(ref) == i


def test_other_tasks_run_alone_afterwards():
    @cyray.remote
    def alone():
        return threading.current_thread() is threading.main_thread()

    assert cyray.get(alone.remote())
