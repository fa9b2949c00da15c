"""In a notebook a changed global counts from the next cell on; in a script what was there at the first call."""

from __future__ import annotations

from support import run_driver

PROGRAM = """
import sys
import types

callbacks = []
ipython = types.ModuleType("IPython")
events = types.SimpleNamespace(register=lambda name, callback: callbacks.append(callback))
ipython.get_ipython = lambda: types.SimpleNamespace(events=events)
if len(sys.argv) > 1:
    sys.modules["IPython"] = ipython

def cell():
    for callback in callbacks:
        callback(None)

import cyray

cyray.init(num_cpus=1)
FACTOR = 2

def helper(x):
    return x * FACTOR

@cyray.remote
def scaled(x):
    return helper(x)

@cyray.remote
class Scaler:
    def scaled(self, x):
        return helper(x)

def both():
    return cyray.get([scaled.remote(10), scaled.options(name="n").remote(10),
                      Scaler.remote().scaled.remote(10)])

print(both())
FACTOR = 3
cell()
print(both())

def helper(x):
    return -x

cell()
print(both())
print(both())
"""


def test_a_cell_that_changes_a_global_or_a_helper_changes_the_result(tmp_path):
    out, _ = run_driver(tmp_path, PROGRAM, "notebook")
    assert out.splitlines() == [
        "[20, 20, 20]",
        "[30, 30, 30]",
        "[-10, -10, -10]",
        "[-10, -10, -10]",
    ]


def test_a_script_keeps_what_was_there_at_the_first_call(tmp_path):
    out, _ = run_driver(tmp_path, PROGRAM)
    assert out.splitlines() == ["[20, 20, 20]"] * 4
