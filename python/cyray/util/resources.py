"""Amounts of a node's resources that change while it runs."""

from __future__ import annotations

from typing import Any

import cyray
from cyray import _raylet
from cyray._spec import accelerators, demands
from cyray._spec.options import text
from cyray._spec.strategies import NodeAffinitySchedulingStrategy

_OWN = ("object_store_memory", "node:", "accelerator_type:")


def set_resource(name: str, capacity: float, node_id: str | None = None) -> None:
    """The node offers so much of a resource from now on; 0 takes it away.

    `name`: "CPU", "memory" (bytes) or a custom one. `capacity`: the whole, in use or not, in steps of 1/10000. What
    runs goes on: when less is left than is in use, nothing new begins before enough has been returned. `node_id`:
    hex id; None: the node of this process. Returns when the node has it; other nodes hear of it a moment later.

    Raises:
        ValueError: a resource that the node sets itself (GPUs, the store), a negative amount, no such node.
        TypeError: not a number.
        TaskUnschedulableError: the node is dead, or not one of the cluster's.
    """
    if not isinstance(name, str) or not name:
        raise TypeError(f"The name of a resource must be a non-empty string, not {name!r}.")
    if name.startswith(_OWN) or name in accelerators.VARIABLES:
        raise ValueError(f"The resource {name!r} cannot be set: the node has it of its own.")
    units = demands.offered_units(text("name", name), capacity)
    here = cyray.get_runtime_context().get_node_id()
    if node_id is None or node_id == here:
        return _raylet.set_resource(name, units)
    strategy = NodeAffinitySchedulingStrategy(node_id, soft=False)
    there: Any = cyray.remote(num_cpus=0)(_raylet.set_resource)
    cyray.get(there.options(scheduling_strategy=strategy).remote(name, units))
