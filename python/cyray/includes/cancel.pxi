# Cancelling: asking for it, and what it means to the task that runs here.
#
# A task on a worker's main thread is interrupted by a signal of its own, which no handler of the user's
# and no mask for SIGINT concerns; on another thread where it waits for the engine. A call of an async
# actor is cancelled as asyncio does it; one of another actor can only ask.

cdef extern from *:
    """
    #include <pthread.h>
    #include <csignal>
    // Far from those that libraries take for themselves.
    static inline int cyray_cancel_signal(void) { return SIGRTMAX - 7; }
    static inline void cyray_interrupt_with(cyray::core::Executor& executor, int number) {
      const pthread_t main_thread = pthread_self();
      executor.SetInterrupt([main_thread, number] { pthread_kill(main_thread, number); });
    }
    """
    int cancel_signal "cyray_cancel_signal"() noexcept
    void interrupt_with "cyray_interrupt_with"(Executor&, int) noexcept


CANCEL_SIGNAL = cancel_signal()   # comes to a worker's main thread when one of its tasks is cancelled


def cancel(ObjectRef ref, bint force, bint recursive):
    """Ask for the task that makes ``ref`` to be cancelled."""
    cdef ObjectEntry* entry = ref.live()
    cdef Cancellation how
    how.force = force
    how.recursive = recursive
    cdef Status status = now.core.submitter().Cancel(entry, how)
    if not status.ok():
        raise_status(status)


cdef int cancel_all(Session s, ObjectEntry** entries, size_t size) except -1:
    """What makes them is cancelled, and what that submitted; where it is over, nothing."""
    cdef Cancellation how
    cdef size_t i
    how.force = False
    how.recursive = True
    for i in range(size):
        s.core.submitter().Cancel(entries[i], how)
    return 0


def is_cancelled():
    """Whether the task on this thread was cancelled."""
    cdef ExecContext context = current_context()
    return context is not None and context.task.get() != NULL and bool(context.task.get().cancelled)


cdef inline bint is_untold(ExecContext context):
    """Whether its task was cancelled and is to be interrupted for that: once, in the user's code."""
    return (context is not None and context.interruptible and not context.interrupted and not _actor_mode
            and context.task.get() != NULL and context.task.get().cancelled)


cdef int interrupt(ExecContext context) except -1:
    if not is_untold(context):
        return 0
    context.interrupted = True
    raise KeyboardInterrupt("the task was cancelled")


def interrupt_if_cancelled():
    """Raises KeyboardInterrupt when the task on this thread was cancelled and does not know it yet."""
    interrupt(current_context())


cdef cbool raise_if_cancelled() noexcept:
    # The same, for a wait: the exception stays set.
    cdef ExecContext context
    if now.is_driver or _actor_mode:
        return False
    context = current_context()
    if not is_untold(context):
        return False
    context.interrupted = True
    PyErr_SetString(KeyboardInterrupt, "the task was cancelled")
    return True


def cancel_call(uint64_t number):
    """Cancels that call of this async actor, if it runs or waits for its loop."""
    cdef Call call
    cdef CallLoop there
    cdef ExecContext context
    for there in _call_loops:
        if give_up_waiting(there, number):
            return
        for call in list(there.calls):
            context = call.context   # None: it ended just now, on another thread
            if context is not None and context.task.get() != NULL and context.task.get().number == number:
                task = call.task
                if task is not None:
                    on_its_loop(there.loop, task.cancel)
                return


cdef int on_its_loop(object loop, object callback) except -1:
    """Calls it there: at once when this is the thread of an async actor's main loop, and that is it."""
    if hook("is_loop_of_actor")(loop):
        callback()
    else:
        loop.call_soon_threadsafe(callback)
    return 0
