"""Symmetric and Hermitian indefinite systems: the LDL factorisation with Bunch and Kaufman's pivoting.

The packed factors and pivots are LAPACK's (sytf2 and hetf2, lower triangle): L below the diagonal, D on it and, for 2 x 2
blocks, beside it; a pivot is the 1-based row exchanged, negative for both rows of a 2 x 2 block.
"""
from __future__ import annotations

import math

from ..core.return_types import result_type
from ._common import broadcast_shapes, describe, dt, fail, np
from ._linalg import batches, info_spec, need_matrix, need_square, raise_first, same_type, well
from .op import EXTERN, F, composite, primitive

_ALPHA = (1 + math.sqrt(17)) / 8


def size_of(x):
    """|re| + |im|, which is cheaper than the modulus and good enough to choose a pivot."""
    return np.abs(x.real) + np.abs(x.imag)


def factor_one(a, hermitian: bool):
    """(packed factors, pivots, info) of one matrix, in place."""
    n = len(a)
    conj = np.conj if hermitian else (lambda x: x)
    pivots, info, k = np.zeros(n, np.int32), 0, 0
    while k < n:
        step, p = 1, k
        here = abs(a[k, k].real) if hermitian else size_of(a[k, k])
        column = size_of(a[k + 1:, k])
        far = k + 1 + int(column.argmax()) if k + 1 < n else k
        largest = column.max(initial=0)
        if max(here, largest) == 0 or np.isnan(here):
            info = info or k + 1
        else:
            if here < _ALPHA * largest:
                across = max(size_of(a[far, k:far]).max(initial=0), size_of(a[far + 1:, far]).max(initial=0))
                there = abs(a[far, far].real) if hermitian else size_of(a[far, far])
                if here >= _ALPHA * largest * (largest / across):
                    p = k
                elif there >= _ALPHA * across:
                    p = far
                else:
                    p, step = far, 2
            q = k + step - 1                                    # the row that is exchanged with row p
            if p != q:
                a[p + 1:, [q, p]] = a[p + 1:, [p, q]]
                middle = conj(a[q + 1:p, q]).copy()
                a[q + 1:p, q] = conj(a[p, q + 1:p])
                a[p, q + 1:p] = middle
                a[p, q] = conj(a[p, q])
                a[q, q], a[p, p] = a[p, p], a[q, q]
                if step == 2:
                    a[k + 1, k], a[p, k] = a[p, k], a[k + 1, k]
            if hermitian:
                a[k, k] = a[k, k].real
                a[q, q] = a[q, q].real
            rest = slice(k + step, n)
            if step == 1:
                v = a[rest, k].copy()
                a[rest, k] /= a[k, k]
                a[rest, rest] -= np.tril(np.outer(v, conj(a[rest, k])))
            elif k + 2 < n:
                block = np.array([[a[k, k], conj(a[k + 1, k])], [a[k + 1, k], a[k + 1, k + 1]]])
                v = a[rest, k:k + 2].copy()
                a[rest, k:k + 2] = v @ np.linalg.inv(block)
                a[rest, rest] -= np.tril(v @ conj(a[rest, k:k + 2]).T)
        if step == 1:
            pivots[k] = p + 1
        else:
            pivots[k] = pivots[k + 1] = -(p + 1)
        k += step
    return pivots, info


def factor_ref(a, *, hermitian):
    ld = np.tril(a)
    flat = batches(ld).copy()
    pivots, info = np.zeros(flat.shape[:2], np.int32), np.zeros(len(flat), np.int32)
    with np.errstate(all="ignore"):
        for i, x in enumerate(flat):
            pivots[i], info[i] = factor_one(x, hermitian and a.dtype.kind == "c")
    return flat.reshape(a.shape), pivots.reshape(a.shape[:-1]), info.reshape(a.shape[:-2])


@primitive(EXTERN, batch="lead", args="A", ref=factor_ref, nout=3, forms="", low=False, grads=False,
           infer=lambda a, *, hermitian: (a.like(), a.like(a.shape[:-1], dt.int32), info_spec(a)))
def linalg_ldl_packed(A, hermitian=False):
    """(LD, pivots, info)."""
    return (A,), {"hermitian": bool(hermitian)}


def _symmetric(m, *shape):
    x = m.t(*shape)
    return F.detach(F.add(x, F.transpose(x, -1, -2)))


_LDL = lambda m: [((_symmetric(m, 3, 3),), {}), ((_symmetric(m, 2, 4, 4),), {"hermitian": True}), ((m.t(0, 0),), {})]  # noqa: E731


@composite(forms="function out", samples=_LDL)
def linalg_ldl_factor_ex(A, *, hermitian=False, check_errors=False):
    """The packed LDL factors of symmetric (or Hermitian) matrices, the pivots, and `info`."""
    need_square(A, "torch.linalg.ldl_factor_ex")
    ld, pivots, info = F.linalg_ldl_packed(A, hermitian)
    if check_errors:
        raise_first(info, "torch.linalg.ldl_factor_ex", zero_block)
    return result_type("linalg_ldl_factor_ex")((ld, pivots, info))


def zero_block(i: int) -> str:
    return f"The factorization could not be completed because D[{i},{i}] is zero."


@composite(forms="function out", samples=_LDL)
def linalg_ldl_factor(A, *, hermitian=False):
    """The packed LDL factors of symmetric (or Hermitian) matrices, and the pivots."""
    need_square(A, "torch.linalg.ldl_factor")
    ld, pivots, info = F.linalg_ldl_packed(A, hermitian)
    raise_first(info, "torch.linalg.ldl_factor", zero_block)
    return result_type("linalg_ldl_factor")((ld, pivots))


def solve_one(ld, pivots, x, hermitian: bool) -> None:
    """x becomes the solution: forward through L, by D's blocks, and back through L^T (or L^H)."""
    n = len(ld)
    conj = np.conj if hermitian else (lambda v: v)

    def exchange(i: int, j: int) -> None:
        if i != j:
            x[[i, j]] = x[[j, i]]

    k = 0
    starts = []
    while k < n:
        step = 1 if pivots[k] > 0 else 2
        starts.append((k, step))
        exchange(k + step - 1, abs(int(pivots[k])) - 1)
        x[k + step:] -= ld[k + step:, k:k + step] @ x[k:k + step]
        if step == 1:
            x[k] /= ld[k, k].real if hermitian else ld[k, k]
        else:
            x[k:k + 2] = np.linalg.solve(np.array([[ld[k, k], conj(ld[k + 1, k])], [ld[k + 1, k], ld[k + 1, k + 1]]]), x[k:k + 2])
        k += step
    for k, step in reversed(starts):
        x[k:k + step] -= conj(ld[k + step:, k:k + step]).T @ x[k + step:]
        exchange(k + step - 1, abs(int(pivots[k])) - 1)


def ldl_solve_ref(ld, pivots, b, *, hermitian):
    lead = np.broadcast_shapes(ld.shape[:-2], b.shape[:-2])
    x = np.broadcast_to(b, (*lead, *b.shape[-2:])).copy()
    flat = batches(x)
    lds = batches(np.broadcast_to(ld, (*lead, *ld.shape[-2:])))
    ps = np.broadcast_to(pivots, (*lead, pivots.shape[-1])).reshape(len(flat), pivots.shape[-1])
    for m, p, v in zip(lds, ps, flat):
        solve_one(m, p, v, hermitian and ld.dtype.kind == "c")
    return x


def ldl_solve_vjp(g, LD, pivots, hermitian):
    if hermitian or not LD.is_complex():
        return F.linalg_ldl_solve(LD, pivots, g, hermitian=hermitian)
    return F.conj(F.linalg_ldl_solve(LD, pivots, F.conj(g)))


def samples_ldl_solve(m):
    ld, pivots = F.detach(F.tril(well(m, 3, 3))), F.convert(F.arange(1, 4), dt.int32)
    return [((ld, pivots, m.t(3, 2)), {}), ((ld, pivots, m.t(2, 3, 1)), {}), ((ld, pivots, m.t(3, 1)), {"hermitian": True})]


@primitive(EXTERN, batch="each", args="LD pivots B", ref=ldl_solve_ref, vjp={"B": ldl_solve_vjp}, low=False, forms="function out", samples=samples_ldl_solve,
           infer=lambda ld, p, b, *, hermitian: b.like((*broadcast_shapes(ld.shape[:-2], b.shape[:-2]), *b.shape[-2:])))
def linalg_ldl_solve(LD, pivots, B, *, hermitian=False):
    """The solution of A X = B given A's LDL factorisation."""
    fn = "torch.linalg.ldl_solve"
    need_square(LD, fn)
    need_matrix(B, fn, "B")
    if B.shape[-2] != LD.shape[-1]:
        fail(RuntimeError, "P904", f"{fn}: Incompatible shapes of A and B for the equation AX = B ({LD.shape[-2]}x{LD.shape[-1]} and "
             f"{B.shape[-2]}x{B.shape[-1]})", got=describe(LD, B))
    if tuple(pivots.shape) != tuple(LD.shape[:-1]):
        fail(RuntimeError, "P905", f"{fn}: Expected LD.shape[:-1] and pivots.shape to be the same, but got pivots with shape {list(pivots.shape)} instead")
    if pivots.dtype.category != dt.INT:
        fail(RuntimeError, "P906", f"{fn}: Expected pivots to be integers. Got {pivots.dtype.type_name}")
    same_type(fn, LD, B, ("LD", "B"))
    return (LD, pivots, B), {"hermitian": bool(hermitian)}

