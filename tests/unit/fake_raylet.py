"""A raylet that only starts, says that it is ready, and ends: what LocalNode sees of one.

FAKE_RAYLET chooses how it behaves: "" (well), "error", "die", "stubborn" (ignores SIGTERM).
"""

from __future__ import annotations

import argparse
import json
import os
import select
import signal
import sys


def main() -> None:
    parser = argparse.ArgumentParser()
    for name in (
        "session-dir",
        "socket",
        "node-ip",
        "token-file",
        "python",
        "resources",
        "labels",
        "gcs-server",
        "preload",
        "gcs-address",
    ):
        parser.add_argument(f"--{name}")
    for name in (
        "port",
        "metrics-export-port",
        "gcs-port",
        "object-store-memory",
        "lifeline-fd",
        "ready-fd",
        "prestart",
    ):
        parser.add_argument(f"--{name}", type=int)
    parser.add_argument("--head", action="store_true")
    args = parser.parse_args()
    behaviour = os.environ.get("FAKE_RAYLET", "")
    if behaviour == "error":
        print("a line of the log", flush=True)
        os.write(args.ready_fd, json.dumps({"error": "the port is taken"}).encode() + b"\n")
        sys.exit(1)
    if behaviour == "die":
        print("bad flag, good bye", flush=True)
        sys.exit(1)
    if behaviour == "stubborn":
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    open(args.socket, "w").close()
    with open(os.path.join(args.session_dir, "seen.json"), "w") as file:
        json.dump({"args": vars(args), "fds": sorted(os.listdir("/proc/self/fd"))}, file)
    ready = {
        "node_id": "ab" * 20,
        "port": 4001,
        "metrics_port": 4002,
        "gcs_address": args.gcs_address or f"{args.node_ip}:{args.gcs_port or 4000}",
        "socket": args.socket,
        "pid": os.getpid(),
    }
    os.write(args.ready_fd, json.dumps(ready).encode() + b"\n")
    os.close(args.ready_fd)
    poll = select.poll()
    if args.lifeline_fd is not None:
        poll.register(args.lifeline_fd, select.POLLIN)
    poll.poll()


main()
