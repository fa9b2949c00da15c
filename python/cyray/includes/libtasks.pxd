# Declarations of the core's parts that deal with tasks, for Cython: submitting, executing, events. Everything here
# is nogil; see the headers for contracts.
from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t
from libcpp cimport bool as cbool
from libcpp.memory cimport unique_ptr
from libcpp.string cimport string
from libcpp.vector cimport vector

from cyray.includes.libground cimport *
from cyray.includes.libvalues cimport *


cdef extern from "core_generated.h" namespace "cyray::wire" nogil:
    cdef enum class Yields(uint8_t):
        pass


cdef extern from "cyray/core/task_types.h" namespace "cyray::core" nogil:
    cdef cppclass TaskTemplate:
        uint32_t id
        int num_returns
        Yields yields

    cdef cppclass Cancellation:
        Cancellation()
        cbool force
        cbool recursive


cdef extern from "cyray/core/call_group.h" namespace "cyray::core" nogil:
    cdef cppclass CallGroup:
        CallGroup()
        uint32_t at_once
        cbool in_order


cdef extern from "cyray/core/submission.h" namespace "cyray::core" nogil:
    cdef cppclass Submission:
        Submission()
        TaskTemplate* tmpl
        ValuePtr args
        vector[ObjectEntry*] refs
        vector[ObjectEntry*] contained
        uint64_t parent
        ObjectEntry* hold
        unique_ptr[string] name
        cbool reserved

    cdef cppclass ShapeKey:
        ResourceSet demand
        uint8_t strategy
        NodeId affinity_node
        cbool affinity_soft
        LabelChoice labels
        int32_t priority
        uint32_t max_running
        FunctionId limited

    cdef cppclass TemplateSpec:
        TemplateSpec()
        FunctionId function_id
        string name
        string method
        string extra
        int num_returns
        Yields yields
        uint32_t max_ahead
        uint64_t timeout_ms
        int max_retries
        uint32_t max_concurrency
        uint32_t group
        ShapeKey shape
        cbool is_actor_method


cdef extern from "cyray/core/actor_submitter.h" namespace "cyray::core" nogil:
    cdef cppclass ActorClient:
        pass


cdef extern from "cyray/core/actor_creation.h" namespace "cyray::core" nogil:
    cdef cppclass ActorCreation:
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
        LabelChoice labels
        cbool detached
        int max_restarts
        uint32_t max_concurrency
        ValuePtr args
        vector[ObjectEntry*] refs


cdef extern from "cyray/core/submitter.h" namespace "cyray::core" nogil:
    cdef cppclass Unfinished "cyray::core::Submitter::Unfinished":
        Unfinished()
        size_t not_begun, running_tasks, running_calls

    cdef cppclass Submitter:
        TaskTemplate* AddTemplate(const TemplateSpec&)
        void ReleaseTemplate(TaskTemplate*)
        cbool Submit(Submission, ActorClient*, ObjectEntry**)
        cbool Reserve(ActorClient*, uint32_t)
        void GiveBack(ActorClient*)
        cbool HasDied(ActorClient*)
        Status Cancel(ObjectEntry*, const Cancellation&)
        cbool Throttle(ActorClient*)
        ActorClient* GetActorClient(const ActorId&, const vector[CallGroup]&, cbool)
        void ReleaseActorClient(ActorClient*)
        ActorId NewActorId()
        Status CreateActor(const ActorCreation&, cbool)
        void HoldForActor(const ActorId&, vector[ObjectEntry*], cbool)


cdef extern from *:
    """
    #include "cyray/core/item_taker.h"
    // A Result, as Cython takes it.
    static inline ::cyray::Status cyray_take_item(::cyray::core::ItemTaker& taker,
                                                  ::cyray::core::ObjectEntry* generator,
                                                  bool only_look,
                                                  ::cyray::core::ItemTaker::NextItem* next) {
      auto taken = taker.Take(generator, only_look);
      if (!taken) return taken.error();
      *next = *taken;
      return ::cyray::Status::Ok();
    }
    """
    cdef cppclass NextItem "::cyray::core::ItemTaker::NextItem":
        ObjectEntry* item
        cbool taken
        cbool end
    cdef cppclass ItemTaker "::cyray::core::ItemTaker":
        pass
    Status take_of "cyray_take_item"(ItemTaker&, ObjectEntry*, cbool, NextItem*) nogil


cdef extern from "cyray/core/execution_queue.h" namespace "cyray::core" nogil:
    cdef cppclass ExecTemplate:
        uint32_t python_id
        uint64_t timeout_ms
        uint64_t serial
        FunctionId function_id
        JobId job_id
        string name
        string method
        int num_returns
        Yields yields
        uint32_t max_concurrency
        string extra

    cdef cppclass ExecTask:
        WorkerId submitter
        ExecTemplate* tmpl
        uint32_t group
        TaskId id
        uint32_t attempt
        ValuePtr args
        string name
        vector[int] gpu_ids
        vector[ObjectId] borrowed
        uint64_t number
        cbool cancelled
        cbool cancels_children
        cbool timed_out
        cbool submitter_is_nil()

    cdef cppclass TaskThread:
        TaskThread()
        cbool is_main
        uint32_t group

    cdef cppclass Outcome:
        Outcome()
        ValuePtr value
        uint64_t stored_bytes
        cbool is_error
        vector[ObjectEntry*] contained


cdef extern from "cyray/core/event_queue.h" namespace "cyray::core::Event" nogil:
    cdef enum class EventKind "cyray::core::Event::Kind"(uint8_t):
        kNone
        kCallback
        kLogLines
        kWarning
        kSilence
        kAssignJob
        kBecomeActor
        kExit
        kRayletLost
        kCancel
        kSave
        kRoom


cdef extern from "cyray/core/event_queue.h" namespace "cyray::core" nogil:
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

    cdef cppclass EventQueue:
        cbool Next(int64_t, Event*)
        void Stop()


cdef extern from "cyray/core/external_loop.h" namespace "cyray::core" nogil:
    cdef cppclass ExternalLoop:
        int poll_fd()
        int wake_fd()
        void Use(int)
        void PollNow()
        void EndTurn()


cdef extern from "cyray/core/saver.h" namespace "cyray::core" nogil:
    cdef cppclass SaveRules:
        SaveRules()
        uint64_t calls
        int64_t every_ns
        cbool asks

    cdef enum class LastSave "cyray::core::Saver::Last"(uint8_t):
        kNothing
        kDue
        kCallRuns

    cdef cppclass SinceSave "cyray::core::Saver::Since":
        uint64_t calls
        int64_t ns
        uint64_t taken
        uint64_t stored

    cdef cppclass Saver:
        void Begin(const ActorId&, uint32_t, const SaveRules&, string)
        cbool Restore(string_view)
        string IncludedCalls()
        Status Taken(string_view, int64_t)
        void NotTaken(cbool)
        SinceSave SinceLast()
        LastSave BeginLast()
        Status AwaitSettled(int64_t)


cdef extern from "cyray/core/executor.h" namespace "cyray::core::Executor" nogil:
    cdef enum class Sent(uint8_t):
        kGoOn
        kWait
        kUnwanted


cdef extern from "cyray/core/executor.h" namespace "cyray::core" nogil:
    cdef cppclass Executor:
        cbool SkipItem(ExecTask&)
        Sent SendItem(ExecTask&, Outcome)
        cbool AwaitRoom(const ExecTask&)
        cbool HasRoomOrTells(ExecTask&)
        unique_ptr[ExecTask] NextTask(int64_t, TaskThread, Event*)
        unique_ptr[ExecTask] TryNextTask(Event*, cbool)
        void StartsOnLoop(ExecTask&)
        void Reply(unique_ptr[ExecTask], cbool, vector[Outcome], cbool)
        void ReplyCancelled(unique_ptr[ExecTask])
        void Abandon(unique_ptr[ExecTask])
        cbool OwnerOfResults(ExecTask&, Address*)
        void BecomeActor(const vector[CallGroup]&, cbool)
        void ActorReady(const ActorId&, uint32_t, cbool, string_view)
        void WorkerExiting(cbool, const string&)
        void Retire(const string&)


cdef extern from "<utility>" namespace "std" nogil:
    unique_ptr[ExecTask] move_task "std::move"(unique_ptr[ExecTask]&)
    Submission move_submission "std::move"(Submission&)
