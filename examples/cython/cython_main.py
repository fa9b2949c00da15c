"""Cython functions and classes as cyray tasks and actors: one command an example.

    python cython_main.py --help
    python cython_main.py example1
    python cython_main.py all

A Cython function cannot be decorated in its .pyx file; `cyray.remote(function)` in Python makes a
task of it, `cyray.remote(Class)` an actor.
"""

import time

import click
import cython_examples as ce
import numpy as np

import cyray


def show(name, value, start):
    print(f"{name}: {value}  ({(time.perf_counter() - start) * 1e3:.1f} ms)")


def run(function, *args):
    """Runs one function as one task, and prints its result."""
    start = time.perf_counter()
    task = cyray.remote(function)
    call = f"{function.__name__}({', '.join(map(repr, args))})"
    show(call, cyray.get(task.remote(*args)), start)


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def cli():
    """Cython code in cyray."""
    cyray.init(ignore_reinit_error=True)


@cli.command()
def example1():
    """A def function."""
    run(ce.weighted_sum, 1, 2, 3)


@cli.command()
def example2():
    """A recursive def function."""
    run(ce.fib, 20)


@cli.command()
def example3():
    """A def function with a typed argument."""
    run(ce.fib_int, 20)


@cli.command()
def example4():
    """A cpdef function."""
    run(ce.fib_cpdef, 20)


@cli.command()
def example5():
    """A cdef function behind a def function."""
    run(ce.fib_through_cdef, 20)


@cli.command()
def example6():
    """Classes as actors: a Python class and a cdef class, both compiled."""
    start = time.perf_counter()
    tally = cyray.remote(ce.Tally).remote(10)
    counts = cyray.get([tally.add.remote(name) for name in ("ant", "bee", "ant")])
    show("Tally.add", counts, start)
    start = time.perf_counter()
    fast = cyray.remote(ce.FastTally).remote(100)
    show("FastTally.add", cyray.get([fast.add.remote(n) for n in range(1, 5)])[-1], start)


@cli.command()
def example7():
    """A loop over a NumPy array: the logarithm of its positive elements."""
    start = time.perf_counter()
    x = np.linspace(-1.0, 1.0, 200 * 200).reshape(200, 200)
    result = cyray.get(cyray.remote(ce.masked_log).remote(x))
    expected = np.where(x > 0, np.log(np.where(x > 0, x, 1.0)), 0.0)
    np.testing.assert_allclose(result, expected)
    show("masked_log, sum", round(float(result.sum()), 3), start)


@cli.command()
def example8():
    """BLAS from Cython, which writes its result into a buffer argument."""
    start = time.perf_counter()
    rows = np.random.default_rng(8).standard_normal((300, 100))
    result = np.zeros((300, 300))
    kernel = cyray.remote(ce.gram_matrix_into, inout=("result",))
    written = cyray.get(kernel.remote(rows, result))
    np.testing.assert_allclose(written, rows @ rows.T)
    assert not result.any(), "the caller's own array stays as it was"
    show("gram_matrix_into, trace", round(float(np.trace(written)), 3), start)


@cli.command()
@click.pass_context
def all(context):
    """Every example, one after the other."""
    for example in (example1, example2, example3, example4, example5, example6, example7, example8):
        print(f"{example.name}: {example.help}")
        context.invoke(example)


if __name__ == "__main__":
    cli()
