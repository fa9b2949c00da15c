"""max_pending_calls, and what becomes of calls that were not answered when their actor starts again."""

from __future__ import annotations

import os
import threading

import pytest
from support import eventually

import cyray
from cyray.exceptions import PendingCallsLimitExceeded

pytestmark = pytest.mark.usefixtures("shared_session")


@cyray.remote(max_pending_calls=3, max_concurrency=2)
class Door:
    def __init__(self):
        self.opened = threading.Event()

    def hold(self, _=None):
        return self.opened.wait(30)

    def open(self):
        self.opened.set()


def test_a_call_beyond_the_limit_is_refused_where_it_is_made():
    door = Door.remote()
    held = [door.hold.remote() for _ in range(2)]
    opening = door.open.options(name="third").remote
    held.append(door.hold.remote())
    with pytest.raises(PendingCallsLimitExceeded, match=r"Door\.open\.remote\(\): 3 calls"):
        opening()

    @cyray.remote
    def from_elsewhere(door):  # another process has a limit of its own
        return cyray.get(door.open.remote(), timeout=20)

    second = Door.remote()
    held += [second.hold.remote() for _ in range(1)]
    cyray.get([second.open.remote()], timeout=20)
    cyray.kill(door)
    for ref in held[:3]:
        with pytest.raises(cyray.exceptions.RayActorError):
            cyray.get(ref, timeout=20)
    assert cyray.get(held[3], timeout=20)


def test_other_callers_have_a_limit_of_their_own_and_answers_make_room():
    @cyray.remote(max_pending_calls=1, max_concurrency=2)
    class One(Door.underlying_class):
        pass

    one = One.remote()
    held = one.hold.remote()
    with pytest.raises(PendingCallsLimitExceeded):
        one.open.remote()

    @cyray.remote
    def open_it(one):
        return cyray.get(one.open.remote(), timeout=20)

    cyray.get(open_it.remote(one), timeout=20)
    assert cyray.get(held, timeout=20)
    for _ in range(50):
        cyray.get(one.hold.remote(), timeout=20)


def test_an_argument_that_cannot_be_pickled_takes_no_room():
    door = Door.remote()
    for _ in range(5):
        with pytest.raises(TypeError):
            door.hold.remote(threading.Lock())
    refs = [door.hold.remote() for _ in range(2)] + [door.open.remote()]
    with pytest.raises(PendingCallsLimitExceeded):
        door.hold.remote()
    cyray.kill(door)
    with pytest.raises(cyray.exceptions.RayActorError):
        cyray.get(refs, timeout=20)


def test_threads_share_the_limit():
    door = Door.remote()
    refused, refs = [], []

    def call():
        for _ in range(10):
            try:
                refs.append(door.hold.remote(b"x" * 2000))
            except PendingCallsLimitExceeded:
                refused.append(1)

    threads = [threading.Thread(target=call) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert (len(refs), len(refused)) == (3, 37)
    cyray.kill(door)


@pytest.mark.parametrize("value", [0, -2])
def test_a_limit_that_means_nothing_is_refused(value):
    with pytest.raises(ValueError, match="max_pending_calls"):
        cyray.remote(max_pending_calls=value)(Door.underlying_class)


# --- Calls that are made again ----------------------------------------------------------------------


@cyray.remote(max_restarts=-1, max_task_retries=-1)
class Log:
    """Writes what runs to a file, and blocks in `stop` while its fifo is shut."""

    def __init__(self, path):
        self.path = path

    def write(self, line):
        with open(self.path, "a") as file:
            file.write(f"{line}\n")
        return line

    def stop(self, fifo):
        open(fifo).close()
        return os.getpid()

    def pid(self):
        return os.getpid()


@pytest.mark.parametrize("callers", [1, 3])
def test_calls_without_an_answer_are_made_again_in_order_and_before_later_ones(
    tmp_path, gate, callers
):
    path = str(tmp_path / "log")
    log = Log.remote(path)
    pid = cyray.get(log.pid.remote())

    @cyray.remote(num_cpus=0)
    class Caller:
        def __init__(self, name, log):
            self.name, self.log, self.refs = name, log, []

        def call(self, first, last):
            self.refs += [self.log.write.remote(f"{self.name} {i}") for i in range(first, last)]

        def results(self):
            return cyray.get(self.refs, timeout=30)

    stopped = log.stop.remote(gate.path)
    several = [Caller.remote(f"c{i}", log) for i in range(callers)]
    cyray.get([caller.call.remote(0, 30) for caller in several])
    os.kill(pid, 9)
    cyray.get([caller.call.remote(30, 60) for caller in several])
    eventually(lambda: cyray.wait([stopped], timeout=0)[0] == [])
    gate.open()
    assert cyray.get(stopped, timeout=30) != pid
    cyray.get([caller.call.remote(60, 70) for caller in several])
    for i, caller in enumerate(several):
        assert cyray.get(caller.results.remote()) == [f"c{i} {n}" for n in range(70)]
    with open(path) as file:
        lines = file.read().split("\n")[:-1]
    for i in range(callers):
        assert [line for line in lines if line.startswith(f"c{i} ")] == [
            f"c{i} {n}" for n in range(70)
        ]


def test_twenty_who_get_or_make_an_actor_meet_at_one(tmp_path):
    @cyray.remote
    class Meeting:
        def __init__(self, folder):
            with open(f"{folder}/{os.getpid()}", "w"):
                pass

        def where(self):
            return os.getpid()

    kept = Meeting.options(name="keeper", lifetime="detached", get_if_exists=True)

    @cyray.remote(num_cpus=0)
    def meet(folder):
        return cyray.get(kept.remote(folder).where.remote(), timeout=40)

    assert len(set(cyray.get([meet.remote(str(tmp_path)) for _ in range(20)], timeout=50))) == 1
    assert len(os.listdir(tmp_path)) == 1
    cyray.kill(cyray.get_actor("keeper"))


def test_who_gets_or_makes_one_that_ends_all_the_time_gets_one():
    @cyray.remote
    class Fleeting:
        def where(self):
            return os.getpid()

    bound = Fleeting.options(name="fleeting", get_if_exists=True)
    errors = []

    def get_or_make():
        for _ in range(10):
            try:
                bound.remote()  # no handle is kept: it ends at once
            except Exception as error:
                errors.append(error)

    threads = [threading.Thread(target=get_or_make) for _ in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(50)
    assert errors == []
