# Questions to the GCS, as plain Python values.

cdef check(CoreWorker* c, Status status):
    leave(c)
    if not status.ok():
        raise_status(status)


cdef dict amounts(cmap[string, int64_t] found):
    return {(<bytes>item.first).decode(): item.second / 10_000 for item in found}


def list_nodes():
    """A dict per node that ever joined: ids, addresses, resources."""
    cdef vector[NodeRow] rows
    cdef Status status
    cdef CoreWorker* c = core()
    enter(c)
    with nogil:
        status = ListNodes(deref(c), &rows)
    check(c, status)
    return [{"node_id": row.node_id.decode(), "ip": row.ip.decode(),
             "hostname": row.hostname.decode(), "socket": row.raylet_socket.decode(),
             "death_reason": row.death_reason.decode(), "alive": bool(row.alive),
             "is_head": bool(row.is_head), "port": row.port, "total": amounts(row.total),
             "available": amounts(row.available)} for row in rows]


def pending_demands():
    """``(amounts, count)`` of tasks and actors that have waited a second or longer, all nodes."""
    cdef vector[DemandRow] rows
    cdef Status status
    cdef CoreWorker* c = core()
    enter(c)
    with nogil:
        status = PendingDemands(deref(c), &rows)
    check(c, status)
    return [(amounts(row.demand), row.count) for row in rows]


def list_actors():
    cdef vector[ActorRow] rows
    cdef Status status
    cdef CoreWorker* c = core()
    enter(c)
    with nogil:
        status = ListActors(deref(c), &rows)
    check(c, status)
    return [{"actor_id": row.actor_id.decode(), "class_name": row.class_name.decode(),
             "name": row.name.decode(), "namespace": row.name_space.decode(),
             "state": row.state.decode(), "job_id": row.job_id.decode(),
             "node_id": row.node_id.decode(), "death_cause": row.death_cause.decode(),
             "pid": row.pid, "detached": bool(row.detached), "restarts": row.restarts}
            for row in rows]


def list_jobs():
    cdef vector[JobRow] rows
    cdef Status status
    cdef CoreWorker* c = core()
    enter(c)
    with nogil:
        status = ListJobs(deref(c), &rows)
    check(c, status)
    return [{"job_id": row.job_id.decode(), "namespace": row.name_space.decode(),
             "entrypoint": row.entrypoint.decode(), "driver_pid": row.driver_pid,
             "running": bool(row.running), "start_ms": row.start_ms, "end_ms": row.end_ms}
            for row in rows]


def get_actor_by_name(str name, str namespace):
    """``(actor id, pickled handle meta)`` or ``None``."""
    cdef NamedActor actor
    cdef Status status
    cdef CoreWorker* c = core()
    cdef string n = name.encode(), s = namespace.encode()
    enter(c)
    with nogil:
        status = GetActorByName(deref(c), n, s, &actor)
    check(c, status)
    if not actor.found:
        return None
    return PyBytes_FromStringAndSize(<const char*>actor.id.data(), 16), <bytes>actor.handle_meta


def kill_actor(bytes actor_id, bint no_restart, str reason):
    cdef Status status
    cdef CoreWorker* c = core()
    cdef ActorId id = ActorId.FromBytes(PyBytes_AS_STRING(actor_id))
    cdef string why = reason.encode()
    enter(c)
    with nogil:
        status = KillActor(deref(c), id, no_restart, why)
    check(c, status)
    if no_restart:
        _creation_refs.pop(actor_id, None)  # a detached one's: it does not start again


def kv_put(str space, str key, bytes value, bint overwrite=True):
    """Store a value; returns whether the key was new."""
    cdef cbool added = False
    cdef Status status
    cdef CoreWorker* c = core()
    cdef string s = space.encode(), k = key.encode(), v = value
    enter(c)
    with nogil:
        status = KvPut(deref(c), s, k, v, overwrite, &added)
    check(c, status)
    return bool(added)


def kv_get(str space, str key):
    """The value, or ``None``."""
    cdef cbool found = False
    cdef string value
    cdef Status status
    cdef CoreWorker* c = core()
    cdef string s = space.encode(), k = key.encode()
    enter(c)
    with nogil:
        status = KvGet(deref(c), s, k, &found, &value)
    check(c, status)
    return <bytes>value if found else None


def kv_delete(str space, str key, bint prefix=False):
    """Delete a key, or all that begin with it; returns how many went."""
    cdef uint32_t deleted = 0
    cdef Status status
    cdef CoreWorker* c = core()
    cdef string s = space.encode(), k = key.encode()
    enter(c)
    with nogil:
        status = KvDelete(deref(c), s, k, prefix, &deleted)
    check(c, status)
    return deleted


def kv_keys(str space, str prefix=""):
    cdef vector[string] keys
    cdef Status status
    cdef CoreWorker* c = core()
    cdef string s = space.encode(), p = prefix.encode()
    enter(c)
    with nogil:
        status = KvKeys(deref(c), s, p, &keys)
    check(c, status)
    return [key.decode() for key in keys]
