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
from cyray._driver.wants import group_words
from cyray._driver.why import explain, explain_group, store_lines

_GCS_S = 2.0  # so long the GCS may take to say what it knows
_NOT_KNOWN = "  the GCS does not know it: it was removed long ago, or is just being made"


def ask() -> Facts:
    """What everybody says that he does and waits for."""
    text = _raylet.node_dump(everywhere=True)
    facts = Facts.parse(text)
    if "bundle_group_" in text:  # a demand or a node names one
        facts.groups = _groups()
    return facts


def _groups() -> dict[str, Any]:
    """What the GCS says of placement groups; nothing when it does not answer soon."""
    found: dict[str, Any] = {}

    def look() -> None:
        try:
            found.update((row["id"], row) for row in _raylet.list_groups())
        except RuntimeError:  # the session is over
            pass

    thread = threading.Thread(target=look, name="cyray-groups", daemon=True)
    thread.start()
    thread.join(_GCS_S)
    return dict(found)


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


def tell_of_group(group: str, row: dict[str, Any] | None, waited_s: float) -> None:
    """Prints what a placement group waits for, whose `wait` takes long; `row`: what the GCS says of it."""

    def tell() -> None:
        try:
            facts = ask()
        except RuntimeError:  # the session is over
            return
        if row is not None:
            facts.groups[group] = row
        head = f"wait() has waited for {seconds(waited_s * 1000)} for {group_words(group, facts.groups)}"
        lines = [_NOT_KNOWN] if row is None else explain_group(row, facts)
        write(_notice(head, lines))

    _start(tell)


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
