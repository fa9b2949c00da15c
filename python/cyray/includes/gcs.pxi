# Questions to the GCS, as plain Python values.

cdef check(Session s, Status status):
    # After a question that was asked without the GIL.
    still(s)
    if not status.ok():
        raise_status(status)


cdef str told(string text):
    # Words that somebody else wrote: the end of a log may be in any encoding.
    return (<bytes>text).decode("utf-8", "replace")


cdef dict amounts(cmap[string, int64_t] found):
    return {(<bytes>item.first).decode(): item.second / 10_000 for item in found}


def list_nodes():
    """A dict per node that ever joined: ids, addresses, resources."""
    cdef vector[NodeRow] rows
    cdef Status status
    cdef Session s = session()
    with nogil:
        status = ListNodes(s.core.control(), &rows)
    check(s, status)
    return [{"node_id": row.node_id.decode(), "ip": row.ip.decode(),
             "hostname": row.hostname.decode(), "socket": row.raylet_socket.decode(),
             "death_reason": told(row.death_reason), "alive": bool(row.alive),
             "is_head": bool(row.is_head), "port": row.port,
             "metrics_port": row.metrics_port, "total": amounts(row.total),
             "available": amounts(row.available),
             "labels": {(<bytes>label.first).decode(): (<bytes>label.second).decode()
                        for label in row.labels}} for row in rows]


def set_resource(str name, int64_t amount):
    """This node has so much of that resource from now on, in units of 1/10000.

    Raises:
        ValueError: it cannot be set.
    """
    cdef Session s = session()
    cdef string name_bytes = name.encode()
    cdef Status status
    with nogil:
        status = s.core.control().SetResource(name_bytes, amount)
    check(s, status)


def pending_demands():
    """``(amounts, count)`` of tasks and actors that have waited a second or longer, all nodes."""
    cdef vector[DemandRow] rows
    cdef Status status
    cdef Session s = session()
    with nogil:
        status = PendingDemands(s.core.control(), &rows)
    check(s, status)
    return [(amounts(row.demand), row.count) for row in rows]


def list_actors():
    cdef vector[ActorRow] rows
    cdef Status status
    cdef Session s = session()
    with nogil:
        status = ListActors(s.core.control(), &rows)
    check(s, status)
    return [{"actor_id": row.actor_id.decode(), "class_name": row.class_name.decode(),
             "name": row.name.decode(), "namespace": row.name_space.decode(),
             "state": row.state.decode(), "job_id": row.job_id.decode(),
             "node_id": row.node_id.decode(), "death_cause": told(row.death_cause),
             "pid": row.pid, "detached": bool(row.detached), "restarts": row.restarts,
             "saved_ms": row.saved_ms, "saved_bytes": row.saved_bytes}
            for row in rows]


def list_jobs():
    cdef vector[JobRow] rows
    cdef Status status
    cdef Session s = session()
    with nogil:
        status = ListJobs(s.core.control(), &rows)
    check(s, status)
    return [{"job_id": row.job_id.decode(), "namespace": row.name_space.decode(),
             "entrypoint": told(row.entrypoint), "driver_pid": row.driver_pid,
             "running": bool(row.running), "start_ms": row.start_ms, "end_ms": row.end_ms}
            for row in rows]


def get_actor_by_name(str name, str namespace):
    """``(actor id, pickled handle meta)`` or ``None``."""
    cdef NamedActor actor
    cdef Status status
    cdef Session s = session()
    cdef string n = name.encode(), space = namespace.encode()
    with nogil:
        status = GetActorByName(s.core.control(), n, space, &actor)
    check(s, status)
    if not actor.found:
        return None
    return PyBytes_FromStringAndSize(<const char*>actor.id.data(), 16), <bytes>actor.handle_meta


def kill_actor(bytes actor_id, bint no_restart, str reason):
    cdef Status status
    cdef Session s = session()
    cdef ActorId id = ActorId.FromBytes(PyBytes_AS_STRING(actor_id))
    cdef string why = reason.encode()
    with nogil:
        status = s.core.KillActor(id, no_restart, why)
    check(s, status)


def kv_put(str space, str key, bytes value, bint overwrite=True):
    """Store a value; returns whether the key was new."""
    cdef cbool added = False
    cdef Status status
    cdef Session s = session()
    cdef string in_space = space.encode(), k = key.encode()
    cdef string_view v = view_of(value)
    with nogil:
        status = KvPut(s.core.control(), in_space, k, v, overwrite, &added)
    check(s, status)
    return bool(added)


def kv_get(str space, str key):
    """The value, or ``None``."""
    cdef cbool found = False
    cdef string value
    cdef Status status
    cdef Session s = session()
    cdef string in_space = space.encode(), k = key.encode()
    with nogil:
        status = KvGet(s.core.control(), in_space, k, &found, &value)
    check(s, status)
    return <bytes>value if found else None


def kv_delete(str space, str key, bint prefix=False):
    """Delete a key, or all that begin with it; returns how many went."""
    cdef uint32_t deleted = 0
    cdef Status status
    cdef Session s = session()
    cdef string in_space = space.encode(), k = key.encode()
    with nogil:
        status = KvDelete(s.core.control(), in_space, k, prefix, &deleted)
    check(s, status)
    return deleted


def kv_keys(str space, str prefix=""):
    cdef vector[string] keys
    cdef Status status
    cdef Session s = session()
    cdef string in_space = space.encode(), p = prefix.encode()
    with nogil:
        status = KvKeys(s.core.control(), in_space, p, &keys)
    check(s, status)
    return [key.decode() for key in keys]
