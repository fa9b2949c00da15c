# Declarations of the core's part that asks the raylet and the GCS, for Cython. Everything here is nogil; see the
# headers for contracts.
from libc.stdint cimport int64_t, uint8_t, uint32_t
from libcpp cimport bool as cbool
from libcpp.map cimport map as cmap
from libcpp.string cimport string
from libcpp.vector cimport vector

from cyray.includes.libground cimport *


cdef extern from "cyray/core/control.h" namespace "cyray::core" nogil:
    cdef cppclass Control:
        Status NodeDump(string*, cbool)
        Status FlushOutput()
        Status SetResource(const string&, int64_t)


cdef extern from "cyray/core/gcs_requests.h" namespace "cyray::core" nogil:
    Status GetFunction(Control&, const JobId&, const FunctionId&, uint32_t, string*)
    Status PutFunction(Control&, const JobId&, const FunctionId&, string_view)
    Status KvPut(Control&, const string&, const string&, string_view, cbool, cbool*)
    Status KvGet(Control&, const string&, const string&, cbool*, string*)
    Status KvDelete(Control&, const string&, const string&, cbool, uint32_t*)
    Status KvKeys(Control&, const string&, const string&, vector[string]*)

    cdef cppclass NamedActor:
        NamedActor()
        cbool found
        ActorId id
        string handle_meta
    Status GetActorByName(Control&, const string&, const string&, NamedActor*)
    cdef cppclass SavedActor:
        SavedActor()
        cbool found
        string state
        string calls
    Status GetActorSave(Control&, const ActorId&, SavedActor*)

    cdef cppclass NodeRow:
        string node_id, ip, hostname, raylet_socket, death_reason
        cbool alive, is_head
        int port
        int metrics_port
        cmap[string, int64_t] total, available
        cmap[string, string] labels
    Status ListNodes(Control&, vector[NodeRow]*)

    cdef cppclass DemandRow:
        cmap[string, int64_t] demand
        uint32_t count
    Status PendingDemands(Control&, vector[DemandRow]*)

    cdef cppclass ActorRow:
        string actor_id, class_name, name, name_space, state, job_id, node_id, death_cause
        int pid
        cbool detached
        uint32_t restarts
        int64_t saved_ms
        uint64_t saved_bytes
    Status ListActors(Control&, vector[ActorRow]*)

    cdef cppclass JobRow:
        string job_id, name_space, entrypoint
        int driver_pid
        cbool running
        int64_t start_ms, end_ms
    Status ListJobs(Control&, vector[JobRow]*)


cdef extern from "cyray/core/gcs_groups.h" namespace "cyray::core" nogil:
    cdef cppclass GroupOrder:
        GroupOrder()
        PlacementGroupId id
        Address creator
        ActorId creator_actor
        string name, name_space
        cbool detached
        uint8_t policy
        vector[ResourceSet] bundles
        NodeId soft_target
        vector[LabelSelector] selectors

    cdef cppclass GroupRow:
        string group_id, name, name_space, state, policy, waits, job_id, creator_actor
        cbool detached
        vector[cmap[string, int64_t]] bundles
        vector[string] nodes
    Status RegisterGroup(Control&, const GroupOrder&)
    Status RemoveGroup(Control&, const PlacementGroupId&, cbool)
    Status WaitGroup(Control&, const PlacementGroupId&, uint32_t, vector[GroupRow]*)
    Status FindGroup(Control&, const PlacementGroupId&, const string&, const string&, vector[GroupRow]*)
    Status ListGroups(Control&, vector[GroupRow]*)
