#!python
# cython: embedsignature=True, binding=True
"""Plain functions and classes, from untyped to C.

None of them knows cyray: cython_main.py makes tasks and actors of them. The same Fibonacci number
computed in four ways shows what each kind of function costs.
"""


def weighted_sum(x, y, z):
    """An untyped function of Python objects."""
    return x + 2 * y + 3 * z


def fib(n):
    """The n-th Fibonacci number, recursively, on Python objects."""
    return n if n < 2 else fib(n - 1) + fib(n - 2)


def fib_int(int n):
    """The same with a C integer as argument; the recursion still goes through Python calls."""
    return n if n < 2 else fib_int(n - 1) + fib_int(n - 2)


cpdef long fib_cpdef(int n):
    """The same as a C function that Python can call too."""
    return n if n < 2 else fib_cpdef(n - 1) + fib_cpdef(n - 2)


cdef long _fib(int n) noexcept nogil:
    return n if n < 2 else _fib(n - 1) + _fib(n - 2)


def fib_through_cdef(int n):
    """The same in a C function, which Python cannot call, behind one that it can."""
    return _fib(n)


def count_primes(long limit):
    """How many primes there are below `limit`; releases the GIL while it counts."""
    cdef long count = 0
    cdef long candidate, divisor
    with nogil:
        for candidate in range(2, limit):
            divisor = 2
            while divisor * divisor <= candidate and candidate % divisor != 0:
                divisor += 1
            if divisor * divisor > candidate:
                count += 1
    return count


def every(const double[:] samples, int step):
    """Each `step`-th sample, as a typed memoryview: what Cython makes of a slice."""
    return samples[::step]


class Tally:
    """Counts by name: a Python class that Cython compiled."""

    def __init__(self, start=0):
        self.start = start
        self.counts = {}

    def add(self, name, n=1):
        """Adds `n` to the count of `name` and returns it."""
        self.counts[name] = self.counts.get(name, self.start) + n
        return self.counts[name]

    def total(self):
        return sum(self.counts.values())


cdef class FastTally:
    """One count in a C integer: an extension type."""

    cdef long _count

    def __init__(self, long start=0):
        self._count = start

    def add(self, long n=1):
        self._count += n
        return self._count

    @property
    def count(self):
        return self._count

    def read(self):
        return self._count
