"""One session of cyray for all tests of a file, for files whose tests leave no trace in it.

A file imports both fixtures; `INIT` in the file, when there is one, has the arguments of `init()`:

    from shared_session import nothing_is_left, session

`nothing_is_left` replaces the fixture of that name that looks after every single test: here it looks
once, when the file is done.
"""

from __future__ import annotations

import contextlib
import os
from collections import Counter
from collections.abc import Iterator
from types import ModuleType

import pytest


def standard_streams() -> Counter[str]:
    """What stdin, stdout and stderr are now: pytest changes them between tests and their end."""
    kinds: Counter[str] = Counter()
    for fd in range(3):
        with contextlib.suppress(OSError):
            kinds[os.readlink(f"/proc/self/fd/{fd}").split("[")[0]] += 1
    return kinds


@pytest.fixture(autouse=True, scope="module")
def nothing_is_left(request: pytest.FixtureRequest) -> Iterator[None]:
    """After a file: nothing of its session exists any more."""
    path = os.path.join(os.path.dirname(__file__), "conftest.py")
    conftest = request.config.pluginmanager.get_plugin(path)
    before = conftest.open_descriptors()
    before.subtract(standard_streams())
    yield
    import cyray

    cyray.shutdown()
    conftest.fail_on_leftovers(lambda: before + standard_streams())


@pytest.fixture(scope="module", autouse=True)
def session(request: pytest.FixtureRequest, nothing_is_left: None) -> Iterator[ModuleType]:
    """cyray, started once for the file."""
    import cyray

    arguments = {"num_cpus": 2, **getattr(request.module, "INIT", {})}
    cyray.init(**arguments)
    yield cyray
    cyray.shutdown()
