# A task's arguments to bytes and back.
#
# wire/encoded.h has the layout, and reads it. A value with buffers starts at a multiple of 64.

cdef enum:
    FEW = 8   # arguments whose sizes need no memory of their own

cdef Value* encode_args(Session s, tuple args, dict kwargs, vector[ObjectEntry*]* refs,
                        vector[ObjectEntry*]* contained) except NULL:
    """Encodes arguments; refs among them, and large values, become entries of `refs`.

    Each entry pushed to `refs` and `contained` carries a count that passes to the task. When this
    returns, `s` is the current session.
    """
    cdef Py_ssize_t npos = PyTuple_GET_SIZE(args)
    cdef Py_ssize_t nkw = len(kwargs) if kwargs is not None else 0
    cdef Py_ssize_t i, n = npos + nkw, length
    cdef uint64_t total = 8, size
    cdef uint64_t[FEW] few
    cdef vector[uint64_t] many
    cdef uint64_t* sizes = few
    cdef list items = None   # the arguments, once one of them is replaced by its bytes or its ref
    cdef list names = None
    if n > FEW:
        many.resize(n)
        sizes = many.data()
    if nkw:
        names = list(kwargs)
        items = [*args, *kwargs.values()]
    # First everything that may run Python code or fail, then one pass that copies and counts.
    for i in range(n):
        if i >= npos:
            name_bytes(names, i - npos, &length)
            total += 4 + length
        item = <object>PyTuple_GET_ITEM(args, i) if items is None else items[i]
        size = simple_size(item)
        if size == 0 or not fits_inline(size, total):
            if type(item) is not ObjectRef:
                serialized = serialize(item, i if i < npos else list(kwargs)[i - npos])
                size = (<Serialized>serialized).size
                if not fits_inline(size, total):
                    item = put_serialized(s, serialized)
                else:
                    item = serialized
                    if (<Serialized>serialized).pieces:
                        total += 64
                if items is None:
                    items = list(args)
                items[i] = item
            if type(item) is ObjectRef:
                (<ObjectRef>item).live()
                size = 5
        sizes[i] = size
        total += 8 + size
    still(s)
    cdef Value* blob = Value.New(total)
    cdef uint8_t* base = blob.data()
    cdef uint64_t at = 8
    cdef uint32_t word = <uint32_t>npos
    cdef const char* name
    memcpy(base, &word, 4)
    word = <uint32_t>nkw
    memcpy(base + 4, &word, 4)
    for i in range(n):
        if i >= npos:
            name = name_bytes(names, i - npos, &length)
            word = <uint32_t>length
            memcpy(base + at, &word, 4)
            memcpy(base + at + 4, name, length)
            at += 4 + word
        item = <object>PyTuple_GET_ITEM(args, i) if items is None else <object>PyList_GET_ITEM(items, i)
        at = write_item(item, sizes[i], base, at, refs, contained)
    return blob


cdef const char* name_bytes(list names, Py_ssize_t i, Py_ssize_t* length) except NULL:
    # Of a keyword. One that has lone surrogates becomes bytes in `names`.
    cdef const char* found
    name = <object>PyList_GET_ITEM(names, i)
    if type(name) is not bytes:
        found = utf8(name, length)
        if found != NULL:
            return found
        name = names[i] = name.encode("utf-8", "surrogatepass")
    length[0] = PyBytes_GET_SIZE(name)
    return PyBytes_AS_STRING(name)


cdef bint fits_inline(uint64_t size, uint64_t before) noexcept:
    # Whether a value travels in a message that has `before` bytes of values already.
    return size <= TINY_LIMIT or (size <= INLINE_LIMIT and before + size <= MAX_INLINE_BYTES)


cdef uint64_t simple_size(object value) except? 0:
    cdef int overflow = 0
    cdef Py_ssize_t size
    kind = type(value)
    if value is None or kind is bool:
        return 1
    if kind is int:
        PyLong_AsLongLongAndOverflow(value, &overflow)
        return 0 if overflow else 9
    if kind is float:
        return 9
    if kind is str:
        if utf8(value, &size) == NULL or size >= INLINE_LIMIT:
            return 0
        return 1 + size
    if kind is bytes:
        size = PyBytes_GET_SIZE(value)
        return 0 if size >= INLINE_LIMIT else 1 + size
    return 0


cdef uint64_t write_item(object item, uint64_t size, uint8_t* base, uint64_t at,
                         vector[ObjectEntry*]* refs, vector[ObjectEntry*]* contained) except 0:
    cdef uint32_t word = <uint32_t>size
    cdef uint32_t skip = 0
    cdef long long number
    cdef int overflow = 0
    cdef double real
    cdef Py_ssize_t length
    kind = type(item)
    if kind is Serialized and (<Serialized>item).pieces:
        skip = <uint32_t>(align64(at + 8) - (at + 8))
    memcpy(base + at, &word, 4)
    memcpy(base + at + 4, &skip, 4)
    at += 8 + skip
    cdef uint8_t* to = base + at
    if item is None:
        to[0] = TAG_NONE
    elif kind is bool:
        to[0] = TAG_TRUE if item is True else TAG_FALSE
    elif kind is int:
        number = PyLong_AsLongLongAndOverflow(item, &overflow)
        to[0] = TAG_INT
        memcpy(to + 1, &number, 8)
    elif kind is float:
        real = PyFloat_AS_DOUBLE(item)
        to[0] = TAG_FLOAT
        memcpy(to + 1, &real, 8)
    elif kind is str:
        to[0] = TAG_STR
        memcpy(to + 1, PyUnicode_AsUTF8AndSize(item, &length), size - 1)
    elif kind is bytes:
        to[0] = TAG_BYTES
        memcpy(to + 1, PyBytes_AS_STRING(item), size - 1)
    elif kind is ObjectRef:
        word = <uint32_t>refs.size()
        now.core.objects().AddRef((<ObjectRef>item).live())
        refs.push_back((<ObjectRef>item).entry)
        to[0] = TAG_REF
        memcpy(to + 1, &word, 4)
    else:
        (<Serialized>item).write(to)
        take_contained(<Serialized>item, contained)
    return at + size


# --- Decoding, in the worker -----------------------------------------------------------------------

cdef tuple decode_args(ExecContext context, object inout):
    """(args, kwargs, written): the arguments; `written` are the private ones that come back."""
    cdef ExecTask* task = context.task.get()
    cdef Value* blob = task.args.get()
    if blob == NULL:
        return (), None, None
    cdef ArgumentReader reader
    cdef EncodedArgument found
    cdef uint32_t i, npos, n
    cdef dict kwargs = None
    cdef list written = None
    cdef bint writable
    if not reader.Open(blob.data(), blob.size()):
        raise_cut_off("what encodes the arguments")
    npos = reader.positional()
    n = npos + reader.keywords()
    cdef Pinned owner = pinned_value(blob)
    args = PyTuple_New(npos)
    # A tuple under construction must hold no NULL when an exception leaves it.
    for i in range(npos):
        Py_INCREF(None)
        PyTuple_SET_ITEM(args, i, None)
    if n > npos:
        kwargs = {}
    for i in range(n):
        if not reader.Next(&found):
            raise_cut_off("what encodes the arguments")
        if i >= npos:
            name = PyUnicode_DecodeUTF8(<const char*>found.name, found.name_bytes, "surrogatepass")
        writable = inout is not None and (i in inout if i < npos else name in inout)
        if found.data[0] == TAG_REF and found.bytes == 5:
            value = decode_ref_argument(task, found.data, writable)
        else:
            value = decode(found.data, found.bytes, owner, writable)
        if writable:
            if written is None:
                written = []
            written.append(value)
        if i < npos:
            Py_INCREF(value)
            PyTuple_SetItem(args, i, value)
        else:
            kwargs[name] = value
    return args, kwargs, written


cdef extern from "Python.h":
    int PyTuple_SetItem(object, Py_ssize_t, object) except -1


cdef object decode_ref_argument(ExecTask* task, const uint8_t* data, bint writable):
    cdef uint32_t index
    cdef ReadView view
    memcpy(&index, data + 1, 4)
    if not now.core.reader().ReadArgument(task, index, &view):
        raise ValueError("the encoded arguments name a reference that did not come with them")
    cdef Pinned owner = pinned_from(view)
    value = decode(view.data, view.size, owner, writable)
    if view.is_error:
        raise _DependencyFailed(value)
    return value


class _DependencyFailed(Exception):
    """An argument of the task holds an error, which becomes the task's."""
