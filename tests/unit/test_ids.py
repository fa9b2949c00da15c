"""Ids as values: their sizes, their forms, what they refuse."""

from __future__ import annotations

import copy
import pickle

import pytest

import cyray
from cyray import _ids

SIZES = {
    "ActorCheckpointID": 16,
    "ActorClassID": 16,
    "ActorID": 16,
    "ClusterID": 16,
    "FunctionID": 16,
    "JobID": 4,
    "NodeID": 20,
    "PlacementGroupID": 18,
    "TaskID": 16,
    "UniqueID": 16,
    "WorkerID": 16,
}
CLASSES = [getattr(cyray, name) for name in SIZES]


def test_every_class_is_there_under_cyray_and_known_by_that_name():
    assert {*SIZES, "BaseID"} == set(_ids.__all__)
    for name, size in SIZES.items():
        cls = getattr(cyray, name)
        assert (cls.__module__, cls.size()) == ("cyray", size)


@pytest.mark.parametrize("cls", CLASSES)
def test_bytes_hex_and_text_say_the_same(cls):
    made = cls.from_random()
    assert made == cls(made.binary()) == cls.from_binary(made.binary()) == cls.from_hex(made.hex())
    assert len(made.binary()) == cls.size() == made.size()
    assert repr(made) == str(made) == f"{cls.__name__}({made.hex()})"
    assert hash(made) == hash(cls.from_hex(made.hex()))
    assert not made.is_nil()
    assert cls.nil().is_nil()
    assert cls.nil() == cls(bytes(cls.size()))


@pytest.mark.parametrize("cls", CLASSES)
def test_they_are_copied_and_pickled(cls):
    made = cls.from_random()
    assert {made: 1}[pickle.loads(pickle.dumps(made))] == 1
    assert copy.deepcopy([made]) == [made] == copy.copy([made])


def test_ids_of_two_classes_differ():
    assert cyray.TaskID(bytes(16)) != cyray.ActorID(bytes(16))
    assert cyray.TaskID(bytes(16)) != bytes(16)


@pytest.mark.parametrize("cls", CLASSES)
def test_what_is_no_id_of_the_class_is_refused(cls):
    digits = 2 * cls.size()
    for wrong in (b"", bytes(cls.size() + 1)):
        with pytest.raises(ValueError, match=f"has {cls.size()} bytes"):
            cls.from_binary(wrong)
    for wrong in ("", "0" * (digits - 1), "0" * (digits + 1), " " * digits, "zz" * cls.size()):
        with pytest.raises(ValueError, match="hex"):
            cls.from_hex(wrong)
    with pytest.raises(TypeError):
        cls("0" * digits)
    with pytest.raises(TypeError):
        cls.from_hex(bytes(cls.size()))


def test_an_id_cannot_be_changed():
    made = cyray.NodeID.nil()
    for change in (lambda: setattr(made, "_bytes", b"x" * 20), lambda: setattr(made, "x", 1)):
        with pytest.raises(AttributeError):
            change()


def test_the_job_is_in_the_ids_of_what_belongs_to_it():
    job = cyray.JobID.from_int(258)
    assert job.hex() == "02010000"
    assert job.int() == 258
    assert cyray.TaskID(bytes(12) + job.binary()).job_id() == job
    assert cyray.ActorID(bytes(12) + job.binary()).job_id() == job
    assert cyray.PlacementGroupID.of(job).job_id() == job
    for number in (-1, 2**32):
        with pytest.raises(ValueError, match="4 bytes"):
            cyray.JobID.from_int(number)


@pytest.mark.parametrize("name", ["from_hex", "from_binary", "from_random", "nil"])
def test_no_ref_is_made_from_an_id(name):
    arguments = {"from_hex": ["0" * 40], "from_binary": [bytes(20)]}.get(name, [])
    with pytest.raises(TypeError, match="cannot be made from an id"):
        getattr(cyray.ObjectRef, name)(*arguments)
    with pytest.raises(TypeError, match="cannot be made from an id"):
        cyray.ObjectRef(bytes(20))
