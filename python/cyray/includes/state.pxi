# The one session of this process: its core, and what Python knows as long as it lasts.
#
# `now` is the current one; its core is NULL while this process is not connected. Shutdown puts another
# in its place. Whoever runs Python code, or releases the GIL, between two uses of a session holds it in
# a variable of its own and asks `still` before it goes on: what it found before (entries, templates,
# clients of actors) means nothing to another session. The last one that holds a session ends its core.
# "Python code" is also what an allocation of a container may set off: a collection, and finalizers.

cimport cython

import itertools
import os
import sys

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.exc cimport PyErr_SetString
from cpython.list cimport PyList_GET_ITEM, PyList_GET_SIZE, PyList_New, PyList_SET_ITEM
from cpython.object cimport PyObject_GenericGetAttr
from cpython.ref cimport Py_INCREF, PyObject
from cython.operator cimport dereference as deref
from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t
from libc.stdlib cimport free
from libc.string cimport memcpy, memset
from libcpp cimport bool as cbool
from libcpp.memory cimport shared_ptr, unique_ptr
from libcpp.string cimport string
from libcpp.vector cimport vector

from cyray import _compat, _hooks
from cyray.includes.libcore cimport *

cdef dict _hooked = {}


cdef inline object hook(str name):
    # The one way from here to the rest of cyray, which is above: a function of _hooks.TABLE.
    found = _hooked.get(name)
    if found is None:
        found = _hooked[name] = _hooks.resolve(name)
    return found


cdef int64_t FOREVER = 0x7FFFFFFFFFFFFFFF


@cython.final
@cython.internal
@cython.no_gc
cdef class Session:
    cdef CoreWorker* core       # owned
    cdef uint32_t epoch         # refs, pins and handles carry it: they must not touch another core
    cdef uint64_t described     # of what functions were described by; another one means: once more
    cdef bint is_driver
    cdef set exported           # ids of functions that this process gave to the GCS
    cdef dict templates         # by description
    cdef dict callbacks         # token -> (ref, callable)
    cdef uint64_t next_token
    cdef bint cancels_on_interrupt   # Ctrl-C during a get, what that waits for

    def __dealloc__(self):
        cdef CoreWorker* core = self.core
        with nogil:
            del core


cdef uint64_t _descriptions = 0


cdef uint64_t next_description():
    global _descriptions
    _descriptions += 1
    return _descriptions


def describe_again():
    """What goes to workers with a function has changed: each is described afresh before its next call."""
    now.described = next_description()


cdef Session now = new_session(NULL, True, 1)


cdef Session new_session(CoreWorker* core, bint is_driver, uint32_t epoch):
    cdef Session made = Session.__new__(Session)
    made.core = core
    made.is_driver = is_driver
    made.epoch = epoch
    made.described = next_description()
    made.exported = set()
    made.templates = {}
    made.callbacks = {}
    made.next_token = 1
    return made


cdef inline Session session():
    """The current one; starts one where there is none."""
    if now.core == NULL:
        _auto_init()
        if now.core == NULL:
            raise RuntimeError("cyray is not initialized: call cyray.init() first.")
    return now


cdef inline Session connected():
    # For questions about this process, which are no reason to start a session.
    if now.core == NULL:
        raise RuntimeError("this process is not connected to a node: call cyray.init() first")
    return now


cdef _auto_init():
    hook("auto_init")()


cdef inline int still(Session s) except -1:
    """Raises when `s` is not the current session any more."""
    if s is not now:
        raise_shut_down()
    return 0


cdef inline string_view view_of(bytes data):
    # Whoever passes it on holds `data`.
    return string_view(PyBytes_AS_STRING(data), PyBytes_GET_SIZE(data))


cdef raise_shut_down():
    raise RuntimeError("cyray was shut down meanwhile, and all tasks, actors and objects of its session are "
                       "gone: cyray.init() begins another one")


def of_ended_session(str what):
    """The text about something, such as a ref, that outlived its session."""
    anew = "make it anew in the present one" if now.core != NULL else "call cyray.init() and make it anew"
    return f"{what} belongs to a cyray session that was shut down, and is gone with it: {anew}"


cdef extern from *:
    """
    // What a signal handler raised stays set while C++ ends its wait; Cython hears of it here.
    static inline int cyray_reraise(void) { return PyErr_Occurred() != NULL ? -1 : 0; }
    static inline int cyray_check_signals(void) { return PyErr_CheckSignals(); }
    """
    int reraise "cyray_reraise"() except -1
    int check_signals "cyray_check_signals"() noexcept


cdef cbool signal_raised() noexcept with gil:
    # InterruptCheck: Python's signal handlers run between the slices of a wait, which ends when its task
    # is cancelled.
    return check_signals() != 0 or raise_if_cancelled()


cdef object _registers_at = None   # the path of a raylet's socket, while this driver registers there


cdef void registration_silent() noexcept with gil:
    # RegisterOptions.silent.
    try:
        hook("tell_of_silence")(_registers_at)
    except Exception:  # noqa: BLE001 - it cannot be told, and the wait goes on
        pass


cdef raise_status(Status status):
    """The one place where a core status becomes an exception."""
    if status.code() == StatusCode.kCancelled:
        reraise()
    message = status.message().decode("utf-8", "replace")
    if status.code() == StatusCode.kObjectStoreFull:
        message += hook("why_store_full")()
    raise hook("of_status")(<int>status.code(), message)


# The names of the core's statuses, by number: from_core.py has a class for each.
STATUS_CODES = tuple([StatusCodeName(<StatusCode>code).decode()
                      for code in range(<int>StatusCode.kInternal + 1)])


def connect(socket, bytes worker_id=None, str namespace="", str entrypoint="",
            bytes job_config=b"", bint log_to_driver=True):
    """Register this process with its raylet.

    Args:
        socket: path of the raylet's socket, or a connected descriptor (workers).
        worker_id: 16 bytes; None makes this process a driver.

    Raises:
        ConnectionError: the raylet cannot be reached or refused.
    """
    global now, _registers_at
    if now.core != NULL:
        raise RuntimeError("this process is connected already")
    cdef bint is_driver = worker_id is None
    cdef UniqueFd fd
    cdef Status status
    cdef RegisterOptions options
    cdef string path
    if isinstance(socket, int):
        fd = UniqueFd(<int>socket)
    else:
        path = os.fsencode(socket)
        status = ConnectToRaylet(path, &fd)
        if not status.ok():
            raise ConnectionError(status.message().decode())
    options.is_driver = is_driver
    if worker_id is not None:
        options.worker_id = WorkerId.FromBytes(PyBytes_AS_STRING(worker_id))
    options.name_space = namespace.encode()
    options.entrypoint = entrypoint.encode()
    options.job_config = job_config
    options.log_to_driver = log_to_driver
    options.interrupted = signal_raised
    if is_driver:
        _registers_at = path.decode("utf-8", "surrogateescape")
        options.silent = registration_silent
    cdef CoreWorker* made = new CoreWorker()
    with nogil:
        status = made.Connect(move_fd(fd), options)
    if not status.ok():
        del made
        if status.code() == StatusCode.kCancelled:
            reraise()
        message = status.message().decode("utf-8", "replace")
        if is_driver and status.code() == StatusCode.kTimedOut:
            message = hook("registration_failed")(_registers_at, message)
        raise ConnectionError(f"{socket}: {message}")
    now = new_session(made, is_driver, now.epoch + 1)


def cancel_on_interrupt(bint wanted):
    """Whether Ctrl-C during a ``get`` cancels what that waits for, in this session."""
    now.cancels_on_interrupt = wanted


def disconnect(bint exiting, waiting):
    """Leave the raylet. Refs that still exist become unusable; a later connect starts afresh.

    Buffers that were read stay as they are. ``exiting``: nobody will read them any more, this process
    ends; they are not copied then. Threads that wait get a RuntimeError. The callbacks that still wait are
    appended to ``waiting``, to be called under no lock: no interrupt comes between.
    """
    global now
    cdef Session ended = now
    if ended.core == NULL:
        return
    now = new_session(NULL, True, ended.epoch + 1)
    if not exiting:
        detach_private_mappings()
    with nogil:
        ended.core.Disconnect(not exiting)
    waiting.extend(take_callbacks(ended))


def is_connected():
    return now.core != NULL


cdef extern from *:
    """
    #include <csignal>
    static inline void cyray_die_of_interrupt(void) {
      std::signal(SIGINT, SIG_DFL);
      std::raise(SIGINT);
    }
    """
    void die_of_interrupt "cyray_die_of_interrupt"() noexcept
    int Py_AtExit(void (*)() noexcept)


def die_of_interrupt_at_end():
    """Once Python has done all that it does at its end, this process dies of SIGINT."""
    Py_AtExit(die_of_interrupt)


def abandon_after_fork():
    """In the child of a fork: this process has no engine; its parent keeps it."""
    global now
    cdef Session ended = now
    if ended.core != NULL:
        now = new_session(NULL, True, ended.epoch + 1)
        ended.core.AbandonAfterFork()
        Py_INCREF(ended)   # never freed: its lock may have been held at the fork


os.register_at_fork(after_in_child=abandon_after_fork)


def identity():
    """Who this process is: a dict of hex ids and paths."""
    cdef Session s = connected()
    cdef CoreWorker* c = s.core
    return {
        "node_id": c.address().node.Hex().decode(),
        "worker_id": c.address().worker.Hex().decode(),
        "job_id": c.job_id().Hex().decode(),
        "session_dir": c.registration().session_dir.decode(),
        "node_ip": c.registration().node_ip.decode(),
        "gcs_address": c.registration().gcs_address.decode(),
        "namespace": c.registration().name_space.decode(),
        "metrics_port": c.registration().metrics_port,
        "is_driver": bool(s.is_driver),
    }


def session_number():
    """Differs from one session of this process to the next."""
    return now.epoch


def describe():
    """What this process waits for, for people."""
    return connected().core.Describe().decode("utf-8", "replace")


def node_dump(bint everywhere=False):
    """JSON of what this node does and waits for; ``everywhere``: that of all nodes, and what each of their
    processes says of itself."""
    cdef string text
    cdef Status status
    cdef Session s = connected()
    with nogil:
        status = s.core.control().NodeDump(&text, everywhere)
    still(s)
    if not status.ok():   # who asks wants to know why nothing happens, and that may be why
        reraise()         # a signal handler may have raised in the moment in which the time was over
        return f"the raylet did not answer: {status.message().decode('utf-8', 'replace')}\n"
    return text.decode("utf-8", "replace")


def flush_output():
    """Waits, for a moment, until all that this driver's workers have printed was sent here."""
    cdef Status status
    cdef Session s = connected()
    with nogil:
        status = s.core.control().FlushOutput()
    still(s)
    if not status.ok():
        reraise()


def live_objects():
    """How many objects this process owns or borrows."""
    return connected().core.objects().live()
