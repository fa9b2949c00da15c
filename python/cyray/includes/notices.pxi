# What a driver tells of by itself: waits that last, errors that nobody gets, tasks that are left undone.

def long_waits(int64_t for_ms, uint64_t after):
    """JSON: the waits of this process's threads that have lasted so long and came after that number."""
    cdef string text
    cdef Session s = now
    if s.core == NULL:
        return "[]"
    with nogil:
        text = s.core.ReportWaits(for_ms, after)
    return text.decode("utf-8", "replace")


def missing_objects(list refs):
    """JSON: those of the refs whose objects are not here, and what makes them."""
    cdef vector[ObjectEntry*] entries
    cdef string text
    cdef Session s = connected()
    for ref in refs:
        entries.push_back((<ObjectRef?>ref).live())
    with nogil:
        text = s.core.ReportMissing(entries.data(), entries.size())
    return text.decode("utf-8", "replace")


def next_token():
    """Tokens of ``on_ready`` from now on are this or larger."""
    return now.next_token


def awaited(uint64_t before):
    """``(token, ref)`` of those for which ``on_ready`` still waits and whose tokens are smaller."""
    return [(token & ~THREAD_TOKEN, found[0]) for token, found in list(now.callbacks.items())
            if token & ~THREAD_TOKEN < before]


def unread_errors(bint all, size_t most):
    """Errors of tasks that nobody has got since the last call, or at all, and how many are left out.

    Each is given once.
    """
    cdef vector[ReadView] views
    cdef Session s = now
    cdef size_t left_out, i
    if s.core == NULL:
        return [], 0
    left_out = s.core.TakeUnreadErrors(all, most, &views)
    held = []
    for i in range(views.size()):
        held.append(pinned_from(views[i]))
    errors = []
    for i in range(views.size()):
        try:
            errors.append(decode(views[i].data, views[i].size, held[i], False))
        except Exception as error:  # noqa: BLE001 - its class may do anything when it is unpickled
            errors.append(error)
    return errors, left_out


def unfinished():
    """Of what this process submitted: how many tasks and calls have not begun, how many tasks run, how many
    calls of actors run."""
    cdef Unfinished found
    cdef Session s = now
    if s.core == NULL:
        return 0, 0, 0
    found = s.core.CountUnfinished()
    return found.not_begun, found.running_tasks, found.running_calls
