"""`cyray.actor.Checkpointable`: classes that keep what they saved themselves, and decide when.

Place: the ground; public as names of `cyray.actor`. The engine keeps which checkpoints there are and which calls each
includes (`_worker.saves`).
"""

from __future__ import annotations

import abc
from typing import TYPE_CHECKING, NamedTuple

from cyray._ids import ActorCheckpointID

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cyray._ids import ActorID


class ActorCheckpointContext(NamedTuple):
    """What has happened since the last checkpoint."""

    actor_id: ActorID
    num_tasks_since_last_checkpoint: int
    time_elapsed_ms_since_last_checkpoint: float


class Checkpoint(NamedTuple):
    """One that was saved."""

    checkpoint_id: ActorCheckpointID
    timestamp: float  # ms since 1970


class Checkpointable(abc.ABC):
    """A base of actor classes that store their state themselves.

    After each call `should_checkpoint` is asked; when it says so, `save_checkpoint` stores the state under a
    new id. After a restart `__init__` runs, and `load_checkpoint` goes back to one of them. The calls that
    it does not include run again where `max_task_retries` allows. The latest 20 are kept, and
    `checkpoint_expired` is told of each that goes.

    Example:
        @cyray.remote(max_restarts=-1, max_task_retries=-1)
        class Counter(cyray.actor.Checkpointable):
            def should_checkpoint(self, context):
                return context.num_tasks_since_last_checkpoint >= 100
            ...
    """

    __cyray_checkpointable__ = True

    @abc.abstractmethod
    def should_checkpoint(self, checkpoint_context: ActorCheckpointContext) -> bool:
        """Whether the state is to be saved now, after a call."""

    @abc.abstractmethod
    def save_checkpoint(self, actor_id: ActorID, checkpoint_id: ActorCheckpointID) -> None:
        """Store the state where a process on any node finds it, under that id."""

    @abc.abstractmethod
    def load_checkpoint(
        self, actor_id: ActorID, available_checkpoints: Sequence[Checkpoint]
    ) -> ActorCheckpointID | None:
        """Go back to one of these, the latest of which is the first. Returns its id, or None: none was used,
        and the actor is as `__init__` left it."""

    @abc.abstractmethod
    def checkpoint_expired(self, actor_id: ActorID, checkpoint_id: ActorCheckpointID) -> None:
        """That one will not be asked for any more: what was stored may go. After a restart maybe once more."""
