"""`pellucid.sparse`: functions of sparse tensors.

In: sparse COO tensors (`sparse_coo_tensor`, `x.to_sparse()`) and dense ones. Out: as PyTorch's functions of the same names.
True always: gradients reach the entries of sparse arguments, and dense arguments; a sparse argument's gradient is sparse.
"""
from __future__ import annotations

import functools
from collections.abc import Callable

import numpy as np

from .core import layout as lay
from .core.errors import describe, fail
from .core.errors import unknown as _unknown
from .ops.op import F
from .tensor import Tensor
from .tensor import sparse_rules as _rules
from .tensor.core import readable, wrap
from .tensor.sparse import assemble, invariants, is_sparse, sparse_coo_tensor

__all__ = ["addmm", "check_sparse_tensor_invariants", "log_softmax", "mm", "softmax", "sparse_coo_tensor", "spdiags", "sum"]


def mm(mat1: Tensor, mat2: Tensor) -> Tensor:
    """The product of two matrices, of which one or both are sparse: sparse (COO) only if both are."""
    return F.mm(mat1, mat2)


def addmm(mat: Tensor, mat1: Tensor, mat2: Tensor, *, beta: float = 1.0, alpha: float = 1.0) -> Tensor:
    """beta * mat + alpha * (mat1 @ mat2), `mat1` sparse."""
    return F.addmm(mat, mat1, mat2, beta=beta, alpha=alpha)


spmm, smm, hspmm, sspaddmm = mm, _rules.sparse_product, _rules.rows_product, _rules.add_sparse_product      # pellucid.spmm, ...


class check_sparse_tensor_invariants:
    """Whether `sparse_coo_tensor` verifies what it is told of its entries: a context, a decorator, and `enable()`, `disable()`."""

    def __init__(self, enable: bool = True):
        self.state = enable
        self.before: bool | None = None

    @staticmethod
    def is_enabled() -> bool:
        """Whether it does now; at first it does not."""
        return invariants.enabled

    @staticmethod
    def enable() -> None:
        """Verify from now on."""
        invariants.enabled = True

    @staticmethod
    def disable() -> None:
        """Do not verify from now on."""
        invariants.enabled = False

    def __enter__(self) -> None:
        if self.before is not None:
            fail(RuntimeError, "P5733", "This context manager instance is already activated. Use a different context manager instance for "
                 "context nesting.", fix="with check_sparse_tensor_invariants(): makes a new one")
        self.before, invariants.enabled = invariants.enabled, self.state

    def __exit__(self, *error) -> None:
        invariants.enabled, self.before = self.before, None

    def __call__(self, function: Callable) -> Callable:
        @functools.wraps(function)
        def checked(*args, **kwargs):
            with type(self)(self.state):
                return function(*args, **kwargs)
        return checked


def sum(input: Tensor, dim: int | tuple[int, ...] | None = None, dtype=None) -> Tensor:
    """The sum of a sparse tensor over `dim` (all dimensions if None): sparse as long as a sparse dimension is left."""
    return _rules.total(_sparse(input, "sum"), dim, dtype=dtype)


def softmax(input: Tensor, dim: int, *, dtype=None) -> Tensor:
    """softmax over `dim` of the entries that are there; the others count as -inf."""
    return F.softmax(_sparse(input, "softmax"), dim, dtype)


def log_softmax(input: Tensor, dim: int, *, dtype=None) -> Tensor:
    """log of `softmax`."""
    return F.log_softmax(_sparse(input, "log_softmax"), dim, dtype)


def spdiags(diagonals: Tensor, offsets: Tensor, shape: tuple[int, int], layout=None) -> Tensor:
    """A sparse matrix of `shape` with the rows of `diagonals` on the diagonals `offsets`.

    Row k fills diagonal `offsets[k]` (0: the main one, positive: above); its element j goes to column j, so that the first ones of
    a diagonal above the main one, and the last ones of one below, do not appear. Raises RuntimeError for repeated offsets.
    """
    if layout not in (None, lay.sparse_coo):
        fail(RuntimeError, "P985", f"Only output layouts (COO) are supported, got {layout}", fix="leave layout=")
    diagonals = F.reshape(diagonals, (1, -1)) if diagonals.ndim == 1 else diagonals
    where = readable(offsets._a).reshape(-1)
    if diagonals.ndim != 2 or where.size != diagonals.shape[0]:
        fail(RuntimeError, "P986", f"Number of diagonals ({diagonals.shape[0]}) does not match the number of offsets ({where.size})",
             got=describe(diagonals, offsets), fix="one row of diagonals per offset")
    if np.unique(where).size != where.size:
        fail(RuntimeError, "P987", "Offset tensor contains duplicate values", got=f"offsets {where.tolist()}", fix="each diagonal once")
    columns = np.tile(np.arange(diagonals.shape[1]), where.size)
    lines = columns - np.repeat(where, diagonals.shape[1])
    kept = np.flatnonzero((lines >= 0) & (lines < shape[0]) & (columns < shape[1]))
    values = F.take(diagonals, wrap(kept))
    return assemble(np.stack([lines[kept], columns[kept]]), values, tuple(shape))


def _sparse(x: Tensor, name: str) -> Tensor:
    if not is_sparse(x):
        fail(RuntimeError, "P988", f"sparse.{name}: expected a sparse tensor", got=describe(x), fix=f"x.to_sparse(), or pellucid.{name} for a dense one")
    return x


__getattr__ = _unknown(globals())
