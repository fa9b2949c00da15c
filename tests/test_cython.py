"""Cython functions and classes as tasks and actors; kernels that write into an argument."""

from __future__ import annotations

import examples_path  # noqa: F401
import numpy as np
import pytest

import cyray

import cython_examples as ce  # isort: skip

pytestmark = pytest.mark.usefixtures("shared_session")


def run(function, *args, **options):
    return cyray.get(cyray.remote(function, **options).remote(*args))


def test_functions_of_every_kind():
    assert run(ce.weighted_sum, 1, 2, 3) == 14
    assert run(ce.fib, 10) == run(ce.fib_int, 10) == 55
    assert run(ce.fib_cpdef, 10) == run(ce.fib_through_cdef, 10) == 55


def test_names_and_keywords_are_those_of_the_pyx():
    remote = cyray.remote(ce.weighted_sum)
    assert remote.__name__ == "weighted_sum"
    assert cyray.get(remote.remote(x=1, z=3, y=2)) == 14


def test_a_class_and_an_extension_type_as_actors():
    tally = cyray.remote(ce.Tally).remote(10)
    assert cyray.get([tally.add.remote(name) for name in ("a", "b", "a")]) == [11, 11, 12]
    assert cyray.get(tally.total.remote()) == 23
    fast = cyray.remote(ce.FastTally).remote(100)
    assert cyray.get([fast.add.remote(n) for n in range(1, 5)]) == [101, 103, 106, 110]
    assert cyray.get(fast.read.remote()) == 110


@pytest.mark.parametrize("step", [1, 3])
@pytest.mark.parametrize("n", [20, 50_000], ids=["inline", "in the store"])
def test_typed_memoryviews_come_back_as_memoryviews(n, step):
    samples = np.linspace(0.0, 1.0, n)
    back = run(ce.every, samples, step)
    assert type(back) is memoryview and back.format == "d"
    np.testing.assert_array_equal(back, samples[::step])
    assert run(lambda view: view[1], ce.every(samples, step)) == samples[step]


def test_a_loop_over_a_read_only_array():
    x = np.linspace(-1.0, 1.0, 200 * 200).reshape(200, 200)
    expected = np.where(x > 0, np.log(np.where(x > 0, x, 1.0)), 0.0)
    np.testing.assert_allclose(run(ce.masked_log, x), expected)
    np.testing.assert_allclose(run(ce.masked_log, cyray.put(x)), expected)


@pytest.mark.parametrize("inout", ["result", ("result",), 1, (1,)], ids=repr)
@pytest.mark.parametrize("n", [20, 300], ids=["inline", "in the store"])
def test_a_kernel_that_writes_into_its_argument(inout, n):
    rows = np.random.default_rng(8).standard_normal((n, 50))
    result = np.zeros((n, n))
    kernel = cyray.remote(ce.gram_matrix_into, inout=inout)
    written = cyray.get(
        kernel.remote(rows, result) if 1 in (inout, *np.atleast_1d(inout).tolist())
        else kernel.remote(rows, result=result)
    )  # fmt: skip
    np.testing.assert_allclose(written, rows @ rows.T)
    assert not result.any(), "the caller's own array stays as it was"


def test_a_positional_argument_that_is_named_in_inout():
    rows = np.ones((30, 4))
    kernel = cyray.remote(ce.gram_matrix_into, inout=("result",))
    written = cyray.get(kernel.remote(rows, np.zeros((30, 30))))
    np.testing.assert_allclose(written, rows @ rows.T)


def test_a_kernel_writes_into_an_object_of_the_store_which_stays_as_it_was():
    rows = np.ones((300, 10))
    ref = cyray.put(np.zeros((300, 300)))
    kernel = cyray.remote(ce.gram_matrix_into, inout=("result",))
    results = cyray.get([kernel.remote(rows, ref) for _ in range(3)])
    for written in results:
        assert (written == 10).all()
    assert not cyray.get(ref).any()


def test_writing_without_inout_is_refused_with_the_remedy():
    rows, result = np.ones((300, 10)), np.zeros((300, 300))
    with pytest.raises(ValueError, match="read-only") as caught:
        run(ce.gram_matrix_into, rows, result)
    assert "inout" in str(caught.value) and "writable=True" in str(caught.value)


def test_errors_show_the_lines_of_the_pyx():
    kernel = cyray.remote(ce.gram_matrix_into, inout=("result",))
    with pytest.raises(ValueError, match=r"result must have shape") as caught:
        cyray.get(kernel.remote(np.ones((3, 3)), np.ones((2, 2))))
    assert "cython_blas.pyx" in str(caught.value)
    with pytest.raises(TypeError):
        run(ce.fib_int, "not a number")


def test_kernels_that_release_the_gil_share_a_worker():
    counts = cyray.remote(ce.count_primes, max_concurrency=2)
    assert cyray.get([counts.remote(1000) for _ in range(8)]) == [168] * 8


def test_python_functions_may_write_too():
    @cyray.remote(inout=("out",))
    def fill(value, out):
        out[:] = value

    assert (cyray.get(fill.remote(3.0, np.zeros(5))) == 3.0).all()
    assert (cyray.get(fill.remote(4.0, out=np.zeros(100_000))) == 4.0).all()


def test_what_a_kernel_returns_comes_before_what_it_wrote():
    @cyray.remote(inout=("out",), num_returns=2)
    def fill(out):
        out[:] = 1
        return "done"

    word, out = cyray.get(fill.remote(np.zeros(4)))
    assert word == "done" and (out == 1).all()
