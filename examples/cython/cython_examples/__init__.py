"""Cython functions and classes that cython_main.py runs as tasks and actors.

`import cython_examples` gives them all, as a script or an interpreter would want them.
"""

from cython_examples.cython_blas import gram_matrix_into
from cython_examples.cython_simple import (
    FastTally,
    Tally,
    count_primes,
    every,
    fib,
    fib_cpdef,
    fib_int,
    fib_through_cdef,
    weighted_sum,
)
from cython_examples.masked_log import masked_log

__all__ = [
    "FastTally",
    "Tally",
    "count_primes",
    "every",
    "fib",
    "fib_cpdef",
    "fib_int",
    "fib_through_cdef",
    "gram_matrix_into",
    "masked_log",
    "weighted_sum",
]
