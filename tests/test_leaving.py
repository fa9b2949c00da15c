"""SIGTERM to a worker: what runs ends, and then the process does, in order."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading

import pytest
from support import eventually, is_running

import cyray
from cyray.exceptions import ActorDiedError

pytestmark = pytest.mark.usefixtures("shared_session")


class Leaving:
    """Waits at a fifo, and writes down how it ends."""

    def __init__(self, folder):
        self.folder = folder
        self.file = open(f"{folder}/unflushed-{os.getpid()}", "w")  # noqa: SIM115 - nobody closes it

    def pid(self):
        return os.getpid()

    def hold(self, fifo, began):
        open(began, "w").close()
        open(fifo).close()
        self.file.write("held")
        return os.getpid()

    def __ray_shutdown__(self):
        self.file.write(" shut")

    def __del__(self):
        with open(f"{self.folder}/deleted-{os.getpid()}", "w"):
            pass


class LeavingThreads(Leaving):
    pass


class LeavingLoop(Leaving):
    async def hold(self, fifo, began):
        import asyncio

        await asyncio.to_thread(super().hold, fifo, began)
        return os.getpid()


def _said(folder, pid):
    with open(f"{folder}/unflushed-{pid}") as file:
        return file.read()


def _unanswered(ref):
    return ref if cyray.wait([ref], timeout=0.2)[0] == [] else None


@pytest.mark.parametrize(
    ("kind", "options"),
    [(Leaving, {}), (LeavingThreads, {"max_concurrency": 3}), (LeavingLoop, {})],
)
def test_an_actor_ends_in_order_when_its_calls_have_ended(tmp_path, gate, kind, options):
    actor = (
        cyray.remote(**options)(kind).remote(str(tmp_path))
        if options
        else cyray.remote(kind).remote(str(tmp_path))
    )
    pid = cyray.get(actor.pid.remote())
    held = actor.hold.remote(gate.path, str(tmp_path / "began"))
    eventually(lambda: os.path.exists(tmp_path / "began"), 20)
    os.kill(pid, signal.SIGTERM)
    later = eventually(lambda: _unanswered(actor.pid.remote()), 20)  # it takes no more calls
    assert cyray.wait([held], timeout=0)[0] == []
    gate.open()
    assert cyray.get(held, timeout=20) == pid
    with pytest.raises(ActorDiedError, match="SIGTERM"):
        cyray.get(later, timeout=20)
    eventually(lambda: not is_running(pid), 20)
    assert _said(tmp_path, pid) == "held shut"
    assert os.path.exists(tmp_path / f"deleted-{pid}")


@pytest.mark.parametrize("kind", [Leaving, LeavingLoop])
def test_an_idle_actor_ends_at_once_and_is_restarted_as_far_as_it_may_be(tmp_path, kind):
    actor = cyray.remote(max_restarts=1, max_task_retries=-1)(kind).remote(str(tmp_path))
    first = cyray.get(actor.pid.remote())
    os.kill(first, signal.SIGTERM)
    eventually(lambda: not is_running(first), 20)
    assert _said(tmp_path, first) == " shut"
    second = cyray.get(actor.pid.remote(), timeout=20)
    assert second != first
    os.kill(second, signal.SIGTERM)
    eventually(lambda: not is_running(second), 20)
    with pytest.raises(ActorDiedError):
        cyray.get(actor.pid.remote(), timeout=20)


def test_a_task_ends_before_its_worker_and_what_was_queued_runs_elsewhere(tmp_path, gate):
    @cyray.remote(max_retries=0)
    def hold(fifo, path):
        file = open(f"{path}-{os.getpid()}", "w")  # noqa: SIM115
        file.write("unflushed")
        globals()["kept"] = file
        with open(path, "w") as said:
            said.write(str(os.getpid()))
        open(fifo).close()
        return os.getpid()

    @cyray.remote(max_retries=0)
    def quick():
        return os.getpid()

    path = str(tmp_path / "began")
    held = hold.remote(gate.path, path)
    eventually(lambda: os.path.exists(path) and os.path.getsize(path), 20)
    with open(path) as said:
        pid = int(said.read())
    os.kill(pid, signal.SIGTERM)
    assert pid not in cyray.get([quick.remote() for _ in range(20)], timeout=30)
    gate.open()
    assert cyray.get(held, timeout=20) == pid
    eventually(lambda: not is_running(pid), 20)
    with open(f"{path}-{pid}") as file:
        assert file.read() == "unflushed"


def test_an_idle_worker_ends_and_another_one_takes_its_place():
    @cyray.remote
    def where():
        return os.getpid()

    pid = cyray.get(where.remote())
    os.kill(pid, signal.SIGTERM)
    eventually(lambda: not is_running(pid), 20)
    assert cyray.get(where.remote(), timeout=30) != pid


def test_a_second_one_ends_it_at_once(tmp_path, gate):
    actor = cyray.remote(Leaving).remote(str(tmp_path))
    pid = cyray.get(actor.pid.remote())
    held = actor.hold.remote(gate.path, str(tmp_path / "began"))
    eventually(lambda: os.path.exists(tmp_path / "began"), 20)
    os.kill(pid, signal.SIGTERM)
    os.kill(pid, signal.SIGTERM)

    def again():
        if is_running(pid):
            os.kill(pid, signal.SIGTERM)  # two that come together are one
        return not is_running(pid)

    eventually(again, 20)
    with pytest.raises(ActorDiedError):
        cyray.get(held, timeout=20)


def test_what_a_task_starts_ends_as_elsewhere():
    @cyray.remote
    def start():
        forked = os.fork()
        if forked == 0:
            signal.pause()
            os._exit(0)
        os.kill(forked, signal.SIGTERM)
        _, status = os.waitpid(forked, 0)
        program = [sys.executable, "-c", "import signal; signal.pause()"]
        with subprocess.Popen(program) as started:
            started.terminate()
            return os.WTERMSIG(status), started.wait(20), threading.active_count() > 0

    assert cyray.get(start.remote(), timeout=40)[:2] == (signal.SIGTERM, -signal.SIGTERM)
