"""What a driver is told while it waits for long, and what a `GetTimeoutError` says: why.

Place: above `why`; behind `events`, whose thread looks once a second, and `_hooks`. Threading: notices are
made on a thread of their own, one by one, for the nodes are asked; `why_missing` on the thread that asks.
"""

from __future__ import annotations

import contextlib
import json
import threading
import traceback
from collections import deque
from collections.abc import Callable
from typing import Any

from cyray import _raylet
from cyray._driver.facts import Facts, seconds
from cyray._driver.unread import write
from cyray._driver.wants import group_is_named, group_words
from cyray._driver.why import explain, explain_group, store_lines

_GCS_S = 2.0  # so long the GCS may take to say what it knows
_NOT_KNOWN = "  the GCS does not know it: it was removed long ago, or is just being made"


class _GroupsOfGcs:
    """What the GCS says of placement groups, by id. It may be silent for long: one question is on its way at a
    time, however many ask, and nobody waits for longer than that is worth."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._asked: tuple[threading.Event, dict[str, Any]] | None = None

    def ask(self, wait_s: float) -> dict[str, Any]:
        """The rows that come within that time: nothing when none do."""
        with self._lock:
            if self._asked is None:
                # It takes the lock before it looks for what was asked.
                threading.Thread(target=self._look, name="cyray-groups", daemon=True).start()
                self._asked = threading.Event(), {}
            answered, rows = self._asked
        return rows if answered.wait(wait_s) else {}

    def _look(self) -> None:
        found: dict[str, Any] = {}
        try:
            with contextlib.suppress(RuntimeError):  # the session is over
                found = {row["id"]: row for row in _raylet.list_groups()}
        finally:
            with self._lock:
                assert self._asked is not None
                answered, rows = self._asked
                self._asked = None
            rows.update(found)
            answered.set()


class _OneByOne:
    """Runs what it is given on one thread, which is there while there is something to run."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._lock = threading.Lock()
        self._work: deque[Callable[[], None]] = deque()
        self._runs = False

    def start(self, work: Callable[[], None]) -> None:
        """Has it run, behind what was given before."""
        with self._lock:
            self._work.append(work)
            if not self._runs:
                threading.Thread(target=self._run, name=self._name, daemon=True).start()
                self._runs = True

    def _run(self) -> None:
        while True:
            with self._lock:
                if not self._work:
                    self._runs = False
                    return
                work = self._work.popleft()
            try:
                work()
            except Exception:  # a fault of ours: the next one is told nevertheless
                traceback.print_exc()


_groups = _GroupsOfGcs()
_notices = _OneByOne("cyray-notice")


def ask() -> Facts:
    """What everybody says that he does and waits for."""
    facts = Facts.parse(_raylet.node_dump(everywhere=True))
    if group_is_named(facts):
        facts.groups = dict(_groups.ask(_GCS_S))
    return facts


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

    _notices.start(tell)


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
            _notices.start(lambda: _tell(waits, awaited, self._patience_s))

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
