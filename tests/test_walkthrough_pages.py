"""Programs of the kind that Ray's walkthrough and its page on advanced use have shown at several ages, start to
end, in the spellings of each age. `PAGES` says which test has the programs of which part of a page."""

from __future__ import annotations

import re
import textwrap
from pathlib import Path

import examples_path
import pytest
from support import children, eventually, run_driver

# By the age of a page: its parts in their order.
PAGES = {
    "walkthrough, 0.8": {
        "start, ask, stop": ["test_start_ask_and_stop", "test_a_cluster_by_its_address"],
        "functions and chains": ["test_remote_functions"],
        "demands of functions, several results": [
            "test_demands_of_functions",
            "test_what_is_asked_for_is_never_exceeded",
        ],
        "objects, get, wait": ["test_objects_timeouts_and_waiting", "test_arrays_are_shared"],
        "classes": ["test_remote_classes"],
    },
    "advanced use, 0.5": {
        "nested functions": ["test_nested_tasks", "test_functions_may_be_defined_in_any_order"],
        "handles that are passed on": [
            "test_endless_callers_do_not_keep_the_driver_from_its_answers"
        ],
    },
    "advanced use, 0.6": {
        "nested functions": ["test_nested_tasks", "test_functions_may_be_defined_in_any_order"],
        "circular dependencies": ["test_nested_tasks"],
        "Cython": ["test_cython_functions"],
        "serialization": ["test_aliases_and_recursion", "test_arrays_are_shared"],
    },
    "advanced use, 0.7": {
        "parameters at the call": ["test_demands_at_the_call", "test_results_at_the_call"],
        "nested functions": ["test_nested_tasks", "test_functions_may_be_defined_in_any_order"],
        "circular dependencies": ["test_nested_tasks"],
        "Cython": ["test_cython_functions"],
    },
    "advanced use, 1.0": {
        "locks of files": ["test_files_written_under_a_lock_in_the_drivers_folder"],
        "signals": ["test_a_signal_frees_all_who_wait"],
        "queues": ["test_a_queue_that_tasks_share"],
        "parameters at the call": [
            "test_demands_at_the_call",
            "test_results_at_the_call",
            "test_names_at_the_call",
        ],
        "types of accelerators": ["test_accelerator_types"],
        "nested functions": ["test_nested_tasks", "test_functions_may_be_defined_in_any_order"],
        "circular dependencies": ["test_nested_tasks"],
        "Cython": ["test_cython_functions"],
        "nodes and resources": ["test_nodes_and_resources"],
    },
}


def run(tmp_path, source, *args, **env):
    return run_driver(tmp_path, "import cyray as ray\n" + textwrap.dedent(source), *args, **env)


def test_every_part_of_a_page_has_its_programs_and_every_program_its_part():
    named = {name for parts in PAGES.values() for tests in parts.values() for name in tests}
    assert named == {
        name for name in globals() if name.startswith("test_") and not name.startswith("test_every")
    }


def test_a_cluster_by_its_address(tmp_path):
    out, _ = run(
        tmp_path,
        """
        from cyray.cluster_utils import Cluster

        cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 3})
        ray.init(address=cluster.address)
        print(ray.cluster_resources()["CPU"])
        ray.shutdown()
        ray.init(redis_address=cluster.address)
        print(ray.is_initialized())
        ray.shutdown()
        cluster.shutdown()
        """,
    )
    assert out == "3.0\nTrue\n"


def test_start_ask_and_stop(tmp_path):
    out, _ = run(
        tmp_path,
        """
        ray.init()
        assert ray.is_initialized()
        ray.shutdown()
        assert not ray.is_initialized()
        ray.init(num_cpus=8, num_gpus=4, resources={'Custom': 2})
        assert ray.cluster_resources()['CPU'] == 8
        print('done')
        """,
    )
    assert out == "done\n"


def test_remote_functions(tmp_path):
    out, _ = run(
        tmp_path,
        """
        ray.init(num_cpus=4)

        def ordinary():
            return 1

        @ray.remote
        def remote():
            return 1

        @ray.remote
        def chained(value):
            return value + 1

        assert ordinary() == 1
        object_id = remote.remote()
        assert ray.get(object_id) == 1
        for _ in range(4):
            remote.remote()
        first = remote.remote()
        assert ray.get(chained.remote(first)) == 2
        print('done')
        """,
    )
    assert out == "done\n"


def test_demands_of_functions(tmp_path):
    out, _ = run(
        tmp_path,
        """
        ray.init(num_cpus=8, num_gpus=4, resources={'Custom': 2})

        @ray.remote(num_cpus=4, num_gpus=2)
        def heavy():
            return len(ray.get_gpu_ids())

        @ray.remote(num_gpus=0.5)
        def half():
            return len(ray.get_gpu_ids())

        @ray.remote(resources={'Custom': 1})
        def custom():
            return 1

        @ray.remote(num_return_vals=3)
        def several():
            return 1, 2, 3

        assert ray.get(heavy.remote()) == 2
        assert ray.get([half.remote() for _ in range(4)]) == [1] * 4
        assert ray.get(custom.remote()) == 1
        a_id, b_id, c_id = several.remote()
        assert ray.get([a_id, b_id, c_id]) == [1, 2, 3]
        print('done')
        """,
    )
    assert out == "done\n"


def test_objects_timeouts_and_waiting(tmp_path):
    out, _ = run(
        tmp_path,
        """
        import time
        from cyray.exceptions import RayTimeoutError

        ray.init(num_cpus=2)
        y = 1
        object_id = ray.put(y)
        assert ray.get(object_id) == 1

        @ray.remote
        def long_running_function():
            time.sleep(8)

        obj_id = long_running_function.remote()
        try:
            ray.get(obj_id, timeout=0.2)
        except RayTimeoutError:
            print("`get` timed out.")

        @ray.remote
        def quick(i):
            return i

        object_ids = [quick.remote(i) for i in range(4)]
        ready_ids, remaining_ids = ray.wait(object_ids, num_returns=1, timeout=None)
        assert len(ready_ids) == 1 and len(remaining_ids) == 3
        """,
    )
    assert out == "`get` timed out.\n"


def test_remote_classes(tmp_path):
    out, _ = run(
        tmp_path,
        """
        ray.init(num_cpus=2, num_gpus=1)

        @ray.remote
        class Counter(object):
            def __init__(self):
                self.value = 0

            def increment(self):
                self.value += 1
                return self.value

        a1 = Counter.remote()
        a2 = Counter.remote()

        @ray.remote(num_cpus=2, num_gpus=0.5)
        class Actor(object):
            pass

        Actor.remote()
        obj_id = a1.increment.remote()
        assert ray.get(obj_id) == 1
        counters = [Counter.remote() for _ in range(10)]
        results = ray.get([c.increment.remote() for c in counters])
        print(results)
        results = ray.get([counters[0].increment.remote() for _ in range(5)])
        print(results)
        """,
    )
    assert out == "[1, 1, 1, 1, 1, 1, 1, 1, 1, 1]\n[2, 3, 4, 5, 6]\n"


def test_nested_tasks(tmp_path):
    out, _ = run(
        tmp_path,
        """
        ray.init(num_cpus=1, num_gpus=1)

        @ray.remote
        def f():
            return 1

        @ray.remote
        def g():
            return [f.remote() for _ in range(4)]

        @ray.remote
        def h():
            return ray.get([f.remote() for _ in range(4)])

        ids = ray.get(g.remote())
        print(len(ids), str(ids[0])[:10], len(str(ids[0])))
        print(ray.get(h.remote()))

        @ray.remote(num_cpus=1, num_gpus=1)
        def blocks():
            return ray.get(f.remote())

        print(ray.get(blocks.remote()))
        """,
    )
    assert out == "4 ObjectRef( 51\n[1, 1, 1, 1]\n1\n"


@pytest.mark.parametrize("spelling", ["_remote", "options"])
def test_demands_at_the_call(tmp_path, spelling):
    out, _ = run(
        tmp_path,
        """
        import sys

        ray.init(num_cpus=6, num_gpus=1, resources={f"Custom{i}": 1 for i in (1, 2, 3)})

        def call(remote, args=(), **options):
            if sys.argv[1] == "_remote":
                return remote._remote(args=list(args), **options)
            return remote.options(**options).remote(*args)

        @ray.remote(num_cpus=4)
        class Counter(object):
            def __init__(self):
                self.value = 0

            def increment(self):
                self.value += 1
                return self.value

        actors = [call(Counter, num_cpus=i, resources={f"Custom{i}": 1}) for i in (1, 2, 3)]
        print(ray.get([actor.increment.remote() for actor in actors]))
        named = {"CPU", "Custom1", "Custom2", "Custom3"}
        while ray.available_resources().keys() & named:  # news of the node are on their way
            pass
        del actors

        @ray.remote
        def g():
            return ray.get_gpu_ids()

        print(ray.get(g.remote()), ray.get(call(g, num_cpus=1, num_gpus=1)))
        """,
        spelling,
    )
    # A task that asks for no GPU has none, whatever the pages show.
    assert out.splitlines() == ["[1, 1, 1]", "[] [0]"]


@pytest.mark.parametrize("age", ["old", "new"])
def test_results_at_the_call(tmp_path, age):
    out, _ = run(
        tmp_path,
        """
        import sys

        ray.init(num_cpus=1)

        @ray.remote
        def f(n):
            return list(range(n))

        @ray.remote
        class Ranges(object):
            def f(self, n):
                return list(range(n))

        ranges = Ranges.remote()
        for target in (f, ranges.f):
            if sys.argv[1] == "old":
                id1, id2 = target._remote(args=[2], num_return_vals=2)
            else:
                id1, id2 = target.options(num_returns=2).remote(2)
            assert ray.get(id1) == 0
            assert ray.get(id2) == 1
        print("done")
        """,
        age,
    )
    assert out == "done\n"


def test_names_at_the_call(tmp_path):
    out, err = run(
        tmp_path,
        """
        import setproctitle

        ray.init(num_cpus=1)

        def title(x):
            print("in the log")
            return setproctitle.getproctitle(), x + 1

        class Holder(object):
            def title(self, x):
                return title(x)

        print(ray.get(ray.remote(title).options(name="special_f").remote(3)))
        holder = ray.remote(Holder).remote()
        print(ray.get(holder.title.options(name="special_m").remote(3)))
        """,
        CYRAY_DEDUP_LOGS="0",
    )
    assert "('cyray::special_f', 4)" in out and "('cyray::special_m', 4)" in out
    assert re.search(r"\(special_f pid=\d+\) in the log", out + err)


def test_accelerator_types(tmp_path):
    out, _ = run(
        tmp_path,
        """
        from cyray.accelerators import NVIDIA_TESLA_V100

        ray.init(num_gpus=1, resources={f"accelerator_type:{NVIDIA_TESLA_V100}": 1})

        @ray.remote(num_gpus=1, accelerator_type=NVIDIA_TESLA_V100)
        def train():
            return "trained"

        print(ray.get(train.remote()))
        """,
    )
    assert out == "trained\n"


def test_files_written_under_a_lock_in_the_drivers_folder(tmp_path):
    out, _ = run(
        tmp_path,
        """
        from filelock import FileLock

        @ray.remote
        def write_to_file(text):
            with FileLock("my_data.txt.lock"):
                with open("my_data.txt", "a") as file:
                    file.write(text)

        ray.init()
        ray.get([write_to_file.remote("hi there!\\n") for i in range(3)])
        with open("my_data.txt") as file:
            print(file.read(), end="")
        """,
    )
    assert out == "hi there!\n" * 3


SIGNALS = {
    "of the library": "from cyray.test_utils import SignalActor",
    "of the program": """
        import asyncio

        @ray.remote(num_cpus=0)
        class SignalActor:
            def __init__(self):
                self.ready_event = asyncio.Event()

            def send(self, clear=False):
                self.ready_event.set()
                if clear:
                    self.ready_event.clear()

            async def wait(self, should_wait=True):
                if should_wait:
                    await self.ready_event.wait()
        """,
}


@pytest.mark.parametrize("signal", SIGNALS)
def test_a_signal_frees_all_who_wait(tmp_path, signal):
    out, _ = run(
        tmp_path,
        textwrap.dedent(SIGNALS[signal])
        + textwrap.dedent(
            """
            @ray.remote
            def wait_and_go(signal):
                ray.get(signal.wait.remote())
                print("go!")

            ray.init(num_cpus=2)
            signal = SignalActor.remote()
            tasks = [wait_and_go.remote(signal) for _ in range(4)]
            print("ready...")
            print("set..")
            ray.get(signal.send.remote())
            ray.get(tasks)
            """
        ),
        CYRAY_DEDUP_LOGS="0",
    )
    assert out.startswith("ready...\nset..\n")
    # Those that begin before the signal, each in a process of its own; the others where these ran.
    assert len(re.findall(r"\(wait_and_go pid=\d+\) go!\n", out)) == 4


def test_a_queue_that_tasks_share(tmp_path):
    out, _ = run(
        tmp_path,
        """
        from cyray.util.queue import Queue

        ray.init(num_cpus=2)
        queue = Queue(maxsize=100)

        @ray.remote
        def consumer(queue):
            next_item = queue.get(block=True)
            print(f"got work {next_item}")

        consumers = [consumer.remote(queue) for _ in range(2)]
        [queue.put(i) for i in range(10)]
        ray.get(consumers)
        print(queue.qsize(), "left")
        """,
        CYRAY_DEDUP_LOGS="0",
    )
    assert "8 left\n" in out
    assert sorted(re.findall(r"\(consumer pid=\d+\) (got work \d)\n", out)) == [
        "got work 0",
        "got work 1",
    ]


def test_nodes_and_resources(tmp_path):
    out, _ = run(
        tmp_path,
        """
        import os
        import stat

        ray.init(num_cpus=2, resources={"Custom": 2})
        (node,) = ray.nodes()
        assert bytes.fromhex(node["NodeID"]) and len(node["NodeID"]) == 40
        assert node["Alive"] is node["alive"] is True
        address = node["NodeManagerAddress"]
        assert address.count(".") == 3 and node["NodeManagerHostname"]
        for port in ("NodeManagerPort", "ObjectManagerPort"):
            assert 0 < node[port] < 65536
        assert isinstance(node["MetricsExportPort"], int)
        for name, file in (("ObjectStoreSocketName", "plasma_store"), ("RayletSocketName", "raylet")):
            folder, _, last = node[name].rpartition("/sockets/")
            assert "/session_" in folder and last.startswith(("raylet", file))
            assert stat.S_ISSOCK(os.stat(node[name]).st_mode)
        resources = node["Resources"]
        assert resources["CPU"] == 2.0 and resources[f"node:{address}"] == 1.0
        assert resources["memory"] > 0 and resources["object_store_memory"] > 0
        assert ray.cluster_resources() == resources == ray.available_resources()

        @ray.remote(resources={"Custom": 2})
        def free():
            return ray.available_resources()

        there = ray.get(free.remote())
        print(there["CPU"], "Custom" in there)
        """,
    )
    assert out == "1.0 False\n"


def test_cython_functions(tmp_path):
    """Functions of a .pyx are wrapped from Python; what pages call impossible works: buffers as arguments."""
    examples = Path(examples_path.ROOT) / "examples" / "cython"
    text = (examples / "cython_examples" / "cython_simple.pyx").read_text()
    assert text.startswith("#!python\n# cython: embedsignature=True, binding=True\n")
    out, _ = run(
        tmp_path,
        f"""
        import sys

        sys.path.insert(0, {str(examples)!r})
        import cython_examples as ce
        import numpy as np

        ray.init(num_cpus=1)
        some_cython_func = ray.remote(ce.fib_cpdef)
        print(ray.get(some_cython_func.remote(10)))

        @ray.remote
        def size(buffer):
            return memoryview(buffer).nbytes

        print(ray.get(size.remote(memoryview(b"abc"))), ray.get(size.remote(np.ones(10))))
        """,
    )
    assert out == "55\n3 80\n"


def test_arrays_are_shared(tmp_path):
    out, _ = run(
        tmp_path,
        """
        import numpy as np

        ray.init(num_cpus=2)
        object_id = ray.put([np.arange(10 ** 6), {"b": np.ones(10 ** 6)}])

        @ray.remote
        def look(arrays):
            first, second = arrays[0], arrays[1]["b"]
            with open("/proc/self/maps") as maps:
                arena = [line.split()[0] for line in maps if "memfd:cyray" in line]
            ranges = [[int(end, 16) for end in line.split("-")] for line in arena]
            def is_shared(array):
                return any(low <= array.ctypes.data < high for low, high in ranges)
            return is_shared(first), is_shared(second), first.flags.writeable, int(first.sum())

        print(ray.get([look.remote(object_id) for _ in range(2)]))
        first = ray.get(object_id)[0]
        try:
            first[0] = 1
        except ValueError as error:
            print("read-only" in str(error))
        """,
    )
    one = "(True, True, False, 499999500000)"
    assert out == f"[{one}, {one}]\nTrue\n"


def test_functions_may_be_defined_in_any_order(tmp_path):
    """A page has f before g, as g was pickled when it was defined; now it is at the first call."""
    out, _ = run(
        tmp_path,
        """
        ray.init(num_cpus=1)

        @ray.remote
        def g():
            return ray.get([f.remote() for _ in range(4)])

        @ray.remote
        def f():
            return 1

        print(ray.get(g.remote()))
        """,
    )
    assert out == "[1, 1, 1, 1]\n"


def test_what_is_asked_for_is_never_exceeded(tmp_path):
    out, _ = run(
        tmp_path,
        """
        ray.init(num_cpus=8, num_gpus=4, resources={'Custom': 2})

        import os, tempfile

        folder = tempfile.mkdtemp()

        @ray.remote(num_cpus=4, num_gpus=2)
        def f(kind):
            import os
            mine = os.path.join(folder, str(kind))
            open(mine, "w").close()
            at_once = len(os.listdir(folder))
            os.remove(mine)
            return os.environ["CUDA_VISIBLE_DEVICES"].count(","), at_once <= 2

        @ray.remote
        def plain():
            return ray.get_runtime_context().get_assigned_resources()

        print(set(ray.get([f.remote(i) for i in range(6)])))
        print(ray.get(plain.remote()))
        """,
    )
    assert out == "{(1, True)}\n{'CPU': 1.0}\n"


def test_aliases_and_recursion(tmp_path):
    out, _ = run(
        tmp_path,
        """
        import pickle

        ray.init(num_cpus=1)
        l1 = [0]
        l3 = ray.get(ray.put([l1, l1]))
        print(l3[0] is l3[1])
        l = []
        l.append(l)
        ray.put(l)

        @ray.remote
        def f(data):
            return "Successfully passed {} into f.".format(pickle.loads(data))

        print(ray.get(f.remote(pickle.dumps(l))))
        """,
    )
    assert out == "True\nSuccessfully passed [[...]] into f.\n"


@pytest.mark.timeout(90)
def test_endless_callers_do_not_keep_the_driver_from_its_answers(cyray_start):
    """Four tasks call an actor without end and without waiting; memory stays bounded meanwhile."""
    from support import zygote_pid

    cyray = cyray_start

    @cyray.remote
    class Counter:
        def __init__(self):
            self.counter = 0

        def inc(self):
            self.counter += 1

        def get_counter(self):
            return self.counter

    @cyray.remote
    def f(counter):
        while True:
            counter.inc.remote()

    counter = Counter.remote()
    tasks = [f.remote(counter) for _ in range(4)]
    seen = [cyray.get(counter.get_counter.remote(), timeout=20) for _ in range(10)]
    assert seen == sorted(seen)
    eventually(lambda: cyray.get(counter.get_counter.remote(), timeout=20) > 100_000, 60)
    zygote = zygote_pid()
    for pid in children(zygote):
        assert resident_bytes(pid) < 500 * 1024**2, "calls in flight are bounded"
    del tasks


def resident_bytes(pid):
    with open(f"/proc/{pid}/statm") as file:
        return int(file.read().split()[1]) * 4096
