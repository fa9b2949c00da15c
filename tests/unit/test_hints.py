"""Hints behind errors that nobody catches: where they come, and that who was there before stays."""

from __future__ import annotations

import sys
import types
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from cyray._driver import hints


def refused() -> BaseException:
    values = np.zeros(3)
    values.flags.writeable = False
    try:
        values += 1
    except ValueError as error:
        return error
    raise AssertionError("it was written")


@pytest.fixture(autouse=True)
def nothing_stays() -> Iterator[None]:
    before = sys.excepthook
    yield
    hints.remove()
    sys.excepthook = before
    hints._before = None


def test_the_hint_follows_the_error_and_only_that_one(capsys: pytest.CaptureFixture[str]) -> None:
    seen: list[Any] = []
    sys.excepthook = lambda *given: seen.append(given[1])
    before = sys.excepthook
    hints.install()
    hints.install()
    error = refused()
    sys.excepthook(type(error), error, None)
    assert seen == [error]
    assert capsys.readouterr().err.count("get(ref, writable=True)") == 1
    sys.excepthook(KeyError, KeyError("x"), None)
    assert not capsys.readouterr().err and len(seen) == 2
    hints.remove()
    assert sys.excepthook is before


def test_a_hook_that_came_later_stays_and_is_not_called_in_a_circle(
    capsys: pytest.CaptureFixture[str],
) -> None:
    sys.excepthook = lambda *given: None
    hints.install()
    ours = sys.excepthook
    sys.excepthook = later = lambda *given: ours(*given)
    hints.remove()
    assert sys.excepthook is later
    hints.install()
    assert sys.excepthook is later
    sys.excepthook(ValueError, refused(), None)
    assert capsys.readouterr().err.count("cyray:") == 1


def test_cells_of_a_notebook_have_the_hint_too(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    callbacks: list[Any] = []
    events = types.SimpleNamespace(
        register=lambda name, callback: callbacks.append(callback),
        unregister=lambda name, callback: callbacks.remove(callback),
    )
    ipython: Any = types.ModuleType("IPython")
    ipython.get_ipython = lambda: types.SimpleNamespace(events=events)
    monkeypatch.setitem(sys.modules, "IPython", ipython)
    hints.install()
    (after_cell,) = callbacks
    after_cell(types.SimpleNamespace(error_in_exec=refused()))
    assert "writable=True" in capsys.readouterr().err
    after_cell(types.SimpleNamespace(error_in_exec=None))
    assert not capsys.readouterr().err
    hints.remove()
    assert not callbacks
