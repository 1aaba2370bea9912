"""The gamma function's relatives: lgamma, digamma, polygamma, zeta, the multivariate and the incomplete gamma functions.

The numerics work on float64 arrays (float32 goes through float64). `lgamma` uses a Chebyshev series on [0.75, 3] (fitted to
40-digit values), recurrence, Stirling's series with Bernoulli numbers from 8 on, and reflection (NIST DLMF 5.5, 5.11). `zeta` is
Euler-Maclaurin summation (DLMF 25.11.5, after Cephes), `igamma` the power series and Lentz' continued fraction
(DLMF 8.7.1, 8.9.2).
"""
from __future__ import annotations

import math

from ._common import dt, fail, is_tensor, need_tensor, np, point_infer
from .elementwise import binary, not_implemented
from .op import FLOAT, POINT, F, composite, primitive
from .special_erf import by_precision, piecewise, polynomial, real_function

# Chebyshev coefficients of lgamma(x) / ((x - 1) (x - 2)) on [0.75, 3]
_LGAMMA = (0.46509593964386436, -0.1435429485550065, 0.031164903288736185, -0.007778081492777689, 0.0020893836139733103,
    -0.0005866647110970466, 0.00016958002095214804, -5.0023737472539774e-05, 1.497808786726211e-05, -4.536223971248261e-06,
    1.386293730772066e-06, -4.267820201881839e-07, 1.3219368355638067e-07, -4.115895843995634e-08, 1.2872226708140133e-08,
    -4.041384342955456e-09, 1.2731890115656043e-09, -4.0232458633576043e-10, 1.2748034638658417e-10, -4.0492649503469746e-11,
    1.2890677221727524e-11, -4.112025755090198e-12, 1.3141400456479957e-12, -4.2069530618492287e-13, 1.3488886758248714e-13,
    -4.3312751371643307e-14, 1.3926469863193503e-14, -4.483437322240399e-15, 1.4450712765294668e-15, -4.662753467921419e-16,
    1.5060545629301752e-16, -4.8691911561184356e-17, 1.5756727688499256e-17, -5.1032363690256764e-18, 1.6541506260876524e-18)


# ---------------------------------------------------------------------------------------------------- numerics
def chebyshev(t, coefficients):
    """`sum c[k] T_k(t)` by Clenshaw's recurrence."""
    a = b = np.zeros_like(t)
    for c in coefficients[:0:-1]:
        a, b = 2 * t * a - b + c, a
    return t * a - b + coefficients[0]


_STIRLING = (1 / 12, -1 / 360, 1 / 1260, -1 / 1680, 1 / 1188, -691 / 360360, 1 / 156, -3617 / 122400)


def stirling_rest(x):
    """`lgamma(x)` minus Stirling's `(x - 1/2) log(x) - x + log(2 pi) / 2`, for x >= 8."""
    return polynomial(1 / (x * x), _STIRLING) / x


def stirling(x):
    return (x - 0.5) * np.log(x) - x + 0.5 * math.log(2 * math.pi) + stirling_rest(x)


def _lgamma_small(x):
    """0 < x < 8: brought into [0.75, 3]."""
    shift = np.zeros_like(x)
    below = x < 0.75
    shift = np.where(below, -np.log(np.where(below, x, 1)), shift)
    x = np.where(below, x + 1, x)
    product = np.ones_like(x)
    for _ in range(5):
        above = x > 3
        if not above.any():
            break
        x = np.where(above, x - 1, x)
        product = np.where(above, product * x, product)
    return (x - 1) * (x - 2) * chebyshev((x - 1.875) / 1.125, _LGAMMA) + np.log(product) + shift


def sin_pi(x):
    """sin(pi x), exact zeros at integers."""
    n = np.rint(x)
    r = np.sin(math.pi * (x - n))
    return np.where(np.mod(n, 2) == 0, r, -r)


def _lgamma_positive(x):
    return piecewise(x, [(x < 8, _lgamma_small), (x >= 8, lambda x: np.where(np.isinf(x), np.inf, stirling(x)))])


def lgamma64(x):
    x = np.atleast_1d(x)

    def reflected(x):
        s = np.abs(sin_pi(x))
        return np.where(s == 0, np.inf, np.log(math.pi / np.where(s == 0, 1, s)) - _lgamma_positive(1 - x))
    return piecewise(x, [(x > 0, _lgamma_positive), ((x <= 0) & (x > -np.inf), reflected), (x == -np.inf, lambda x: -x)])


_DIGAMMA = (1 / 12, -1 / 120, 1 / 252, -1 / 240, 1 / 132, -691 / 32760, 1 / 12)


def _digamma_positive(x):
    total = np.zeros_like(x)
    for _ in range(10):
        low = x < 10
        if not low.any():
            break
        total = np.where(low, total - 1 / np.where(low, x, 1), total)
        x = np.where(low, x + 1, x)
    square = 1 / (x * x)
    return total + np.log(x) - 0.5 / x - square * polynomial(square, _DIGAMMA)


def digamma64(x):
    x = np.atleast_1d(x)

    def reflected(x):
        whole = x == np.rint(x)
        angle = math.pi * (x - np.rint(x))
        return np.where(whole, np.nan, _digamma_positive(1 - x) - math.pi / np.tan(np.where(whole, 1, angle)))
    return piecewise(x, [(x > 0, _digamma_positive), (x == 0, lambda x: np.copysign(np.inf, -x)),
                         ((x < 0) & (x > -np.inf), reflected)])


_ZETA = tuple(b / math.factorial(2 * k) for k, b in enumerate(
    (1 / 6, -1 / 30, 1 / 42, -1 / 30, 5 / 66, -691 / 2730, 7 / 6, -3617 / 510, 43867 / 798, -174611 / 330, 854513 / 138), 1))


def zeta64(s, q):
    """Hurwitz' zeta: sum over k >= 0 of (k + q) ** -s."""
    s, q = np.broadcast_arrays(np.asarray(s, np.float64), np.asarray(q, np.float64))
    shape = s.shape
    s, q = s.reshape(-1), q.reshape(-1)
    whole = q == np.floor(q)
    bad = ~(s > 1) | np.isnan(q) | ((q <= 0) & ~whole & (s != np.floor(s)))
    pole = (s == 1) | ((q <= 0) & whole & (s > 1))
    live = ~bad & ~pole & (q > -1e5)
    s, w = np.where(live, s, 2.0), np.where(live, q, 1.0)
    total = np.zeros_like(s)
    for k in range(10 + int(max(0, 10 - w.min(initial=1.0)))):
        more = (w <= 9) | (k < 9)
        if not more.any():
            break
        total = np.where(more, total + np.power(w, -s), total)
        w = np.where(more, w + 1, w)
    power = np.power(w, -s)
    total = total + power * w / (s - 1) + 0.5 * power
    factor, power = s, power / w
    for k, b in enumerate(_ZETA):
        total = total + b * factor * power
        factor = factor * (s + 2 * k + 1) * (s + 2 * k + 2)
        power = power / (w * w)
    return np.where(pole, np.inf, np.where(live, np.where(np.isinf(w), 0.0, total), np.nan)).reshape(shape)


def zeta_ref(s, q):
    d = s.dtype if isinstance(s, np.ndarray) else q.dtype
    return zeta64(s, q).astype(d)


def trigamma64(x):
    """Minus the derivative's sign kept: the first derivative of digamma."""
    x = np.atleast_1d(x)

    def reflected(x):
        s = sin_pi(x)
        return np.where(s == 0, np.inf, (math.pi / np.where(s == 0, 1, s)) ** 2 - zeta64(2.0, 1 - x))
    return piecewise(x, [(x > 0, lambda x: zeta64(2.0, x)), (x <= 0, reflected)])


def polygamma_ref(x, *, n):
    if n == 0:
        return by_precision(digamma64)(x)
    if n == 1:
        return by_precision(trigamma64)(x)
    sign = 1.0 if n % 2 else -1.0
    return by_precision(lambda x: sign * math.factorial(n) * zeta64(n + 1.0, x))(x)


# ---------------------------------------------------------------------------------------------------- incomplete gamma
def _prefix(a, x):
    """x**a exp(-x) / Gamma(a + 1)."""
    big = a >= 8
    b = np.where(big, a, 8.0)
    u = (x - b) / b
    with np.errstate(all="ignore"):
        log = np.where(np.abs(u) < 0.5, np.log1p(u), np.log(x / b))
        smooth = np.exp(b * (log - u) - stirling_rest(b)) / np.sqrt(2 * math.pi * b)
        c = np.where(big, 1.0, a)
        small = np.exp(c * np.log(x) - x - _lgamma_positive(c + 1))
    return np.where(big, smooth, small)


def _series(a, x):
    """The lower function's series, over the prefix: sum of x**k / ((a + 1) ... (a + k))."""
    term = total = np.ones_like(x)
    n = a
    for _ in range(20000):
        n = n + 1
        term = term * (x / n)
        total = total + term
        if not (term > 1e-17 * total).any():
            break
    return total


def _fraction(a, x):
    """The upper function's continued fraction, over `prefix * a`, by Lentz' method."""
    tiny = 1e-300
    b = x + 1 - a
    c = np.full_like(x, 1 / tiny)
    d = 1 / np.where(b == 0, tiny, b)
    h = d
    done = np.isnan(h)
    for i in range(1, 20000):
        an = -i * (i - a)
        b = b + 2
        d = an * d + b
        d = 1 / np.where(d == 0, tiny, d)
        c = b + an / c
        c = np.where(c == 0, tiny, c)
        step = np.where(done, 1, d * c)
        h = h * step
        done |= np.abs(step - 1) < 4e-16
        if done.all():
            break
    return h


def gamma_pq(a, x, upper: bool):
    """Regularised lower (or upper) incomplete gamma function of float64 arrays."""
    a, x = np.broadcast_arrays(a, x)
    shape = a.shape
    a, x = a.reshape(-1), x.reshape(-1)
    out = np.full(a.shape, np.nan)
    ok = (a >= 0) & (x >= 0) & ~((a == 0) & (x == 0)) & ~(np.isinf(a) & np.isinf(x))
    edge_one = ok & ((a == 0) | (np.isinf(x)))               # P = 1
    edge_zero = ok & ~edge_one & ((x == 0) | np.isinf(a))    # P = 0
    out[edge_one] = 0.0 if upper else 1.0
    out[edge_zero] = 1.0 if upper else 0.0
    rest = ok & ~edge_one & ~edge_zero
    by_series = rest & ((x <= 1) & ~(upper & (a < 1) & (x > 0.3)) | (x <= a))
    by_fraction = rest & ~by_series
    if by_series.any():
        s, t = a[by_series], x[by_series]
        p = _prefix(s, t) * _series(s, t)
        out[by_series] = 1 - p if upper else p
    if by_fraction.any():
        s, t = a[by_fraction], x[by_fraction]
        q = _prefix(s, t) * s * _fraction(s, t)
        out[by_fraction] = q if upper else 1 - q
    return out.reshape(shape)


def incomplete_ref(upper):
    def ref(a, x):
        return gamma_pq(a.astype(np.float64), x.astype(np.float64), upper).astype(a.dtype)
    return ref


# ---------------------------------------------------------------------------------------------------- operators
real_function("lgamma", by_precision(lgamma64), lambda g, input: F.mul(g, F.digamma(input)), ns="", domain=(0.5, 4),
              module=__name__,
              doc="The logarithm of the absolute value of the gamma function.")
real_function("digamma", by_precision(digamma64), lambda g, input: F.mul(g, F.polygamma(1, input)), ns=("", "special"),
              domain=(0.5, 4),
              module=__name__, doc="The derivative of lgamma.")


@primitive(POINT, args="input", name="polygamma_", ref=polygamma_ref, infer=point_infer, promote=FLOAT, forms="", ns=(),
           vjp={"input": lambda g, input, n: F.mul(g, F.polygamma(n + 1, input))},
           samples=lambda m: [((m.t(3, 4, low=0.5, high=4),), {"n": 1}), ((m.t(2, 0),), {"n": 2}),
                              ((m.t(5, low=0.5, high=4),), {"n": 3})])
def polygamma_kernel(input, n):
    """The n-th derivative of digamma."""
    return (input,), {"n": n}


@composite(forms="function out", samples=lambda m: [((1, m.t(3, 4, low=0.5, high=4)), {}), ((0, m.t(2, 0)), {}),
                                                    ((2, m.t(5, low=0.5, high=4)), {})])
def polygamma(n, input):
    """The n-th derivative of digamma, n >= 0."""
    if is_tensor(n):
        n, input = input, n                     # the method form: x.polygamma(n)
    need_tensor(input, "polygamma", "input", 2)
    if n < 0:
        fail(RuntimeError, "P145", "polygamma(n, x) does not support negative n.", got=f"n={n}")
    if input.dtype.category == dt.COMPLEX:
        not_implemented("polygamma", input.dtype)
    return getattr(F, "polygamma_")(input, n=int(n))


@composite(name="polygamma_method", public="polygamma", forms="method inplace",
           samples=lambda m: [((m.t(*shape, low=0.5, high=3), n), {}) for n, shape in ((1, (3, 4)), (0, (2, 0)), (2, (5,)))])
def polygamma_method(input, n):
    """The n-th derivative of digamma, n >= 0."""
    return F.polygamma(n, input)


@composite(forms="function method inplace out",
           samples=lambda m: [((m.t(3, 4, low=3, high=6), 2), {}), ((m.t(2, 0), 1), {}), ((m.t(5, low=3, high=6), 3), {})])
def mvlgamma(input, p):
    """The logarithm of the multivariate gamma function of dimension `p`, elementwise; needs input > (p - 1) / 2."""
    if p < 1:
        fail(RuntimeError, "P146", "p has to be greater than or equal to 1", got=f"p={p}")
    if input.dtype.category < dt.FLOAT:
        input = F.convert(input, dt.get_default_dtype())
    total = F.lgamma(input)
    for j in range(1, p):
        total = F.add(total, F.lgamma(F.sub(input, j / 2)))
    return F.add(total, p * (p - 1) / 4 * math.log(math.pi))


def _fixed_first(m):
    """Samples whose first operand wants no gradient."""
    t = lambda *s: m.t(*s, low=1.5, high=4)      # noqa: E731
    return [((t(3, 4).detach(), t(3, 4)), {}), ((t(2, 1, 3).detach(), t(4, 1)), {}), ((t(0, 3).detach(), t(3)), {})]


binary("special_zeta", zeta_ref,
       {"other": lambda g, input, other: F.neg(F.mul(g, F.mul(input, F.special_zeta(F.add(input, 1), other))))},
       takes="NN", promote=FLOAT, refuse="complex", samples=_fixed_first, forms="function out", ns="special", public="zeta",
       module=__name__,
       doc="Hurwitz' zeta function: the sum over k >= 0 of (k + other) ** -input.")


def _igamma_slope(g, input, other):
    log = F.sub(F.sub(F.mul(F.sub(input, 1), F.log(other)), other), F.lgamma(input))
    return F.mul(g, F.exp(log))


binary("igamma", incomplete_ref(False), {"other": _igamma_slope}, takes="TT", promote=FLOAT, refuse="complex",
       samples=_fixed_first, module=__name__,
       doc="The regularised lower incomplete gamma function P(input, other). Differentiable in `other`.")
binary("igammac", incomplete_ref(True), {"other": lambda g, input, other: F.neg(_igamma_slope(g, input, other))}, takes="TT",
       promote=FLOAT,
       refuse="complex", samples=_fixed_first, module=__name__,
       doc="The regularised upper incomplete gamma function Q(input, other). Differentiable in `other`.")
