# Declarations of what the core's parts hand around, for Cython: values, entries, pins. Everything here is nogil; see
# the headers for contracts.
from libc.stdint cimport uint8_t, uint64_t

from cyray.includes.libground cimport *


cdef extern from "cyray/core/value.h" namespace "cyray::core" nogil:
    cdef cppclass Value:
        @staticmethod
        Value* New(size_t) except +
        void Ref()
        void Unref()
        uint8_t* data()
        size_t size()

    cdef cppclass ValuePtr:
        ValuePtr()
        ValuePtr(Value*)
        Value* get()


cdef extern from "cyray/core/object_entry.h" namespace "cyray::core" nogil:
    cdef cppclass LocalPin:
        uint64_t offset
        uint64_t bytes

    cdef cppclass ObjectEntry:
        ObjectId id
