"""The process that forks workers, as its raylet sees it: messages in, processes out."""

from __future__ import annotations

import ctypes
import json
import os
import random
import select
import shutil
import signal
import socket
import subprocess
import sys
from typing import ClassVar

import pytest
from support import eventually

from cyray import _hooks, _raylet

LIBC = ctypes.CDLL(None)
PACKAGE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "python", "cyray")

NEEDED = ("_hooks.py", "_compat.py", "_process.py", "_os", "_node", "_spec", "_worker")

# What a worker does, in place of the real one: tells about itself and waits for its socket's end.
WORKER_MAIN = """
import gc, json, os, random, signal, socket, sys

def main(fd, worker_id):
    print("out of", worker_id)
    print("err of", worker_id, file=sys.stderr)
    connection = socket.socket(fileno=fd)
    numpy = sys.modules.get("fake_numpy.random")
    connection.send(json.dumps({
        "worker_id": worker_id,
        "pid": os.getpid(),
        "fds": sorted(int(fd) for fd in os.listdir("/proc/self/fd")),
        "random": random.random(),
        "sigint": signal.getsignal(signal.SIGINT) is signal.SIG_IGN,
        "sigchld": signal.getsignal(signal.SIGCHLD) is signal.SIG_DFL,
        "mask": len(signal.pthread_sigmask(signal.SIG_BLOCK, [])),
        "stdin": os.readlink("/proc/self/fd/0"),
        "main": sorted(n for n in vars(sys.modules["__main__"]) if n[:2] != "__"),
        "gc": gc.isenabled(),
        "threads": os.environ.get("OMP_NUM_THREADS"),
        "preloaded": "preloaded_module" in sys.modules,
        "modules": [name for name in ("asyncio", "cloudpickle") if name in sys.modules],
    }).encode())
    wanted = json.loads(connection.recv(65536) or "{}")
    if "starts" in wanted:
        os.system(wanted["starts"])
        connection.send(b"started")
    if wanted:
        connection.recv(1)
    sys.exit(wanted.get("exit_code", 0))
"""


def become_reaper() -> None:
    """As the raylet makes the zygote: orphans below it become its children, SIGTERM waits."""
    PR_SET_CHILD_SUBREAPER = 36
    assert LIBC.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) == 0
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])


def become_reaper_of_a_dead_raylet() -> None:
    """The raylet dies before the zygote's program begins: its death signal waits."""
    become_reaper()
    os.kill(os.getpid(), signal.SIGTERM)


class RayletSide:
    """A zygote and the raylet's end of its socket; closed at the end of its test."""

    made: ClassVar[list[RayletSide]] = []

    def __init__(self, tmp_path, preload="", parent=False, dead=False, **env):
        # A package with the zygote in it and the rest pretended.
        package = tmp_path / "lib" / "cyray"
        if not package.exists():
            package.mkdir(parents=True)
            extension = os.path.basename(_raylet.__file__)
            for name in (*NEEDED, extension):
                source = os.path.join(PACKAGE, name)
                copy = shutil.copytree if os.path.isdir(source) else shutil.copy
                copy(source, package / name)
            (package / "__init__.py").write_text("")
            for name in _hooks.WORKERS_NEED:
                path = tmp_path / "lib" / (name.replace(".", "/") + ".py")
                path.parent.mkdir(exist_ok=True)
                path.write_text(WORKER_MAIN if name == "cyray._worker.main" else "")
        self.log = tmp_path / "zygote.out"
        self.socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        os.set_inheritable(theirs.fileno(), True)
        with open(self.log, "wb") as log:
            zygote = [sys.executable, "-m", "cyray._worker.zygote", str(theirs.fileno())]
            # With a parent of its own, that can be killed, in place of this process.
            shell = ["sh", "-c", '"$@" $$ & echo $!; wait', "sh"] if parent else []
            self.process = subprocess.Popen(
                shell + zygote + ([] if parent else ["0" if dead else str(os.getpid())]),
                pass_fds=[theirs.fileno()],
                env={
                    **os.environ,
                    "PYTHONPATH": str(tmp_path / "lib"),
                    "CYRAY_PRELOAD": preload,
                    **env,
                },
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                preexec_fn=become_reaper_of_a_dead_raylet if dead else become_reaper,
            )
        theirs.close()
        self.socket.settimeout(10)
        self.connections = [self.socket]
        self.made.append(self)

    def receive(self):
        return json.loads(self.socket.recv(65536))

    def fork(self, worker_id="ab" * 16, token=1, **wanted):
        """Asks for a worker, and it for what is wanted; returns its socket and the read ends of its stdout and
        stderr."""
        mine, theirs = socket.socketpair()
        mine.settimeout(10)
        self.connections.append(mine)
        out_read, out_write = os.pipe()
        err_read, err_write = os.pipe()
        message = {"op": "fork", "token": token, "worker_id": worker_id}
        fds = [theirs.fileno(), out_write, err_write]
        socket.send_fds(self.socket, [json.dumps(message).encode()], fds)
        if wanted:
            mine.send(json.dumps(wanted).encode())
        theirs.close()
        os.close(out_write)
        os.close(err_write)
        return mine, out_read, err_read

    def kill_parent(self):
        self.process.kill()
        self.process.wait()

    def close(self):
        for connection in self.connections:
            connection.close()
        self.process.kill()
        self.process.wait()


@pytest.fixture(autouse=True)
def all_are_closed():
    yield
    while RayletSide.made:
        RayletSide.made.pop().close()


@pytest.fixture
def raylet(tmp_path):
    side = RayletSide(tmp_path)
    assert side.receive() == {"op": "ready", "pid": side.process.pid}
    return side


def test_a_worker_is_forked_with_all_that_it_asked_for(raylet):
    connection, out, err = raylet.fork()
    forked = raylet.receive()
    told = json.loads(connection.recv(65536))
    assert forked == {"op": "forked", "token": 1, "pid": told["pid"]}
    assert told["worker_id"] == "ab" * 16
    assert told["sigint"]
    assert told["sigchld"]
    assert told["mask"] == 0
    assert told["stdin"] == "/dev/null"
    assert told["main"] == []
    assert told["gc"]
    assert told["threads"] is None
    # 0, 1, 2, the socket and the folder being listed: nothing of the zygote's.
    assert len(told["fds"]) == 5
    assert os.read(out, 100) == b"out of " + b"ab" * 16 + b"\n"
    assert os.read(err, 100) == b"err of " + b"ab" * 16 + b"\n"
    for fd in (out, err):
        os.close(fd)
    connection.close()
    exited = raylet.receive()
    assert exited.pop("most_bytes") > 1 << 20
    assert exited == {"op": "exited", "pid": told["pid"], "status": 0}


def test_every_worker_has_its_own_random_numbers(raylet):
    numbers = set()
    for token in range(5):
        connection, out, err = raylet.fork(token=token)
        raylet.receive()
        numbers.add(json.loads(connection.recv(65536))["random"])
        connection.close()
        os.close(out)
        os.close(err)
        assert raylet.receive()["op"] == "exited"
    assert len(numbers) == 5


def test_how_a_worker_ended_is_reported(raylet):
    connection, *_ = raylet.fork(exit_code=3)
    raylet.receive()
    connection.recv(65536)
    connection.close()
    assert os.waitstatus_to_exitcode(raylet.receive()["status"]) == 3
    connection, *_ = raylet.fork()
    pid = raylet.receive()["pid"]
    os.kill(pid, signal.SIGKILL)
    exited = raylet.receive()
    assert (exited["op"], exited["pid"]) == ("exited", pid)
    assert os.waitstatus_to_exitcode(exited["status"]) == -signal.SIGKILL


def test_a_message_that_is_no_request_is_answered_and_survived(raylet):
    raylet.socket.send(b"not json")
    assert raylet.receive()["op"] == "failed"
    raylet.socket.send(json.dumps({"op": "fork", "token": 9}).encode())
    failed = raylet.receive()
    assert (failed["op"], failed["token"]) == ("failed", 9)
    connection, *_ = raylet.fork()
    assert raylet.receive()["op"] == "forked"
    connection.close()


def test_random_messages_do_not_end_the_zygote(raylet):
    seed = random.randrange(1 << 30)
    rng = random.Random(seed)
    for _ in range(100):
        raylet.socket.send(rng.randbytes(rng.randrange(1, 200)))
        assert raylet.receive()["op"] == "failed", f"seed {seed}"
    for value in (3, None, [], "x", {"op": "fork", "worker_id": 5}):
        raylet.socket.send(json.dumps(value).encode())
        assert raylet.receive()["op"] == "failed"
    assert raylet.process.poll() is None


def test_when_the_raylet_goes_everything_goes(tmp_path):
    path = tmp_path / "raylet.sock"
    path.write_text("")
    (tmp_path / "plasma_store").symlink_to("raylet.sock")
    raylet = RayletSide(tmp_path, CYRAY_RAYLET_SOCKET=str(path))
    raylet.receive()
    connection, *_ = raylet.fork()
    pid = raylet.receive()["pid"]
    connection.recv(65536)
    pidfd = os.pidfd_open(pid)
    raylet.socket.close()
    assert raylet.process.wait(timeout=5) == 0
    poll = select.poll()
    poll.register(pidfd, select.POLLIN)
    assert poll.poll(5000), "the worker outlived its raylet"
    os.close(pidfd)
    assert not path.exists()
    assert not (tmp_path / "plasma_store").is_symlink()


def started_by(raylet, shell, count, tmp_path):
    """A worker that ran `shell`; its socket, and a pidfd of each of `count` pids in tmp_path/pids."""
    connection, *_ = raylet.fork(starts=shell)
    worker = raylet.receive()["pid"]
    assert json.loads(connection.recv(65536))["pid"] == worker
    assert connection.recv(100) == b"started"
    pids = tmp_path / "pids"
    text = eventually(lambda: pids.exists() and len(t := pids.read_text().split()) == count and t)
    return connection, [os.pidfd_open(int(pid)) for pid in text]


def has_ended(pidfd, timeout_ms):
    poll = select.poll()
    poll.register(pidfd, select.POLLIN)
    return bool(poll.poll(timeout_ms))


@pytest.mark.parametrize("worker_first", [False, True])
def test_what_a_worker_started_goes_with_the_raylet(raylet, tmp_path, worker_first):
    pids = tmp_path / "pids"
    # Two of sessions of their own, one of which has lost its parent.
    connection, alive = started_by(
        raylet,
        f"setsid sh -c 'echo $$ >> {pids}; exec sleep 1000' & "
        f"(setsid sh -c 'echo $$ >> {pids}; exec sleep 1000' &)",
        2,
        tmp_path,
    )
    if worker_first:
        connection.close()
        assert raylet.receive()["op"] == "exited"
    raylet.socket.close()
    assert raylet.process.wait(timeout=10) == 0
    for pidfd in alive:
        assert has_ended(pidfd, 0), "it outlived the zygote"
        os.close(pidfd)


def test_what_a_worker_left_behind_in_its_session_goes_with_it(raylet, tmp_path):
    pids = tmp_path / "pids"
    connection, (shell, its_child) = started_by(
        raylet, f"(sh -c 'echo $$ >> {pids}; sleep 1000 & echo $! >> {pids}; wait' &)", 2, tmp_path
    )
    connection.close()
    assert raylet.receive()["op"] == "exited"
    assert has_ended(shell, 10_000) and has_ended(its_child, 10_000)
    assert raylet.process.poll() is None


def test_what_made_a_session_of_its_own_outlives_its_worker(raylet, tmp_path):
    pids = tmp_path / "pids"
    # The second one, of the worker's session, tells when the zygote has looked.
    connection, ended = started_by(
        raylet,
        f"(setsid sh -c 'echo $$ >> {pids}; exec sleep 1000' &); "
        f"while ! [ -s {pids} ]; do sleep 0.01; done; "
        f"(sh -c 'echo $$ >> {pids}; exec sleep 1000' &)",
        2,
        tmp_path,
    )
    connection.close()
    assert raylet.receive()["op"] == "exited"
    assert has_ended(ended[1], 10_000)
    assert not has_ended(ended[0], 0)
    raylet.socket.close()
    assert has_ended(ended[0], 10_000)


def test_resource_trackers_end_by_themselves_after_all_others(raylet, tmp_path):
    pids, cleaned, fifo = tmp_path / "pids", tmp_path / "cleaned", tmp_path / "fifo"
    os.mkfifo(fifo)
    tracker = f": resource_tracker import main; cat {fifo}; sleep 0.1; echo > {cleaned}"
    connection, _ = started_by(
        raylet,
        f"sh -c '{tracker}' & sh -c 'echo $$ >> {pids}; exec sleep 1000 > {fifo}' &",
        1,
        tmp_path,
    )
    raylet.socket.close()
    assert raylet.process.wait(timeout=10) == 0
    assert cleaned.exists()
    connection.close()


def test_what_the_raylet_started_without_the_zygote_goes_when_the_raylet_is_killed(tmp_path):
    # A raylet, its zygote (which adopts) and beside it a process of the node whose child outlives it.
    ready = tmp_path / "ready"
    node = {"CYRAY_NODE_ID": os.urandom(16).hex()}
    raylet = RayletSide(tmp_path, parent=True, **node)
    try:
        assert raylet.receive()["op"] == "ready"
        outsider = subprocess.Popen(
            ["sh", "-c", f"echo > {ready}; exec sleep 1000"], env={**os.environ, **node}
        )
        eventually(ready.exists)
        raylet.kill_parent()
        raylet.socket.close()
        assert outsider.wait(timeout=10) == -signal.SIGKILL
    finally:
        raylet.close()


@pytest.fixture
def node(tmp_path):
    """The variables of a node, and a process of it that descends from no zygote."""
    variables = {"CYRAY_NODE_ID": os.urandom(16).hex()}
    outsider = subprocess.Popen(["sleep", "1000"], env={**os.environ, **variables})
    yield variables, outsider
    outsider.kill()
    outsider.wait()


def test_a_zygote_that_still_imports_ends_its_node_with_its_raylet(tmp_path, node):
    variables, outsider = node
    imports = tmp_path / "imports"
    lib = tmp_path / "lib"
    lib.mkdir()
    (lib / "endless.py").write_text(
        f"import time\nopen({str(imports)!r}, 'w').close()\ntime.sleep(1000)\n"
    )
    raylet = RayletSide(tmp_path, preload="endless", parent=True, **variables)
    eventually(imports.exists, 20)
    zygote = int(raylet.log.read_text().split()[0])  # told by its parent
    pidfd = os.pidfd_open(zygote)
    raylet.kill_parent()
    os.kill(zygote, signal.SIGTERM)  # as the kernel does it then
    assert has_ended(pidfd, 10_000)
    os.close(pidfd)
    assert outsider.wait(timeout=10) == -signal.SIGKILL


def test_a_zygote_whose_raylet_is_dead_before_it_runs_ends_their_node(tmp_path, node):
    variables, outsider = node
    raylet = RayletSide(tmp_path, dead=True, **variables)
    assert raylet.process.wait(timeout=20) == 0
    assert outsider.wait(timeout=10) == -signal.SIGKILL


def test_a_preload_that_fails_is_reported_and_left_out(tmp_path):
    lib = tmp_path / "lib"
    lib.mkdir()
    (lib / "preloaded_module.py").write_text("")
    (lib / "broken_module.py").write_text("1/0")
    (lib / "leaving_module.py").write_text("import sys; sys.exit(3)")
    raylet = RayletSide(tmp_path, preload="broken_module,leaving_module,preloaded_module")
    assert raylet.receive()["op"] == "ready"
    connection, *_ = raylet.fork()
    raylet.receive()
    assert json.loads(connection.recv(65536))["preloaded"]
    raylet.close()
    assert "cannot preload 'broken_module': ZeroDivisionError" in raylet.log.read_text()
    assert "cannot preload 'leaving_module': SystemExit: 3" in raylet.log.read_text()


def test_a_preload_is_found_where_whoever_named_it_finds_it(tmp_path):
    (tmp_path / "scripts").mkdir()
    (tmp_path / "scripts" / "preloaded_module.py").write_text("")
    path = f"{tmp_path / 'scripts'}{os.pathsep}{tmp_path}"
    raylet = RayletSide(tmp_path, preload="preloaded_module", CYRAY_PRELOAD_PATH=path)
    assert raylet.receive()["op"] == "ready"
    connection, *_ = raylet.fork()
    raylet.receive()
    assert json.loads(connection.recv(65536))["preloaded"]
    raylet.close()


def test_a_preload_that_starts_a_thread_is_named(tmp_path):
    lib = tmp_path / "lib"
    lib.mkdir()
    (lib / "threaded_module.py").write_text(
        "import threading, time\n"
        "threading.Thread(target=time.sleep, args=(60,), daemon=True).start()\n"
    )
    raylet = RayletSide(tmp_path, preload="threaded_module")
    assert raylet.receive()["op"] == "ready"
    raylet.close()
    assert "importing 'threaded_module' started 1 thread(s)" in raylet.log.read_text()


def test_an_idle_zygote_imports_what_some_workers_need(tmp_path):
    raylet = RayletSide(tmp_path)
    raylet.receive()
    eventually(lambda: waits_for_ever(raylet.process.pid), 20, "an idle zygote does not run")
    assert "asyncio" in preloaded(raylet)
    raylet.close()


def waits_for_ever(pid: int) -> bool:
    """Whether the process is in a `poll` without an end."""
    with open(f"/proc/{pid}/syscall") as file:
        fields = file.read().split()
    if not fields[0].isdigit():
        return False  # it runs
    number, timeout = int(fields[0]), int(fields[3], 16)
    # poll(fds, count, -1), or ppoll(fds, count, NULL) where there is no poll.
    return timeout & 0xFFFFFFFF == 0xFFFFFFFF if number == 7 else timeout == 0


def test_asyncio_is_not_among_what_every_worker_needs():
    program = (
        "import sys; from cyray._worker import process, zygote; process.import_all(zygote._NEEDED); "
        "print([name for name in zygote._LATER if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert "asyncio" not in done.stdout, "it takes as long as all the others"


def preloaded(raylet) -> list[str]:
    connection, *_ = raylet.fork()
    assert raylet.receive()["op"] == "forked"
    told = json.loads(connection.recv(65536))
    connection.close()
    assert raylet.receive()["op"] == "exited"
    return told["modules"]
