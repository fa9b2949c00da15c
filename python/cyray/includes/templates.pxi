# Templates: what all calls of a function with some options, or of a method, have in common.

cdef extern from "Python.h":
    Py_ssize_t PY_SSIZE_T_MAX


@cython.final
@cython.internal
cdef class Template:
    # A template of the session of `epoch`: what does not change from call to call. The core keeps it as
    # long as this object, and as long as there are tasks of it.
    cdef TaskTemplate* tmpl
    cdef uint32_t epoch
    cdef Py_ssize_t least, most    # arguments by position of a call without keywords
    cdef tuple signature           # None: it is not known, and nothing is refused
    cdef object checker            # made of it when it is needed
    cdef tuple names               # the keywords of the last call with some that was right,
    cdef Py_ssize_t beside         # and how many arguments it had before them

    def __dealloc__(self):
        if self.tmpl != NULL and self.epoch == now.epoch:
            now.core.submitter().ReleaseTemplate(self.tmpl)

    cdef inline int accept(self, tuple args, dict kwargs) except -1:
        # TypeError when the arguments do not fit the function.
        cdef Py_ssize_t n = PyTuple_GET_SIZE(args)
        if kwargs:
            if self.signature is not None and not self.has_seen(n, kwargs):
                self.check(args, kwargs)
        elif not self.least <= n <= self.most:
            self.check(args, kwargs)
        return 0

    cdef inline bint has_seen(self, Py_ssize_t n, dict kwargs) noexcept:
        # Keywords that stand in a program are one object each time they are used.
        cdef PyObject* name
        cdef Py_ssize_t i = 0, at = 0
        if self.names is None or n != self.beside or len(kwargs) != PyTuple_GET_SIZE(self.names):
            return False
        while PyDict_Next(kwargs, &at, &name, NULL):
            if name != <PyObject*>PyTuple_GET_ITEM(self.names, i):
                return False
            i += 1
        return True

    cdef int check(self, tuple args, dict kwargs) except -1:
        if self.checker is None:
            self.checker = hook("signature_checker")(self.signature)
        self.checker(*args, **kwargs)
        if kwargs:
            self.names, self.beside = tuple(kwargs), PyTuple_GET_SIZE(args)
        return 0


cdef enum:
    MOST_TEMPLATES = 512   # that equal plans find; who has one of the others keeps it


cdef Template template_of(Session s, bytes function_id, object plan):
    # One template for equal plans, as long as there are few.
    key = (function_id, plan)
    cdef Template found = s.templates.get(key)
    if found is None:
        found = Template.__new__(Template)
        found.tmpl = add_template(s, function_id, plan)
        found.epoch = s.epoch
        found.signature = plan.signature
        found.least, found.most = (0, PY_SSIZE_T_MAX) if plan.signature is None else plan.signature[:2]
        if len(s.templates) >= MOST_TEMPLATES:
            s.templates = {}
        s.templates[key] = found
    return found


cdef bytes call_name(dict options):
    # `options(name=...)`: tasks of many names share a template, so the name goes with each.
    name = options.get("name")
    return name.encode() if name else None


cdef TaskTemplate* add_template(Session s, bytes function_id, object plan) except NULL:
    """`plan`: a MethodPlan, or a TaskPlan of the function with that id (_spec/plans.py)."""
    cdef TemplateSpec spec
    spec.name = plan.name.encode()
    spec.extra = <bytes>plan.extra
    if spec.name.size() + spec.extra.size() > MAX_INLINE_BYTES:
        raise ValueError(f"the options of {plan.name[:200]} take {spec.extra.size():,} bytes; at most "
                         f"{MAX_INLINE_BYTES:,} go to the workers with a function or method")
    spec.num_returns = plan.num_returns
    spec.yields = <Yields><int>plan.yields
    spec.max_ahead = plan.max_ahead
    spec.timeout_ms = plan.timeout_ms
    spec.max_retries = plan.max_retries
    spec.max_concurrency = 1
    spec.is_actor_method = function_id is None
    if spec.is_actor_method:
        spec.method = plan.method.encode()
        spec.group = plan.group
    else:
        spec.function_id = FunctionId.FromBytes(PyBytes_AS_STRING(function_id))
        spec.max_concurrency = plan.max_concurrency
        fill_placement(plan.placement, &spec.shape.demand, &spec.shape.strategy,
                       &spec.shape.affinity_node, &spec.shape.affinity_soft)
        fill_labels(&spec.shape.labels, plan.placement.labels)
        spec.shape.priority = plan.priority
        spec.shape.max_running = plan.max_running
        if spec.shape.max_running > 0:
            spec.shape.limited = FunctionId.FromBytes(PyBytes_AS_STRING(<bytes>plan.limited))
    still(s)
    return s.core.submitter().AddTemplate(spec)


cdef enum:
    MOST_EXPORTED = 50_000   # that are remembered; giving one again changes nothing


cdef int give_function(Session s, bytes function_id, bytes pickled) except -1:
    """Gives a pickled function or class to the GCS, which has it until the job ends."""
    cdef Status status
    still(s)
    if function_id not in s.exported:
        status = PutFunction(s.core.control(), s.core.job_id(),
                             FunctionId.FromBytes(PyBytes_AS_STRING(function_id)), view_of(pickled))
        if not status.ok():
            raise_status(status)
        if len(s.exported) >= MOST_EXPORTED:
            s.exported.clear()
        s.exported.add(function_id)
    return 0
