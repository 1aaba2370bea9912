"""Factorisations: QR, SVD, eigenvalues, least squares and pseudo-inverses, Householder products, LDL.

References are NumPy's LAPACK routines, in batches. Derivatives follow Giles 2008 and Seeber 2019 in the forms of PyTorch;
they are written with operators, so they can be differentiated again.
"""
from __future__ import annotations

from ..core.return_types import result_type
from ._common import Spec, broadcast_shapes, describe, dt, fail, is_tensor, np
from ._linalg import (LinAlgError, batches, diagonal, mH, mT, narrow, need_float, need_matrix, need_square, positive, real_like,
                      same_type, well)
from .linalg import is_vector
from .dispatch import values_known
from .op import EXTERN, F, composite, primitive


def column(x):
    """A batch of vectors as columns."""
    return F.unsqueeze(x, -1)


def row(x):
    return F.unsqueeze(x, -2)


def skew(x):
    return F.sub(x, mH(x))


def differences(s):
    """s[j] - s[i], with ones on the diagonal."""
    return F.add(F.sub(row(s), column(s)), F.eye(s.shape[-1], dtype=s.dtype))


# ---------------------------------------------------------------------------------------------------- QR
def qr_ref(a, *, mode):
    if mode == "r":
        return np.zeros((0,), a.dtype), np.linalg.qr(a, "r")
    if not a.size and a.ndim >= 2:
        return empty_qr(a, mode)
    return tuple(np.linalg.qr(a, mode))


def empty_qr(a, mode):
    *lead, m, n = a.shape
    k = m if mode == "complete" else min(m, n)
    q = np.broadcast_to(np.eye(m, k, dtype=a.dtype), (*lead, m, k)).copy()
    return q, np.zeros((*lead, k, n), a.dtype)


def qr_infer(a: Spec, *, mode):
    *lead, m, n = a.shape
    k = m if mode == "complete" else min(m, n)
    return a.like((0,) if mode == "r" else (*lead, m, k)), a.like((*lead, min(m, n) if mode == "r" else k, n))


def qr_vjp(gs, out, mode):
    (gq, gr), (q, r) = gs, out
    if mode == "r":
        fail(RuntimeError, "P883", "The derivative of linalg.qr depends on Q, which is not computed when mode='r'. Please use linalg.qr(A, "
             "mode='reduced') if you are going to differentiate through linalg.qr.")
    m, n, k = q.shape[-2], r.shape[-1], q.shape[-1]
    if mode == "complete" and m > n:
        fail(RuntimeError, "P884", "The QR decomposition is not differentiable when mode='complete' and nrows > ncols")
    if n > k:                                    # A = [A1 | A2]: A1 = Q R1, A2 = Q R2
        tail = (slice(None),) * (r.ndim - 1) + (slice(k, None),)
        r2, g2 = F.basic_index(r, tail), F.basic_index(gr, tail)
        ga2 = F.matmul(q, g2)
        gq = F.add(gq, F.matmul(q, F.matmul(r2, mH(g2))))
        return (F.cat((qr_square(gq, narrow(gr, -1, k), q, narrow(r, -1, k)), ga2), -1),)
    return (qr_square(gq, gr, q, r),)


def qr_square(gq, gr, q, r):
    """The gradient where A has at least as many rows as columns."""
    x = F.triu(F.sub(F.matmul(gr, mH(r)), F.matmul(mH(q), gq)))
    sym = F.add(x, mH(x))
    sym = F.sub(sym, F.diag_embed(F.mul(F.real(diagonal(sym)) if sym.is_complex() else diagonal(sym), 0.5)))
    return mH(F.linalg_triangular(r, mH(F.add(gq, F.matmul(q, sym))), True))


@primitive(EXTERN, batch="lead", args="A", ref=qr_ref, infer=qr_infer, vjp=qr_vjp, nout=2, forms="", low=False)
def linalg_qr_factors(A, mode="reduced"):
    """(Q, R) with A = Q R."""
    return (A,), {"mode": mode}


_QR = lambda m: [((m.t(4, 3),), {}), ((m.t(2, 3, 3),), {}), ((m.t(2, 4),), {}), ((m.t(3, 0),), {})]  # noqa: E731


@composite(forms="function out", samples=_QR)
def linalg_qr(A, mode="reduced"):
    """Q with orthonormal columns and an upper triangle R, A = Q R. `mode`: "reduced", "complete" or "r" (only R)."""
    need_matrix(A, "linalg.qr")
    if mode not in ("reduced", "complete", "r"):
        fail(RuntimeError, "P885", f"qr received unrecognized mode '{mode}' but expected one of 'reduced' (default), 'r', or 'complete'")
    return result_type("linalg_qr")(F.linalg_qr_factors(A, mode))


@composite(forms="function method out", samples=_QR)
def qr(input, some=True):
    """Q and R with A = Q R, as `linalg.qr`; `some=False` gives the complete Q."""
    need_matrix(input, "qr", "input")
    return result_type("qr")(F.linalg_qr_factors(input, "reduced" if some else "complete"))


# ---------------------------------------------------------------------------------------------------- SVD
def svd_ref(a, *, full):
    try:
        return tuple(np.linalg.svd(a, full_matrices=full))
    except np.linalg.LinAlgError:
        raise_svd(a)


def raise_svd(a):
    place = int(np.argmax(~np.isfinite(batches(a)).all((-1, -2))))
    fail(LinAlgError, "P886", f"linalg.svd: {f'(Batch element {place}): ' if a.ndim > 2 else ''}The algorithm failed to converge because the input "
         "matrix contained non-finite values.")


def svd_infer(a: Spec, *, full):
    *lead, m, n = a.shape
    k = min(m, n)
    return a.like((*lead, m, m if full else k)), a.like((*lead, k), a.dtype.to_real()), a.like((*lead, n if full else k, n))


def imag_diagonal(x):
    return F.imag(diagonal(x))


def need_phase_free(what: str, imag) -> None:
    """A loss must not depend on the phase of complex vectors, which is arbitrary: that part of the gradient must be 0."""
    if values_known() and not bool(F.all(F.le(F.abs(imag), 1e-2))):
        fail(RuntimeError, "P887", f"{what} in the complex case are specified up to multiplication by e^{{i phi}}. The specified loss function "
             "depends on this phase term, making it ill-defined.", fix="use a function of the vectors that no phase changes, such as U @ U.mH")


def svd_vjp(gs, out, full):
    (gu, g_s, gvh), (u, s, vh) = gs, out
    m, n, k = u.shape[-2], vh.shape[-1], s.shape[-1]
    if full:
        u, gu, vh, gvh = narrow(u, -1, k), narrow(gu, -1, k), narrow(vh, -2, k), narrow(gvh, -2, k)
    u_gu, v_gv = skew(F.matmul(mH(u), gu)), skew(F.matmul(vh, mH(gvh)))
    squares = F.mul(s, s)
    inner = F.div(F.add(F.mul(u_gu, row(s)), F.mul(column(s), v_gv)), differences(squares))
    diag = g_s
    if inner.is_complex():
        need_phase_free("svd_backward: The singular vectors", F.add(imag_diagonal(u_gu), imag_diagonal(v_gv)))
        diag = F.add(F.div(diagonal(u_gu), F.mul(s, 2)), g_s)
    inner = F.add(F.sub(inner, F.diag_embed(diagonal(inner))), F.diag_embed(diag))
    if m > k:
        scaled = F.div(gu, row(s))
        left = F.add(F.matmul(u, inner), F.sub(scaled, F.matmul(u, F.matmul(mH(u), scaled))))
        return (F.matmul(left, vh),)
    if n > k:
        scaled = F.div(gvh, column(s))
        right = F.add(F.matmul(inner, vh), F.sub(scaled, F.matmul(F.matmul(scaled, mH(vh)), vh)))
        return (F.matmul(u, right),)
    return (F.matmul(u, F.matmul(inner, vh)),)


@primitive(EXTERN, batch="lead", args="A", ref=svd_ref, infer=svd_infer, vjp=svd_vjp, nout=3, forms="", low=False)
def linalg_svd_factors(A, full=True):
    """(U, S, Vh) with A = U diag(S) Vh."""
    return (A,), {"full": bool(full)}


# The columns that full matrices add have no derivative.
_SVD = lambda m: [((m.t(4, 3), False), {}), ((m.t(2, 3, 3),), {}), ((m.t(2, 4),), {"full_matrices": False}),  # noqa: E731
                  ((F.detach(m.t(2, 4)),), {}), ((m.t(0, 3),), {})]


@composite(forms="function out", samples=_SVD)
def linalg_svd(A, full_matrices=True, *, driver=None):
    """U, S, Vh with A = U diag(S) Vh and singular values S in falling order."""
    need_matrix(A, "linalg.svd")
    if driver is not None:
        fail(RuntimeError, "P888", "torch.linalg.svd: keyword argument `driver=` is only supported on CUDA inputs with cuSOLVER backend.")
    return result_type("linalg_svd")(F.linalg_svd_factors(A, full_matrices))


@composite(forms="function method out", samples=lambda m: [((m.t(4, 3),), {}), ((m.t(2, 3, 3),), {"some": False}),
                                            ((F.detach(m.t(2, 4)),), {"some": False})])
def svd(input, some=True, compute_uv=True):
    """U, S, V with input = U diag(S) V^H; zeros for U and V without `compute_uv`. Prefer linalg.svd."""
    need_matrix(input, "linalg.svd", "A")
    kind = result_type("svd")
    if not compute_uv:
        *lead, m, n = input.shape
        zeros = [F.zeros((*lead, size, size), dtype=input.dtype) for size in (m, n)]
        return kind((zeros[0], F.linalg_svdvals(input), zeros[1]))
    u, s, vh = F.linalg_svd_factors(input, not some)
    return kind((u, s, mH(vh)))


@primitive(EXTERN, batch="lead", args="A", ref=lambda a: np.ascontiguousarray(np.linalg.svd(a, compute_uv=False)), low=False, forms="function out",
           infer=lambda a: a.like((*a.shape[:-2], min(a.shape[-2:])), a.dtype.to_real()),
           vjp={"A": lambda g, A: svdvals_vjp(g, A)}, samples=lambda m: [((m.t(4, 3),), {}), ((m.t(2, 3, 3),), {}), ((m.t(0, 3),), {})])
def linalg_svdvals(A, *, driver=None):
    """The singular values of matrices, in falling order."""
    need_matrix(A, "linalg.svd")
    return (A,), {}


def svdvals_vjp(g, A):
    u, _, vh = F.linalg_svd_factors(A, False)
    return F.matmul(F.mul(u, row(g)), vh)


# ---------------------------------------------------------------------------------------------------- eigenvalues
def eigh_ref(a, *, lower):
    try:
        return tuple(np.linalg.eigh(a, "L" if lower else "U"))
    except np.linalg.LinAlgError:
        fail(LinAlgError, "P889", "linalg.eigh: The algorithm failed to converge because the input matrix is ill-conditioned or has too many "
             "repeated eigenvalues.")


def eigh_vjp(gs, out):
    (g_w, gv), (w, v) = gs, out
    vgv = F.matmul(mH(v), gv)
    if v.is_complex():
        need_phase_free("linalg_eigh_backward: The eigenvectors", imag_diagonal(vgv))
    inner = F.div(vgv, differences(w))
    inner = F.add(F.sub(inner, F.diag_embed(diagonal(inner))), F.diag_embed(g_w))
    return (F.matmul(v, F.matmul(inner, mH(v))),)


def eigh_infer(a: Spec, *, lower):
    return a.like(a.shape[:-1], a.dtype.to_real()), a.like()


@primitive(EXTERN, batch="lead", args="A", ref=eigh_ref, infer=eigh_infer, vjp=eigh_vjp, nout=2, forms="", low=False)
def linalg_eigh_factors(A, lower=True):
    """(eigenvalues, eigenvectors) of Hermitian matrices, of which one triangle is read."""
    return (A,), {"lower": bool(lower)}


def _uplo(UPLO: str, fn: str) -> bool:
    letter = UPLO.upper() if isinstance(UPLO, str) else ""
    if letter not in ("L", "U"):
        fail(RuntimeError, "P890", f"Expected UPLO argument to be 'L' or 'U', but got {UPLO}", got=fn)
    return letter == "L"


def _hermitian(m, *shape):
    x = m.t(*shape)
    return F.detach(F.add(x, mT(x)))          # detached as in `positive`


_EIGH = lambda m: [((_hermitian(m, 3, 3),), {}), ((_hermitian(m, 2, 2, 2),), {"UPLO": "U"}), ((m.t(0, 0),), {})]  # noqa: E731


@composite(forms="function out", samples=_EIGH)
def linalg_eigh(A, UPLO="L"):
    """The eigenvalues (rising) and eigenvectors of Hermitian matrices; only the lower (or upper) triangle is read."""
    need_square(A, "linalg.eigh")
    return result_type("linalg_eigh")(F.linalg_eigh_factors(A, _uplo(UPLO, "linalg.eigh")))


@composite(forms="function out", samples=_EIGH)
def linalg_eigvalsh(A, UPLO="L"):
    """The eigenvalues of Hermitian matrices, rising."""
    need_square(A, "linalg.eigvalsh")
    return F.linalg_eigh_factors(A, _uplo(UPLO, "linalg.eigvalsh"))[0]


def spread(m, *shape):
    """A sample with real eigenvalues far apart. Detached: complex eigenvectors have a phase, and no derivative along it."""
    x = m.t(*shape, low=-0.3, high=0.3)
    return F.detach(x + F.diag_embed(F.convert(F.arange(1, 2 * shape[-1], 2), x.dtype)))


def eig_ref(a):
    if not np.isfinite(a).all():
        fail(RuntimeError, "P891", "torch.linalg.eig: input tensor should not contain infs or NaNs.")
    w, v = np.linalg.eig(a)
    wide = np.result_type(a.dtype, np.complex64)
    return np.asarray(w).astype(wide, copy=False), v.astype(wide, copy=False)


def eig_infer(a: Spec):
    d = a.dtype.to_complex()
    return a.like(a.shape[:-1], d), a.like(dtype=d)


def eig_vjp(gs, A, out):
    (g_w, gv), (w, v) = gs, out
    vh = mH(v)
    vgv = F.matmul(vh, gv)
    need_phase_free("linalg_eig_backward: The eigenvectors", imag_diagonal(vgv))
    vgv = F.sub(vgv, F.mul(F.matmul(vh, v), row(F.real(diagonal(vgv)))))
    inner = F.div(vgv, F.conj(differences(w)))
    inner = F.add(F.sub(inner, F.diag_embed(diagonal(inner))), F.diag_embed(g_w))
    r = F.linalg_solve_matrix(vh, F.matmul(inner, vh))[0]
    return (real_like(r, A),)


@primitive(EXTERN, batch="lead", args="A", ref=eig_ref, infer=eig_infer, vjp=eig_vjp, nout=2, forms="", low=False)
def linalg_eig_factors(A):
    """(eigenvalues, eigenvectors) of square matrices, complex."""
    return (A,), {}


@composite(forms="function out", samples=lambda m: [((spread(m, 3, 3),), {}), ((spread(m, 2, 2, 2),), {}), ((F.detach(m.t(0, 0)),), {})])
def linalg_eig(A):
    """The complex eigenvalues and eigenvectors (columns of norm 1) of square matrices."""
    need_square(A, "linalg.eig")
    return result_type("linalg_eig")(F.linalg_eig_factors(A))


@composite(forms="function out", samples=lambda m: [((well(m, 3, 3),), {}), ((well(m, 2, 2, 2),), {}), ((m.t(0, 0),), {})])
def linalg_eigvals(A):
    """The complex eigenvalues of square matrices."""
    need_square(A, "linalg.eigvals")
    return F.linalg_eig_factors(A)[0]


# ---------------------------------------------------------------------------------------------------- rank and pseudo-inverse
def tolerances(A, atol, rtol):
    """atol and rtol as numbers or tensors; without either, rtol is the dtype's epsilon times the longer side."""
    default = float(np.finfo(A.dtype.to_real().np).eps) * max(A.shape[-2:])
    if rtol is None:
        if atol is None:
            rtol = default
        elif is_tensor(atol):
            rtol = F.where(F.gt(atol, 0), F.zeros_like(atol), F.full_like(atol, default))
        else:
            rtol = 0.0 if atol > 0 else default
    return (0.0 if atol is None else atol), rtol


def limit_tensors(s_dtype, atol, rtol):
    """Both tolerances as tensors of the singular values' dtype."""
    parts = [x if is_tensor(x) else F.full((), float(x), dtype=s_dtype) for x in (atol, rtol)]
    return [F.convert(x, s_dtype) if x.dtype is not s_dtype else x for x in parts]


def threshold(s, atol, rtol):
    """max(atol, rtol * the largest of s) for each matrix."""
    atol, rtol = limit_tensors(s.dtype, atol, rtol)
    return F.maximum(atol, F.mul(rtol, F.amax(s, -1)))


def values_of(A, hermitian: bool):
    return F.abs(F.linalg_eigvalsh(A)) if hermitian else F.linalg_svdvals(A)


@composite(forms="function out", samples=lambda m: [((m.t(4, 3),), {}), ((_hermitian(m, 2, 3, 3),), {"hermitian": True}),
                                     ((m.t(0, 3),), {}), ((m.t(3, 3),), {"atol": 0.5})])
def linalg_matrix_rank(A, tol=None, hermitian=False, *, atol=None, rtol=None):
    """How many singular values exceed max(atol, rtol * the largest)."""
    if isinstance(tol, bool):
        tol, hermitian = None, tol
    fn = "linalg.matrix_rank"
    (need_square if hermitian else need_matrix)(A, fn)
    if tol is not None:
        atol, rtol = tol, 0.0
    for x, name in ((atol, "atol"), (rtol, "rtol")):
        if is_tensor(x) and x.is_complex():
            fail(RuntimeError, "P892", f"{fn}: {name} tensor of complex type is not supported. Got {x.dtype.type_name}")
    if not A.numel():
        return F.zeros(tuple(A.shape[:-2]), dtype=dt.int64)
    atol, rtol = tolerances(A, atol, rtol)
    s = values_of(A.detach(), hermitian)
    return F.sum(F.gt(s, column(threshold(s, atol, rtol))), -1)


def pinv_ref(a, atol, rtol, *, hermitian):
    h = lambda x: x.swapaxes(-1, -2).conj()  # noqa: E731
    if not a.size:
        return np.zeros(h(a).shape, a.dtype)
    if hermitian:
        s, u = np.linalg.eigh(a)
        vh = h(u)
    else:
        u, s, vh = np.linalg.svd(a, full_matrices=False)
    keep = np.abs(s) > np.maximum(atol, rtol * np.abs(s).max(-1))[..., None]
    inverse = np.where(keep, 1 / np.where(keep, s, 1), 0).astype(s.dtype)
    return np.matmul(h(vh) * inverse[..., None, :], h(u))


def pinv_vjp(g, a, p):
    """Golub and Pereyra 1973, in the order of products that keeps intermediates small."""
    ph, gh = mH(p), mH(g)
    if a.shape[-2] <= a.shape[-1]:
        k = F.matmul(gh, p)
        kph = F.matmul(k, ph)
        r = F.sub(kph, F.add(mH(F.matmul(p, k)), F.matmul(F.matmul(a, p), kph)))
        return F.add(r, F.matmul(F.matmul(ph, p), F.sub(gh, F.matmul(k, a))))
    k = F.matmul(p, gh)
    phk = F.matmul(ph, k)
    r = F.sub(F.matmul(F.matmul(F.sub(gh, F.matmul(a, k)), p), ph), mH(F.matmul(k, p)))
    return F.add(r, F.sub(phk, F.matmul(F.matmul(phk, p), a)))


def pinv_infer(a, atol, rtol, *, hermitian):
    return a.like((*a.shape[:-2], a.shape[-1], a.shape[-2]))


@primitive(EXTERN, args="a atol rtol", ref=pinv_ref, infer=pinv_infer, forms="", low=False, vjp={"a": lambda g, a, out: pinv_vjp(g, a, out)})
def linalg_pinv_above(a, atol, rtol, hermitian=False):
    """The pseudo-inverse that takes singular values up to max(atol, rtol * the largest) for zero."""
    return (a, atol, rtol), {"hermitian": hermitian}


@composite(forms="function out", samples=lambda m: [((m.t(4, 3),), {}), ((positive(m, 2, 2, 2),), {"hermitian": True}),
                                     ((m.t(2, 4),), {"rtol": 1e-6}), ((m.t(0, 3),), {})])
def linalg_pinv(A, rcond=None, hermitian=False, *, atol=None, rtol=None):
    """The Moore-Penrose pseudo-inverse; singular values up to max(atol, rtol * the largest) count as zero."""
    fn = "linalg.pinv"
    (need_square if hermitian else need_matrix)(A, fn)
    if rcond is not None:
        atol, rtol = None, rcond
    if not A.numel():
        return F.mul(mH(A), 1)
    atol, rtol = tolerances(A, atol, rtol)
    return F.linalg_pinv_above(A, *limit_tensors(A.dtype.to_real(), atol, rtol), hermitian)


@composite(forms="function method", samples=lambda m: [((m.t(4, 3),), {}), ((m.t(2, 4),), {}), ((m.t(2, 3, 3),), {})])
def pinverse(input, rcond=1e-15):
    """The pseudo-inverse, as `linalg.pinv`."""
    return F.linalg_pinv(input, rcond)


# ---------------------------------------------------------------------------------------------------- least squares
def lstsq_vjp(gs, a, b, out, needs):
    p = F.linalg_pinv(a)
    ga = pinv_vjp(F.matmul(gs[0], mH(b)), a, p) if needs[0] else None
    return ga, F.matmul(mH(p), gs[0])


def lstsq_ref(a, b, *, rcond):
    u, s, vh = np.linalg.svd(a, full_matrices=False)
    keep = s > rcond * s.max(-1, keepdims=True, initial=0)
    inverse = np.where(keep, 1 / np.where(keep, s, 1), 0).astype(s.dtype)
    h = lambda x: x.swapaxes(-1, -2).conj()  # noqa: E731
    x = np.matmul(h(vh) * inverse[..., None, :], np.matmul(h(u), b))
    return x, np.asarray(keep.sum(-1)), s


def lstsq_infer(a: Spec, b: Spec, *, rcond):
    lead = broadcast_shapes(a.shape[:-2], b.shape[:-2])
    return (a.like((*lead, a.shape[-1], b.shape[-1])), a.like(a.shape[:-2], dt.int64),
            a.like((*a.shape[:-2], min(a.shape[-2:])), a.dtype.to_real()))


@primitive(EXTERN, args="a b", ref=lstsq_ref, infer=lstsq_infer, vjp=lstsq_vjp, nout=3, forms="", low=False)
def linalg_lstsq_solution(a, b, rcond):
    """(the shortest X that minimises |a X - b|, rank, singular values)."""
    return (a, b), {"rcond": rcond}


@composite(forms="function out", samples=lambda m: [((m.t(4, 3), m.t(4, 2)), {}), ((m.t(2, 3, 3), m.t(2, 3, 1)), {}),
                                     ((m.t(2, 4), m.t(2)), {}), ((m.t(4, 2), m.t(4, 2)), {"driver": "gelsd"})])
def linalg_lstsq(A, B, rcond=None, *, driver=None):
    """The least-squares solution of A X = B, with residuals, rank and singular values as the LAPACK `driver` gives them.

    driver: "gelsy" (the default: rank), "gelsd" and "gelss" (also singular values and residuals), "gels" (residuals)."""
    fn = "torch.linalg.lstsq"
    if A.ndim < 2:
        fail(RuntimeError, "P893", f"{fn}: input must have at least 2 dimensions.", got=describe(A))
    if B.ndim < 1:
        fail(RuntimeError, "P894", f"{fn}: other must have at least 1 dimension.", got=describe(B))
    if A.dtype is not B.dtype:
        fail(RuntimeError, "P895", f"{fn}: Expected input and other to have the same dtype, but got input's dtype {A.dtype.type_name} and other's "
             f"dtype {B.dtype.type_name}")
    need_float(A, "linalg.lstsq")
    difference = A.ndim - B.ndim
    if not 0 <= difference <= 1:
        fail(RuntimeError, "P896", f"{fn}: input.dim() must be greater or equal to other.dim() and (input.dim() - other.dim()) <= 1", got=describe(A, B))
    vector = is_vector(A, B)
    b = column(B) if vector else B
    if A.shape[-2] != b.shape[-2]:
        place = "-1" if vector else "-2"
        fail(RuntimeError, "P897", f"{fn}: input.size(-2) should match other.size({place})", got=describe(A, B))
    if driver not in (None, "gels", "gelsy", "gelsd", "gelss"):
        fail(RuntimeError, "P898", f"{fn}: parameter `driver` should be one of (gels, gelsy, gelsd, gelss)", got=f"driver={driver!r}")
    driver = driver or "gelsy"
    m, n = A.shape[-2:]
    if rcond is None:
        rcond = float(np.finfo(A.dtype.to_real().np).eps) * max(m, n)
    x, rank, s = F.linalg_lstsq_solution(A, b, 0.0 if driver == "gels" else float(rcond))
    real = A.dtype.to_real()
    residuals = F.zeros((0,), dtype=real)
    if m > n and driver != "gelsy" and (driver == "gels" or bool(F.all(F.eq(rank, n)))):
        error = F.sub(F.matmul(A, x), b)
        residuals = F.sum(F.mul(error, F.conj(error)), -2)
        residuals = F.real(residuals) if residuals.is_complex() else residuals
    rank = F.zeros((0,), dtype=dt.int64) if driver == "gels" else rank
    s = s.detach() if driver in ("gelsd", "gelss") else F.zeros((0,), dtype=real)
    x = F.squeeze(x, -1) if vector else x
    return result_type("linalg_lstsq")((x, residuals, rank, s))


# ---------------------------------------------------------------------------------------------------- Householder
def geqrf_ref(a):
    if not a.size:
        return a.copy(), np.zeros((*a.shape[:-2], min(a.shape[-2:])), a.dtype)
    h, tau = np.linalg.qr(a, "raw")
    return np.ascontiguousarray(h).swapaxes(-1, -2), tau      # columns lie together, as LAPACK keeps them


@primitive(EXTERN, batch="lead", args="input", ref=geqrf_ref, low=False, forms="", nout=2, grads=False,
           infer=lambda a: (a.like(), a.like((*a.shape[:-2], min(a.shape[-2:])))))
def geqrf_factors(input):
    """(R and the Householder vectors in one matrix, their factors)."""
    return (input,), {}


@composite(forms="function method out", samples=lambda m: [((m.t(4, 3),), {}), ((m.t(2, 3, 3),), {}), ((m.t(2, 4),), {})])
def geqrf(input):
    """The QR factorisation as LAPACK stores it: R above Householder vectors, and their factors tau."""
    need_matrix(input, "geqrf", "input")
    return result_type("geqrf")(F.geqrf_factors(input))


def reflector(A, i: int):
    """The i-th Householder vector as a column: zeros, a one, then column i of A below its diagonal."""
    m = A.shape[-2]
    column_i = F.basic_index(A, (slice(None),) * (A.ndim - 1) + (slice(i, i + 1),))
    place = F.unsqueeze(F.arange(m), -1)
    return F.add(F.mul(column_i, F.convert(F.gt(place, i), A.dtype)), F.convert(F.eq(place, i), A.dtype))


def reflect(A, tau, x, order, adjoint: bool):
    """H_i x for each i in `order`, where H_i = I - tau_i v_i v_i^H (its adjoint if asked)."""
    for i in order:
        v = reflector(A, i)
        t = F.unsqueeze(F.basic_index(tau, (slice(None),) * (tau.ndim - 1) + (slice(i, i + 1),)), -1)
        t = F.conj(t) if adjoint else t
        x = F.sub(x, F.mul(t, F.matmul(v, F.matmul(mH(v), x))))
    return x


def _check_householder(fn: str, A, tau) -> None:
    need_matrix(A, fn, "input" if fn.startswith("torch") else "A")
    m, n = A.shape[-2:]
    if m < n:
        fail(RuntimeError, "P899", f"{fn}: input.shape[-2] must be greater than or equal to input.shape[-1]", got=describe(A))
    if n < tau.shape[-1]:
        fail(RuntimeError, "P900", f"{fn}: input.shape[-1] must be greater than or equal to tau.shape[-1]", got=describe(A, tau))
    if A.ndim - tau.ndim != 1 or tuple(A.shape[:-2]) != tuple(tau.shape[:-1]):
        fail(RuntimeError, "P901", f"{fn}: Expected tau to have one dimension less than input and equal batch dimensions", got=describe(A, tau))
    same_type(fn, A, tau, ("input", "tau"))


@composite(forms="function out", samples=lambda m: [((m.t(4, 3), m.t(3)), {}), ((m.t(2, 3, 2), m.t(2, 2)), {}), ((m.t(3, 3), m.t(2)), {})])
def linalg_householder_product(A, tau):
    """The first columns of the product of Householder reflections that `geqrf` returns: Q."""
    _check_householder("torch.linalg.householder_product", A, tau)
    m, n = A.shape[-2:]
    start = F.expand(F.eye(m, n, dtype=A.dtype), tuple(A.shape))
    return reflect(A, tau, start, range(tau.shape[-1] - 1, -1, -1), False)


@composite(forms="function method out", samples=lambda m: [((m.t(4, 3), m.t(3)), {}), ((m.t(2, 3, 2), m.t(2, 2)), {}),
                                            ((m.t(3, 3), m.t(2)), {})])
def orgqr(input, input2):
    """As `linalg.householder_product`."""
    return F.linalg_householder_product(input, input2)


@composite(forms="function method out", samples=lambda m: [((m.t(4, 3), m.t(3), m.t(4, 2)), {}),
                                            ((m.t(2, 3, 2), m.t(2, 2), m.t(2, 3, 3)), {"transpose": True}),
                                                           ((m.t(3, 3), m.t(2), m.t(2, 3)), {"left": False})])
def ormqr(input, tau, other, left=True, transpose=False):
    """`other` times the full Q of Householder reflections, from the left or the right, Q^H with `transpose`."""
    fn = "torch.ormqr"
    need_matrix(input, fn, "input")
    need_matrix(other, fn, "other")
    if other.shape[-2 if left else -1] < tau.shape[-1]:
        fail(RuntimeError, "P902", f"{fn}: other.shape[{'-2' if left else '-1'}] must be greater than or equal to tau.shape[-1]", got=describe(other, tau))
    if other.shape[-2 if left else -1] != input.shape[-2]:
        fail(RuntimeError, "P903", f"{fn}: other.shape[{'-2' if left else '-1'}] must be equal to input.shape[-2]", got=describe(input, other))
    k = tau.shape[-1]
    if not left:                       # C Q = (Q^H C^H)^H
        return mH(F.ormqr(input, tau, mH(other), True, not transpose))
    order = range(k) if transpose else range(k - 1, -1, -1)
    return reflect(input, tau, other, order, transpose)

