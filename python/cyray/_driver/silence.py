"""What a driver is told that has waited for long: for whom, and what is known of them.

Place: behind `_hooks` and `events`; the words for what is known are `_node.silence`'s. Threading: any.
"""

from __future__ import annotations

import sys

from cyray import _raylet
from cyray._node import silence
from cyray._process import me


def tell_of_registration(socket: str) -> None:
    """`init` has waited for seconds."""
    _tell(
        f"still waiting for the raylet at {socket} to register this program, 30 s at most", socket
    )


def registration_failed(socket: str, message: str) -> str:
    """The text of the error when it has waited in vain."""
    return f"the raylet did not register this program: {message}; {silence.describe(socket)}"


def tell_of_question(question: str) -> None:
    """A call that asks the GCS has waited for seconds, and goes on waiting."""
    _tell(f"still waiting for the GCS at {_gcs_address()} to answer {question}", me.raylet_socket)


def _gcs_address() -> str:
    try:
        return str(_raylet.identity()["gcs_address"])
    except RuntimeError:  # the session is over
        return "?"


def _tell(what: str, socket: str) -> None:
    sys.stderr.write(f"cyray: {what}; {silence.describe(socket)}\n")
