"""The tables: one row a metric, one column an engine; the floors; what goes into the README."""

from __future__ import annotations

from benchmarks.cases import START, Metric, case_of
from benchmarks.engines import ENGINES
from benchmarks.floors import Verdict
from benchmarks.results import Results

BEGIN, END = "<!-- benchmark:begin -->", "<!-- benchmark:end -->"
NOTES = (
    'A dash: the engine does not have it; "> 60 s" and "failed": it did not do it. "kept": the newest '
    "objects live while the next is put, so that each goes elsewhere; the limit copies with the same "
    "reuse. joblib has no futures: its tasks leave in batches when they are waited for. Cases that no "
    "engine's figure is compared with ran once on the others."
)


def number(value: float | None, unit: str) -> str:
    if value is None:
        return "-"
    if unit == "/s":
        return f"{value:,.0f}/s" if value >= 10 else f"{value:.2g}/s"
    if unit == "B/s":
        return f"{value / 1e9:.2f} GB/s"
    if unit == "B":
        return f"{value / 1e6:.1f} MB" if value >= 1e6 else f"{value:,.0f} B"
    if unit == "s":
        return f"{value * 1e3:.1f} ms" if value < 1 else f"{value:.2f} s"
    if unit == "us":
        return f"{value:,.0f} us" if value >= 10 else f"{value:.1f} us"
    if unit == "%":
        return f"{value:.2f} %"
    if unit == "x":
        return f"{value:.2f} x"
    return f"{value:g}"


def times(ratio: float | None) -> str:
    if ratio is None:
        return ""
    return f"{ratio:,.0f} x" if ratio >= 10 else f"{ratio:.2g} x"


def times_better(results: Results, metric: Metric, other: str) -> str:
    """How many times better cyray is than `other`."""
    ratio = results.ratio(metric.key, "cyray", other)
    if not ratio:
        return ""
    return times(ratio if metric.more_is_better else 1 / ratio)


def cell(results: Results, metric: Metric, engine: str) -> str:
    value = results.median(metric.key, engine)
    trouble = results.trouble(case_of(metric.key), engine)
    if value is None:
        return trouble or results.trouble(START, engine) or "-"
    return (
        f"{number(value, metric.unit)} ({trouble} once)" if trouble else number(value, metric.unit)
    )


def table(results: Results, metrics: list[Metric]) -> str:
    shown = results.engines()
    engines = [name for name, entry in ENGINES.items() if entry.column and name in shown]
    titles = [ENGINES[engine].title for engine in engines]
    lines = [
        "| case | " + " | ".join(titles) + " | cyray / Ray |",
        "|---|" + "---:|" * (len(engines) + 1),
    ]
    for metric in metrics:
        if metric.key not in results.values and case_of(metric.key) not in results.troubles:
            continue
        cells = [cell(results, metric, engine) for engine in engines]
        better = times_better(results, metric, "ray")
        lines.append(f"| {metric.title} | " + " | ".join(cells) + f" | {better} |")
    return "\n".join(lines)


def floor_table(verdicts: list[Verdict], metrics: dict[str, Metric]) -> str:
    lines = ["| case | floor | that is | cyray | measured | |", "|---|---:|---:|---:|---:|---|"]
    for verdict in verdicts:
        metric, floor = metrics[verdict.floor.metric], verdict.floor
        bound = number(verdict.bound, metric.unit)
        wanted = f"{floor.factor:g} x {ENGINES[floor.of].title}" if floor.of else bound
        cells = (
            metric.title.removeprefix("- "),
            wanted,
            bound,
            number(verdict.measured, metric.unit),
            "" if verdict.ratio is None else f"{verdict.ratio:,.4g} x",
            "pass" if verdict.met else "**miss**",
        )
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def summary(verdicts: list[Verdict], metrics: dict[str, Metric]) -> str:
    missed = [metrics[v.floor.metric].title.removeprefix("- ") for v in verdicts if not v.met]
    text = f"{len(verdicts) - len(missed)} of {len(verdicts)} floors are met"
    return f"{text}; missed: {', '.join(dict.fromkeys(missed))}." if missed else f"{text}."


def conditions(results: Results, machine: str) -> str:
    """What a reader must know to judge the figures."""
    versions = ", ".join(
        f"{ENGINES[name].title} {version}"
        for name, version in results.versions.items()
        if ENGINES[name].column
    )
    rounds = results.rounds()
    how = f"medians of {rounds} rounds" if rounds > 1 else "one round"
    return (
        f"{machine}; {versions or 'no packages'}; {how}, in each of which the engines took turns."
    )


def full(results: Results, metrics: dict[str, Metric], verdicts: list[Verdict], about: str) -> str:
    parts = [about, table(results, list(metrics.values())), NOTES]
    if verdicts:
        parts += [
            "## Floors",
            f"Ratios are medians of the ratios within each round. {summary(verdicts, metrics)}",
            floor_table(verdicts, metrics),
        ]
    return "\n\n".join(parts) + "\n"


def brief(results: Results, metrics: dict[str, Metric], verdicts: list[Verdict], about: str) -> str:
    """For the README: without the rows that belong to the row above them."""
    rows = [metric for metric in metrics.values() if not metric.detail]
    more = (
        f"{NOTES} `benchmarks/RESULTS.md` has p50, p99 and CPU time, and the floors that the project "
        f"holds itself to: {summary(verdicts, metrics)}"
    )
    return "\n\n".join([table(results, rows), about, more])


def replace_between_marks(document: str, text: str) -> str:
    """The document with `text` between its benchmark marks; ValueError when it has not one pair."""
    before, found, rest = document.partition(BEGIN)
    _, also_found, after = rest.partition(END)
    if not found or not also_found or BEGIN in rest:
        raise ValueError(f"no single pair of {BEGIN} and {END}")
    return f"{before}{BEGIN}\n{text}\n{END}{after}"
