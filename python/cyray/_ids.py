"""Ids as values: of tasks, actors, jobs, nodes, processes, functions; `ObjectRef` is `_raylet`'s own.

Place: the ground; public as `cyray.TaskID` and so on. The sizes and layouts are those of
cpp/cyray/common/ids.h; an id knows nothing of what it names. Threading: immutable.
"""

from __future__ import annotations

import builtins
import os
from typing import TypeVar

__all__ = [
    "ActorCheckpointID",
    "ActorClassID",
    "ActorID",
    "BaseID",
    "ClusterID",
    "FunctionID",
    "JobID",
    "NodeID",
    "PlacementGroupID",
    "TaskID",
    "UniqueID",
    "WorkerID",
]

_I = TypeVar("_I", bound="BaseID")


class BaseID:
    """An id: bytes of a fixed number. Equal to ids of its own class with the same bytes, and hashable.

    Example:
        node = cyray.NodeID.from_hex(cyray.get_runtime_context().get_node_id())
        node.binary()          # 20 bytes
    """

    __slots__ = ("_bytes",)
    _SIZE = 16
    _bytes: bytes

    def __init__(self, id_bytes: bytes) -> None:
        """ValueError when `id_bytes` is not of this class's size."""
        if not isinstance(id_bytes, (bytes, bytearray, memoryview)):
            raise TypeError(f"{type(self).__name__} is made of bytes, not {type(id_bytes)}")
        held = bytes(id_bytes)
        if len(held) != self._SIZE:
            raise ValueError(f"{type(self).__name__} has {self._SIZE} bytes, not {len(held)}")
        object.__setattr__(self, "_bytes", held)

    @classmethod
    def from_binary(cls: type[_I], id_bytes: bytes) -> _I:
        """From `size()` bytes; ValueError for another number of them."""
        return cls(id_bytes)

    @classmethod
    def from_hex(cls: type[_I], hex_id: str) -> _I:
        """From twice as many hex digits as it has bytes; ValueError for anything else."""
        if not isinstance(hex_id, str):
            raise TypeError(f"a hex id is a str, not {type(hex_id)}")
        # bytes.fromhex takes spaces, too.
        if len(hex_id) != 2 * cls._SIZE or not hex_id.isalnum():
            raise ValueError(f"{cls.__name__} has {2 * cls._SIZE} hex digits, not {hex_id!r}")
        return cls(bytes.fromhex(hex_id))

    @classmethod
    def from_random(cls: type[_I]) -> _I:
        """One of random bytes, which names nothing."""
        return cls(os.urandom(cls._SIZE))

    @classmethod
    def nil(cls: type[_I]) -> _I:
        """The one of zeros: no id."""
        return cls(bytes(cls._SIZE))

    @classmethod
    def size(cls) -> int:
        """Bytes of an id of this class."""
        return cls._SIZE

    def binary(self) -> bytes:
        """Its bytes."""
        return self._bytes

    def hex(self) -> str:
        """Its bytes as hex digits, as the runtime context and the state functions give ids."""
        return self._bytes.hex()

    def is_nil(self) -> bool:
        """Whether it is the one of zeros."""
        return not any(self._bytes)

    def __eq__(self, other: object) -> bool:
        if type(other) is not type(self):
            return NotImplemented
        return self._bytes == other._bytes

    def __hash__(self) -> int:
        return hash(self._bytes)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.hex()})"

    def __reduce__(self) -> tuple[type[BaseID], tuple[bytes]]:
        return type(self), (self._bytes,)

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"{type(self).__name__} cannot be changed")


class UniqueID(BaseID):
    """An id of no particular thing."""

    __slots__ = ()


class JobID(BaseID):
    """Of a driver and all that works for it: a number that counts from 1."""

    __slots__ = ()
    _SIZE = 4

    @classmethod
    def from_int(cls, value: builtins.int) -> JobID:
        """The id of the job of that number; ValueError when it does not fit in 4 bytes."""
        try:
            return cls(value.to_bytes(4, "little"))
        except OverflowError:
            raise ValueError(f"the number of a job has 4 bytes: {value}") from None

    def int(self) -> builtins.int:
        """The number of the job."""
        return builtins.int.from_bytes(self._bytes, "little")


class _OfJob(BaseID):
    """An id whose last bytes are its job's."""

    __slots__ = ()

    def job_id(self) -> JobID:
        """The job that it belongs to."""
        return JobID(self._bytes[-JobID.size() :])


class TaskID(_OfJob):
    """Of a task or a call."""

    __slots__ = ()


class ActorID(_OfJob):
    """Of an actor."""

    __slots__ = ()


class PlacementGroupID(_OfJob):
    """Of a placement group."""

    __slots__ = ()
    _SIZE = 18

    @classmethod
    def of(cls, job_id: JobID) -> PlacementGroupID:
        """A random one of that job."""
        return cls(os.urandom(cls._SIZE - job_id.size()) + job_id.binary())


class NodeID(UniqueID):
    """Of a node."""

    __slots__ = ()
    _SIZE = 20


class WorkerID(UniqueID):
    """Of a process: a worker or a driver."""

    __slots__ = ()


class FunctionID(UniqueID):
    """Of a function: a hash of its pickle."""

    __slots__ = ()


class ActorCheckpointID(UniqueID):
    """Of a state that a `Checkpointable` has saved."""

    __slots__ = ()


class ActorClassID(UniqueID):
    """Of an actor's class: a hash of its pickle."""

    __slots__ = ()


class ClusterID(UniqueID):
    """Of a cluster. None has one in cyray."""

    __slots__ = ()


# They are the public package's: that is where pickles and docs find them.
for _class in list(globals().values()):
    if isinstance(_class, type) and _class.__module__ == __name__ and _class.__name__ in __all__:
        _class.__module__ = "cyray"
