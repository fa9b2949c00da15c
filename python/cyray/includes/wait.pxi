# wait: which of many objects are ready.
#
# Programs call it in a loop, for one of thousands of refs at a time: too many for a cache. So a call that does
# not sleep touches each ref once, as it copies the list, and each entry once, to find repeats.

cdef extern from *:
    void __builtin_prefetch(const void*) nogil


def wait(object_refs=None, num_returns=1, timeout=None, fetch_local=True, *, object_ids=None,
         ray_waitables=None):
    """Wait until ``num_returns`` of the refs are ready or the time is over.

    Args:
        object_refs: distinct refs and generators, in a list or another collection (a tuple, a set, a dict
            that has them as keys); a generator is ready when ``next`` would not wait.
        num_returns: how many to wait for, an integer of any type.
        timeout: seconds; ``None`` waits for ever, 0 only looks.
        fetch_local: count an object as ready when it is on this node; else when it is anywhere.

    Returns:
        ``(ready, not_ready)``: lists of at most ``num_returns`` refs and of the rest, both in the order
        given.

    Raises:
        TypeError: a single ref, or something that is no ref.
        ValueError: a ref is there twice; ``num_returns`` is below 1 or above the number of refs.
    """
    if object_refs is None:
        object_refs = object_ids if object_ids is not None else ray_waitables
    cdef list given = list_to_wait_for(object_refs)
    cdef object wanted = integer_to_wait_for(num_returns)
    cdef int64_t deadline = deadline_from(timeout)
    cdef bint here = bool(fetch_local)
    cdef vector[ObjectEntry*] entries
    cdef bint has_generators = False
    # A list of our own: another thread may change the caller's.
    cdef list refs = copy_with_entries(given, entries, &has_generators)
    cdef size_t n = entries.size(), count = count_to_wait_for(wanted, n)
    if n == 0:
        return [], []
    # Refs that stand for generators' next items are held as long as their entries are used.
    cdef list held = entries_with_generators(refs, entries) if has_generators else None
    if not has_generators and n > 1 and not now.core.reader().AreDistinct(entries.data(), n):
        raise_repeated()
    cdef vector[size_t] found
    wait_entries(entries.data(), n, count, here, deadline)
    now.core.reader().FindReady(entries.data(), n, count, here, &found)
    held = None
    return split_ready(refs, found)


cdef list list_to_wait_for(refs):
    if isinstance(refs, list):
        return refs
    if isinstance(refs, (ObjectRef, ObjectRefGenerator)):
        raise TypeError(f"wait() expected a list of ObjectRef, got a single {type(refs).__name__}")
    # An iterator would be used up, and the refs that are not ready lost with it.
    if not (hasattr(type(refs), "__len__") and hasattr(type(refs), "__iter__")):
        raise TypeError(f"wait() expected a list of ObjectRef, got {type(refs)}")
    return list(refs)


cdef object integer_to_wait_for(num_returns):
    if isinstance(num_returns, bool) or not hasattr(type(num_returns), "__index__"):
        raise TypeError(f"num_returns must be an int, not {type(num_returns)}")
    return num_returns.__index__()


cdef size_t count_to_wait_for(count, size_t n) except? 0:
    if n == 0:
        return 0
    if count <= 0:
        raise ValueError(f"num_returns must be at least 1, not {count}")
    if count > n:
        raise ValueError(f"num_returns is {count}, but there are {n} refs")
    return count


cdef list copy_with_entries(list given, vector[ObjectEntry*]& entries, bint* has_generators):
    # Fills `entries`, one for each ref; a generator's is none yet.
    cdef size_t n = PyList_GET_SIZE(given), i
    cdef uint32_t epoch = now.epoch
    cdef list refs = PyList_New(n)
    while n != <size_t>PyList_GET_SIZE(given):   # a collection may have run anything
        n = PyList_GET_SIZE(given)
        refs = PyList_New(n)
    cdef ObjectEntry** out
    cdef ObjectEntry* entry
    cdef PyObject* ref
    entries.resize(n)
    out = entries.data()
    for i in range(n):
        ref = <PyObject*>PyList_GET_ITEM(given, i)
        if type(<object>ref) is ObjectRef and (<ObjectRef>ref).epoch == epoch:
            entry = (<ObjectRef>ref).entry
            __builtin_prefetch(entry)
            out[i] = entry
        elif type(<object>ref) is ObjectRefGenerator:
            has_generators[0] = True
        else:
            break
        Py_INCREF(<object>ref)
        PyList_SET_ITEM(refs, i, <object>ref)
    else:
        return refs
    given, refs = [<object>ref], None   # with its empty places
    raise_not_waited_for(given[0])


cdef raise_not_waited_for(ref):
    if type(ref) is ObjectRef:
        (<ObjectRef>ref).live()   # raises
    raise TypeError(f"wait() expected a list of ObjectRef, got a list containing {type(ref)}")


cdef list entries_with_generators(list refs, vector[ObjectEntry*]& entries):
    # Two entries may be the same here: that of a generator's end is also that of its completed().
    cdef list items = []
    if len(set(refs)) != len(refs):
        raise_repeated()
    entries.clear()
    for ref in refs:
        if type(ref) is ObjectRefGenerator:
            ref = (<ObjectRefGenerator>ref).look()
            items.append(ref)
        entries.push_back((<ObjectRef>ref).live())
    return items


cdef raise_repeated():
    raise ValueError("wait() expected a list of unique refs; one of them is there twice")


cdef tuple split_ready(list refs, vector[size_t]& found):
    # `refs` becomes one of the two where that spares a copy.
    cdef size_t size = PyList_GET_SIZE(refs), i, next = 0
    if found.size() == 0:
        return [], refs
    if found.size() == 1:
        return [refs.pop(<Py_ssize_t>found[0])], refs
    cdef list ready = [], rest = []
    for i in range(size):
        ref = <object>PyList_GET_ITEM(refs, i)
        if next < found.size() and found[next] == i:
            next += 1
            ready.append(ref)
        else:
            rest.append(ref)
    return ready, rest
