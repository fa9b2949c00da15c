"""SIGKILL to any process, at any moment, under load: work goes on, or everyone is told; nothing stays.

Each round chooses by its seed how many results arrive before the kill. Five rounds of each here, a
hundred in the soak run.
"""

from __future__ import annotations

import os
import random
import signal
import threading

import numpy as np
import pytest
import remote_code
from support import (
    Driver,
    children,
    eventually,
    gcs_pid,
    is_running,
    raylet_pid,
    session_processes,
    socket_files,
    zygote_pid,
)

import cyray
from cyray.exceptions import RayActorError, RayError

ROUNDS = [
    *range(5),
    *[pytest.param(seed, marks=pytest.mark.slow) for seed in range(5, 100)],
]
every_round = pytest.mark.parametrize("seed", ROUNDS)


def make_load():
    @cyray.remote
    def add(a, b):
        return a + b

    @cyray.remote
    def big(i):
        return np.full(200_000, float(i))

    return add, big


def run_load(seed, strike, count=300):
    """Submits `count` small and some large tasks, calls `strike` after some; checks all results."""
    add, big = make_load()
    choose = random.Random(seed)
    refs = [add.remote(i, 1) for i in range(count)]
    large = [big.remote(i) for i in range(6)]
    cyray.get(refs[choose.randrange(count)], timeout=20)
    strike()
    assert cyray.get(refs, timeout=30) == [i + 1 for i in range(count)]
    for i, array in enumerate(cyray.get(large, timeout=30)):
        assert array[0] == i
    assert cyray.get(add.remote(1, 2), timeout=20) == 3


@every_round
def test_a_worker_dies(seed):
    cyray.init(num_cpus=2)
    choose = random.Random(seed)

    def strike():
        workers = children(zygote_pid())
        os.kill(choose.choice(workers), signal.SIGKILL)

    run_load(seed, strike)


@every_round
def test_an_actors_process_dies(seed):
    cyray.init(num_cpus=2)
    choose = random.Random(seed)

    @cyray.remote(max_restarts=-1, max_task_retries=-1)
    class Adder:
        def pid(self):
            return os.getpid()

        def add(self, a, b):
            return a + b

    actor = Adder.remote()
    pid = cyray.get(actor.pid.remote())
    refs = [actor.add.remote(i, 1) for i in range(300)]
    cyray.get(refs[choose.randrange(300)], timeout=20)
    os.kill(pid, signal.SIGKILL)
    assert cyray.get(refs, timeout=30) == [i + 1 for i in range(300)]
    assert cyray.get(actor.pid.remote(), timeout=20) != pid


@every_round
def test_the_zygote_dies(seed):
    cyray.init(num_cpus=2)
    before = zygote_pid()
    run_load(seed, lambda: os.kill(before, signal.SIGKILL))
    eventually(lambda: zygote_pid() != before, 10)

    @cyray.remote
    class A:
        def f(self):
            return 1

    assert cyray.get([A.remote().f.remote() for _ in range(3)], timeout=20) == [1] * 3


@every_round
def test_the_gcs_dies(seed):
    cyray.init(num_cpus=2)

    kept = remote_code.Counter.options(name="kept").remote()
    assert cyray.get(kept.increment.remote()) == 1
    before = gcs_pid()
    run_load(seed, lambda: os.kill(before, signal.SIGKILL))
    assert cyray.get(kept.increment.remote(), timeout=20) == 2
    # Whatever was acknowledged is there, and new actors start.
    assert cyray.get_actor("kept") == kept
    another = remote_code.Counter.remote()
    assert cyray.get(another.increment.remote(), timeout=20) == 1
    assert gcs_pid() != before


@every_round
def test_the_gcs_dies_while_actors_are_made(seed):
    cyray.init(num_cpus=2)
    choose = random.Random(seed)

    @cyray.remote
    class A:
        def f(self, x):
            return x

    actors = [A.remote() for _ in range(6)]
    refs = [actor.f.remote(i) for i, actor in enumerate(actors)]
    if choose.random() < 0.7:
        cyray.wait(refs, num_returns=choose.randrange(1, 4), timeout=20)
    os.kill(gcs_pid(), signal.SIGKILL)
    assert cyray.get(refs, timeout=30) == list(range(6))


@every_round
def test_the_raylet_dies(seed):
    cyray.init(num_cpus=2)
    choose = random.Random(seed)
    add, _ = make_load()

    @cyray.remote
    def hold():
        threading.Event().wait()

    refs = [add.remote(i, 1) for i in range(300)]
    held = [hold.remote() for _ in range(2)]
    cyray.get(refs[choose.randrange(300)], timeout=20)
    pid = raylet_pid()
    os.kill(pid, signal.SIGKILL)
    with pytest.raises((RayError, ConnectionError, RuntimeError)) as caught:
        cyray.get(held, timeout=20)
    assert not isinstance(caught.value, TimeoutError), caught.value
    eventually(lambda: not session_processes(), 10, "nothing of the session runs")
    eventually(lambda: not socket_files(), 10, "no socket file is left")
    cyray.shutdown()
    cyray.init(num_cpus=1)
    assert cyray.get(add.remote(1, 2), timeout=20) == 3


DRIVER = """
    import sys
    import numpy as np
    import cyray

    cyray.init(num_cpus=2)

    @cyray.remote
    def work(i):
        return np.full(100_000, float(i)) if i % 10 == 0 else i

    @cyray.remote
    class A:
        def f(self, x):
            return x

    actors = [A.remote() for _ in range(2)]
    detached = A.options(name="d", lifetime="detached").remote()
    print("started", flush=True)
    done = 0
    while True:
        refs = [work.remote(i) for i in range(50)] + [a.f.remote(1) for a in actors]
        cyray.get(refs)
        done += 1
        print(done, flush=True)
"""


@every_round
def test_the_driver_dies(seed, tmp_path):
    choose = random.Random(seed)
    driver = Driver(tmp_path, DRIVER)
    for _ in range(choose.randrange(8)):
        driver.line()
    os.kill(driver.pid, signal.SIGKILL)
    driver.process.wait()
    eventually(lambda: not session_processes(), 2.0, "nothing of the session runs")
    eventually(lambda: not socket_files(), 2.0, "no socket file is left")
    driver.kill()


STARTER = """
    import signal
    import subprocess
    import sys
    import cyray

    cyray.init(num_cpus=1)

    @cyray.remote
    def start():  # one that keeps its parent, one that leaves it and the process group
        subprocess.Popen(["sleep", "1000"], stdout=subprocess.DEVNULL)
        subprocess.run("setsid sleep 1000 >/dev/null 2>&1 &", shell=True)

    cyray.get(start.remote())
    print("started", flush=True)
    if sys.argv[1:] == ["shutdown"]:
        cyray.shutdown()
        print("done", flush=True)
    signal.pause()
"""


def sleepers():
    return [line for line in session_processes().values() if line.startswith("sleep 1000")]


@pytest.mark.parametrize("end", ["the driver is killed", "the raylet is killed", "shutdown"])
def test_what_tasks_started_ends_with_the_node(end, tmp_path):
    driver = Driver(tmp_path, STARTER, end)
    assert driver.line() == "started"
    if end == "shutdown":
        assert driver.line() == "done"
    else:
        eventually(lambda: len(sleepers()) == 2)
        os.kill(driver.pid if "driver" in end else children(driver.pid)[0], signal.SIGKILL)
    eventually(lambda: not sleepers(), 2.0, "nothing runs on")
    driver.kill()


@every_round
def test_one_of_two_drivers_dies(seed, tmp_path):
    cyray.init(num_cpus=2)
    choose = random.Random(seed)
    program = DRIVER.replace("num_cpus=2", "address=sys.argv[1]").replace(
        'options(name="d", lifetime="detached").', ""
    )
    driver = Driver(tmp_path, program, cyray.get_runtime_context().gcs_address)
    for _ in range(1 + choose.randrange(5)):
        driver.line()
    driver.kill()
    add, _ = make_load()
    assert cyray.get([add.remote(i, i) for i in range(100)], timeout=20) == [
        2 * i for i in range(100)
    ]
    eventually(
        lambda: cyray.available_resources().get("CPU") == 2, 5, "the dead driver's CPUs are free"
    )


def test_a_caller_dies_and_its_actor_goes_on():
    cyray.init(num_cpus=2)

    @cyray.remote
    class Caller:
        def pid(self):
            return os.getpid()

        def call(self, counter):
            while True:
                cyray.get(counter.increment.remote())

    counter, caller = remote_code.Counter.remote(), Caller.remote()
    pid = cyray.get(caller.pid.remote())
    calling = caller.call.remote(counter)
    eventually(lambda: cyray.get(counter.increment.remote()) > 50)
    os.kill(pid, signal.SIGKILL)
    with pytest.raises(RayActorError):
        cyray.get(calling, timeout=10)
    assert cyray.get(counter.increment.remote(), timeout=10) > 50
    eventually(lambda: not is_running(pid))
