# Declarations of what the zygote uses of the core, for Cython.
from libcpp.memory cimport unique_ptr
from libcpp.string cimport string
from libcpp.vector cimport vector


cdef extern from "cyray/core/fork_server.h" namespace "cyray::core" nogil:
    cdef enum class ForkEvent "cyray::core::ForkServer::Event"(unsigned char):
        kChild
        kWoken
        kIdle
        kClosed

    cdef cppclass ForkOrder "cyray::core::ForkServer::Order":
        string worker_id
        vector[int] Release()

    cdef cppclass CForkServer "cyray::core::ForkServer":
        CForkServer(int, int)
        ForkEvent Serve(int)
        ForkOrder& order()
        vector[int] TakeForked()
