"""Who may connect: file modes, the cluster token, and what garbage on a socket can do."""

from __future__ import annotations

import os
import random
import shutil
import signal
import socket
import stat
import struct
import subprocess
import sys

import pytest
from support import eventually, gcs_pid, node_state, raylet_pid

import cyray


@pytest.fixture
def context():
    yield cyray.init(num_cpus=1)


def works():
    @cyray.remote
    def f(x):
        return x + 1

    return cyray.get(f.remote(1), timeout=20) == 2


def mode(path):
    return stat.S_IMODE(os.lstat(path).st_mode)


def test_the_session_folder_is_its_users_alone(context):
    folder = context["session_dir"]
    assert mode(folder) == 0o700
    assert mode(os.path.join(folder, "sockets")) == mode(os.path.join(folder, "logs")) == 0o700
    assert mode(os.path.join(folder, "token")) == 0o600
    for name in os.listdir(folder):
        path = os.path.join(folder, name)
        if stat.S_ISREG(os.lstat(path).st_mode):
            assert mode(path) & 0o077 == 0, name
    for name in os.listdir(os.path.join(folder, "sockets")):
        path = os.path.join(folder, "sockets", name)
        if stat.S_ISSOCK(os.lstat(path).st_mode):
            assert mode(path) & 0o077 == 0, name


def test_the_token_is_on_no_command_line_in_no_environment_and_in_no_log(context):
    with open(os.path.join(context["session_dir"], "token")) as file:
        token = file.read().strip()
    assert len(token) == 64
    assert works()
    from support import session_processes

    for pid in session_processes():
        for name in ("cmdline", "environ"):
            with open(f"/proc/{pid}/{name}", "rb") as file:
                assert token.encode() not in file.read()
    logs = os.path.join(context["session_dir"], "logs")
    for name in os.listdir(logs):
        with open(os.path.join(logs, name)) as file:
            assert token not in file.read()


def test_only_loopback_is_listened_on(context):
    inodes = set()
    from support import session_processes

    for pid in session_processes():
        for fd in os.listdir(f"/proc/{pid}/fd"):
            try:
                target = os.readlink(f"/proc/{pid}/fd/{fd}")
            except OSError:
                continue
            if target.startswith("socket:["):
                inodes.add(target[8:-1])
    listening = []
    for table in ("tcp", "tcp6"):
        with open(f"/proc/net/{table}") as file:
            for line in file.readlines()[1:]:
                fields = line.split()
                if fields[3] == "0A" and fields[9] in inodes:
                    listening.append(fields[1].split(":")[0])
    assert listening and set(listening) <= {"0100007F", "0000000000000000FFFF00000100007F"}


def peer_port():
    return cyray.nodes()[0]["NodeManagerPort"]


def closed_by_peer(connection):
    """Whether the other side closes; what it says before is returned in `.said`."""
    connection.settimeout(15)
    said = b""
    try:
        while data := connection.recv(4096):
            said += data
    except ConnectionError:
        pass
    return said


def test_garbage_on_the_peer_port_is_closed_and_nothing_else(context):
    choose = random.Random(7)
    for size in (1, 40, 1000, 100_000):
        with socket.create_connection(("127.0.0.1", peer_port())) as connection:
            try:
                connection.sendall(choose.randbytes(size))
                connection.shutdown(socket.SHUT_WR)
            except OSError:  # closed already
                pass
            assert len(closed_by_peer(connection)) < 200
    assert works()


def test_a_handshake_with_a_wrong_proof_gets_nothing(context):
    # The listener's magic is learned from a first connection that sends what a dialer sends.
    with socket.create_connection(("127.0.0.1", peer_port())) as connection:
        connection.sendall(b"\0" * 40)
        assert closed_by_peer(connection) == b"", "a wrong magic is answered with nothing"
    assert works()


def test_a_connection_that_says_nothing_does_not_stop_others(context):
    idle = [socket.create_connection(("127.0.0.1", peer_port())) for _ in range(20)]
    assert works()
    for connection in idle:
        connection.close()
    assert works()


def test_a_node_with_another_token_is_not_let_in(context, tmp_path):
    from cyray._node.local import LocalNode
    from cyray._node.options import NodeOptions
    from cyray._node.sessions import make_session

    session = make_session()
    try:
        with pytest.raises(RuntimeError):
            LocalNode(
                NodeOptions(
                    num_cpus=1, head=False, gcs_address=context["gcs_address"], session_dir=session
                )
            )
        assert len(cyray.nodes()) == 1
    finally:
        shutil.rmtree(session)
    assert works()


def test_the_gcs_answers_nobody_without_the_token(context):
    grpc = pytest.importorskip("grpc")
    with open(f"/proc/{raylet_pid()}/cmdline") as file:
        assert "gcs" in file.read()
    with grpc.insecure_channel(context["gcs_address"]) as channel:
        for method in ("/cyray.wire.Gcs/Call", "/cyray.wire.Gcs/Node", "/no.such/Method"):
            call = channel.unary_unary(
                method, request_serializer=lambda x: x, response_deserializer=lambda x: x
            )
            with pytest.raises(grpc.RpcError) as caught:
                call(b"\0" * 64, timeout=10)
            assert caught.value.code() in (
                grpc.StatusCode.UNAUTHENTICATED,
                grpc.StatusCode.UNIMPLEMENTED,
                grpc.StatusCode.PERMISSION_DENIED,
            )
    assert works()


def test_nobody_can_take_the_port_of_the_gcs_while_it_is_restarted(context):
    host, _, port = context["gcs_address"].rpartition(":")
    for _ in range(5):
        before = gcs_pid()
        os.kill(before, signal.SIGKILL)
        # What a stranger would do all the while.
        while gcs_pid() == before:
            with socket.socket() as stranger:
                stranger.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                with pytest.raises(OSError):
                    stranger.bind((host, int(port)))
                    stranger.listen(1)
        assert cyray.nodes()[0]["Alive"]


def test_a_session_folder_that_others_may_enter_is_refused_by_raylet_and_driver(context):
    from cyray._node.local import LocalNode
    from cyray._node.options import NodeOptions
    from cyray._node.sessions import make_session

    session = make_session()
    try:
        os.chmod(session, 0o755)
        with pytest.raises(RuntimeError, match=f"{session} must be a folder of user .*0700"):
            LocalNode(NodeOptions(num_cpus=1, session_dir=session))
        os.chmod(session, 0o700)
        os.chmod(os.path.join(session, "token"), 0o644)
        with pytest.raises(RuntimeError, match="token must be a file of this user"):
            LocalNode(NodeOptions(num_cpus=1, session_dir=session))
    finally:
        shutil.rmtree(session)
    sockets = os.path.join(context["session_dir"], "sockets")
    cyray_address = context["gcs_address"]
    os.chmod(sockets, 0o755)
    other = "import cyray, sys; cyray.init(address=sys.argv[1])"
    try:
        run = subprocess.run(
            [sys.executable, "-c", other, cyray_address], capture_output=True, text=True, timeout=30
        )
    finally:
        os.chmod(sockets, 0o700)
    assert f"ConnectionError: {sockets} must be a folder of user" in run.stderr
    assert works()


FRAMES = [
    b"\xff" * 8,
    struct.pack("<IHBB", 0xFFFFFFF8, 1, 0, 0),  # a body of 4 GB
    struct.pack("<IHBB", 8, 9999, 0, 0) + b"\0" * 8,  # no such type
    struct.pack("<IHBB", 7, 1, 0, 0) + b"\0" * 7,  # no multiple of 8
    struct.pack("<IHBB", 64, 1, 0, 0) + b"\xff" * 64,  # a body that does not verify
    struct.pack("<IHBB", 64, 3, 0, 0) + b"\0" * 64,  # a lease request before registering
    struct.pack("<IHBB", 8, 1, 200, 0) + b"\0" * 8,  # descriptors that do not come
]


@pytest.mark.parametrize("garbage", FRAMES, ids=range(len(FRAMES)))
def test_garbage_on_the_raylets_socket_closes_that_connection_only(context, garbage):
    path = cyray.nodes()[0]["RayletSocketName"]
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    with connection:
        connection.connect(path)
        try:
            connection.sendall(garbage)
            connection.shutdown(socket.SHUT_WR)
        except OSError:  # closed already
            pass
        closed_by_peer(connection)
    assert works()


def test_random_bytes_on_the_raylets_socket(context):
    path = cyray.nodes()[0]["RayletSocketName"]
    choose = random.Random(11)
    for _ in range(50):
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        with connection:
            connection.connect(path)
            try:
                header = struct.pack("<IHBB", 8 * choose.randrange(20), choose.randrange(60), 0, 0)
                connection.sendall(header + choose.randbytes(160))
            except ConnectionError:
                pass
    assert works()


def test_clients_that_come_and_go_leave_nothing_in_the_raylet(context):
    path = cyray.nodes()[0]["RayletSocketName"]
    assert works()
    fds = len(os.listdir(f"/proc/{raylet_pid()}/fd"))
    for _ in range(100):
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        connection.connect(path)
        connection.close()
    eventually(lambda: len(os.listdir(f"/proc/{raylet_pid()}/fd")) <= fds + 2)
    assert len(node_state()["drivers"]) == 1
