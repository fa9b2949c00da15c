# What a task returns, or raises, on its way to the submitter.

cdef class _Results:
    # What a task returns, on its way to the submitter. Nothing of it is given away (a count of a ref,
    # a sealed object) before the whole of it is encoded and has its place: a task fails as a whole.
    cdef vector[Outcome] outcomes
    cdef vector[StoreBlock] blocks   # written, not sealed
    cdef uint64_t inline_bytes       # of the outcomes so far
    cdef list serialized             # those whose refs have to be counted
    cdef bint again                  # an earlier attempt of the task may have stored results here

    cdef int add(self, object value, bint is_error, const Address& owner, ObjectId id) except -1:
        # `value`: as it is, or Serialized.
        cdef Outcome outcome
        cdef Value* simple = encode_simple(value)
        outcome.is_error = is_error
        if simple != NULL and fits_inline(simple.size(), self.inline_bytes):
            outcome.value = ValuePtr(simple)
            self.inline_bytes += simple.size()
        else:
            if simple != NULL:
                simple.Unref()
            self.place(value if type(value) is Serialized else serialize(value), owner, id, &outcome)
        self.outcomes.push_back(outcome)
        return 0

    cdef int place(self, Serialized serialized, const Address& owner, ObjectId id,
                   Outcome* outcome) except -1:
        cdef StoreBlock block
        cdef Status status
        cdef Session s = now
        if outcome.is_error and serialized.size > ERROR_LIMIT:
            raise ValueError(f"it takes {serialized.size} bytes")
        # Errors travel inline: whoever gets one knows that it is one, and an attempt that fails leaves
        # nothing in the store that the next one's result could be taken for.
        if fits_inline(serialized.size, self.inline_bytes) or outcome.is_error:
            outcome.value = ValuePtr(encode_inline(serialized))
            self.inline_bytes += serialized.size
        else:
            # Refs in the bytes of an earlier attempt are its worker's, and may have died with it.
            if self.again and serialized.contained:
                s.core.store().Discard(id)
            with nogil:
                status = write_block(s.core, serialized, id, owner, &block)
            if status.ok():
                self.blocks.push_back(block)
            elif status.code() != StatusCode.kAlreadyExists:
                raise_status(status)
            # else an earlier attempt of this task stored it before its worker died.
            outcome.stored_bytes = serialized.size
        if serialized.contained:
            if self.serialized is None:
                self.serialized = []
            self.serialized.append((self.outcomes.size(), serialized))
        return 0

    cdef _Results followed_by(self, _Results last):
        cdef size_t i
        for i in range(last.outcomes.size()):
            self.outcomes.push_back(last.outcomes[i])
        return self

    cdef int give(self) except -1:
        # Everything is there: from now on it is the submitter's.
        cdef size_t i
        for i in range(self.blocks.size()):
            now.core.store().SealReturn(self.blocks[i])
        if self.serialized is not None:
            for number, serialized in self.serialized:
                i = number
                take_contained(serialized, &self.outcomes[i].contained)
        return 0

    cdef int abort(self) except -1:
        cdef size_t i
        for i in range(self.blocks.size()):
            now.core.store().Abort(self.blocks[i])
        return 0


cdef _Results encode_results(ExecContext context, CallableEntry entry, object value):
    cdef _Results results = _Results.__new__(_Results)
    cdef ExecTask* task = context.task.get()
    cdef int n = entry.num_returns, i
    if now.core == NULL:
        leave_forked_child(None)
    cdef Address owner
    if n == 0 or not now.core.executor().OwnerOfResults(task[0], &owner):
        return results
    results.again = task.attempt > 0
    if n == 1:
        results.add(value, False, owner, ObjectId(task.id, 1))
        results.give()
        return results
    # Everything that may fail for the value's sake comes before the first write.
    error = None
    if isinstance(value, (tuple, list)):
        check_count(len(value), n)
        values = [item if simple_size(item) else serialize(item) for item in value]
    else:
        values, error = values_of(value, n)
    try:
        for i in range(len(values)):
            results.add(values[i], False, owner, ObjectId(task.id, i + 1))
    except BaseException:
        results.abort()
        raise
    if error is not None and task.cancelled and hook("gives_up")(error):
        results.abort()
        raise error
    results.give()
    if error is not None:
        context.partial = results
        raise error
    return results


cdef int check_count(Py_ssize_t count, Py_ssize_t n) except -1:
    if count > n:
        raise ValueError(f"Task returned more than num_returns={n} objects.")
    if count < n:
        raise ValueError(f"Task returned {count} objects, but num_returns={n}.")
    return 0


cdef tuple values_of(object value, Py_ssize_t n):
    # The first `n` that an iterable yields, which may be endless, and the error that it ended with before.
    cdef list values = []
    try:
        iterator = iter(value)
    except TypeError:
        raise ValueError(f"Task returned 1 objects, but num_returns={n}.") from None
    try:
        while len(values) < n:
            item = next(iterator)
            values.append(item if simple_size(item) else serialize(item))
    except StopIteration:
        return values, ValueError(f"Task returned {len(values)} objects, but num_returns={n}.")
    except BaseException as error:  # noqa: BLE001 - raised once what came before is on its way
        return values, error
    return values, None


cdef _Results encode_failure(ExecContext context, str name, object error):
    """The task's error as its outcome; where that cannot be told, that it cannot. Never fails."""
    try:
        return error_result(context, wrapped_error(name, error))
    except BaseException as broken:  # noqa: BLE001 - whatever it is, the caller gets an answer
        try:
            return error_result(context, hook("plain_error")(broken, name))
        except BaseException:  # noqa: BLE001 - a repr may do anything
            return bare_result(b"the error of " + name.encode("utf-8", "replace")
                               + b" could be neither sent nor described")


cdef object wrapped_error(str name, object error):
    if isinstance(error, _DependencyFailed):
        return hook("dependency_error")(error.args[0], name)
    return hook("task_error")(error, name, _actor_instance if _actor_mode else None)


cdef _Results error_result(ExecContext context, object error):
    cdef _Results results = _Results.__new__(_Results)
    cdef ExecTask* task = context.task.get()
    results.add(error, True, Address(), ObjectId(task.id, 1))  # nothing of it is stored
    results.give()
    return results


cdef _Results bare_result(bytes text):
    # An error of cyray's own, by hand.
    cdef _Results results = _Results.__new__(_Results)
    cdef Outcome outcome
    cdef Value* value = Value.New(18 + len(text))
    memset(value.data(), 0, 18)
    value.data()[0] = TAG_SYSTEM_ERROR
    value.data()[1] = ERROR_INTERNAL
    memcpy(value.data() + 18, PyBytes_AS_STRING(text), len(text))
    outcome.value = ValuePtr(value)
    outcome.is_error = True
    results.outcomes.push_back(outcome)
    return results


cdef leave_forked_child(object error):
    # A process that a task forked and that comes back from it: its parent answers for the task.
    code = 0
    if isinstance(error, SystemExit):
        code = error.code if isinstance(error.code, int) else 0 if error.code is None else 1
    elif error is not None:
        import traceback
        traceback.print_exception(type(error), error, error.__traceback__)
        code = 1
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)
