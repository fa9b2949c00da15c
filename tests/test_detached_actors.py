"""Detached actors: what outlives a driver, what goes with it, and what becomes of their arguments."""

from __future__ import annotations

import os

import pytest
from support import Driver, eventually, is_running, run_driver

import cyray
from cyray.actor import exit_actor

pytestmark = pytest.mark.usefixtures("shared_session")


def test_a_detached_actor_lives_until_it_is_killed():
    @cyray.remote
    class Actor:
        def pid(self):
            return os.getpid()

    actor = Actor.options(name="detached", lifetime="detached").remote()
    pid = cyray.get(actor.pid.remote())
    del actor
    again = cyray.get_actor("detached")
    assert cyray.get(again.pid.remote()) == pid
    assert is_running(pid)
    cyray.kill(again)
    eventually(lambda: not is_running(pid), 3.0)


def test_a_detached_actor_survives_its_driver(tmp_path):
    run = """
        import sys
        import cyray

        cyray.init(address=sys.argv[1], namespace="shared")

        @cyray.remote
        class A:
            def __init__(self):
                self.n = 0

            def f(self):
                self.n += 1
                return self.n

        a = A.options(name="survivor", lifetime="detached", get_if_exists=True).remote()
        print(cyray.get(a.f.remote()))
    """
    address = cyray.get_runtime_context().gcs_address
    assert [run_driver(tmp_path, run, address)[0] for _ in range(3)] == ["1\n", "2\n", "3\n"]
    cyray.kill(cyray.get_actor("survivor", namespace="shared"))


def test_a_killed_detached_actor_lets_go_of_its_constructors_arguments():
    from cyray import _raylet

    @cyray.remote
    class Keeper:
        def __init__(self, value):
            self.value = value

        def size(self):
            return len(self.value)

    before = _raylet.live_objects()
    keeper = Keeper.options(lifetime="detached").remote(cyray.put(b"x" * 1_000_000))
    assert cyray.get(keeper.size.remote()) == 1_000_000
    assert _raylet.live_objects() > before, "a restart needs them"
    cyray.kill(keeper)
    del keeper
    eventually(lambda: _raylet.live_objects() <= before)


def test_a_detached_actor_that_ends_by_itself_lets_go_of_its_constructors_arguments():
    from cyray import _raylet

    @cyray.remote(lifetime="detached")
    class Leaver:
        def __init__(self, value):
            self.value = value

        def leave(self):
            exit_actor()

    before = _raylet.live_objects()
    leaver = Leaver.remote(cyray.put(b"x" * 1_000_000))
    with pytest.raises(cyray.exceptions.RayActorError):
        cyray.get(leaver.leave.remote(), timeout=20)
    eventually(lambda: _raylet.live_objects() <= before, 20, "what its constructor needed has gone")


def test_tasks_of_a_detached_actor_go_on_when_its_driver_leaves(tmp_path):
    driver = Driver(
        tmp_path,
        """
        import os, sys
        import cyray

        cyray.init(address=sys.argv[1], namespace="shared")

        @cyray.remote(num_cpus=0)
        class Boss:
            def run(self, count):
                @cyray.remote
                def work(i):
                    return i

                return sum(cyray.get([work.remote(i) for i in range(count)]))

        @cyray.remote
        def hold():
            import threading
            threading.Event().wait()

        # All CPUs are taken: what the actor asks for now waits beyond the end of this driver.
        held = [hold.remote() for _ in range(int(cyray.cluster_resources()["CPU"]))]
        boss = Boss.options(name="boss", lifetime="detached").remote()
        boss.run.remote(10)
        from cyray import _raylet
        while not _raylet.pending_demands():
            cyray.wait(held, timeout=0.01)
        """,
        cyray.get_runtime_context().gcs_address,
    )
    driver.finish()
    boss = cyray.get_actor("boss", namespace="shared")
    # It runs one call at a time: this one when that of the driver that left is done.
    assert cyray.get(boss.run.remote(100), timeout=30) == sum(range(100))
    cyray.kill(boss)


def test_actors_of_a_detached_actor_outlive_the_job_that_made_it(tmp_path):
    driver = Driver(
        tmp_path,
        """
        import sys
        import cyray

        cyray.init(address=sys.argv[1], namespace="shared")

        @cyray.remote(num_cpus=0)
        class Child:
            def echo(self, x):
                return x

        @cyray.remote(num_cpus=0)
        class Parent:
            def __init__(self):
                self.children = []

            def bear(self):
                self.children.append(Child.remote())
                return cyray.get(self.children[-1].echo.remote(len(self.children)))

            def ask(self):
                return cyray.get([child.echo.remote(7) for child in self.children])

        parent = Parent.options(name="parent", lifetime="detached").remote()
        assert cyray.get(parent.bear.remote()) == 1
        """,
        cyray.get_runtime_context().gcs_address,
    )
    driver.finish()
    parent = cyray.get_actor("parent", namespace="shared")
    assert cyray.get(parent.bear.remote(), timeout=20) == 2
    assert cyray.get(parent.ask.remote(), timeout=20) == [7, 7]
    cyray.kill(parent)


def test_a_detached_actor_dies_when_its_arguments_will_never_be(gate, tmp_path):
    run = """
        import sys
        import cyray

        cyray.init(address=sys.argv[1], namespace="shared")

        @cyray.remote
        def wait_for_gate():
            open(sys.argv[2]).close()

        @cyray.remote
        class Actor:
            def __init__(self, value):
                pass

            def f(self):
                return 1

        Actor.options(name="orphan", lifetime="detached").remote(wait_for_gate.remote())
        print(cyray.util.list_named_actors())
    """
    address = cyray.get_runtime_context().gcs_address
    assert run_driver(tmp_path, run, address, gate.path)[0] == "['orphan']\n"
    named = {"name": "orphan", "namespace": "shared"}
    eventually(lambda: named not in cyray.util.list_named_actors(all_namespaces=True))
