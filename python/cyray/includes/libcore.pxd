# Declarations of the core for Cython: the facade, which hands out its parts, and how it starts. Everything here is
# nogil; see the headers for contracts.
#
#   libground    what stands below the core: statuses, ids, encoded values     libvalues   what parts hand around
#   libobjects   Objects, ObjectReader, StoreClient                            libcontrol  Control
#   libtasks     Submitter, Executor, EventQueue, ExternalLoop
from libc.stdint cimport int64_t, uint16_t, uint64_t
from libcpp cimport bool as cbool
from libcpp.string cimport string
from libcpp.vector cimport vector

from cyray.includes.libcontrol cimport *
from cyray.includes.libground cimport *
from cyray.includes.libobjects cimport *
from cyray.includes.libtasks cimport *
from cyray.includes.libvalues cimport *


cdef extern from "cyray/core/raylet_client.h" namespace "cyray::core" nogil:
    cdef cppclass RegisterOptions:
        RegisterOptions()
        cbool is_driver
        WorkerId worker_id
        string name_space
        string entrypoint
        string job_config
        cbool log_to_driver
        cbool (*interrupted)() noexcept nogil
        void (*silent)() noexcept nogil

    cdef cppclass Registration:
        NodeId node_id
        string session_dir
        string node_ip
        string gcs_address
        string name_space
        uint16_t metrics_port


cdef extern from "cyray/core/raylet_socket.h" namespace "cyray::core" nogil:
    Status ConnectToRaylet(const string&, UniqueFd*)


cdef extern from "cyray/core/core_worker.h" namespace "cyray::core" nogil:
    cdef cppclass CoreWorker:
        CoreWorker() except +
        Status Connect(UniqueFd, const RegisterOptions&)
        void Disconnect(cbool)
        void AbandonAfterFork()
        const Address& address()
        const Registration& registration()
        JobId job_id()
        Objects& objects()
        ObjectReader& reader()
        StoreClient& store()
        Submitter& submitter()
        ItemTaker& items()
        Executor& executor()
        Saver& saver()
        EventQueue& events()
        ExternalLoop& loop()
        Control& control()
        Status KillActor(const ActorId&, cbool, const string&)
        string Describe()
        string DescribeMissing(ObjectEntry**, size_t)
        string ReportMissing(ObjectEntry**, size_t)
        string ReportWaits(int64_t, uint64_t)
        Unfinished CountUnfinished()
        size_t TakeUnreadErrors(cbool, size_t, vector[ReadView]*)
