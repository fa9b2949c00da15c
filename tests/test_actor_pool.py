"""`cyray.util.ActorPool`: actors that share a list of work."""

from __future__ import annotations

import pytest


@pytest.fixture
def signal(cyray_start):
    from cyray.test_utils import SignalActor

    return SignalActor.remote()


@pytest.fixture
def pool(cyray_start, signal):
    from cyray.util import ActorPool

    @cyray_start.remote
    class Worker:
        def double(self, value):
            return 2 * value

        def first_after(self, value, other):
            # The first call ends only after the other one did.
            if value == 0:
                cyray_start.get(signal.wait.remote())
            elif value == other:
                cyray_start.get(signal.send.remote())
            return value

        def late(self, value):
            cyray_start.get(signal.wait.remote())
            return value

        def fail(self, value):
            raise KeyError(value)

    return ActorPool([Worker.remote() for _ in range(2)])


def test_map_keeps_the_order(pool):
    assert list(pool.map(lambda a, v: a.first_after.remote(v, 1), range(10))) == list(range(10))


def test_map_unordered_gives_all(pool):
    results = list(pool.map_unordered(lambda a, v: a.first_after.remote(v, 9), range(10)))
    assert sorted(results) == list(range(10))
    assert results[:8] == list(range(1, 9))


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


def test_a_late_result_is_a_timeout(pool, signal):
    pool.submit(lambda a, v: a.late.remote(v), 1)
    with pytest.raises(TimeoutError):
        pool.get_next(timeout=0.001)
    signal.send.remote()
    assert pool.get_next() == 1


def test_actors_come_and_go(pool):
    actor = pool.pop_idle()
    assert actor is not None
    pool.push(actor)
    with pytest.raises(ValueError, match="already belongs"):
        pool.push(actor)
