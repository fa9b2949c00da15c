"""Workers are forks of the zygote: what they must not share, and what they must have."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys

import pytest
from support import eventually, is_running, zygote_pid

import cyray

pytestmark = pytest.mark.usefixtures("shared_session")

INIT = {"num_cpus": 2, "worker_preload": ["numpy", "random", "colorsys"]}


def actors(count, **methods):
    cls = cyray.remote(type("Probe", (), methods))
    return [cls.remote() for _ in range(count)]


def test_random_state_differs_between_workers():
    def numbers(self):
        import numpy

        return (
            random.random(),
            float(numpy.random.random()),
            os.urandom(4).hex(),
            float(numpy.random.default_rng().random()),
        )

    results = cyray.get([a.numbers.remote() for a in actors(4, numbers=numbers)])
    for kind in zip(*results, strict=True):
        assert len(set(kind)) == 4


def test_hashes_agree_between_workers():
    # A fork shares the hash seed, so sets and dicts of strings look the same to all.
    def value(self):
        return hash("text")

    assert len(set(cyray.get([a.value.remote() for a in actors(3, value=value)]))) == 1


def test_the_zygote_has_one_thread():
    assert len(os.listdir(f"/proc/{zygote_pid()}/task")) == 1


def test_a_worker_has_few_threads():
    def threads(self):
        return len(os.listdir("/proc/self/task"))

    (actor,) = actors(1, threads=threads)
    assert cyray.get(actor.threads.remote()) <= 3


def test_preloaded_modules_are_loaded_and_others_are_not():
    def loaded(self):
        import sys

        return [name in sys.modules for name in ("colorsys", "numpy", "ftplib")]

    (actor,) = actors(1, loaded=loaded)
    assert cyray.get(actor.loaded.remote()) == [True, True, False]


def open_files(pid):
    """What a process's descriptors name; those that come and go meanwhile may be missing."""
    found = {}
    for fd in os.listdir(f"/proc/{pid}/fd"):
        try:
            found[int(fd)] = os.readlink(f"/proc/{pid}/fd/{fd}")
        except OSError:
            pass
    return found


def test_descriptors_are_the_workers_own():
    def descriptors(self):
        return open_files("self")

    first, second = actors(2, descriptors=descriptors)
    a, b = cyray.get([first.descriptors.remote(), second.descriptors.remote()])
    assert a[0] == "/dev/null"
    assert a[1].startswith("pipe:") and a[2].startswith("pipe:")
    assert a[1] != b[1], "each prints into pipes of its own"
    zygote = set(open_files(zygote_pid()).values())
    own_kinds = ("socket:", "pipe:")
    assert not {t for t in a.values() if t.startswith(own_kinds)} & zygote
    assert len(a) < 20


def test_signal_handlers_are_those_of_a_fresh_process():
    def handlers(self):
        return [
            signal.getsignal(number) == signal.SIG_DFL
            for number in (signal.SIGTERM, signal.SIGCHLD, signal.SIGUSR1)
        ], signal.pthread_sigmask(signal.SIG_BLOCK, [])

    (actor,) = actors(1, handlers=handlers)
    default, mask = cyray.get(actor.handlers.remote())
    assert all(default) and not mask


def test_ctrl_c_of_the_terminal_is_the_drivers_affair():
    def session(self):
        return os.getsid(0)

    # A terminal interrupts the processes of its own session.
    (actor,) = actors(1, session=session)
    assert cyray.get(actor.session.remote()) != os.getsid(0)


def test_main_is_nobodys():
    def main_names(self):
        import __main__

        return [name for name in dir(__main__) if not name.startswith("__")], __main__.__name__

    (actor,) = actors(1, main_names=main_names)
    assert cyray.get(actor.main_names.remote()) == ([], "__main__")


def test_tasks_may_start_processes_and_wait_for_them():
    @cyray.remote
    def run():
        import subprocess

        return subprocess.run(["echo", "hello"], capture_output=True, text=True).stdout

    assert cyray.get(run.remote()) == "hello\n"


def test_tasks_may_fork():
    @cyray.remote
    def fork():
        read, write = os.pipe()
        pid = os.fork()
        if pid == 0:
            os.write(write, b"child")
            os._exit(0)
        os.waitpid(pid, 0)
        return os.read(read, 100)

    assert cyray.get([fork.remote() for _ in range(4)]) == [b"child"] * 4


@pytest.mark.parametrize("end", ["returns", "raises", "exits"])
def test_a_child_that_comes_back_from_a_task_ends_there(end):
    @cyray.remote(max_retries=0)
    def fork():
        pid = os.fork()
        if pid == 0:
            if end == "raises":
                raise ValueError("the child's own")
            if end == "exits":
                raise SystemExit(1)
            return "the child's answer"
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])

    assert cyray.get(fork.remote()) == (0 if end == "returns" else 1)


def test_tasks_may_use_multiprocessing():
    @cyray.remote
    def pool():
        import multiprocessing

        with multiprocessing.get_context("fork").Pool(2) as workers:
            return workers.map(abs, [-1, -2, 3])

    assert cyray.get(pool.remote(), timeout=30) == [1, 2, 3]


def test_a_fork_of_the_driver_leaves_the_drivers_session_alone():
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.write(write, b"1" if cyray.is_initialized() else b"0")
            cyray.shutdown()
        finally:
            os._exit(0)
    os.waitpid(pid, 0)
    assert os.read(read, 1) == b"0"
    os.close(read)
    os.close(write)

    @cyray.remote
    def f():
        return 1

    assert cyray.get(f.remote()) == 1


def test_a_child_prints_what_its_own_workers_say_though_the_parent_forked_while_it_printed():
    from cyray._driver import logs

    logs.print_lines(1, "127.0.0.1", "f", False, [])
    assert logs._output is not None
    logs._output._lock.acquire()  # as the event thread does, in the midst of a line
    try:
        pid = os.fork()
        if pid == 0:
            os._exit(0 if logs._output is None else 1)
    finally:
        logs._output._lock.release()
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0


def test_the_workers_of_a_dead_zygote_go_on():
    def pid(self):
        return os.getpid()

    (actor,) = actors(1, pid=pid)
    worker = cyray.get(actor.pid.remote())
    before = zygote_pid()
    os.kill(before, signal.SIGKILL)
    eventually(lambda: zygote_pid() != before, 10)
    if is_running(worker):
        assert cyray.get(actor.pid.remote(), timeout=20) == worker
    else:
        with pytest.raises(cyray.exceptions.RayActorError):
            cyray.get(actor.pid.remote(), timeout=20)
    (another,) = actors(1, pid=pid)
    assert cyray.get(another.pid.remote(), timeout=20) != worker


def test_a_driver_that_forked_and_died_is_gone_although_its_child_lives(tmp_path):
    """The child must not keep the driver's connections open: the raylet would take it for alive."""
    program = f"""
import os, signal, sys, time
import cyray
cyray.init(address={cyray.get_runtime_context().gcs_address!r}, namespace="forks")
@cyray.remote
class Left:
    def pid(self):
        return os.getpid()
actor = Left.remote()
print(cyray.get(actor.pid.remote()), flush=True)
child = os.fork()
if child == 0:
    signal.pause()
print(child, flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""
    driver = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)
    actor, child = (int(driver.stdout.readline()) for _ in range(2))
    try:
        assert driver.wait(30) == -signal.SIGKILL
        assert is_running(child)
        eventually(lambda: not is_running(actor), 20, "the driver's actor is gone")
        assert is_running(child)
    finally:
        os.kill(child, signal.SIGKILL)
        driver.stdout.close()
