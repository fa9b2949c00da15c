"""Progress bars: what a driver makes of their states, as lines and as bars of tqdm."""

from __future__ import annotations

import json

import pytest

from cyray._driver import logs, progress
from cyray._driver.progress import MARK, ProgressBars
from cyray.experimental import tqdm_ray


def state(**values):
    return MARK + json.dumps({"id": "a", "x": 0, "total": 10, "desc": "d", "unit": "it", **values})


class Bar:
    """What is used of a bar of tqdm's."""

    def __init__(self, desc, unit, total, position):
        self.desc, self.unit, self.total, self.position = desc, unit, total, position
        self.n, self.is_shown, self.is_closed = 0, True, False

    def set_description(self, desc, refresh):
        self.desc = desc

    def refresh(self):
        self.is_shown = True

    def clear(self):
        self.is_shown = False

    def close(self):
        self.is_closed = True


@pytest.fixture
def made():
    return []


@pytest.fixture
def bars(made):
    def make(*args):
        made.append(Bar(*args))
        return made[-1]

    return ProgressBars(make)


@pytest.fixture
def own(monkeypatch):
    """The bars of this process, as lines."""
    monkeypatch.setattr(progress, "_bars", ProgressBars(None))


@pytest.mark.parametrize(
    ("values", "text"),
    [
        ({"x": 3}, "(f pid=1) d: 3/10 it (30 %)"),
        ({"x": 3, "total": None, "unit": "MB"}, "(f pid=1) d: 3 MB"),
        ({"x": 10, "desc": ""}, "(f pid=1) 10/10 it (100 %)"),
    ],
)
def test_a_state_is_a_line_of_text(values, text):
    assert ProgressBars(None).take(state(**values), "(f pid=1) ") == text


def test_a_line_is_said_once():
    lines = ProgressBars(None)
    assert lines.take(state(x=10)) == "d: 10/10 it (100 %)"
    assert lines.take(state(x=10)) is None
    assert lines.take(state(x=10, closed=True)) is None
    assert lines.take(state(id="b", x=10)) == "d: 10/10 it (100 %)"


def test_a_line_of_the_program_that_begins_so_is_left_as_it_is(bars):
    for text in (f"{MARK}hello", f"{MARK}[]", f'{MARK}{{"id": 1}}'):
        assert bars.take(text, "(f) ") == f"(f) {text}"


def test_each_bar_has_a_place_which_the_next_one_gets_when_it_is_over(bars, made):
    for name in "abc":
        assert bars.take(state(id=name, x=1), "(f) ") is None
    bars.take(state(id="b", x=10, closed=True))
    bars.take(state(id="d", total=5))
    bars.take(state(id="a", x=7, desc="other"), "(f) ")
    assert [bar.position for bar in made] == [0, 1, 2, 1]
    assert [bar.is_closed for bar in made] == [False, True, False, False]
    assert (made[0].desc, made[0].n, made[3].total) == ("(f) other", 7, 5)


def test_bars_are_not_there_while_something_is_printed(bars, made):
    bars.take(state())
    with bars.hidden():
        assert not made[0].is_shown
    assert made[0].is_shown


def test_states_are_found_among_the_output_of_workers(own):
    out = []
    printer = logs.LogPrinter(lambda text, err: out.append(text), own_ip="ip")
    printer.print_lines(1, "ip", "f", False, ["one", state(x=5), "two"])
    printer.print_lines(2, "ip", "f", False, [state(id="b", x=5)])
    assert "".join(out).splitlines() == [
        "(f pid=1) d: 5/10 it (50 %)",
        "(f pid=1) one",
        "(f pid=1) two",
        "(f pid=2) d: 5/10 it (50 %)",
    ], "states are not counted as the same line of several processes"


def test_a_bar_of_a_driver_is_shown_as_often_as_it_is_to_be(own, monkeypatch, capsys):
    now = [0.0]
    monkeypatch.setattr(tqdm_ray.time, "monotonic", lambda: now[0])
    bar = tqdm_ray.tqdm(desc="d", total=4, flush_interval_s=2)
    for _ in range(4):
        now[0] += 1
        bar.update()
    bar.close()
    bar.close()
    tqdm_ray.safe_print("done")
    seen = capsys.readouterr()
    assert seen.err.splitlines() == [f"d: {x}/4 it ({25 * x} %)" for x in (0, 2, 4)]
    assert seen.out == "done\n" and (bar.n, bar.total) == (4, 4)


def test_a_bar_counts_what_is_iterated_over(own, capsys):
    assert list(tqdm_ray.tqdm([1, 2, 3], unit="file", flush_interval_s=0)) == [1, 2, 3]
    assert capsys.readouterr().err.splitlines()[-1] == "3/3 file (100 %)"
    with pytest.raises(ValueError, match="no iterable"):
        list(tqdm_ray.tqdm(total=3))
    with tqdm_ray.tqdm(desc="w") as bar:
        bar.set_description("x")
    assert capsys.readouterr().err.splitlines()[-1] == "x: 0 it"
