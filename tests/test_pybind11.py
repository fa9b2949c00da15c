"""C++ functions and classes, through pybind11, as tasks and actors."""

from __future__ import annotations

import examples_path  # noqa: F401
import numpy as np
import pytest

import cyray

import pybind_examples as pe  # isort: skip

pytestmark = pytest.mark.usefixtures("shared_session")


def test_functions():
    collatz = cyray.remote(pe.collatz_length)
    assert cyray.get([collatz.remote(n) for n in (1, 2, 3, 27)]) == [0, 1, 7, 111]
    assert cyray.get(collatz.remote(n=27)) == 111


def test_arrays_are_read_in_place():
    values = cyray.put(np.arange(1_000_000, dtype=float))
    expected = float((np.arange(1_000_000, dtype=float) ** 2).sum())
    assert cyray.get(cyray.remote(pe.sum_of_squares).remote(values)) == pytest.approx(expected)


def test_errors_of_cpp_are_python_errors():
    with pytest.raises(ValueError, match="n must be positive"):
        cyray.get(cyray.remote(pe.collatz_length).remote(0))
    with pytest.raises(TypeError):
        cyray.get(cyray.remote(pe.collatz_length).remote("text"))


def test_a_cpp_class_as_an_actor():
    average = cyray.remote(pe.MovingAverage).remote(3)
    results = cyray.get([average.add.remote(float(n)) for n in range(6)])
    assert results == [0.0, 0.5, 1.0, 2.0, 3.0, 4.0]
    named = cyray.remote(pe.MovingAverage).remote(size=1)
    assert cyray.get(named.add.remote(value=2.0)) == 2.0


def test_an_error_in_a_cpp_constructor():
    broken = cyray.remote(pe.MovingAverage).remote(0)
    with pytest.raises(cyray.exceptions.ActorDiedError, match="size must be positive"):
        cyray.get(broken.add.remote(1.0))


def test_functions_without_the_gil_share_a_worker():
    longest = cyray.remote(pe.longest_collatz, max_concurrency=2)
    assert cyray.get([longest.remote(1000) for _ in range(4)]) == [871] * 4
