"""Many measurements side by side: a table with a row for each sub-label and a column for each description, one for each label.

In: `Measurement`s. Out: text, laid out as PyTorch's.
"""
from __future__ import annotations

import enum
import math
from collections.abc import Iterable

from .measurement import Measurement, ordered_unique, select_unit, trim_sigfig, unit_to_english

__all__ = ["Colorize", "Compare"]

BEST, GOOD, BAD, VERY_BAD, BOLD, END = "\033[92m", "\033[34m", "\033[2m\033[91m", "\033[31m", "\033[1m", "\033[0m"


class Colorize(enum.Enum):
    """Among what the best measurement is looked for."""

    NONE = "none"
    COLUMNWISE = "columnwise"
    ROWWISE = "rowwise"


class Compare:
    """`Compare(measurements).print()`."""

    def __init__(self, results: Iterable[Measurement]):
        self._results: list[Measurement] = []
        self.extend_results(results)
        self._trim = self._warn = False
        self._colorize = Colorize.NONE

    def extend_results(self, results: Iterable[Measurement]) -> None:
        """Add measurements. Raises ValueError for anything else."""
        results = list(results)
        for r in results:
            if not isinstance(r, Measurement):
                raise ValueError(f"Expected an instance of `Measurement`, got {type(r)} instead.")
        self._results.extend(results)

    def trim_significant_figures(self) -> None:
        """Print only figures that mean something."""
        self._trim = True

    def colorize(self, rowwise: bool = False) -> None:
        """Colour times by how they compare to the best in their column (or row)."""
        self._colorize = Colorize.ROWWISE if rowwise else Colorize.COLUMNWISE

    def highlight_warnings(self) -> None:
        """Mark times whose measurements vary much."""
        self._warn = True

    def print(self) -> None:
        print(self)

    def __str__(self) -> str:
        groups: dict[str | None, list[Measurement]] = {}
        for r in Measurement.merge(self._results):
            groups.setdefault(r.label, []).append(r)
        return "\n".join([self._table(label, group) for label, group in groups.items()])

    def _table(self, label: str | None, results: list[Measurement]) -> str:
        unit, scale = select_unit(min(r.median for r in results))
        row_keys = ordered_unique([(r.num_threads, r.env, r.as_row_name) for r in results])
        row_keys.sort(key=lambda k: (k[0], k[1] or ""))
        column_keys = ordered_unique([r.description for r in results])
        cells = {((r.num_threads, r.env, r.as_row_name), r.description): r for r in results}
        environments = {r.env for r in results}
        width = max(len(str(e)) for e in environments)
        warn = self._warn and any(r.has_warnings for r in results)
        columns = [self._column([cells.get((key, c)) for key in row_keys], scale, warn) for c in column_keys]
        names, before = [], None
        for threads, env, name in row_keys:
            shown = f"({env})" if len(environments) > 1 and (threads, env) != before else ""
            before = threads, env
            names.append("  " + (shown.ljust(width + 4) if len(environments) > 1 else "    ") + name)
        heads = ["", *[c or "" for c in column_keys]]
        widths = [max(map(len, column)) for column in zip(heads, *zip(names, *columns))]
        out = ["  |  ".join([h.center(w) for h, w in zip(heads, widths)])]
        overall = len(out[0])
        before = None
        for i, key in enumerate(row_keys):
            if key[0] != before:
                before = key[0]
                out.append(f"{key[0]} threads: ".ljust(overall, "-"))
            row = [names[i].ljust(widths[0])]
            for j, c in enumerate(column_keys):
                text, r = columns[j][i].center(widths[j + 1]), cells.get((key, c))
                row.append(text if r is None else self._coloured(text, r, cells, key, c))
            out.append("  |  ".join(row))
        note = "(! XX%) Measurement has high variance, where XX is the IQR / median * 100.\n" if warn else ""
        return (f"[{(' ' + (label or '') + ' ').center(overall - 2, '-')}]\n" + "\n".join(out)
                + f"\n\nTimes are in {unit_to_english(unit)}s ({unit}).\n{note}")

    def _column(self, results: list[Measurement | None], scale: float, warn: bool) -> list[str]:
        """The times of one column as text of one width."""
        there = [r for r in results if r is not None]
        digits = [math.ceil(math.log10(r.median / scale)) for r in there]
        decimals = min(max(r.significant_figures - d, 0) for r, d in zip(there, digits)) if self._trim else 1
        length = max(digits) + decimals + bool(decimals)
        marks = 7 if warn and any(r.has_warnings for r in there) else 0
        blank = " " * (length + marks)
        out = []
        for r in results:
            if r is None:
                out.append(blank)
                continue
            value = r.median / scale
            mark = f" (! {r.iqr / r.median * 100:.0f}%)" if marks and r.has_warnings else ""
            out.append(f"{trim_sigfig(value, r.significant_figures) if self._trim else value:>{length}.{decimals}f}{mark:>{marks or 0}}")
        return out

    def _coloured(self, text: str, r: Measurement, cells: dict, key: tuple, column: str | None) -> str:
        if self._colorize is Colorize.NONE:
            return text
        if self._colorize is Colorize.ROWWISE:
            among = [m for (k, _), m in cells.items() if k == key]
        else:
            among = [m for (k, c), m in cells.items() if c == column and k[0] == key[0]]
        best = min(m.median for m in among)
        if r.median <= best * 1.01 or r.median <= best + 100e-9:
            return BEST + BOLD + text + END * 2
        if r.median <= best * 1.1:
            return GOOD + BOLD + text + END * 2
        if r.median >= best * 5:
            return VERY_BAD + BOLD + text + END * 2
        return BAD + text + END * 2 if r.median >= best * 2 else text
