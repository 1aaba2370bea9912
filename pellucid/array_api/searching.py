"""Searching, sorting, sets, and picking by index."""
from __future__ import annotations

from typing import NamedTuple

from ..tensor import Tensor
from ..tensor import functions as P
from .dtypes import promoted, result_type

__all__ = ["argmax", "argmin", "argsort", "isin", "nonzero", "searchsorted", "sort", "take", "take_along_axis", "unique_all",
           "unique_counts", "unique_inverse", "unique_values", "where"]


def argmax(x, /, *, axis=None, keepdims=False):
    """Where the largest values are; the first of equals."""
    return P.argmax(x, axis, keepdims)


def argmin(x, /, *, axis=None, keepdims=False):
    """Where the smallest values are; the first of equals."""
    return P.argmin(x, axis, keepdims)


def argsort(x, /, *, axis=-1, descending=False, stable=True):
    """The indices that sort `x`."""
    return P.argsort(x, axis, descending, stable=stable)


def sort(x, /, *, axis=-1, descending=False, stable=True):
    """The values in order."""
    return P.sort(x, axis, descending, stable=stable).values


def isin(x1, x2, /, *, invert=False):
    """Which values of `x1` are among those of `x2`."""
    return P.isin(*promoted(x1, x2), invert=invert)


def nonzero(x, /) -> tuple:
    """One tensor of indices per dimension: where `x` is not zero."""
    if not x.ndim:
        raise ValueError("nonzero(): a tensor without dimensions has no indices; reshape(x, (1,)) makes a vector of it")
    return P.nonzero(x, as_tuple=True)


def searchsorted(x1, x2, /, *, side="left", sorter=None):
    """Where the values of `x2` belong in the sorted vector `x1`."""
    x1, x2 = promoted(x1, x2)
    return P.searchsorted(x1, x2, side=side, sorter=sorter)


def take(x, indices, /, *, axis=None):
    """The elements of `x` at `indices` (negative ones count from the end) along `axis`, which only a vector may leave out."""
    if axis is None:
        if x.ndim != 1:
            raise ValueError(f"axis must be given for a tensor of {x.ndim} dimensions; only with one it may be left out")
        axis = 0
    return x[(slice(None),) * (axis % x.ndim) + (indices,)]


def take_along_axis(x, indices, /, *, axis=-1):
    """The elements at `indices`, which has the dimensions of `x`, along `axis`."""
    return P.take_along_dim(x, indices, axis)


class UniqueAll(NamedTuple):
    values: Tensor
    indices: Tensor
    inverse_indices: Tensor
    counts: Tensor


class UniqueCounts(NamedTuple):
    values: Tensor
    counts: Tensor


class UniqueInverse(NamedTuple):
    values: Tensor
    inverse_indices: Tensor


def unique_all(x, /) -> UniqueAll:
    """The distinct values, where each first occurs in the flattened `x`, which of them each element is, and how often each occurs."""
    values, inverse, counts = P.unique(x, return_inverse=True, return_counts=True)
    order = P.argsort(inverse.reshape(-1), stable=True)
    return UniqueAll(values, order[P.cumsum(counts, 0) - counts], inverse, counts)


def unique_counts(x, /) -> UniqueCounts:
    """The distinct values, and how often each occurs."""
    return UniqueCounts(*P.unique(x, return_counts=True))


def unique_inverse(x, /) -> UniqueInverse:
    """The distinct values, and which of them each element is."""
    return UniqueInverse(*P.unique(x, return_inverse=True))


def unique_values(x, /):
    """The distinct values."""
    return P.unique(x)


def where(condition, x1, x2, /):
    """Elements of `x1` where `condition` is true, of `x2` elsewhere."""
    d = result_type(x1, x2)
    return P.where(condition, *[v.to(d) if isinstance(v, Tensor) else P.full((), v, dtype=d) for v in (x1, x2)])
