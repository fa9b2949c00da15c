"""cyray and Ray: one adapter, since they have one API."""

from __future__ import annotations

import importlib
import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

from benchmarks import work
from benchmarks.engines.base import STORE_BYTES, Engine

NODES_S = 60.0


class RayLikeEngine(Engine):
    can = frozenset(
        {
            "tasks",
            "dependencies",
            "actors",
            "async_actors",
            "kill",
            "objects",
            "refs",
            "ref_arguments",
            "nested_refs",
            "returns",
            "nodes",
            "no_cpu",
            "generators",
            "cancel",
            "groups",
            "crowds",
        }
    )
    command = ""  # the module whose main() is the engine's command line

    def __init__(self) -> None:
        super().__init__()
        self._nodes: list[subprocess.Popen[bytes]] = []
        self.api: Any = importlib.import_module(self.package)

    def start(self) -> None:
        self.api.init(num_cpus=self.workers, object_store_memory=STORE_BYTES)

    def stop(self) -> None:
        self.api.shutdown()

    def task(self, function: Callable[..., Any]) -> Callable[..., Any]:
        return self.api.remote(function).remote  # type: ignore[no-any-return]

    def task_without_cpu(self, function: Callable[..., Any]) -> Callable[..., Any]:
        return self.api.remote(num_cpus=0)(function).remote  # type: ignore[no-any-return]

    def get(self, future: Any) -> Any:
        return self.api.get(future)

    def get_all(self, futures: Sequence[Any]) -> list[Any]:
        return self.api.get(futures)  # type: ignore[no-any-return]

    def put(self, value: Any) -> Any:
        return self.api.put(value)

    def actor(self, cls: type) -> Any:
        return self.api.remote(cls).remote()

    def call(self, actor: Any, method: str) -> Any:
        return getattr(actor, method).remote()

    def kill(self, actor: Any) -> None:
        self.api.kill(actor)

    def task_with_returns(self, function: Callable[..., Any], count: int) -> Callable[..., Any]:
        return self.api.remote(num_returns=count)(function).remote  # type: ignore[no-any-return]

    def generator(self, function: Callable[..., Any]) -> Callable[..., Any]:
        return self.api.remote(num_returns="streaming")(function).remote  # type: ignore[no-any-return]

    def group(self, bundles: Sequence[dict[str, float]]) -> Any:
        return self._groups.placement_group(list(bundles))

    def await_group(self, group: Any) -> None:
        if not group.wait(30):
            raise RuntimeError("a placement group is not in place after 30 s")

    def remove_group(self, group: Any) -> None:
        self._groups.remove_placement_group(group)

    @property
    def _groups(self) -> Any:
        return importlib.import_module(f"{self.api.__name__}.util.placement_group")

    def cancel_all(self, futures: Sequence[Any]) -> None:
        for future in futures:
            self.api.cancel(future)
        self.api.wait(list(futures), num_returns=len(futures))

    def join_nodes(self, count: int) -> None:
        while len(self._nodes) < count:
            self._nodes.append(self._start_node(len(self._nodes)))
        deadline = time.monotonic() + NODES_S
        while not all(_place(node) in self.api.cluster_resources() for node in range(count)):
            if time.monotonic() > deadline:
                raise TimeoutError(f"{count} nodes did not join within {NODES_S:.0f} s")
            time.sleep(0.05)

    def leave_nodes(self) -> None:
        for node in self._nodes:
            node.terminate()
        for node in self._nodes:
            node.wait()
        self._nodes.clear()

    def _start_node(self, node: int) -> subprocess.Popen[bytes]:
        address = self.api.get_runtime_context().gcs_address
        arguments = (
            "start",
            f"--address={address}",
            f"--num-cpus={self.workers}",
            f"--object-store-memory={STORE_BYTES}",
            f"--resources={json.dumps({_place(node): 1000})}",
            "--block",
        )
        main = f"from {self.command} import main; main()"
        return subprocess.Popen([sys.executable, "-c", main, *arguments])

    def far_task(self, function: Callable[..., Any], node: int) -> Callable[..., Any]:
        return self.api.remote(resources={_place(node): 1})(function).remote  # type: ignore[no-any-return]

    def far_actor(self, cls: type, node: int) -> Any:
        return self.api.remote(resources={_place(node): 1})(cls).remote()

    def holder(self, node: int) -> Any:
        cls = self.api.remote(resources={_place(node): 1})(work.Holder)
        return cls.remote(self.package)


def _place(node: int) -> str:
    """The resource that this node alone has."""
    return f"node{node}"


class CyrayEngine(RayLikeEngine):
    package = "cyray"
    command = "cyray.cli"
    queue_length = 1_000_000
    stream_length = 100_000

    def __init__(self) -> None:
        super().__init__()
        from cyray._os.machine import available_memory_bytes

        # As many as fit, should each take what is allowed for it and half as much again.
        # A node has four descriptors for each, and who watches them one.
        descriptors = resource.getrlimit(resource.RLIMIT_NOFILE)[0] - 1_000
        self.actor_count = min(10_000, available_memory_bytes() // 4_500_000, descriptors // 5)


class BlockingEngine(CyrayEngine):
    """cyray whose processes never spin: what spinning is measured against."""

    can = frozenset({"tasks"})

    def start(self) -> None:
        os.environ["CYRAY_SPIN_US"] = "0"
        super().start()


class RayEngine(RayLikeEngine):
    package = "ray"
    command = "ray.scripts.scripts"
    queue_length = 10_000

    def start(self) -> None:
        os.environ["RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO"] = "0"
        self.api.init(
            num_cpus=self.workers,
            include_dashboard=False,
            log_to_driver=False,
            logging_level="error",
            object_store_memory=STORE_BYTES,
        )
