"""Orthogonal polynomials of the `special` namespace, by their three-term recurrences (NIST DLMF 18.9).

Each takes the argument x and the degree n, tensors or numbers; the degree is truncated to an integer, and negative degrees give
0. They are not differentiable, as in PyTorch.
"""
from __future__ import annotations

from ._common import np
from .elementwise import binary
from .op import FLOAT


def recurrence(first, step):
    """A reference: p0 = 1, p1 = first(x), p[k + 1] = step(k, x, p[k], p[k - 1])."""
    def ref(x, n):
        d = x.dtype if isinstance(x, np.ndarray) else n.dtype
        x, n = np.broadcast_arrays(np.asarray(x, d), np.asarray(n, d))
        degree = np.trunc(np.where(np.isfinite(n), n, -1)).astype(np.int64)
        before, now = np.ones_like(x), first(x)
        out = np.where(degree == 0, before, np.where(degree == 1, now, d.type(0)))
        for k in range(1, int(degree.max(initial=0))):
            before, now = now, step(k, x, now, before)
            out = np.where(degree == k + 1, now, out)
        return out
    return ref


def shifted(ref):
    """The polynomial of 2 x - 1."""
    return lambda x, n: ref(x + x - 1, n)


def _double(k, x, now, before):
    return 2 * x * now - before


_T, _U = recurrence(lambda x: x + 0, _double), recurrence(lambda x: x + x, _double)
_V, _W = recurrence(lambda x: x + x - 1, _double), recurrence(lambda x: x + x + 1, _double)
_HERMITE = recurrence(lambda x: x + x, lambda k, x, now, before: 2 * (x * now - k * before))
_HERMITE_E = recurrence(lambda x: x + 0, lambda k, x, now, before: x * now - k * before)
_LAGUERRE = recurrence(lambda x: 1 - x, lambda k, x, now, before: ((2 * k + 1 - x) * now - k * before) / (k + 1))
_LEGENDRE = recurrence(lambda x: x + 0, lambda k, x, now, before: ((2 * k + 1) * x * now - k * before) / (k + 1))


def _samples(m):
    return [((m.t(3, 4, low=0, high=1), m.i(4, low=0, high=6)), {}), ((m.t(2, 1, low=0, high=1), m.i(3, low=0, high=8)), {}),
            ((m.t(0), m.i(0)), {}), ((m.t(5, low=0, high=1), 3), {})]


for _name, _ref, _what in (
        ("chebyshev_polynomial_t", _T, "Chebyshev polynomial of the first kind"),
        ("chebyshev_polynomial_u", _U, "Chebyshev polynomial of the second kind"),
        ("chebyshev_polynomial_v", _V, "Chebyshev polynomial of the third kind"),
        ("chebyshev_polynomial_w", _W, "Chebyshev polynomial of the fourth kind"),
        ("shifted_chebyshev_polynomial_t", shifted(_T), "Chebyshev polynomial of the first kind at 2 x - 1"),
        ("shifted_chebyshev_polynomial_u", shifted(_U), "Chebyshev polynomial of the second kind at 2 x - 1"),
        ("shifted_chebyshev_polynomial_v", shifted(_V), "Chebyshev polynomial of the third kind at 2 x - 1"),
        ("shifted_chebyshev_polynomial_w", shifted(_W), "Chebyshev polynomial of the fourth kind at 2 x - 1"),
        ("hermite_polynomial_h", _HERMITE, "physicist's Hermite polynomial"),
        ("hermite_polynomial_he", _HERMITE_E, "probabilist's Hermite polynomial"),
        ("laguerre_polynomial_l", _LAGUERRE, "Laguerre polynomial"),
        ("legendre_polynomial_p", _LEGENDRE, "Legendre polynomial")):
    binary("special_" + _name, _ref, takes="NN", promote=FLOAT, refuse="complex", grads=False, forms="function out",
           ns="special",
           public=_name, module=__name__, samples=_samples, doc=f"The {_what} of degree `other`, at `input`.")
