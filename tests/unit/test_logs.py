"""Workers' output on the driver, and the labels that a worker puts into it."""

from __future__ import annotations

import io
import random
import sys

import pytest

from cyray._driver import logs as _logs
from cyray._driver.logs import LogPrinter
from cyray._worker import label
from cyray._worker.label import LABEL_MARK


class Screen:
    """What was printed, and a clock that tests move."""

    def __init__(self, **kwargs):
        self.out: list[tuple[str, bool]] = []
        self.now = 0.0
        self.printer = LogPrinter(
            lambda text, err: self.out.append((text, err)), lambda: self.now, "10.0.0.1", **kwargs
        )

    def lines(self) -> list[str]:
        return "".join(text for text, _ in self.out).splitlines()


@pytest.fixture
def screen():
    return Screen()


def test_a_line_has_name_and_pid(screen):
    screen.printer.print_lines(7, "10.0.0.1", "f", False, ["hello", "world"])
    assert screen.lines() == ["(f pid=7) hello", "(f pid=7) world"]
    assert screen.out[0][1] is False


def test_a_line_without_name_has_the_pid(screen):
    screen.printer.print_lines(7, "10.0.0.1", "", False, ["go!"])
    assert screen.lines() == ["(pid=7) go!"]


def test_another_nodes_line_has_its_address(screen):
    screen.printer.print_lines(7, "10.0.0.2", "f", True, ["hello"])
    assert screen.lines() == ["(f pid=7, ip=10.0.0.2) hello"]
    assert screen.out[0][1] is True


def test_the_same_line_of_many_processes_is_counted(screen):
    for pid in range(100):
        screen.printer.print_lines(pid, "10.0.0.1", "f", False, [f"took {pid} ms"])
    assert screen.lines() == ["(f pid=0) took 0 ms"]
    screen.now = 4.9
    screen.printer.tick()
    assert len(screen.lines()) == 1
    screen.now = 5.1
    screen.printer.tick()
    assert screen.lines()[1].startswith("(f pid=99) took 99 ms [repeated 99x across cluster]")
    assert "CYRAY_DEDUP_LOGS=0" in screen.lines()[1]


def test_a_line_repeated_once_is_printed_plainly(screen):
    for pid in (1, 2):
        screen.printer.print_lines(pid, "10.0.0.1", "f", False, ["x"])
    screen.printer.flush()
    assert screen.lines() == ["(f pid=1) x", "(f pid=2) x"]


def test_a_process_that_repeats_itself_is_not_collapsed(screen):
    screen.printer.print_lines(1, "10.0.0.1", "f", False, ["tick"] * 3)
    assert screen.lines() == ["(f pid=1) tick"] * 3


def test_without_collapsing_every_line_is_printed():
    screen = Screen(dedup=False)
    for pid in range(3):
        screen.printer.print_lines(pid, "10.0.0.1", "f", False, ["x"])
    assert screen.lines() == ["(f pid=0) x", "(f pid=1) x", "(f pid=2) x"]


def test_no_line_is_lost_whatever_the_order():
    seed = random.randrange(1 << 30)
    rng = random.Random(seed)
    screen = Screen()
    sent = 0
    for _ in range(2000):
        screen.now += rng.random() * 0.2
        lines = [rng.choice(["a", "b 1", "b 2", "c"]) for _ in range(rng.randrange(4))]
        screen.printer.print_lines(rng.randrange(4), "10.0.0.1", "f", False, lines)
        sent += len(lines)
    screen.printer.flush()
    shown = 0
    for line in screen.lines():
        _, mark, rest = line.partition("[repeated ")
        shown += int(rest.split("x")[0]) if mark else 1
    assert shown == sent, f"seed {seed}"
    assert not screen.printer.has_pending()


def test_a_flood_of_different_lines_is_bounded(screen):
    words = ["".join(random.Random(i).choices("abcdefgh", k=12)) for i in range(5000)]
    screen.printer.print_lines(1, "10.0.0.1", "f", False, words)
    assert len(screen.printer._groups) <= _logs._MAX_GROUPS
    assert len(screen.lines()) == 5000


class Timers:
    """Timers that fire when a test says so."""

    def __init__(self):
        self.waiting = []

    def start(self, seconds, call):
        timer = Timer(call)
        self.waiting.append(timer)
        return timer

    def fire(self):
        due, self.waiting = self.waiting, []
        for timer in due:
            if not timer.cancelled:
                timer.call()


class Timer:
    def __init__(self, call):
        self.call = call
        self.cancelled = False

    def cancel(self):
        self.cancelled = True


@pytest.fixture
def timers():
    return Timers()


def test_counts_are_printed_although_no_line_comes_any_more(screen, timers):
    output = _logs.DriverOutput(screen.printer, timers.start)
    for pid in range(3):
        output.print_lines(pid, "", "f", False, ["x"])
    assert len(timers.waiting) == 1
    screen.now = 1.0
    timers.fire()
    assert len(screen.lines()) == 1 and len(timers.waiting) == 1, "the window is open still"
    screen.now = _logs.WINDOW_S + 1
    timers.fire()
    assert "[repeated 2x across cluster]" in screen.lines()[-1]
    assert not timers.waiting, "it runs only while counts wait"


def test_flush_prints_what_waits_and_ends_the_timer(screen, timers):
    output = _logs.DriverOutput(screen.printer, timers.start)
    for pid in range(3):
        output.print_lines(pid, "", "f", False, ["x"])
    output.flush()
    assert "[repeated 2x across cluster]" in screen.lines()[-1]
    assert timers.waiting[0].cancelled
    timers.waiting[0].call()  # it was on its way already
    assert len(timers.waiting) == 1


def test_lines_of_a_session_are_printed_on_the_streams(capsys):
    _logs.print_lines(7, "", "f", False, ["out"])
    _logs.print_lines(7, "", "f", True, ["err"])
    _logs.flush()
    printed = capsys.readouterr()
    assert (printed.out, printed.err) == ("(f pid=7) out\n", "(f pid=7) err\n")


class Worker:
    """A worker's streams in memory."""

    def __init__(self, monkeypatch):
        self.label = None
        self.stream = io.TextIOWrapper(io.BytesIO(), write_through=True)
        monkeypatch.setattr(sys, "stdout", label.labelled(self.stream, lambda: self.label))

    def written(self) -> str:
        sys.stdout.flush()
        return self.stream.buffer.getvalue().decode()


def test_a_label_is_announced_when_it_changes(monkeypatch):
    worker = Worker(monkeypatch)
    print("before any task")
    worker.label = "f"
    print("one")
    print("two")
    worker.label = "g"
    print("three")
    assert worker.written() == (f"before any task\n{LABEL_MARK}f\none\ntwo\n{LABEL_MARK}g\nthree\n")


def test_a_label_never_lands_inside_a_line(monkeypatch):
    worker = Worker(monkeypatch)
    worker.label = "f"
    print("half ", end="")
    worker.label = "g"
    print("a line")
    print("next")
    assert worker.written() == f"{LABEL_MARK}f\nhalf a line\n{LABEL_MARK}g\nnext\n"


def test_a_label_with_a_newline_stays_one_line(monkeypatch):
    worker = Worker(monkeypatch)
    worker.label = "a\nb"
    print("x")
    assert worker.written() == f"{LABEL_MARK}a b\nx\n"


def test_the_stream_stays_a_stream(monkeypatch):
    worker = Worker(monkeypatch)
    assert sys.stdout.fileno is not None
    assert sys.stdout.encoding
    sys.stdout.writelines(["a\n", "b\n"])
    assert worker.written() == "a\nb\n"
