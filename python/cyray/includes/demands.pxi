# What plans ask for of nodes, as the core has it.

cdef int fill_placement(object placement, ResourceSet* demand, uint8_t* strategy, NodeId* node,
                        cbool* soft) except -1:
    cdef bytes node_id = placement.node
    fill_demand(demand, placement.demand)
    if placement.group:
        demand[0] = InBundle(demand[0], group_id_of(placement.group), placement.bundle)
    strategy[0] = placement.strategy
    if node_id:
        if len(node_id) != 20:
            raise ValueError(f"the id of a node has 20 bytes, not {len(node_id)}")
        node[0] = NodeId.FromBytes(PyBytes_AS_STRING(node_id))
    soft[0] = placement.soft
    return 0


cdef int fill_labels(LabelChoice* choice, tuple selectors) except -1:
    for selector in selectors:
        choice.push_back(selector_of(selector))
    return 0


cdef LabelSelector selector_of(tuple terms) except *:
    cdef LabelSelector selector
    cdef LabelTerm term
    for key, op, values in terms:
        term = LabelTerm()
        term.key = key.encode()
        term.op = <LabelOp><int>op
        for value in values:
            term.values.push_back(value.encode())
        selector.push_back(term)
    return selector


cdef int fill_demand(ResourceSet* demand, tuple amounts) except -1:
    for name, amount in amounts:
        demand.Set(name.encode(), amount)
    return 0
