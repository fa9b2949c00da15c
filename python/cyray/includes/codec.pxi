# Values to bytes and back.
#
# An encoded value is a tag byte and its content: common/encoding.h lists the tags, wire/encoded.h reads
# what has parts, and bounds every size and count of a peer's bytes. A value that contains refs comes
# after a table of them, and its pickle names them by number.

from cpython.buffer cimport PyBUF_CONTIG_RO, PyBuffer_Release, PyObject_GetBuffer
from cpython.float cimport PyFloat_AS_DOUBLE, PyFloat_FromDouble
from cpython.long cimport PyLong_FromLongLong
from cpython.tuple cimport PyTuple_GET_ITEM, PyTuple_GET_SIZE, PyTuple_New, PyTuple_SET_ITEM
from cpython.unicode cimport PyUnicode_DecodeUTF8

cdef extern from "Python.h":
    const char* PyUnicode_AsUTF8AndSize(object, Py_ssize_t*) except? NULL
    long long PyLong_AsLongLongAndOverflow(object, int*) except? -1

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
        now.core.objects().ExportMany(entries.data(), n, self.table.data())
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


cdef object _by_value_dumps(object value, list buffers, object argument):
    # What the C pickler cannot do by reference: functions and classes of __main__, closures, lambdas.
    # When that fails as well, it says which part of the value is to blame.
    return hook("dumps_by_value")(value, buffers.append, argument)


cdef Serialized serialize(object value, object argument=None):
    # `argument`: the position or name of the value in a call, for errors.
    cdef Serialized out = Serialized.__new__(Serialized)
    cdef CyrayThread* here = this_thread()
    cdef PyObject* outer = here.captured
    cdef list buffers = []
    out.contained = []
    cdef bint by_value = has_custom_types()
    if not (by_value and type(value) in _custom_types) and serialize_plain(value, out):
        return out
    here.captured = <PyObject*>out.contained
    try:
        if not by_value:
            try:
                out.pickled = _dumps(value, 5, buffer_callback=buffers.append)
                by_value = b"__main__" in out.pickled or _must_pickle_by_value()
            except (_PicklingError, AttributeError, TypeError, RecursionError, ValueError, NotImplementedError):
                by_value = True
        if by_value:
            buffers.clear()
            out.contained.clear()
            out.pickled = _by_value_dumps(value, buffers, argument)
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


cdef dict _custom_types = None   # classes that have a serializer of the user's


cdef inline bint has_custom_types() except -1:
    global _custom_types
    if _custom_types is None:
        _custom_types = hook("custom_types")
    return len(_custom_types) > 0


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
        now.core.objects().AddRef(ref.live())
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
    if tag == TAG_SYSTEM_ERROR:
        return decode_system_error(data, size)
    if tag == TAG_DEPENDENCY:
        return decode_dependency(data, size, owner)
    raise ValueError(f"an encoded value begins with the unknown tag {tag}, or has a wrong size")


cdef raise_cut_off(str what):
    raise ValueError(f"{what} is cut off, or claims more than it has")


cdef object decode_buffers(const uint8_t* data, uint64_t size, Pinned owner, bint writable,
                           uint64_t base=0):
    # `base`: where `data` lies in the object, for a mapping of the object as a whole.
    cdef BuffersReader reader
    cdef uint64_t length, at
    cdef PrivateMapping mapping = None
    cdef object one
    if not reader.Open(data, size):
        raise_cut_off("an encoded value with buffers")
    buffers = []
    if writable and owner.pin != NULL:
        mapping = private_mapping(owner)
    for _ in range(reader.count()):
        if not reader.Next(&at, &length):
            raise_cut_off("an encoded value with buffers")
        if not writable:
            one = readonly_buffer(owner, data + at, length)
        elif mapping is not None:
            one = mapped_buffer(mapping, base + at, length)
        else:
            one = writable_copy(data + at, length)
        buffers.append(one)
    if data[0] == TAG_ARRAY:
        return decode_array(reader.head(), reader.head_bytes(), buffers)
    head = readonly_buffer(owner, reader.head(), reader.head_bytes())
    if data[0] == TAG_MEMORYVIEW:
        format, shape = _loads(head)
        view = memoryview(buffers[0])
        if format == "B" and len(shape) == 1:
            return view
        return view.cast("B").cast(format, shape)
    return _loads(head, buffers=buffers)


cdef object decode_array(const uint8_t* head, uint64_t size, list buffers):
    cdef EncodedArray array
    cdef uint32_t i
    cdef int64_t extent
    cdef list shape = []
    if not ReadArray(head, size, &array) or len(buffers) != 1:
        raise_cut_off("an encoded array")
    for i in range(array.dimensions):
        memcpy(&extent, array.extents + 8 * i, 8)
        shape.append(extent)
    code = PyUnicode_DecodeUTF8(array.dtype, array.dtype_bytes, NULL)
    if _array_type is None:
        import numpy  # noqa: F401 - the sender had it, and the value is one of its arrays
    return numpy_array_type()(shape, code, buffers[0])


cdef object decode_with_refs(const uint8_t* data, uint64_t size, Pinned owner, bint writable):
    cdef EncodedRefs found
    cdef CyrayThread* here = this_thread()
    cdef PyObject* outer = here.decoded
    if not ReadRefs(data, size, &found):
        raise_cut_off("an encoded value with refs")
    cdef const uint8_t* value = data + found.value_at
    cdef list refs = borrow_refs(found.table, found.count, owner.epoch)
    if value[0] == TAG_REF_LIST:
        return refs
    if value[0] == TAG_REF_TUPLE:
        return tuple(refs)
    here.decoded = <PyObject*>refs
    try:
        if value[0] == TAG_PICKLE_BUFFERS:
            return decode_buffers(value, size - found.value_at, owner, writable, found.value_at)
        return decode(value, size - found.value_at, owner, writable)
    finally:
        here.decoded = outer


# The names of the errors that cyray itself puts in place of a value, by number.
ERROR_KINDS = {kind: error_kind_name(<ErrorKind>kind).decode()
               for kind in range(1, <int>ErrorKind.kActorGroupRemoved + 1)
               if kind != <int>ErrorKind.kEndOfStream}   # which nobody sees


cdef object decode_dependency(const uint8_t* data, uint64_t size, Pinned owner):
    # The error of a task that never ran, because one of its arguments was an error.
    cdef EncodedDependency found
    if not ReadDependency(data, size, &found):
        raise_cut_off("an encoded error")
    name = PyUnicode_DecodeUTF8(found.name, found.name_bytes, "replace")
    error = decode(data + found.value_at, size - found.value_at, owner, False)
    return hook("from_dependency")(error, name)


cdef object decode_system_error(const uint8_t* data, uint64_t size):
    cdef EncodedError found
    if not ReadError(data, size, &found):
        raise_cut_off("an encoded error")
    text = PyUnicode_DecodeUTF8(found.text, found.text_bytes, "replace")
    actor = PyBytes_FromStringAndSize(<const char*>found.actor, 16)
    kind = ERROR_KINDS.get(found.kind, "internal")
    return hook("system_error")(kind, text, None if actor == bytes(16) else actor.hex())


def encode_value(value):
    """An encoded value as bytes of its own; refs inside it are exported. For tests and errors."""
    cdef Serialized serialized
    cdef Value* encoded = encode_simple(value)
    if encoded == NULL:
        serialized = serialize(value)
        encoded = encode_inline(serialized)
    out = PyBytes_FromStringAndSize(<const char*>encoded.data(), encoded.size())
    encoded.Unref()
    return out


def decode_value(bytes encoded, bint writable=False):
    """What ``encode_value`` was given. ValueError, or an error of pickle, when the bytes are no value."""
    cdef Value* value = Value.New(len(encoded))
    cdef Pinned owner = pinned_value(value)
    memcpy(value.data(), PyBytes_AS_STRING(encoded), len(encoded))
    value.Unref()
    return decode(value.data(), value.size(), owner, writable)
