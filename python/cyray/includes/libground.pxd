# Declarations of cpp/cyray/{util,common,wire,store} for Cython: statuses, ids, tags and encoded values, the
# arena. Everything here is nogil; see the headers for contracts.
from libc.stdint cimport int32_t, int64_t, uint8_t, uint32_t, uint64_t
from libcpp cimport bool as cbool
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
        kUnavailable
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

    cdef cppclass PlacementGroupId:
        PlacementGroupId()
        @staticmethod
        PlacementGroupId FromBytes(const void*)

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
        kEndOfStream
        kActorGroupRemoved


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


cdef extern from "cyray/common/bundle_names.h" namespace "cyray" nogil:
    ResourceSet InBundle(const ResourceSet&, const PlacementGroupId&, int32_t)


cdef extern from "cyray/common/labels.h" namespace "cyray" nogil:
    cdef enum class LabelOp(uint8_t):
        kIn

    cdef cppclass LabelTerm:
        LabelTerm()
        string key
        LabelOp op
        vector[string] values

    ctypedef vector[LabelTerm] LabelSelector
    ctypedef vector[LabelSelector] LabelChoice


cdef extern from "cyray/store/arena_mapping.h" namespace "cyray::store" nogil:
    cdef cppclass ArenaMapping:
        void PrepareWrite(uint64_t offset, uint64_t bytes)

    cdef cppclass WritableView:
        WritableView()
        uint8_t* data()
        void Detach()


cdef extern from "cyray/util/clock.h" namespace "cyray" nogil:
    int64_t MonotonicNs()


cdef extern from "<string_view>" namespace "std" nogil:
    cdef cppclass string_view:
        string_view()
        string_view(const char*, size_t)


cdef extern from "<utility>" namespace "std" nogil:
    UniqueFd move_fd "std::move"(UniqueFd&)
