"""Cells of a notebook have functions described afresh; elsewhere nothing is counted."""

from __future__ import annotations

import importlib
import sys
import types

import pytest


class Events:
    def __init__(self):
        self.callbacks = []

    def register(self, name, callback):
        assert name == "pre_run_cell"
        self.callbacks.append(callback)

    def cell(self):
        for callback in self.callbacks:
            callback(None)


@pytest.fixture
def cells():
    from cyray._api import cells

    yield importlib.reload(cells)
    importlib.reload(cells)


def ipython(monkeypatch, shell):
    module = types.ModuleType("IPython")
    module.get_ipython = lambda: shell  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "IPython", module)


def test_without_ipython_there_are_no_cells(monkeypatch, cells):
    monkeypatch.delitem(sys.modules, "IPython", raising=False)
    assert cells.number() == 0


def test_a_module_without_a_shell_is_no_notebook(monkeypatch, cells):
    ipython(monkeypatch, None)
    assert cells.number() == 0


def test_each_cell_counts_and_has_functions_described_again(monkeypatch, cells):
    described = []
    monkeypatch.setattr(cells._raylet, "describe_again", lambda: described.append(1))
    events = Events()
    ipython(monkeypatch, types.SimpleNamespace(events=events))
    assert cells.number() == 0
    events.cell()
    assert (cells.number(), len(described)) == (1, 1)
    events.cell()
    assert (cells.number(), len(described)) == (2, 2)
    assert len(events.callbacks) == 1
