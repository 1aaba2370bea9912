"""What the operators of `linalg` share: their checks, their error, and plain-array helpers."""
from __future__ import annotations

from ._common import Spec, describe, dt, fail, need_tensor, np
from .dispatch import values_known
from .op import F


class LinAlgError(RuntimeError):
    """A factorisation or solution does not exist: the matrix is singular, not positive definite, or did not converge."""

    __module__ = "pellucid.linalg"


# ---------------------------------------------------------------------------------------------------- checks
def need_matrix(x, fn: str, arg: str = "A") -> None:
    """At least two dimensions, floating point or complex, not half precision."""
    need_tensor(x, fn, arg)
    if x.ndim < 2:
        fail(RuntimeError, "P860", f"{fn}: The input tensor {arg} must have at least 2 dimensions.", got=describe(x),
             fix="the last two dimensions are the rows and columns of the matrices")
    need_float(x, fn)


def need_float(x, fn: str) -> None:
    d = x.dtype
    if d.category < dt.FLOAT:
        fail(RuntimeError, "P861", f"{fn}: Expected a floating point or complex tensor as input. Got {d.type_name}", fix="convert with .float()")
    if d.itemsize < 4:
        fail(RuntimeError, "P862", f"{fn}: Low precision dtypes not supported. Got {d.type_name}",
             fix="expected float32, float64 or complex: convert with .float()")


def need_square(x, fn: str, arg: str = "A") -> None:
    need_matrix(x, fn, arg)
    if x.shape[-1] != x.shape[-2]:
        fail(RuntimeError, "P863", f"{fn}: {arg} must be batches of square matrices, but they are {x.shape[-2]} by {x.shape[-1]} matrices",
             got=describe(x), fix="the last two dimensions must be equal; pinv and lstsq take any matrix")


def same_type(fn: str, a, b, names: tuple[str, str]) -> None:
    if a.dtype is not b.dtype:
        fail(RuntimeError, "P864", f"{fn}: Expected {names[0]} and {names[1]} to have the same dtype, but found {names[0]} of type "
             f"{a.dtype.type_name} and {names[1]} of type {b.dtype.type_name} instead", fix="convert one of them with .to(dtype)")


def raise_first(info, fn: str, what) -> None:
    """Raise LinAlgError for the first nonzero element of `info`; `what(i)` says what that number means."""
    flat = F.reshape(info, (-1,)).tolist() if info.numel() and values_known() else []
    for place, i in enumerate(flat):
        if i:
            batch = f"(Batch element {place}): " if info.ndim else ""
            fail(LinAlgError, "P865", f"{fn}: {batch}{what(i)}", got=f"a batch of shape {list(info.shape)}" if info.ndim else None,
                 fix="check the values of the matrix: its rank, its conditioning, NaN among them")


def singular(i: int) -> str:
    return f"The diagonal element {i} is zero, the inversion could not be completed because the input matrix is singular."


# ---------------------------------------------------------------------------------------------------- for derivatives
def mH(x):
    """The conjugate transpose of the last two dimensions."""
    dims = (*range(x.ndim - 2), x.ndim - 1, x.ndim - 2)
    x = F.permute(x, dims)
    return F.conj(x) if x.is_complex() else x


def mT(x):
    return F.permute(x, (*range(x.ndim - 2), x.ndim - 1, x.ndim - 2))


def diagonal(x):
    return F.diagonal(x, 0, -2, -1)


def real_like(g, x):
    """The part of a gradient that a real input can take."""
    return F.real(g) if g.is_complex() and not x.is_complex() else g


def narrow(x, dim: int, n: int):
    """The first n entries of dimension -1 or -2."""
    if x.shape[dim] == n:
        return x
    index = [slice(None)] * x.ndim
    index[dim] = slice(0, n)
    return F.basic_index(x, tuple(index))


def tail(x, dim: int, start: int):
    """The entries of dimension -1 or -2 from `start` on."""
    index = [slice(None)] * x.ndim
    index[dim] = slice(start, None)
    return F.basic_index(x, tuple(index))


def halve_diagonal(x):
    """x with its diagonal halved."""
    return F.sub(x, F.diag_embed(F.mul(diagonal(x), 0.5)))


# ---------------------------------------------------------------------------------------------------- arrays
def batches(a: np.ndarray):
    """The matrices of a batch, as a 3-d array (copied only if its layout demands it)."""
    n = 1
    for s in a.shape[:-2]:
        n *= s
    return a.reshape(n, *a.shape[-2:])


_PANEL = 32        # columns of LU that are eliminated one by one before a matrix product updates the rest


def lu_arrays(a: np.ndarray, pivot: bool = True) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """LU with row exchanges, all matrices of the batch at once: (LU in one, 1-based pivots, info).

    info is the 1-based place of the first zero on U's diagonal, or 0. Right-looking in panels, as LAPACK's getrf."""
    m, n = a.shape[-2:]
    k = min(m, n)
    lu = batches(a).copy()
    b = len(lu)
    pivots = np.empty((b, k), np.int32)
    info = np.zeros(b, np.int32)
    every = np.arange(b)
    with np.errstate(all="ignore"):
        for start in range(0, k, _PANEL):
            end = min(start + _PANEL, k)
            for j in range(start, end):
                below = lu[:, j:, j]
                size = np.abs(below.real) + np.abs(below.imag) if lu.dtype.kind == "c" else np.abs(below)
                p = size.argmax(1) + j if pivot and b else np.full(b, j)
                moved = lu[every, p]                             # fancy indexing copies: safe to swap
                lu[every, p] = lu[:, j]
                lu[:, j] = moved
                pivots[:, j] = p + 1
                d = lu[:, j, j]
                zero = d == 0
                info[zero & (info == 0)] = j + 1
                lu[:, j + 1:, j] /= np.where(zero, 1, d)[:, None]
                lu[:, j + 1:, j + 1:end] -= lu[:, j + 1:, j, None] * lu[:, None, j, j + 1:end]
            if end < n:
                lu[:, start:end, end:] = solve_triangle(lu[:, start:end, start:end], lu[:, start:end, end:], False, True)
                lu[:, end:, end:] -= np.matmul(lu[:, end:, start:end], lu[:, start:end, end:])
    return lu.reshape(a.shape), pivots.reshape(*a.shape[:-2], k), info.reshape(a.shape[:-2])


def permutation_of(pivots: np.ndarray, m: int) -> np.ndarray:
    """The row order that a sequence of exchanges leads to: row i of P^T A is row perm[i] of A."""
    flat = pivots.reshape(int(np.prod(pivots.shape[:-1])), pivots.shape[-1])
    perm = np.tile(np.arange(m), (len(flat), 1))
    every = np.arange(len(flat))
    for j in range(flat.shape[1]):
        p = flat[:, j] - 1
        moved = perm[every, p]
        perm[every, p] = perm[:, j]
        perm[:, j] = moved
    return perm.reshape(*pivots.shape[:-1], m)


def solve_triangle(a: np.ndarray, b: np.ndarray, upper: bool, unit: bool) -> np.ndarray:
    """X with A X = B for triangular A (the other triangle is not read), by substitution row by row."""
    n = a.shape[-1]
    lead = np.broadcast_shapes(a.shape[:-2], b.shape[:-2])
    x = np.broadcast_to(b, (*lead, *b.shape[-2:])).astype(np.result_type(a, b), copy=True)
    with np.errstate(all="ignore"):
        for i in range(n - 1, -1, -1) if upper else range(n):
            done = slice(i + 1, n) if upper else slice(0, i)
            if done.stop > done.start:
                x[..., i, :] -= np.matmul(a[..., i, None, done], x[..., done, :])[..., 0, :]
            if not unit:
                x[..., i, :] /= a[..., i, i, None]
    return x


# ---------------------------------------------------------------------------------------------------- specs and samples
def well(m, *shape):
    """A well-conditioned sample: small numbers plus a multiple of the identity."""
    x = m.t(*shape, low=-0.5, high=0.5)
    return x + 2 * F.eye(shape[-2], shape[-1], dtype=x.dtype)


def info_spec(a: Spec) -> Spec:
    return a.like(a.shape[:-2], dt.int32)


def positive(m, *shape):
    """A positive-definite sample. Detached: a derivative along one element would leave the symmetric matrices."""
    x = m.t(*shape)
    return F.detach(F.matmul(x, mT(x)) + 2 * F.eye(shape[-1], dtype=x.dtype))
