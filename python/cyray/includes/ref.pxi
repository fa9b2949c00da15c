# ObjectRef: Python's hold on one object.

# Refs met while a value is pickled, per thread; and where refs that are unpickled belong.
cdef dict _captures = {}      # thread id -> list of ObjectRef
cdef dict _arg_tasks = {}     # thread id -> ExecContext whose arguments are decoded


cdef extern from "Python.h":
    unsigned long PyThread_get_thread_ident() nogil


@cython.freelist(512)
cdef class ObjectRef:
    """A reference to an object that exists or will: the result of a task, or of ``put``.

    Hashable, equal by id, awaitable, picklable inside tasks' arguments and values. The object lives
    as long as any process holds a ref to it.
    """
    cdef ObjectEntry* entry
    cdef uint32_t epoch
    cdef object __weakref__

    def __init__(self, id_or_hex=None):
        raise TypeError("an ObjectRef comes from .remote() or put(), or out of a pickle of one; it "
                        "cannot be made from an id")

    def __dealloc__(self):
        if self.entry != NULL and self.epoch == _epoch and _core != NULL:
            _core.Release(self.entry)

    cdef ObjectEntry* live(self) except NULL:
        if self.epoch != _epoch or _core == NULL:
            raise RuntimeError(
                "this ObjectRef belongs to a cyray session that was shut down")
        return self.entry

    def binary(self):
        """The id, 20 bytes."""
        cdef ObjectEntry* entry = self.live()
        return PyBytes_FromStringAndSize(<const char*>entry.id.data(), 20)

    def hex(self):
        """The id as 40 hex digits."""
        return self.live().id.Hex().decode()

    def task_id(self):
        """Hex id of the task that makes the object."""
        return self.live().id.task().Hex().decode()

    def job_id(self):
        return self.hex()[24:32]

    def is_nil(self):
        return False

    def size(self):
        """Bytes of the id."""
        return 20

    def owner_address(self):
        cdef Address address = core().Export(self.live())
        return address.node.Hex().decode() + ":" + address.worker.Hex().decode()

    # A process has one entry for an id as long as a ref to it lives, and neither of these looks into
    # it: refs of a session that is over can still be found in dicts and taken out of them.
    def __hash__(self):
        return <Py_hash_t>(<size_t>self.entry >> 4)

    def __eq__(self, other):
        if type(other) is not ObjectRef:
            return NotImplemented
        cdef ObjectRef ref = other
        return self.entry == ref.entry and self.epoch == ref.epoch

    def __repr__(self):
        if self.epoch != _epoch:
            return "ObjectRef(of a session that was shut down)"
        return f"ObjectRef({self.hex()})"

    def __copy__(self):
        return self

    def __deepcopy__(self, memo):
        return self

    def __reduce_ex__(self, protocol):  # object's own would look for __reduce__ in the class first
        return self.__reduce__()

    def __reduce__(self):
        cdef ObjectEntry* entry
        cdef Address owner
        captured = _captures.get(PyThread_get_thread_ident())
        if captured is not None:
            captured.append(self)
            return _nth_ref, (len(captured) - 1,)
        entry = self.live()
        owner = core().Export(entry)
        # Pickled by hand, out of cyray's sight: it stays alive as long as this process.
        core().AddRef(entry)
        return _rebuild_ref, (self.binary(),
                              PyBytes_FromStringAndSize(<const char*>owner.node.data(), 20)
                              + PyBytes_FromStringAndSize(<const char*>owner.worker.data(), 16))

    def future(self):
        """A ``concurrent.futures.Future`` of the value."""
        from cyray._future import RefFuture
        future = RefFuture(self)
        on_ready(self, future.complete)
        return future

    def as_future(self):
        """An ``asyncio.Future`` of the value, on the running loop."""
        return _as_asyncio_future(self)

    def __await__(self):
        return _as_asyncio_future(self).__await__()

    def _on_completed(self, callback):
        """Calls ``callback(value or exception)`` when the object is there."""
        def done():
            try:
                result = get(self)
            except BaseException as error:  # noqa: BLE001
                result = error
            callback(result)
        on_ready(self, done)

    @classmethod
    def __class_getitem__(cls, item):
        return cls


ObjectID = ObjectRef


cdef ObjectRef make_ref(ObjectEntry* entry):
    # Takes over the caller's count.
    cdef ObjectRef ref = ObjectRef.__new__(ObjectRef)
    ref.entry = entry
    ref.epoch = _epoch
    return ref


cdef list borrow_refs(const uint8_t* table, uint32_t count):
    """The refs of an encoded value's table: this process borrows those it does not own."""
    cdef CoreWorker* c = core()
    cdef ExecContext context = _arg_tasks.get(PyThread_get_thread_ident())
    cdef vector[ObjectEntry*] entries
    cdef uint32_t i
    entries.resize(count)
    c.BorrowMany(table, count, context is not None, entries.data())
    if context is not None:
        for i in range(count):
            context.task.get().borrowed.push_back(ObjectId.FromBytes(table + REF_BYTES * i))
    refs = PyList_New(count)
    for i in range(count):
        ref = make_ref(entries[i])
        Py_INCREF(ref)
        PyList_SET_ITEM(refs, i, ref)
    return refs


cdef dict _decoding = {}      # thread id -> refs of the value that is decoded


def _nth_ref(Py_ssize_t number):
    """Unpickles a ref inside an encoded value: one of the table before it."""
    refs = _decoding.get(PyThread_get_thread_ident())
    if refs is None or not 0 <= number < PyList_GET_SIZE(refs):
        raise ValueError("this pickle is a part of an encoded value and cannot be read without it")
    return <object>PyList_GET_ITEM(refs, number)


def _rebuild_ref(bytes object_id, bytes owner):
    """Unpickles a ref: this process borrows the object."""
    if len(object_id) != 20 or len(owner) != 36:
        raise ValueError("a pickled ObjectRef has 20 + 36 bytes")
    if _core == NULL:
        raise RuntimeError("a pickled ObjectRef means something only in a program that is connected to "
                           "its cluster: call cyray.init(address=...) first")
    cdef CoreWorker* c = _core
    cdef const char* o = PyBytes_AS_STRING(owner)
    cdef Address address
    address.node = NodeId.FromBytes(o)
    address.worker = WorkerId.FromBytes(o + 20)
    cdef ObjectId id = ObjectId.FromBytes(PyBytes_AS_STRING(object_id))
    cdef ExecContext context = _arg_tasks.get(PyThread_get_thread_ident())
    cdef ObjectEntry* entry
    if context is None:
        entry = c.Borrow(id, address, False)
    else:
        entry = c.Borrow(id, address, True)
        context.task.get().borrowed.push_back(id)
    return make_ref(entry)
