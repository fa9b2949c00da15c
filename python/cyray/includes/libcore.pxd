# Declarations of cpp/cyray/core for Cython. Everything here is nogil; see the headers for contracts.
from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t
from libcpp cimport bool as cbool
from libcpp.map cimport map as cmap
from libcpp.memory cimport shared_ptr, unique_ptr
from libcpp.string cimport string
from libcpp.vector cimport vector


cdef extern from "cyray/util/status.h" namespace "cyray" nogil:
    cdef enum class StatusCode(uint8_t):
        kOk
        kNotFound
        kAlreadyExists
        kTimedOut
        kDisconnected
        kObjectStoreFull
        kCancelled
        kInternal

    const char* StatusCodeName(StatusCode)

    cdef cppclass Status:
        cbool ok()
        StatusCode code()
        const string& message()
        string ToString()


cdef extern from "cyray/util/unique_fd.h" namespace "cyray" nogil:
    cdef cppclass UniqueFd:
        UniqueFd()
        UniqueFd(int)
        int get()


cdef extern from "cyray/common/ids.h" namespace "cyray" nogil:
    cdef cppclass JobId:
        JobId()
        const uint8_t* data()
        string Hex()
        @staticmethod
        JobId FromBytes(const void*)

    cdef cppclass WorkerId:
        WorkerId()
        const uint8_t* data()
        string Hex()
        @staticmethod
        WorkerId FromBytes(const void*)

    cdef cppclass NodeId:
        NodeId()
        const uint8_t* data()
        string Hex()
        @staticmethod
        NodeId FromBytes(const void*)

    cdef cppclass ActorId:
        ActorId()
        const uint8_t* data()
        string Hex()
        cbool is_nil()
        @staticmethod
        ActorId FromBytes(const void*)

    cdef cppclass TaskId:
        TaskId()
        const uint8_t* data()
        string Hex()

    cdef cppclass FunctionId:
        FunctionId()
        const uint8_t* data()
        cbool is_nil()
        @staticmethod
        FunctionId FromBytes(const void*)

    cdef cppclass ObjectId:
        ObjectId()
        ObjectId(const TaskId&, uint32_t)
        const uint8_t* data()
        string Hex()
        uint32_t index()
        TaskId task()
        @staticmethod
        ObjectId FromBytes(const void*)

    cdef cppclass Address:
        Address()
        NodeId node
        WorkerId worker
        cbool is_nil()


cdef extern from "cyray/common/encoding.h" namespace "cyray" nogil:
    const uint8_t TAG_NONE "uint8_t(cyray::ValueTag::kNone)"
    const uint8_t TAG_TRUE "uint8_t(cyray::ValueTag::kTrue)"
    const uint8_t TAG_FALSE "uint8_t(cyray::ValueTag::kFalse)"
    const uint8_t TAG_INT "uint8_t(cyray::ValueTag::kInt)"
    const uint8_t TAG_FLOAT "uint8_t(cyray::ValueTag::kFloat)"
    const uint8_t TAG_STR "uint8_t(cyray::ValueTag::kStr)"
    const uint8_t TAG_BYTES "uint8_t(cyray::ValueTag::kBytes)"
    const uint8_t TAG_PICKLE_BUFFERS "uint8_t(cyray::ValueTag::kPickleBuffers)"
    const uint8_t TAG_PICKLE "uint8_t(cyray::ValueTag::kPickle)"
    const uint8_t TAG_SYSTEM_ERROR "uint8_t(cyray::ValueTag::kSystemError)"
    const uint8_t TAG_REF "uint8_t(cyray::ValueTag::kReference)"
    const uint8_t TAG_MEMORYVIEW "uint8_t(cyray::ValueTag::kMemoryView)"
    const uint8_t TAG_REFS "uint8_t(cyray::ValueTag::kRefs)"
    const uint8_t TAG_DEPENDENCY "uint8_t(cyray::ValueTag::kDependency)"
    const uint8_t TAG_REF_LIST "uint8_t(cyray::ValueTag::kRefList)"
    const uint8_t TAG_REF_TUPLE "uint8_t(cyray::ValueTag::kRefTuple)"
    const uint8_t TAG_ARRAY "uint8_t(cyray::ValueTag::kArray)"
    const uint8_t ERROR_INTERNAL "uint8_t(cyray::ErrorKind::kInternal)"
    const uint64_t INLINE_LIMIT "cyray::kInlineBytes"
    const uint64_t TINY_LIMIT "cyray::kTinyBytes"
    const uint64_t ERROR_LIMIT "cyray::kMaxErrorBytes"
    const uint64_t MAX_INLINE_BYTES "cyray::kMaxInlineBytes"
    const size_t REF_BYTES "cyray::kRefBytes"
    const size_t ADDRESS_BYTES "cyray::kAddressBytes"
    const uint64_t THREAD_TOKEN "cyray::kThreadToken"
    const char* error_kind_name "cyray::ErrorKindName"(ErrorKind)

    cdef enum class ErrorKind(uint8_t):
        kInternal


cdef extern from "cyray/wire/encoded.h" namespace "cyray::wire" nogil:
    cdef cppclass EncodedArgument:
        const uint8_t* name
        uint64_t name_bytes
        const uint8_t* data
        uint64_t bytes

    cdef cppclass ArgumentReader:
        cbool Open(const uint8_t*, uint64_t)
        uint32_t positional()
        uint32_t keywords()
        cbool Next(EncodedArgument*)

    cdef cppclass BuffersReader:
        cbool Open(const uint8_t*, uint64_t)
        uint32_t count()
        const uint8_t* head()
        uint64_t head_bytes()
        cbool Next(uint64_t*, uint64_t*)

    cdef cppclass EncodedRefs:
        uint32_t count
        const uint8_t* table
        uint64_t value_at
    cbool ReadRefs(const uint8_t*, uint64_t, EncodedRefs*)

    cdef cppclass EncodedArray:
        uint32_t dimensions
        const uint8_t* extents
        const char* dtype
        uint64_t dtype_bytes
    cbool ReadArray(const uint8_t*, uint64_t, EncodedArray*)

    cdef cppclass EncodedDependency:
        const char* name
        uint64_t name_bytes
        uint64_t value_at
    cbool ReadDependency(const uint8_t*, uint64_t, EncodedDependency*)

    cdef cppclass EncodedError:
        uint8_t kind
        const uint8_t* actor
        const char* text
        uint64_t text_bytes
    cbool ReadError(const uint8_t*, uint64_t, EncodedError*)


cdef extern from "cyray/common/resources.h" namespace "cyray" nogil:
    cdef cppclass ResourceSet:
        ResourceSet()
        void Set(const string&, int64_t)


cdef extern from "cyray/core/value.h" namespace "cyray::core" nogil:
    cdef cppclass Value:
        @staticmethod
        Value* New(size_t) except +
        void Ref()
        void Unref()
        uint8_t* data()
        size_t size()

    cdef cppclass ValuePtr:
        ValuePtr()
        ValuePtr(Value*)
        Value* get()


cdef extern from "cyray/core/object_entry.h" namespace "cyray::core" nogil:
    cdef cppclass LocalPin:
        uint64_t offset
        uint64_t bytes

    cdef cppclass ObjectEntry:
        ObjectId id


cdef extern from "cyray/store/arena_mapping.h" namespace "cyray::store" nogil:
    cdef cppclass ArenaMapping:
        void PrepareWrite(uint64_t offset, uint64_t bytes)

    cdef cppclass WritableView:
        WritableView()
        uint8_t* data()
        void Detach()


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

    cdef cppclass Registration:
        NodeId node_id
        string session_dir
        string node_ip
        string gcs_address
        string name_space


cdef extern from "cyray/core/task_types.h" namespace "cyray::core" nogil:
    cdef cppclass TaskTemplate:
        uint32_t id
        int num_returns


cdef extern from "cyray/core/submission.h" namespace "cyray::core" nogil:
    cdef cppclass Submission:
        Submission()
        TaskTemplate* tmpl
        ValuePtr args
        vector[ObjectEntry*] refs
        vector[ObjectEntry*] contained
        ObjectEntry* hold
        unique_ptr[string] name


cdef extern from "cyray/core/actor_submitter.h" namespace "cyray::core" nogil:
    cdef cppclass ActorClient:
        pass


cdef extern from "cyray/core/execution_queue.h" namespace "cyray::core" nogil:
    cdef cppclass ExecTemplate:
        uint32_t python_id
        FunctionId function_id
        JobId job_id
        string name
        string method
        int num_returns
        uint32_t max_concurrency
        string extra

    cdef cppclass ExecTask:
        WorkerId submitter
        ExecTemplate* tmpl
        TaskId id
        uint32_t attempt
        ValuePtr args
        string name
        vector[int] gpu_ids
        vector[ObjectId] borrowed
        cbool submitter_is_nil()

    cdef cppclass Outcome:
        Outcome()
        ValuePtr value
        uint64_t stored_bytes
        cbool is_error
        vector[ObjectEntry*] contained


cdef extern from "cyray/core/core_worker.h" namespace "cyray::core::Event" nogil:
    cdef enum class EventKind "cyray::core::Event::Kind"(uint8_t):
        kNone
        kCallback
        kLogLines
        kWarning
        kAssignJob
        kBecomeActor
        kExit
        kRayletLost


cdef extern from "cyray/core/core_worker.h" namespace "cyray::core" nogil:
    cdef cppclass Event:
        Event()
        EventKind kind
        uint64_t token
        int64_t number
        cbool flag
        string id
        string label
        string text
        vector[string] lines
        vector[int] gpu_ids

    cdef cppclass ReadView:
        ReadView()
        const uint8_t* data
        uint64_t size
        cbool is_error
        Value* value
        LocalPin* pin

    cdef cppclass StoreBlock:
        StoreBlock()
        ObjectId id
        uint64_t offset
        uint64_t bytes
        uint8_t* data

    cdef cppclass TemplateSpec "cyray::core::CoreWorker::TemplateSpec":
        TemplateSpec()
        FunctionId function_id
        string name
        string method
        string extra
        int num_returns
        int max_retries
        uint32_t max_concurrency
        ResourceSet demand
        uint8_t strategy
        NodeId affinity_node
        cbool affinity_soft
        cbool is_actor_method

    cdef cppclass ActorCreation "cyray::core::CoreWorker::ActorCreation":
        ActorCreation()
        ActorId actor_id
        FunctionId class_id
        string class_name
        string name
        string name_space
        string extra
        string handle_meta
        ResourceSet placement
        ResourceSet held
        uint8_t strategy
        NodeId affinity_node
        cbool affinity_soft
        cbool detached
        int max_restarts
        uint32_t max_concurrency
        ValuePtr args
        vector[ObjectEntry*] refs

    cdef cppclass CoreWorker:
        CoreWorker() except +
        Status Connect(UniqueFd, const RegisterOptions&)
        void Disconnect(cbool)
        void AbandonAfterFork()
        const Address& address()
        const Registration& registration()
        JobId job_id()
        ObjectEntry* Put(ValuePtr, cbool, vector[ObjectEntry*])
        ObjectId NextPutId()
        ObjectEntry* SealOwned(const StoreBlock&, vector[ObjectEntry*])
        void SealReturn(const StoreBlock&)
        void AbortBlock(const StoreBlock&)
        void AddRef(ObjectEntry*)
        void Release(ObjectEntry*)
        ObjectEntry* Borrow(const ObjectId&, const Address&, cbool)
        Address Export(ObjectEntry*)
        void ExportMany(ObjectEntry**, size_t, uint8_t*)
        void BorrowMany(const uint8_t*, size_t, cbool, ObjectEntry**)
        cbool Wait(ObjectEntry**, size_t, size_t, cbool, int64_t, cbool)
        void ReadyFlags(ObjectEntry**, size_t, cbool, uint8_t*)
        cbool Read(ObjectEntry*, ReadView*)
        size_t ReadMany(ObjectEntry**, size_t, ReadView*)
        void UnrefPin(LocalPin*)
        void AddCallback(ObjectEntry*, uint64_t)
        void RemoveCallback(ObjectEntry*, uint64_t)
        ArenaMapping& arena()
        shared_ptr[ArenaMapping]& shared_arena()
        TaskTemplate* AddTemplate(const TemplateSpec&)
        cbool Submit(Submission, ActorClient*, ObjectEntry**)
        void Throttle(ActorClient*)
        ActorClient* GetActorClient(const ActorId&, cbool, uint32_t)
        void ReleaseActorClient(ActorClient*)
        ObjectEntry* NewActorHandle(const ActorId&)
        void HoldWith(ObjectEntry*, vector[ObjectEntry*])
        Status CreateActor(const ActorCreation&, cbool)
        unique_ptr[ExecTask] NextTask(int64_t, cbool, Event*)
        unique_ptr[ExecTask] TryNextTask(Event*)
        Address PeerAddress(const WorkerId&)
        void Reply(unique_ptr[ExecTask], cbool, vector[Outcome], cbool)
        cbool ReadArgument(ExecTask*, size_t, ReadView*)
        void BecomeActor(cbool)
        void ActorReady(const ActorId&, uint32_t, cbool, const string&)
        void WorkerExiting(cbool, const string&)
        void FlushReplies()
        cbool NextEvent(int64_t, Event*)
        void StopEvents()
        int poll_fd()
        void UseExternalLoop(int)
        void PollNow()
        string Describe()
        string NodeDump()
        void FlushOutput()
        size_t live_objects()


cdef extern from "cyray/core/gcs_requests.h" namespace "cyray::core" nogil:
    Status GetFunction(CoreWorker&, const JobId&, const FunctionId&, uint32_t, string*)
    void PutFunction(CoreWorker&, const JobId&, const FunctionId&, const string&)
    Status KvPut(CoreWorker&, const string&, const string&, const string&, cbool, cbool*)
    Status KvGet(CoreWorker&, const string&, const string&, cbool*, string*)
    Status KvDelete(CoreWorker&, const string&, const string&, cbool, uint32_t*)
    Status KvKeys(CoreWorker&, const string&, const string&, vector[string]*)

    cdef cppclass NamedActor:
        NamedActor()
        cbool found
        ActorId id
        string handle_meta
    Status GetActorByName(CoreWorker&, const string&, const string&, NamedActor*)
    Status KillActor(CoreWorker&, const ActorId&, cbool, const string&)

    cdef cppclass NodeRow:
        string node_id, ip, hostname, raylet_socket, death_reason
        cbool alive, is_head
        int port
        cmap[string, int64_t] total, available
    Status ListNodes(CoreWorker&, vector[NodeRow]*)

    cdef cppclass DemandRow:
        cmap[string, int64_t] demand
        uint32_t count
    Status PendingDemands(CoreWorker&, vector[DemandRow]*)

    cdef cppclass ActorRow:
        string actor_id, class_name, name, name_space, state, job_id, node_id, death_cause
        int pid
        cbool detached
        uint32_t restarts
    Status ListActors(CoreWorker&, vector[ActorRow]*)

    cdef cppclass JobRow:
        string job_id, name_space, entrypoint
        int driver_pid
        cbool running
        int64_t start_ms, end_ms
    Status ListJobs(CoreWorker&, vector[JobRow]*)

    Status CreateBlock(CoreWorker&, const ObjectId&, const Address&, uint64_t, StoreBlock*)

cdef extern from "cyray/core/raylet_socket.h" namespace "cyray::core" nogil:
    Status ConnectToRaylet(const string&, UniqueFd*)


cdef extern from "cyray/util/clock.h" namespace "cyray" nogil:
    int64_t MonotonicNs()


cdef extern from "<utility>" namespace "std" nogil:
    unique_ptr[ExecTask] move_task "std::move"(unique_ptr[ExecTask]&)
    Submission move_submission "std::move"(Submission&)
    UniqueFd move_fd "std::move"(UniqueFd&)
