# Placement groups: questions to the GCS, and in which group this code runs.

cdef object group_rows(vector[GroupRow]& rows):
    return [{"id": row.group_id.decode(), "name": row.name.decode(),
             "namespace": row.name_space.decode(), "state": row.state.decode(),
             "policy": row.policy.decode(), "waits": told(row.waits),
             "job_id": row.job_id.decode(), "creator_actor": row.creator_actor.decode(),
             "detached": bool(row.detached), "bundles": [amounts(bundle) for bundle in row.bundles],
             "nodes": [(<bytes>node).decode() for node in row.nodes]} for row in rows]


cdef PlacementGroupId group_id_of(bytes group_id) except *:
    if len(group_id) != 18:
        raise ValueError(f"the id of a placement group has 18 bytes, not {len(group_id)}")
    return PlacementGroupId.FromBytes(PyBytes_AS_STRING(group_id))


def register_group(order):
    """Makes a placement group by its ``GroupPlan``.

    Raises:
        ValueError: the name is taken.
    """
    cdef Session s = session()
    cdef GroupOrder wanted
    cdef Status status
    cdef ResourceSet bundle
    wanted.id = group_id_of(order.group_id)
    wanted.creator = s.core.address()
    if order.creator_actor:
        wanted.creator_actor = ActorId.FromBytes(PyBytes_AS_STRING(<bytes>order.creator_actor))
    wanted.name = order.name.encode()
    wanted.name_space = order.namespace.encode()
    wanted.detached = order.detached
    wanted.policy = order.policy
    if order.soft_target:
        wanted.soft_target = NodeId.FromBytes(PyBytes_AS_STRING(<bytes>order.soft_target))
    for resources in order.bundles:
        bundle = ResourceSet()
        fill_demand(&bundle, resources)
        wanted.bundles.push_back(bundle)
    for selector in order.selectors:
        wanted.selectors.push_back(selector_of(selector))
    with nogil:
        status = RegisterGroup(s.core.control(), wanted)
    still(s)
    if status.code() == StatusCode.kAlreadyExists:
        raise ValueError(status.message().decode())
    check(s, status)


def remove_group(bytes group_id):
    """Has a placement group removed, and what runs in it ended; nothing when it is gone already."""
    cdef Session s = session()
    cdef PlacementGroupId group = group_id_of(group_id)
    cdef Status status
    with nogil:
        status = RemoveGroup(s.core.control(), group, True)
    check(s, status)


def wait_group(bytes group_id, uint32_t wait_ms):
    """Waits so long for a group to be in place or gone; its row, ``None`` for one that is not known."""
    cdef Session s = session()
    cdef PlacementGroupId group = group_id_of(group_id)
    cdef vector[GroupRow] rows
    cdef Status status
    with nogil:
        status = WaitGroup(s.core.control(), group, wait_ms, &rows)
    check(s, status)
    found = group_rows(rows)
    return found[0] if found else None


def find_group(str name, str namespace, bytes group_id=None):
    """The row of the living group of that name, or of the one with that id; ``None`` when there is none."""
    cdef Session s = session()
    cdef PlacementGroupId wanted
    if group_id is not None:
        wanted = group_id_of(group_id)
    cdef vector[GroupRow] rows
    cdef Status status
    cdef string name_bytes = name.encode()
    cdef string space_bytes = namespace.encode()
    with nogil:
        status = FindGroup(s.core.control(), wanted, name_bytes, space_bytes, &rows)
    check(s, status)
    found = group_rows(rows)
    return found[0] if found else None


def list_groups():
    """A row for each placement group, and for the latest that were removed."""
    cdef Session s = session()
    cdef vector[GroupRow] rows
    cdef Status status
    with nogil:
        status = ListGroups(s.core.control(), &rows)
    check(s, status)
    return group_rows(rows)


def current_group():
    """``(group id, shapes of its bundles, whether children are captured)`` of the task on this thread, or of this actor;
    ``None`` when it is in no placement group."""
    if _actor_mode:
        return _actor_group
    cdef ExecContext context = current_context()
    if context is None or context.callable_entry is None:
        return None
    return (<CallableEntry>context.callable_entry).group
