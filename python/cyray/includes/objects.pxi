# put, get, free and futures.

cdef ObjectRef put_serialized(Session s, Serialized serialized):
    # Writes a value into the store (large) or into this process's memory (small).
    cdef vector[ObjectEntry*] contained
    cdef StoreBlock block
    cdef Status status
    still(s)   # pickling may have taken long
    if serialized.size <= INLINE_LIMIT:
        take_contained(serialized, &contained)
        return make_ref(s.core.objects().Put(ValuePtr(encode_inline(serialized)), False, contained), s.epoch)
    with nogil:
        status = write_block(s.core, serialized, s.core.store().NextPutId(), s.core.address(), &block)
    still(s)
    if not status.ok():
        raise_status(status)
    take_contained(serialized, &contained)
    return make_ref(s.core.store().SealOwned(block, contained), s.epoch)


cdef Status write_block(CoreWorker* c, Serialized serialized, const ObjectId& id,
                        const Address& owner, StoreBlock* block) noexcept nogil:
    cdef Status status = c.store().Create(id, owner, serialized.size, block)
    if not status.ok():
        return status
    status = prepare_write(c.store().arena(), block.offset, block.bytes)
    if not status.ok():
        c.store().Abort(deref(block))
        return status
    serialized.write(block.data)
    return status


cdef extern from *:
    """
    static inline ::cyray::Status cyray_prepare_write(::cyray::store::ArenaMapping& arena,
                                                      uint64_t offset, uint64_t bytes) {
      return arena.PrepareWrite(offset, bytes);
    }
    """
    Status prepare_write "cyray_prepare_write"(ArenaMapping&, uint64_t, uint64_t) nogil


def put(value, *, _owner=None):
    """Store an object and return a ref to it.

    Args:
        value: anything that pickles. Buffers of at least 100 KiB in all go to the node's shared
            memory, once; smaller objects stay in this process.

    Raises:
        TypeError: `value` is an ObjectRef already, or cannot be pickled.
        ObjectStoreFullError: there is no room for it.
    """
    cdef Session s
    cdef vector[ObjectEntry*] none
    if type(value) is ObjectRef:
        raise TypeError(
            "Calling 'put' on an ObjectRef is not allowed: the object is stored already. To store "
            "the ref itself, wrap it in a list and put that.")
    if _owner is not None:
        raise ValueError("put() has no _owner: the process that calls put owns the object.")
    if now.core == NULL:
        session()
    cdef Value* simple = encode_simple(value)
    if simple != NULL:  # none of the user's code ran, so the session is still the same
        return make_ref(now.core.objects().Put(ValuePtr(simple), False, none), now.epoch)
    s = now
    return put_serialized(s, serialize(value))


cdef raise_no_timeout(timeout):
    if isinstance(timeout, ObjectRef):
        raise TypeError("a timeout is None or a number of seconds, not an ObjectRef: several refs are "
                        "given as one list")
    raise TypeError(
        f"a timeout is None or a number of seconds, not {type(timeout).__name__}")


cdef int64_t deadline_from(timeout) except? -1:
    if timeout is None:
        return FOREVER
    cdef double seconds
    try:
        seconds = timeout
    except TypeError:
        raise_no_timeout(timeout)
    if not seconds >= 0:
        raise ValueError(f"a timeout is None or at least 0 seconds, not {timeout}")
    if seconds > 1e9:
        return FOREVER
    return MonotonicNs() + <int64_t>(seconds * 1e9)


cdef bint wait_entries(ObjectEntry** entries, size_t size, size_t count, bint here,
                       int64_t deadline, bint or_error=False) except -1:
    # False when the time is over. A driver's main thread sees Ctrl-C meanwhile, any thread a shutdown.
    # Whoever calls this holds refs to the entries: others may drop theirs.
    cdef Session s = now
    cdef bint done
    with nogil:
        done = s.core.reader().Wait(entries, size, count, here, deadline, or_error)
    still(s)
    if not done:
        reraise()
    return done


cdef bint wait_to_read(ObjectEntry** entries, size_t size, int64_t deadline) except -1:
    # For all of them, or an error; Ctrl-C may cancel them (init).
    cdef Session s = now
    try:
        return wait_entries(entries, size, size, True, deadline, or_error=True)
    except KeyboardInterrupt:
        if s.cancels_on_interrupt and s is now:
            cancel_all(s, entries, size)
        raise


cdef inline bint is_plain(const ReadView& view) noexcept:
    # Whether nothing of the value can point into its memory, or run Python code when it is decoded.
    return view.value != NULL and not view.is_error and view.size > 0 and view.data[0] <= TAG_BYTES


cdef inline object plain_value(const ReadView& view):
    # Takes over the view's reference.
    cdef int64_t number
    if view.data[0] == TAG_INT and view.size == 9:
        memcpy(&number, view.data + 1, 8)
        view.value.Unref()
        return PyLong_FromLongLong(number)
    if view.data[0] == TAG_NONE:
        view.value.Unref()
        return None
    try:
        return decode(view.data, view.size, None, False)
    finally:
        view.value.Unref()


cdef object pinned_value_of(const ReadView& view, Pinned owner, bint writable):
    # Raises what an error object holds. What came inline is copied, so that whoever got it may write into it;
    # another `get` of the same ref has a copy of its own.
    cdef bint is_error = view.is_error
    writable = writable or owner.pin == NULL
    if this_thread().call == NULL:
        value = decode(view.data, view.size, owner, writable)
    else:
        value = decode_aside(view, owner, writable)
    if is_error:
        raise_error(value)
    return value


cdef object decode_aside(const ReadView& view, Pinned owner, bint writable):
    # A `get` in the midst of a task's arguments: what it finds is no part of them.
    cdef CyrayThread* here = this_thread()
    cdef PyObject* call = here.call
    here.call = NULL
    try:
        return decode(view.data, view.size, owner, writable)
    finally:
        here.call = call


cdef object value_of(const ReadView& view, bint writable):
    # Right after the view was read, whose reference this takes over. Raises what an error object holds.
    if is_plain(view):
        return plain_value(view)
    return pinned_value_of(view, pinned_from(view), writable)


cdef raise_error(value):
    hook("raise_error")(value)


cdef object get_one(ObjectRef ref, timeout, bint writable):
    cdef ReadView view
    cdef int64_t deadline = FOREVER if timeout is None else deadline_from(timeout)
    cdef ObjectEntry* entry = ref.live()
    # What came may have made room for something else before it is read: it is fetched once more then.
    while not now.core.reader().Read(entry, &view):
        if not wait_to_read(&entry, 1, deadline):
            raise_get_timeout(&entry, 1, 1, timeout)
    return value_of(view, writable)


cdef raise_get_timeout(ObjectEntry** entries, size_t size, size_t missing, timeout):
    # Who only looks, and looks again and again, wants no story.
    cdef Session s = now
    cdef string story, facts
    why = ""
    if timeout > 0:
        with nogil:
            story = s.core.DescribeMissing(entries, size)
            facts = s.core.ReportMissing(entries, size)
        why = story.decode("utf-8", "replace") + hook("why_missing")(facts.decode("utf-8", "replace"))
        still(s)
    raise hook("get_timeout")(size, missing, timeout, why)


def get(object_refs, timeout=None, *, bint writable=False, _use_object_store=False):
    """The value of an object, or the values of many in the shape in which their refs are given.

    Args:
        object_refs: an ``ObjectRef``, or a list, tuple or dict of refs and of more such containers; nothing
            else may be inside. The same comes back with values in the place of refs: lists, tuples (named
            ones of their own class), dicts with the keys that they had. All are waited for at once.
        timeout: seconds to wait; ``None`` waits for ever, 0 only looks.
        writable: give buffers inside the values as private, writable memory also where they lie in the
            store (copy-on-write), instead of read-only views of it. Those of values up to 100 KiB always are.

    Raises:
        TypeError: something in a container is no ref.
        GetTimeoutError: the time is over.
        RayTaskError: the task raised; also an instance of the exception's own class.
        RayError: the object cannot be had: its worker, actor or owner died, ...
    """
    if type(object_refs) is ObjectRef:
        return get_one(object_refs, timeout, writable)
    if not isinstance(object_refs, list):
        return get_other(object_refs, timeout, writable)
    cdef list refs = list(object_refs)   # ours: another thread may change the caller's
    cdef Py_ssize_t n = PyList_GET_SIZE(refs), i
    cdef int64_t deadline = deadline_from(timeout)
    cdef vector[ObjectEntry*] entries
    cdef vector[ReadView] views
    cdef list out
    cdef Session s = now
    cdef uint32_t epoch = s.epoch
    cdef PyObject* ref
    entries.resize(n)
    for i in range(n):
        ref = <PyObject*>PyList_GET_ITEM(refs, i)
        if type(<object>ref) is not ObjectRef:
            return get_nested(refs, timeout, writable)
        if (<ObjectRef>ref).epoch != epoch:
            (<ObjectRef>ref).live()   # raises
        entries[i] = (<ObjectRef>ref).entry
    if n == 0:
        return []
    views.resize(n)
    cdef size_t got
    while True:   # as in get_one
        out = PyList_New(n)   # before anything is read: it may set off a collection
        still(s)              # and a finalizer may have ended the session
        got = s.core.reader().ReadMany(entries.data(), n, views.data())
        if got == <size_t>n:
            break
        drop_views(views.data(), 0, got)
        out = None   # nobody is to see it empty
        wait_for_list(entries, timeout, deadline)
    take_values(views.data(), n, out, writable)
    return out


cdef int take_values(ReadView* views, Py_ssize_t n, list out, bint writable) except -1:
    # Into `out`, which has no items yet, but room for them. What is plain is taken at once; the rest finds
    # its holder before any unpickling runs Python code.
    cdef Py_ssize_t i = 0, pinned = 0
    try:
        while i < n:
            i += 1
            if is_plain(views[i - 1]):
                value = plain_value(views[i - 1])
            else:
                value = pinned_from(views[i - 1])
                pinned += 1
            Py_INCREF(value)
            PyList_SET_ITEM(out, i - 1, value)
    except BaseException:
        drop_views(views, i, n)
        raise
    if pinned > 0:
        for i in range(n):
            if type(<object>PyList_GET_ITEM(out, i)) is Pinned:
                out[i] = pinned_value_of(views[i], <Pinned>PyList_GET_ITEM(out, i), writable)
    return 0


cdef object get_nested(container, timeout, bint writable):
    # Of containers in containers. Raises when something inside is no ref.
    refs, refill = hook("refs_inside")(container)
    return refill(get(refs, timeout, writable=writable))


cdef object get_other(object_refs, timeout, bint writable):
    if isinstance(object_refs, (tuple, dict)):
        return get_nested(object_refs, timeout, writable)
    if hasattr(object_refs, "_get_via_handle"):
        return object_refs._get_via_handle(timeout)
    if type(object_refs) is ObjectRefGenerator:
        return object_refs
    raise ValueError(
        f"Invalid type of object refs, {type(object_refs)}: get() takes an ObjectRef, or a list, tuple or "
        "dict of them.")


cdef void drop_views(ReadView* views, size_t start, size_t end) noexcept:
    cdef size_t i
    for i in range(start, end):
        drop_view(views[i])


cdef void drop_view(const ReadView& view) noexcept:
    if view.value != NULL:
        view.value.Unref()
    elif view.pin != NULL:
        now.core.reader().UnrefPin(view.pin)


cdef int wait_for_list(vector[ObjectEntry*]& entries, timeout, int64_t deadline) except -1:
    # All of them, or the first error among those that are there: nobody waits for the rest then.
    cdef size_t n = entries.size(), i, there = 0
    cdef vector[uint8_t] flags
    cdef ReadView view
    cdef bint done = wait_to_read(entries.data(), n, deadline)
    flags.resize(n)
    now.core.reader().ReadyFlags(entries.data(), n, True, flags.data())
    for i in range(n):
        there += flags[i]
    if there == n:
        return 0
    for i in range(n):
        if now.core.reader().Read(entries[i], &view):
            if view.is_error:
                now.core.reader().NoteErrorsRead(entries.data(), n)
                value_of(view, False)
            drop_view(view)
    if not done:
        raise_get_timeout(entries.data(), n, n - there, timeout)
    return 0   # another thread took the error: the caller looks again


def free_objects(list refs, bint local_only):
    """The objects of ``refs`` are errors from now on; with ``local_only`` only this node's copies go."""
    cdef vector[ObjectEntry*] entries
    cdef Session s = now
    for ref in refs:
        entries.push_back((<ObjectRef?>ref).live())
    if entries.empty():
        return
    with nogil:
        s.core.objects().Free(entries.data(), entries.size(), local_only)


# --- Callbacks -------------------------------------------------------------------------------------

def on_ready(ObjectRef ref, callback, bint on_main=False):
    """Call ``callback()`` once the object can be read here, or the session is over.

    It is called by the event thread or, in a worker with ``on_main``, as an event of the main thread.
    Returns a token for ``forget_callback``.
    """
    cdef Session s
    cdef uint64_t token
    ref.live()
    if not on_main:
        hook("ensure_event_thread")()
    s = now
    token = s.next_token
    s.next_token += 1
    if not on_main:
        token |= THREAD_TOKEN
    s.callbacks[token] = (ref, callback)
    if ref.epoch != now.epoch:   # a shutdown came between; it may have called the callback
        if s.callbacks.pop(token, None) is not None:
            ref.live()
    else:
        s.core.reader().AddCallback(ref.entry, token)
    return token


def forget_callback(ObjectRef ref, uint64_t token):
    """Nobody waits any more for what ``on_ready`` was told to call."""
    if ref.epoch == now.epoch and now.callbacks.pop(token, None) is not None:
        now.core.reader().RemoveCallback(ref.entry, token)


def run_callback(token):
    """For whoever takes events: the object of ``token`` is here."""
    found = now.callbacks.pop(token, None)
    if found is not None:
        found[1]()


cdef list take_callbacks(Session ended):
    # Those that still wait when a session is over. They are the user's: whoever ended it calls them,
    # under no lock.
    waiting = [callback for _, callback in ended.callbacks.values()]
    ended.callbacks.clear()
    return waiting


@cython.final
@cython.internal
cdef class Awaiting:
    """Between a ref and the asyncio future of its value.

    A class, not closures, which would hold each other and with them the value: what nobody keeps goes at
    once. It lets go of both when the future is done.
    """
    cdef object loop
    cdef object future
    cdef ObjectRef ref
    cdef object token
    cdef bint only_ready   # nobody wants the value: the future says that it is here

    def __call__(self):
        # The object is here; on the thread that takes events.
        try:
            self.loop.call_soon_threadsafe(self.finish)
        except RuntimeError:  # the loop is closed: nobody waits any more
            self.future = self.ref = None

    def finish(self):
        """Gives the value to the future; on the loop."""
        future, ref = self.future, self.ref
        self.future = self.ref = None
        if future is None or future.done():
            return
        if self.only_ready:
            future.set_result(None)
            return
        try:
            future.set_result(get(ref))
        except StopIteration as error:
            future.set_exception(RuntimeError(f"the task raised {error!r}"))
        except BaseException as error:  # noqa: BLE001 - it belongs to whoever awaits
            future.set_exception(error)

    def cancelled(self):
        ref = self.ref
        self.future = self.ref = None
        if ref is not None and self.token is not None:
            forget_callback(ref, self.token)


cdef object _asyncio = None
cdef object _asyncio_future = None


cdef object asyncio_future_class():
    # Of asyncio's own, and tells of its cancellation: wait_for() in a loop must leave nothing behind.
    global _asyncio, _asyncio_future
    if _asyncio_future is None:
        import asyncio

        class RefFuture(asyncio.Future):
            def cancel(self, msg=None):
                if not _asyncio.Future.cancel(self, msg):
                    return False
                self.awaiting.cancelled()
                return True

        _asyncio = asyncio
        _asyncio_future = RefFuture
    return _asyncio_future


def _as_asyncio_future(ObjectRef ref):
    return awaiting_of(ref).future


cdef Awaiting awaiting_of(ObjectRef ref):
    cdef Awaiting awaiting = Awaiting.__new__(Awaiting)
    made = asyncio_future_class()
    try:
        awaiting.loop = _asyncio.get_running_loop()
    except RuntimeError:   # the thread's loop, which runs later
        awaiting.loop = _asyncio.get_event_loop()
    future = awaiting.future = made(loop=awaiting.loop)
    awaiting.ref = ref
    future.awaiting = awaiting
    on_main = _actor_mode and hook("is_loop_of_actor")(awaiting.loop)
    awaiting.token = on_ready(ref, awaiting, on_main)
    return awaiting


# --- Events ----------------------------------------------------------------------------------------

cdef tuple event_tuple(Event& event):
    cdef int kind = <int>event.kind
    if (event.kind == EventKind.kCallback or event.kind == EventKind.kCancel
            or event.kind == EventKind.kRoom):
        return kind, event.token
    if event.kind == EventKind.kLogLines:
        return (kind, event.number, event.text.decode("utf-8", "replace"),
                event.label.decode("utf-8", "replace"), bool(event.flag),
                [line.decode("utf-8", "replace") for line in event.lines])
    if event.kind == EventKind.kWarning or event.kind == EventKind.kSilence:
        return kind, event.text.decode("utf-8", "replace")
    if event.kind == EventKind.kAssignJob:
        return kind, <bytes>event.id, event.label.decode(), <bytes>event.text
    if event.kind == EventKind.kBecomeActor:
        return (kind, <bytes>event.id, event.number, event.label.decode(), <bytes>event.text,
                event.token, list(event.gpu_ids))
    if event.kind == EventKind.kExit:
        return kind, bool(event.flag), event.text.decode("utf-8", "replace")
    return (kind,)


EVENT_CALLBACK = <int>EventKind.kCallback
EVENT_LOG_LINES = <int>EventKind.kLogLines
EVENT_WARNING = <int>EventKind.kWarning
EVENT_SILENCE = <int>EventKind.kSilence
EVENT_ASSIGN_JOB = <int>EventKind.kAssignJob
EVENT_BECOME_ACTOR = <int>EventKind.kBecomeActor
EVENT_EXIT = <int>EventKind.kExit
EVENT_CANCEL = <int>EventKind.kCancel
EVENT_ROOM = <int>EventKind.kRoom
EVENT_SAVE = <int>EventKind.kSave


def next_event(timeout=None):
    """The next event as a tuple, or ``None`` when there is none in time or the core stops."""
    cdef Event event
    cdef Session s = now
    cdef int64_t deadline = deadline_from(timeout)
    cdef bint got
    if s.core == NULL:
        return None
    with nogil:
        got = s.core.events().Next(deadline, &event)
    return event_tuple(event) if got and s is now else None


def stop_events():
    """Wake whoever waits in ``next_event`` for the last time."""
    if now.core != NULL:
        now.core.events().Stop()
