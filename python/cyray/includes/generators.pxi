# Streaming generators: their items, on the consumers' side and on the producer's.

cdef enum:
    STREAMS = 1    # of wire::Yields
    MOST_IN_A_ROW = 32   # items of a call on a loop


@cython.final
cdef class ObjectRefGenerator:
    """The refs of what a task or call yields, in order, while it runs.

    Iterate over it, or with ``async for``; it can be waited for, cancelled, and given to a task. Each
    item goes to one consumer. An error of the task is its last item. When nobody holds the generator any
    more, what makes its items ends.
    """
    cdef ObjectRef _ref      # stands for the generator: its handles are counted there
    cdef object __weakref__

    def __init__(self):
        raise TypeError("an ObjectRefGenerator comes from a task or call that yields")

    def __iter__(self):
        return self

    def __next__(self):
        item = self.take()
        if item is None:
            raise StopIteration
        return item

    cdef ObjectRef take(self):
        # The next item; None behind the last. Others may take what this one has waited for.
        cdef bint taken
        cdef ObjectRef item
        cdef ObjectEntry* entry
        while True:
            item = next_item(self._ref, False, &taken)
            if item is None:
                return None
            entry = item.live()
            if taken:
                return item
            wait_entries(&entry, 1, 1, False, FOREVER)

    def __aiter__(self):
        return self

    async def __anext__(self):
        cdef bint taken
        cdef ObjectRef item
        while True:
            item = next_item(self._ref, False, &taken)
            if item is None:
                raise StopAsyncIteration
            if taken:
                return item
            await _when_ready(item)

    cdef ObjectRef look(self):
        # What is ready when the next item is, or when there will be none.
        cdef bint taken
        item = next_item(self._ref, True, &taken)
        return item if item is not None else self._ref

    def completed(self):
        """A ref that is ready when the task is over; ``get`` raises what the task raised."""
        return self._ref

    def next_ready(self):
        """Whether ``next`` would not wait: an item is there, or the task is over."""
        cdef ObjectRef item = self.look()
        if item is self._ref:
            return True
        cdef ObjectEntry* entry = item.live()
        cdef uint8_t flag = 0
        now.core.reader().ReadyFlags(&entry, 1, False, &flag)
        return bool(flag)

    def is_finished(self):
        """Whether all items were given out and there will be no more."""
        return self.look() is self._ref

    def close(self):
        """Ends the generator: what makes its items is cancelled, and those that are there go."""
        cdef ObjectRef ref = self._ref
        if not self.is_finished():
            cancel(ref, False, True)
            while self.take() is not None:
                pass

    async def aclose(self):
        """The same for ``async for``."""
        if not self.is_finished():
            cancel(self._ref, False, True)
            async for _ in self:
                pass

    def send(self, value):
        raise NotImplementedError("nothing can be sent into a generator that runs in another process")

    def throw(self, *error):
        raise NotImplementedError("nothing can be raised in a generator that runs in another process: "
                                  "cyray.cancel() ends it")

    asend = send
    athrow = throw

    def task_id(self):
        """The ``TaskID`` of the task that yields the items."""
        return self._ref.task_id()

    def __repr__(self):
        return f"ObjectRefGenerator({self._ref.hex() if self._ref.epoch == now.epoch else 'of a session that was shut down'})"

    @classmethod
    def __class_getitem__(cls, item):
        """``ObjectRefGenerator[int]`` in annotations yields refs of ints, for type checkers."""
        return cls

    def __copy__(self):
        return self

    def __deepcopy__(self, memo):
        return self

    def __reduce__(self):
        return _rebuild_generator, (self._ref,)


def _rebuild_generator(ObjectRef ref):
    return make_generator(ref)


cdef ObjectRefGenerator make_generator(ObjectRef ref):
    cdef ObjectRefGenerator generator = ObjectRefGenerator.__new__(ObjectRefGenerator)
    generator._ref = ref
    return generator


cdef ObjectRef next_item(ObjectRef generator, bint only_look, bint* taken):
    # None: there are no more.
    cdef ObjectEntry* entry = generator.live()
    cdef NextItem next
    cdef Session s = now
    cdef Status status
    with nogil:
        status = take_of(s.core.items(), entry, only_look, &next)
    still(s)
    if not status.ok():
        raise_status(status)
    taken[0] = next.taken
    if next.end:
        return None
    return make_ref(next.item, s.epoch)


async def _when_ready(ObjectRef ref):
    """Waits on the running loop until the object can be read here."""
    cdef Awaiting awaiting = awaiting_of(ref)
    awaiting.only_ready = True
    await awaiting.future


cdef extern from *:
    """
    static inline ::cyray::ObjectId cyray_next_item_id(const ::cyray::core::ExecTask& task) {
      return ::cyray::core::ItemStream::IdOf(task.id, task.production->number);
    }
    """
    ObjectId next_item_id "cyray_next_item_id"(const ExecTask&) nogil


# --- The producer ----------------------------------------------------------------------------------

cdef int stream(ExecContext context, object values) except -1:
    """Sends what ``values`` yields, as far as somebody takes it."""
    cdef Sent sent
    cdef Session s = now
    if not now.core.executor().OwnerOfResults(context.task.get()[0], &context.results_go_to):
        return 0
    for value in values_to_stream(context, values):
        sent = send_next(context, value)
        value = None
        if sent == Sent.kUnwanted:
            return 0
        if sent == Sent.kWait:
            wait_for_room(s, context)
    return 0


cdef int wait_for_room(Session s, ExecContext context) except -1:
    cdef bint has_room = False
    while not has_room:
        with nogil:
            has_room = s.core.executor().AwaitRoom(context.task.get()[0])
        if not has_room:
            reraise()
        still(s)
        look_whether_cancelled(context)
    return 0


cdef object values_to_stream(ExecContext context, object values):
    try:
        return iter(values)
    except TypeError:
        raise TypeError(f"{task_name(context.task.get())} is to yield its results, and returned "
                        f"{type(values).__name__}, which cannot be iterated over") from None


cdef int look_whether_cancelled(ExecContext context) except -1:
    # A call of an actor is not interrupted; between two items it can end.
    if context.task.get().cancelled and not context.interrupted:
        context.interrupted = True
        raise KeyboardInterrupt("the task was cancelled")
    return 0


cdef Sent send_next(ExecContext context, object value) except *:
    # The next item, unless its owner has it of an earlier attempt.
    cdef ExecTask* task = context.task.get()
    cdef _Results results
    look_whether_cancelled(context)
    if now.core.executor().SkipItem(task[0]):
        return Sent.kGoOn
    results = _Results.__new__(_Results)
    results.again = task.attempt > 0
    results.add(value, False, context.results_go_to, next_item_id(task[0]))
    results.give()
    return now.core.executor().SendItem(task[0], results.outcomes[0])


cdef dict _rooms = {}   # of calls of this async actor that wait for consumers: a future by their number


async def _stream_async(ExecContext context, values):
    """The same on the loop of an async actor, which others run on meanwhile."""
    cdef Sent sent
    if hasattr(values, "__await__"):
        values = await values
    if not now.core.executor().OwnerOfResults(context.task.get()[0], &context.results_go_to):
        return
    if not hasattr(values, "__aiter__"):
        for value in values_to_stream(context, values):
            sent = send_next(context, value)
            if sent == Sent.kUnwanted:
                return
            if is_others_turn(context, sent):
                await _turn(context, sent == Sent.kWait)
        return
    async for value in values:
        sent = send_next(context, value)
        if sent == Sent.kUnwanted:
            return
        if is_others_turn(context, sent):
            await _turn(context, sent == Sent.kWait)


cdef inline bint is_others_turn(ExecContext context, Sent sent) noexcept:
    # However fast items come, others have their turn after a few.
    context.in_a_row += 1
    return sent == Sent.kWait or context.in_a_row >= MOST_IN_A_ROW


async def _turn(ExecContext context, bint waits):
    import asyncio
    context.in_a_row = 0
    if waits:
        await _room(context)
    else:
        await asyncio.sleep(0)


async def _room(ExecContext context):
    cdef uint64_t number = context.task.get().number
    import asyncio
    if now.core.executor().HasRoomOrTells(context.task.get()[0]):
        return
    future = _rooms[number] = asyncio.get_running_loop().create_future()
    try:
        await future
    finally:
        del _rooms[number]


def room_made(number):
    """For whoever takes events: the consumers have taken items of that call."""
    future = _rooms.get(number)
    if future is not None:
        on_its_loop(future.get_loop(), lambda: future.done() or future.set_result(None))


async def _gather_async(values, int count):
    """The first that an async generator yields, to be iterated over, and the error that it ended with."""
    cdef list gathered = []
    try:
        async for value in values:
            gathered.append(value)
            if len(gathered) == count:
                break
    except Exception as error:  # noqa: BLE001 - raised behind what came before
        return _raising_at_end(gathered, error)
    return gathered if count == len(gathered) else iter(gathered)


def _raising_at_end(values, error):
    yield from values
    raise error
