"""Errors that nobody gets are told once; so is what a program leaves undone."""

from __future__ import annotations

from support import WATCHED_DRIVER, run_driver

MARK = "an error that nobody has got"


def driver_of(tmp_path, source, *args, **env):
    return run_driver(tmp_path, WATCHED_DRIVER + source, *args, **env)


HELD = """
cyray.init(num_cpus=2)

@cyray.remote
def fails(word):
    raise ValueError(word)

ref = fails.remote("a stage failed")
sys.stderr.await_text("ValueError: a stage failed")
print("told while it is held")
"""


def test_an_error_is_told_while_its_ref_is_held_and_once(tmp_path):
    out, err = driver_of(tmp_path, HELD)
    assert out == "told while it is held\n"
    assert err.count(MARK) == 1 and err.count("ValueError: a stage failed") == 1
    assert "in fails" in err


def test_an_error_whose_ref_is_dropped_is_told(tmp_path):
    _, err = driver_of(tmp_path, HELD.replace("ref = fails", "fails"))
    assert err.count(MARK) == 1 and err.count("ValueError: a stage failed") == 1


def test_an_error_is_told_at_the_end_when_it_came_just_before(tmp_path):
    _, err = driver_of(
        tmp_path,
        """
cyray.init(num_cpus=1)

@cyray.remote
def fails():
    raise ValueError("forgotten")

ref = fails.remote()
cyray.wait([ref])
""",
    )
    assert err.count("ValueError: forgotten") == 1


def test_an_error_that_somebody_gets_is_not_told(tmp_path):
    _, err = driver_of(
        tmp_path,
        """
import asyncio
cyray.init(num_cpus=1)

@cyray.remote
def fails():
    raise ValueError("got")

@cyray.remote
def passes_on(x):
    return x

def expect(call):
    try:
        call()
    except ValueError:
        return
    raise AssertionError("no error")

expect(lambda: cyray.get(fails.remote()))
refs = [fails.remote() for _ in range(3)]
cyray.wait(refs, num_returns=3)
expect(lambda: cyray.get(refs))
expect(lambda: cyray.get(passes_on.remote(fails.remote())))
expect(lambda: fails.remote().future().result())

async def main():
    await fails.remote()

expect(lambda: asyncio.run(main()))
""",
    )
    assert MARK not in err


def test_an_error_is_told_once_for_all_results_of_its_task(tmp_path):
    _, err = driver_of(
        tmp_path,
        """
cyray.init(num_cpus=1)

@cyray.remote(num_returns=3)
def fails():
    raise ValueError("thrice")

refs = fails.remote()
cyray.wait(refs, num_returns=3)
""",
    )
    assert err.count("ValueError: thrice") == 1


def test_many_errors_are_counted(tmp_path):
    _, err = driver_of(
        tmp_path,
        """
cyray.init(num_cpus=2)

@cyray.remote
def fails():
    raise ValueError("one of many")

refs = [fails.remote() for _ in range(40)]
cyray.wait(refs, num_returns=40)
""",
    )
    told = err.count("ValueError: one of many")
    assert 0 < told < 40
    assert "more errors that nobody has got" in err


def test_errors_that_are_wanted_are_not_told(tmp_path):
    program = """
cyray.init(num_cpus=1)

@cyray.remote
def fails():
    raise ValueError("ignored")

@cyray.remote
def f():
    return 1

ref = f.options(resources={"Nowhere": 1}).remote()
cyray.cancel(ref)
cyray.wait([ref])

@cyray.remote
def hangs(signal):
    cyray.get(signal.wait.remote())

from cyray.test_utils import SignalActor
signal = SignalActor.remote()
running = hangs.remote(signal)
while not cyray.get(signal.cur_num_waiters.remote()):
    pass
cyray.cancel(running, force=True)
cyray.wait([running])
if len(sys.argv) > 1:
    cyray.wait([fails.remote()])
"""
    assert MARK not in driver_of(tmp_path, program)[1]
    _, err = driver_of(tmp_path, program, "fail", CYRAY_IGNORE_UNHANDLED_ERRORS="1")
    assert MARK not in err


def test_a_program_says_how_many_tasks_it_drops(tmp_path):
    _, err = driver_of(
        tmp_path,
        """
cyray.init(num_cpus=1)

@cyray.remote
def step(path):
    print("begins", file=sys.stderr, flush=True)
    open(path).close()

import os
os.mkfifo("fifo")
refs = [step.remote(os.path.abspath("fifo")) for _ in range(50)]
sys.stderr.await_text("begins")
""",
    )
    assert (
        "cyray: 50 tasks were dropped when this session ended: 49 had not begun and 1 was running."
        in err
    )


def test_a_program_that_drops_nothing_says_nothing(tmp_path):
    _, err = driver_of(
        tmp_path,
        """
cyray.init(num_cpus=1)

@cyray.remote
def f():
    return 1

cyray.get([f.remote() for _ in range(20)])
""",
    )
    assert err == ""
