"""Solving and inverting: systems of equations, inverses, determinants, triangular and Cholesky solutions, powers.

References are NumPy's LAPACK routines; what NumPy lacks (pivoted LU, triangular substitution) is in `_linalg`. Functions
ending in `_ex` return `info` (0, or where a factorisation broke down) instead of raising LinAlgError.
"""
from __future__ import annotations

from ..core.return_types import result_type
from ._common import Spec, as_int, broadcast_shapes, describe, fail, np
from ._linalg import batches, info_spec, lu_arrays, mH, mT, narrow, need_float, need_square, raise_first, same_type, singular, tail, well
from .op import EXTERN, F, composite, primitive


_LARGE = 64        # matrices from this size on go through LAPACK one by one


def one_by_one(fn, a, *rest):
    """(fn of every matrix, info): infinities and LU's verdict for those that are singular."""
    info = np.zeros(a.shape[:-2], np.int32)
    if a.shape[-1] < _LARGE:
        try:
            return fn(a, *rest), info
        except np.linalg.LinAlgError:
            pass
    lead = np.broadcast_shapes(a.shape[:-2], *[b.shape[:-2] for b in rest])
    flat = [batches(np.broadcast_to(x, (*lead, *x.shape[-2:]))) for x in (a, *rest)]
    out = np.empty((*lead, *(rest[-1] if rest else a).shape[-2:]), a.dtype)
    results, infos = batches(out), np.zeros(len(flat[0]), np.int32)
    for i, matrices in enumerate(zip(*flat)):
        try:
            results[i] = fn(*matrices)
        except np.linalg.LinAlgError:
            results[i] = np.inf
            infos[i] = max(int(lu_arrays(matrices[0])[2]), 1)
    if out.size:                                                 # the verdict on each matrix of `a`, wherever it was repeated
        first = (0,) * (len(lead) - info.ndim) + tuple(slice(0, 1) if n == 1 else slice(None) for n in info.shape)
        info = infos.reshape(lead)[first].copy()
    return out, info


# ---------------------------------------------------------------------------------------------------- solving
def solve_ref(a, b):
    return one_by_one(np.linalg.solve, a, b)


def solve_infer(a: Spec, b: Spec):
    lead = broadcast_shapes(a.shape[:-2], b.shape[:-2])
    return a.like((*lead, *b.shape[-2:])), info_spec(a)


def solve_vjp(gs, a, out, needs):
    gb = F.linalg_solve_matrix(mH(a), gs[0])[0]
    ga = F.neg(F.bgemm(gb, F.conj(out[0]), False, True)) if needs[0] else None
    return ga, gb


@primitive(EXTERN, batch="lead", args="a b", ref=solve_ref, infer=solve_infer, vjp=solve_vjp, nout=2, forms="", low=False)
def linalg_solve_matrix(a, b):
    """(X, info) with a @ X = b, leading dimensions broadcast."""
    return (a, b), {}


def is_vector(a, b) -> bool:
    """Whether `b` is a batch of vectors for the matrices `a`."""
    return b.ndim == 1 or (a.ndim - 1 == b.ndim and tuple(b.shape) == tuple(a.shape[:-1]))


def _solve(fn: str, A, B, left: bool):
    need_square(A, fn)
    need_float(B, fn)
    same_type(fn, A, B, ("A", "B"))
    vector = is_vector(A, B)
    if vector and not left:
        fail(RuntimeError, "P866", f"{fn}: Vector broadcasting of the left hand side is not supported for left=False. In this case "
             f"{fn} is equivalent to B / A.squeeze(-1)", got=describe(A, B))
    b = F.unsqueeze(B, -1) if vector else B
    if b.ndim < 2 or b.shape[-2 if left else -1] != A.shape[-1]:
        fail(RuntimeError, "P867", f"{fn}: Incompatible shapes of A and B for the equation {'AX = B' if left else 'XA = B'} "
             f"({A.shape[-2]}x{A.shape[-1]} and {'x'.join(map(str, tuple(b.shape[-2:])))})", got=describe(A, B),
             fix="A is (..., n, n); B is (..., n, k), or (..., n) for vectors")
    broadcast_shapes(tuple(A.shape[:-2]), tuple(b.shape[:-2]))
    if left:
        x, info = F.linalg_solve_matrix(A, b)
    else:
        x, info = F.linalg_solve_matrix(mT(A), mT(b))
        x = mT(x)
    return (F.squeeze(x, -1) if vector else x), info


def samples_solve(m):
    return [((well(m, 3, 3), m.t(3, 2)), {}), ((well(m, 2, 3, 3), m.t(2, 3)), {}), ((well(m, 2, 2), m.t(2)), {}),
            ((well(m, 3, 3), m.t(2, 3)), {"left": False}), ((m.t(0, 0), m.t(0, 2)), {})]


@composite(forms="function out", samples=samples_solve)
def linalg_solve_ex(A, B, *, left=True, check_errors=False):
    """The solution of A X = B (X A = B with left=False) and `info`, which is not 0 where A is singular."""
    x, info = _solve("linalg.solve", A, B, left)
    if check_errors:
        raise_first(info, "linalg.solve_ex", lambda i: "The solver failed because the input matrix is singular.")
    return result_type("linalg_solve_ex")((x, info))


@composite(forms="function out", samples=samples_solve)
def linalg_solve(A, B, *, left=True):
    """The solution of A X = B (X A = B with left=False) for square matrices; batches are broadcast.

    Raises LinAlgError if a matrix is singular."""
    x, info = _solve("linalg.solve", A, B, left)
    raise_first(info, "linalg.solve", lambda i: "The solver failed because the input matrix is singular.")
    return x


# ---------------------------------------------------------------------------------------------------- inverses
def inv_ref(a):
    return one_by_one(np.linalg.inv, a)


def inv_vjp(gs, out):
    h = mH(out[0])
    return (F.neg(F.matmul(h, F.matmul(gs[0], h))),)


@primitive(EXTERN, batch="lead", args="a", ref=inv_ref, infer=lambda a: (a.like(), info_spec(a)), vjp=inv_vjp, nout=2, forms="", low=False)
def linalg_inverse(a):
    """(inverse, info)."""
    return (a,), {}


_INV = lambda m: [((well(m, 3, 3),), {}), ((well(m, 2, 2, 2),), {}), ((m.t(0, 0),), {})]  # noqa: E731


@composite(forms="function out", samples=_INV)
def linalg_inv_ex(A, *, check_errors=False):
    """The inverse of square matrices and `info`, which is not 0 where a matrix is singular."""
    need_square(A, "linalg.inv")
    x, info = F.linalg_inverse(A)
    if check_errors:
        raise_first(info, "linalg.inv_ex", singular)
    return result_type("linalg_inv_ex")((x, info))


@composite(forms="function out", samples=_INV)
def linalg_inv(A):
    """The inverse of square matrices. Raises LinAlgError if one is singular."""
    need_square(A, "linalg.inv")
    x, info = F.linalg_inverse(A)
    raise_first(info, "linalg.inv", singular)
    return x


@composite(forms="function method out", samples=_INV)
def inverse(input):
    """The inverse of square matrices, as `linalg.inv`."""
    return F.linalg_inv(input)


@composite(forms="function out", samples=lambda m: [((F.reshape(well(m, 4, 4), (2, 2, 4)),), {}), ((well(m, 3, 3),), {"ind": 1}),
                                     ((m.t(0, 0),), {"ind": 1})])
def linalg_tensorinv(A, ind=2):
    """The inverse of `A` seen as a map by `tensordot(A, x, ind)`."""
    if ind <= 0:
        fail(RuntimeError, "P868", "Expected a strictly positive integer for 'ind'")
    shape = tuple(A.shape)
    n, m = _prod(shape[:ind]), _prod(shape[ind:])
    if n != m:
        fail(RuntimeError, "P869", f"Expected self to satisfy the requirement prod(self.shape[ind:]) == prod(self.shape[:ind]), but got {m} != {n}")
    need_float(A, "linalg.tensorinv")
    x, info = F.linalg_inverse(F.reshape(A, (n, m)))
    raise_first(info, "linalg.inv", singular)
    return F.reshape(x, shape[ind:] + shape[:ind])


def _prod(shape) -> int:
    n = 1
    for s in shape:
        n *= s
    return n


@composite(forms="function out", samples=lambda m: [((F.reshape(well(m, 4, 4), (2, 2, 4)), m.t(2, 2)), {}),
                                     ((well(m, 3, 3), m.t(3)), {}), ((well(m, 2, 2), m.t(2)), {"dims": (0,)})])
def linalg_tensorsolve(A, B, dims=None):
    """X with `tensordot(A, X, X.ndim) == B`; the dimensions `dims` of A are moved to the end first."""
    if dims is not None:
        gone = [as_int(d) % A.ndim for d in dims]
        A = F.permute(A, [d for d in range(A.ndim) if d not in gone] + gone)
    shape = tuple(A.shape[B.ndim:])
    n, m = B.numel(), _prod(shape)
    if n != m or A.numel() != n * m:
        fail(RuntimeError, "P870", "Expected self to satisfy the requirement prod(self.shape[other.ndim:]) == prod(self.shape[:other.ndim]), "
             f"but got {m} != {n}", got=describe(A, B))
    return F.reshape(F.linalg_solve(F.reshape(A, (n, m)), F.reshape(B, (n,))), shape)


# ---------------------------------------------------------------------------------------------------- determinants
def cofactor_ref(a):
    """det(A) A^-T, also where A is singular: by the SVD, whose products of all but one singular value need no division."""
    u, s, vh = np.linalg.svd(a)
    n = a.shape[-1]
    others = np.where(np.eye(n, dtype=bool), 1, s[..., None, :]).prod(-1) if n else s
    turn = np.linalg.det(u) * np.linalg.det(vh)
    c = turn[..., None, None] * np.matmul(u.conj() * others[..., None, :], vh.conj())
    return c.astype(a.dtype)


def cofactor_vjp(g, a):
    """C = det X^T with X = A^-1 (A must be invertible here)."""
    x, d = F.linalg_inverse(a)[0], F.linalg_det(a)
    xh = mH(x)
    gt = F.matmul(xh, F.matmul(mT(g), xh))                       # from X^T, times conj(det)
    trace = F.sum(F.mul(g, F.conj(mT(x))), (-2, -1))             # from det
    d = F.conj(F.unsqueeze(F.unsqueeze(d, -1), -1))
    return F.mul(d, F.sub(F.mul(F.unsqueeze(F.unsqueeze(trace, -1), -1), xh), gt))


@primitive(EXTERN, batch="lead", args="a", ref=cofactor_ref, infer=lambda a: a.like(), vjp={"a": cofactor_vjp}, forms="", low=False)
def linalg_cofactor(a):
    """The derivative of the determinant."""
    return (a,), {}


_DET = lambda m: [((m.t(3, 3),), {}), ((m.t(2, 2, 2),), {}), ((m.t(0, 0),), {})]  # noqa: E731


def up2(g):
    """A batch of numbers as a batch of 1 x 1 matrices."""
    return F.unsqueeze(F.unsqueeze(g, -1), -1)


@primitive(EXTERN, batch="lead", args="A", ref=lambda a: np.asarray(np.linalg.det(a)), infer=lambda a: a.like(a.shape[:-2]), low=False,
           forms="function out", samples=_DET, vjp={"A": lambda g, A: F.mul(up2(g), F.conj(F.linalg_cofactor(A)))})
def linalg_det(A):
    """The determinants of square matrices."""
    need_square(A, "linalg.det")
    return (A,), {}


@composite(forms="function method", samples=_DET)
def det(input):
    """The determinants of square matrices, as `linalg.det`."""
    return F.linalg_det(input)


def slogdet_ref(a):
    sign, logabs = np.linalg.slogdet(a)
    return np.asarray(sign).astype(a.dtype, copy=False), np.asarray(logabs).astype(a.real.dtype, copy=False)


def slogdet_vjp(gs, A, out):
    g = gs[1]
    if A.is_complex():
        turned = F.imag(F.mul(F.conj(gs[0]), out[0]))
        g = F.complex(g, F.neg(turned))
    return (F.mul(up2(g), mH(F.linalg_inverse(A)[0])),)


def slogdet_infer(a: Spec):
    return a.like(a.shape[:-2]), a.like(a.shape[:-2], a.dtype.to_real())


@primitive(EXTERN, args="A", name="linalg_sign_logdet", batch="lead", ref=slogdet_ref, infer=slogdet_infer, vjp=slogdet_vjp, nout=2, forms="", low=False)
def linalg_sign_logdet(A):
    """(sign, log of the absolute value) of the determinants."""
    need_square(A, "linalg.slogdet")
    return (A,), {}


_LOGDET = lambda m: [((well(m, 3, 3),), {}), ((well(m, 2, 2, 2),), {}), ((m.t(0, 0),), {})]  # noqa: E731


@composite(forms="function out", samples=_LOGDET)
def linalg_slogdet(A):
    """The sign (for complex matrices: the phase) and the logarithm of the absolute value of the determinants."""
    return result_type("linalg_slogdet")(F.linalg_sign_logdet(A))


@composite(forms="function method out", samples=_LOGDET)
def slogdet(input):
    """Sign and log of the absolute value of the determinants, as `linalg.slogdet`."""
    return result_type("slogdet")(F.linalg_sign_logdet(input))


@composite(forms="function method", samples=_LOGDET)
def logdet(input):
    """The logarithm of the determinants: nan where negative, -inf where zero."""
    need_square(input, "logdet")
    sign, logabs = F.linalg_sign_logdet(input)
    if input.is_complex():
        return F.add(F.log(sign), logabs)
    return F.where(F.eq(sign, -1), F.full((), float("nan"), dtype=logabs.dtype), logabs)


# ---------------------------------------------------------------------------------------------------- powers
@composite(name="matrix_power", forms="function method out",
           samples=lambda m: [((well(m, 3, 3), 3), {}), ((well(m, 2, 2, 2), -1), {}), ((well(m, 3, 3), 0), {}), ((m.t(0, 0), 2), {})])
def matrix_power(input, n):
    """The n-th power of square matrices by repeated squaring; a negative n inverts first."""
    if input.ndim < 2 or input.shape[-1] != input.shape[-2]:
        if input.ndim < 2:
            fail(RuntimeError, "P881", "linalg.matrix_power: The input tensor A must have at least 2 dimensions.", got=describe(input),
                 fix="the last two dimensions are the rows and columns of the matrices")
        fail(RuntimeError, "P882", f"linalg.matrix_power: A must be batches of square matrices, but they are {input.shape[-2]} by "
             f"{input.shape[-1]} matrices", got=describe(input), fix="the last two dimensions must be equal")
    n = as_int(n, "matrix_power", "n")
    if n == 0:
        return F.copy(input, F.eye(input.shape[-1], dtype=input.dtype))
    if n < 0:
        input, n = F.linalg_inv(input), -n
    result, square = None, F.clone(input) if n == 1 else input
    while n:
        if n & 1:
            result = square if result is None else F.matmul(result, square)
        n >>= 1
        if n:
            square = F.matmul(square, square)
    return result


@composite(forms="function out", samples=lambda m: [((well(m, 3, 3), 3), {}), ((well(m, 2, 2, 2), -2), {}), ((m.t(0, 0), 2), {})])
def linalg_matrix_power(A, n):
    """The n-th power of square matrices, as `matrix_power`."""
    return F.matrix_power(A, n)


# Higham 2005: the degree-13 Pade approximant is exact to double precision for 1-norms up to 5.37.
_PADE = (64764752532480000, 32382376266240000, 7771770303897600, 1187353796428800, 129060195264000, 10559470521600, 670442572800,
         33522128640, 1323241920, 40840800, 960960, 16380, 182, 1)


def matrix_exp_ref(a):
    if not a.size:
        return a.copy()
    x = batches(a)
    if a.shape[-1] == 1:
        return np.exp(a)
    wide = np.complex128 if a.dtype.kind == "c" else np.float64
    x = x.astype(wide)
    bad = ~np.isfinite(x).all((-1, -2))
    x[bad] = 0
    norm = np.abs(x).sum(-2).max(-1)
    with np.errstate(all="ignore"):
        s = np.maximum(0, np.ceil(np.log2(np.maximum(norm, 1e-300) / 5.371920351148152))).astype(int)
    x = x / (2.0 ** s)[:, None, None]
    eye, b = np.eye(a.shape[-1]), _PADE
    x2 = x @ x
    x4 = x2 @ x2
    x6 = x4 @ x2
    odd = x @ (x6 @ (b[13] * x6 + b[11] * x4 + b[9] * x2) + b[7] * x6 + b[5] * x4 + b[3] * x2 + b[1] * eye)
    even = x6 @ (b[12] * x6 + b[10] * x4 + b[8] * x2) + b[6] * x6 + b[4] * x4 + b[2] * x2 + b[0] * eye
    r = np.linalg.solve(even - odd, even + odd)
    with np.errstate(all="ignore"):
        for i in range(int(s.max(initial=0))):
            more = s > i
            r[more] = r[more] @ r[more]
    r[bad] = np.nan
    return r.astype(a.dtype).reshape(a.shape)


def matrix_exp_vjp(g, input):
    """The upper right block of exp [[A^H, g], [0, A^H]] (Mathias 1996)."""
    h, n = mH(input), input.shape[-1]
    block = F.cat((F.cat((h, g), -1), F.cat((F.zeros_like(h), h), -1)), -2)
    r = F.matrix_exp(block)
    return tail(narrow(r, -2, n), -1, n)


@primitive(EXTERN, batch="lead", args="input", ref=matrix_exp_ref, infer=lambda a: a.like(), vjp={"input": matrix_exp_vjp}, ns=("", "linalg"), low=False,
           forms="function method", samples=lambda m: [((m.t(3, 3),), {}), ((m.t(2, 2, 2),), {}), ((m.t(0, 0),), {})])
def matrix_exp(input):
    """The exponential of square matrices: scaling and squaring with a Pade approximant (Higham 2005)."""
    need_square(input, "linalg.matrix_exp")
    return (input,), {}

