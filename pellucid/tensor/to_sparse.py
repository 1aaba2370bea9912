"""What a dense tensor answers to the questions of sparse ones, and how it becomes sparse.

In: a dense tensor. Out: a sparse one, made by tensor/sparse.py (loaded on first use), or PyTorch's error for what only a sparse
tensor has.
"""
from __future__ import annotations

from ..core.errors import describe, fail
from ..core.late import late


def to_sparse(self, sparse_dim=None, *, layout=None, blocksize=None, dense_dim=None):
    """The elements that are not 0, as a sparse COO tensor; with `sparse_dim` the parts behind the first dimensions that are not all 0."""
    sparse = late.sparse()
    sparse.check_layout(layout)
    return sparse.from_dense(self, sparse_dim)


def to_sparse_coo(self):
    """The elements that are not 0, as a sparse COO tensor."""
    return late.sparse().from_dense(self)


def sparse_mask(self, mask):
    """The elements at the places of the sparse tensor `mask`."""
    return late.sparse().masked(self, mask)


def smm(self, mat):
    """The product of a sparse matrix and the dense `mat`, sparse."""
    return late.sparse().RULES["smm"](self, mat)


def sspaddmm(self, mat1, mat2, *, beta=1, alpha=1):
    """beta * self + alpha * (mat1 @ mat2), of sparse `self` and `mat1` and a dense `mat2`: sparse."""
    return late.sparse().RULES["sspaddmm"](self, mat1, mat2, beta=beta, alpha=alpha)


def sparse_dim(self) -> int:
    """How many dimensions are named by indices: none of a dense tensor."""
    return 0


def dense_dim(self) -> int:
    """How many dimensions are not named by indices: all of a dense tensor."""
    return self._a.ndim


def _only_sparse(name: str):
    def method(self):
        fail(RuntimeError, "P984", f"{name} expected sparse coordinate tensor layout but got Strided", got=describe(self), fix="x.to_sparse() first")
    method.__name__, method.__qualname__ = name, name
    method.__doc__ = f"Of a sparse tensor (see `to_sparse`): its {name.strip('_').replace('_', ' ')}."
    return method


METHODS = {f.__name__: f for f in (to_sparse, to_sparse_coo, sparse_mask, smm, sspaddmm, sparse_dim, dense_dim, *map(_only_sparse, (
    "indices", "values", "_indices", "_values", "_nnz", "coalesce", "is_coalesced")))}
