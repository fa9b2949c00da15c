"""What travels by value, and what arrives of it in a process that cannot import it."""

from __future__ import annotations

import contextlib
import ctypes
import dataclasses
import functools
import pickle
import subprocess
import sys
import threading
from collections.abc import Iterator
from typing import Any

import cloudpickle
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
    types = extra.load_retry_types(extra.loads(pickled)["retry_exceptions"])
    assert types == (OfModule,)
    assert len(pickled) < 250


def test_errors_of_a_class_that_is_not_here_are_known_by_its_name() -> None:
    (kind,) = extra.load_retry_types(((b"", OfModule.__module__, OfModule.__qualname__),))
    assert isinstance(OfModule(), kind)
    assert not isinstance(ValueError(), kind)


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


LOCK = threading.Lock()
CONFIG = {"rate": 1, "locks": [1, LOCK]}


def uses_global() -> Any:
    return LOCK


def uses_global_inside() -> Any:
    return [CONFIG for _ in range(3)]


def refusal_of(value: Any, **options: Any) -> str:
    with cloudpickled_by_value(), pytest.raises(TypeError, match="Could not serialize") as caught:
        by_value.dumps(value, **options)
    return str(caught.value)


@contextlib.contextmanager
def cloudpickled_by_value() -> Iterator[None]:
    # As if this module were the program itself.
    cloudpickle.register_pickle_by_value(sys.modules[__name__])
    try:
        yield
    finally:
        cloudpickle.unregister_pickle_by_value(sys.modules[__name__])


def test_a_function_that_cannot_be_pickled_names_the_variable() -> None:
    captured = threading.Lock()

    def captures() -> Any:
        return captured

    def calls_another() -> Any:
        return captures()

    def has_default(a: int, lock: Any = LOCK) -> Any:
        return lock

    uses = "uses the captured variable"
    for function, way in {
        uses_global: "uses_global uses the global variable LOCK; LOCK",
        uses_global_inside: "uses_global_inside uses the global variable CONFIG; CONFIG['locks'][1]",
        captures: f"captures {uses} captured; captured",
        calls_another: f"calls_another {uses} captures; captures {uses} captured; captured",
        has_default: "has_default.__defaults__[0]",
        functools.partial(captures, 1): f"value.func {uses} captured; captured",
    }.items():
        assert f": {way} is <unlocked _thread.lock" in refusal_of(function)
    assert "Could not serialize the function uses_global (" in refusal_of(uses_global)


def test_a_value_that_cannot_be_pickled_names_the_part() -> None:
    class Holder:
        def __init__(self, **parts: Any) -> None:
            self.__dict__.update(parts)

        def method(self) -> Any:
            return LOCK

    class Slotted:
        __slots__ = ("mine", "never_set")

        def __init__(self) -> None:
            self.mine = LOCK

    looped: dict[str, Any] = {}
    looped.update(own=looped, lock=LOCK)
    uses = "method uses the global variable LOCK; LOCK"
    holder = Holder.__qualname__
    for value, way in (
        ([1, (2, {3: LOCK})], "value[1][1][3]"),
        (Holder(a=1, b=Holder(c=LOCK)), "value.b.c"),
        (Slotted(), "value.mine"),
        (Holder().method, uses),
        (Holder, f"Holder.{uses}"),
        ([Holder()], f"value[0] is a {holder}; {holder}.{uses}"),
        (looped, "value['lock']"),
        ({1, LOCK}, "value has the element a lock; a lock"),
        (ValueError("text", LOCK), "value.args[1]"),
    ):
        assert f": {way} is <unlocked _thread.lock" in refusal_of(value)


def test_an_argument_that_cannot_be_pickled_is_named() -> None:
    assert "serialize the argument at position 2 (from 0 on), <unl" in refusal_of(LOCK, argument=2)
    text = refusal_of([LOCK], argument="locks")
    assert "serialize the argument 'locks': locks[0] is <unl" in text
    assert "position 1 (from 0 on): args[1]['a'] is <" in refusal_of({"a": LOCK}, argument=1)


def test_what_refuses_to_be_pickled_itself_is_named_too() -> None:
    pointer = ctypes.pointer(ctypes.c_int(1))
    text = refusal_of({"a": pointer}, argument="x")
    assert "argument 'x': x['a'] is <" in text and "pointers cannot be pickled" in text


class SaysNo:
    def __reduce__(self) -> Any:
        raise LookupError("not me")


def test_an_error_of_the_values_own_code_is_raised_as_it_is_and_says_where() -> None:
    with pytest.raises(LookupError, match=r"^not me") as caught:
        by_value.dumps({"a": [SaysNo()]}, argument="x")
    if sys.version_info >= (3, 11):
        assert "argument 'x': x['a'][0] is <" in caught.value.__notes__[0]


def test_looking_for_what_cannot_be_pickled_ends() -> None:
    nested: list[Any] = []
    for _ in range(10_000):
        nested = [nested]
    assert "recursion" in refusal_of(nested)
    wide = [{"number": n} for n in range(100_000)]
    assert "value[" not in refusal_of([*wide, LOCK])
