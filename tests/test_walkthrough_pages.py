"""Programs of the kind that Ray's walkthrough and its pages on tasks and actors show, start to end."""

from __future__ import annotations

import textwrap

import pytest
from support import children, eventually, run_driver


def run(tmp_path, source, **env):
    return run_driver(tmp_path, "import cyray as ray\n" + textwrap.dedent(source), **env)


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


def test_options_at_the_call(tmp_path):
    out, _ = run(
        tmp_path,
        """
        ray.init(num_cpus=6, num_gpus=1, resources={'Custom1': 1, 'Custom2': 2})

        @ray.remote(num_cpus=4)
        class Counter(object):
            def __init__(self):
                self.value = 0

            def increment(self):
                self.value += 1
                return self.value

        a1 = Counter._remote(num_cpus=1, resources={"Custom1": 1})
        a2 = Counter.options(num_cpus=2, resources={"Custom2": 1}).remote()
        print(ray.get([a1.increment.remote(), a2.increment.remote()]))

        @ray.remote
        def g():
            return ray.get_gpu_ids()

        print(ray.get(g.remote()))
        print(ray.get(g._remote(args=[], num_cpus=1, num_gpus=1)))
        print(ray.get(g.options(num_cpus=1, num_gpus=1).remote()))

        @ray.remote
        def f(n):
            return list(range(n))

        id1, id2 = f._remote(args=[2], num_return_vals=2)
        print(ray.get(id1), ray.get(id2))
        id1, id2 = f.options(num_returns=2).remote(2)
        print(ray.get(id1), ray.get(id2))
        """,
    )
    assert out.splitlines() == ["[1, 1]", "[]", "[0]", "[0]", "0 1", "0 1"]


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
        import fcntl

        @ray.remote
        def write_to_file(text):
            with open("my_data.txt.lock", "w") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX)
                with open("my_data.txt", "a") as file:
                    file.write(text)

        ray.init()
        ray.get([write_to_file.remote("hi there!\\n") for i in range(3)])
        with open("my_data.txt") as file:
            print(file.read(), end="")
        """,
    )
    assert out == "hi there!\n" * 3


def test_a_signal_frees_all_who_wait(tmp_path):
    out, _ = run(
        tmp_path,
        """
        from cyray.test_utils import SignalActor

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
        """,
        CYRAY_DEDUP_LOGS="0",
    )
    assert out.startswith("ready...\nset..\n")
    assert out.count("go!") == 4 and out.count("pid=") == 4


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
