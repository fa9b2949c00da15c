"""cyray.util: names that are a module and a function, and those that come late."""

from __future__ import annotations

import importlib
import pkgutil
import subprocess
import sys

import cloudpickle
import pytest

import cyray.util


def test_every_public_name_is_there():
    assert [name for name in cyray.util.__all__ if not hasattr(cyray.util, name)] == []
    with pytest.raises(AttributeError, match="no attribute 'other'"):
        cyray.util.other


@pytest.mark.parametrize(
    "order",
    [
        "from cyray.util import placement_group as f; from cyray.util.placement_group import PlacementGroup",
        "import cyray.util.placement_group as f; from cyray.util import remove_placement_group",
    ],
)
def test_placement_group_is_a_module_and_the_function(order):
    code = f"{order}\nf.PlacementGroup, f.placement_group\nf()"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert "placement_group() missing 1 required positional argument: 'bundles'" in done.stderr


def test_every_module_travels_by_its_name():
    """Functions are pickled with the modules that they use."""
    for info in pkgutil.walk_packages(cyray.__path__, "cyray."):
        if info.name.endswith("__main__"):
            continue
        module = importlib.import_module(info.name)
        assert cloudpickle.loads(cloudpickle.dumps(module)) is module, info.name
