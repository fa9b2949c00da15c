# Async actors: their calls on event loops. That of the default group is the main thread's and polls the
# core's sockets; each concurrency group has a loop on a thread of its own, and another thread that takes
# calls to it.

def poll_fd():
    """A descriptor that is readable when frames wait; for an event loop that polls itself."""
    return session().core.loop().poll_fd()


def use_external_loop(int wake_fd):
    """An event loop on this thread polls from now on; ``wake_fd`` wakes it."""
    global _main_context, _coroutine_context
    import contextvars
    _main_context = None
    _coroutine_context = contextvars.ContextVar("cyray_call", default=None)
    session().core.loop().Use(wake_fd)


@cython.final
@cython.internal
cdef class CallLoop:
    # An event loop that runs calls of an async actor: those of the default group, or of another one.
    cdef object loop
    cdef object turn_ended           # has what follows from ended calls done once; None: nothing does
    cdef bint turn_is_to_end
    cdef set calls                   # that run
    cdef dict waiting                # by number: given to the loop by another thread, and not begun there


cdef list _call_loops = []
cdef CallLoop _main_loop = None      # of them, that of the default group
cdef object _asyncio_task = None


cdef CallLoop add_call_loop(object loop, object turn_ended):
    global _asyncio_task
    import asyncio
    _asyncio_task = asyncio.Task
    cdef CallLoop made = CallLoop.__new__(CallLoop)
    made.loop = loop
    made.turn_ended = turn_ended
    made.calls = set()
    made.waiting = {}
    _call_loops.append(made)
    return made


def use_loop(loop, turn_ended):
    """The main thread's loop runs calls. ``turn_ended()`` is called when some have ended, to have what
    follows from it done once."""
    global _main_loop
    _main_loop = add_call_loop(loop, turn_ended)


def turn_ended():
    """To be called first in what ``use_loop`` was given: from now on it is called again."""
    _main_loop.turn_is_to_end = False


def poll_async(on_event, int limit):
    """For an async actor's loop: handle what is there; up to ``limit`` calls run at once.

    Events are handled at the limit too: what the calls await comes as one. A coroutine becomes a task of the loop, plain methods run at once.
    """
    cdef Event event
    cdef Session s = session()
    cdef ExecContext context
    cdef CallLoop here = _main_loop
    s.core.loop().PollNow()
    while True:
        context = ExecContext.__new__(ExecContext)
        context.task = s.core.executor().TryNextTask(&event, len(here.calls) < limit)
        if context.task.get() == NULL:
            if event.kind != EventKind.kNone:
                on_event(event_tuple(event))
                continue
            break
        begin_call(context, here)
    s.core.loop().EndTurn()


def feed_loop(loop, uint32_t group):
    """For a thread: take the calls of a group to its loop, as many at once as the group allows."""
    cdef CallLoop there = add_call_loop(loop, None)
    try:
        hook("ensure_event_thread")()
        take_calls_to(there, group)
    except BaseException:
        import traceback
        traceback.print_exc()
        hook("leave_from_thread")(failed=True)


cdef take_calls_to(CallLoop there, uint32_t group):
    cdef Session s = session()
    cdef Event event
    cdef ExecContext context
    cdef TaskThread thread
    thread.is_main = False
    thread.group = group
    while True:
        context = ExecContext.__new__(ExecContext)
        with nogil:
            context.task = s.core.executor().NextTask(FOREVER, thread, &event)
        if context.task.get() == NULL:
            still(s)
            continue
        number = context.task.get().number
        there.waiting[number] = context
        if context.task.get().cancelled:   # its event may have come before
            give_up_waiting(there, number)
        else:
            there.loop.call_soon_threadsafe(_begin_there, number, there)


def _begin_there(number, CallLoop there):
    context = there.waiting.pop(number, None)
    if context is not None:
        begin_call(context, there)


cdef bint give_up_waiting(CallLoop there, object number) except *:
    """A call that was cancelled is answered without its loop, if it did not begin there."""
    cdef ExecContext context = there.waiting.pop(number, None)
    if context is None:
        return False
    now.core.executor().ReplyCancelled(move_task(context.task))
    return True


cdef inline int start_on_loop(ExecContext context) except -1:
    """Its first step: until now the loop may have been busy with others."""
    if context.task.get().tmpl.timeout_ms != 0:
        now.core.executor().StartsOnLoop(context.task.get()[0])
    return 0


cdef int begin_call(ExecContext context, CallLoop here) except -1:
    """Begins a call on the loop that runs on this thread; one of a plain method has ended then."""
    cdef CallableEntry entry
    cdef Call call
    try:
        entry = callable_of(context.task.get())
    except BaseException as error:  # noqa: BLE001 - the caller gets it
        end = answer_error(context, None, error)
        if end is not None:
            leave_with(end)
        return 0
    if not entry.is_coroutine and not entry.yields:
        return run_sync_in_loop(context)
    call = Call.__new__(Call)
    context.callable_entry = entry
    call.context = context
    call.here = here
    call.task = _asyncio_task(call, loop=here.loop)
    here.calls.add(call)
    if context.task.get().cancelled:   # its event may have come before
        call.task.cancel()
    return 0


cdef int run_sync_in_loop(ExecContext context) except -1:
    global _main_context
    cdef unsigned long thread = PyThread_get_thread_ident()
    if thread == _main_thread:
        _main_context = context
    else:
        _thread_contexts[thread] = context
    begin_title(context.task.get())
    try:
        start_on_loop(context)
        execute(context)
    finally:
        end_title()
        if thread == _main_thread:
            _main_context = None
        else:
            del _thread_contexts[thread]
    return 0


cdef extern from "Python.h":
    int PYGEN_RETURN
    void Py_DECREF(object)
    int PyIter_Send(object, object, PyObject**) except -1


@cython.final
cdef class Call:
    """One call of an ``async def`` method: a coroutine around the user's own, to the reply.

    A class, not an ``async def``, so that a call that is cancelled before its first step replies too,
    and because a coroutine in a coroutine costs every step twice.
    """
    cdef ExecContext context
    cdef CallLoop here
    cdef object task        # asyncio holds its tasks weakly
    cdef object coroutine   # the user's, from the first step on

    def __await__(self):
        return self

    def __iter__(self):
        return self

    def __next__(self):
        return self.send(None)

    cpdef send(self, value):
        cdef PyObject* result = NULL
        cdef bint ended
        try:
            if self.coroutine is None:
                _coroutine_context.set(self.context)
                start_on_loop(self.context)
                self.begin()
            ended = PyIter_Send(self.coroutine, value, &result) == PYGEN_RETURN
        except BaseException as error:  # noqa: BLE001 - the caller gets it
            self.raised(error)
            raise StopIteration
        value = <object>result
        Py_DECREF(value)
        if not ended:
            return value
        self.returned(value)
        raise StopIteration

    cdef int begin(self) except -1:
        cdef CallableEntry entry = self.context.callable_entry
        made = call_function(self.context, entry)
        if entry.yields:
            made = _stream_async(self.context, made)
        elif hasattr(made, "__aiter__"):
            made = _gather_async(made, entry.num_returns)
        self.coroutine = made
        return 0

    def throw(self, kind, value=None, traceback=None):
        try:
            if self.coroutine is None:
                raise kind
            if isinstance(kind, BaseException):
                return self.coroutine.throw(kind)
            return self.coroutine.throw(kind, value, traceback)
        except StopIteration as stop:
            self.returned(stop.value)
        except BaseException as error:  # noqa: BLE001
            self.raised(error)
        raise StopIteration

    def close(self):
        if self.coroutine is not None:
            self.coroutine.close()

    cdef int returned(self, object value) except -1:
        cdef CallableEntry entry = self.context.callable_entry
        try:
            results = _Results.__new__(_Results)
            if not entry.yields:
                results = encode_results(self.context, entry, value)
        except BaseException as error:  # noqa: BLE001
            self.raised(error)
        else:
            finish(self.context, True, results, False)
            self.ended()
        return 0

    cdef int raised(self, object error) except -1:
        end = answer_error(self.context, self.context.callable_entry, error)
        if end is None:
            return self.ended()
        if PyThread_get_thread_ident() != _main_thread:
            leave_with(end)
        worker_exiting(end.intended, end.reason)
        hook("stop_loop")(0 if end.intended else 1)
        return 0

    cdef int ended(self) except -1:
        cdef CallLoop here = self.here
        here.calls.discard(self)
        self.task = self.context = None
        if here.turn_ended is not None and not here.turn_is_to_end:
            here.turn_is_to_end = True
            here.turn_ended()
        return 0
