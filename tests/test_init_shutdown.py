"""init and shutdown: arguments, addresses, twice, again and again, on their own, namespaces."""

from __future__ import annotations

import asyncio
import contextlib
import os
import pickle
import subprocess
import sys
import threading

import numpy as np
import pytest
from support import eventually, is_running, raylet_pid, run_driver, session_processes

import cyray
from cyray.exceptions import ActorHandleNotFoundError, RayError
from cyray.test_utils import SignalActor


def test_init_starts_and_shutdown_ends_everything():
    assert not cyray.is_initialized()
    context = cyray.init(num_cpus=1)
    assert cyray.is_initialized()
    pid = raylet_pid()
    assert is_running(pid)
    assert os.path.isdir(context["session_dir"])
    assert context.address_info["node_id"] == cyray.nodes()[0]["NodeID"]
    cyray.shutdown()
    assert not cyray.is_initialized()
    assert not is_running(pid)


def test_shutdown_can_be_called_at_any_time():
    cyray.shutdown()
    cyray.init(num_cpus=1)
    cyray.shutdown()
    cyray.shutdown()


def test_thirty_sessions_in_one_process():
    @cyray.remote
    def f(x):
        return x + 1

    threads = threading.active_count()
    for i in range(30):
        cyray.init(num_cpus=1)
        assert cyray.get(f.remote(i)) == i + 1
        cyray.shutdown()
    assert threading.active_count() <= threads + 1


INTERRUPTED = """
    import itertools, os, random, sys
    import cyray

    package = os.path.dirname(cyray.__file__)
    seed = random.randrange(1 << 30)
    print("seed", seed)

    def init(interrupted_at):
        # As a signal does: between any two lines of cyray's, or just after a function has returned.
        steps = itertools.count()

        def trace(frame, event, arg):
            if not frame.f_code.co_filename.startswith(package):
                return None
            if event in ("line", "return") and next(steps) == interrupted_at:
                sys.settrace(None)
                raise KeyboardInterrupt
            return trace

        sys.settrace(trace)
        try:
            cyray.init(num_cpus=1, worker_preload=["colorsys"])
        finally:
            sys.settrace(None)
        return next(steps)

    @cyray.remote
    def f():
        return 1

    init(-1)  # all imports are done
    cyray.shutdown()
    total = init(-1)
    cyray.shutdown()
    for at in sorted(random.Random(seed).sample(range(total), 20)):
        try:
            init(at)
        except KeyboardInterrupt:
            pass
        cyray.shutdown()
        assert not cyray.is_initialized(), at
    cyray.init(num_cpus=1)
    assert cyray.get(f.remote()) == 1
    print("again")
"""


def test_an_interrupted_init_can_be_shut_down_and_repeated(tmp_path):
    assert run_driver(tmp_path, INTERRUPTED)[0].endswith("again\n")
    eventually(lambda: not session_processes(), 10, "nothing of the sessions runs")


def test_a_child_that_was_forked_in_the_midst_of_an_init_can_have_a_session_of_its_own():
    from cyray._driver import session

    held, go_on = threading.Event(), threading.Event()

    def hold():
        with session.lock:
            held.set()
            go_on.wait()

    holder = threading.Thread(target=hold)
    holder.start()
    held.wait()
    pid = os.fork()
    if pid == 0:
        os._exit(0 if session.lock.acquire(blocking=False) else 1)
    assert os.waitpid(pid, 0)[1] == 0
    go_on.set()
    holder.join()


def test_an_interrupt_while_modules_are_preloaded_ends_the_session(monkeypatch):
    def interrupt(node):
        assert cyray.is_initialized()
        raise KeyboardInterrupt

    monkeypatch.setattr("cyray._node.local.LocalNode.tell_of_imports", interrupt)
    with pytest.raises(KeyboardInterrupt):
        cyray.init(num_cpus=1, worker_preload=["colorsys"])
    assert not cyray.is_initialized()
    cyray.init(num_cpus=1)


def test_an_interrupted_shutdown_is_finished_by_the_next_one_or_by_init(monkeypatch):
    def interrupt(node):
        raise KeyboardInterrupt

    for _ in range(2):
        cyray.init(num_cpus=1)
        pid = raylet_pid()
        with monkeypatch.context() as patch:
            patch.setattr("cyray._node.local.LocalNode.stop", interrupt)
            with pytest.raises(KeyboardInterrupt):
                cyray.shutdown()
    cyray.shutdown()
    assert not is_running(pid)


def test_futures_learn_of_an_interrupted_shutdown_though_the_next_init_fails(monkeypatch):
    def interrupt(node):
        raise KeyboardInterrupt

    cyray.init(num_cpus=1)
    future = SignalActor.remote().wait.remote().future()
    with monkeypatch.context() as patch:
        patch.setattr("cyray._node.local.LocalNode.stop", interrupt)
        with pytest.raises(KeyboardInterrupt):
            cyray.shutdown()
    with pytest.raises(ConnectionError):
        cyray.init(address="127.0.0.1:9")
    with pytest.raises(RuntimeError):
        future.result(timeout=10)
    cyray.shutdown()


def test_all_callbacks_are_called_at_shutdown_whatever_one_of_them_raises():
    cyray.init(num_cpus=1)
    called = []

    def fail(error):
        called.append(error)
        raise error

    for error in (SystemExit(1), KeyboardInterrupt(), ValueError("mine")):
        future = SignalActor.remote().wait.remote().future()
        future.add_done_callback(lambda _, error=error: fail(error))
    with pytest.raises(KeyboardInterrupt):
        cyray.shutdown()
    assert len(called) == 3
    assert not cyray.is_initialized()


def test_a_callback_at_shutdown_may_wait_for_a_thread_that_uses_cyray():
    cyray.init(num_cpus=1)
    never = SignalActor.remote().wait.remote()
    ended = []

    def callback(future):
        other = threading.Thread(target=cyray.shutdown)
        other.start()
        other.join(20)
        ended.append(not other.is_alive())

    never.future().add_done_callback(callback)
    cyray.shutdown()
    assert ended == [True]


def test_preloads_of_a_running_cluster_are_refused_by_name(cluster):
    cluster.add_node()
    with pytest.raises(ValueError, match="worker_preload must not be provided"):
        cyray.init(address=cluster.address, worker_preload=["colorsys"])
    assert not cyray.is_initialized()
    cyray.init(address=cluster.address)


def test_an_unknown_argument_is_named():
    with pytest.raises(
        RuntimeError, match=r"Unknown .*: num_cpu\. Did you mean num_cpus\? There are address"
    ):
        cyray.init(num_cpu=1)
    assert not cyray.is_initialized()


def test_arguments_of_old_programs_are_taken():
    cyray.init(num_cpus=1, include_webui=False, driver_object_store_memory=10**8)
    assert cyray.cluster_resources()["CPU"] == 1


def test_an_old_name_of_the_address_counts_when_it_is_given():
    with pytest.raises(ValueError, match="redis_address is an old name"):
        cyray.init(address="local", redis_address="auto")
    with pytest.raises(ConnectionError, match="Could not find any running"):
        cyray.init(address="auto", redis_address=None)


def test_a_program_may_have_arguments_that_are_no_text(tmp_path):
    source = """
        import cyray
        from cyray import _raylet

        cyray.init(num_cpus=1)
        print(_raylet.list_jobs()[0]["entrypoint"])
    """
    out, _ = run_driver(tmp_path, source, os.fsdecode(b"caf\xe9"))
    assert out.endswith("driver.py caf?\n")


def test_init_twice_is_an_error_unless_told_otherwise():
    cyray.init(num_cpus=1)
    with pytest.raises(RuntimeError, match="twice by accident"):
        cyray.init(num_cpus=1)
    context = cyray.init(num_cpus=7, ignore_reinit_error=True)
    assert context["node_id"] == cyray.nodes()[0]["NodeID"]
    assert cyray.cluster_resources()["CPU"] == 1


def test_resources_are_as_given_not_as_the_machine_has_them():
    cyray.init(num_cpus=8, num_gpus=4, resources={"Custom": 2}, memory=10**9)
    total = cyray.cluster_resources()
    assert (total["CPU"], total["GPU"], total["Custom"]) == (8, 4, 2)
    assert total["memory"] == 10**9
    assert cyray.available_resources()["Custom"] == 2


def test_cpus_are_detected():
    cyray.init()
    assert cyray.cluster_resources()["CPU"] == len(os.sched_getaffinity(0))


def test_the_context_ends_the_session_when_used_in_with():
    with cyray.init(num_cpus=1) as context:
        assert cyray.is_initialized()
        assert context["session_dir"]
    assert not cyray.is_initialized()


def test_a_node_is_described_with_rays_keys():
    cyray.init(num_cpus=1)
    (node,) = cyray.nodes()
    for key in (
        "NodeID", "Alive", "NodeManagerAddress", "NodeManagerHostname", "NodeManagerPort",
        "ObjectManagerPort", "ObjectStoreSocketName", "RayletSocketName", "Resources", "alive",
    ):  # fmt: skip
        assert key in node
    assert node["Alive"] and node["alive"]
    assert node["Resources"]["CPU"] == 1
    assert os.path.exists(node["RayletSocketName"])


def test_questions_before_init_are_refused():
    for question in (cyray.nodes, cyray.cluster_resources, cyray.available_resources):
        with pytest.raises(cyray.exceptions.RaySystemError, match="has not been started"):
            question()


def test_an_address_without_cluster_is_a_connection_error():
    for address in ("auto", "127.0.0.1:1"):
        with pytest.raises(ConnectionError):
            cyray.init(address=address)
    with pytest.raises(ValueError):
        cyray.init(address="nonsense")


def test_an_empty_namespace_is_refused():
    with pytest.raises(ValueError, match="not a valid namespace"):
        cyray.init(namespace="", num_cpus=1)


def test_the_namespace_is_as_given_or_one_of_its_own():
    cyray.init(num_cpus=1, namespace="mine")
    assert cyray.get_runtime_context().namespace == "mine"
    cyray.shutdown()
    cyray.init(num_cpus=1)
    first = cyray.get_runtime_context().namespace
    cyray.shutdown()
    cyray.init(num_cpus=1)
    assert first and first != cyray.get_runtime_context().namespace


def test_refs_of_an_ended_session_say_so():
    cyray.init(num_cpus=1)
    ref = cyray.put([1, 2])
    cyray.shutdown()
    assert "shut down" in repr(ref)
    cyray.init(num_cpus=1)
    with pytest.raises(RuntimeError, match="shut down"):
        cyray.get(ref)
    other = cyray.put([1, 2])
    known = {ref: "old", other: "new"}  # it is a value still, and no other session's
    assert ref == ref and ref != other and known.pop(ref) == "old"
    del ref  # After its session, and while another runs: nothing happens.
    assert cyray.get(cyray.put(1)) == 1


def test_a_new_session_takes_functions_and_classes_as_they_are_then():
    values = []

    @cyray.remote
    def f():
        return values

    @cyray.remote
    class A:
        def f(self):
            return values

    for i in range(2):
        values.append(i)
        cyray.init(num_cpus=1)
        assert cyray.get([f.remote(), A.remote().f.remote()]) == [values, values]
        cyray.shutdown()


def test_programs_need_no_init(tmp_path):
    out, _ = run_driver(
        tmp_path,
        """
        import cyray

        @cyray.remote
        def f():
            return 42

        print(cyray.get(f.remote()), cyray.is_initialized())
        """,
    )
    assert out.split() == ["42", "True"]


def test_put_and_actors_start_a_session_too(tmp_path):
    out, _ = run_driver(
        tmp_path,
        """
        import cyray

        print(cyray.get(cyray.put(1)))
        cyray.shutdown()

        @cyray.remote
        class A:
            def f(self):
                return 2

        print(cyray.get(A.remote().f.remote()))
        """,
    )
    assert out.split() == ["1", "2"]


def test_auto_init_can_be_forbidden(tmp_path):
    out, _ = run_driver(
        tmp_path,
        """
        import cyray

        try:
            cyray.put(1)
        except RuntimeError as error:
            print(error)
        """,
        CYRAY_ENABLE_AUTO_CONNECT="0",
    )
    assert "call cyray.init() first" in out


def test_workers_run_in_the_drivers_folder_and_import_its_modules(tmp_path):
    (tmp_path / "neighbour.py").write_text("def value():\n    return 'from a neighbour'\n")
    out, _ = run_driver(
        tmp_path,
        """
        import os
        import cyray
        import neighbour

        @cyray.remote
        def where():
            return os.getcwd(), neighbour.value()

        print(*cyray.get(where.remote()), sep="\\n")
        """,
    )
    assert out.splitlines() == [str(tmp_path), "from a neighbour"]


def test_a_driver_whose_folder_was_removed_works(tmp_path):
    (tmp_path / "gone").mkdir()
    out, _ = run_driver(
        tmp_path,
        """
        import os
        os.chdir("gone")
        os.rmdir("../gone")
        import sys
        sys.path.insert(0, "")
        import cyray

        cyray.init(num_cpus=1, worker_preload=["json"])
        print(cyray.get(cyray.remote(abs).remote(-3)))
        """,
    )
    assert out == "3\n"


def test_the_environment_of_the_driver_reaches_its_workers(tmp_path):
    out, _ = run_driver(
        tmp_path,
        """
        import os
        import cyray

        @cyray.remote
        def f():
            return os.environ["CYRAY_TEST_VALUE"]

        print(cyray.get(f.remote()))
        """,
        CYRAY_TEST_VALUE="a value",
    )
    assert out == "a value\n"


def test_a_driver_that_ends_without_shutdown_leaves_nothing(tmp_path):
    out, _ = run_driver(
        tmp_path,
        """
        import cyray
        from cyray._driver import session

        cyray.init(num_cpus=1)
        print(session.current.node.pid)
        """,
    )
    eventually(lambda: not is_running(int(out)), 2.0, "the raylet has ended")


def test_preloaded_modules_are_there_before_the_first_task():
    cyray.init(num_cpus=1, worker_preload=["colorsys"])

    @cyray.remote
    def loaded():
        import sys

        return "colorsys" in sys.modules

    assert cyray.get(loaded.remote())


@pytest.mark.parametrize("given", ["numpy", [3], ["a,b"], {"numpy"}])
def test_what_are_no_module_names_is_refused(given):
    with pytest.raises((TypeError, ValueError), match="worker_preload"):
        cyray.init(worker_preload=given)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("namespace", 5),
        ("namespace", "\udc80"),
        ("log_to_driver", "no"),
        ("ignore_reinit_error", "yes"),
        ("cancel_on_interrupt", 1),
        ("num_cpus", "2"),
        ("memory", "1G"),
        ("object_store_memory", float("nan")),
    ],
)
def test_arguments_that_are_nothing_are_named(name, value):
    with pytest.raises((TypeError, ValueError), match=name):
        cyray.init(**{name: value})
    assert not cyray.is_initialized()


def test_the_environment_is_named_when_it_is_wrong(monkeypatch):
    monkeypatch.setenv("CYRAY_ADDRESS", "nowhere")
    with pytest.raises(ValueError, match="CYRAY_ADDRESS is 'nowhere'"):
        cyray.init()
    monkeypatch.setenv("CYRAY_ADDRESS", "127.0.0.1:1")
    with pytest.raises(ConnectionError, match=r"CYRAY_ADDRESS is '127.0.0.1:1'\. No node"):
        cyray.init()
    monkeypatch.delenv("CYRAY_ADDRESS")
    monkeypatch.setenv("CYRAY_SPIN_US", "many")
    with pytest.raises(ValueError, match="CYRAY_SPIN_US must be a number"):
        cyray.init()


def test_a_module_that_cannot_be_preloaded_is_reported_and_stops_nothing(capfd):
    cyray.init(num_cpus=1, worker_preload=["no_such_module_at_all"])
    assert "workers do not have 'no_such_module_at_all'" in capfd.readouterr().err

    @cyray.remote
    def f():
        return 1

    assert cyray.get(f.remote()) == 1


def test_modules_that_a_fork_does_not_keep_whole_are_reported(tmp_path, capfd, monkeypatch):
    (tmp_path / "starts_a_thread.py").write_text(
        "import threading, time\nthreading.Thread(target=time.sleep, args=(9,), daemon=True).start()\n"
    )
    (tmp_path / "leaves.py").write_text(
        "import sys\nsys.stderr.write('INFO: importing plugins\\n')\nsys.exit(3)\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    cyray.init(num_cpus=1, worker_preload=["starts_a_thread", "leaves"])
    told = capfd.readouterr().err
    assert "importing 'starts_a_thread' started 1 thread(s)" in told
    assert "workers do not have 'leaves': SystemExit: 3" in told
    assert "plugins" not in told, "what modules print is theirs"
    assert cyray.get(cyray.remote(lambda: 1).remote()) == 1


@pytest.mark.parametrize("closed", ["<&-", "2>&-", "<&- >&-", ">&- 2>&-", "<&- >&- 2>&-"])
def test_a_program_may_have_no_standard_streams(closed, tmp_path):
    program = (
        "import os, sys, cyray\n"
        "cyray.init(num_cpus=1)\n"
        "got = cyray.get(cyray.remote(lambda: 2).remote(), timeout=30)\n"
        "ours = [fd for fd in range(3) if 'socket' in os.readlink(f'/proc/self/fd/{fd}')]\n"
        "cyray.shutdown()\n"
        "os._exit(40 + got if not ours else 1)\n"
    )
    done = subprocess.run(
        ["sh", "-c", f'exec "$0" -c "$1" {closed}', sys.executable, program],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        timeout=50,
    )
    assert done.returncode == 42


def test_arrays_stay_readable_after_shutdown():
    cyray.init(num_cpus=1, object_store_memory=100 * 1024**2)
    kept = [cyray.get(cyray.put(np.full(500_000, float(i)))) for i in range(3)]
    part = cyray.get(cyray.put(np.arange(1_000_000)))[500_000:500_010]
    mine = cyray.get(cyray.put(np.zeros(500_000)), writable=True)
    mine[0] = 7.0
    mapped = resident_bytes()
    cyray.shutdown()
    for i, array in enumerate(kept):
        assert (array == i).all()
        assert not array.flags.writeable
    assert part.tolist() == list(range(500_000, 500_010))
    assert mine[0] == 7.0 and not mine[1:].any()
    mine[1:] = 8.0
    assert resident_bytes() < mapped + 10 * 1024**2, "what nobody reads is given back"


def resident_bytes():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * 4096


def test_arrays_of_a_cluster_that_goes_on_stay_as_they_were(tmp_path):
    out, _ = run_driver(
        tmp_path,
        """
        import numpy as np
        import cyray
        from cyray.cluster_utils import Cluster

        cluster = Cluster(
            initialize_head=True, head_node_args={"object_store_memory": 80 * 1024**2}
        )
        cyray.init(address=cluster.address)
        kept = cyray.get(cyray.put(np.full(4_000_000, 1.0)))
        mine = cyray.get(cyray.put(np.full(4_000_000, 1.0)), writable=True)
        cyray.shutdown()
        # Another driver writes all of the store's memory.
        cyray.init(address=cluster.address)
        others = [cyray.put(np.full(2_000_000, 2.0)) for _ in range(4)]
        print((kept == 1.0).all(), (mine == 1.0).all(), cyray.get(others[3])[0])
        cluster.shutdown()
        """,
    )
    assert out == "True True 2.0\n"


def test_threads_that_wait_are_told_of_the_shutdown():
    cyray.init(num_cpus=1)
    signal = SignalActor.remote()
    refs = [signal.wait.remote() for _ in range(4)]
    told = []

    def wait(call):
        with pytest.raises(RuntimeError, match="shut down"):
            call()
        told.append(True)

    calls = [
        lambda: cyray.get(refs[0]),
        lambda: cyray.get(refs),
        lambda: cyray.wait(refs),
        lambda: cyray.get(refs[1], timeout=30),
    ]
    threads = [threading.Thread(target=wait, args=(call,)) for call in calls]
    for thread in threads:
        thread.start()
    eventually(lambda: cyray.get(signal.cur_num_waiters.remote()) == 4)
    cyray.shutdown()
    cyray.init(num_cpus=1)
    for thread in threads:
        thread.join(20)
    assert told == [True] * 4
    assert cyray.get(cyray.put(1)) == 1


def test_threads_that_put_and_submit_are_told_of_the_shutdown():
    cyray.init(num_cpus=2)
    array = np.zeros(2_000_000)

    @cyray.remote
    def f(x):
        return x

    def work(call):
        with pytest.raises((RuntimeError, RayError)):
            while cyray.is_initialized():  # a call must not start a session of its own
                call()
            raise RuntimeError

    calls = [
        lambda: cyray.put(array),
        lambda: cyray.get(f.remote(1)),
        lambda: cyray.get([f.remote(array) for _ in range(4)]),
        cyray.nodes,
    ]
    with forbidden_auto_init():
        threads = [threading.Thread(target=work, args=(call,)) for call in calls]
        for thread in threads:
            thread.start()
        cyray.get([f.remote(i) for i in range(200)])
        cyray.shutdown()
        for thread in threads:
            thread.join(20)
            assert not thread.is_alive()


@contextlib.contextmanager
def forbidden_auto_init():
    os.environ["CYRAY_ENABLE_AUTO_CONNECT"] = "0"
    try:
        yield
    finally:
        del os.environ["CYRAY_ENABLE_AUTO_CONNECT"]


def test_futures_that_wait_are_told_of_the_shutdown():
    cyray.init(num_cpus=1)
    signal = SignalActor.remote()
    future = signal.wait.remote().future()

    async def main():
        waiting = signal.wait.remote().as_future()
        await signal.cur_num_waiters.remote()
        cyray.shutdown()
        await asyncio.wait_for(waiting, timeout=20)

    with pytest.raises(RuntimeError, match="shut down"):
        asyncio.run(main())
    with pytest.raises(RuntimeError, match="shut down"):
        future.result(timeout=20)


def test_refs_and_handles_of_an_ended_session_start_no_new_one():
    cyray.init(num_cpus=1)
    ref, signal = cyray.put([1, 2]), SignalActor.remote()
    pickled = pickle.dumps(ref), pickle.dumps(signal)
    cyray.shutdown()
    for use in (
        lambda: cyray.get(ref),
        lambda: cyray.get([ref]),
        lambda: cyray.wait([ref]),
        lambda: ref.future(),
        lambda: signal.send.remote(),
        lambda: signal.send.options(name="x").remote(),
        lambda: pickle.loads(pickled[0]),
        lambda: pickle.loads(pickled[1]),
    ):
        with pytest.raises(RuntimeError, match=r"shut down|cyray\.init"):
            use()
        assert not cyray.is_initialized()
    with pytest.raises(ActorHandleNotFoundError, match="shut down"):
        cyray.kill(signal)
    assert not cyray.is_initialized()


def test_init_in_a_task_is_refused_or_ignored():
    cyray.init(num_cpus=1)

    @cyray.remote
    def again():
        with contextlib.suppress(RuntimeError):
            cyray.init(num_cpus=3)
            return "it started another"
        context = cyray.init(ignore_reinit_error=True)
        cyray.shutdown()
        return context["node_id"], cyray.get(cyray.put(1))

    assert cyray.get(again.remote()) == (cyray.nodes()[0]["NodeID"], 1)
