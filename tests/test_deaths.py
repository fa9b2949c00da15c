"""Each death says who died, where, how, with which stack, and what it printed last."""

from __future__ import annotations

import os
import re

import pytest
from support import WATCHED_DRIVER, eventually, run_driver

import cyray
from cyray.exceptions import ActorDiedError, ActorUnavailableError, WorkerCrashedError

pytestmark = pytest.mark.usefixtures("shared_session")


@cyray.remote(max_retries=0)
def crash(how, printed=""):
    import ctypes
    import sys

    if printed:
        print(printed, flush=True)
        print(f"{printed} on stderr", file=sys.stderr, flush=True)
    if how == "segfault":
        ctypes.string_at(0)
    elif how == "abort":
        os.abort()
    elif how == "kill":
        os.kill(os.getpid(), 9)
    os._exit(3)


@cyray.remote
class Fragile:
    def pid(self):
        return os.getpid()

    def crash(self):
        import ctypes

        ctypes.string_at(0)

    def leave(self, code):
        os._exit(code)


def text_of(ref, kind):
    with pytest.raises(kind) as caught:
        cyray.get(ref)
    return str(caught.value)


def paths_in(text):
    return re.findall(r"The end of (/\S+):", text)


@pytest.mark.parametrize(
    ("how", "signal", "number"),
    [("segfault", "SIGSEGV", 11), ("abort", "SIGABRT", 6)],
)
def test_a_task_that_crashes_tells_its_signal_and_its_stack(how, signal, number):
    text = text_of(crash.remote(how, "some words"), WorkerCrashedError)
    assert "died while it ran crash, and no retry is left" in text
    assert f"killed by signal {number} ({signal}), after it had used at most " in text
    assert re.search(r"It was process \d+ on 127\.0\.0\.1\.", text)
    assert "Its stack:" in text and "in crash" in text and "test_deaths.py" in text
    assert "\n    some words" in text and "\n    some words on stderr" in text
    paths = paths_in(text)
    assert len(paths) == 2 and all(os.path.exists(path) for path in paths)


def test_a_task_that_prints_nothing_names_no_log():
    text = text_of(crash.remote("exit"), WorkerCrashedError)
    assert "exit code 3" in text
    assert "It has printed nothing." in text and "/logs/" not in text


def test_a_kill_by_nobody_we_know_says_who_it_may_have_been():
    text = text_of(crash.remote("kill"), WorkerCrashedError)
    assert "killed by signal 9 (SIGKILL)" in text
    assert "This node did not kill it: the kernel does when memory runs out" in text


def test_an_actor_whose_constructor_ends_its_process_says_so_and_how_often_it_began():
    @cyray.remote(max_restarts=2)
    class Stillborn:
        def __init__(self):
            os._exit(3)

        def call(self):
            pass

    text = text_of(Stillborn.remote().call.remote(), ActorDiedError)
    assert "before its __init__ had ended; it was started 3 times in all." in text
    assert "exit code 3." in text


def test_an_actor_that_crashes_names_its_class_its_call_and_its_name():
    actor = Fragile.options(name="thin ice").remote()
    pid = cyray.get(actor.pid.remote())
    text = text_of(actor.crash.remote(), ActorDiedError)
    assert "class_name: Fragile" in text and "name: thin ice" in text and f"pid: {pid}" in text
    assert "killed by signal 11 (SIGSEGV)" in text
    assert "In flight was the call Fragile.crash." in text
    assert "Its stack:" in text and "in crash" in text


def test_a_call_that_was_in_flight_when_its_actor_was_restarted_knows_how_it_ended():
    actor = Fragile.options(max_restarts=1).remote()
    cyray.get(actor.pid.remote())
    text = text_of(actor.leave.remote(7), ActorUnavailableError)
    assert "How it ended: exit code 7" in text
    assert "In flight was the call Fragile.leave." in text
    assert eventually(lambda: lives(actor))


def lives(actor):
    try:
        return cyray.get(actor.pid.remote())
    except ActorUnavailableError:
        return 0


def test_a_restart_is_told_on_the_driver(tmp_path):
    _, err = run_driver(
        tmp_path,
        WATCHED_DRIVER
        + """
import os
cyray.init(num_cpus=1)

@cyray.remote(max_restarts=2, max_task_retries=-1, name="phoenix")
class Phoenix:
    def burn(self, path):
        if not os.path.exists(path):
            open(path, "w").close()
            os._exit(9)
        return 1

bird = Phoenix.remote()
assert cyray.get(bird.burn.remote(sys.argv[1])) == 1
sys.stderr.await_text("is restarted, as its process has ended")
""",
        str(tmp_path / "ashes"),
    )
    assert 'the actor Phoenix "phoenix" is restarted, as its process has ended: exit code 9' in err
    assert "1 restart is left." in err
    assert err.count("is restarted") == 1
