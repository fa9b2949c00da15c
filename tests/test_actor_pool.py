"""`cyray.util.ActorPool`: actors that share a list of work."""

from __future__ import annotations

import time

import pytest


@pytest.fixture
def pool(cyray_start):
    from cyray.util import ActorPool

    @cyray_start.remote
    class Worker:
        def double(self, value):
            return 2 * value

        def slow(self, value):
            time.sleep(0.02 if value % 2 else 0)
            return value

        def fail(self, value):
            raise KeyError(value)

    return ActorPool([Worker.remote() for _ in range(2)])


def test_map_keeps_the_order(pool):
    assert list(pool.map(lambda a, v: a.slow.remote(v), range(10))) == list(range(10))


def test_map_unordered_gives_all(pool):
    assert sorted(pool.map_unordered(lambda a, v: a.slow.remote(v), range(10))) == list(range(10))


def test_submit_and_get_next(pool):
    for value in range(4):
        pool.submit(lambda a, v: a.double.remote(v), value)
    assert [pool.get_next() for _ in range(4)] == [0, 2, 4, 6]
    assert not pool.has_next()
    assert pool.has_free()
    with pytest.raises(StopIteration):
        pool.get_next()


def test_an_error_of_the_work_does_not_cost_the_actor(pool):
    pool.submit(lambda a, v: a.fail.remote(v), 1)
    with pytest.raises(KeyError):
        pool.get_next()
    assert list(pool.map(lambda a, v: a.double.remote(v), [1, 2, 3])) == [2, 4, 6]


def test_a_late_result_is_a_timeout(pool):
    pool.submit(lambda a, v: a.slow.remote(v), 1)
    with pytest.raises(TimeoutError):
        pool.get_next(timeout=0.001)
    assert pool.get_next() == 1


def test_actors_come_and_go(pool):
    actor = pool.pop_idle()
    assert actor is not None
    pool.push(actor)
    with pytest.raises(ValueError, match="already belongs"):
        pool.push(actor)
