"""Mathematical functions as short programs of exactly rounded steps: one source for native code and for printed kernels.

In: a machine `m` and values of it. A machine has arithmetic on its values by operators, and `fma mad select compare abs sqrt
rint whole floor ceil trunc copysign bits unbits toint tofloat power scale isnan widen narrow const rare libm`; `native.ssa`'s
Writer is one (values are lanes of LLVM), the module `scalars` another (values are NumPy's). Out: a value of the same dtype.

True always: float32 results are within 2 ULP of the exact ones over the whole range, with C's results for infinities, nan,
signed zeros, denormals and overflow; float64's are within 2 ULP too, or the C library's. `mad` is `fma` where the machine has
it, else two roundings: machines with `fma` agree to the bit.

Sources. Cephes: S. Moshier, Methods and Programs for Mathematical Functions, 1989, and netlib.org/cephes (expf, exp2f, logf,
sinf, tanf, asinf, atanf, sinhf, tanhf and exp, log, tanh of double precision). erf: N. Juffa, stackoverflow.com/a/35148199
(2-clause BSD). Coefficients marked "fitted" come from Remez' exchange algorithm in 40 digits, on the interval that is named.
"""
from __future__ import annotations

import math
from collections.abc import Callable

LOG2E = 1.4426950408889634
# ln 2 in two parts: the first has few bits, so that n * part is exact
LN2_HI, LN2_LO = 0.693359375, -2.12194440e-4
LN2_HI64, LN2_LO64 = 6.93145751953125e-1, 1.42860682030941723212e-6
SMALLEST, SMALLEST64 = 1.17549435e-38, 2.2250738585072014e-308


def poly(m, x, *coefficients: float):
    """Horner's rule, highest power first."""
    first, second, *rest = coefficients
    r = m.mad(x, first, second)
    for c in rest:
        r = m.mad(r, x, c)
    return r


def clamp(m, x, low: float, high: float):
    """x within [low, high]; nan stays."""
    x = m.select(x < low, low, x)
    return m.select(x > high, high, x)


# ---------------------------------------------------------------------------------------------------- float32: exponentials
def reduced(m, x):
    """(n, e^r - 1) with x = n ln 2 + r, by a polynomial fitted on [-0.3467, 0.3467]."""
    n = m.whole(x * LOG2E)
    r = m.fma(n, -LN2_LO, m.fma(n, -LN2_HI, x))
    p = poly(m, r, 0.00138145599506, 0.00836873556208, 0.0416683898573, 0.166665204777, 0.499999934374)
    return n, m.fma(p, r * r, r)


def exp(m, x):
    n, p = reduced(m, clamp(m, x, -104.0, 89.0))
    return m.scale(p + 1.0, n)


def exp_inside(m, x):
    """e^x for x where the result is normal (elsewhere: anything)."""
    n, p = reduced(m, x)
    return m.scale(p + 1.0, n)


def half_exp(m, t):
    """e^t / 2 for t >= 0."""
    n, p = reduced(m, m.select(t > 90.0, 90.0, t))
    return m.scale(p + 1.0, n - 1.0)


def exp2(m, x):
    x = clamp(m, x, -151.0, 129.0)
    n = m.whole(x)
    r = x - n
    p = poly(m, r, 1.535336188319500e-4, 1.339887440266574e-3, 9.618437357674640e-3, 5.550332471162809e-2, 2.402264791363012e-1,
             6.931472028550421e-1)
    return m.scale(m.fma(p, r, 1.0), n)


def expm1(m, x):
    n, p = reduced(m, clamp(m, x, -18.0, 89.0))
    s = m.power(n - 1.0)                               # 2^n may overflow where the result does not
    r = m.fma(p, s, s - 0.5)
    return m.select(m.abs(x) < 3e-8, x, r + r)


def sinh(m, x):
    t = m.abs(x)
    e = half_exp(m, t)
    q = x * x
    p = poly(m, q, 2.03721912945e-4, 8.33028376239e-3, 1.66667160211e-1)
    return m.select(t > 1.0, m.copysign(e - 0.25 / e, x), m.fma(p * q, x, x))


def cosh(m, x):
    e = half_exp(m, m.abs(x))
    return e + 0.25 / e


def tanh(m, x):
    t = m.abs(x)
    q = x * x
    e = exp_inside(m, m.select(t > 20.0, 40.0, t + t))
    p = poly(m, q, -5.70498872745e-3, 2.06390887954e-2, -5.37397155531e-2, 1.33314422036e-1, -3.33332819422e-1)
    return m.copysign(m.select(t > 0.625, 1.0 - 2.0 / (e + 1.0), m.fma(p * q, t, t)), x)


def sigmoid(m, x):
    """With e = e^-|x|: 1 / (1 + e), or e times it. The quotient is refined with what 1 + e lost."""
    t = -m.abs(x)
    n, p = reduced(m, m.select(t < -104.0, -104.0, t))
    e = m.scale(p + 1.0, n)
    s = 1.0 + e
    q = 1.0 / s
    q = m.fma(-q, m.fma(s, q, -1.0) + ((1.0 - s) + e) * q, q)
    return m.select(x >= 0.0, q, e * q)


# ---------------------------------------------------------------------------------------------------- float32: logarithms
def split(m, x):
    """(n, f) with x = 2^n (1 + f), f between sqrt(1/2) - 1 and sqrt(2) - 1, for positive finite x."""
    tiny = x < SMALLEST
    i = m.bits(m.select(tiny, x * 2.0 ** 25, x))
    e = (i - 0x3F3504F3) >> 23
    n = m.tofloat(e)
    return m.select(tiny, n - 25.0, n), m.unbits(i - (e << 23)) - 1.0


def log_rest(m, f):
    """log(1 + f) - f (Cephes' logf)."""
    z = f * f
    p = poly(m, f, 7.0376836292e-2, -1.1514610310e-1, 1.1676998740e-1, -1.2420140846e-1, 1.4249322787e-1, -1.6668057665e-1,
             2.0000714765e-1, -2.4999993993e-1, 3.3333331174e-1)
    return m.fma(z, -0.5, f * z * p)


def log_ends(m, x, r):
    """`r`, or what logarithms give at the ends of their range."""
    r = m.select(x < math.inf, r, x)
    return m.select(x > 0.0, r, m.select(m.compare("eq", x, 0.0), -math.inf, m.const(math.nan, x.dtype)))


def log(m, x):
    n, f = split(m, x)
    r = m.fma(n, LN2_LO, log_rest(m, f))
    return log_ends(m, x, m.fma(n, LN2_HI, f + r))


def log_by(m, x, by: float, by_rest: float, whole: float, whole_rest: float):
    """log(x) times a constant: the logarithm and the constant in two parts each."""
    n, f = split(m, x)
    r = log_rest(m, f)
    high = f + r
    low = (f - high) + r
    part = m.fma(high, by, m.fma(high, by_rest, m.fma(low, by, n * whole_rest)))
    return log_ends(m, x, m.fma(n, whole, part))


def log2(m, x):
    return log_by(m, x, 1.44269502162933349609375, 1.92596299112661746887e-8, 1.0, 0.0)


def log10(m, x):
    return log_by(m, x, 0.4342944920063018798828125, -1.0103050118726031315e-8, 0.301025390625, 4.6050389811952137389e-6)


def log1p(m, x):
    """The logarithm of 1 + x, whose exponent decides what x is scaled by before 1 is added to it."""
    big = x > 1e30
    y = m.select(big, 1.0, x)
    e = (m.bits(y + 1.0) - 0x3F3504F3) >> 23
    n = m.tofloat(e)
    s = m.power(-n)
    f = m.fma(y, s, s - 1.0)
    r = m.fma(n, LN2_LO, log_rest(m, f))
    r = m.select(big, log(m, x), m.fma(n, LN2_HI, f + r))
    r = m.select(x > -1.0, r, m.select(m.compare("eq", x, -1.0), -math.inf, m.const(math.nan, x.dtype)))
    return m.select(m.abs(x) < 3e-8, x, r)


# ---------------------------------------------------------------------------------------------------- float32: error functions
def erf_small(m, x, q):
    p = poly(m, q, -5.96761703e-4, 4.99119423e-3, -2.67681349e-2, 1.12819925e-1, -3.76125336e-1, 1.28379166e-1)
    return m.fma(p, x, x)


def erf(m, x):
    t = m.abs(x)
    q = x * x
    r = m.fma(t, -1.72853470e-5, 3.83197126e-4)
    u = m.fma(t, -3.88396438e-3, 2.42546219e-2)
    r = m.fma(r, q, u)
    for c in (-1.06777877e-1, -6.34846687e-1, -1.28717512e-1):
        r = m.fma(r, t, c)
    big = 1.0 - exp_inside(m, m.fma(r, t, -t))
    big = m.select(t > 4.0, 1.0, big)
    return m.select(t > 0.927734375, m.copysign(big, x), erf_small(m, x, q))


def erfc(m, x):
    """e^(-x^2) times a polynomial (fitted for erfc(x) e^(x^2) (1 + 2x) on [0.47, 10.1], after M. Shepherd and J. Laframboise,
    1981), in float64."""
    t = m.abs(x)
    w = m.widen(m.select(t > 10.5, 10.5, t))
    q = (w - 4.0) / (w + 4.0)
    p = poly(m, q, -0.0005235809440461125, -0.00088810235637616796, 0.0051511898983937353, -0.016110468953810132, 0.037156346085696296,
             -0.066347141520964039, 0.093732554691709938, -0.10103775876680918, 0.068097114345082593, 0.015379615345959149,
             -0.13962111793291685, 1.2329951187970779)
    r = p / (1.0 + w + w) * wide_exp2(m, w * w * -LOG2E)
    r = m.narrow(m.select(m.widen(x) < 0.0, 2.0 - r, r))
    return m.select(t < 0.47, 1.0 - erf_small(m, x, x * x), r)


def wide_exp2(m, z):
    """2^z in float64 to 10 digits, for -1000 < z < 1000 (fitted on [-1/2, 1/2])."""
    n = m.whole(z)
    r = z - n
    p = poly(m, r, 1.5201923227886917e-5, 0.00015469291148894633, 0.0013333922556294351, 0.0096180272536438107, 0.055504103534569235,
             0.24022651198157889, 0.69314718072844457, 0.99999999996168176)
    return p * m.power(n)


def pow(m, x, y):
    """2^(y log2 x) in float64 (the logarithm by atanh, fitted for arguments up to 0.1716)."""
    t = m.widen(m.abs(x))                              # no float32 is a denormal here
    i = m.bits(t)
    e = (i - 0x3FE6A09E667F3BCD) >> 52
    f = m.unbits(i - (e << 52))
    s = (f - 1.0) / (f + 1.0)
    z = s * s
    p = poly(m, z, 0.097920891030621829, 0.11088093196708988, 0.14286054613036573, 0.19999997810527132, 0.33333333337901885)
    part = (2.0 * LOG2E) * (s * (z * p)) + (2.0 * LOG2E) * s
    log_ = m.narrow_whole(e) + part
    log_ = m.select(t > 0.0, m.select(t < math.inf, log_, math.inf), -math.inf)
    log_ = m.select(m.isnan(t), t, log_)
    r = m.narrow(wide_exp2(m, clamp(m, m.widen(y) * log_, -300.0, 300.0)))
    half = y * 0.5
    whole = m.compare("eq", m.trunc(y), y)
    odd = whole & m.compare("ne", m.trunc(half), half)
    negative = x < 0.0
    r = m.select(negative & m.not_(whole) & (t < math.inf), m.const(math.nan, x.dtype), r)
    r = m.select(odd, m.copysign(r, x), r)
    one = m.compare("eq", m.abs(x), 1.0) & m.compare("eq", m.abs(y), math.inf)
    one = one | m.compare("eq", x, 1.0) | m.compare("eq", y, 0.0)
    return m.select(one, 1.0, r)


# ---------------------------------------------------------------------------------------------------- float32: circular functions
FAR = 48000.0       # beyond it, the multiple of pi/2 is not exact any more: the C library then
PI_2_HI, PI_2_MID, PI_2_LO = 1.57079601287841796875, 3.1391647326e-7, 5.39030295347e-15      # pi/2 in three parts (N. Juffa)


def quarter(m, x):
    """(n as an integer, r, and the sine and cosine of r) with x = n pi/2 + r (Cephes' sinf and cosf)."""
    n = m.whole(x * 0.636619772)
    r = m.fma(n, -PI_2_HI, x)
    r = m.fma(n, -PI_2_MID, r)
    r = m.fma(n, -PI_2_LO, r)
    z = r * r
    s = poly(m, z, -1.9515295891e-4, 8.3321608736e-3, -1.6666654611e-1)
    c = poly(m, z, 2.443315711809948e-5, -1.388731625493765e-3, 4.166664568298827e-2)
    return m.toint(n), r, m.fma(s * z, r, r), m.fma(z, m.fma(z, c, -0.5), 1.0)


def sin(m, x):
    t = m.select(m.abs(x) <= FAR, x, 0.0)
    n, _, s, c = quarter(m, t)
    r = m.select(m.compare("ne", n & 1, 0), c, s)
    r = m.select(m.compare("ne", n & 2, 0), -r, r)
    r = m.select(m.compare("eq", x, 0.0), x, r)
    return m.rare(m.not_(m.abs(x) <= FAR), r, lambda: m.libm("sin", x))


def cos(m, x):
    t = m.select(m.abs(x) <= FAR, x, 0.0)
    n, _, s, c = quarter(m, t)
    r = m.select(m.compare("ne", n & 1, 0), s, c)
    r = m.select(m.compare("ne", (n + 1) & 2, 0), -r, r)
    return m.rare(m.not_(m.abs(x) <= FAR), r, lambda: m.libm("cos", x))


def tan(m, x):
    """In float64 (fitted on [0, pi/4])."""
    t = m.widen(m.select(m.abs(x) <= FAR, x, 0.0))
    n = m.whole(t * 0.63661977236758134308)
    r = m.fma(n, -6.123233995736766e-17, m.fma(n, -math.pi / 2, t))
    z = r * r
    p = r * poly(m, z, 0.0044235121121524682, -1.850321077683332e-5, 0.01093446890402666, 0.021236435368314426, 0.054071230388576254,
                 0.13332520801252237, 0.33333357547706372, 0.99999999882425104)
    half = n * 0.5
    odd = m.compare("ne", m.whole(half), half)
    p = m.narrow(m.select(odd, -1.0, p) / m.select(odd, p, 1.0))
    p = m.select(m.compare("eq", x, 0.0), x, p)
    return m.rare(m.not_(m.abs(x) <= FAR), p, lambda: m.libm("tan", x))


PI_2, PI_2_REST = 1.57079637050628662109375, -4.37113900018624283e-8


def asin_part(m, x):
    """(whether |x| > 1/2, y, asin(y) - y) with y = x, or the square root of (1 - |x|) / 2 (Cephes' asinf)."""
    t = m.abs(x)
    big = t > 0.5
    z = m.select(big, m.fma(t, -0.5, 0.5), x * x)
    y = m.select(big, m.sqrt(z), t)
    p = poly(m, z, 4.2163199048e-2, 2.4181311049e-2, 4.5470025998e-2, 7.4953002686e-2, 1.6666752422e-1)
    return big, y, p * z * y


def asin(m, x):
    big, y, rest = asin_part(m, x)
    r = y + rest
    far = PI_2 - (2.0 * y + (2.0 * rest - PI_2_REST))
    return m.copysign(m.select(big, far, r), x)


def acos(m, x):
    big, y, rest = asin_part(m, x)
    negative = x < 0.0
    r = y + rest
    far = m.select(negative, 2.0 * (PI_2 - (r - PI_2_REST)), r + r)
    near = PI_2 - (m.copysign(y, x) + (m.copysign(rest, x) - PI_2_REST))
    return m.select(big, far, near)


def atan(m, x):
    """A polynomial (fitted on [0, 1]) in |x| or 1/|x|."""
    t = m.abs(x)
    far = t > 1.0
    q = m.select(far, 1.0 / t, t)
    z = q * q
    p = q * (z * poly(m, z, 0.00292069977078, -0.016367956645, 0.0432119046797, -0.0755221774984, 0.106660061344, -0.142110556476,
                      0.199937728711, -0.333331527373))
    return m.copysign(m.select(far, PI_2 - (q + (p - PI_2_REST)), q + p), x)


def atan2(m, y, x):
    """In float64 (atan fitted on [0, 1])."""
    a, b = m.abs(m.widen(y)), m.abs(m.widen(x))
    swap = a > b
    small, large = m.select(swap, b, a), m.select(swap, a, b)
    q = small / m.select(m.compare("eq", large, 0.0), 1.0, large)
    q = m.select(m.compare("eq", small, math.inf), 1.0, q)
    q = m.select(m.isnan(a) | m.isnan(b), m.const(math.nan, q.dtype), q)
    z = q * q
    r = q * poly(m, z, -0.0006848042591122168, 0.0048509971045241834, -0.016111827606651428, 0.03420980038012863, -0.054279262576932525,
                 0.072457263084563091, -0.089802417235981935, 0.11093241788898576, -0.1428398082066425, 0.1999991205501197,
                 -0.33333331571294234, 0.99999999994123945)
    r = m.select(swap, math.pi / 2 - r, r)
    r = m.select(m.copysign(m.const(1.0, x.dtype), x) < 0.0, math.pi - r, r)
    return m.copysign(m.narrow(r), y)


FLOAT32: dict[str, Callable] = {f.__name__: f for f in (
    exp, exp2, expm1, sinh, cosh, tanh, sigmoid, log, log2, log10, log1p, erf, erfc, pow, sin, cos, tan, asin, acos, atan, atan2)}


# ---------------------------------------------------------------------------------------------------- float64
def exp64(m, x):
    """Cephes' exp."""
    x = clamp(m, x, -746.0, 710.0)
    n = m.whole(x * LOG2E)
    r = m.fma(n, -LN2_HI64, x)
    r = m.fma(n, -LN2_LO64, r)
    z = r * r
    p = r * poly(m, z, 1.26177193074810590878e-4, 3.02994407707441961300e-2, 9.99999999999999999910e-1)
    q = poly(m, z, 3.00198505138664455042e-6, 2.52448340349684104192e-3, 2.27265548208155028766e-1, 2.00000000000000000009e0)
    return m.scale(1.0 + 2.0 * (p / (q - p)), n)


def log64(m, x):
    """Cephes' log."""
    tiny = x < SMALLEST64
    i = m.bits(m.select(tiny, x * 2.0 ** 54, x))
    e = (i - 0x3FE6A09E667F3BCD) >> 52
    n = m.narrow_whole(e)
    n = m.select(tiny, n - 54.0, n)
    f = m.unbits(i - (e << 52)) - 1.0
    z = f * f
    p = poly(m, f, 1.01875663804580931796e-4, 4.97494994976747001425e-1, 4.70579119878881725854e0, 1.44989225341610930846e1,
             1.79368678507819816313e1, 7.70838733755885391666e0)
    q = poly(m, f, 1.0, 1.12873587189167450590e1, 4.52279145837532221105e1, 8.29875266912776603211e1, 7.11544750618563894466e1,
             2.31251620126765340583e1)
    r = m.fma(z, -0.5, m.fma(n, -2.121944400546905827679e-4, f * (z * p / q)))
    return log_ends(m, x, m.fma(n, 0.693359375, f + r))


def tanh64(m, x):
    """Cephes' tanh."""
    t = m.abs(x)
    z = x * x
    p = poly(m, z, -9.64399179425052238628e-1, -9.92877231001918586564e1, -1.61468768441708447952e3)
    q = poly(m, z, 1.0, 1.12811678491632931402e2, 2.23548839060100448583e3, 4.84406305325125486048e3)
    e = exp64(m, m.select(t > 30.0, 60.0, t + t))
    return m.copysign(m.select(t >= 0.625, 1.0 - 2.0 / (e + 1.0), m.fma(t * z, p / q, t)), x)


def sigmoid64(m, x):
    e = exp64(m, -m.abs(x))
    return m.select(x >= 0.0, 1.0, e) / (1.0 + e)


FLOAT64: dict[str, Callable] = {"exp": exp64, "log": log64, "tanh": tanh64, "sigmoid": sigmoid64}


# ---------------------------------------------------------------------------------------------------- both
def rsqrt(m, x):
    return 1.0 / m.sqrt(x)


def rem(m, x, y):
    return m.libm("fmod", x, y)


def mod(m, x, y):
    """Python's remainder: fmod, moved to the divisor's sign."""
    r = m.libm("fmod", x, y)
    wrong = m.compare("ne", r, 0.0) & ((r < 0.0) ^ (y < 0.0))
    return m.select(m.compare("eq", r, 0.0), m.copysign(r, y), m.select(wrong, r + y, r))


def floordiv(m, x, y):
    """The quotient rounded down, as CPython and NumPy compute it: from the remainder, so that it is exact."""
    r = m.libm("fmod", x, y)
    q = (x - r) / y
    wrong = m.compare("ne", r, 0.0) & ((r < 0.0) ^ (y < 0.0))
    q = m.select(wrong, q - 1.0, q)
    f = m.floor(q)
    f = m.select(q - f > 0.5, f + 1.0, f)
    f = m.select(m.compare("eq", q, 0.0), m.copysign(q * 0.0, x / y), f)
    return m.select(m.compare("eq", y, 0.0), x / y, f)


ANY: dict[str, Callable] = {"rsqrt": rsqrt, "rem": rem, "mod": mod, "floordiv": floordiv}
DIRECT = frozenset(("sqrt", "floor", "ceil", "trunc", "rint"))


def call(m, name: str, *args):
    """`name` of ir.MATH, or floordiv, mod, rem, on values of one dtype."""
    if name in DIRECT:
        return getattr(m, name)(*args)
    found = ANY.get(name) or (FLOAT64 if args[0].dtype.itemsize == 8 else FLOAT32).get(name)
    return m.libm(name, *args) if found is None else found(m, *args)
