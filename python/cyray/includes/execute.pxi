# The worker's side: take a task, decode its arguments, run it, encode what it returns, reply.

cdef extern from "Python.h":
    unsigned long PyThread_get_thread_ident() nogil


@cython.final
@cython.internal
cdef class ExecContext:
    # A task while it runs on a thread.
    cdef unique_ptr[ExecTask] task
    cdef object callable_entry
    cdef bint interruptible     # the user's code runs, or may: what it raises ends the task alone
    cdef _Results partial       # what its generator yielded before the error that it ended with
    cdef Address results_go_to  # of a generator, while it yields
    cdef int in_a_row           # items that a call on a loop has sent since others had their turn
    cdef bint interrupted       # it was cancelled, and got its KeyboardInterrupt for that


@cython.final
@cython.internal
cdef class CallableEntry:
    # What a template means here; resolved at its first task.
    cdef object function
    cdef bytes function_id      # None: an actor's method
    cdef str name
    cdef int num_returns
    cdef object inout           # tuple of positions and names, or None
    cdef object retry           # False, True or a tuple of exception types
    cdef dict demand            # resources in units of 1/10000; None for one CPU
    cdef bint is_coroutine      # or an async generator
    cdef bint yields            # its results, one after the other
    cdef uint32_t max_calls     # of the function in this process, which leaves then; 0: any number
    cdef int cpus               # that its tasks have; 0: those of the actor
    cdef tuple group            # the placement group that its tasks are in: id, bundles, captures
    cdef uint64_t serial        # of the template; others have had its id before


cdef list _callables = []       # by python_id
cdef dict _functions = {}       # by function id: templates of several options share one
cdef dict _calls_of = {}        # by function id: how often those with max_calls were called
cdef int _cpus_shown = 0
cdef Py_ssize_t _forget_at = 256   # how many there may be before those without a template go
cdef object _actor_instance = None
cdef tuple _actor_group = None  # the placement group that this actor is in
cdef bytes _actor_id = None
cdef bint _actor_mode = False
cdef ExecContext _main_context = None
cdef dict _thread_contexts = {}
cdef unsigned long _main_thread = 0
cdef str _actor_label = ""
cdef object _coroutine_context = None   # async actors: a ContextVar with the call's ExecContext


cdef ExecContext current_context():
    cdef ExecContext found
    if PyThread_get_thread_ident() == _main_thread:
        found = _main_context
    else:
        found = _thread_contexts.get(PyThread_get_thread_ident())
    if found is None and _coroutine_context is not None:
        found = _coroutine_context.get()
    return found


cdef str task_name(ExecTask* task):
    return (task.tmpl.name if task.name.empty() else task.name).decode("utf-8", "replace")


def current_task():
    """``(task id hex, name, function name)`` of the task on this thread, or ``None``."""
    cdef ExecContext context = current_context()
    if context is None or context.task.get() == NULL:
        return None
    cdef ExecTask* task = context.task.get()
    return task.id.Hex().decode(), task_name(task), task.tmpl.name.decode("utf-8", "replace")


def current_demand():
    """What the task on this thread holds, in units of 1/10000; ``None`` outside of tasks."""
    cdef ExecContext context = current_context()
    if context is None or context.task.get() == NULL:
        return None
    cdef CallableEntry entry = context.callable_entry
    return {"CPU": 10_000} if entry is None or entry.demand is None else entry.demand


def current_actor_id():
    """The id of the actor that this process is, or ``None``."""
    return _actor_id


def current_label():
    """What prefixes the output of this process now: the task's or actor's name."""
    if _actor_mode:
        return _actor_label
    task = current_task()
    return task[1] if task is not None else None


def current_gpu_ids():
    cdef ExecContext context = current_context()
    if context is None or context.task.get() == NULL:
        return []
    return list(context.task.get().gpu_ids)


cdef int forget_functions() except -1:
    """Those whose templates have all made room for others; the GCS has them still."""
    global _functions, _forget_at
    cdef CallableEntry entry
    _functions = {entry.function_id: entry.function for entry in _callables
                  if entry is not None and entry.function_id is not None}
    _forget_at = len(_functions) + 256
    return 0


cdef CallableEntry resolve_callable(ExecTemplate* tmpl):
    cdef CallableEntry entry = CallableEntry.__new__(CallableEntry)
    entry.name = tmpl.name.decode("utf-8", "replace")
    entry.num_returns = tmpl.num_returns
    entry.serial = tmpl.serial
    cdef string pickled
    cdef Status status
    cdef bytes function_id
    cdef Session s = now
    if tmpl.method.empty():
        function_id = PyBytes_FromStringAndSize(<const char*>tmpl.function_id.data(), 16)
        entry.function = _functions.get(function_id)
        if entry.function is None:
            with nogil:
                status = GetFunction(s.core.control(), tmpl.job_id, tmpl.function_id, 30_000, &pickled)
            if not status.ok():
                raise_status(status)
            if pickled.empty():
                raise RuntimeError(f"the definition of {entry.name} did not arrive within 30 s")
            if len(_functions) >= _forget_at:
                forget_functions()
            entry.function = _functions[function_id] = hook("load_definition")(<bytes>pickled)
        entry.function_id = function_id
    else:
        entry.function = hook("find_method")(_actor_instance, tmpl.method.decode())
    extra = hook("load_extra")(<bytes>tmpl.extra)
    entry.inout = extra.get("inout")
    entry.retry = hook("load_retry_types")(extra.get("retry_exceptions", False))
    entry.demand = extra.get("demand")
    entry.max_calls = extra.get("max_calls", 0)
    entry.group = extra.get("group")
    if entry.group is not None and entry.group[2]:
        set_capturing()
    if entry.function_id is not None and not _actor_mode:
        entry.cpus = 1 if entry.demand is None else max(1, entry.demand.get("CPU", 0) // 10_000)
    entry.yields = <int>tmpl.yields != 0
    entry.is_coroutine = (_compat.is_coroutine_function(entry.function)
                          or _compat.generator_kind(entry.function) == "async generator")
    return entry


cdef CallableEntry callable_of(ExecTask* task):
    cdef uint32_t id = task.tmpl.python_id
    cdef CallableEntry entry
    while <uint32_t>len(_callables) <= id:
        _callables.append(None)
    entry = _callables[id]
    if entry is None or entry.serial != task.tmpl.serial:
        entry = resolve_callable(task.tmpl)
        _callables[id] = entry
    return entry


cdef int count_call(CallableEntry entry) except -1:
    # The last call that this process takes of a function: what waits here runs elsewhere.
    calls = _calls_of[entry.function_id] = _calls_of.get(entry.function_id, 0) + 1
    if calls == entry.max_calls:
        now.core.executor().Retire(f"{entry.name} ran there max_calls={calls} times".encode())
    return 0


cdef int show_cpus(int count) except -1:
    global _cpus_shown
    _cpus_shown = count
    hook("show_cpus")(count)
    return 0


cdef bint is_retriable(CallableEntry entry, object error):
    """Whether the submitter may run the task again. A class that cannot say so says no."""
    if entry is None or entry.retry is False or not isinstance(error, Exception):
        return False
    if isinstance(error, _DependencyFailed):   # it would fail again
        return False
    try:
        return entry.retry is True or isinstance(error, entry.retry)
    except BaseException as broken:  # noqa: BLE001 - of a metaclass of the user's
        sys.stderr.write(f"cyray: retry_exceptions of {entry.name} failed: {type(broken).__name__}\n")
        return False


cdef object call_function(ExecContext context, CallableEntry entry):
    """Runs the task's function; what it returns, with written arguments put in."""
    cdef ExecTask* task = context.task.get()
    cdef CyrayThread* here
    if task.args.get() == NULL:
        args, kwargs, written = (), None, None
    else:
        here = this_thread()
        here.call = <PyObject*>context
        try:
            args, kwargs, written = decode_args(context, entry.inout)
        finally:
            here.call = NULL
    if task.cancelled:
        interrupt(context)
    if kwargs is None:
        value = entry.function(*args)
    else:
        value = entry.function(*args, **kwargs)
    if written is None:
        return value
    if value is None:
        return written[0] if len(written) == 1 else tuple(written)
    return (value, *written)


cdef int finish(ExecContext context, bint ok, _Results results, bint retry) except -1:
    now.core.executor().Reply(move_task(context.task), ok, results.outcomes, retry)
    return 0


cdef int execute(ExecContext context) except -1:
    """Runs one task on this thread and replies. Raises only what must end the process."""
    cdef CallableEntry entry = None
    cdef _Results results
    try:
        context.interruptible = True
        entry = callable_of(context.task.get())
        context.callable_entry = entry
        if entry.max_calls != 0:
            count_call(entry)
        if entry.cpus != _cpus_shown and entry.cpus != 0:
            show_cpus(entry.cpus)
        if not context.task.get().gpu_ids.empty():
            hook("show_devices")(list(context.task.get().gpu_ids))
        value = call_function(context, entry)
        if entry.is_coroutine:
            value = hook("run_coroutine")(value)
        if entry.yields:
            stream(context, value)
            results = _Results.__new__(_Results)
        else:
            results = encode_results(context, entry, value)
        context.interruptible = False
        value = None
    except BaseException as error:  # noqa: BLE001 - the caller gets it, whatever it is
        context.interruptible = False
        value = None
        end = answer_error(context, entry, error)
        if end is not None:
            leave_with(end)
        return 0
    return finish(context, True, results, False)


cdef object answer_error(ExecContext context, CallableEntry entry, object error):
    """Replies with what the task raised. Replies nothing where it ends this process: gives that end."""
    if now.core == NULL:
        leave_forked_child(error)
    end = hook("leaves")(error)
    if end is not None:
        now.core.executor().Abandon(move_task(context.task))
    elif context.task.get().cancelled and hook("gives_up")(error):
        now.core.executor().ReplyCancelled(move_task(context.task))
    else:
        retry = is_retriable(entry, error) and not context.task.get().timed_out
        failure = encode_failure(context, task_name(context.task.get()), error)
        if context.partial is not None:
            failure = context.partial.followed_by(failure)
        finish(context, False, failure, retry)
    context.partial = None
    return end


cdef int leave_with(end) except -1:
    # exit_actor() and sys.exit(): what is queued does not run here any more. The call itself fails
    # with the actor's death when the process has gone.
    worker_exiting(end.intended, end.reason)
    if PyThread_get_thread_ident() != _main_thread:
        hook("leave_from_thread")(failed=not end.intended)
    raise SystemExit(0 if end.intended else 1)


def run_worker(on_event):
    """The main loop of a worker: run tasks until told to leave. ``on_event`` gets event tuples."""
    global _main_thread
    _main_thread = PyThread_get_thread_ident()
    interrupt_with(session().core.executor(), CANCEL_SIGNAL)
    run_tasks(on_event)


cdef extern from *:
    """
    #include <cerrno>
    #include <csignal>
    #include <unistd.h>
    // Whoever polls has the process end when what runs has ended. A second one, or one that a child
    // which was forked from here gets, does what it does in other programs.
    static std::atomic<bool>* cyray_asked_to_end = nullptr;
    static int cyray_wake_fd = -1;
    static pid_t cyray_who_ends = 0;
    static void cyray_on_sigterm(int number) {
      if (getpid() != cyray_who_ends || cyray_wake_fd < 0) {
        signal(number, SIG_DFL);
        raise(number);
        return;
      }
      const int error = errno;
      const uint64_t one = 1;
      cyray_asked_to_end->store(true);
      if (write(cyray_wake_fd, &one, sizeof one) < 0) {}
      cyray_wake_fd = -1;
      errno = error;
    }
    static inline void cyray_end_on_sigterm(cyray::core::Executor& executor, int wake_fd) {
      cyray_asked_to_end = &executor.asked_to_end();
      cyray_wake_fd = wake_fd;
      cyray_who_ends = getpid();
      struct sigaction action = {};
      action.sa_handler = cyray_on_sigterm;
      action.sa_flags = SA_RESTART;
      sigaction(SIGTERM, &action, nullptr);
    }
    """
    void end_on_sigterm_of "cyray_end_on_sigterm"(Executor&, int) noexcept


def end_on_sigterm():
    """SIGTERM ends this worker from now on when what runs has ended; a second one at once."""
    end_on_sigterm_of(session().core.executor(), session().core.loop().wake_fd())


def run_task_thread(on_event, uint32_t group=0):
    """The loop of a further thread, of that group of an actor. What ends it ends the process: calls would
    wait for it for ever."""
    try:
        run_tasks(on_event, group)
    except BaseException:
        import traceback
        traceback.print_exc()
        hook("leave_from_thread")(failed=True)


cdef run_tasks(on_event, uint32_t group=0):
    """Take tasks on this thread as long as the process lives."""
    global _main_context
    cdef Event event
    cdef TaskThread thread
    cdef Session s = session()
    cdef ExecContext context = ExecContext.__new__(ExecContext)
    cdef bint is_main = PyThread_get_thread_ident() == _main_thread
    if is_main:
        _main_context = context
    else:
        _thread_contexts[PyThread_get_thread_ident()] = context
    thread.is_main = is_main
    thread.group = group
    while True:
        with nogil:
            context.task = s.core.executor().NextTask(FOREVER, thread, &event)
        if context.task.get() == NULL:
            if event.kind != EventKind.kNone:
                on_event(event_tuple(event))
            still(s)
            continue
        if is_main and check_signals() != 0:
            forget_interrupt()
        if is_main and context.task.get().submitter_is_nil():
            on_event((EVENT_CREATE_ACTOR, context))
        else:
            if is_main and context.task.get().tmpl.max_concurrency > 1 and not _actor_mode:
                hook("ensure_threads")(context.task.get().tmpl.max_concurrency)
            begin_title(context.task.get())
            execute(context)
            end_title()
        context.callable_entry = None
        context.interrupted = False


cdef forget_interrupt():
    """An interrupt that came before the task is not the task's."""
    try:
        reraise()
    except KeyboardInterrupt:
        pass


EVENT_CREATE_ACTOR = 100


def become_actor(bytes actor_id, str label, groups, bint on_loops, tuple group):
    """From now on this process is an actor.

    ``groups``: of its calls, as ``_spec.plans.CallGroup``; ``on_loops``: each has an event loop. ``group``: the
    placement group that it is in, as ``current_group`` gives it.
    """
    global _actor_id, _actor_mode, _actor_label, _actor_group
    cdef vector[CallGroup] filled
    fill_groups(&filled, groups)
    if on_loops:
        filled[0].at_once = 1   # the loop of the default one is the main thread, with a bound of its own
    _actor_group = group
    if group is not None and group[2]:
        set_capturing()
    _actor_id = actor_id
    _actor_mode = True
    _actor_label = label
    rest_as(label)
    session().core.executor().BecomeActor(filled, on_loops and filled.size() > 1)


def set_actor_label(str label):
    global _actor_label
    _actor_label = label


def construct_actor(ExecContext context):
    """Run the constructor that a creation task carries; raises what ``__init__`` raised."""
    global _actor_instance
    cdef CallableEntry constructor = callable_of(context.task.get())
    context.callable_entry = constructor
    instance = call_function(context, constructor)
    _actor_instance = instance
    # A ref among the arguments that the constructor kept is registered with its owner now.
    finish(context, True, _Results.__new__(_Results), False)
    return instance


def actor_ready(bytes actor_id, uint32_t incarnation, bint ok, bytes error=b""):
    cdef ActorId id = ActorId.FromBytes(PyBytes_AS_STRING(actor_id))
    session().core.executor().ActorReady(id, incarnation, ok, view_of(error))


def worker_exiting(bint intended, str reason):
    session().core.executor().WorkerExiting(intended, reason.encode())


def actor_instance():
    """The object that this actor is; ``None`` when this process is no actor."""
    return _actor_instance


def forget_user_code():
    """Lets go of the actor, its methods and all functions: the process ends, and runs none any more."""
    global _actor_instance, _main_context
    _actor_instance = _main_context = None
    _thread_contexts.clear()
    _callables.clear()
    _functions.clear()
