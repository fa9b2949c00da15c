"""The arithmetic of the benchmarks, and that a run leaves nothing behind; no engine is started."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest
from support import eventually

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
from benchmarks import processes, report, runner
from benchmarks.__main__ import cases_of_round
from benchmarks.cases import CASES, START, STOP, Metric, all_metrics, case_of
from benchmarks.engines import ENGINES
from benchmarks.floors import FLOORS, Floor, Verdict, check
from benchmarks.measure import (
    Pace,
    latencies,
    median_pace,
    percentile,
    rate,
    repeated,
    typical_rate,
)
from benchmarks.results import Results

ROOT = Path(__file__).resolve().parents[2]
METRICS = all_metrics()


def measured(**rows: dict[str, list[float]]) -> Results:
    """Results of whole rounds: metric -> engine -> one value a round."""
    results = Results()
    for metric, row in rows.items():
        for engine, values in row.items():
            for number, value in enumerate(values):
                results.add(number, engine, {metric: value})
    return results


# --- Clocks ---------------------------------------------------------------------------------------


def test_percentiles_are_values_that_were_measured():
    ordered = [float(n) for n in range(1, 101)]
    assert percentile(ordered, 50) == 50
    assert percentile(ordered, 99) == 99
    assert percentile(ordered, 100) == 100
    assert percentile([7.0], 50) == percentile([7.0], 99) == 7


def test_a_rate_leaves_the_first_call_out():
    calls = []

    def run() -> int:
        calls.append(1)
        return 10

    assert rate(run, seconds=0.0) > 0
    assert len(calls) == 2


def test_a_typical_rate_is_not_moved_by_one_pause(monkeypatch):
    now = [0.0]
    durations = iter([9.0, 1.0, 1.0, 100.0, 1.0])

    def run() -> int:
        now[0] += next(durations)
        return 10

    monkeypatch.setattr(time, "perf_counter", lambda: now[0])
    assert typical_rate(run, seconds=103.0) == 10


def test_repeated_gives_the_median_and_ends():
    values = iter([5.0, 1.0, 3.0])
    assert repeated(lambda: next(values), seconds=60, at_most=3) == 3
    assert repeated(lambda: 8.0, seconds=0) == 8


def test_a_pace_counts_every_call_it_timed(monkeypatch):
    monkeypatch.setattr("benchmarks.measure.cpu_ticks", lambda: {7: 100})
    monkeypatch.setattr("benchmarks.measure.cpu_seconds_since", lambda before: before[7] / 50)
    calls = []
    pace = latencies(lambda: calls.append(1), seconds=0.01)
    timed = len(calls) - 20
    assert pace.cpu_per_10k == pytest.approx(2.0 / timed * 10_000)
    assert 0 <= pace.p50_us <= pace.p99_us
    assert set(pace.metrics("task_sync")) == {m.key for m in CASES["task_sync"].metrics}


# --- Results --------------------------------------------------------------------------------------


def test_a_ratio_is_the_median_of_the_rounds_ratios():
    # The machine was half as fast in the second round; medians of each alone would give 150.
    results = measured(task_sync={"cyray": [300.0, 100.0, 310.0], "ray": [2.0, 1.0, 3.1]})
    assert results.ratio("task_sync", "cyray", "ray") == 100


def test_a_round_that_one_engine_missed_gives_no_ratio():
    results = measured(task_sync={"cyray": [300.0, 100.0]})
    results.add(1, "ray", {"task_sync": 1.0})
    assert results.ratio("task_sync", "cyray", "ray") == 100


def test_without_a_shared_round_the_medians_are_compared():
    results = Results()
    results.add(0, "cyray", {"chain": 80.0})
    results.add(1, "ray", {"chain": 4.0})
    assert results.ratio("chain", "cyray", "ray") == 20
    assert results.ratio("chain", "cyray", "dask") is None
    assert results.median("chain", "dask") is None


def test_a_ratio_to_nothing_is_none():
    results = measured(idle_cpu={"cyray": [0.2], "mppool": [0.0]})
    assert results.ratio("idle_cpu", "cyray", "mppool") is None
    assert results.ratio("idle_cpu", "mppool", "cyray") == 0


def test_the_median_pace_is_one_that_was_measured():
    paces = iter([Pace(5.0, 1.0), Pace(1.0, 2.0), Pace(3.0, 3.0), Pace(9.0, 4.0)])
    assert median_pace(lambda: next(paces), seconds=60, at_most=3) == Pace(3.0, 3.0)
    assert median_pace(lambda: next(paces), seconds=0, at_most=3) == Pace(9.0, 4.0)


def test_results_survive_a_file_and_a_merge_adds_rounds(tmp_path):
    results = measured(chain={"cyray": [1.0, 2.0]})
    results.add_trouble("chain", "dask", "> 60 s")
    results.versions["ray"] = "2"
    results.save(tmp_path / "r.json")
    again = Results.load(tmp_path / "r.json")
    assert again.values == results.values
    again.merge(results)
    assert again.values["chain"]["cyray"] == {0: 1.0, 1: 2.0, 2: 1.0, 3: 2.0}
    assert again.trouble("chain", "dask") == "> 60 s"
    assert (again.rounds(), Results().rounds()) == (4, 0)
    assert again.engines() == {"cyray", "dask"}


# --- Floors ---------------------------------------------------------------------------------------


def test_every_floor_names_a_metric_and_an_engine_that_exist():
    for floor in FLOORS:
        assert floor.metric in METRICS
        assert not floor.of or floor.of in ENGINES


def verdict_of(results: Results, floor: Floor) -> Verdict:
    (found,) = [v for v in check(results, METRICS) if v.floor == floor]
    return found


def test_a_floor_of_another_engine_compares_within_rounds():
    results = measured(task_sync={"cyray": [300.0, 100.0, 310.0], "ray": [2.0, 1.0, 2.0]})
    verdict = verdict_of(results, Floor("task_sync", 150, "ray"))
    assert verdict == Verdict(Floor("task_sync", 150, "ray"), 300, 300, 150, True)
    results.add(0, "cyray", {"task_sync": 299.0})
    assert not verdict_of(results, Floor("task_sync", 150, "ray")).met


def test_a_plain_floor_is_a_least_or_a_most():
    results = measured(init={"cyray": [0.25]}, actor_life={"cyray": [99.0]})
    assert verdict_of(results, Floor("init", 0.25)).met
    assert not verdict_of(results, Floor("actor_life", 100)).met
    results.add(0, "cyray", {"init": 0.26})
    assert not verdict_of(results, Floor("init", 0.25)).met


def test_a_floor_without_both_figures_is_not_judged():
    results = measured(chain={"cyray": [80.0]}, put_int={"ray": [1.0]})
    assert check(results, METRICS) == []


# --- Tables ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (None, "/s", "-"),
        (1234567.0, "/s", "1,234,567/s"),
        (2.345, "/s", "2.3/s"),
        (13.6e9, "B/s", "13.60 GB/s"),
        (54e6, "B", "54.0 MB"),
        (143.2, "B", "143 B"),
        (0.0163, "s", "16.3 ms"),
        (4.154, "s", "4.15 s"),
        (8.31, "us", "8.3 us"),
        (2382.4, "us", "2,382 us"),
        (0.172, "%", "0.17 %"),
        (1.676, "x", "1.68 x"),
        (5.0, "", "5"),
    ],
)
def test_numbers_read_well(value, unit, text):
    assert report.number(value, unit) == text


def test_better_is_more_or_less_as_the_metric_says():
    results = measured(init={"cyray": [0.2], "ray": [4.0]}, chain={"cyray": [3.0], "ray": [4.0]})
    assert report.times_better(results, METRICS["init"], "ray") == "20 x"
    assert report.times_better(results, METRICS["chain"], "ray") == "0.75 x"
    assert report.times_better(results, METRICS["chain"], "dask") == ""


def test_the_table_says_what_an_engine_did_not_do():
    results = measured(chain={"cyray": [90.0], "ray": [1.0]}, init={"loky": [0.1]})
    results.add_trouble("chain", "ray", "failed")
    results.add_trouble("chain", "dask", "> 60 s")
    results.add_trouble(START, "joblib", "failed")
    lines = report.table(results, list(METRICS.values())).splitlines()
    assert lines[0] == "| case | cyray | Ray | Dask | joblib | loky | cyray / Ray |"
    (chain,) = [line for line in lines if line.startswith("| chain")]
    assert chain == (
        "| chain of 100 dependent tasks | 90/s | 1/s (failed once) | > 60 s | failed | - | 90 x |"
    )


def test_engines_without_a_column_are_only_in_the_floors():
    results = measured(busy_sync={"cyray": [90.0], "blocking": [100.0]})
    assert "blocking" not in report.table(results, list(METRICS.values()))
    verdicts = check(results, METRICS)
    assert "0.95 x cyray blocking | 95/s | 90/s | 0.9 x | **miss** |" in report.floor_table(
        verdicts, METRICS
    )
    assert report.summary(verdicts, METRICS) == (
        "0 of 1 floors are met; missed: one at a time, a busy loop on each core."
    )


def test_the_readme_has_the_rows_but_not_their_details():
    results = measured(task_sync={"cyray": [90.0]}, task_sync_p50={"cyray": [8.0]})
    text = report.brief(results, METRICS, check(results, METRICS), "a machine")
    assert "no-op task" in text and "- p50" not in text
    assert "- p50" in report.full(results, METRICS, [], "a machine")


def test_only_the_text_between_the_marks_is_replaced():
    document = f"before\n{report.BEGIN}\nold\n{report.END}\nafter"
    assert report.replace_between_marks(document, "new") == (
        f"before\n{report.BEGIN}\nnew\n{report.END}\nafter"
    )
    for broken in ("nothing", report.BEGIN, document + document):
        with pytest.raises(ValueError, match="no single pair"):
            report.replace_between_marks(broken, "new")
    report.replace_between_marks((ROOT / "README.md").read_text(), "new")


def test_every_metric_belongs_to_a_case_or_to_the_life_of_an_engine():
    assert case_of("task_sync_p99") == "task_sync"
    assert (case_of("init"), case_of("first_task"), case_of("shutdown")) == (START, START, STOP)
    assert Metric("x", "- p50", "us").detail and not METRICS["init"].detail


# --- Rounds ---------------------------------------------------------------------------------------


def test_cases_that_never_end_are_not_tried_again_and_some_run_once_on_the_peers():
    results = measured(queued={"ray": [5.0], "cyray": [1.0]})
    results.add_trouble("chain", "ray", "> 60 s")
    results.add_trouble("put_int", "ray", "failed")
    results.add_trouble(START, "dask", "failed")
    cases = ["chain", "put_int", "queued"]
    assert cases_of_round(results, "ray", cases) == ["put_int"]
    assert cases_of_round(results, "cyray", cases) == cases
    assert cases_of_round(results, "dask", cases) == []


def test_an_engine_without_a_column_runs_what_floors_ask_of_it():
    assert cases_of_round(Results(), "blocking", list(CASES)) == [
        "task_sync_on_busy_cores",
        "task_async_on_busy_cores",
    ]


# --- Processes of a run ---------------------------------------------------------------------------


def child_run(code: str) -> runner.ChildRun:
    return runner.ChildRun([sys.executable, "-S", "-c", textwrap.dedent(code)], dict(os.environ))


FORKS_AND_STAYS = """
    import os, signal
    forked = os.fork()
    if not forked:
        os.setsid()
    os.write(1, b'{"pid": %d}\\n' % os.getpid())  # in one piece: both write
    signal.pause()
"""


def alive(pids: list[int]) -> list[int]:
    return [process.pid for process in processes.all_processes() if process.pid in pids]


def test_a_child_that_says_nothing_is_given_up_and_all_of_it_ends(monkeypatch):
    monkeypatch.setattr(processes, "GRACE_S", 0.0)
    run = child_run(FORKS_AND_STAYS)
    pids = []
    with pytest.raises(TimeoutError, match=r"> 0 s"), run:
        messages = run.messages(10.0)
        pids = [next(messages)["pid"], next(messages)["pid"]]
        folder = run._folder
        assert alive(pids)
        for _ in run.messages(0.3):
            pass
    eventually(lambda: not alive(pids), what="all of it has ended")
    assert not folder.exists()


@pytest.fixture
def interrupts():
    """SIGINT interrupts, also where it is ignored: in what a shell started in the background."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def test_an_interrupt_leaves_nothing(monkeypatch, interrupts):
    monkeypatch.setattr(processes, "GRACE_S", 0.0)
    run = child_run(FORKS_AND_STAYS)
    pids = []
    with pytest.raises(KeyboardInterrupt), run:
        messages = run.messages(10.0)
        pids = [next(messages)["pid"], next(messages)["pid"]]
        os.kill(os.getpid(), signal.SIGINT)
        list(run.messages(10.0))
    eventually(lambda: not alive(pids), what="all of it has ended")


def test_a_child_that_ends_is_noticed_though_what_it_forked_holds_its_output(monkeypatch):
    monkeypatch.setattr(processes, "GRACE_S", 0.0)
    code = """
        import os, signal
        if not os.fork():
            signal.pause()
        print('{"values": {}}', flush=True)
        os._exit(3)
    """
    with child_run(code) as run:
        assert list(run.messages(30.0)) == [{"values": {}}]
        assert run.exit_code(10.0) == 3
    assert run.left == 1


def scripted_children(monkeypatch, code: str) -> list[list[str]]:
    """Runs `code` in place of each child; returns the cases that each one was given."""
    given: list[list[str]] = []

    class Scripted(runner.ChildRun):
        def __init__(self, command: list[str], environment: dict[str, str]) -> None:
            given.append(command[4:])
            super().__init__([sys.executable, "-S", "-c", code, *command[4:]], environment)

    monkeypatch.setattr(runner, "ChildRun", Scripted)
    monkeypatch.setattr(runner, "say", lambda text: None)
    return given


def test_a_case_that_dies_costs_only_itself(monkeypatch):
    given = scripted_children(
        monkeypatch,
        textwrap.dedent("""
            import json, os, sys
            for name in sys.argv[1:]:
                print(json.dumps({"begin": name}), flush=True)
                if name == "b":
                    os._exit(1)
                print(json.dumps({"values": {name: 1.0}}), flush=True)
        """),
    )
    heard = {}
    stops = runner.run_engine(
        "ray", ["a", "b", "c"], sys.executable, lambda m: heard.update(m.get("values", {}))
    )
    assert stops == [runner.Stopped("b", "died")]
    assert given == [["a", "b", "c"], ["c"]]
    assert heard == {"a": 1.0, "c": 1.0}


def test_a_case_that_never_ends_is_stopped_and_named(monkeypatch):
    monkeypatch.setattr(runner, "CASE_LIMIT_S", 0.5)
    scripted_children(
        monkeypatch,
        'import signal\nprint(\'{"begin": "a"}\', flush=True)\nsignal.pause()',
    )
    stops = runner.run_engine("ray", ["a"], sys.executable, lambda message: None)
    assert stops == [runner.Stopped("a", "> 0 s")]


def test_an_engine_that_does_not_start_is_tried_once_a_round(monkeypatch):
    given = scripted_children(monkeypatch, "raise SystemExit(1)")
    stops = runner.run_engine("ray", ["a", "b"], sys.executable, lambda message: None)
    assert stops == [runner.Stopped(START, "failed")]
    assert given == [["a", "b"]]


def test_descendants_belong_to_a_family_and_others_do_not():
    tree = [processes.Process(pid, parent, 0) for pid, parent in ((1, 0), (2, 1), (3, 2), (4, 1))]
    assert {process.pid for process in processes.family([2], tree)} == {2, 3}
    assert processes.family([9], tree) == set()


def test_busy_loops_are_not_counted_as_the_engines_and_end(monkeypatch):
    mark = f"test-{os.getpid()}"
    monkeypatch.setenv(processes.MARK, mark)
    with processes.busy_cores():
        loops = {process.pid for process in processes.of_run(mark)}
        assert len(loops) == len(os.sched_getaffinity(0))
        assert processes.of_run(mark, load=False) == set()
    assert alive(list(loops)) == []


def test_a_loop_whose_run_was_killed_is_ended_with_it():
    mark = f"test-{os.getpid()}"
    environment = {**os.environ, processes.LOAD_MARK: mark}
    command = [sys.executable, "-S", "-c", "import signal; print(flush=True); signal.pause()"]
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE) as loop:
        assert loop.stdout is not None
        loop.stdout.readline()
        assert processes.end(mark, grace_s=0.0) == 1


# --- Processes --------------------------------------------------------------------------------------


def test_the_end_of_processes_is_waited_for():
    command = [sys.executable, "-S", "-c", "import signal; signal.pause()"]
    running = [subprocess.Popen(command) for _ in range(3)]
    pidfds = processes.watched(process.pid for process in running)
    for process in running:
        process.kill()
    processes.await_ends(pidfds)
    assert [process.wait() for process in running] == [-9] * 3
    for pidfd in pidfds:
        with pytest.raises(OSError, match="Bad file descriptor"):
            os.fstat(pidfd)
