"""Statistical and other reductions, and what accumulates along an axis."""
from __future__ import annotations

from ..core import dtype as dt
from ..tensor import functions as P

__all__ = ["all", "any", "count_nonzero", "cumulative_prod", "cumulative_sum", "diff", "max", "mean", "min", "prod", "std", "sum", "var"]


def _axes(x, axis) -> tuple:
    """The axes to reduce over, as a tuple. PyTorch takes an empty tuple for all of them; the standard for none."""
    return tuple(range(x.ndim)) if axis is None else (axis,) if isinstance(axis, int) else tuple(axis)


def _accumulator(x, dtype):
    """The dtype of a sum or product: 64 bits for integers, signed or not as `x`."""
    if dtype is not None or x.dtype.category > dt.INT:
        return dtype or x.dtype
    return dt.int64 if x.dtype.category == dt.BOOL or x.dtype.is_signed else dt.uint64


def all(x, /, *, axis=None, keepdims=False):
    """Whether all values are true."""
    axes = _axes(x, axis)
    return P.all(x.bool(), axes, keepdims) if axes else x.bool()       # PyTorch's of uint8 is uint8


def any(x, /, *, axis=None, keepdims=False):
    """Whether any value is true."""
    axes = _axes(x, axis)
    return P.any(x.bool(), axes, keepdims) if axes else x.bool()       # PyTorch's of uint8 is uint8


def count_nonzero(x, /, *, axis=None, keepdims=False):
    """How many values are not zero."""
    return sum(x != 0, axis=axis, dtype=dt.int64, keepdims=keepdims)


def cumulative_prod(x, /, *, axis=None, dtype=None, include_initial=False):
    """Products of the values so far along `axis`; `include_initial` puts a 1 before them."""
    return _cumulative(P.cumprod, P.ones, x, axis, dtype, include_initial)


def cumulative_sum(x, /, *, axis=None, dtype=None, include_initial=False):
    """Sums of the values so far along `axis`; `include_initial` puts a 0 before them."""
    return _cumulative(P.cumsum, P.zeros, x, axis, dtype, include_initial)


def _cumulative(function, initial, x, axis, dtype, include_initial):
    if axis is None:
        if x.ndim != 1:
            raise ValueError(f"axis must be given for a tensor of {x.ndim} dimensions; only with one it may be left out")
        axis = 0
    y = function(x, axis, dtype=_accumulator(x, dtype))
    if not include_initial:
        return y
    first = initial([1 if i == axis % x.ndim else n for i, n in enumerate(x.shape)], dtype=y.dtype)
    return P.cat((first, y), axis)


def diff(x, /, *, axis=-1, n=1, prepend=None, append=None):
    """Differences between neighbours along `axis`, `n` times over."""
    return P.diff(x, n, axis, prepend, append)


def max(x, /, *, axis=None, keepdims=False):
    """The largest values."""
    axes = _axes(x, axis)
    return P.amax(x, axes, keepdims) if axes else x.clone()


def min(x, /, *, axis=None, keepdims=False):
    """The smallest values."""
    axes = _axes(x, axis)
    return P.amin(x, axes, keepdims) if axes else x.clone()


def mean(x, /, *, axis=None, keepdims=False):
    """Arithmetic means."""
    axes = _axes(x, axis)
    return P.mean(x, axes, keepdims) if axes else x.clone()


def prod(x, /, *, axis=None, dtype=None, keepdims=False):
    """Products."""
    y = x.to(_accumulator(x, dtype), copy=True)
    for a in sorted([a % x.ndim for a in _axes(x, axis)], reverse=True):
        y = P.prod(y, a, keepdims, dtype=y.dtype)
    return y


def std(x, /, *, axis=None, correction=0.0, keepdims=False):
    """Standard deviations; `correction` is taken from the number of values."""
    return P.sqrt(var(x, axis=axis, correction=correction, keepdims=keepdims))


def sum(x, /, *, axis=None, dtype=None, keepdims=False):
    """Sums."""
    axes, d = _axes(x, axis), _accumulator(x, dtype)
    return P.sum(x, axes, keepdims, dtype=d) if axes else x.to(d, copy=True)


def var(x, /, *, axis=None, correction=0.0, keepdims=False):
    """Variances; `correction` is taken from the number of values."""
    axes = _axes(x, axis)
    return P.var(x, axes, correction=correction, keepdim=keepdims) if axes else P.var(x[None], 0, correction=correction)
