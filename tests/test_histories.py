"""Histories of submitting, waiting, getting, cancelling and dropping, against a model that knows what is ready.

Each task or call waits at a gate of its own, which the test opens: so what is ready, and what is not, is known
at every moment. After each step everything that must be ready is awaited, and the rest must not be.
"""

from __future__ import annotations

import asyncio
import itertools
from collections import defaultdict
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from support import eventually

import cyray
from cyray import _raylet
from cyray.exceptions import GetTimeoutError, TaskCancelledError, WorkerCrashedError

INIT = {"num_cpus": 2}
pytestmark = pytest.mark.usefixtures("shared_session")

LARGE = 300_000  # bytes: such a value lives in the store
MOST_HELD = 10
MOST_AT_GATES = 4  # tasks: each of them has a process
NUMBERS = itertools.count()  # of gates, which all histories share


@cyray.remote(num_cpus=0)
class Gates:
    def __init__(self):
        self.events = defaultdict(asyncio.Event)
        self.fails = set()

    async def wait(self, number):
        await self.events[number].wait()
        return number in self.fails

    async def open(self, number, fails=False):
        if fails:
            self.fails.add(number)
        self.events[number].set()

    async def call(self, number, chain, size):
        return result(await self.wait(number), number, chain, size)

    async def items(self, numbers):
        for number in numbers:
            await self.events[number].wait()
            yield number


def result(fails, number, before, size):
    if fails:
        raise ValueError(f"gate {number}")
    return [*(before[0] if before else []), number], bytes(size)


@cyray.remote
def task(gates, number, before, size):
    return result(cyray.get(gates.wait.remote(number)), number, before, size)


@cyray.remote
def task_items(gates, numbers):
    for number in numbers:
        cyray.get(gates.wait.remote(number))
        yield number


# --- The model -----------------------------------------------------------------------------------


class Thing:
    """A task or call, and what becomes of it."""

    def __init__(self, is_task: bool, size: int, before: Thing | None) -> None:
        self.number = next(NUMBERS)
        self.is_task, self.size, self.before = is_task, size, before
        self.gate: bool | None = None  # whether it fails, once its gate is open
        self.outcome: tuple[Any, ...] | None = None
        self.ref: Any = None

    def look(self) -> None:
        """Decides, when that can be decided."""
        before = self.before.outcome if self.before else ("value", [])
        if self.outcome is not None or before is None:
            return
        if before[0] != "value":
            self.outcome = before
        elif self.gate is not None:
            self.outcome = (
                ("error", f"gate {self.number}")
                if self.gate
                else ("value", [*before[1], self.number])
            )


class Items:
    """A generator: how many of its items are there, and how many were taken."""

    def __init__(self, is_task: bool, count: int) -> None:
        self.numbers = [next(NUMBERS) for _ in range(count)]
        self.is_task = is_task
        self.opened = self.taken = 0
        self.cancelled = False
        self.error_taken = False
        self.ref: Any = None

    def is_over(self) -> bool:
        return self.cancelled or self.opened == len(self.numbers)


class Histories(RuleBasedStateMachine):
    gates: Any = None

    def __init__(self) -> None:
        super().__init__()
        self.things: list[Thing] = []  # whose refs are held, in the order of submission
        self.every: list[Thing] = []
        self.generators: list[Items] = []
        self.every_generator: list[Items] = []

    def settle(self) -> None:
        for thing in self.every:  # what comes before is earlier in the list
            thing.look()
        ready = [thing.ref for thing in self.things if thing.outcome]
        if ready:
            missing = cyray.wait(ready, num_returns=len(ready), timeout=30)[1]
            assert not missing, "what must be ready never comes"
        coming = [g.ref for g in self.generators if g.taken < g.opened]
        if coming:
            assert not cyray.wait(coming, num_returns=len(coming), timeout=30)[1]

    def at_gates(self) -> int:
        waiting = sum(thing.is_task and thing.outcome is None for thing in self.every)
        return waiting + sum(g.is_task and not g.is_over() for g in self.every_generator)

    def pick(self, index: int) -> Thing:
        return self.things[index % len(self.things)]

    def pick_items(self, index: int) -> Items:
        return self.generators[index % len(self.generators)]

    # --- Tasks and calls --------------------------------------------------------------------------

    @precondition(lambda self: len(self.things) < MOST_HELD)
    @rule(
        is_task=st.booleans(),
        size=st.sampled_from([0, 0, LARGE]),
        before=st.none() | st.integers(0, 9),
    )
    def submit(self, is_task: bool, size: int, before: int | None) -> None:
        is_task = is_task and self.at_gates() < MOST_AT_GATES
        needed = self.pick(before) if before is not None and self.things else None
        thing = Thing(is_task, size, needed)
        ref = needed and needed.ref
        if is_task:
            thing.ref = task.remote(self.gates, thing.number, ref, size)
        else:
            thing.ref = self.gates.call.remote(thing.number, ref, size)
        self.things.append(thing)
        self.every.append(thing)
        self.settle()

    @precondition(lambda self: self.things)
    @rule(index=st.integers(0, 9), fails=st.sampled_from([False, False, True]))
    def open_gate(self, index: int, fails: bool) -> None:
        thing = self.pick(index)
        if thing.gate is None:
            thing.gate = fails
            cyray.get(self.gates.open.remote(thing.number, fails))
            self.settle()

    @precondition(lambda self: self.things)
    @rule(index=st.integers(0, 9), force=st.booleans())
    def cancel(self, index: int, force: bool) -> None:
        thing = self.pick(index)
        cyray.cancel(thing.ref, force=force and thing.is_task)
        thing.outcome = thing.outcome or ("cancelled",)
        self.settle()

    @precondition(lambda self: self.things)
    @rule(index=st.integers(0, 9))
    def drop(self, index: int) -> None:
        thing = self.things.pop(index % len(self.things))
        thing.ref = None
        self.settle()

    @precondition(lambda self: self.things)
    @rule(index=st.integers(0, 9))
    def get(self, index: int) -> None:
        thing = self.pick(index)
        expected = thing.outcome or ("timeout",)
        try:
            chain, padding = cyray.get(thing.ref, timeout=0)
        except TaskCancelledError:
            found: tuple[Any, ...] = ("cancelled",)
        except WorkerCrashedError as error:  # it had begun, and was cancelled by force
            assert "was cancelled by force" in str(error)
            found = ("cancelled",)
        except GetTimeoutError:
            found = ("timeout",)
        except ValueError as error:
            found = ("error", str(error).strip().rpartition("ValueError: ")[2])
        else:
            found = ("value", chain)
            assert len(padding) == thing.size
        assert found == expected

    @rule()
    def get_all_values(self) -> None:
        ready = [t for t in self.things if t.outcome and t.outcome[0] == "value"]
        values = cyray.get([thing.ref for thing in ready], timeout=0)
        assert [chain for chain, _ in values] == [thing.outcome[1] for thing in ready]

    @precondition(lambda self: self.things)
    @rule(count=st.integers(1, 10))
    def wait(self, count: int) -> None:
        count = min(count, len(self.things))
        refs = [thing.ref for thing in self.things]
        ready, rest = cyray.wait(refs, num_returns=count, timeout=0)
        expected = [thing.ref for thing in self.things if thing.outcome][:count]
        assert ready == expected
        assert rest == [ref for ref in refs if ref not in expected]

    # --- Generators -------------------------------------------------------------------------------

    @precondition(lambda self: len(self.generators) < 3)
    @rule(is_task=st.booleans(), count=st.integers(0, 3))
    def start_generator(self, is_task: bool, count: int) -> None:
        made = Items(is_task and self.at_gates() < MOST_AT_GATES, count)
        if made.is_task:
            made.ref = task_items.remote(self.gates, made.numbers)
        else:
            made.ref = self.gates.items.remote(made.numbers)
        self.generators.append(made)
        self.every_generator.append(made)

    @precondition(lambda self: self.generators)
    @rule(index=st.integers(0, 2))
    def open_item(self, index: int) -> None:
        made = self.pick_items(index)
        if not made.is_over():
            cyray.get(self.gates.open.remote(made.numbers[made.opened]))
            made.opened += 1
            self.settle()

    @precondition(lambda self: self.generators)
    @rule(index=st.integers(0, 2))
    def step(self, index: int) -> None:
        made = self.pick_items(index)
        if made.taken < made.opened:
            assert cyray.get(next(made.ref), timeout=30) == made.numbers[made.taken]
            made.taken += 1
        elif made.cancelled and not made.error_taken:
            with pytest.raises(TaskCancelledError):
                cyray.get(next(made.ref), timeout=30)
            made.error_taken = True
        elif made.is_over():
            with pytest.raises(StopIteration):
                next(made.ref)
        else:
            assert cyray.wait([made.ref], timeout=0) == ([], [made.ref])
        self.settle()

    @precondition(lambda self: self.generators)
    @rule(index=st.integers(0, 2))
    def cancel_generator(self, index: int) -> None:
        made = self.pick_items(index)
        if made.opened - made.taken <= 1 and not made.is_over():  # else an item may be on its way
            cyray.cancel(made.ref)
            made.cancelled = True

    @precondition(lambda self: self.generators)
    @rule(index=st.integers(0, 2))
    def drop_generator(self, index: int) -> None:
        self.generators.pop(index % len(self.generators)).ref = None

    # --- Always -----------------------------------------------------------------------------------

    @invariant()
    def what_is_not_ready_is_not_ready(self) -> None:
        refs = [thing.ref for thing in self.things]
        if refs:
            ready = cyray.wait(refs, num_returns=len(refs), timeout=0)[0]
            assert ready == [thing.ref for thing in self.things if thing.outcome]

    def teardown(self) -> None:
        numbers = [thing.number for thing in self.every if thing.gate is None]
        numbers += [n for made in self.every_generator for n in made.numbers[made.opened :]]
        cyray.get([self.gates.open.remote(number) for number in numbers])
        for thing in self.every:
            thing.gate = bool(thing.gate)
        self.settle()
        self.things, self.generators = [], []
        eventually(lambda: _raylet.unfinished() == (0, 0, 0), 20, "nothing is left to run")


def run(examples: int, steps: int, derandomize: bool) -> None:
    Histories.gates = Gates.remote()
    run_state_machine_as_test(
        Histories,
        settings=settings(
            max_examples=examples,
            stateful_step_count=steps,
            deadline=None,
            database=None,
            derandomize=derandomize,
            suppress_health_check=list(HealthCheck),
        ),
    )
    Histories.gates = None


@pytest.fixture(autouse=True)
def quiet(monkeypatch):
    monkeypatch.setenv("CYRAY_IGNORE_UNHANDLED_ERRORS", "1")


def test_what_is_ready_is_what_the_model_says():
    run(examples=150, steps=30, derandomize=True)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_what_is_ready_is_what_the_model_says_for_long():
    run(examples=1000, steps=50, derandomize=False)
