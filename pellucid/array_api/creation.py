"""Functions that make tensors."""
from __future__ import annotations

from ..core import dtype as dt
from ..tensor import functions as P
from .dtypes import result_type

__all__ = ["arange", "asarray", "empty", "empty_like", "eye", "from_dlpack", "full", "full_like", "linspace", "meshgrid", "ones",
           "ones_like", "tril", "triu", "zeros", "zeros_like"]

asarray, from_dlpack = P.asarray, P.from_dlpack


def _shape(shape) -> tuple:
    return (shape,) if isinstance(shape, int) else tuple(shape)


def arange(start, /, stop=None, step=1, *, dtype=None, device=None):
    """start, start + step, ... below `stop`; `arange(n)` counts from 0. Empty where `step` leads away from `stop`."""
    if stop is None:
        start, stop = 0, start
    if step and (stop - start) / step <= 0:
        return P.empty(0, dtype=dtype or (dt.int64 if all(isinstance(v, int) for v in (start, stop, step)) else None), device=device)
    return P.arange(start, stop, step, dtype=dtype, device=device)


def empty(shape, *, dtype=None, device=None):
    """A tensor whose values are not set."""
    return P.empty(_shape(shape), dtype=dtype, device=device)


def empty_like(x, /, *, dtype=None, device=None):
    """A tensor of the shape of `x` whose values are not set."""
    return P.empty_like(x, dtype=dtype, device=device)


def eye(n_rows, n_cols=None, /, *, k=0, dtype=None, device=None):
    """Ones on the diagonal `k`, zeros elsewhere."""
    x = P.zeros((n_rows, n_rows if n_cols is None else n_cols), dtype=dtype, device=device)
    if -x.shape[0] < k < x.shape[1]:
        P.diagonal(x, k).fill_(1)
    return x


def full(shape, fill_value, *, dtype=None, device=None):
    """A tensor filled with one value."""
    return P.full(_shape(shape), fill_value, dtype=dtype, device=device)


def full_like(x, /, fill_value, *, dtype=None, device=None):
    """A tensor of the shape of `x` filled with one value."""
    return P.full_like(x, fill_value, dtype=dtype, device=device)


def linspace(start, stop, /, num, *, dtype=None, device=None, endpoint=True):
    """`num` values from `start` to `stop`, evenly spaced; without `endpoint`, `stop` is left out."""
    if dtype is None and isinstance(start, complex) | isinstance(stop, complex):
        dtype = result_type(start, stop)
    x = P.linspace(start, stop, num if endpoint else num + 1, dtype=dtype, device=device)
    return x if endpoint else x[:-1]


def meshgrid(*arrays, indexing="xy"):
    """Coordinates of a grid, one tensor per input."""
    return P.meshgrid(*arrays, indexing=indexing)


def ones(shape, *, dtype=None, device=None):
    """A tensor of ones."""
    return P.ones(_shape(shape), dtype=dtype, device=device)


def ones_like(x, /, *, dtype=None, device=None):
    """A tensor of ones with the shape of `x`."""
    return P.ones_like(x, dtype=dtype, device=device)


def tril(x, /, *, k=0):
    """The lower triangle of each matrix, up to diagonal `k`."""
    return P.tril(x, k)


def triu(x, /, *, k=0):
    """The upper triangle of each matrix, from diagonal `k`."""
    return P.triu(x, k)


def zeros(shape, *, dtype=None, device=None):
    """A tensor of zeros."""
    return P.zeros(_shape(shape), dtype=dtype, device=device)


def zeros_like(x, /, *, dtype=None, device=None):
    """A tensor of zeros with the shape of `x`."""
    return P.zeros_like(x, dtype=dtype, device=device)
