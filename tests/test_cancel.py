"""Cancelling tasks and calls, wherever they are, by whoever holds a ref to their result."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import textwrap
import time

import pytest
import support
from support import eventually, is_running

import cyray
from cyray.exceptions import RayTaskError, TaskCancelledError, WorkerCrashedError

pytestmark = pytest.mark.usefixtures("shared_session")


def functions():
    # Local, so that they travel by value: workers need not import this file.
    @cyray.remote
    def sleep(begun=None):
        if begun is not None:
            open(begun, "w").close()
        time.sleep(60)

    @cyray.remote
    def one(*_):
        return 1

    @cyray.remote
    def parent(folder, nest):
        refs = [sleep.remote(os.path.join(folder, f"child {i}")) for i in range(2)]
        if nest:
            cyray.get(refs)
        open(os.path.join(folder, "parent"), "w").close()
        time.sleep(60)

    return sleep, one, parent


sleep, one, parent = functions()


def begun(path):
    eventually(lambda: os.path.exists(path), 20, f"the task of {path} begins")


def cancelled(ref, timeout=20):
    with pytest.raises(TaskCancelledError) as raised:
        cyray.get(ref, timeout=timeout)
    assert raised.value.task_id == ref.task_id().hex()
    return str(raised.value)


def all_cpus_are_free():
    eventually(lambda: cyray.available_resources().get("CPU") == 2, 10, "both CPUs are free")


@pytest.fixture(autouse=True)
def everything_comes_back():
    yield
    all_cpus_are_free()


def test_a_running_task_gets_a_keyboard_interrupt(tmp_path):
    ref = sleep.remote(str(tmp_path / "it"))
    begun(tmp_path / "it")
    cyray.cancel(ref)
    assert cancelled(ref) == "The task sleep was cancelled."
    assert cyray.get(one.remote()) == 1


@pytest.mark.parametrize("what", ["compute", "get", "wait"])
def test_whatever_a_task_does_it_is_interrupted(tmp_path, what):
    @cyray.remote
    def compute(path, what, never):
        open(path, "w").close()
        if what == "get":
            cyray.get(never)
        elif what == "wait":
            cyray.wait(never)
        while True:
            pass

    never = sleep.remote()
    ref = compute.remote(str(tmp_path / "it"), what, [never])
    begun(tmp_path / "it")
    cyray.cancel(ref)
    cancelled(ref)
    cyray.cancel(never)


def test_what_catches_the_interrupt_has_its_result(tmp_path):
    @cyray.remote(max_retries=-1, retry_exceptions=True)
    def cleans_up(path, value):
        open(path, "w").close()
        try:
            time.sleep(60)
        except KeyboardInterrupt:
            if isinstance(value, Exception):
                raise value from None
            return value, cyray.get_runtime_context().is_canceled()

    for value in ("clean", KeyError("no")):
        path = str(tmp_path / str(value))
        ref = cleans_up.remote(path, value)
        begun(path)
        cyray.cancel(ref)
        if value == "clean":
            assert cyray.get(ref, timeout=20) == ("clean", True)
        else:
            cancelled(ref)  # the error would have been tried again
    assert cyray.get_runtime_context().is_canceled() is False


def test_an_interrupt_leaves_no_module_locked(tmp_path):
    @cyray.remote
    def imports(path):
        from importlib import _bootstrap

        lock = _bootstrap._get_module_lock("of_nobody")
        open(path, "w").close()
        try:
            while True:
                _bootstrap._lock_unlock_module("of_nobody")
        except KeyboardInterrupt:
            return lock.owner

    for i in range(20):
        path = str(tmp_path / f"{i}")
        ref = imports.remote(path)
        begun(path)
        cyray.cancel(ref)
        assert cyray.get(ref, timeout=20) is None


def test_an_interrupt_leaves_no_package_half_imported(tmp_path):
    package = tmp_path / "of_two_parts"
    package.mkdir()
    (package / "part.py").write_text("__all__ = ['value']\nvalue = 7\n")
    (package / "__init__.py").write_text(
        "import time, cyray\n"
        "from .part import *\n"
        "while not cyray.get_runtime_context().is_canceled():\n"
        "    time.sleep(0.001)\n"
        "time.sleep(0.1)\n"  # the signal comes after the news
        "__all__ = part.__all__\n"
    )

    @cyray.remote
    def imports(folder, path):
        sys.path.insert(0, folder)
        open(path, "w").close()
        try:
            import of_two_parts

            time.sleep(60)
        except KeyboardInterrupt:
            import of_two_parts

            return of_two_parts.value
        finally:
            sys.path.remove(folder)

    ref = imports.remote(str(tmp_path), str(tmp_path / "begun"))
    begun(tmp_path / "begun")
    cyray.cancel(ref)
    assert cyray.get(ref, timeout=20) == 7


def test_handlers_and_masks_of_the_task_do_not_keep_the_interrupt_away(tmp_path):
    @cyray.remote
    def stubborn(path):
        before = signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
        open(path, "w").close()
        try:
            time.sleep(60)
        finally:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGINT])
            signal.signal(signal.SIGINT, before)

    ref = stubborn.remote(str(tmp_path / "it"))
    begun(tmp_path / "it")
    cyray.cancel(ref)
    cancelled(ref)


def test_a_task_that_waits_never_runs(tmp_path):
    running = [sleep.remote(str(tmp_path / f"{i}")) for i in range(2)]
    for i in range(2):
        begun(tmp_path / f"{i}")
    argument = one.remote(running[0])
    queued = [sleep.remote(str(tmp_path / "never")) for _ in range(20)]
    for ref in [argument, *queued]:
        cyray.cancel(ref)
        cancelled(ref)
    assert cyray.get_runtime_context().is_canceled() is False
    dependent = one.remote(running[1])
    for ref in running:
        cyray.cancel(ref)
        cancelled(ref)
    with pytest.raises(TaskCancelledError):
        cyray.get(dependent, timeout=20)
    assert not os.path.exists(tmp_path / "never")


def test_one_that_is_behind_another_at_a_worker_goes_without_it(tmp_path, gate):
    @cyray.remote
    def step(path, gate):
        if gate:
            open(gate).close()
        if path:
            open(path, "w").close()

    cyray.get([step.remote("", "") for _ in range(200)])  # short ones: the next are sent ahead
    refs = [step.remote(str(tmp_path / f"{i}"), gate.path) for i in range(6)]
    for ref in refs[1:]:
        cyray.cancel(ref)
    for ref in refs[1:]:
        cancelled(ref)
    gate.open()
    assert cyray.get(refs[0], timeout=20) is None
    assert os.path.exists(tmp_path / "0")


@pytest.mark.parametrize("retries", [0, -1])
def test_by_force_the_process_ends_and_nothing_runs_again(tmp_path, retries):
    @cyray.remote(max_retries=retries)
    def stubborn(path):
        with open(path, "a") as file:
            file.write(f"{os.getpid()} ")
        sum(iter(int, 1))  # compiled code that holds the GIL and asks for no signal

    path = tmp_path / "it"
    ref = stubborn.remote(str(path))
    eventually(lambda: os.path.exists(path) and path.read_text(), 20, "it begins")
    cyray.cancel(ref)
    ready, _ = cyray.wait([ref], timeout=0.2)
    assert not ready
    cyray.cancel(ref, force=True)
    with pytest.raises(WorkerCrashedError, match="stubborn, which it ran, was cancelled by force"):
        cyray.get(ref, timeout=20)
    [pid] = path.read_text().split()
    eventually(lambda: not is_running(int(pid)), 10, "its process ends")
    assert cyray.get(one.remote()) == 1


def test_by_force_one_that_has_not_begun_ends_nobody(tmp_path, gate):
    @cyray.remote(max_retries=0)
    def wait(path, gate):
        open(path, "w").close()
        open(gate).close()
        return os.getpid()

    running = [wait.remote(str(tmp_path / f"{i}"), gate.path) for i in range(2)]
    queued = [wait.remote("", gate.path) for _ in range(4)]
    for i in range(2):
        begun(tmp_path / f"{i}")
    for ref in queued:
        cyray.cancel(ref, force=True)
        cancelled(ref)
    gate.open()
    assert len(set(cyray.get(running, timeout=20))) == 2


@pytest.mark.parametrize("force", [False, True])
@pytest.mark.parametrize("nest", [False, True])
def test_what_a_task_submitted_is_cancelled_with_it(tmp_path, force, nest):
    ref = parent.remote(str(tmp_path), nest)
    begun(tmp_path / "child 0")
    if not nest:
        begun(tmp_path / "parent")
    cyray.cancel(ref, force=force)
    with pytest.raises(WorkerCrashedError if force else TaskCancelledError):
        cyray.get(ref, timeout=20)
    # all_cpus_are_free: the children do not sleep on.


def test_without_recursion_children_live_on(tmp_path, gate):
    @cyray.remote(num_cpus=0)
    def child(gate, path):
        open(gate).close()
        open(path, "w").close()

    @cyray.remote
    def submits(gate, folder):
        child.remote(gate, os.path.join(folder, "child"))
        open(os.path.join(folder, "parent"), "w").close()
        time.sleep(60)

    ref = submits.remote(gate.path, str(tmp_path))
    begun(tmp_path / "parent")
    cyray.cancel(ref, recursive=False)
    cancelled(ref)
    gate.open()
    begun(tmp_path / "child")


def test_what_is_over_stays_as_it_is():
    done, put = one.remote(), cyray.put(2)
    assert cyray.get(done) == 1
    for ref in (done, put):
        cyray.cancel(ref)
        cyray.cancel(ref, force=True)
    assert cyray.get([done, put]) == [1, 2]


def test_who_holds_a_ref_cancels_what_another_process_submitted(tmp_path):
    @cyray.remote(num_cpus=0)
    def cancels(refs):
        for ref in refs:
            cyray.cancel(ref)

    running = sleep.remote(str(tmp_path / "it"))
    begun(tmp_path / "it")
    waits = one.remote(running)
    cyray.get(cancels.remote([waits, running]))
    cancelled(running)
    cancelled(waits)


def test_wrong_arguments_are_named():
    class Cell:
        def get(self):
            return 1

    actor = cyray.remote(Cell).options(num_cpus=0).remote()
    with pytest.raises(TypeError, match=r"takes an ObjectRef, not .*ActorHandle.*cyray.kill\(\)"):
        cyray.cancel(actor)
    with pytest.raises(TypeError, match=r"takes an ObjectRef, not .*list"):
        cyray.cancel([one.remote()])
    with pytest.raises(TypeError, match=r"force of .* is True or False, not 'yes'"):
        cyray.cancel(one.remote(), force="yes")
    ref = actor.get.remote()
    cyray.get(ref)
    cyray.cancel(ref, force=True)  # over
    cyray.kill(actor)


# --- Actors ---------------------------------------------------------------------------------------


def test_a_call_that_runs_is_asked_and_those_behind_it_never_begin(tmp_path):
    @cyray.remote
    class Worker:
        def __init__(self):
            self.done = []

        def work(self, path):
            open(path, "w").close()
            while not cyray.get_runtime_context().is_canceled():
                time.sleep(0.005)
            return "stopped"

        def note(self, value):
            self.done.append(value)
            return list(self.done)

    actor = Worker.remote()
    working = actor.work.remote(str(tmp_path / "it"))
    notes = [actor.note.remote(i) for i in range(5)]
    begun(tmp_path / "it")
    with pytest.raises(ValueError, match=r"Worker.work is a call of an actor: cyray.kill"):
        cyray.cancel(working, force=True)
    for ref in notes[:4]:
        cyray.cancel(ref)
        assert cancelled(ref) == "The task Worker.note was cancelled."
    cyray.cancel(working)
    assert cyray.get(working, timeout=20) == "stopped"
    assert cyray.get(notes[4], timeout=20) == [4]
    cyray.kill(actor)


def test_calls_of_an_actor_that_does_not_live_yet_are_cancelled():
    @cyray.remote(resources={"nowhere": 1})
    class Nowhere:
        def call(self):
            pass

    actor = Nowhere.remote()
    refs = [actor.call.remote() for _ in range(3)]
    for ref in reversed(refs):
        cyray.cancel(ref)
        cancelled(ref)
    cyray.kill(actor)


def test_calls_of_an_async_actor_are_cancelled_as_asyncio_does_it(tmp_path):
    @cyray.remote(max_concurrency=2)
    class Loop:
        async def sleep(self, path):
            open(path, "w").close()
            await asyncio.sleep(60)

        async def shield(self, path):
            open(path, "w").close()
            try:
                await asyncio.sleep(60)
            except asyncio.CancelledError:
                return "cleaned", cyray.get_runtime_context().is_canceled()

        async def child(self, path, refs):
            open(path, "w").close()
            return await refs[0]

        async def one(self):
            return 1

    actor = Loop.remote()
    sleeps = actor.sleep.remote(str(tmp_path / "a"))
    shields = actor.shield.remote(str(tmp_path / "b"))
    begun(tmp_path / "a")
    begun(tmp_path / "b")
    behind = actor.one.remote()  # two run already
    cyray.cancel(behind)
    cancelled(behind)
    cyray.cancel(sleeps)
    cyray.cancel(shields)
    cancelled(sleeps)
    assert cyray.get(shields, timeout=20) == ("cleaned", True)
    never = sleep.remote(str(tmp_path / "c"))
    begun(tmp_path / "c")
    waits = actor.child.remote(str(tmp_path / "d"), [never])
    begun(tmp_path / "d")
    cyray.cancel(waits)
    cancelled(waits)
    cyray.cancel(never)  # the actor did not submit it
    cancelled(never)
    assert cyray.get(actor.one.remote(), timeout=20) == 1
    cyray.kill(actor)


def test_tasks_that_share_a_worker_are_told_and_interrupted_where_they_wait_for_cyray(tmp_path):
    @cyray.remote(max_concurrency=4, num_cpus=1)
    def shares(path, refs):
        open(path, "w").close()
        if refs:
            cyray.get(refs)
        while not cyray.get_runtime_context().is_canceled():
            time.sleep(0.005)
        return "told"

    never = sleep.remote(str(tmp_path / "never"))
    begun(tmp_path / "never")
    for i, refs in enumerate([[], [never]] * 2):
        running = [shares.remote(str(tmp_path / f"{i} {k}"), refs) for k in range(3)]
        for k in range(3):
            begun(tmp_path / f"{i} {k}")
        for ref in running:
            cyray.cancel(ref)
        for ref in running:
            try:
                assert cyray.get(ref, timeout=20) == "told"
            except TaskCancelledError:  # the one on the main thread, or in get
                pass
    cyray.cancel(never)
    cancelled(never)


# --- In any race ------------------------------------------------------------------------------------


def test_cancels_race_with_beginnings_and_ends():
    @cyray.remote(max_retries=2)
    def short(i):
        return i

    @cyray.remote
    class Counter:
        def call(self, i):
            return i

        async def run(self, i):
            await asyncio.sleep(0)
            return i

    actor = Counter.remote()
    outcomes = {"value": 0, "cancelled": 0}
    for submit in (short.remote, actor.call.remote, actor.run.remote):
        for batch in range(20):
            refs = [submit(i) for i in range(50)]
            for ref in refs[batch::3]:
                cyray.cancel(ref)
            for i, ref in enumerate(refs):
                try:
                    assert cyray.get(ref, timeout=20) == i
                    outcomes["value"] += 1
                except TaskCancelledError:
                    assert (i - batch) % 3 == 0
                    outcomes["cancelled"] += 1
    assert outcomes["value"] > 0
    assert outcomes["cancelled"] > 0
    cyray.kill(actor)


def test_thousands_that_wait_are_cancelled(tmp_path):
    running = [sleep.remote(str(tmp_path / f"{i}")) for i in range(2)]
    refs = [sleep.remote() for _ in range(10_000)]
    for ref in refs:
        cyray.cancel(ref)
    ready, rest = cyray.wait(refs, num_returns=len(refs), timeout=30)
    assert len(ready) == 10_000
    assert not rest
    for i, ref in enumerate(running):
        begun(tmp_path / f"{i}")
        cyray.cancel(ref)
        cancelled(ref)


PROGRAM = """
import os, signal, sys, time
import cyray

cyray.init(num_cpus=1)

@cyray.remote
def sleep(path):
    open(path, "w").close()
    time.sleep(60)

path = sys.argv[1]
assert signal.getsignal(signal.SIGINT) == signal.SIG_IGN
os.mkfifo(path)
ref = sleep.remote(path)
open(path).close()  # it has begun
cyray.cancel(ref)
try:
    cyray.get(ref, timeout=20)
except cyray.exceptions.TaskCancelledError:
    print("cancelled")
"""


def test_also_where_the_driver_was_started_with_interrupts_ignored(tmp_path):
    program = tmp_path / "program.py"
    program.write_text(textwrap.dedent(PROGRAM))
    done = subprocess.run(
        [sys.executable, str(program), str(tmp_path / "it")],
        capture_output=True,
        text=True,
        timeout=50,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_IGN),
    )
    assert done.stdout == "cancelled\n", done.stderr


def test_an_error_after_the_interrupt_is_the_tasks_own(tmp_path):
    @cyray.remote
    def fails(path):
        open(path, "w").close()
        try:
            time.sleep(60)
        except KeyboardInterrupt:
            raise RuntimeError("it could not be stopped cleanly") from None

    ref = fails.remote(str(tmp_path / "it"))
    begun(tmp_path / "it")
    cyray.cancel(ref)
    with pytest.raises(RayTaskError, match="could not be stopped cleanly"):
        cyray.get(ref, timeout=20)


def test_waits_of_other_threads_and_loops_end(tmp_path):
    ref = sleep.remote(str(tmp_path / "it"))
    begun(tmp_path / "it")
    future = ref.future()
    cyray.cancel(ref)
    assert isinstance(future.exception(timeout=20), TaskCancelledError)

    async def awaits():
        refs = [sleep.remote() for _ in range(3)]
        waiting = [asyncio.ensure_future(asyncio.wait_for(ref, 20)) for ref in refs]
        await asyncio.sleep(0)
        for one in refs:
            cyray.cancel(one)
        return await asyncio.gather(*waiting, return_exceptions=True)

    assert [type(error) for error in asyncio.run(awaits())] == [TaskCancelledError] * 3
    assert support.poll(lambda: cyray.available_resources().get("CPU") == 2, 10)


INTERRUPTED = """
import os, signal, sys, threading, time
import cyray, cyray._private

cyray.init(num_cpus=2, cancel_on_interrupt=sys.argv[2] == "yes")
signal.signal(signal.SIGINT, signal.default_int_handler)

@cyray.remote
def sleep(path, seconds):
    open(path, "w").close()
    time.sleep(seconds)
    return "slept"

def interrupt(paths):
    for path in paths:
        open(path).close()  # it has begun
    while "a thread waits for" not in cyray._private.dump():
        pass
    os.kill(os.getpid(), signal.SIGINT)

def get(refs, paths):
    threading.Thread(target=interrupt, args=(paths,)).start()
    try:
        cyray.get(refs)
    except KeyboardInterrupt:
        print("interrupted")

folder, cancels = sys.argv[1], sys.argv[2] == "yes"
seconds = 60 if cancels else 1
paths = [os.path.join(folder, f"{i}") for i in range(3)]
for path in paths:
    os.mkfifo(path)
refs = [sleep.remote(path, seconds) for path in paths[:2]]
get(refs, paths[:2])
one = sleep.remote(paths[2], seconds)
get(one, paths[2:])
for ref in [*refs, one]:
    try:
        print(cyray.get(ref, timeout=20))
    except cyray.exceptions.TaskCancelledError:
        print("cancelled")
"""


@pytest.mark.parametrize("cancels", ["yes", "no"])
def test_ctrl_c_cancels_what_a_get_waited_for_when_it_is_to(tmp_path, cancels):
    program = tmp_path / "program.py"
    program.write_text(textwrap.dedent(INTERRUPTED))
    done = subprocess.run(
        [sys.executable, str(program), str(tmp_path), cancels],
        capture_output=True,
        text=True,
        timeout=50,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    each = "cancelled" if cancels == "yes" else "slept"
    assert done.stdout.split() == ["interrupted"] * 2 + [each] * 3, done.stderr
