# Declarations of the core's parts that deal with objects, for Cython: the refs that this process holds, waiting
# and reading, the node's store. Everything here is nogil; see the headers for contracts.
from libc.stdint cimport int64_t, uint8_t, uint64_t
from libcpp cimport bool as cbool
from libcpp.memory cimport shared_ptr
from libcpp.vector cimport vector

from cyray.includes.libground cimport *
from cyray.includes.libtasks cimport ExecTask
from cyray.includes.libvalues cimport *


cdef extern from "cyray/core/objects.h" namespace "cyray::core" nogil:
    cdef cppclass Objects:
        ObjectEntry* Put(ValuePtr, cbool, vector[ObjectEntry*])
        ObjectEntry* NewActorHandle(const ActorId&)
        void HoldWith(ObjectEntry*, vector[ObjectEntry*])
        void AddRef(ObjectEntry*)
        void Release(ObjectEntry*)
        Address Export(ObjectEntry*)
        void ExportMany(ObjectEntry**, size_t, uint8_t*)
        ObjectEntry* Borrow(const ObjectId&, const Address&, cbool)
        void BorrowMany(const uint8_t*, size_t, cbool, ObjectEntry**)
        void Free(ObjectEntry**, size_t, cbool)
        size_t live()


cdef extern from "cyray/core/object_reader.h" namespace "cyray::core" nogil:
    cdef cppclass ReadView:
        ReadView()
        const uint8_t* data
        uint64_t size
        cbool is_error
        Value* value
        LocalPin* pin

    cdef cppclass ObjectReader:
        cbool Wait(ObjectEntry**, size_t, size_t, cbool, int64_t, cbool)
        cbool AreDistinct(ObjectEntry**, size_t)
        void FindReady(ObjectEntry**, size_t, size_t, cbool, vector[size_t]*)
        void ReadyFlags(ObjectEntry**, size_t, cbool, uint8_t*)
        cbool Read(ObjectEntry*, ReadView*)
        size_t ReadMany(ObjectEntry**, size_t, ReadView*)
        cbool ReadArgument(ExecTask*, size_t, ReadView*)
        void UnrefPin(LocalPin*)
        void NoteErrorsRead(ObjectEntry**, size_t)
        void AddCallback(ObjectEntry*, uint64_t)
        void RemoveCallback(ObjectEntry*, uint64_t)


cdef extern from "cyray/core/store_client.h" namespace "cyray::core" nogil:
    cdef cppclass StoreBlock:
        StoreBlock()
        ObjectId id
        uint64_t offset
        uint64_t bytes
        uint8_t* data

    cdef cppclass StoreClient:
        Status Create(const ObjectId&, const Address&, uint64_t, StoreBlock*)
        ObjectId NextPutId()
        ObjectEntry* SealOwned(const StoreBlock&, vector[ObjectEntry*])
        void SealReturn(const StoreBlock&)
        void Abort(const StoreBlock&)
        void Discard(const ObjectId&)
        ArenaMapping& arena()
        shared_ptr[ArenaMapping]& shared_arena()
