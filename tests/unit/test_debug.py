"""util.debug: a key is said once, never, or once a minute."""

from __future__ import annotations

import pytest

from cyray.experimental import internal_kv
from cyray.util import debug, disable_log_once_globally, enable_periodic_logging, log_once


@pytest.fixture(autouse=True)
def clock(monkeypatch):
    """A clock that a test sets, and nothing said yet."""
    now = [1000.0]
    monkeypatch.setattr(debug.time, "monotonic", lambda: now[0])
    for name in ("_disabled", "_periodic"):
        monkeypatch.setattr(debug, name, False)
    debug.reset_log_once()
    yield now
    debug.reset_log_once()


def test_a_key_is_true_once(clock):
    assert [log_once("a"), log_once("a"), log_once("b")] == [True, False, True]
    clock[0] += 1000
    assert not log_once("a")
    debug.reset_log_once("a")
    assert [log_once("a"), log_once("b")] == [True, False]


def test_once_a_minute(clock):
    enable_periodic_logging()
    assert [log_once("a"), log_once("a")] == [True, False]
    clock[0] += 61
    assert [log_once("a"), log_once("a")] == [True, False]


def test_never(clock):
    disable_log_once_globally()
    assert not log_once("a")
    enable_periodic_logging()
    assert log_once("a")


def test_the_table_of_the_cluster_needs_a_cluster():
    assert not internal_kv._internal_kv_initialized()
    with pytest.raises(Exception, match="has not been started"):
        internal_kv._internal_kv_get("a")
