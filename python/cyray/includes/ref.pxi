# ObjectRef: Python's hold on one object.

cdef extern from *:
    """
    // What this thread pickles or unpickles. Borrowed: whoever sets one of them holds it, and puts
    // the one before back.
    struct CyrayThread {
      PyObject* captured = nullptr;  // list of the refs met while a value is pickled
      PyObject* decoded = nullptr;   // list of the refs of the value that is unpickled
      PyObject* call = nullptr;      // ExecContext whose arguments are decoded
    };
    static inline CyrayThread* cyray_thread() {
      static thread_local CyrayThread here;
      return &here;
    }
    """
    cdef cppclass CyrayThread:
        PyObject* captured
        PyObject* decoded
        PyObject* call
    CyrayThread* this_thread "cyray_thread"() noexcept


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
        raise_no_ref_from_id()

    # An id alone names an object; a ref also says who owns it, and is counted.
    @classmethod
    def from_hex(cls, hex_id):
        """Raises TypeError: no ref can be made from an id."""
        raise_no_ref_from_id()

    @classmethod
    def from_binary(cls, id_bytes):
        """Raises TypeError: no ref can be made from an id."""
        raise_no_ref_from_id()

    @classmethod
    def from_random(cls):
        """Raises TypeError: a ref refers to an object."""
        raise_no_ref_from_id()

    @classmethod
    def nil(cls):
        """Raises TypeError: a ref refers to an object."""
        raise_no_ref_from_id()

    def __dealloc__(self):
        if self.entry != NULL and self.epoch == now.epoch:
            now.core.objects().Release(self.entry)

    cdef ObjectEntry* live(self) except NULL:
        if self.epoch != now.epoch:
            raise RuntimeError(of_ended_session("this ObjectRef"))
        return self.entry

    def binary(self):
        """The id, 20 bytes."""
        cdef ObjectEntry* entry = self.live()
        return PyBytes_FromStringAndSize(<const char*>entry.id.data(), 20)

    def hex(self):
        """The id as 40 hex digits."""
        return self.live().id.Hex().decode()

    def task_id(self):
        """The ``TaskID`` of the task that makes the object."""
        return hook("task_id")(self.binary()[:16])

    def job_id(self):
        """The ``JobID`` of the job whose object it is."""
        return hook("job_id")(self.binary()[12:16])

    def call_site(self):
        """Where the ref was made: cyray does not write it down, so this is empty."""
        return ""

    def is_nil(self):
        return False

    def size(self):
        """Bytes of the id."""
        return 20

    def owner_address(self):
        cdef ObjectEntry* entry = self.live()
        cdef Address address = now.core.objects().Export(entry)
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
        if self.epoch != now.epoch:
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
        cdef PyObject* captured = this_thread().captured
        if captured != NULL:
            (<list>captured).append(self)
            return _nth_ref, (len(<list>captured) - 1,)
        entry = self.live()
        owner = now.core.objects().Export(entry)
        # Pickled by hand, out of cyray's sight: it stays alive as long as this process.
        now.core.objects().AddRef(entry)
        tell_of_pinned(self)
        return _rebuild_ref, (self.binary(),
                              PyBytes_FromStringAndSize(<const char*>owner.node.data(), 20)
                              + PyBytes_FromStringAndSize(<const char*>owner.worker.data(), 16))

    def future(self):
        """A ``concurrent.futures.Future`` of the value."""
        future = hook("ref_future")(self)
        future.token = on_ready(self, future.complete)
        return future

    def as_future(self):
        """An ``asyncio.Future`` of the value, on the running loop, or the thread's where none runs yet."""
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
        """``ObjectRef[int]`` in annotations is a ref of an int, for type checkers."""
        return cls


cdef raise_no_ref_from_id():
    raise TypeError("an ObjectRef comes from .remote() or put(), or out of a pickle of one; it cannot be "
                    "made from an id: to pass a ref on, pass the ref itself or cyray's pickle of it")


ObjectID = ObjectRef


cdef ObjectRef make_ref(ObjectEntry* entry, uint32_t epoch):
    # Takes over the caller's count.
    cdef ObjectRef ref = ObjectRef.__new__(ObjectRef)
    ref.entry = entry
    ref.epoch = epoch
    return ref


cdef list borrow_refs(const uint8_t* table, uint32_t count, uint32_t epoch):
    """The refs of an encoded value's table: this process borrows those it does not own."""
    cdef PyObject* call = this_thread().call
    cdef vector[ObjectEntry*] entries
    cdef uint32_t i
    refs = PyList_New(count)  # what may fail comes before they are borrowed
    if epoch != now.epoch:   # that of the session the value was read in
        raise_shut_down()
    entries.resize(count)
    now.core.objects().BorrowMany(table, count, call != NULL, entries.data())
    if call != NULL:
        for i in range(count):
            (<ExecContext>call).task.get().borrowed.push_back(
                ObjectId.FromBytes(table + REF_BYTES * i))
    for i in range(count):
        ref = make_ref(entries[i], epoch)
        Py_INCREF(ref)
        PyList_SET_ITEM(refs, i, ref)
    return refs


cdef bint _told_of_pinned = False


cdef int tell_of_pinned(ObjectRef ref) except -1:
    # Once; what cyray itself pickles by value (a function that captures a ref) is not by hand.
    global _told_of_pinned
    if not _told_of_pinned:
        _told_of_pinned = hook("tell_of_pinned")(ref.hex())
    return 0


def _nth_ref(Py_ssize_t number):
    """Unpickles a ref inside an encoded value: one of the table before it."""
    cdef PyObject* refs = this_thread().decoded
    if refs == NULL or not 0 <= number < PyList_GET_SIZE(<object>refs):
        raise ValueError("this pickle is a part of an encoded value and cannot be read without it")
    return <object>PyList_GET_ITEM(<object>refs, number)


def _rebuild_ref(bytes object_id, bytes owner):
    """Unpickles a ref: this process borrows the object."""
    if len(object_id) != 20 or <size_t>len(owner) != ADDRESS_BYTES:
        raise ValueError("a pickled ObjectRef has 20 + 36 bytes")
    if now.core == NULL:
        raise RuntimeError("a pickled ObjectRef means something only in a program that is connected to "
                           "its cluster: call cyray.init(address=...) first")
    cdef const char* o = PyBytes_AS_STRING(owner)
    cdef Address address
    address.node = NodeId.FromBytes(o)
    address.worker = WorkerId.FromBytes(o + 20)
    cdef ObjectId id = ObjectId.FromBytes(PyBytes_AS_STRING(object_id))
    cdef PyObject* call = this_thread().call
    cdef ObjectEntry* entry = now.core.objects().Borrow(id, address, call != NULL)
    if call != NULL:
        (<ExecContext>call).task.get().borrowed.push_back(id)
    return make_ref(entry, now.epoch)
