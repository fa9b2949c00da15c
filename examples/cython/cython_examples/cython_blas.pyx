#!python
# cython: embedsignature=True, binding=True, boundscheck=False, wraparound=False
"""BLAS through SciPy's Cython interface: no Python between the arguments and the Fortran routine.

The kernel returns nothing and writes into a buffer that it was given, as such kernels do. As a task
it needs `cyray.remote(gram_matrix_into, inout=("result",))`: the worker then gets a private copy of
that argument, and what was written comes back as the task's value.
"""

from scipy.linalg.cython_blas cimport dsyrk


def gram_matrix_into(const double[:, ::1] rows not None, double[:, ::1] result not None):
    """Writes the inner products of all pairs of rows (rows @ rows.T) into `result`.

    rows: float64, (n, k), C order.  result: float64, (n, n), C order, overwritten.
    """
    cdef int n = <int>rows.shape[0]
    cdef int k = <int>rows.shape[1]
    if result.shape[0] != n or result.shape[1] != n:
        raise ValueError(f"result must have shape ({n}, {n})")
    if n == 0 or k == 0:
        result[:, :] = 0.0
        return
    # In BLAS's column order `rows` is its own transpose, (k, n): hence trans = "T".
    cdef char upper = b"U"
    cdef char transposed = b"T"
    cdef double one = 1.0
    cdef double zero = 0.0
    cdef Py_ssize_t i, j
    with nogil:
        dsyrk(&upper, &transposed, &n, &k, &one, <double*>&rows[0, 0], &k, &zero,
              &result[0, 0], &n)
        # The upper triangle by columns is the lower one by rows; fill the other half.
        for i in range(n):
            for j in range(i):
                result[j, i] = result[i, j]
