"""What was measured: metric, engine, round -> value; and what went wrong: case, engine -> why.

Rounds are what makes figures comparable: in one round the engines take turns within minutes, so a
ratio is taken within a round and the median of the ratios is what counts.
"""

from __future__ import annotations

import json
import statistics
from collections.abc import Mapping
from pathlib import Path


class Results:
    def __init__(self) -> None:
        self.values: dict[str, dict[str, dict[int, float]]] = {}
        self.troubles: dict[str, dict[str, str]] = {}
        self.versions: dict[str, str] = {}

    def add(self, round_number: int, engine: str, values: Mapping[str, float]) -> None:
        for metric, value in values.items():
            self.values.setdefault(metric, {}).setdefault(engine, {})[round_number] = value

    def add_trouble(self, case: str, engine: str, what: str) -> None:
        self.troubles.setdefault(case, {})[engine] = what

    def trouble(self, case: str, engine: str) -> str:
        return self.troubles.get(case, {}).get(engine, "")

    def engines(self) -> set[str]:
        return {
            engine for by in (self.values, self.troubles) for row in by.values() for engine in row
        }

    def rounds(self) -> int:
        return 1 + max(
            (n for row in self.values.values() for by_round in row.values() for n in by_round),
            default=-1,
        )

    def median(self, metric: str, engine: str) -> float | None:
        by_round = self.values.get(metric, {}).get(engine)
        return statistics.median(by_round.values()) if by_round else None

    def ratio(self, metric: str, ours: str, theirs: str) -> float | None:
        """The median over the rounds that measured both; of the medians where no round did."""
        row = self.values.get(metric, {})
        mine, others = row.get(ours, {}), row.get(theirs, {})
        pairs = [mine[n] / others[n] for n in mine.keys() & others.keys() if others[n]]
        if pairs:
            return statistics.median(pairs)
        a, b = self.median(metric, ours), self.median(metric, theirs)
        return a / b if a is not None and b else None

    def merge(self, other: Results) -> None:
        """Adds the rounds of another run after those that are here, engine by engine."""
        for metric, row in other.values.items():
            for engine, by_round in row.items():
                here = self.values.setdefault(metric, {}).setdefault(engine, {})
                first = max(here, default=-1) + 1
                for offset, n in enumerate(sorted(by_round)):
                    here[first + offset] = by_round[n]
        for case, by_engine in other.troubles.items():
            self.troubles.setdefault(case, {}).update(by_engine)
        self.versions.update(other.versions)

    def save(self, path: Path) -> None:
        found = {"values": self.values, "troubles": self.troubles, "versions": self.versions}
        path.write_text(json.dumps(found, indent=1) + "\n")

    @classmethod
    def load(cls, path: Path) -> Results:
        found = json.loads(path.read_text())
        results = cls()
        for metric, row in found["values"].items():
            for engine, by_round in row.items():
                for n, value in by_round.items():
                    results.add(int(n), engine, {metric: value})
        results.troubles = found["troubles"]
        results.versions = found["versions"]
        return results
