#!python
# cython: embedsignature=True, binding=True, boundscheck=False, wraparound=False
"""A loop over a NumPy array that would need several passes and temporaries in NumPy itself."""

import numpy as np

from libc.math cimport log


def masked_log(const double[:, :] x not None):
    """The natural logarithm where an element is positive, 0 elsewhere; a new array.

    `const` matters: arrays that come as task arguments are read-only views of shared memory.
    """
    result = np.zeros((x.shape[0], x.shape[1]))
    cdef double[:, ::1] out = result
    cdef Py_ssize_t i, j
    with nogil:
        for i in range(x.shape[0]):
            for j in range(x.shape[1]):
                if x[i, j] > 0:
                    out[i, j] = log(x[i, j])
    return result
