"""Workers that cannot start: nobody waits for ever, and the error says why."""

from __future__ import annotations

import pytest

import cyray
from cyray.exceptions import ActorDiedError, ActorUnschedulableError, TaskUnschedulableError

# Preloaded into the process that workers are forked from, it ends each of them at its birth.
KILLER = """
import os

def end():
    os.write(2, b"the killer was here\\n")
    os._exit(7)

os.register_at_fork(after_in_child=end)
"""


@pytest.fixture
def killer(tmp_path, monkeypatch):
    (tmp_path / "born_dead.py").write_text(KILLER)
    monkeypatch.syspath_prepend(str(tmp_path))
    return "born_dead"


def test_tasks_and_actors_fail_with_the_reason(killer):
    cyray.init(num_cpus=0, worker_preload=[killer])

    @cyray.remote(num_cpus=0)
    def task():
        return 1

    @cyray.remote(num_cpus=0)
    class Actor:
        def method(self):
            return 1

    with pytest.raises(TaskUnschedulableError, match="Workers cannot be started") as error:
        cyray.get(task.remote(), timeout=30)
    assert "exit code 7" in str(error.value)
    assert "the killer was here" in str(error.value)
    with pytest.raises((ActorDiedError, ActorUnschedulableError), match="exit code 7"):
        cyray.get(Actor.remote().method.remote(), timeout=30)
