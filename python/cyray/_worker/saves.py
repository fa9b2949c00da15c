"""The saves of this actor: its state is taken between its calls, and loaded when it is restarted.

Place: `actor` begins them, `main` has the event that asks for a state. When that is, and which calls a state
includes, is the core's to know (core/actor_saves.h). Threading: the main thread, while no call runs.
"""

from __future__ import annotations

import os
import sys
import time
from typing import Any, NamedTuple

from cyray import _raylet
from cyray._ids import ActorCheckpointID, ActorID
from cyray._spec.saves import RESTORE, SAVE, SaveRules

_CHECKPOINTS_KEPT = 20
_LAST_SAVE_SECONDS = 5.0


class _State:
    """Of a class with the two methods: the state itself is saved."""

    def __init__(self, instance: Any, label: str) -> None:
        self._instance = instance
        self._refused = ""  # what was said of a state that holds a ref
        self.what = f"{label}.{SAVE}"
        self.restoring = f"{label}.{RESTORE}"

    def take(self) -> None:
        value = self._instance.__cyray_save__()
        _raylet.save_taken(self._encoded(value), _now_ms())

    def _encoded(self, value: Any) -> bytes:
        try:
            return _raylet.encode_state(value)
        except _raylet.HoldsRef as error:
            # Once: it takes the state to pieces, and is told once.
            if not self._refused:
                self._refused = _with_place(value, error)
            raise TypeError(self._refused) from None

    def restore(self, state: bytes, calls: bytes) -> None:
        self._instance.__cyray_restore__(_raylet.decode_value(state, True))
        _raylet.restore_saves(calls)


class _Known(NamedTuple):
    checkpoint_id: bytes
    timestamp: int
    calls: bytes  # that it includes


class _Checkpoints:
    """Of a Checkpointable: it keeps its states itself, and what is saved is which there are."""

    def __init__(self, instance: Any, label: str, actor_id: bytes) -> None:
        self._instance = instance
        self._actor_id = ActorID(actor_id)
        self._known: list[_Known] = []  # the latest first
        self._expired: list[
            tuple[bytes, int]
        ] = []  # with the save that does not name them any more
        self.what = f"{label}.save_checkpoint"
        self.restoring = f"{label}.load_checkpoint"

    def take(self) -> None:
        from cyray._spec.checkpointable import ActorCheckpointContext

        calls, elapsed_ns, taken, stored = _raylet.since_last_save()
        self._expire(stored)
        context = ActorCheckpointContext(self._actor_id, calls, elapsed_ns / 1e6)
        if not self._instance.should_checkpoint(context):
            _raylet.save_not_taken(True)
            return
        checkpoint_id = ActorCheckpointID(os.urandom(ActorCheckpointID.size()))
        self._instance.save_checkpoint(self._actor_id, checkpoint_id)
        newest = _Known(checkpoint_id.binary(), _now_ms(), _raylet.included_calls())
        self._known.insert(0, newest)
        for known in self._known[_CHECKPOINTS_KEPT:]:
            self._expired.append((known.checkpoint_id, taken + 1))
        del self._known[_CHECKPOINTS_KEPT:]
        expired = [checkpoint_id for checkpoint_id, _ in self._expired]
        state = _raylet.encode_state(([tuple(known) for known in self._known], expired))
        _raylet.save_taken(state, newest.timestamp)

    def _expire(self, stored: int) -> None:
        # Not before: a restart may still be offered one of them. After one it may be told of again.
        while self._expired and self._expired[0][1] <= stored:
            checkpoint_id, _ = self._expired.pop(0)
            try:
                self._instance.checkpoint_expired(self._actor_id, ActorCheckpointID(checkpoint_id))
            except Exception as error:
                _tell(error, "checkpoint_expired failed")

    def restore(self, state: bytes, calls: bytes) -> None:
        from cyray._spec.checkpointable import Checkpoint

        known_before, expired = _raylet.decode_value(state)
        self._known = [_Known(*known) for known in known_before]
        self._expired = [(checkpoint_id, 0) for checkpoint_id in expired]
        available = [
            Checkpoint(ActorCheckpointID(known.checkpoint_id), known.timestamp)
            for known in self._known
        ]
        chosen = self._instance.load_checkpoint(self._actor_id, available)
        if chosen is None:
            return
        for known in self._known:
            if isinstance(chosen, ActorCheckpointID) and known.checkpoint_id == chosen.binary():
                _raylet.restore_saves(known.calls)
                return
        raise ValueError(
            f"load_checkpoint returned {chosen!r}, which is none of those that it was given"
        )


_keeper: _State | _Checkpoints | None = None
_told: set[str] = set()  # what was said of saves that failed


def begin(
    instance: Any, rules: SaveRules | None, actor_id: bytes, incarnation: int, label: str
) -> None:
    """This actor is saved from now on, by these rules. It goes on from its last save, if there is one."""
    global _keeper
    if rules is None:
        return
    keeper: _State | _Checkpoints
    if rules.asks:
        keeper = _Checkpoints(instance, label, actor_id)
    else:
        keeper = _State(instance, label)
    when = (rules.calls, round(rules.seconds * 1e9), rules.asks)
    _raylet.begin_saves(actor_id, incarnation, when, label)
    saved = _raylet.get_actor_save(actor_id) if incarnation > 0 else None
    if saved is not None:
        try:
            keeper.restore(*saved)
        except Exception as error:
            raise RestoreFailed(keeper.restoring) from error
    _keeper = keeper


class RestoreFailed(Exception):
    """Its cause is what the user's code raised; its text, what that was doing."""


def take(leaving: bool = False) -> None:
    """The state is taken, or why it cannot be is said; the actor goes on either way, or ends."""
    assert _keeper is not None
    try:
        _keeper.take()
    except Exception as error:
        _raylet.save_not_taken(False)
        assert _keeper is not None
        then = (
            " as the actor ends, and its last" if leaving else ". The actor goes on, and its last"
        )
        _tell(error, f"{_keeper.what} failed{then} save stays")
    except BaseException:
        _raylet.save_not_taken(False)
        raise


def take_last() -> None:
    """For an actor that leaves and may be restarted: its newest state is stored, or why it is not is said."""
    if _keeper is None:
        return
    due = _raylet.begin_last_save()
    if due == _raylet.LAST_IS_DUE:
        take(leaving=True)
    elif due == _raylet.LAST_CALL_RUNS:
        _say(f"{_keeper.what} is not called as the actor ends, for a call of it still runs")
    if why := _raylet.await_saves(_LAST_SAVE_SECONDS):
        _say(f"the actor ends, and its last state is not stored: {why}")


def _with_place(value: Any, error: Exception) -> str:
    from cyray._pickle import blame

    found = blame.find(value, error, _raylet.encode_state, "state")
    text = str(error)
    return f"{found.way} is {text.removeprefix('it holds ')}" if found.way else text


def _tell(error: Exception, what: str) -> None:
    """The driver sees it with the output of its workers; the same thing once."""
    text = f"{what}: {type(error).__name__}: {error}"
    if text in _told:
        return
    _told.add(text)
    _say(text)


def _say(text: str) -> None:
    sys.stderr.write(f"cyray: {text}\n")
    sys.stderr.flush()


def _now_ms() -> int:
    return int(time.time() * 1000)
