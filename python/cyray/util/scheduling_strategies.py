"""Objects for `scheduling_strategy=`: where a task or an actor is to run."""

from __future__ import annotations


class NodeAffinitySchedulingStrategy:
    """Run on a given node.

    `node_id`: its hex id, as in `nodes()[i]["NodeID"]`. `soft`: elsewhere when it is not there.
    ValueError when the id is not 40 hex digits.
    """

    def __init__(self, node_id: str, soft: bool) -> None:
        if not isinstance(node_id, str):
            raise TypeError(f"node_id must be a hex string, not {type(node_id).__name__}.")
        try:
            if len(bytes.fromhex(node_id)) != 20:
                raise ValueError
        except ValueError:
            raise ValueError(f"Invalid node id {node_id!r}: it must be 40 hex digits.") from None
        self.node_id = node_id
        self.soft = bool(soft)

    def __repr__(self) -> str:
        return f"NodeAffinitySchedulingStrategy(node_id={self.node_id!r}, soft={self.soft})"
