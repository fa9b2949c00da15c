"""A cluster of several nodes on this machine, for tests.

    cluster = Cluster(initialize_head=True, connect=True, head_node_args={"num_cpus": 1})
    node = cluster.add_node(num_cpus=1, resources={"other": 1})

Place: above `_node`. Every node is a real raylet with its own store, workers and ports, in one
session folder (sockets `raylet`, `raylet.1`, ...). With `proxied=True` other nodes reach each of
them through a FaultProxy, which cuts, stalls and delays their connections as it is told:

    cluster = Cluster(initialize_head=True, connect=True, proxied=True)
    node = cluster.add_node(num_cpus=1)
    cluster.cut_off(node)         # from all other nodes, whoever dials, until cluster.rejoin(node)
    cluster.proxy(node).delay(1)  # what goes over the connections that others make to it

A proxy stands between nodes alone: what a node says to the GCS goes past it, so a node that is cut off
is alive for the cluster.

Threading: used by one thread.
"""

from __future__ import annotations

import time
from typing import Any

from cyray._node.fault_proxy import FaultProxy
from cyray._node.local import LocalNode
from cyray._node.options import NodeOptions

__all__ = ["Cluster", "FaultProxy"]

_NODE_ARGUMENTS = (
    "num_cpus",
    "num_gpus",
    "node_ip",
    "memory",
    "object_store_memory",
    "resources",
    "labels",
    "preload",
    "prestart",
    "metrics_export_port",
    "env",
)


class Cluster:
    """Nodes that are started and stopped at will.

    `head_node`, `worker_nodes` and `list_all_nodes()` are the nodes that were not removed.
    """

    def __init__(
        self,
        initialize_head: bool = False,
        connect: bool = False,
        head_node_args: dict[str, Any] | None = None,
        proxied: bool = False,
    ) -> None:
        """`connect` makes this process a driver of the cluster; it needs `initialize_head`.

        `proxied`: other nodes reach each node through a FaultProxy (`proxy`).
        """
        self._proxied = proxied
        self._proxies: dict[str, FaultProxy] = {}  # by node id
        self._cut_off: list[LocalNode] = []
        self.head_node: LocalNode | None = None
        self.worker_nodes: list[LocalNode] = []
        self._connected = False
        if not initialize_head:
            if connect:
                raise RuntimeError("Cannot connect to uninitialized cluster.")
            return
        head_node_args = {} if head_node_args is None else head_node_args
        if not isinstance(head_node_args, dict):
            raise TypeError(
                f"head_node_args must be a dict as of add_node, not {head_node_args!r}."
            )
        self.add_node(**head_node_args)
        if connect:
            self.connect()

    @property
    def address(self) -> str:
        """`ip:port` of the head's GCS; empty while there is no head."""
        return self.head_node.gcs_address if self.head_node is not None else ""

    @property
    def gcs_address(self) -> str:
        return self.address

    def connect(self, namespace: str | None = None) -> Any:
        """Makes this process a driver of the cluster, at its head."""
        import cyray

        if self.head_node is None:
            raise RuntimeError("The cluster has no head node yet.")
        context = cyray.init(address=self.address, namespace=namespace)
        self._connected = True
        return context

    def add_node(self, wait: bool = True, **node_args: Any) -> LocalNode:
        """Starts a node; the first one is the head.

        `node_args`: num_cpus (1), num_gpus (0), node_ip (127.0.0.1), memory, object_store_memory (150 MB), resources,
        labels, preload, prestart, metrics_export_port (any), env. `wait`: until the cluster knows it, when this process is connected.
        """
        unknown = set(node_args) - set(_NODE_ARGUMENTS)
        if unknown:
            raise ValueError(
                f"Unknown arguments of add_node: {sorted(unknown)}; there are "
                f"{', '.join(_NODE_ARGUMENTS)}."
            )
        arguments: dict[str, Any] = {
            "num_cpus": 1,
            "num_gpus": 0,
            "object_store_memory": 150 * 1000**2,
        }
        arguments.update(node_args)
        if self.head_node is None:
            self.head_node = self._start(NodeOptions(**arguments))
            return self.head_node
        node = self._start(
            NodeOptions(
                **arguments,
                head=False,
                gcs_address=self.head_node.gcs_address,
                session_dir=self.head_node.session_dir,
            )
        )
        self.worker_nodes.append(node)
        if wait and self._connected:
            self.wait_for_nodes()
        return node

    def _start(self, options: NodeOptions) -> LocalNode:
        if not self._proxied:
            return LocalNode(options)
        proxy = FaultProxy()
        try:
            node = LocalNode(options._replace(advertise_port=proxy.port))
        except BaseException:
            proxy.close()
            raise
        proxy.forward_to(node.port)
        self._proxies[node.node_id] = proxy
        self._refuse_cut_off(proxy)
        return node

    # --- Faults ---

    def proxy(self, node: LocalNode) -> FaultProxy:
        """What the connections go through that other nodes make to this one, in a cluster with `proxied`.

        What this node dials goes through the proxies of those that it dials: `cut_off` is for both.

        Raises:
            RuntimeError: the cluster was made without `proxied`.
            ValueError: the node is not of this cluster, or was removed.
        """
        if not self._proxied:
            raise RuntimeError(
                "The nodes of this cluster reach each other directly, and no FaultProxy stands between "
                "them: make it with Cluster(..., proxied=True)."
            )
        self._check_member(node)
        return self._proxies[node.node_id]

    def cut_off(self, node: LocalNode) -> None:
        """Resets all connections between this node and the others, and every new one, until `rejoin`.

        Whoever dials, and nodes that are added later too. The node still talks with the GCS, so it is
        alive for the cluster; calls and objects between it and other nodes wait. Raises as `proxy` does.
        """
        own = self.proxy(node)
        if node not in self._cut_off:
            self._cut_off.append(node)
        for proxy in self._open_proxies():
            if proxy is own:
                proxy.drop()
            else:
                proxy.drop(dialed_by=node.pid)

    def rejoin(self, node: LocalNode) -> None:
        """Ends `cut_off`, and whatever other faults the node's own proxy was told to make.

        Raises as `proxy` does.
        """
        own = self.proxy(node)
        if node in self._cut_off:
            self._cut_off.remove(node)
        for proxy in self._open_proxies():
            if proxy is own:
                proxy.heal()
                self._refuse_cut_off(proxy)
            else:
                proxy.admit(node.pid)

    def _open_proxies(self) -> list[FaultProxy]:
        return [proxy for proxy in self._proxies.values() if not proxy.closed]

    def _refuse_cut_off(self, proxy: FaultProxy) -> None:
        for node in self._cut_off:
            proxy.drop(dialed_by=node.pid)

    def _check_member(self, node: LocalNode) -> None:
        if node not in self.list_all_nodes():
            known = ", ".join(one.node_id for one in self.list_all_nodes())
            raise ValueError(
                f"{node.node_id if isinstance(node, LocalNode) else repr(node)} is not a node of this cluster, "
                "or was removed. Nodes are what add_node() returns, and head_node; there are "
                f"{known or 'none'}."
            )

    # --- Ends ---

    def remove_node(self, node: LocalNode, allow_graceful: bool = True) -> None:
        """Ends a node: in order, or with SIGKILL to its raylet. The head goes last."""
        if node is self.head_node and self.worker_nodes:
            raise ValueError("The head node cannot be removed before the others.")
        self._check_member(node)
        if allow_graceful:
            node.stop()
        else:
            node.kill()
        if proxy := self._proxies.pop(node.node_id, None):
            proxy.close()
        if node in self._cut_off:
            self._cut_off.remove(node)
        if node is self.head_node:
            self.head_node = None
        else:
            self.worker_nodes.remove(node)

    def list_all_nodes(self) -> list[LocalNode]:
        """The nodes, the head first."""
        head = [self.head_node] if self.head_node is not None else []
        return head + self.worker_nodes

    def remaining_processes_alive(self) -> bool:
        """Whether every node that was not removed still runs."""
        return all(node.alive() for node in self.list_all_nodes())

    def wait_for_nodes(self, timeout: float = 30) -> None:
        """Waits until the cluster counts exactly these nodes alive; TimeoutError after `timeout` s.

        This process must be connected to the cluster.
        """
        import cyray

        wanted = {node.node_id for node in self.list_all_nodes()}
        deadline = time.monotonic() + timeout
        while True:
            alive = {node["NodeID"] for node in cyray.nodes() if node["Alive"]}
            if alive == wanted:
                return
            if time.monotonic() > deadline:
                raise TimeoutError(
                    f"After {timeout} s the cluster sees nodes {sorted(alive)} alive, "
                    f"expected {sorted(wanted)}."
                )
            time.sleep(0.005)

    def shutdown(self) -> None:
        """Disconnects this process when it is a driver here, and ends all nodes."""
        if self._connected:
            import cyray

            cyray.shutdown()
            self._connected = False
        for node in reversed(self.list_all_nodes()):
            node.stop()
        for proxy in self._proxies.values():
            proxy.close()
        self._proxies.clear()
        self._cut_off.clear()
        self.worker_nodes = []
        self.head_node = None
