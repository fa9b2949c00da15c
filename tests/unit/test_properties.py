"""Properties over values that nobody thought of: options with options, exceptions of any class, output."""

from __future__ import annotations

import pickle
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from cyray._driver.logs import LogPrinter
from cyray._spec import demands, options
from cyray.exceptions import RayError, RayTaskError

# No limit of time for an example: a loaded machine is no failure.
settings.register_profile("cyray", deadline=None, database=None, max_examples=150)
settings.load_profile("cyray")


class NoTruth:
    """As an array: what `==` gives has no truth."""

    def __eq__(self, other: object) -> Any:
        return self

    def __bool__(self) -> bool:
        raise RuntimeError("asked for its truth")

    __hash__ = None  # type: ignore[assignment]


# --- Options ----------------------------------------------------------------------------------------

NAMES = sorted(
    {*options._TASK, *options._ACTOR, *options._METHOD, *options._HARMLESS, *options._ALIASES, "no"}
)
VALUES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-3, 3),
    st.integers(),
    st.floats(),
    st.text(max_size=3),
    st.sampled_from(["SPREAD", "DEFAULT", "detached", "streaming", "default"]),
    st.lists(st.integers(-1, 2), max_size=2),
    st.dictionaries(st.text(max_size=3), st.floats(), max_size=2),
    st.just([ValueError]),
    st.builds(NoTruth),
)
OPTIONS = st.dictionaries(st.sampled_from(NAMES), VALUES, max_size=4)


@given(OPTIONS, st.sampled_from(["task_options", "actor_options", "method_options"]))
def test_options_are_taken_or_refused_in_words(given: dict[str, Any], kind: str) -> None:
    check = getattr(options, kind)
    try:
        checked = check(given)
    except (TypeError, ValueError) as error:
        assert str(error)
        return
    assert check(checked) == checked, "what is kept is valid again, and means the same"
    if kind == "method_options":
        return
    for what in ("task",) if kind == "task_options" else ("actor_placement", "actor_held"):
        try:
            demand = demands.resource_demand(checked, what)
        except ValueError as error:
            assert "num_gpus" in str(error)
            continue
        assert all(isinstance(units, int) and units > 0 for units in demand.values())


@given(OPTIONS, OPTIONS)
def test_later_options_win(first: dict[str, Any], second: dict[str, Any]) -> None:
    try:
        one, two = options.task_options(first), options.task_options(second, in_options=True)
    except (TypeError, ValueError):
        return
    merged = {**one, **two}
    assert options.task_options(merged) == merged
    assert all(merged[name] is two[name] for name in two)


# --- Errors of tasks ----------------------------------------------------------------------------------

BASES = st.sampled_from(
    [Exception, ValueError, KeyError, OSError, StopIteration, SystemError, RayError, UnicodeError]
)
ARGS = st.lists(
    st.one_of(
        st.integers(), st.text(max_size=5), st.floats(), st.just(...), st.builds(NoTruth), st.none()
    ),
    max_size=3,
)
METHODS = st.sets(st.sampled_from(["__init__", "__str__", "__reduce__", "__eq__", "__slots__"]))


def broken(*args: Any, **kwargs: Any) -> Any:
    raise RuntimeError("the user's own code fails")


def make_class(base: type, methods: set[str]) -> type:
    body: dict[str, Any] = {}
    if "__init__" in methods:  # takes other arguments than it hands on

        def init(self: Any, first: Any, *rest: Any) -> None:
            super(made, self).__init__(f"made of {type(first)}", *rest)
            self.first = first

        body["__init__"] = init
    if "__slots__" in methods:
        body["__slots__"] = ("kept",)
    for name in methods & {"__str__", "__reduce__", "__eq__"}:
        body[name] = broken
    made = type("Made", (base,), body)
    return made


@given(BASES, METHODS, ARGS)
def test_any_exception_arrives_as_what_it_is_or_says_what_it_was(
    base: type, methods: set[str], args: list[Any]
) -> None:
    cls = make_class(base, methods)
    try:
        raised = cls(*args)
    except Exception:
        return  # not with these arguments
    try:
        raise raised
    except BaseException as caught:
        error = RayTaskError.from_exception(caught, "f", 1, "10.0.0.1")
    arrived = pickle.loads(pickle.dumps(error)).as_instanceof_cause()
    assert isinstance(arrived, RayTaskError)
    assert "f()" in str(arrived)
    if "__reduce__" not in methods:
        assert isinstance(arrived, base)
        assert arrived.cause.__class__.__name__ == "Made"
        assert len(arrived.cause.args) == len(raised.args)


# --- Output of workers --------------------------------------------------------------------------------

EVENTS = st.lists(
    st.one_of(
        st.tuples(
            st.integers(0, 3),
            st.lists(st.sampled_from(["a", "b 1", "b 2", "", "half"]), max_size=4),
        ),
        st.floats(0, 6),  # that much later
    ),
    max_size=30,
)


@given(EVENTS, st.booleans())
def test_every_line_is_shown_or_counted_once(events: list[Any], dedup: bool) -> None:
    out: list[str] = []
    now = [0.0]
    printer = LogPrinter(lambda text, _: out.append(text), lambda: now[0], "ip", dedup)
    sent = 0
    for event in events:
        if isinstance(event, float):
            now[0] += event
            printer.tick()
        else:
            printer.print_lines(event[0], "ip", "f", False, event[1])
            sent += len(event[1])
    printer.flush()
    shown = 0
    for line in "".join(out).splitlines():
        assert line.startswith("(f pid=")
        _, mark, rest = line.partition("[repeated ")
        shown += int(rest.split("x")[0]) if mark else 1
    assert shown == sent
    assert not printer.has_pending()
