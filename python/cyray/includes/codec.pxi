# Values to bytes and back.
#
# An encoded value is a tag byte and its content:
#   0 None, 1 True, 2 False, 3 int (8 bytes), 4 float (8 bytes), 5 str (UTF-8), 6 bytes,
#   7 pickle with buffers: [tag, 3 bytes 0, u32 count][u64 pickle size][u64 size of each buffer]
#     [pickle], then each buffer at the next multiple of 64 from the value's start,
#   8 pickle, 9 an error of cyray itself: [kind][actor id 16][text], 10 reference: [u32 index],
#   13 the error of a task with a failed argument: [u32 size][the task's name][the argument's error],
#   11 memoryview: laid out like 7 with one buffer and no pickle,
#   12 a value that contains refs: [tag, 3 bytes 0, u32 count][id 20, owner 36 of each ref], then at the
#     next multiple of 64 the value itself, whose pickle names refs by their number,
#   14 the list, 15 the tuple of exactly the refs of the table before it,
#   16 a numpy array of plain numbers: laid out like 7 with one buffer, and for the pickle
#     [u8 dimensions][i64 each][the dtype's string].

from cpython.buffer cimport PyBUF_CONTIG_RO, PyBuffer_Release, PyObject_GetBuffer
from cpython.float cimport PyFloat_AS_DOUBLE, PyFloat_FromDouble
from cpython.long cimport PyLong_FromLongLong
from cpython.tuple cimport PyTuple_GET_ITEM, PyTuple_GET_SIZE, PyTuple_New, PyTuple_SET_ITEM
from cpython.unicode cimport PyUnicode_DecodeUTF8

cdef extern from "Python.h":
    const char* PyUnicode_AsUTF8AndSize(object, Py_ssize_t*) except? NULL
    long long PyLong_AsLongLongAndOverflow(object, int*) except? -1

cdef enum Tag:
    TAG_NONE = 0
    TAG_TRUE = 1
    TAG_FALSE = 2
    TAG_INT = 3
    TAG_FLOAT = 4
    TAG_STR = 5
    TAG_BYTES = 6
    TAG_PICKLE_BUFFERS = 7
    TAG_PICKLE = 8
    TAG_SYSTEM_ERROR = 9
    TAG_REF = 10
    TAG_MEMORYVIEW = 11
    TAG_DEPENDENCY = 13
    TAG_REFS = 12
    TAG_REF_LIST = 14
    TAG_REF_TUPLE = 15
    TAG_ARRAY = 16

cdef enum:
    REF_BYTES = 56   # ObjectId and Address

cdef object _dumps = _compat.dumps
cdef object _loads = _compat.loads
cdef object _PicklingError = _compat.PicklingError


cdef inline uint64_t align64(uint64_t offset) noexcept nogil:
    return (offset + 63) & ~<uint64_t>63


@cython.final
@cython.internal
cdef class Serialized:
    # A value on its way to bytes: a pickle and the buffers it left out.
    cdef int tag
    cdef bytes pickled
    cdef const char* head       # what is in `pickled`, for those without the GIL
    cdef uint64_t head_size
    cdef list pieces            # objects that export buffers
    cdef vector[Py_buffer] views
    cdef list contained         # ObjectRefs inside
    cdef vector[uint8_t] table  # their ids and owners
    cdef uint64_t prefix        # bytes before the value itself: the table
    cdef uint64_t size

    def __dealloc__(self):
        cdef size_t i
        for i in range(self.views.size()):
            PyBuffer_Release(&self.views[i])

    cdef int measure(self) except -1:
        cdef Py_buffer view
        cdef uint64_t size
        self.head = PyBytes_AS_STRING(self.pickled)
        self.head_size = PyBytes_GET_SIZE(self.pickled)
        if not self.pieces:
            if self.tag == 0:
                self.tag = TAG_PICKLE
            self.size = self.prefix + 1 + self.head_size
            return 0
        if self.tag == 0:
            self.tag = TAG_PICKLE_BUFFERS
        size = 16 + 8 * len(self.pieces) + self.head_size
        for piece in self.pieces:
            PyObject_GetBuffer(piece, &view, PyBUF_CONTIG_RO)
            self.views.push_back(view)
            size = align64(size) + view.len
        self.size = self.prefix + size
        return 0

    cdef int take_refs(self) except -1:
        # The table of the refs inside; exporting them lets others name them.
        cdef vector[ObjectEntry*] entries
        cdef ObjectRef ref
        cdef size_t n = len(self.contained)
        if n == 0:
            return 0
        entries.reserve(n)
        self.table.resize(REF_BYTES * n)
        for ref in self.contained:
            entries.push_back(ref.live())
        now.core.ExportMany(entries.data(), n, self.table.data())
        self.prefix = align64(8 + REF_BYTES * n)
        return 0

    cdef void write(self, uint8_t* to) noexcept nogil:
        cdef uint32_t count
        cdef uint64_t length, at
        cdef size_t i
        if self.prefix > 0:
            count = <uint32_t>(self.table.size() / REF_BYTES)
            memset(to, 0, self.prefix)
            to[0] = TAG_REFS
            memcpy(to + 4, &count, 4)
            memcpy(to + 8, self.table.data(), self.table.size())
            to += self.prefix
        count = <uint32_t>self.views.size()
        if count == 0:
            to[0] = self.tag
            memcpy(to + 1, self.head, self.head_size)
            return
        memset(to, 0, 16)
        to[0] = self.tag
        memcpy(to + 4, &count, 4)
        memcpy(to + 8, &self.head_size, 8)
        at = 16 + 8 * count
        for i in range(count):
            length = self.views[i].len
            memcpy(to + 16 + 8 * i, &length, 8)
        memcpy(to + at, self.head, self.head_size)
        at += self.head_size
        for i in range(count):
            at = align64(at)
            memcpy(to + at, self.views[i].buf, self.views[i].len)
            at += self.views[i].len


cdef object _by_value_dumps(object value, list buffers):
    # What the C pickler cannot do by reference: functions and classes of __main__, closures, lambdas.
    return hook("dumps_by_value")(value, buffers.append)


cdef Serialized serialize(object value):
    cdef Serialized out = Serialized.__new__(Serialized)
    cdef CyrayThread* here = this_thread()
    cdef PyObject* outer = here.captured
    cdef list buffers = []
    out.contained = []
    if serialize_plain(value, out):
        return out
    here.captured = <PyObject*>out.contained
    try:
        try:
            out.pickled = _dumps(value, 5, buffer_callback=buffers.append)
            by_value = b"__main__" in out.pickled or _must_pickle_by_value()
        except (_PicklingError, AttributeError, TypeError, RecursionError):
            by_value = True
        if by_value:
            buffers.clear()
            out.contained.clear()
            out.pickled = _by_value_dumps(value, buffers)
    finally:
        here.captured = outer
    out.pieces = [buffer.raw() for buffer in buffers] if buffers else None
    out.take_refs()
    out.measure()
    return out


cdef bint serialize_plain(object value, Serialized out) except -1:
    # What needs no pickle: memoryviews, arrays of plain numbers, lists and tuples of nothing but refs.
    kind = type(value)
    if kind is memoryview:
        # Others, such as those of records or with a zero in the shape, only numpy can build again.
        if not value.c_contiguous or len(value.format) != 1 or value.nbytes == 0:
            return False
        out.tag = TAG_MEMORYVIEW
        out.pickled = _dumps((value.format, value.shape), 5)
        out.pieces = [value]
    elif kind is list or kind is tuple:
        if not only_refs(value):
            return False
        out.tag = TAG_REF_LIST if kind is list else TAG_REF_TUPLE
        out.pickled = b""
        out.contained = list(value)
        out.take_refs()
    elif kind is numpy_array_type() and is_plain_array(value):
        out.tag = TAG_ARRAY
        out.pickled = array_header(value)
        out.pieces = [value]
    else:
        return False
    out.measure()
    return True


cdef bint only_refs(object sequence):
    for item in sequence:
        if type(item) is not ObjectRef:
            return False
    return len(sequence) > 0


cdef object _array_type = None


cdef object numpy_array_type():
    # numpy.ndarray once this process has numpy; nothing is imported for it.
    global _array_type
    if _array_type is None:
        _array_type = getattr(sys.modules.get("numpy"), "ndarray", None)
        if _array_type is None:
            return _NoArray
    return _array_type


class _NoArray:
    pass


cdef bint is_plain_array(object array):
    # Of builtin numbers in C order; what numpy pickles in another way stays numpy's.
    dtype = array.dtype
    return dtype.isbuiltin == 1 and dtype.kind in "biufc" and array.flags.c_contiguous


cdef bytes array_header(object array):
    cdef tuple shape = array.shape
    cdef bytes code = array.dtype.str.encode("ascii")
    cdef Py_ssize_t dimensions = PyTuple_GET_SIZE(shape)
    cdef bytes header = PyBytes_FromStringAndSize(NULL, 1 + 8 * dimensions + len(code))
    cdef uint8_t* to = <uint8_t*>PyBytes_AS_STRING(header)
    cdef Py_ssize_t i
    cdef int64_t extent
    to[0] = <uint8_t>dimensions
    for i in range(dimensions):
        extent = shape[i]
        memcpy(to + 1 + 8 * i, &extent, 8)
    memcpy(to + 1 + 8 * dimensions, PyBytes_AS_STRING(code), len(code))
    return header


cdef bint _must_pickle_by_value():
    return len(_compat.modules_by_value()) > 0


cdef Value* encode_simple(object value) except? NULL:
    # The encoded value of None, bool, int, float, str and bytes; NULL (no error) for anything else.
    cdef Value* out
    cdef long long number
    cdef int overflow = 0
    cdef double real
    cdef const char* text
    cdef Py_ssize_t size
    kind = type(value)
    if value is None or kind is bool:
        out = Value.New(1)
        out.data()[0] = TAG_NONE if value is None else (TAG_TRUE if value is True else TAG_FALSE)
        return out
    if kind is int:
        number = PyLong_AsLongLongAndOverflow(value, &overflow)
        if overflow:
            return NULL
        out = Value.New(9)
        out.data()[0] = TAG_INT
        memcpy(out.data() + 1, &number, 8)
        return out
    if kind is float:
        real = PyFloat_AS_DOUBLE(value)
        out = Value.New(9)
        out.data()[0] = TAG_FLOAT
        memcpy(out.data() + 1, &real, 8)
        return out
    if kind is str:
        text = utf8(value, &size)
        if text == NULL or size >= INLINE_LIMIT:
            return NULL
        out = Value.New(1 + size)
        out.data()[0] = TAG_STR
        memcpy(out.data() + 1, text, size)
        return out
    if kind is bytes:
        size = PyBytes_GET_SIZE(value)
        if size >= INLINE_LIMIT:
            return NULL
        out = Value.New(1 + size)
        out.data()[0] = TAG_BYTES
        memcpy(out.data() + 1, PyBytes_AS_STRING(value), size)
        return out
    return NULL


cdef const char* utf8(object text, Py_ssize_t* size):
    # NULL without an error when the string has surrogates: those go through pickle.
    try:
        return PyUnicode_AsUTF8AndSize(text, size)
    except UnicodeEncodeError:
        return NULL


cdef Value* encode_inline(Serialized serialized):
    cdef Value* out = Value.New(serialized.size)
    serialized.write(out.data())
    return out


cdef int take_contained(Serialized serialized, vector[ObjectEntry*]* out) except -1:
    # Passes one count of each ref inside the value on to the core.
    cdef ObjectRef ref
    for ref in serialized.contained:
        now.core.AddRef(ref.live())
        out.push_back(ref.entry)
    return 0


# --- Decoding --------------------------------------------------------------------------------------

cdef object decode(const uint8_t* data, uint64_t size, Pinned owner, bint writable):
    cdef int64_t number
    cdef double real
    if size == 0:
        raise ValueError("an encoded value is empty")
    cdef int tag = data[0]
    if tag == TAG_NONE:
        return None
    if tag == TAG_TRUE:
        return True
    if tag == TAG_FALSE:
        return False
    if tag == TAG_INT and size == 9:
        memcpy(&number, data + 1, 8)
        return PyLong_FromLongLong(number)
    if tag == TAG_FLOAT and size == 9:
        memcpy(&real, data + 1, 8)
        return PyFloat_FromDouble(real)
    if tag == TAG_STR:
        return PyUnicode_DecodeUTF8(<const char*>data + 1, size - 1, NULL)
    if tag == TAG_BYTES:
        return PyBytes_FromStringAndSize(<const char*>data + 1, size - 1)
    if tag == TAG_PICKLE:
        return _loads(readonly_buffer(owner, data + 1, size - 1))
    if tag == TAG_PICKLE_BUFFERS or tag == TAG_MEMORYVIEW or tag == TAG_ARRAY:
        return decode_buffers(data, size, owner, writable)
    if tag == TAG_REFS:
        return decode_with_refs(data, size, owner, writable)
    if tag == TAG_SYSTEM_ERROR and size >= 18:
        return decode_system_error(data, size)
    if tag == TAG_DEPENDENCY:
        return decode_dependency(data, size, owner)
    raise ValueError(f"an encoded value begins with the unknown tag {tag}")


cdef object decode_buffers(const uint8_t* data, uint64_t size, Pinned owner, bint writable,
                           uint64_t base=0):
    # `base`: where `data` lies in the object, for a mapping of the object as a whole.
    cdef uint32_t count, i
    cdef uint64_t pickled, length, at
    cdef PrivateMapping mapping = None
    cdef object one
    if size < 16:
        raise ValueError("an encoded value with buffers is cut off")
    memcpy(&count, data + 4, 4)
    memcpy(&pickled, data + 8, 8)
    at = 16 + 8 * <uint64_t>count
    if at > size or pickled > size - at:
        raise ValueError("an encoded value with buffers is cut off")
    cdef uint64_t head_at = at
    at += pickled
    buffers = []
    if writable and owner.pin != NULL:
        mapping = private_mapping(owner)
    for i in range(count):
        memcpy(&length, data + 16 + 8 * i, 8)
        at = align64(at)
        if at > size or length > size - at:
            raise ValueError("an encoded value with buffers is cut off")
        if not writable:
            one = readonly_buffer(owner, data + at, length)
        elif mapping is not None:
            one = mapped_buffer(mapping, base + at, length)
        else:
            one = writable_copy(data + at, length)
        buffers.append(one)
        at += length
    if data[0] == TAG_ARRAY:
        return decode_array(data + head_at, pickled, buffers)
    head = readonly_buffer(owner, data + head_at, pickled)
    if data[0] == TAG_MEMORYVIEW:
        format, shape = _loads(head)
        view = memoryview(buffers[0])
        if format == "B" and len(shape) == 1:
            return view
        return view.cast("B").cast(format, shape)
    return _loads(head, buffers=buffers)


cdef object decode_array(const uint8_t* header, uint64_t size, list buffers):
    cdef uint64_t i, dimensions = header[0] if size > 0 else 0
    cdef int64_t extent
    cdef list shape = []
    if size < 2 + 8 * dimensions or len(buffers) != 1:
        raise ValueError("an encoded array is cut off")
    for i in range(dimensions):
        memcpy(&extent, header + 1 + 8 * i, 8)
        shape.append(extent)
    code = PyUnicode_DecodeUTF8(<const char*>header + 1 + 8 * dimensions, size - 1 - 8 * dimensions,
                                NULL)
    if _array_type is None:
        import numpy  # noqa: F401 - the sender had it, and the value is one of its arrays
    return numpy_array_type()(shape, code, buffers[0])


cdef object decode_with_refs(const uint8_t* data, uint64_t size, Pinned owner, bint writable):
    cdef uint32_t count
    cdef uint64_t prefix
    cdef CyrayThread* here = this_thread()
    cdef PyObject* outer = here.decoded
    if size < 8:
        raise ValueError("an encoded value with refs is cut off")
    memcpy(&count, data + 4, 4)
    prefix = align64(8 + REF_BYTES * <uint64_t>count)
    if prefix >= size:
        raise ValueError("an encoded value with refs is cut off")
    cdef list refs = borrow_refs(data + 8, count, owner.epoch)
    if data[prefix] == TAG_REF_LIST:
        return refs
    if data[prefix] == TAG_REF_TUPLE:
        return tuple(refs)
    here.decoded = <PyObject*>refs
    try:
        if data[prefix] == TAG_PICKLE_BUFFERS:
            return decode_buffers(data + prefix, size - prefix, owner, writable, prefix)
        return decode(data + prefix, size - prefix, owner, writable)
    finally:
        here.decoded = outer


cdef dict _ERROR_KINDS = {
    1: "worker_crashed", 2: "actor_died", 3: "actor_unavailable", 4: "cancelled", 5: "object_lost",
    6: "owner_died", 7: "node_died", 8: "object_store_full", 9: "unschedulable",
    10: "raylet_died", 11: "internal",
}


cdef object decode_dependency(const uint8_t* data, uint64_t size, Pinned owner):
    # The error of a task that never ran, because one of its arguments was an error.
    cdef uint32_t length
    if size < 6:
        raise ValueError("an encoded value is cut off")
    memcpy(&length, data + 1, 4)
    if length > size - 6:
        raise ValueError("an encoded value is cut off")
    name = PyUnicode_DecodeUTF8(<const char*>data + 5, length, "replace")
    error = decode(data + 5 + length, size - 5 - length, owner, False)
    return hook("from_dependency")(error, name)


cdef object decode_system_error(const uint8_t* data, uint64_t size):
    text = PyUnicode_DecodeUTF8(<const char*>data + 18, size - 18, "replace")
    actor = PyBytes_FromStringAndSize(<const char*>data + 2, 16)
    kind = _ERROR_KINDS.get(data[1], "internal")
    return hook("system_error")(kind, text, None if actor == bytes(16) else actor.hex())
