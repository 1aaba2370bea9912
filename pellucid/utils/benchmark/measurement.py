"""What a `Timer` measured: times of one statement, their statistics, and how they print (as PyTorch's do).

In: seconds per run of so many executions. Out: `Measurement`. What stays true: statistics are of the time of one execution.
"""
from __future__ import annotations

import dataclasses
import math
import statistics
import textwrap
from collections.abc import Iterable
from functools import cached_property
from typing import Any

import numpy as np

__all__ = ["Measurement", "TaskSpec", "ordered_unique", "select_unit", "trim_sigfig", "unit_to_english"]

MOST_FIGURES = 4
LEAST_INTERVAL = 25e-9
WARN, GROSS = 0.1, 0.25             # interquartile range by median, from which a measurement says that it is doubtful


@dataclasses.dataclass(repr=False, frozen=True)
class TaskSpec:
    """What was measured."""

    stmt: str
    setup: str
    global_setup: str = ""
    label: str | None = None
    sub_label: str | None = None
    description: str | None = None
    env: str | None = None
    num_threads: int = 1

    @property
    def title(self) -> str:
        """The label, or the statement."""
        if self.label is not None or "\n" not in self.stmt:
            return (self.stmt if self.label is None else self.label) + (f": {self.sub_label}" if self.sub_label else "")
        return f"stmt:{f' ({self.sub_label})' if self.sub_label else ''}\n{textwrap.indent(self.stmt, '  ')}"

    def setup_str(self) -> str:
        if self.setup in ("pass", ""):
            return ""
        return f"setup:\n{textwrap.indent(self.setup, '  ')}" if "\n" in self.setup else f"setup: {self.setup}"

    def summarize(self) -> str:
        """Title, description and setup, for a measurement's text."""
        return "\n".join([f"{part}\n" if "\n" in part else part for part in (self.title, self.description or "", self.setup_str()) if part])


_FIELDS = frozenset(f.name for f in dataclasses.fields(TaskSpec))


@dataclasses.dataclass(repr=False)
class Measurement:
    """Times of a statement: `raw_times` in seconds, of `number_per_run` executions each. The fields of `task_spec` are also its own."""

    number_per_run: int
    raw_times: list[float]
    task_spec: TaskSpec
    metadata: dict[Any, Any] | None = None

    def __getattr__(self, name: str) -> Any:
        if name in _FIELDS:
            return getattr(self.task_spec, name)
        raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")

    @property
    def times(self) -> list[float]:
        """Seconds of one execution, for each run."""
        return [t / self.number_per_run for t in self.raw_times]

    @cached_property
    def _quartiles(self) -> tuple[float, float, float]:
        return tuple(map(float, np.quantile(self.times, (0.25, 0.5, 0.75)))) if self.raw_times else (-1.0, -1.0, -1.0)

    @property
    def median(self) -> float:
        return self._quartiles[1]

    @property
    def mean(self) -> float:
        return statistics.fmean(self.times) if self.raw_times else -1.0

    @property
    def iqr(self) -> float:
        """The range in which the middle half of the times lies."""
        return self._quartiles[2] - self._quartiles[0]

    @property
    def significant_figures(self) -> int:
        """How many figures of the median mean something, roughly: by the spread of the middle half."""
        times = sorted(self.times)
        middle = times[len(times) // 4:math.ceil(3 * len(times) / 4)]
        interval = max(1.645 * statistics.pstdev(middle) / math.sqrt(len(middle)), LEAST_INTERVAL)
        return min(max(math.floor(math.log10(self.median / interval)), 1), MOST_FIGURES)

    def meets_confidence(self, threshold: float = WARN) -> bool:
        """Whether the interquartile range is below this part of the median."""
        return self.iqr / self.median < threshold

    @property
    def warnings(self) -> str:
        """What is doubtful about the measurement, or ""."""
        if not self.raw_times or self.meets_confidence(WARN):
            return ""
        why = "could indicate system fluctuation" if self.meets_confidence(GROSS) else "suggests significant environmental influence"
        return (f"  WARNING: Interquartile range is {self.iqr / self.median * 100:.1f}% of the median measurement.\n"
                f"           This {why}.")

    @property
    def has_warnings(self) -> bool:
        return bool(self.warnings)

    @property
    def title(self) -> str:
        return self.task_spec.title

    @property
    def as_row_name(self) -> str:
        return self.sub_label or self.stmt or "[Unknown]"

    def __repr__(self) -> str:
        n, many = len(self.raw_times), len(self.raw_times) > 1
        unit, scale = select_unit(self.median)
        low, middle, high = [q / scale for q in self._quartiles]
        out = [object.__repr__(self), self.task_spec.summarize(), f"  {'Median: ' if many else ''}{middle:.2f} {unit}"]
        if n >= 4:
            out.append(f"  IQR:    {high - low:.2f} {unit} ({low:.2f} to {high:.2f})")
        out.append(f"  {n} measurement{'s' if many else ''}, {self.number_per_run} runs {'per measurement,' if many else ','} "
                   f"{self.num_threads} thread{'s' if self.num_threads > 1 else ''}")
        return "\n".join([*out, self.warnings]).strip()

    @staticmethod
    def merge(measurements: Iterable[Measurement]) -> list[Measurement]:
        """One measurement for all of the same task; their times are those of one execution each."""
        groups: dict[TaskSpec, list[float]] = {}
        for m in measurements:
            groups.setdefault(m.task_spec, []).extend(m.times)
        return [Measurement(1, times, task) for task, times in groups.items()]


def select_unit(t: float) -> tuple[str, float]:
    """The unit in which `t` seconds are a number of one to three digits before the point, and its size."""
    power = math.log10(t) // 3 if t > 0 else 0
    return {-3: ("ns", 1e-9), -2: ("us", 1e-6), -1: ("ms", 1e-3)}.get(int(power), ("s", 1))


def unit_to_english(u: str) -> str:
    return {"ns": "nanosecond", "us": "microsecond", "ms": "millisecond", "s": "second"}[u]


def trim_sigfig(x: float, n: int) -> float:
    """`x` to `n` significant figures: 3.14159 to 2 is 3.1."""
    if n != int(n):
        raise AssertionError("Number of significant figures must be an integer")
    if x == 0:
        return 0.0
    scale = 10.0 ** (math.ceil(math.log10(abs(x))) - n)
    return float(round(x / scale) * scale)


def ordered_unique(elements: Iterable[Any]) -> list[Any]:
    """Each element once, in the order they came."""
    return list(dict.fromkeys(elements))
