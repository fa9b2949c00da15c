"""Types of the commands' options.

Place: on click alone.
"""

from __future__ import annotations

import math
from typing import Any

import click


class Amount(click.FloatRange):
    """A finite number, of `min` at least: NaN passes every comparison of a range."""

    def __init__(self, min: float = 0) -> None:
        super().__init__(min)

    def convert(self, value: Any, param: Any, ctx: Any) -> Any:
        number = super().convert(value, param, ctx)
        if not math.isfinite(number):
            self.fail(f"{value!r} is not a finite number.", param, ctx)
        return number
