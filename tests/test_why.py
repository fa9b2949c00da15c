"""A driver that waits is told why: after a while on stderr, once, and in a GetTimeoutError."""

from __future__ import annotations

import json
import os
import textwrap

import pytest
from support import WATCHED_DRIVER, Driver, Gate, command, eventually, node_state, run_driver

import cyray
from cyray import _raylet
from cyray.exceptions import GetTimeoutError
from cyray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

SOON = {"CYRAY_WAIT_NOTICE_S": "0.1"}


def driver_of(tmp_path, source, *args, **env):
    """A program that waits for what it is told on stderr."""
    return run_driver(tmp_path, WATCHED_DRIVER + textwrap.dedent(source), *args, **{**SOON, **env})


HOLDER = """
    cyray.init(num_cpus=1)

    @cyray.remote(num_cpus=1)
    class Holder:
        def ready(self):
            return True

    @cyray.remote
    def wants_a_cpu():
        return 1

    holder = Holder.remote()
    cyray.get(holder.ready.remote())
    threading.Thread(target=lambda: cyray.get(wants_a_cpu.remote()), daemon=True).start()
    sys.stderr.await_text("as long as that lives")
"""


def test_a_task_that_waits_for_a_cpu_names_who_holds_it(tmp_path):
    _, err = driver_of(tmp_path, HOLDER)
    assert "cyray: get() has waited for 0." in err
    assert "for 1 of 1 objects:" in err
    assert "wants_a_cpu waits for CPU: 1:" in err
    assert "CPU: 1 is held since" in err
    assert "by the actor Holder (pid " in err
    assert err.count("has waited for") == 1  # once a wait


def test_nothing_is_said_when_that_is_not_wanted(tmp_path):
    _, err = run_driver(
        tmp_path,
        """
        import threading
        import cyray
        from cyray._driver import events

        cyray.init(num_cpus=1)

        @cyray.remote(num_cpus=2)
        def f():
            return 1

        @cyray.remote
        def g():
            return 1

        ref = f.remote()
        assert cyray.wait([ref], timeout=1.5)[0] == []
        cyray.cancel(ref)
        """,
        CYRAY_WAIT_NOTICE_S="0",
    )
    assert "has waited" not in err


def test_a_wait_for_a_placement_group_is_told_of_too(tmp_path):
    _, err = driver_of(
        tmp_path,
        """
        from cyray.util.placement_group import placement_group

        cyray.init(num_cpus=1)

        @cyray.remote(num_cpus=1)
        class Holder:
            def ready(self):
                return True

        holder = Holder.remote()
        cyray.get(holder.ready.remote())
        for cpus in (1, 2):
            group = placement_group([{"CPU": cpus}], name=f"of {cpus}")
            threading.Thread(target=lambda group=group: group.wait(60), daemon=True).start()
            sys.stderr.await_text(f"for the placement group 'of {cpus}':")
            sys.stderr.await_text(["is held since", "it waits for more nodes"][cpus - 1])
        """,
    )
    assert "cyray: wait() has waited for 0." in err
    assert "its bundle 0 waits for CPU: 1:" in err and "by the actor Holder (pid " in err
    assert err.count("has waited for") == 2  # once a wait


@pytest.mark.slow
def test_the_gcs_is_not_called_silent_while_a_group_waits(tmp_path):
    _, err = run_driver(
        tmp_path,
        """
        import cyray
        from cyray.util.placement_group import placement_group

        cyray.init(num_cpus=1)
        assert not placement_group([{"CPU": 2}], name="large").wait(6)
        """,
    )
    assert "for the placement group 'large'" in err and "still waiting for the GCS" not in err


def test_wait_and_await_are_told_of_too(tmp_path):
    _, err = driver_of(
        tmp_path,
        """
        import asyncio

        cyray.init(num_cpus=1)

        @cyray.remote(resources={"Nowhere": 1})
        def never():
            pass

        ref = never.remote()

        async def main():
            task = asyncio.ensure_future(ref)
            await asyncio.to_thread(sys.stderr.await_text, "refs were awaited for")
            await asyncio.to_thread(sys.stderr.await_text, "no node has as much as Nowhere: 1")
            task.cancel()

        asyncio.run(main())
        threading.Thread(target=lambda: cyray.wait([ref]), daemon=True).start()
        sys.stderr.await_text("wait() has waited for")
        """,
    )
    assert "never waits for CPU: 1, Nowhere: 1:" in err


def test_a_timeout_says_why(one_cpu, gate):
    path = gate.path

    @cyray.remote
    def at_the_gate():
        open(path).close()
        return 1

    @cyray.remote
    def after(x):
        return x

    first = at_the_gate.remote()
    ref = after.remote(first)
    eventually(lambda: "at_the_gate" in json.dumps(_everything()["running"]))
    with pytest.raises(GetTimeoutError) as caught:
        cyray.get(ref, timeout=0.05)
    text = str(caught.value)
    assert "after waits for its arguments:" in text
    assert "at_the_gate has run for" in text and "in the worker pid" in text
    gate.open()
    assert cyray.get(ref) == 1


def _everything():
    answer = json.loads(_raylet.node_dump(everywhere=True))
    processes = [p for node in answer["nodes"] for p in node["processes"]]
    return {"answer": answer, "running": [p["running"] for p in processes], "processes": processes}


def test_every_process_says_what_it_does(one_cpu):
    everything = _everything()
    assert everything["answer"]["silent_nodes"] == []
    drivers = [p for p in everything["processes"] if p["driver"]]
    assert [p["pid"] for p in drivers] == [os.getpid()]


@pytest.fixture
def one_cpu():
    cyray.init(num_cpus=1)
    yield
    cyray.shutdown()


def timeout_of(ref):
    """What a `get` in vain says, once it says that there is a cycle."""

    def look():
        with pytest.raises(GetTimeoutError) as caught:
            cyray.get(ref, timeout=0.02)
        text = str(caught.value)
        return text if "cycle" in text else ""

    return eventually(look, 20)


@cyray.remote
class Caller:
    def __init__(self):
        self.me = self.other = None

    def meet(self, me, other):
        self.me, self.other = me, other

    def pong(self):
        return 1

    def call_itself(self):
        return cyray.get(self.me.pong.remote())

    def call_other(self):
        return cyray.get(self.other.call_back.remote())

    def call_back(self):
        return cyray.get(self.other.pong.remote())


def test_a_call_behind_a_save_is_told_of(one_cpu, gate):
    @cyray.remote(max_restarts=-1, max_task_retries=-1, checkpoint=1)
    class Slow:
        def __init__(self, path):
            self.path = path

        def __cyray_save__(self):
            open(self.path).close()
            return 1

        def __cyray_restore__(self, state):
            pass

        def call(self):
            return 1

    slow = Slow.remote(gate.path)
    assert cyray.get(slow.call.remote()) == 1
    eventually(lambda: [p for p in _everything()["processes"] if "saving_ms" in p], 10)
    ref = slow.call.remote()

    def told():
        with pytest.raises(GetTimeoutError) as caught:
            cyray.get(ref, timeout=0.05)
        return "call waits for the actor Slow (pid " in str(caught.value) and str(caught.value)

    assert "which has been saving its state for 0." in eventually(told)
    gate.open()
    assert cyray.get(ref) == 1
    cyray.kill(slow)


@pytest.mark.parametrize("node_id", ["ab" * 20, "00" * 20])
def test_a_node_that_nobody_knows_is_said_to_be_unknown(one_cpu, node_id):
    @cyray.remote(scheduling_strategy=NodeAffinitySchedulingStrategy(node_id, soft=False))
    def there():
        pass

    ref = there.remote()
    with pytest.raises(GetTimeoutError) as caught:
        cyray.get(ref, timeout=0.05)
    assert f"there waits for CPU: 1 on node {node_id[:8]}:" in str(caught.value)
    assert f"node {node_id[:8]} is not one of those that are known (yet)" in str(caught.value)
    cyray.cancel(ref)


def test_an_actor_that_calls_itself_and_waits_is_a_cycle(one_cpu):
    actor = Caller.remote()
    cyray.get(actor.meet.remote(actor, None))
    text = timeout_of(actor.call_itself.remote())
    assert "Caller.call_itself (the actor Caller (pid" in text
    assert "waits for Caller.pong" in text
    cyray.kill(actor)


def test_two_actors_that_call_each_other_and_wait_are_a_cycle(one_cpu):
    one, two = Caller.remote(), Caller.remote()
    cyray.get([one.meet.remote(one, two), two.meet.remote(two, one)])
    text = timeout_of(one.call_other.remote())
    assert "Caller.call_other" in text and "Caller.call_back" in text and "Caller.pong" in text
    cyray.kill(one)
    cyray.kill(two)


def test_an_actor_that_waits_for_what_it_holds_is_a_cycle(one_cpu):
    @cyray.remote
    def needs_a_cpu():
        return 1

    @cyray.remote(num_cpus=1)
    class Greedy:
        def run(self):
            return cyray.get(needs_a_cpu.remote())

    greedy = Greedy.remote()
    text = timeout_of(greedy.run.remote())
    assert "Greedy.run" in text and "needs_a_cpu" in text
    cyray.kill(greedy)


def test_an_actor_that_finds_no_place_says_what_it_waits_for(one_cpu):
    @cyray.remote(num_cpus=1)
    class Holder:
        def pong(self):
            return 1

    first = Holder.remote()
    assert cyray.get(first.pong.remote()) == 1
    second = Holder.remote()
    ref = second.pong.remote()
    eventually(lambda: any(p.get("actor") for p in node_state()["leases"]["pending"]))

    def look():
        with pytest.raises(GetTimeoutError) as caught:
            cyray.get(ref, timeout=0.02)
        return "is held since" in str(caught.value) and str(caught.value)

    text = eventually(look)
    assert "waits for the actor Holder" in text
    assert "by the actor Holder (pid" in text


def test_another_programs_tasks_are_named_as_such(tmp_path):
    text = command("start", "--head", "--port=0", "--num-cpus=1")
    address = text.split("--address='")[1].split("'")[0]
    other = tmp_path / "other"
    other.mkdir()
    gate = Gate(other)
    hog = Driver(
        other,
        """
        import sys
        import cyray

        cyray.init(address=sys.argv[1])

        @cyray.remote
        def hog(path):
            print("hogs", flush=True)
            open(path).close()

        cyray.get(hog.remote(sys.argv[2]))
        """,
        address,
        gate.path,
    )
    try:
        cyray.init(address=address)
        eventually(lambda: node_state()["resources"]["available"].get("CPU", 0) == 0, 20)

        @cyray.remote
        def mine():
            return 1

        ref = mine.remote()

        def look():
            with pytest.raises(GetTimeoutError) as caught:
                cyray.get(ref, timeout=0.02)
            return "of another program" in str(caught.value) and str(caught.value)

        said = eventually(look)
        assert "it runs hog for" in said and f"driver.py {address}" in said
        assert f"(pid {hog.pid})" in said
        report = command("status", "--address", address, "-v")
        assert "it runs hog for" in report and "hog has run for" in report
        gate.open()
        assert cyray.get(ref) == 1
    finally:
        gate.open()
        hog.finish()
        cyray.shutdown()
        command("stop")
        gate.close()


def test_a_full_store_names_its_largest_objects(tmp_path):
    cyray.init(num_cpus=1, object_store_memory=100 << 20)
    try:
        kept = [cyray.put(bytes(30 << 20)) for _ in range(2)]
        with pytest.raises(cyray.exceptions.ObjectStoreFullError) as caught:
            cyray.put(bytes(60 << 20))
        text = str(caught.value)
        assert "The largest objects there:" in text
        assert kept[0].hex() in text and kept[1].hex() in text
        assert f"owned by the driver pid {os.getpid()}" in text
    finally:
        cyray.shutdown()
