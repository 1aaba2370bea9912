"""How tensors print: PyTorch's format, character for character.

In: a tensor and the print options. Out: its repr. True always: at most `threshold` elements (or the edges of each
dimension) are formatted, so that printing a large tensor is cheap; the tensor is not changed.
Definition followed: torch/_tensor_str.py of PyTorch 2.13.
"""
from __future__ import annotations

import math
from contextlib import contextmanager
from typing import Any, Callable, Iterator, NamedTuple

import numpy as np

from ..core import dtype as dt
from .core import PLAIN, readable
from .fake import without_data

__all__ = ["get_printoptions", "printoptions", "set_printoptions", "tensor_repr"]


class _Options(NamedTuple):
    """precision: digits after the point; threshold: elements printed in full; edgeitems: items kept at each end of a
    dimension otherwise; linewidth: characters a line; sci_mode: scientific notation (None: where the range asks for it)."""

    precision: int = 4
    threshold: float = 1000
    edgeitems: int = 3
    linewidth: int = 80
    sci_mode: bool | None = None


_PROFILES = {"default": _Options(), "short": _Options(precision=2, edgeitems=2), "full": _Options(threshold=math.inf)}
_options = _Options()


def set_printoptions(precision: int | None = None, threshold: float | None = None, edgeitems: int | None = None,
                     linewidth: int | None = None, profile: str | None = None, sci_mode: bool | None = None) -> None:
    """Set how tensors print, as in PyTorch. `profile`: "default", "short" or "full". `sci_mode=None` restores the default."""
    global _options
    if profile is not None:
        base = _PROFILES.get(profile)
        if base is None:
            raise ValueError(f"set_printoptions(): profile must be default, short or full, got {profile!r}")
        _options = base._replace(linewidth=80)
    given = {"precision": precision, "threshold": threshold, "edgeitems": edgeitems, "linewidth": linewidth}
    _options = _options._replace(**{k: v for k, v in given.items() if v is not None}, sci_mode=sci_mode)


def get_printoptions() -> dict[str, Any]:
    """The current print options as a dict that `set_printoptions(**d)` accepts."""
    return _options._asdict()


@contextmanager
def printoptions(**kwargs: Any) -> Iterator[None]:
    """A context in which tensors print with other options."""
    global _options
    before = _options
    set_printoptions(**kwargs)
    try:
        yield
    finally:
        _options = before


# ------------------------------------------------------------------------------------------------ numbers
class _Format:
    """How every number of one tensor is written, all in the same width."""

    def __init__(self, values: np.ndarray, floating: bool):
        self.floating, self.whole, self.scientific, self.width = floating, True, False, 1
        flat = values.reshape(-1)
        if not floating:
            if flat.size:
                self.width = max(len(str(x)) for x in (flat.min(), flat.max()))
            return
        flat = flat[np.isfinite(flat) & (flat != 0)].astype(np.float64)
        if not flat.size:
            return
        size = np.abs(flat)
        low, high = size.min(), size.max()
        self.whole = bool((flat == np.ceil(flat)).all())
        mode = _options.sci_mode
        with np.errstate(over="ignore"):
            self.scientific = bool(high / low > 1000.0 or high > 1.0e8 or low < 1.0e-4) if mode is None else mode
        if self.scientific:
            lengths = (len(f"{x:.{_options.precision}e}") for x in flat.tolist())
        elif self.whole:
            lengths = (len(f"{x:.0f}") + 1 for x in (flat.min(), flat.max()))
        else:
            lengths = (len(f"{x:.{_options.precision}f}") for x in flat.tolist())
        self.width = max(self.width, *lengths)

    def __call__(self, value: Any) -> str:
        if not self.floating:
            text = str(value)
        elif self.scientific:
            text = f"{value:.{_options.precision}e}"
        elif self.whole:
            text = f"{value:.0f}" + ("." if math.isfinite(value) else "")
        else:
            text = f"{value:.{_options.precision}f}"
        return text.rjust(self.width)


def _edges(a: np.ndarray) -> np.ndarray:
    """The part of `a` that is printed."""
    keep = _options.edgeitems
    for axis, n in enumerate(a.shape):
        if n > 2 * keep:
            a = a[(slice(None),) * axis + ([*range(keep), *range(n - keep, n)],)]      # np.take would copy an expanded tensor whole
    return a


def _formatter(a: np.ndarray, d: dt.dtype) -> tuple[Callable[[Any], str], int]:
    """What writes one element, and how wide that is."""
    if not d.is_complex:
        one = _Format(a, d.is_floating_point)
        return one, one.width
    real, imag = _Format(a.real, True), _Format(a.imag, True)

    def write(value: complex) -> str:
        tail = (imag(value.imag) + "j").lstrip()
        return real(value.real) + (tail if tail[0] in "+-" else "+" + tail)

    return write, real.width + imag.width + 1


# ------------------------------------------------------------------------------------------------ nesting
def _vector(a: np.ndarray, indent: int, summarize: bool, write: Callable[[Any], str], width: int) -> str:
    keep = _options.edgeitems
    if summarize and not keep:
        parts = ["..."]
    elif summarize and a.shape[0] > 2 * keep:
        parts = [*map(write, a[:keep].tolist()), " ...", *map(write, a[-keep:].tolist())]
    else:
        parts = [write(x) for x in a.tolist()]
    per_line = max(1, (_options.linewidth - indent) // (width + 2))
    lines = [", ".join(parts[i:i + per_line]) for i in range(0, len(parts), per_line)]
    return "[" + (",\n" + " " * (indent + 1)).join(lines) + "]"


def _nested(a: np.ndarray, indent: int, summarize: bool, write: Callable[[Any], str], width: int) -> str:
    if a.ndim == 0:
        return write(a.item())
    if a.ndim == 1:
        return _vector(a, indent, summarize, write, width)
    keep, n = _options.edgeitems, a.shape[0]
    cut = summarize and n > 2 * keep
    rows = [*range(keep), None, *range(n - keep, n)] if cut else range(n)
    slices = ["..." if i is None else _nested(a[i], indent + 1, summarize, write, width) for i in rows]
    return "[" + ("," + "\n" * (a.ndim - 1) + " " * (indent + 1)).join(slices) + "]"


def _contents(a: np.ndarray, d: dt.dtype, indent: int) -> str:
    if not a.size:
        return "[]"
    summarize = a.size > _options.threshold
    shown = _edges(a) if summarize else a
    write, width = _formatter(shown.astype(np.float32) if d in dt.LOW_PRECISION else shown, d)
    if d in dt.LOW_PRECISION:                                 # whose elements tolist() may give as ml_dtypes scalars
        return _nested(a, indent, summarize, lambda x: write(float(x)), width)
    return _nested(a, indent, summarize, write, width)


def tensor_repr(t, *, tensor_contents: str | None = None) -> str:
    """The repr of a tensor; `tensor_contents` replaces the values."""
    a, d = t._a, t.dtype
    if hasattr(a, "shown"):                # inside a transform: the level says
        return a.shown()
    prefix = "tensor(" if type(t) in PLAIN else f"{type(t).__name__}("
    indent = len(prefix)
    default = dt.get_default_dtype()
    suffixes = []
    if without_data(t):
        tensor_contents = "..."
        suffixes += ["device='meta'", f"size={tuple(a.shape)}"] + [f"dtype={d}"] * (d is not default)
    elif not a.size:
        if a.ndim != 1:
            suffixes.append(f"size={tuple(a.shape)}")
        if d is not default:
            suffixes.append(f"dtype={d}")
    else:
        if not _options.edgeitems:
            suffixes.append(f"size={tuple(a.shape)}")
        usual = dt.complex128 if default is dt.float64 else dt.complex64
        if d not in (default, usual, dt.int64, dt.bool_):
            suffixes.append(f"dtype={d}")
    if not t.is_leaf:
        suffixes.append(f"grad_fn=<{type(t._fn).__name__}>")
    elif t._rg:
        suffixes.append("requires_grad=True")
    text = prefix + (_contents(readable(a), d, indent) if tensor_contents is None else tensor_contents)
    return _with_suffixes(text, suffixes, indent)


def sparse_repr(t, indices, values) -> str:
    """The repr of a sparse tensor with these indices and values."""
    prefix = "tensor("
    indent, parts = len(prefix), []
    for name, part in (("indices", indices), ("values", values)):
        start = f"{name}=tensor("
        text = start + _contents(part._a, part.dtype, indent + len(start))
        parts.append(text + (")" if part._a.size else f", size={tuple(part._a.shape)})"))
    default = dt.get_default_dtype()
    usual = dt.complex128 if default is dt.float64 else dt.complex64
    suffixes = [f"size={tuple(t._a.shape)}", f"nnz={indices._a.shape[1]}"]
    if t.dtype not in (default, usual, dt.int64, dt.bool_):
        suffixes.append(f"dtype={t.dtype}")
    suffixes.append(f"layout={t.layout}")
    if not t.is_leaf:
        suffixes.append(f"grad_fn=<{type(t._fn).__name__}>")
    elif t._rg:
        suffixes.append("requires_grad=True")
    return _with_suffixes(prefix + (",\n" + " " * indent).join(parts), suffixes, indent, True)


def _with_suffixes(text: str, suffixes: list[str], indent: int, newline: bool = False) -> str:
    last = len(text) - text.rfind("\n") + 1
    for suffix in suffixes:
        if newline or last + len(suffix) + 2 > _options.linewidth:
            newline = False
            text += ",\n" + " " * indent + suffix
            last = indent + len(suffix)
        else:
            text += ", " + suffix
            last += len(suffix) + 2
    return text + ")"
