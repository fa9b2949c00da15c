"""What a driver is told while it waits for long, and what a `GetTimeoutError` says: why.

Place: above `why`; behind `events`, whose thread looks once a second, and `_hooks`. Threading: a notice is
made on a thread of its own, for the nodes are asked; `why_missing` on the thread that asks.
"""

from __future__ import annotations

import json
import threading
from typing import Any

from cyray import _raylet
from cyray._driver.facts import Facts, seconds
from cyray._driver.unread import write
from cyray._driver.why import explain, store_lines


def ask() -> Facts:
    """What everybody says that he does and waits for."""
    return Facts.parse(_raylet.node_dump(everywhere=True))


def why_missing(missing: str) -> str:
    """Lines about objects that a `get` did not get in time; `missing`: JSON of them."""
    try:
        lines = explain(json.loads(missing), ask(), _raylet.identity()["job_id"])
    except RuntimeError:  # the session is over
        return ""
    return "".join(f"{line}\n" for line in lines)


def why_store_full() -> str:
    """Lines about the largest objects in this node's store, and whose they are."""
    try:
        return "".join(f"\n{line}" for line in store_lines(ask(), _raylet.identity()["node_id"]))
    except RuntimeError:  # the session is over
        return ""


class Watch:
    """Looks for waits that last, and tells of each once.

    Waits of threads have numbers that grow, awaited refs have tokens that grow: those of an earlier look
    are those that have waited as long.
    """

    def __init__(self, patience_s: float, period_s: float) -> None:
        self._patience_s = patience_s
        self._period_s = period_s
        self._told_wait = 0
        self._told_tokens: set[int] = set()
        self._tokens: list[int] = []  # what the next token was at the last looks

    def look(self) -> None:
        if not self._patience_s:
            return
        waits = json.loads(_raylet.long_waits(int(self._patience_s * 1000), self._told_wait))
        waits = [wait for wait in waits if wait["size"]]
        for wait in waits:
            self._told_wait = max(self._told_wait, wait["number"])
        awaited = self._long_awaited()
        if waits or awaited:
            _start(lambda: _tell(waits, awaited, self._patience_s))

    def _long_awaited(self) -> list[Any]:
        # As many looks as fit into the patience: what is older than the oldest has waited as long.
        self._tokens.append(_raylet.next_token())
        looks = round(self._patience_s / self._period_s)
        if len(self._tokens) <= looks:
            return []
        before = self._tokens[-looks - 1]
        self._tokens = self._tokens[-looks - 1 :]
        found = _raylet.awaited(before)
        fresh = [ref for token, ref in found if token not in self._told_tokens]
        self._told_tokens = {token for token, _ in found}
        return fresh


def _start(work: Any) -> None:
    threading.Thread(target=work, name="cyray-notice", daemon=True).start()


def _tell(waits: list[dict[str, Any]], awaited: list[Any], patience_s: float) -> None:
    try:
        job = _raylet.identity()["job_id"]
        facts = ask()
        text = ""
        for wait in waits:
            call = "get" if wait["for_all"] else "wait"
            text += _notice(
                f"{call}() has waited for {seconds(wait['for_ms'])} for {wait['missing']} of "
                f"{wait['size']} objects",
                explain(wait["objects"], facts, job),
            )
        if awaited:
            missing = json.loads(_raylet.missing_objects(awaited))
            if missing:
                text += _notice(
                    f"{len(awaited)} refs were awaited for {seconds(patience_s * 1000)}",
                    explain(missing, facts, job),
                )
    except RuntimeError:  # the session is over
        return
    write(text)


def _notice(head: str, lines: list[str]) -> str:
    return "".join(f"{line}\n" for line in [f"cyray: {head}:", *lines])
