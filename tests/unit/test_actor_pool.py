"""The book-keeping of `ActorPool`, with actors that do at once what they are told."""

from __future__ import annotations

import types
from typing import Any

import pytest

from cyray.exceptions import ActorDiedError
from cyray.util import actor_pool
from cyray.util.actor_pool import ActorPool


class Ref:
    def __init__(self, value: Any) -> None:
        self.value = value


class FakeCyray(types.SimpleNamespace):
    """`get` and `wait` of refs that hold their values; counts what is looked at."""

    ObjectRef = Ref

    def __init__(self) -> None:
        super().__init__(looked_at=0, broken=None)

    def wait(self, refs: list[Ref], num_returns: int, timeout: float | None) -> Any:
        if self.broken is not None:
            raise self.broken
        self.looked_at += len(refs)
        return refs[:1], refs[1:]

    def get(self, refs: Any) -> Any:
        if self.broken is not None:
            raise self.broken
        if isinstance(refs, list):
            return [ref.value for ref in refs]
        if isinstance(refs.value, Exception):
            raise refs.value
        return refs.value


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> FakeCyray:
    made = FakeCyray()
    monkeypatch.setattr(actor_pool, "cyray", made)
    return made


def double(actor: Any, value: int) -> Ref:
    return Ref(2 * value)


def test_work_beyond_the_actors_costs_the_same_for_each_piece(fake: FakeCyray) -> None:
    pool = ActorPool(["a", "b"])
    assert list(pool.map_unordered(double, range(50_000))) == [2 * i for i in range(50_000)]
    assert fake.looked_at <= 2 * 50_000


def test_a_session_that_is_over_ends_the_loop_with_its_error(fake: FakeCyray) -> None:
    pool = ActorPool(["a"])
    pool.submit(double, 1)
    fake.broken = RuntimeError("cyray was shut down")
    with pytest.raises(RuntimeError, match="shut down"):
        list(pool.map(double, [2]))
    fake.broken = None
    assert list(pool.map(double, [3])) == [6]


def test_results_of_earlier_work_are_dropped_and_what_waits_is_done(fake: FakeCyray) -> None:
    done = []

    def note(actor: Any, value: int) -> Ref:
        done.append(value)
        return Ref(value)

    pool = ActorPool(["a"])
    for value in range(3):
        pool.submit(note, value)
    assert list(pool.map(note, [7, 8])) == [7, 8]
    assert done == [0, 1, 2, 7, 8]


def test_work_without_an_actor_left_is_an_error_for_each_piece(fake: FakeCyray) -> None:
    pool = ActorPool(["a"])
    for _ in range(3):
        pool.submit(lambda actor, value: Ref(ActorDiedError()), 0)
    with pytest.raises(ActorDiedError):
        pool.get_next()
    assert pool.has_next()
    with pytest.raises(actor_pool.RayActorError, match="no actor left"):
        pool.get_next_unordered()
    pool.push("b")  # takes what waits still
    pool.submit(double, 4)
    with pytest.raises(ActorDiedError):
        pool.get_next()


def test_an_actor_whose_call_cannot_be_made_stays_in_the_pool(fake: FakeCyray) -> None:
    def fail(actor: Any, value: int) -> Ref:
        raise KeyError(value)

    pool = ActorPool(["a"])
    with pytest.raises(KeyError):
        pool.submit(fail, 1)
    assert pool.has_free()
    pool.submit(double, 1)
    pool.submit(fail, 2)
    pool.submit(double, 3)
    assert pool.get_next() == 2, "the failure of another piece is not this one's"
    with pytest.raises(KeyError):
        pool.get_next()
    assert pool.get_next() == 6
    assert not pool.has_next()


def test_methods_of_several_results_and_of_none(fake: FakeCyray) -> None:
    pool = ActorPool(["a"])
    pool.submit(lambda actor, value: [Ref(1), Ref(2)], None)
    pool.submit(lambda actor, value: None, None)
    assert pool.get_next() == [1, 2]
    assert pool.get_next_unordered() is None
