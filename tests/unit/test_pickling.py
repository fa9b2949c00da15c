"""What travels by value, and what arrives of it in a process that cannot import it."""

from __future__ import annotations

import dataclasses
import pickle
import subprocess
import sys
from typing import Any

import pytest

from cyray._pickle import by_value, extra

FRESH = """
import pickle, sys
sys.path[:0] = sys.argv[1:]
value = pickle.loads(sys.stdin.buffer.read())
"""


def elsewhere(value: Any, question: str) -> str:
    """What a process that knows none of this one's classes prints."""
    done = subprocess.run(
        [sys.executable, "-c", f"{FRESH}print({question})", *sys.path],
        input=by_value.dumps(value),
        capture_output=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout.decode().strip()


def local_classes() -> dict[str, type]:
    class Plain:
        __slots__ = ("__hidden", "a")

        def __init__(self) -> None:
            self.a, self.__hidden = 1, 2

        def hidden(self) -> int:
            return self.__hidden

    class Derived(Plain):
        __slots__ = ("b",)

    class Open(Plain):
        __slots__ = ("__dict__", "__weakref__")

    class One:
        __slots__ = "a"

        def __init__(self) -> None:
            self.a = 1

    @dataclasses.dataclass(slots=True)
    class Data:
        a: int = 1

    return {c.__name__: c for c in (Plain, Derived, Open, One, Data)}


@pytest.mark.parametrize("name", ["Plain", "Derived", "One", "Data"])
def test_a_class_with_slots_has_them_on_the_other_side(name: str) -> None:
    value = local_classes()[name]()
    assert elsewhere(value, "hasattr(value, '__dict__'), value.a") == "False 1"


def test_a_slot_with_a_private_name_keeps_its_value() -> None:
    assert elsewhere(local_classes()["Derived"](), "value.hidden()") == "2"


def test_a_dict_that_is_a_slot_is_there() -> None:
    value = local_classes()["Open"]()
    value.more = 3
    assert elsewhere(value, "value.more, value.a") == "3 1"


def test_objects_with_slots_come_back() -> None:
    made = elsewhere(
        local_classes()["Plain"](),
        "__import__('cloudpickle').dumps(value).hex()",
    )
    assert pickle.loads(bytes.fromhex(made)).a == 1


class OfModule(Exception):
    pass


def test_options_with_a_class_of_a_module_go_by_reference() -> None:
    pickled = extra.dumps({"retry_exceptions": extra.retry_types([OfModule])})
    assert extra.loads(pickled) == {"retry_exceptions": (OfModule,)}
    assert len(pickled) < 150


def test_options_with_a_class_of_a_function_go_by_value() -> None:
    class OfFunction(Exception):
        pass

    pickled = extra.dumps({"retry_exceptions": (OfFunction,)})
    program = f"{FRESH}print(value['retry_exceptions'][0].__name__)"
    done = subprocess.run(
        [sys.executable, "-c", program, *sys.path], input=pickled, capture_output=True, check=True
    )
    assert done.stdout == b"OfFunction\n"


def test_no_options_take_no_bytes() -> None:
    assert extra.dumps({}) == b""
    assert extra.loads(b"") == {}


def test_what_cannot_be_pickled_is_named() -> None:
    with pytest.raises(TypeError, match="Could not serialize"):
        extra.dumps({"retry_exceptions": sys._getframe()})
