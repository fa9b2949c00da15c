"""A node ends, however it ends: nothing that its workers started lives on, nothing stays in /dev/shm.

Several nodes end at a time, each in one of the ways that a program can end, while their workers'
children fork on. A short form here; 500 ends (or NODE_ENDS) beside busy loops in the soak run.
"""

from __future__ import annotations

import glob
import os
import signal
import subprocess
import sys
import textwrap
import time

import pytest
from support import eventually, is_running, session_processes

import cyray

WAYS = ("raise", "shutdown", "kill the driver", "kill the raylet", "drop the actor", "exit")
AT_ONCE = 4
LEFT_S = 40.0  # on a busy machine; a process that was forgotten is there for ever

DRIVER = """
    import multiprocessing, os, subprocess, sys, signal
    from concurrent.futures import ProcessPoolExecutor
    import cyray

    way = sys.argv[1]
    cyray.init(num_cpus=2, log_to_driver=False)

    @cyray.remote
    class Actor:
        def __init__(self):
            self.pool = ProcessPoolExecutor(2, mp_context=multiprocessing.get_context("fork"))

        def work(self):
            return list(self.pool.map(abs, range(5)))

        def fill_shm(self, name):
            from multiprocessing import shared_memory
            self.segment = shared_memory.SharedMemory(create=True, size=1000, name=name)
            # Of other contexts than this one it stays until a resource tracker removes it.
            multiprocessing.current_process()._config["semprefix"] = "/" + name
            self.semaphore = multiprocessing.get_context("spawn").Semaphore()
            return sorted(found for found in os.listdir("/dev/shm") if name in found)

    @cyray.remote
    def start_some():
        subprocess.Popen(["sh", "-c", "while :; do sleep 1000 & sleep 0.01; done"])
        subprocess.Popen(["sleep", "1000"], start_new_session=True)
        subprocess.run("sleep 1000 &", shell=True)

    actor = Actor.remote()
    _, filled, _ = cyray.get(
        [actor.work.remote(), actor.fill_shm.remote(sys.argv[2]), start_some.remote()]
    )
    assert [len(filled), filled[-1][:4]] == [2, "sem."], filled
    print("ready", flush=True)
    if way == "raise":
        raise ValueError("what the test asked for")
    if way == "shutdown":
        cyray.shutdown()
    if way == "kill the driver":
        os.kill(os.getpid(), signal.SIGKILL)
    if way == "kill the raylet":
        from cyray._driver import session
        os.kill(session.current.node.pid, signal.SIGKILL)
        os._exit(0)
    if way == "drop the actor":
        del actor
"""


def end_nodes(count):
    """Ends `count` nodes, some at a time; waits after each batch until nobody is left."""
    program = textwrap.dedent(DRIVER)
    for first in range(0, count, AT_ONCE):
        ways = [WAYS[n % len(WAYS)] for n in range(first, min(first + AT_ONCE, count))]
        names = [f"cyray_end_{os.getpid()}_{first + n}_" for n in range(len(ways))]
        drivers = [
            subprocess.Popen(
                [sys.executable, "-c", program, way, name],
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
            for way, name in zip(ways, names, strict=True)
        ]
        for way, driver in zip(ways, drivers, strict=True):
            out, err = driver.communicate(timeout=90)
            assert out == "ready\n", err
            code = {"raise": 1, "kill the driver": -signal.SIGKILL}.get(way, 0)
            assert driver.returncode == code, (way, err)
        eventually(lambda: not session_processes(), LEFT_S, f"nobody is left after {ways}")
        eventually(lambda names=names: not in_shm(names), LEFT_S, f"nothing in shm after {ways}")


def in_shm(names):
    """Segments and semaphores of these names."""
    return [path for name in names for path in glob.glob(f"/dev/shm/*{name}*")]


@pytest.mark.timeout(120)
def test_nothing_outlives_the_end_of_a_node():
    end_nodes(2 * len(WAYS))


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_nothing_outlives_500_ends_under_load():
    ends = int(os.environ.get("NODE_ENDS", "500"))
    busy = [subprocess.Popen([sys.executable, "-c", "while True: pass"], env={}) for _ in range(2)]
    try:
        end_nodes(ends)
    finally:
        for loop in busy:
            loop.kill()
            loop.wait()


def test_what_a_dead_worker_started_ends_and_the_node_goes_on():
    @cyray.remote
    class Actor:
        def start(self):
            import multiprocessing

            child = multiprocessing.get_context("fork").Process(target=signal_pause, daemon=True)
            child.start()
            own = subprocess.Popen(["sleep", "1000"], start_new_session=True)
            return child.pid, own.pid

    cyray.init(num_cpus=1)
    actor = Actor.remote()
    child, own = cyray.get(actor.start.remote(), timeout=20)
    cyray.kill(actor)
    eventually(lambda: not is_running(child), 10.0)
    assert is_running(own), "one that made a session of its own lives until the node ends"
    cyray.shutdown()
    eventually(lambda: not is_running(own), 10.0)


def signal_pause():
    import signal

    signal.pause()


def test_sigint_reaches_what_a_task_starts_and_interrupts_a_task_alone():
    @cyray.remote
    def start():
        child = subprocess.Popen(["sleep", "1000"])
        os.kill(child.pid, 2)
        return child.wait(20)

    @cyray.remote
    def interrupted():
        import _thread
        import time

        try:
            _thread.interrupt_main()
            time.sleep(20)
        except KeyboardInterrupt:
            return os.getpid()

    @cyray.remote(max_retries=0)
    def pid():
        return os.getpid()

    cyray.init(num_cpus=1)
    assert cyray.get(start.remote(), timeout=40) == -2
    worker = cyray.get(pid.remote(), timeout=40)
    asleep = cyray.remote(time.sleep).options(max_retries=0).remote(1000)  # no frame of Python's

    def interrupt():
        os.kill(worker, signal.SIGINT)  # it means nothing until the task has begun
        return cyray.wait([asleep], timeout=0.1)[0]

    eventually(interrupt, 40)
    with pytest.raises(cyray.exceptions.RayTaskError, match="KeyboardInterrupt"):
        cyray.get(asleep, timeout=40)
    worker = cyray.get(interrupted.remote(), timeout=40)
    os.kill(worker, 2)  # between tasks
    assert cyray.get(interrupted.remote(), timeout=40) == worker
