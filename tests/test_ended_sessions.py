"""What is said when a session is over, by shutdown or by its node's death, and Ctrl-C while it ends."""

from __future__ import annotations

import os
import signal

import numpy as np
import pytest
from support import Driver, eventually, is_running, raylet_pid

import cyray
from cyray import _raylet
from cyray.exceptions import LocalRayletDiedError, RayError
from cyray.test_utils import SignalActor

INTERRUPTED_AT_EXIT = """
    import atexit, os, signal, sys
    import cyray
    from cyray._driver import session
    from cyray._node.local import LocalNode

    signal.signal(signal.SIGINT, signal.default_int_handler)
    atexit.register(lambda: print("exit functions of the program run"))

    def interrupted(owner, name):
        plain = getattr(owner, name)
        def run(*args):
            for _ in range(2):
                os.kill(os.getpid(), signal.SIGINT)
            return plain(*args)
        setattr(owner, name, run)

    if sys.argv[1] == "cluster":
        from cyray.cluster_utils import Cluster
        cluster = Cluster(initialize_head=True)
        interrupted(LocalNode, "stop")
    else:
        cyray.init(num_cpus=1)
        @cyray.remote
        def f():
            print("printed by a task")
        cyray.get(f.remote())
        owner = {"end": session.Session, "stop": LocalNode, "call_waiting": session}[sys.argv[1]]
        interrupted(owner, sys.argv[1])
"""


@pytest.mark.parametrize("where", ["end", "stop", "call_waiting", "cluster"])
def test_ctrl_c_while_a_driver_ends_leaves_nothing_and_says_nothing(tmp_path, where):
    driver = Driver(tmp_path, INTERRUPTED_AT_EXIT, where)
    out, err = driver.finish(code=-signal.SIGINT)
    assert out.endswith("exit functions of the program run\n") and err == ""
    assert ("printed by a task" in out) == (where != "cluster")


def test_what_outlived_its_session_says_that_it_is_over_and_what_to_do():
    cyray.init(num_cpus=1)
    ref, actor = cyray.put([1, 2]), SignalActor.remote()

    def all_say(what_to_do):
        for use in (
            lambda: cyray.get(ref),
            lambda: cyray.wait([ref]),
            lambda: ref.hex(),
            lambda: actor.send.remote(),
            lambda: cyray.kill(actor),
        ):
            with pytest.raises((RuntimeError, RayError, ValueError)) as caught:
                use()
            assert "belongs to a cyray session that was shut down, and is gone" in str(caught.value)
            assert str(caught.value).endswith(what_to_do)

    cyray.shutdown()
    all_say("call cyray.init() and make it anew")
    assert not cyray.is_initialized()
    cyray.init(num_cpus=1)
    all_say("make it anew in the present one")
    cyray.shutdown()
    with pytest.raises(RuntimeError, match=r"not connected to a node: call cyray\.init\(\) first"):
        _raylet.identity()


def test_after_the_nodes_death_every_call_says_that_the_session_is_over():
    context = cyray.init(num_cpus=1)
    actor = SignalActor.remote()
    waiting = actor.wait.remote()
    ready = actor.cur_num_waiters.remote()
    cyray.get(ready)

    @cyray.remote
    def f():
        return 1

    pid = raylet_pid()
    os.kill(pid, signal.SIGKILL)
    eventually(lambda: not is_running(pid))
    for use in (
        lambda: cyray.get(waiting, timeout=20),
        lambda: cyray.get(f.remote(), timeout=20),
        lambda: cyray.get(actor.send.remote(), timeout=20),
        lambda: cyray.get(SignalActor.remote().send.remote(), timeout=20),
        lambda: cyray.put(np.zeros(1_000_000)),
        lambda: cyray.nodes(),
        lambda: cyray.get_actor("x"),
        lambda: cyray.kill(actor),
    ):
        with pytest.raises(LocalRayletDiedError) as caught:
            use()
        text = str(caught.value)
        assert (
            "raylet of this node died, and the session is over: cyray.shutdown() and then" in text
        )
        assert f"{context['session_dir']}/logs" in text
    cyray.shutdown()
    cyray.init(num_cpus=1)
    assert cyray.get(f.remote(), timeout=20) == 1
