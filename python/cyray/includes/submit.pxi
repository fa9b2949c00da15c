# Tasks, actors and their methods as callables. What is decided once per function or method is
# policy and lives in _api; here is what happens at every call.

from cpython.dict cimport PyDict_Next


cdef class ActorHandle   # below


cdef inline object submit(TaskTemplate* tmpl, ActorHandle handle, bytes name, tuple args, dict kwargs,
                          bint reserved=False):
    # `tmpl` and `handle`, None for a task, are of the current session.
    # `name`: of this one task, instead of its template's; or None. `reserved`: by Reserve.
    cdef Session s = now
    cdef Submission submission
    cdef ObjectEntry* one
    cdef vector[ObjectEntry*] many
    cdef int i, n = tmpl.num_returns
    cdef ActorClient* actor = NULL
    submission.tmpl = tmpl
    if handle is not None:
        actor = handle.client
        submission.hold = handle.hold()
    cdef ExecContext parent = None
    if not s.is_driver:
        parent = current_context()
        if parent is not None and parent.task.get() != NULL:
            submission.parent = parent.task.get().number
    if name is not None:
        submission.name.reset(new string(<string>name))
    submission.reserved = reserved
    if reserved:
        encode_reserved(s, actor, args, kwargs, &submission)
    elif args or kwargs:
        submission.args = ValuePtr(encode_args(s, args, kwargs, &submission.refs,
                                               &submission.contained))
    if n == 1:
        if s.core.submitter().Submit(move_submission(submission), actor, &one):
            throttle(s, actor)
        if parent is not None and is_untold(parent) and parent.task.get().cancels_children:
            cancel_all(s, &one, 1)   # its parent was cancelled, and does not know it yet
        ref = make_ref(one, s.epoch)
        return ref if <int>tmpl.yields != STREAMS else make_generator(ref)
    many.resize(n)
    if s.core.submitter().Submit(move_submission(submission), actor, many.data()):
        throttle(s, actor)
    if n == 0:
        return None
    if parent is not None and is_untold(parent) and parent.task.get().cancels_children:
        cancel_all(s, many.data(), 1)
    return [make_ref(many[i], s.epoch) for i in range(n)]


cdef int encode_reserved(Session s, ActorClient* actor, tuple args, dict kwargs,
                         Submission* submission) except -1:
    if not (args or kwargs):
        return 0
    try:
        submission.args = ValuePtr(encode_args(s, args, kwargs, &submission.refs,
                                               &submission.contained))
    except BaseException:
        if s is now:
            s.core.submitter().GiveBack(actor)
        raise
    return 0


cdef int throttle(Session s, ActorClient* actor) except -1:
    cdef bint waited
    with nogil:
        waited = s.core.submitter().Throttle(actor)
    if not waited:
        reraise()
    return still(s)


cdef enum:
    MOST_MADE = 64   # of a function with other options, that are remembered


cdef object memo_key(dict options):
    # Equal for options that mean the same; None where that cannot be seen, as of objects of users.
    cdef list parts = []
    for name, value in options.items():
        kind = type(value)
        if kind is dict:
            value = memo_key(value)
            if value is None:
                return None
        elif not (value is None or kind is int or kind is float or kind is str or kind is bool):
            return None
        parts.append((name, kind, value))
    return tuple(parts)


cdef bint _capturing = False   # something here has run that hands its placement group on


cdef void set_capturing() noexcept:
    global _capturing
    _capturing = True


cdef bytes capturing_group(object strategy):
    # The placement group of what runs here, when what is submitted here with that strategy is to be in it.
    if not _capturing or not (strategy is None or strategy == "DEFAULT"):
        return None
    found = current_group()
    return found[0] if found is not None and found[2] else None


def captures(strategy):
    """Whether what is submitted here with that strategy is to be in the placement group of what runs here."""
    return capturing_group(strategy) is not None


cdef class RemoteFunction:
    """What ``@remote`` makes of a function: ``f.remote(...)`` runs it as a task.

    The function is pickled at the first call in a session, so it may use names defined after it.
    """
    cdef object _function
    cdef dict _options
    cdef dict _made         # what .options() made, by memo_key; the last few
    cdef dict _shared       # with all that .options() made of it: made_in and function_id
    cdef bytes _task_name
    cdef Template _template
    cdef uint64_t described   # as the session's, when the template was made
    cdef tuple _captured      # the template in a placement group: (described, group id, Template)
    cdef dict __dict__
    cdef object __weakref__

    def __init__(self, function, dict options):
        self._function = function
        self._options = options
        self._shared = {}
        self._task_name = call_name(options)
        self.described = 0
        for name in ("__module__", "__name__", "__qualname__", "__doc__"):
            try:
                setattr(self, name, getattr(function, name))
            except AttributeError:
                pass
        self.__wrapped__ = function

    @property
    def underlying_function(self):
        return self._function

    @property
    def __cyray_wraps__(self):
        return self._function

    @property
    def task_options(self):
        return dict(self._options)

    cdef Template describe(self, bint captured):
        cdef Session s = session()
        plan = hook("describe_task")(self._function, self._options, captured)
        made_in = (s.epoch, hook("cell_number")())
        if self._shared.get("made_in") != made_in:
            pickled = hook("pickle_definition")(self._function)
            function_id = hook("content_id")(pickled)
            give_function(s, function_id, pickled)
            self._shared.update(made_in=made_in, function_id=function_id)
        cdef Template template = template_of(s, self._shared["function_id"], plan)
        still(s)
        return template

    cdef int prepare(self) except -1:
        cdef uint64_t described = session().described
        self._template = self.describe(False)
        self.described = described
        return 0

    cdef Template describe_in(self, bytes group):
        # One worker runs tasks of one group mostly.
        cdef tuple found = self._captured
        cdef uint64_t described = session().described
        if found is None or found[0] != described or found[1] != group:
            self._captured = found = (described, group, self.describe(True))
        return found[2]

    def remote(self, *args, **kwargs):
        """Submit a task; returns an ``ObjectRef`` at once (a list of them for several returns)."""
        if self.described != now.described:
            self.prepare()
        cdef Template template = self._template   # another thread may put another one in its place
        if _capturing:
            group = capturing_group(self._options.get("scheduling_strategy"))
            if group is not None:
                template = self.describe_in(group)
        template.accept(args, kwargs)
        return submit(template.tmpl, None, self._task_name, args, kwargs)

    def options(self, **options):
        """The same function with other options for the calls made through the result."""
        cdef RemoteFunction other
        key = memo_key(options)
        if key is not None and self._made is not None:
            found = self._made.get(key)
            if found is not None:
                return found
        other = RemoteFunction(self._function, hook("merge_task_options")(self._options, options))
        other._shared = self._shared
        if key is not None:
            if self._made is None or len(self._made) >= MOST_MADE:
                self._made = {}
            self._made[key] = other
        return other

    def bind(self, *args, **kwargs):
        """A task as a step of a graph (``cyray.dag``); it runs when the graph does."""
        return hook("bind_function")(self, args, kwargs)

    def _remote(self, args=None, kwargs=None, **options):
        target = self.options(**options) if options else self
        return target.remote(*(args or ()), **(kwargs or {}))

    def __call__(self, *args, **kwargs):
        name = getattr(self._function, "__name__", "f")
        module = getattr(self._function, "__module__", None)
        full = f"{module}.{name}" if module else name
        raise TypeError(f"Remote functions cannot be called directly. Instead of running '{full}()', "
                        f"try '{full}.remote()'.")

    def __get__(self, instance, owner):
        return self

    def __class_getitem__(cls, item):
        # RemoteFunction[[int], ObjectRef[str]] in annotations: type checkers read it.
        return cls

    def __repr__(self):
        return f"RemoteFunction({getattr(self._function, '__qualname__', self._function)!s})"

    def __reduce__(self):
        return RemoteFunction, (self._function, self._options)


# --- Actors ----------------------------------------------------------------------------------------

@cython.freelist(64)
cdef class ActorMethod:
    """A method of an actor: ``handle.method.remote(...)`` calls it."""
    cdef ActorHandle _handle
    cdef str _name
    cdef dict _overrides        # of .options(); else None, and so are the two below
    cdef Template _template
    cdef bytes _call_name

    def __init__(self):
        raise TypeError("an ActorMethod comes from an actor handle")

    def remote(self, *args, **kwargs):
        """Call the method; returns an ``ObjectRef`` at once. Calls of one caller run in order."""
        cdef ActorHandle handle = self._handle
        if handle.epoch != now.epoch:
            handle.attach()
        cdef Template template = self._template
        if template is None:
            template = handle._templates.get(self._name) if self._overrides is None else None
            if template is None:
                template = self.prepare()
        template.accept(args, kwargs)
        if handle.most_pending > 0:
            self.reserve(handle)
            return submit(template.tmpl, handle, self._call_name, args, kwargs, True)
        return submit(template.tmpl, handle, self._call_name, args, kwargs)

    cdef int reserve(self, ActorHandle handle) except -1:
        if not now.core.submitter().Reserve(handle.client, handle.most_pending):
            raise hook("pending_calls_limit")(self._name, handle._meta["class_name"], handle.most_pending)
        return 0

    cdef Template prepare(self):
        # Templates are of the class and method, not of the actor: a thousand actors need a few.
        cdef Session s = now
        cdef Template made = template_of(s, None, hook("describe_method")(
            self._handle._meta, self._name, self._overrides))
        still(s)
        if self._overrides is None:
            self._handle._templates[self._name] = made
        else:
            self._template = made
        return made

    def options(self, **options):
        return make_method(self._handle, self._name,
                           {**(self._overrides or {}), **hook("method_options")(options)})

    def bind(self, *args, **kwargs):
        """A call as a step of a graph (``cyray.dag``); of several results, a tuple of steps."""
        plan = hook("describe_method")(self._handle._meta, self._name, self._overrides)
        return hook("bind_method")(self, plan.signature, plan.num_returns, args, kwargs)

    def _remote(self, args=None, kwargs=None, **options):
        target = self.options(**options) if options else self
        return target.remote(*(args or ()), **(kwargs or {}))

    def __call__(self, *args, **kwargs):
        raise TypeError(
            f"Actor methods cannot be called directly. Instead of running 'object.{self._name}()', "
            f"try 'object.{self._name}.remote()'.")

    def __repr__(self):
        return f"ActorMethod({self._handle._meta['class_name']}.{self._name})"


cdef ActorMethod make_method(ActorHandle handle, str name, dict overrides):
    cdef ActorMethod method = ActorMethod.__new__(ActorMethod)
    method._handle = handle
    method._name = name
    method._overrides = overrides
    if overrides is not None:
        method._call_name = call_name(overrides)
    return method


cdef int fill_groups(vector[CallGroup]* groups, object plans) except -1:
    # `plans`: CallGroups of _spec/plans.py, the default one first.
    cdef CallGroup group
    for _, at_once, in_order in plans:
        group.at_once = at_once
        group.in_order = in_order
        groups.push_back(group)
    return 0


cdef class ActorHandle:
    """A handle of an actor. Picklable, hashable; the actor ends when its last handle goes.

    Handles from ``get_actor`` are weak: they do not keep the actor alive.
    """
    cdef bytes _id
    cdef dict _meta            # class_name, methods {name: options}, groups, ... (picklable)
    cdef ObjectRef _ref        # counts this handle; None for weak ones
    cdef dict _templates
    cdef ActorClient* client
    cdef uint32_t most_pending  # calls of this process; 0: any number
    cdef uint32_t epoch
    cdef object __weakref__

    def __init__(self):
        raise TypeError("an actor handle comes from Class.remote() or get_actor()")

    def __dealloc__(self):
        if self.client != NULL and self.epoch == now.epoch:
            now.core.submitter().ReleaseActorClient(self.client)

    cdef int attach(self) except -1:
        if self.epoch != 0:
            raise RuntimeError(of_ended_session(f"this handle of an actor ({self._meta['class_name']})"))
        cdef vector[CallGroup] groups
        if now.core == NULL:
            raise RuntimeError("a pickled actor handle means something only in a program that is "
                               "connected to its cluster: call cyray.init(address=...) first")
        if self._ref is not None:
            self._ref.live()
        fill_groups(&groups, self._meta["groups"])
        self.client = now.core.submitter().GetActorClient(
            ActorId.FromBytes(PyBytes_AS_STRING(self._id)), groups, self._meta.get("saved", False))
        self.epoch = now.epoch
        return 0

    cdef ObjectEntry* hold(self) noexcept:
        return self._ref.entry if self._ref is not None else NULL

    def __getattribute__(self, name):
        # The actor's methods first: looked for in vain elsewhere, each would cost an AttributeError
        # a call. Names with one underscore may be the handle's own.
        if type(name) is str and name in self._meta["methods"] and (
                (<str>name)[0] != u"_" or (<str>name)[:2] == u"__"):
            return make_method(self, <str>name, None)
        return PyObject_GenericGetAttr(self, name)

    def __getattr__(self, str name):
        if name in self._meta["methods"]:
            return make_method(self, name, None)
        raise AttributeError(f"'{self._meta['class_name']}' object has no attribute '{name}'")

    def __dir__(self):
        return sorted(self._meta["methods"])

    def __class_getitem__(cls, item):
        # ActorHandle[Counter] in annotations: type checkers read it.
        return cls

    @property
    def _actor_id(self):
        return self._id

    @property
    def _is_stale(self):
        return self.epoch != now.epoch

    @property
    def _has_died(self):
        # For good, as far as this process has heard.
        return not self._is_stale and now.core.submitter().HasDied(self.client)

    def __repr__(self):
        return f"Actor({self._meta['class_name']}, {self._id.hex()})"

    def __hash__(self):
        return hash(self._id)

    def __eq__(self, other):
        return type(other) is ActorHandle and self._id == (<ActorHandle>other)._id

    def __reduce__(self):
        return _rebuild_handle, (self._id, self._meta, self._ref)


def make_handle(bytes actor_id, dict meta, ObjectRef ref):
    """A handle; ``ref`` counts it, or is ``None`` for a weak one."""
    cdef ActorHandle handle = ActorHandle.__new__(ActorHandle)
    handle._id = actor_id
    handle._meta = meta
    handle._ref = ref
    handle._templates = {}
    handle.most_pending = meta.get("max_pending_calls", 0)
    handle.epoch = 0
    handle.attach()
    return handle


def _rebuild_handle(bytes actor_id, dict meta, ref):
    return make_handle(actor_id, meta, ref)


def create_actor(plan, tuple args, dict kwargs, bint wait):
    """Register an actor by its ``ActorPlan``. Returns its handle.

    Raises:
        ActorAlreadyExistsError: with ``wait``, when the name is taken.
    """
    cdef Session s = session()
    cdef ActorCreation creation
    cdef vector[ObjectEntry*] contained
    cdef Status status
    creation.actor_id = s.core.submitter().NewActorId()
    cdef bytes actor_id = PyBytes_FromStringAndSize(<const char*>creation.actor_id.data(), 16)
    creation.class_id = FunctionId.FromBytes(PyBytes_AS_STRING(<bytes>plan.function_id))
    creation.class_name = plan.class_name.encode()
    creation.name = plan.name.encode()
    creation.name_space = plan.namespace.encode()
    creation.extra = <bytes>plan.extra
    creation.handle_meta = <bytes>plan.handle_meta
    fill_placement(plan.placement, &creation.placement, &creation.strategy, &creation.affinity_node,
                   &creation.affinity_soft)
    fill_labels(&creation.labels, plan.placement.labels)
    fill_demand(&creation.held, plan.held)
    if plan.placement.group:
        creation.held = InBundle(creation.held, group_id_of(plan.placement.group),
                                 plan.placement.bundle)
    creation.detached = plan.detached
    creation.max_restarts = plan.max_restarts
    creation.max_concurrency = plan.max_concurrency
    give_function(s, plan.function_id, plan.pickled)
    if args or kwargs:
        creation.args = ValuePtr(encode_args(s, args, kwargs, &creation.refs, &contained))
    cdef ObjectRef ref = make_ref(s.core.objects().NewActorHandle(creation.actor_id), s.epoch)
    # Restarts run the constructor again with the same arguments.
    contained.insert(contained.end(), creation.refs.begin(), creation.refs.end())
    if not creation.detached:
        s.core.objects().HoldWith(ref.entry, contained)
    with nogil:
        status = s.core.submitter().CreateActor(creation, wait)
        if creation.detached:
            s.core.submitter().HoldForActor(creation.actor_id, contained, status.ok())
    still(s)
    if not status.ok():
        raise_status(status)
    return make_handle(actor_id, plan.meta, None if creation.detached else ref)
