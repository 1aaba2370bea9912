"""The standard's linear algebra: `pellucid.linalg` by the standard's signatures."""
from __future__ import annotations

from .. import linalg as _L
from ..core import dtype as dt
from ..tensor import functions as P
from .dtypes import of_two, promoted
from .reductions import sum

__all__ = ["cholesky", "cross", "det", "diagonal", "eig", "eigh", "eigvals", "eigvalsh", "inv", "matmul", "matrix_norm",
           "matrix_power", "matrix_rank", "matrix_transpose", "outer", "pinv", "qr", "slogdet", "solve", "svd", "svdvals",
           "tensordot", "trace", "vecdot", "vector_norm"]

cholesky, det, eig, eigh, eigvals, eigvalsh, inv, matrix_power, qr, slogdet, svdvals = (
    _L.cholesky, _L.det, _L.eig, _L.eigh, _L.eigvals, _L.eigvalsh, _L.inv, _L.matrix_power, _L.qr, _L.slogdet, _L.svdvals)
matmul, outer = of_two(P.matmul), of_two(P.outer)


def _vectors(x1, x2, axis: int) -> tuple:
    """Operands of one dtype whose vectors have one length: all other dimensions broadcast."""
    if x1.shape[axis] != x2.shape[axis]:
        raise ValueError(f"vectors along axis {axis} need one length, got {x1.shape[axis]} and {x2.shape[axis]}")
    return promoted(x1, x2)


def cross(x1, x2, /, *, axis=-1):
    """Cross products of vectors of three elements along `axis`."""
    return _L.cross(*P.broadcast_tensors(*_vectors(x1, x2, axis)), dim=axis)


def diagonal(x, /, *, offset=0):
    """The diagonals of matrices."""
    return _L.diagonal(x, offset=offset)


def matrix_norm(x, /, *, keepdims=False, ord="fro"):
    """Norms of matrices."""
    return _L.matrix_norm(x, ord, (-2, -1), keepdims)


def matrix_rank(x, /, *, rtol=None):
    """Ranks of matrices: how many singular values are above `rtol` times the largest."""
    return _L.matrix_rank(x, rtol=rtol)


def matrix_transpose(x, /):
    """The last two dimensions exchanged."""
    return x.mT


def pinv(x, /, *, rtol=None):
    """Pseudo-inverses of matrices."""
    return _L.pinv(x, rtol=rtol)


def solve(x1, x2, /):
    """The solutions of x1 @ y = x2. `x2` is a vector if it has one dimension, else matrices."""
    x1, x2 = promoted(x1, x2)
    if x2.ndim == 1:
        return _L.solve(x1, x2[:, None]).squeeze(-1)
    if x2.ndim == x1.ndim - 1:          # PyTorch might take these matrices for vectors
        x2 = x2[None]
    return _L.solve(x1, x2)


def svd(x, /, *, full_matrices=True):
    """Singular value decompositions (U, S, Vh)."""
    return _L.svd(x, full_matrices)


def tensordot(x1, x2, /, *, axes=2):
    """Products summed over the last `axes` dimensions of x1 and the first of x2, or over the two lists of dimensions `axes`."""
    return P.tensordot(*promoted(x1, x2), axes)


def trace(x, /, *, offset=0, dtype=None):
    """The sums of the diagonals of matrices."""
    return sum(diagonal(x, offset=offset), axis=-1, dtype=dtype)


def vecdot(x1, x2, /, *, axis=-1):
    """Dot products of vectors along `axis`, the first conjugated."""
    x1, x2 = _vectors(x1, x2, axis)
    if x1.dtype.category < dt.FLOAT:                # PyTorch's takes no integers
        return sum(x1 * x2, axis=axis, dtype=x1.dtype)
    return _L.vecdot(x1, x2, dim=axis)


def vector_norm(x, /, *, axis=None, keepdims=False, ord=2):
    """Norms of vectors along `axis`; of all elements where it is None."""
    return _L.vector_norm(x, ord, axis, keepdims) if axis != () else x.abs()
