# Memory that Python sees. A Pinned keeps an encoded value alive: a Value of this process or a pin on
# an object of the store. Views of it are read-only and hold it; none can be made from Python. Views
# outlive shutdown: what they show becomes a private copy then, at the same place.

from cpython.buffer cimport PyBUF_WRITABLE, PyBuffer_FillInfo

cdef extern from "stdlib.h" nogil:
    void* aligned_alloc(size_t, size_t)


@cython.final
@cython.no_gc
@cython.internal
cdef class Pinned:
    cdef Value* value
    cdef LocalPin* pin                  # while the session of `epoch` lasts
    cdef shared_ptr[ArenaMapping] arena  # where the pinned object is
    cdef uint32_t epoch

    def __dealloc__(self):
        if self.value != NULL:
            self.value.Unref()
        if self.pin != NULL and self.epoch == now.epoch:
            now.core.reader().UnrefPin(self.pin)


cdef Pinned pinned_from(const ReadView& view):
    # Right after the view was read: before any other Python code runs.
    cdef Pinned pinned = Pinned.__new__(Pinned)
    pinned.value = view.value
    pinned.pin = view.pin
    if view.pin != NULL:
        pinned.arena = now.core.store().shared_arena()
    pinned.epoch = now.epoch
    return pinned


cdef Pinned pinned_value(Value* value):
    value.Ref()
    cdef Pinned pinned = Pinned.__new__(Pinned)
    pinned.value = value
    pinned.epoch = now.epoch
    return pinned


@cython.final
@cython.no_gc
cdef class ReadOnlyBuffer:
    """A read-only view into an object; it keeps the object's memory alive."""
    cdef Pinned owner
    cdef const uint8_t* data
    cdef Py_ssize_t size

    def __init__(self):
        raise TypeError("ReadOnlyBuffer cannot be made from Python")

    def __getbuffer__(self, Py_buffer* buffer, int flags):
        if flags & PyBUF_WRITABLE:
            raise BufferError(
                "this buffer is a read-only view of an object: use cyray.get(ref, writable=True) "
                "or remote(fn, inout=...) for a private writable one")
        PyBuffer_FillInfo(buffer, self, <void*>self.data, self.size, 1, flags)

    def __len__(self):
        return self.size

    def __reduce__(self):
        return bytes, (bytes(self),)


cdef ReadOnlyBuffer readonly_buffer(Pinned owner, const uint8_t* data, Py_ssize_t size):
    cdef ReadOnlyBuffer buffer = ReadOnlyBuffer.__new__(ReadOnlyBuffer)
    buffer.owner = owner
    buffer.data = data
    buffer.size = size
    return buffer


@cython.final
@cython.no_gc
cdef class WritableBuffer:
    """A private, 64-byte aligned copy of a part of an object."""
    cdef uint8_t* data
    cdef Py_ssize_t size
    cdef PrivateMapping mapping   # when the memory is a copy-on-write mapping

    def __init__(self):
        raise TypeError("WritableBuffer cannot be made from Python")

    def __dealloc__(self):
        if self.mapping is None:
            free(self.data)

    def __getbuffer__(self, Py_buffer* buffer, int flags):
        PyBuffer_FillInfo(buffer, self, self.data, self.size, 0, flags)

    def __len__(self):
        return self.size

    def __reduce__(self):
        return bytearray, (bytes(self),)


cdef WritableBuffer writable_copy(const uint8_t* data, Py_ssize_t size):
    cdef WritableBuffer buffer = WritableBuffer.__new__(WritableBuffer)
    buffer.data = <uint8_t*>aligned_alloc(64, (size + 64) & ~63)
    if buffer.data == NULL:
        raise MemoryError(f"cannot allocate {size} bytes for a writable copy")
    buffer.size = size
    cdef uint8_t* to = buffer.data
    if size > 1 << 20:
        with nogil:
            memcpy(to, data, size)
    else:
        memcpy(to, data, size)
    return buffer


cdef extern from *:
    """
    #include "cyray/store/arena_mapping.h"
    // Status-returning form, which Cython can call.
    static inline ::cyray::Status cyray_map_private(::cyray::store::ArenaMapping& arena,
                                                    uint64_t offset, uint64_t bytes,
                                                    ::cyray::store::WritableView* out) {
      auto view = arena.MapPrivate(offset, bytes);
      if (!view) return view.error();
      *out = std::move(*view);
      return ::cyray::Status::Ok();
    }
    """
    Status cyray_map_private(ArenaMapping&, uint64_t, uint64_t, WritableView*) nogil


@cython.final
@cython.no_gc
@cython.internal
cdef class PrivateMapping:
    # A copy-on-write mapping of a sealed object; `pinned` keeps the object where it is.
    cdef WritableView view
    cdef Pinned pinned
    cdef object __weakref__


cdef object _private_mappings = _compat.WeakSet()   # those that live


cdef detach_private_mappings():
    # What Python still looks at becomes this process's own.
    cdef PrivateMapping mapping
    for mapping in list(_private_mappings):
        mapping.view.Detach()


cdef PrivateMapping private_mapping(Pinned pinned):
    # None when the session is over: what is pinned is a copy then, and no part of the arena.
    cdef PrivateMapping mapping = PrivateMapping.__new__(PrivateMapping)
    mapping.pinned = pinned
    if pinned.epoch != now.epoch:
        return None
    cdef Status status = cyray_map_private(deref(pinned.arena), pinned.pin.offset, pinned.pin.bytes,
                                           &mapping.view)
    if not status.ok():
        raise_status(status)
    _private_mappings.add(mapping)
    return mapping


cdef WritableBuffer mapped_buffer(PrivateMapping mapping, Py_ssize_t offset, Py_ssize_t size):
    cdef WritableBuffer buffer = WritableBuffer.__new__(WritableBuffer)
    buffer.mapping = mapping
    buffer.data = mapping.view.data() + offset
    buffer.size = size
    return buffer
