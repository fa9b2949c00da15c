# The saves of this actor's state (core/saver.h), for _worker/saves.py.

def begin_saves(bytes actor_id, uint32_t incarnation, tuple when, str label):
    """This actor, of the class `label`, is saved from now on.

    Args:
        when: After how many calls, within how many ns (0: neither), and whether it is asked instead.
    """
    cdef SaveRules rules
    rules.calls, rules.every_ns, rules.asks = when
    session().core.saver().Begin(ActorId.FromBytes(PyBytes_AS_STRING(actor_id)), incarnation, rules, label.encode())


def get_actor_save(bytes actor_id):
    """The state of its last save and the calls that this includes; ``None`` when there is none."""
    cdef SavedActor saved
    cdef Status status
    cdef Session s = session()
    cdef ActorId id = ActorId.FromBytes(PyBytes_AS_STRING(actor_id))
    while True:
        with nogil:
            status = GetActorSave(s.core.control(), id, &saved)
        if status.code() != StatusCode.kUnavailable:
            break   # else the GCS is away for long: the actor must not begin without
    check(s, status)
    if not saved.found:
        return None
    return <bytes>saved.state, <bytes>saved.calls


def restore_saves(bytes calls):
    """The state includes these calls: they are not to run again."""
    if not session().core.saver().Restore(view_of(calls)):
        raise ValueError("the calls that a save includes cannot be read")


def included_calls():
    """The calls that the state includes now, for ``restore_saves``."""
    return <bytes>session().core.saver().IncludedCalls()


class HoldsRef(TypeError):
    """What is to outlive this process has something in it that does not."""


def encode_state(value):
    """The value as bytes, for another life of this actor.

    Raises:
        TypeError: something in it cannot be pickled.
        HoldsRef: it has a ref, or a handle that keeps its actor alive.
    """
    cdef Serialized serialized
    cdef Value* encoded = encode_simple(value)
    if encoded == NULL:
        serialized = serialize(value)
        if serialized.contained:
            raise HoldsRef("it holds an ObjectRef, or a handle that keeps its actor alive: neither outlives "
                           "the process that has it. Save values, and handles that get_actor() gives.")
        encoded = encode_inline(serialized)
    out = PyBytes_FromStringAndSize(<const char*>encoded.data(), encoded.size())
    encoded.Unref()
    return out


def save_taken(bytes state, int64_t taken_ms):
    """The state at this moment, with the time in ms since 1970. Calls go on.

    Raises:
        ValueError: it is too large.
    """
    cdef Status status
    cdef Session s = session()
    cdef string_view view = view_of(state)
    with nogil:
        status = s.core.saver().Taken(view, taken_ms)
    check(s, status)


def save_not_taken(bint declined):
    """It could not be taken, or is not to be now. Calls go on."""
    session().core.saver().NotTaken(declined)


def since_last_save():
    """Calls that ended and nanoseconds since the last state was taken; its number, and the last that is stored."""
    since = session().core.saver().SinceLast()
    return since.calls, since.ns, since.taken, since.stored


LAST_IS_DUE = <int>LastSave.kDue
LAST_CALL_RUNS = <int>LastSave.kCallRuns


def begin_last_save():
    """The actor leaves: whether its state is to be taken (``LAST_IS_DUE``), and cannot be (``LAST_CALL_RUNS``)."""
    return <int>session().core.saver().BeginLast()


def await_saves(double seconds):
    """Waits until all that was taken is stored; says why the last of it is not, or nothing."""
    cdef Session s = session()
    cdef Status status
    cdef int64_t deadline = MonotonicNs() + <int64_t>(seconds * 1e9)
    with nogil:
        status = s.core.saver().AwaitSettled(deadline)
    return "" if status.ok() else status.message().decode("utf-8", "replace")
