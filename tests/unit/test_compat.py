"""What `_compat` relies on is still so in the Python and cloudpickle that are installed."""

from __future__ import annotations

import asyncio
import asyncio.coroutines
import ctypes
import functools
import inspect
import io
import os
import pickle
import signal
import subprocess
import sys
import weakref
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import cloudpickle
import pytest

from cyray import _compat


def run_alone(program: str) -> str:
    """What a process prints that has `_compat` and nothing else of cyray."""
    start = (
        "import sys, types\n"
        "m = types.ModuleType('cyray'); m.__path__ = [sys.argv[1]]; sys.modules['cyray'] = m\n"
        "from cyray import _compat\n"
    )
    command = [sys.executable, "-I", "-c", start + program, os.path.dirname(_compat.__file__)]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def test_exit_functions_run_when_asked() -> None:
    program = (
        "import atexit, os\n"
        "atexit.register(lambda: print('ran', flush=True))\n"
        "_compat.run_exit_functions()\n"
        "os._exit(0)\n"
    )
    assert run_alone(program) == "ran\n"


def test_the_handler_of_a_signal_is_known_to_the_signal_module() -> None:
    before = signal.getsignal(signal.SIGUSR1)
    try:
        assert _compat.set_signal_handler(int(signal.SIGUSR1), handler := lambda *_: None) == before
        assert signal.getsignal(signal.SIGUSR1) is handler
        _compat.set_signal_handler(int(signal.SIGUSR1), _compat.DEFAULT_ACTION)
        assert signal.getsignal(signal.SIGUSR1) is signal.SIG_DFL
    finally:
        signal.signal(signal.SIGUSR1, before)


def test_the_pickler_and_the_weak_set_are_pythons_own() -> None:
    assert _compat.dumps is pickle.dumps and _compat.loads is pickle.loads
    assert _compat.PicklingError is pickle.PicklingError
    assert _compat.WeakSet is weakref.WeakSet


class Example:
    async def coroutine(self) -> None: ...

    def plain(self) -> None: ...

    def generator(self) -> Iterator[int]:
        yield 1

    async def async_generator(self) -> AsyncIterator[int]:
        yield 1


class LikeCython:
    """A compiled `async def`: no flags that Python knows, but asyncio's mark."""

    def __call__(self) -> None: ...


@pytest.mark.parametrize(
    "function",
    [Example.coroutine, Example().coroutine, functools.partial(Example().coroutine)],
)
def test_coroutine_functions_are_known_bound_and_partial(function: object) -> None:
    assert _compat.is_coroutine_function(function)
    assert inspect.iscoroutinefunction(function)


def test_coroutine_functions_of_cython_are_known_by_their_mark() -> None:
    function = LikeCython()
    assert not _compat.is_coroutine_function(function)
    function._is_coroutine = getattr(asyncio.coroutines, "_is_coroutine", True)
    assert _compat.is_coroutine_function(function)
    function._is_coroutine = True
    assert _compat.is_coroutine_function(function)
    function._is_coroutine = None
    assert not _compat.is_coroutine_function(function)


@pytest.mark.parametrize("function", [Example.plain, Example().plain, len, Example, 3])
def test_others_are_no_coroutine_functions(function: object) -> None:
    assert not _compat.is_coroutine_function(function)


@pytest.mark.parametrize(
    ("function", "kind"),
    [
        (Example.generator, "generator"),
        (functools.partial(Example().generator), "generator"),
        (Example().async_generator, "async generator"),
        (Example.coroutine, None),
        (Example.plain, None),
        (len, None),
        (LikeCython(), None),
    ],
)
def test_generators_are_known_bound_and_partial(function: object, kind: str | None) -> None:
    assert _compat.generator_kind(function) == kind


def test_generators_of_cython_have_pythons_flags(tmp_path: Path) -> None:
    source = tmp_path / "generators_of_cython.pyx"
    source.write_text("def some(n):\n    yield n\nasync def others(n):\n    yield n\n")
    build = [sys.executable, "-m", "Cython.Build.Cythonize", "-3", "-i", str(source)]
    subprocess.run(build, cwd=tmp_path, check=True, capture_output=True)
    program = (
        f"sys.path.insert(0, {str(tmp_path)!r})\n"
        "import generators_of_cython as g\n"
        "print(_compat.generator_kind(g.some), _compat.generator_kind(g.others))\n"
    )
    assert run_alone(program) == "generator async generator\n"


def test_asking_for_coroutine_functions_imports_neither_inspect_nor_asyncio() -> None:
    program = (
        "before = set(sys.modules)\n"
        "assert _compat.is_coroutine_function(type('A', (), {})) is False\n"
        "print({'inspect', 'asyncio'} & (set(sys.modules) - before))\n"
    )
    assert run_alone(program) == "set()\n"


def test_the_builtin_base_is_the_one_that_is_compiled_in() -> None:
    class Mine(OSError): ...

    class Derived(Mine): ...

    assert _compat.builtin_base(Derived) is OSError
    assert _compat.builtin_base(KeyError) is KeyError


def test_slots_and_members_of_c_can_be_set_through_their_descriptors() -> None:
    class Slotted:
        __slots__ = ("kept",)

    one, other = Slotted(), Slotted()
    one.kept = 5
    for member in _compat.data_descriptors(Slotted):
        member.__set__(other, member.__get__(one))
    assert other.kept == 5
    assert "errno" in {member.__name__ for member in _compat.data_descriptors(OSError)}


def test_a_class_that_goes_by_value_has_its_memory_where_it_is_looked_for() -> None:
    class Slotted:
        __slots__ = ("kept",)

    class Fields(ctypes.Structure):
        _fields_ = (("x", ctypes.c_int),)

    for cls, name in ((Slotted, "__slots__"), (Fields, "_fields_")):
        reduced = cloudpickle.Pickler(io.BytesIO(), 5).reducer_override(cls)
        _compat.keep_layout(cls, reduced)
        assert name in reduced[1][3] and not {"kept", "x"} & set(reduced[2][0])


def test_what_can_be_imported_is_known_whatever_has_wrapped_it() -> None:
    assert _compat.is_importable(functools.wraps) and _compat.is_importable(_cached)
    assert not _compat.is_importable(functools.lru_cache(lambda: 1))
    module = sys.modules[__name__]
    cloudpickle.register_pickle_by_value(module)
    try:
        assert not _compat.is_importable(_cached)
    finally:
        cloudpickle.unregister_pickle_by_value(module)


@functools.lru_cache
def _cached() -> int:
    return 1


def test_modules_by_value_are_those_that_cloudpickle_was_told() -> None:
    module = sys.modules[__name__]
    cloudpickle.register_pickle_by_value(module)
    try:
        assert set(_compat.modules_by_value()) == cloudpickle.list_registry_pickle_by_value()
    finally:
        cloudpickle.unregister_pickle_by_value(module)
    assert not _compat.modules_by_value()
