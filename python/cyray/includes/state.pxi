# The one core worker of this process. `_core` is NULL while not connected. Threads that release the
# GIL inside it say so (`enter`, `leave`): shutdown takes the core away, the last one out deletes it.

import _pickle
import itertools
import os
import sys
from _weakrefset import WeakSet

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
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

from cyray.includes.libcore cimport *

cdef CoreWorker* _core = NULL
cdef bint _is_driver = True

# Objects up to this size live in their owner and travel inline; larger ones go to the store.
# One message has MAX_INLINE_BYTES of them; beyond that only values up to TINY_LIMIT travel inline.
cdef enum:
    INLINE_LIMIT = 100 * 1024
    TINY_LIMIT = 100
    ERROR_LIMIT = 64 * 1024 * 1024

cdef int64_t FOREVER = 0x7FFFFFFFFFFFFFFF


cdef inline CoreWorker* core() except NULL:
    if _core == NULL:
        _auto_init()
        if _core == NULL:
            raise RuntimeError("cyray is not initialized: call cyray.init() first.")
    return _core


cdef inline CoreWorker* connected_core() except NULL:
    # For questions about this process, which are no reason to start a session.
    if _core == NULL:
        raise RuntimeError("this process is not connected to a node")
    return _core


cdef _auto_init():
    from cyray import _worker
    _worker.auto_init()


cdef int _inside = 0                  # threads in the core without the GIL
cdef vector[CoreWorker*] _retired     # cores that shutdown took from under some of them


cdef inline int enter(CoreWorker* c) except -1:
    # Before the GIL is released around a call of `c`; `leave` must follow that call.
    global _inside
    if c != _core:
        raise_shut_down()
    _inside += 1
    return 0


cdef inline int leave(CoreWorker* c) except -1:
    global _inside
    _inside -= 1
    if c != _core:
        delete_retired()
        raise_shut_down()
    return 0


cdef raise_shut_down():
    raise RuntimeError("cyray was shut down meanwhile")


cdef delete_retired():
    cdef vector[CoreWorker*] retired
    cdef CoreWorker* old
    if _inside > 0:
        return
    retired.swap(_retired)
    for old in retired:
        detach_views(old)
        with nogil:
            del old


cdef extern from *:
    """
    // What a signal handler raised stays set while C++ ends its wait; Cython hears of it here.
    static inline int cyray_reraise(void) { return PyErr_Occurred() != NULL ? -1 : 0; }
    static inline int cyray_check_signals(void) { return PyErr_CheckSignals(); }
    """
    int reraise "cyray_reraise"() except -1
    int check_signals "cyray_check_signals"() noexcept


cdef cbool signal_raised() noexcept with gil:
    # InterruptCheck: Python's signal handlers run between the slices of a wait.
    return check_signals() != 0


cdef raise_status(Status status):
    """The one place where a core status becomes an exception."""
    if status.code() == StatusCode.kCancelled:
        reraise()
    from cyray import exceptions
    raise exceptions.of_status(<int>status.code(), status.message().decode("utf-8", "replace"))


def connect(socket, bytes worker_id=None, str namespace="", str entrypoint="",
            bytes job_config=b"", bint log_to_driver=True):
    """Register this process with its raylet.

    Args:
        socket: path of the raylet's socket, or a connected descriptor (workers).
        worker_id: 16 bytes; None makes this process a driver.

    Raises:
        ConnectionError: the raylet cannot be reached or refused.
    """
    global _core, _is_driver
    if _core != NULL:
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
        status = ConnectUnix(path, &fd)
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
    cdef CoreWorker* made = new CoreWorker()
    with nogil:
        status = made.Connect(move_fd(fd), options)
    if not status.ok():
        del made
        if status.code() == StatusCode.kCancelled:
            reraise()
        raise ConnectionError(f"{socket}: {status.message().decode('utf-8', 'replace')}")
    _core = made
    _is_driver = is_driver
    _reset_submit_state()


def disconnect(bint exiting=False):
    """Leave the raylet. Refs that still exist become unusable; a later connect starts afresh.

    Buffers that were read stay as they are. ``exiting``: nobody will read them any more, this process
    ends; they are not copied then.
    """
    global _core
    if _core == NULL:
        return
    cdef CoreWorker* old = _core
    _core = NULL
    _advance_epoch()
    with nogil:
        old.Disconnect()
    if not exiting:
        _retired.push_back(old)
        delete_retired()
    elif _inside == 0:
        with nogil:
            del old
    fail_callbacks()


def is_connected():
    return _core != NULL


def abandon_after_fork():
    """In the child of a fork: this process has no engine; its parent keeps it."""
    global _core
    if _core != NULL:
        _core.AbandonAfterFork()   # never freed: its lock may have been held at the fork
        _core = NULL
        _advance_epoch()


# Refs and pins carry the epoch they were made in: after shutdown they must not touch a new core.
cdef uint32_t _epoch = 1


cdef void _advance_epoch() noexcept:
    global _epoch
    _epoch += 1


def identity():
    """Who this process is: a dict of hex ids and paths."""
    cdef CoreWorker* c = connected_core()
    return {
        "node_id": c.address().node.Hex().decode(),
        "worker_id": c.address().worker.Hex().decode(),
        "job_id": c.job_id().Hex().decode(),
        "session_dir": c.registration().session_dir.decode(),
        "node_ip": c.registration().node_ip.decode(),
        "gcs_address": c.registration().gcs_address.decode(),
        "namespace": c.registration().name_space.decode(),
        "is_driver": bool(_is_driver),
    }


def describe():
    """What this process waits for, for people."""
    return connected_core().Describe().decode("utf-8", "replace")


def node_dump():
    """JSON of what everybody on this node waits for."""
    cdef string text
    cdef CoreWorker* c = connected_core()
    enter(c)
    with nogil:
        text = c.NodeDump()
    leave(c)
    return text.decode("utf-8", "replace")


def flush_output():
    """Waits, for a moment, until all that this driver's workers have printed was sent here."""
    cdef CoreWorker* c = connected_core()
    enter(c)
    with nogil:
        c.FlushOutput()
    leave(c)


def live_objects():
    """How many objects this process owns or borrows."""
    return connected_core().live_objects()
