"""Tensors in notebooks: a small HTML card instead of the text of `repr`.

In: a tensor. Out: HTML that needs nothing else: type, shape, dtype, history, min / mean / max, the numbers of NaN and
infinite values, and a table of values. True always: at most `SAMPLE` elements are looked at and `ROWS` x `COLUMNS` are
shown, whatever the tensor's size; larger tensors are sampled at even steps, without a copy, and the card says so.
"""
from __future__ import annotations

import numpy as np

from ..core import dtype as dt

SAMPLE = 100_000
ROWS, COLUMNS = 6, 8
_ESCAPES = {ord("&"): "&amp;", ord("<"): "&lt;", ord(">"): "&gt;", ord('"'): "&quot;"}
_FAINT = "opacity:0.65"
_CELL = "padding:1px 7px;text-align:right;border:1px solid rgba(128,128,128,0.35)"


def escape(text: str) -> str:
    """`text` as HTML shows it."""
    return text.translate(_ESCAPES)


def card(head: str, body: str = "") -> str:
    """A frame around a title line and what follows it."""
    return ('<div style="display:inline-block;font-family:monospace;font-size:0.9em;line-height:1.5;padding:4px 8px;'
            f'border:1px solid rgba(128,128,128,0.5);border-radius:4px"><div>{head}</div>{body}</div>')


def tensor_html(t) -> str:
    """The card of a tensor. `t` stays as it is; nothing is recorded."""
    a = t._a
    head = f"<b>{escape(type(t).__name__)}</b> {dt.of(a.dtype).name}{list(a.shape)}"
    notes = []
    if t._fn is not None:
        notes.append(f"grad_fn={escape(t._fn.name())}")
    elif t._rg:
        notes.append("requires_grad" + ("" if t._grad is None else ", has a grad"))
    if t._x is not None and t._x.base is not None:
        notes.append("a view")
    head += f' <span style="{_FAINT}">{escape(size(a.nbytes))}{"".join(", " + n for n in notes)}</span>'
    if a.size == 0:
        return card(head, f'<div style="{_FAINT}">no elements</div>')
    return card(head, statistics(a) + table(a))


def size(n: int) -> str:
    """A number of bytes in words."""
    for unit in ("bytes", "KiB", "MiB", "GiB"):
        if n < 1024 or unit == "GiB":
            break
        n /= 1024
    return f"{n:,} {unit}" if unit == "bytes" else f"{n:.1f} {unit}"


# ---------------------------------------------------------------------------------------------------- statistics
def sampled(a: np.ndarray) -> np.ndarray:
    """`a`, or a view of it with at most SAMPLE elements: every dimension in even steps, the longest ones in the widest."""
    shape = list(a.shape)
    steps = [1] * a.ndim
    while np.prod([-(-n // s) for n, s in zip(shape, steps)], dtype=float) > SAMPLE:
        longest = max(range(a.ndim), key=lambda i: -(-shape[i] // steps[i]))
        steps[longest] *= 2
    return a[tuple(slice(None, None, s) for s in steps)]


def statistics(a: np.ndarray) -> str:
    """A line with min, mean, max and the numbers of values that are not finite."""
    if a.size == 1:
        return ""
    part = sampled(a)
    parts = []
    if part.dtype.kind == "c":
        finite = np.isfinite(part)
    else:
        values = part.astype(np.float64)
        finite = np.isfinite(values)
        usable = values if finite.all() else values[finite]
        if usable.size:
            low, high = usable.min(), usable.max()
            if part.dtype.kind in "iub":
                low, high = int(part.min()), int(part.max())
            mean = float(usable.mean())
            parts = [f"{100 * mean:.4g}% True"] if part.dtype.kind == "b" else [
                f"min {number(low)}", f"mean {number(mean)}", f"max {number(high)}"]
    nans = int(np.isnan(part).sum()) if part.dtype.kind not in "iub" else 0
    others = int(part.size - np.count_nonzero(finite)) - nans
    for count, what in ((nans, "NaN"), (others, "infinite")):
        if count:
            parts.append(f'<span style="color:#c0392b">{count:,} {what}</span>')
    if part.size < a.size:
        parts.append(f'<span style="{_FAINT}">of {part.size:,} sampled elements</span>')
    return f"<div>{' &middot; '.join(parts)}</div>" if parts else ""


def number(x) -> str:
    """A value in four digits."""
    if isinstance(x, (bool, np.bool_)):
        return str(bool(x))
    if isinstance(x, (int, np.integer)):
        return str(x)
    if isinstance(x, (complex, np.complexfloating)):
        return f"{x.real:.4g}{x.imag:+.4g}j"
    return f"{float(x):.4g}"


# ---------------------------------------------------------------------------------------------------- values
def ends(n: int, most: int) -> list[int | None]:
    """The indices of a dimension that are shown; None stands for those left out."""
    if n <= most:
        return list(range(n))
    half = most // 2
    return [*range(half), None, *range(n - half, n)]


def table(a: np.ndarray) -> str:
    """The last two dimensions as a table; of more dimensions, the first matrix."""
    lead = a.shape[:-2]
    matrix = a[(0,) * len(lead)].reshape(a.shape[-2:] if a.ndim >= 2 else (1, a.size))
    rows, columns = ends(matrix.shape[0], ROWS), ends(matrix.shape[1], COLUMNS)
    lines = []
    for i in rows:
        cells = ["&#8942;" if i is None else "&#8230;" if j is None else number(matrix[i, j]) for j in columns]
        lines.append("<tr>" + "".join(f'<td style="{_CELL}">{c}</td>' for c in cells) + "</tr>")
    caption = ""
    if lead:
        index = ", ".join(["0"] * len(lead) + [":", ":"])
        caption = f'<div style="{_FAINT}">[{index}], the first of {int(np.prod(lead)):,}</div>'
    return f'{caption}<table style="border-collapse:collapse;margin:3px 0"><tbody>{"".join(lines)}</tbody></table>'
