# What the zygote runs while it waits to fork: C++ alone, between the two halves of Python's own fork.

from cyray.includes.libzygote cimport *

cdef extern from "Python.h":
    void PyOS_BeforeFork()
    void PyOS_AfterFork_Parent()
    void PyOS_AfterFork_Child()


cdef class ForkServer:
    """Forks a worker for each request of the raylet (cpp/cyray/core/fork_server.h).

    One thread; the descriptors ``socket``, which blocks, and ``wakeup`` stay the caller's.
    """
    cdef unique_ptr[CForkServer] server

    def __cinit__(self, int socket, int wakeup):
        self.server.reset(new CForkServer(socket, wakeup))

    def serve(self, int timeout_ms):
        """Serves for ever, or until ``timeout_ms`` pass without a request; -1: without limit.

        Returns:
            ``"child"`` in one; else ``"woken"``: something can be read at ``wakeup``; ``"idle"``: the time has
            passed; ``"closed"``: the raylet is gone.
        """
        PyOS_BeforeFork()
        cdef ForkEvent event = self.server.get().Serve(timeout_ms)
        if event == ForkEvent.kChild:
            PyOS_AfterFork_Child()
            return "child"
        PyOS_AfterFork_Parent()
        if event == ForkEvent.kWoken:
            return "woken"
        return "idle" if event == ForkEvent.kIdle else "closed"

    def take_forked(self):
        """The process ids of the children since the last call."""
        return self.server.get().TakeForked()

    def take_order(self):
        """What this child is for: a worker's hex id, and the descriptors of the raylet's socket, stdout and
        stderr, which are the caller's now."""
        cdef ForkOrder* order = &self.server.get().order()
        return told(order.worker_id), order.Release()
