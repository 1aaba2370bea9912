"""Triangular systems, Cholesky and LU factorisations, and solving with them.

NumPy has Cholesky; LU with its row exchanges and triangular substitution are `_linalg`'s. Functions ending in `_ex` return
`info` (0, or where a factorisation broke down) instead of raising LinAlgError.
"""
from __future__ import annotations

from ..core.return_types import result_type
from ._common import Spec, broadcast_shapes, describe, dt, fail, np
from ._linalg import (batches, halve_diagonal, info_spec, lu_arrays, mH, mT, narrow, need_matrix, need_square, permutation_of, positive,
                      raise_first, same_type, solve_triangle, tail, well)
from .dispatch import values_known
from .op import EXTERN, F, composite, primitive


# ---------------------------------------------------------------------------------------------------- triangular systems
def triangular_infer(A: Spec, B: Spec, **attrs) -> Spec:
    return A.like((*broadcast_shapes(A.shape[:-2], B.shape[:-2]), *B.shape[-2:]))


def triangular_vjp(g, A, out, upper, unitriangular, needs):
    gb = F.linalg_triangular(mH(A), g, not upper, unitriangular)
    ga = None
    if needs[0]:
        ga = F.neg(F.bgemm(gb, F.conj(out), False, True))
        ga = F.triu(ga, 1 if unitriangular else 0) if upper else F.tril(ga, -1 if unitriangular else 0)
    return ga, gb


@primitive(EXTERN, batch="lead", args="A B", ref=lambda a, b, *, upper, unitriangular: solve_triangle(a, b, upper, unitriangular), infer=triangular_infer,
           vjp=triangular_vjp, forms="", low=False)
def linalg_triangular(A, B, upper, unitriangular=False):
    """X with A X = B, A triangular."""
    return (A, B), {"upper": bool(upper), "unitriangular": bool(unitriangular)}


def _tri(m, *shape):
    return well(m, *shape)


def _factor(m, *shape):
    """A sample of a Cholesky factor. Detached: its derivative is that of a triangle, although both triangles get one."""
    return F.detach(F.tril(well(m, *shape)))


@composite(forms="function out",
           samples=lambda m: [((_tri(m, 3, 3), m.t(3, 2)), {"upper": True}),
               ((_tri(m, 2, 3, 3), m.t(2, 2, 3)), {"upper": False, "left": False}),
                              ((_tri(m, 2, 2), m.t(2, 1)), {"upper": False, "unitriangular": True}),
                              ((m.t(0, 0), m.t(0, 2)), {"upper": True})])
def linalg_solve_triangular(A, B, *, upper, left=True, unitriangular=False):
    """The solution of A X = B (X A = B with left=False) for a triangular A, whose other triangle is not read."""
    fn = "linalg.solve_triangular"
    need_square(A, fn)
    need_matrix(B, fn, "B")
    same_type(fn, A, B, ("A", "B"))
    if B.shape[-2 if left else -1] != A.shape[-1]:
        fail(RuntimeError, "P871", f"{fn}: Incompatible shapes of A and B for the equation {'AX = B' if left else 'XA = B'} "
             f"({A.shape[-2]}x{A.shape[-1]} and {B.shape[-2]}x{B.shape[-1]})", got=describe(A, B))
    broadcast_shapes(tuple(A.shape[:-2]), tuple(B.shape[:-2]))
    if left:
        return F.linalg_triangular(A, B, upper, unitriangular)
    return mT(F.linalg_triangular(mT(A), mT(B), not upper, unitriangular))


@composite(forms="function method out", samples=lambda m: [((m.t(3, 2), _tri(m, 3, 3)), {}),
                                            ((m.t(2, 2, 1), _tri(m, 2, 2, 2)), {"upper": False}),
                                                           ((m.t(2, 2), _tri(m, 2, 2)), {"transpose": True})])
def triangular_solve(input, A, upper=True, transpose=False, unitriangular=False):
    """Deprecated in PyTorch: the solution of A X = input for triangular A, and A. Use linalg.solve_triangular."""
    need_square(A, "triangular_solve")
    need_matrix(input, "triangular_solve", "b")
    if input.shape[-2] != A.shape[-1]:
        fail(RuntimeError, "P872", f"Incompatible matrix sizes for triangular_solve: each A matrix is {A.shape[-2]} by {A.shape[-1]} but each b "
             f"matrix is {input.shape[-2]} by {input.shape[-1]}", got=describe(input, A))
    lead = broadcast_shapes(tuple(A.shape[:-2]), tuple(input.shape[:-2]))
    a = mT(A) if transpose else A
    x = F.linalg_triangular(a, input, upper != transpose, unitriangular)
    return result_type("triangular_solve")((x, F.clone(F.expand(A, (*lead, *A.shape[-2:])))))


# ---------------------------------------------------------------------------------------------------- Cholesky
def cholesky_ref(a, *, upper):
    info = np.zeros(a.shape[:-2], np.int32)
    if upper:
        a = a.swapaxes(-1, -2).conj()
    try:
        low = np.linalg.cholesky(a)
    except np.linalg.LinAlgError:
        low, info = cholesky_arrays(a)
    return (low.swapaxes(-1, -2).conj() if upper else low), info


def cholesky_arrays(a):
    """Column by column, remembering the first minor that is not positive definite."""
    low = np.zeros_like(batches(a))
    info = np.zeros(len(low), np.int32)
    for r, (x, out) in enumerate(zip(batches(a), low)):
        for j in range(x.shape[0]):
            d = x[j, j].real - (np.abs(out[j, :j]) ** 2).sum()
            if not d > 0:
                info[r] = j + 1
                out[j:, j:] = np.tril(x[j:, j:])
                break
            out[j, j] = np.sqrt(d)
            out[j + 1:, j] = (x[j + 1:, j] - out[j + 1:, :j] @ out[j, :j].conj()) / out[j, j]
    return low.reshape(a.shape), info.reshape(a.shape[:-2])


def cholesky_vjp(gs, out, upper):
    """dL = L Phi(L^-1 dA L^-H), Phi taking the lower triangle with half the diagonal (Murray, arXiv:1602.07527)."""
    low, g = (mH(out[0]), mH(gs[0])) if upper else (out[0], gs[0])
    phi = halve_diagonal(F.tril(F.matmul(mH(low), g)))
    middle = F.mul(F.add(phi, mH(phi)), 0.5)
    right = F.linalg_triangular(mH(low), middle, True)                       # L^-H middle
    return (mH(F.linalg_triangular(mH(low), mH(right), True)),)              # ... L^-1


@primitive(EXTERN, batch="lead", args="a", ref=cholesky_ref, infer=lambda a, *, upper: (a.like(), info_spec(a)), vjp=cholesky_vjp, nout=2, forms="", low=False)
def linalg_cholesky_factor(a, upper=False):
    """(L, info) with a = L L^H; the upper factor U = L^H if `upper`."""
    return (a,), {"upper": bool(upper)}


def not_positive(i: int) -> str:
    return f"The factorization could not be completed because the input is not positive-definite (the leading minor of order {i} is not positive-definite)."


_CHOL = lambda m: [((positive(m, 3, 3),), {}), ((positive(m, 2, 2, 2),), {"upper": True}), ((m.t(0, 0),), {})]  # noqa: E731


@composite(forms="function out", samples=_CHOL)
def linalg_cholesky_ex(A, *, upper=False, check_errors=False):
    """The Cholesky factor of Hermitian matrices and `info`: the first minor that is not positive definite, or 0."""
    need_square(A, "linalg.cholesky")
    low, info = F.linalg_cholesky_factor(A, upper)
    if check_errors:
        raise_first(info, "linalg.cholesky_ex", not_positive)
    return result_type("linalg_cholesky_ex")((low, info))


@composite(forms="function out", samples=_CHOL)
def linalg_cholesky(A, *, upper=False):
    """L with A = L L^H, lower triangular (or U = L^H if `upper`), for Hermitian positive-definite A; one triangle is read.

    Raises LinAlgError if a matrix is not positive definite."""
    need_square(A, "linalg.cholesky")
    low, info = F.linalg_cholesky_factor(A, upper)
    raise_first(info, "linalg.cholesky", not_positive)
    return low


@composite(forms="function method out", samples=_CHOL)
def cholesky(input, upper=False):
    """The Cholesky factor, as `linalg.cholesky`."""
    need_square(input, "cholesky")
    low, info = F.linalg_cholesky_factor(input, upper)
    raise_first(info, "cholesky", not_positive)
    return F.triu(low) if upper else F.tril(low)


def cholesky_solve_ref(b, a, *, upper):
    h = a.swapaxes(-1, -2).conj()
    low, up = (h, a) if upper else (a, h)
    return solve_triangle(up, solve_triangle(low, b, False, False), True, False)


def cholesky_solve_vjp(g, L, out, upper, needs):
    gb = F.cholesky_solve(g, L, upper)
    if not needs[1]:
        return gb, None
    both = F.matmul(gb, mH(out))
    both = F.add(both, mH(both))
    return gb, F.neg(F.matmul(L, both) if upper else F.matmul(both, L))


@primitive(EXTERN, batch="lead", args="input L", ref=cholesky_solve_ref, vjp=cholesky_solve_vjp, low=False, forms="function method out",
           infer=lambda b, a, *, upper: b.like((*broadcast_shapes(a.shape[:-2], b.shape[:-2]), *b.shape[-2:])),
           samples=lambda m: [((m.t(3, 2), _factor(m, 3, 3)), {}), ((m.t(2, 2, 1), _factor(m, 2, 2, 2)), {"upper": True}),
               ((m.t(0, 2), m.t(0, 0)), {})])
def cholesky_solve(input, L, upper=False):
    """The solution of A X = input given A's Cholesky factor."""
    if input.ndim < 2:
        fail(RuntimeError, "P873", f"b should have at least 2 dimensions, but has {input.ndim} dimensions instead")
    need_square(L, "cholesky_solve", "A")
    if input.shape[-2] != L.shape[-1]:
        fail(RuntimeError, "P874", f"Incompatible matrix sizes for cholesky_solve: each A matrix is {L.shape[-2]} by {L.shape[-1]} but each b "
             f"matrix is {input.shape[-2]} by {input.shape[-1]}", got=describe(input, L))
    return (input, L), {"upper": bool(upper)}


@composite(forms="function method out", samples=lambda m: [((_factor(m, 3, 3),), {}), ((_factor(m, 2, 2, 2),), {"upper": True}),
                                            ((m.t(0, 0),), {})])
def cholesky_inverse(L, upper=False):
    """The inverse of A given its Cholesky factor."""
    need_square(L, "cholesky_inverse", "A")
    return F.cholesky_solve(F.expand(F.eye(L.shape[-1], dtype=L.dtype), tuple(L.shape)), L, upper)


# ---------------------------------------------------------------------------------------------------- LU
def lu_vjp(gs, out, shape):
    """P L and U from the packed factors; the gradient has the packed form too."""
    lu, pivots, _ = out
    g = gs[0]
    m, n = shape[-2:]
    k = min(m, n)
    eye = F.eye(k, dtype=lu.dtype)
    low = F.add(F.tril(narrow(narrow(lu, -1, k), -2, k), -1), eye)
    up = F.triu(narrow(narrow(lu, -2, k), -1, k))
    g_low, g_up = F.tril(narrow(narrow(g, -1, k), -2, k), -1), F.triu(narrow(narrow(g, -2, k), -1, k))
    phi_low, phi_up = F.matmul(mH(low), g_low), F.matmul(g_up, mH(up))
    rest = None
    if n > k:                                              # U = [U1 | U2]
        up2_, g2 = tail(lu, -1, k), tail(g, -1, k)
        phi_low = F.sub(phi_low, F.matmul(g2, mH(up2_)))
        rest = g2
    elif m > k:                                            # L = [L1; L2]
        low2, g2 = tail(lu, -2, k), tail(g, -2, k)
        phi_up = F.sub(phi_up, F.matmul(mH(low2), g2))
        rest = g2
    middle = F.add(F.tril(phi_low, -1), F.triu(phi_up))
    if n > k:                                              # P L^-H [ middle U1^-H | g2 ]
        left = mH(F.linalg_triangular(up, mH(middle), True))
        x = F.linalg_triangular(mH(low), F.cat((left, rest), -1), True, True)
    elif m > k:                                            # P [ L1^-H middle ; g2 ] U^-H
        top = F.linalg_triangular(mH(low), middle, True, True)
        x = mH(F.linalg_triangular(up, mH(F.cat((top, rest), -2)), True))
    else:
        x = F.linalg_triangular(mH(low), mH(F.linalg_triangular(up, mH(middle), True)), True, True)
    return (F.matmul(F.pivots_to_matrix(pivots, m, lu.dtype), x),)


def lu_infer(a: Spec, *, shape):
    k = min(a.shape[-2:])
    return a.like(), a.like((*a.shape[:-2], k), dt.int32), info_spec(a)


@primitive(EXTERN, batch="lead", args="a", ref=lambda a, *, shape: lu_arrays(a), infer=lu_infer, vjp=lu_vjp, nout=3, forms="", low=False)
def linalg_lu_packed(a):
    """(LU packed in one matrix, pivots, info)."""
    return (a,), {"shape": tuple(a.shape)}


def pivots_ref(pivots, *, m, dtype):
    perm = permutation_of(pivots, m)
    r = np.zeros((*perm.shape[:-1], m, m), dtype.np)
    np.put_along_axis(r, perm[..., None, :], 1, -2)
    return r


@primitive(EXTERN, batch="lead", args="pivots", ref=pivots_ref, infer=lambda p, *, m, dtype: Spec((*p.shape[:-1], m, m), dtype), forms="", low=False, grads=False)
def pivots_to_matrix(pivots, m, dtype):
    """The permutation matrix P of row exchanges, with A = P L U."""
    return (pivots,), {"m": m, "dtype": dtype}


def _lu(fn: str, A, pivot):
    need_matrix(A, fn)
    if not pivot:
        fail(RuntimeError, "P875", f"{fn}: LU without pivoting is not implemented on the CPU", fix="leave pivot=True")
    return F.linalg_lu_packed(A)


_LU = lambda m: [((well(m, 3, 3),), {}), ((well(m, 2, 3, 2),), {}), ((well(m, 2, 4),), {}), ((m.t(0, 0),), {})]  # noqa: E731


@composite(forms="function out", samples=_LU)
def linalg_lu_factor_ex(A, *, pivot=True, check_errors=False):
    """The LU factorisation with row exchanges: both factors in one matrix, the exchanges, and `info`."""
    lu, pivots, info = _lu("linalg.lu_factor_ex", A, pivot)
    if check_errors:
        raise_first(info, "torch.linalg.lu_factor_ex", zero_pivot)
    return result_type("linalg_lu_factor_ex")((lu, pivots, info))


def zero_pivot(i: int) -> str:
    return f"U[{i},{i}] is zero and using it on lu_solve would result in a division by zero. If you still want to perform the " \
           "factorization, consider calling linalg.lu(A, pivot) or linalg.lu_factor_ex(A, pivot)"


@composite(forms="function out", samples=_LU)
def linalg_lu_factor(A, *, pivot=True):
    """The LU factorisation with row exchanges: both factors in one matrix, and the exchanges. Raises if U has a zero."""
    lu, pivots, info = _lu("linalg.lu_factor", A, pivot)
    raise_first(info, "torch.linalg.lu_factor", zero_pivot)
    return result_type("linalg_lu_factor")((lu, pivots))


@composite(forms="function out", samples=_LU)
def linalg_lu(A, *, pivot=True):
    """P, L, U with A = P L U: a permutation, a lower triangle with ones on its diagonal, an upper triangle."""
    lu, pivots, _ = _lu("linalg.lu", A, pivot)
    return result_type("linalg_lu")(unpack(lu, pivots))


def within(pivots, rows: int) -> bool:
    """Whether pivots name rows that exist."""
    return not values_known() or bool(F.all(F.logical_and(F.ge(pivots, 1), F.le(pivots, rows))))


def exchanges(n: int, *lead: int):
    """A sample of pivots: every row is exchanged with the last one."""
    return F.full((*lead, n), n, dtype=dt.int32)


def unpack(lu, pivots):
    m, n = lu.shape[-2:]
    k = min(m, n)
    low = F.add(F.tril(narrow(lu, -1, k), -1), F.eye(m, k, dtype=lu.dtype))
    return F.pivots_to_matrix(pivots, m, lu.dtype), low, F.triu(narrow(lu, -2, k))


@composite(forms="function out", samples=lambda m: [((well(m, 3, 3), exchanges(3)), {}), ((well(m, 2, 3, 2), exchanges(2, 2)), {}),
                                                    ((well(m, 2, 2), exchanges(2)), {"unpack_pivots": False})])
def lu_unpack(LU_data, LU_pivots, unpack_data=True, unpack_pivots=True):
    """P, L, U from the results of `linalg.lu_factor`; what is not asked for is an empty tensor."""
    if unpack_pivots and LU_pivots.dtype is not dt.int32:
        fail(RuntimeError, "P876", "torch.lu_unpack: LU_pivots is expected to be a contiguous tensor of torch.int32 dtype.\nNote: this function is "
             "intended to be used with the output produced by torch.linalg.lu_factor", got=describe(LU_pivots))
    if unpack_pivots and not within(LU_pivots, LU_data.shape[-2]):
        fail(RuntimeError, "P877", "pivots passed to lu_unpack must be between 1 and LU.size(-2) inclusive.Did you properly pass the result of lu_factor?")
    p, low, up = unpack(LU_data, LU_pivots)
    empty = F.zeros((0,), dtype=LU_data.dtype)
    if not unpack_data:
        low = up = empty
    return result_type("lu_unpack")((p if unpack_pivots else empty, low, up))


@composite(forms="function method", samples=_LU)
def lu(A, pivot=True, get_infos=False, out=None):
    """Deprecated in PyTorch: the packed LU factors and the exchanges (and `info`). Use linalg.lu_factor."""
    r = F.linalg_lu_factor_ex(A, pivot=pivot)
    r = tuple(r) if get_infos else (r[0], r[1])
    if out is not None:
        for o, x in zip(out, r):
            o.resize_(x.shape).copy_(x)
        return out
    return r


def samples_lu_solve(m):
    lu, pivots = well(m, 3, 3), exchanges(3)
    return [((lu, pivots, m.t(3, 2)), {}), ((lu, pivots, m.t(2, 3)), {"left": False}), ((lu, pivots, m.t(2, 3, 2)), {"adjoint": True})]


@composite(forms="function out", samples=samples_lu_solve)
def linalg_lu_solve(LU, pivots, B, *, left=True, adjoint=False):
    """The solution of A X = B given A's LU factorisation; of X A = B with left=False; of A^H X = B with `adjoint`."""
    need_square(LU, "linalg.lu_solve", "A")
    need_matrix(B, "linalg.lu_solve", "B")
    if pivots.dtype is not dt.int32:
        fail(RuntimeError, "P878", f"linalg.lu_solve: pivots should be a Tensor of scalar type torch.int32. Got {pivots.dtype}")
    same_type("linalg.lu_solve", LU, B, ("LU", "B"))
    if B.shape[-2 if left else -1] != LU.shape[-1]:
        fail(RuntimeError, "P879", f"linalg.lu_solve: Incompatible shapes of A and B for the equation {'AX = B' if left else 'XA = B'} "
             f"({LU.shape[-2]}x{LU.shape[-1]} and {B.shape[-2]}x{B.shape[-1]})", got=describe(LU, B))
    if not within(pivots, LU.shape[-2]):
        wrong = "smaller or equal to LU.size(-2)" if bool(F.all(F.ge(pivots, 1))) else "greater or equal to 1"
        fail(RuntimeError, "P880", f"Pivots given to lu_solve must all be {wrong}. Did you properly pass the result of lu_factor?")
    if not left:
        return mH(F.linalg_lu_solve(LU, pivots, mH(B), adjoint=not adjoint))
    p = F.pivots_to_matrix(pivots, LU.shape[-1], LU.dtype)
    if adjoint:
        y = F.linalg_triangular(mH(LU), B, False)
        return F.matmul(p, F.linalg_triangular(mH(LU), y, True, True))
    y = F.linalg_triangular(LU, F.matmul(mT(p), B), False, True)
    return F.linalg_triangular(LU, y, True)


def samples_old_lu_solve(m):
    lu, pivots = well(m, 3, 3), exchanges(3)
    return [((m.t(3, 2), lu, pivots), {}), ((m.t(3, 1), lu, pivots), {}), ((m.t(2, 3, 2), lu, pivots), {})]


@composite(forms="function method out", samples=samples_old_lu_solve)
def lu_solve(input, LU_data, LU_pivots):
    """The solution of A X = input given A's LU factorisation, as `linalg.lu_solve`."""
    return F.linalg_lu_solve(LU_data, LU_pivots, input)
