"""The error function and its relatives: erf, erfc, erfcx, erfinv, the normal distribution's functions, and gelu.

The numerics work on float32 and float64 arrays. float64 follows W. J. Cody's method with the coefficients of FreeBSD's
`s_erf.c` (Sun Microsystems 1993, freely granted); float32 uses the rational approximation of the Eigen library (`erf`,
|x| < 4). `erfinv` starts from a rational guess and takes two of Halley's steps; `ndtri` is Cephes' (S. L. Moshier).
"""
from __future__ import annotations

import math

from ._common import dt, fail, np
from .activation import activation
from .elementwise import unary
from .op import FLOAT, F, composite
from .rounding import blocked

# ---------------------------------------------------------------------------------------------------- numerics
_SMALL = ((1.28379167095512558561e-01, -3.25042107247001499370e-01, -2.84817495755985104766e-02, -5.77027029648944159157e-03,
           -2.37630166566501626084e-05),
          (1.0, 3.97917223959155352819e-01, 6.50222499887672944485e-02, 5.08130628187576562776e-03, 1.32494738004321644526e-04,
           -3.96022827877536812320e-06))
_NEAR_ONE = 8.45062911510467529297e-01
_MIDDLE = ((-2.36211856075265944077e-03, 4.14856118683748331666e-01, -3.72207876035701323847e-01, 3.18346619901161753674e-01,
            -1.10894694282396677476e-01, 3.54783043256182359371e-02, -2.16637559486879084300e-03),
           (1.0, 1.06420880400844228286e-01, 5.40397917702171048937e-01, 7.18286544141962662868e-02, 1.26171219808761642112e-01,
            1.36370839120290507362e-02, 1.19844998467991074170e-02))
_LARGE = ((-9.86494403484714822705e-03, -6.93858572707181764372e-01, -1.05586262253232909814e+01, -6.23753324503260060396e+01,
           -1.62396669462573470355e+02, -1.84605092906711035994e+02, -8.12874355063065934246e+01, -9.81432934416914548592e+00),
          (1.0, 1.96512716674392571292e+01, 1.37657754143519042600e+02, 4.34565877475229228821e+02, 6.45387271733267880336e+02,
           4.29008140027567833386e+02, 1.08635005541779435134e+02, 6.57024977031928170135e+00, -6.04244152148580987438e-02))
_HUGE = ((-9.86494292470009928597e-03, -7.99283237680523006574e-01, -1.77579549177547519889e+01, -1.60636384855821916062e+02,
          -6.37566443368389627722e+02, -1.02509513161107724954e+03, -4.83519191608651397019e+02),
         (1.0, 3.03380607434824582924e+01, 3.25792512996573918826e+02, 1.53672958608443695994e+03, 3.19985821950859553908e+03,
          2.55305040643316442583e+03, 4.74528541206955367215e+02, -2.24409524465858183362e+01))
_FLOAT32 = ((-1.60960333262415e-02, -2.95459980854025e-03, -7.34990630326855e-04, -5.69250639462346e-05, -2.10102402082508e-06,
             2.77068142495902e-08, -2.72614225801306e-10),
            (-1.42647390514189e-02, -7.37332916720468e-03, -1.68282697438203e-03, -2.13374055278905e-04, -1.45660718464996e-05))


def polynomial(x, coefficients):
    """`c[0] + c[1] x + c[2] x**2 + ...` by Horner's rule."""
    kind = x.dtype.type
    r = x * kind(coefficients[-1])
    for c in coefficients[-2:0:-1]:
        r += kind(c)
        r *= x
    r += kind(coefficients[0])
    return r


def ratio(x, pair):
    """The quotient of two polynomials."""
    return polynomial(x, pair[0]) / polynomial(x, pair[1])


def piecewise(x, pieces):
    """An array like `x`: for each (mask, function), the function of the elements under the mask; nan elsewhere."""
    out = np.full(x.shape, np.nan, x.dtype)
    for mask, f in pieces:
        if mask.all():
            return f(x)
        if mask.any():
            out[mask] = f(x[mask])
    return out


def exp_minus_square(x):
    """exp(-x*x) with the square split, so that its rounding does not spoil the result."""
    z = (x.view(np.int64) & np.int64(-(1 << 32))).view(np.float64)
    return np.exp(-z * z) * np.exp((z - x) * (z + x))


def _tail(x):
    """`x exp(x**2) erfc(x)` for x >= 1.25."""
    s = 1 / (x * x)
    big = x >= 1 / 0.35
    r = np.where(big, ratio(s, _HUGE), ratio(s, _LARGE))
    return np.exp(r - 0.5625)


def erf64(x):
    x = np.atleast_1d(x)
    a = np.abs(x)

    def large(x):
        a = np.minimum(np.abs(x), 6.0)
        return np.copysign(1 - exp_minus_square(a) * _tail(a) / a, x)
    return piecewise(x, [(a < 0.84375, lambda x: x + x * ratio(x * x, _SMALL)),
                         ((a >= 0.84375) & (a < 1.25), lambda x: np.copysign(_NEAR_ONE + ratio(np.abs(x) - 1, _MIDDLE), x)),
                         (a >= 1.25, large)])


def erfc64(x):
    x = np.atleast_1d(x)
    a = np.abs(x)

    def middle(x):
        s = ratio(np.abs(x) - 1, _MIDDLE)
        return np.where(x >= 0, 1 - _NEAR_ONE - s, 1 + (_NEAR_ONE + s))

    def large(x):
        a = np.minimum(np.abs(x), 28.0)
        r = exp_minus_square(a) * _tail(a) / a
        return np.where(x > 0, r, 2 - r)

    def small(x):
        y = x * ratio(x * x, _SMALL)
        return np.where(x < 0.25, 1 - (x + y), 0.5 - (x - 0.5 + y))
    return piecewise(x, [(a < 0.84375, small), ((a >= 0.84375) & (a < 1.25), middle), (a >= 1.25, large)])


def erfcx64(x):
    """exp(x**2) erfc(x)."""
    x = np.atleast_1d(x)

    def large(x):
        s = 1 / (x * x)
        far = polynomial(s, (1.0, -1 / 2, 3 / 4, -15 / 8, 105 / 16, -945 / 32, 10395 / 64)) / math.sqrt(math.pi)
        return np.where(x < 28, _tail(np.minimum(x, 28.0)), far) / x
    return piecewise(x, [(x >= 1.25, large), (x <= -1.25, lambda x: 2 * np.exp(x * x) - large(-x)),
                         (np.abs(x) < 1.25, lambda x: np.exp(x * x) * erfc64(x))])


def erf32(x):
    x = x.clip(-4, 4)
    square = x * x
    return x * polynomial(square, _FLOAT32[0]) / polynomial(square, _FLOAT32[1])


def by_precision(f64, f32=None):
    """A reference for float32 and float64 arrays; float32 goes through float64 unless it has a version of its own."""
    def run(x, **attrs):
        if x.dtype == np.float64:
            return f64(x, **attrs).reshape(x.shape)
        if f32 is not None:
            return f32(x, **attrs)
        return f64(x.astype(np.float64), **attrs).astype(x.dtype).reshape(x.shape)
    return run


erf_ref = by_precision(blocked(erf64), blocked(erf32))
erfc_ref = by_precision(blocked(erfc64))


def erfinv64(y):
    """A rational guess (as in many libraries, after J. M. Blair 1976), then two of Halley's steps."""
    y = np.atleast_1d(y)
    a = np.abs(y)
    inner = a <= 0.7
    z = np.where(inner, y * y, 0)
    x = y * polynomial(z, (0.886226899, -1.645349621, 0.914624893, -0.140543331)) / polynomial(
        z, (1.0, -2.118377725, 1.442710462, -0.329097515, 0.012229801))
    with np.errstate(invalid="ignore", divide="ignore"):
        t = np.sqrt(-np.log((1 - a) / 2))
        far = np.copysign(polynomial(t, (-1.970840454, -1.624906493, 3.429567803, 1.641345311))
                          / polynomial(t, (1.0, 3.543889200, 1.637067800)), y)
    x = np.where(inner, x, far)
    for _ in range(2):
        error = np.where(inner, erf64(np.where(inner, x, 0)) - y, np.copysign((1 - a) - erfc64(np.abs(x)), y))
        step = error / (2 / math.sqrt(math.pi) * np.exp(-x * x))
        x = x - step / (1 + x * step)
    return np.where(a == 1, np.copysign(np.inf, y), np.where(a > 1, np.nan, x))


SQRT1_2 = math.sqrt(0.5)
_P0 = (-1.23916583867381258016e0, 1.39312609387279679503e1, -5.66762857469070293439e1, 9.80010754185999661536e1,
       -5.99633501014107895267e1)
_Q0 = (-1.18331621121330003142e0, 1.59056225126211695515e1, -8.20372256168333339912e1, 2.00260212380060660359e2,
       -2.25462687854119370527e2, 8.63602421390890590575e1, 4.67627912898881538453e0, 1.95448858338141759834e0, 1.0)
_P1 = (-8.57456785154685413611e-4, -3.50424626827848203418e-2, -1.40256079171354495875e-1, 2.18663306850790267539e0,
       1.46849561928858024014e1, 4.40805073893200834700e1, 5.71628192246421288162e1, 3.15251094599893866154e1,
       4.05544892305962419923e0)
_Q1 = (-9.33259480895457427372e-4, -3.80806407691578277194e-2, -1.42182922854787788574e-1, 2.50464946208309415979e0,
       1.50425385692907503408e1, 4.13172038254672030440e1, 4.53907635128879210584e1, 1.57799883256466749731e1, 1.0)
_P2 = (6.23974539184983293730e-9, 2.65806974686737550832e-6, 3.01581553508235416007e-4, 1.23716634817820021358e-2,
       2.01485389549179081538e-1, 1.33303460815807542389e0, 3.93881025292474443415e0, 6.91522889068984211695e0,
       3.23774891776946035970e0)
_Q2 = (6.79019408009981274425e-9, 2.89247864745380683936e-6, 3.28014464682127739104e-4, 1.34204006088543189037e-2,
       2.16236993594496635890e-1, 1.37702099489081330271e0, 3.67983563856160859403e0, 6.02427039364742014255e0, 1.0)


def ndtri64(y):
    """The inverse of the normal distribution function (Cephes `ndtri.c`)."""
    y = np.atleast_1d(y)
    upper = y > 1 - math.exp(-2)
    p = np.where(upper, 1 - y, y)
    middle = p > math.exp(-2)
    d = np.where(middle, p - 0.5, 0)
    d2 = d * d
    centre = (d + d * (d2 * polynomial(d2, _P0) / polynomial(d2, _Q0))) * math.sqrt(2 * math.pi)
    with np.errstate(invalid="ignore", divide="ignore"):
        t = np.sqrt(-2 * np.log(np.where(middle, 0.1, p)))
        z = 1 / t
        far = np.where(t < 8, polynomial(z, _P1[::1]) / polynomial(z, _Q1), polynomial(z, _P2) / polynomial(z, _Q2))
        tail = t - np.log(t) / t - z * far
    r = np.where(middle, centre, np.where(upper, tail, -tail))
    return np.where(y == 0, -np.inf, np.where(y == 1, np.inf, np.where((y < 0) | (y > 1), np.nan, r)))


def log_ndtr64(x):
    x = np.atleast_1d(x)
    low = x < -1
    return piecewise(x, [(low, lambda x: np.log(erfcx64(-x * SQRT1_2) / 2) - x * x / 2),
                         (x >= -1, lambda x: np.log1p(-erfc64(x * SQRT1_2) / 2))])


# ---------------------------------------------------------------------------------------------------- operators
TWO_OVER_SQRT_PI = 2 / math.sqrt(math.pi)


def _normal_density(x):
    """exp(-x**2)."""
    return F.exp(F.neg(F.mul(x, x)))


def real_function(name, ref, vjp, *, special=None, **kw):
    """An operator of one real tensor; integers give the default float. `special` is its other name in that namespace."""
    kw.setdefault("ns", ("", "special"))
    unary(name, ref, vjp, promote=FLOAT, refuse="complex", kernel=name + "_vml_cpu", module=kw.pop("module", __name__), **kw)


def ndtr_scalar(b, x):
    wide = b.cast(x, dt.float64)
    return b.cast(b.mul(b.erfc(b.mul(wide, -SQRT1_2)), 0.5), x.dtype)


real_function("erf", erf_ref, lambda g, input: F.mul(g, F.mul(_normal_density(input), TWO_OVER_SQRT_PI)), onnx="Erf", scalar=lambda b, x: b.erf(x),
              doc="The error function.")
real_function("erfc", erfc_ref, lambda g, input: F.mul(g, F.mul(_normal_density(input), -TWO_OVER_SQRT_PI)),
              scalar=lambda b, x: b.erfc(x), doc="`1 - erf(input)`, exact for large input.")
real_function("erfinv", by_precision(erfinv64), lambda g, out: F.mul(g, F.mul(F.exp(F.mul(out, out)), 1 / TWO_OVER_SQRT_PI)),
              domain=(-0.9, 0.9), doc="The inverse of erf on (-1, 1); infinite at -1 and 1, nan beyond.")
real_function("special_erfcx", by_precision(erfcx64), ns="special",
              vjp=lambda g, input, out: F.mul(g, F.sub(F.mul(F.mul(input, out), 2), TWO_OVER_SQRT_PI)),
              public="erfcx", forms="function out", doc="`exp(input**2) * erfc(input)`.")
real_function("special_ndtr", by_precision(lambda x: 0.5 * erfc64(-x * SQRT1_2)), ns="special", public="ndtr",
              forms="function out", scalar=ndtr_scalar,
              vjp=lambda g, input: F.mul(g, F.mul(F.exp(F.mul(F.mul(input, input), -0.5)), 1 / math.sqrt(2 * math.pi))),
              doc="The normal distribution function.")
real_function("special_ndtri", by_precision(ndtri64), ns="special", public="ndtri", forms="function out", domain=(0.1, 0.9),
              vjp=lambda g, out: F.mul(g, F.mul(F.exp(F.mul(F.mul(out, out), 0.5)), math.sqrt(2 * math.pi))),
              doc="The inverse of the normal distribution function.")
real_function("special_log_ndtr", by_precision(log_ndtr64), ns="special", public="log_ndtr", forms="function out",
              vjp=lambda g, input: F.div(g, F.mul(F.special_erfcx(F.mul(input, -SQRT1_2)), math.sqrt(math.pi / 2))),
              doc="The logarithm of the normal distribution function, exact far out.")


# ---------------------------------------------------------------------------------------------------- gelu
def cdf(x):
    r = erf_ref(x * x.dtype.type(SQRT1_2))
    r += 1
    r *= x.dtype.type(0.5)
    return r


def gelu_ref(x):
    return x * cdf(x)


def density(x):
    return np.exp(x * x * x.dtype.type(-0.5)) * x.dtype.type(1 / math.sqrt(2 * math.pi))


def cdf_scalar(b, x):
    return b.mul(b.add(b.erf(b.mul(x, SQRT1_2)), 1), 0.5)


def gelu_rise(b, x):
    density = b.mul(b.exp(b.mul(b.mul(x, x), -0.5)), 1 / math.sqrt(2 * math.pi))
    return b.add(cdf_scalar(b, x), b.mul(x, density))


activation("gelu_erf", gelu_ref, lambda x: cdf(x) + x * density(x),
           lambda x: F.mul(F.mul(F.exp(F.mul(F.mul(x, x), -0.5)), 1 / math.sqrt(2 * math.pi)), F.sub(2, F.mul(x, x))),
           scalar=lambda b, x: b.mul(x, cdf_scalar(b, x)), rise=gelu_rise, forms="", kernel="GeluKernelImpl", passes=30)
_K, _C = math.sqrt(2 / math.pi), 0.044715


def gelu_tanh_ref(x):
    kind = x.dtype.type
    return x * kind(0.5) * (1 + np.tanh(x * (kind(_K) + kind(_K * _C) * (x * x))))


def gelu_tanh_slope(x):
    kind = x.dtype.type
    square = x * x
    t = np.tanh(x * (kind(_K) + kind(_K * _C) * square))
    return kind(0.5) * ((1 + t) + x * (1 - t * t) * (kind(_K) + kind(3 * _K * _C) * square))


def gelu_tanh_curve(x):
    square = F.mul(x, x)
    t = F.tanh(F.mul(x, F.add(F.mul(square, _K * _C), _K)))
    slope = F.add(F.mul(square, 3 * _K * _C), _K)                       # of tanh's argument
    room = F.sub(1, F.mul(t, t))
    bend = F.sub(F.mul(x, 6 * _K * _C), F.mul(F.mul(t, F.mul(slope, slope)), 2))
    return F.mul(room, F.add(slope, F.mul(F.mul(x, bend), 0.5)))


def _gelu_tanh(b, x, square):
    return b.tanh(b.mul(x, b.add(b.mul(square, _K * _C), _K)))


def gelu_tanh_scalar(b, x):
    return b.mul(b.mul(x, 0.5), b.add(_gelu_tanh(b, x, b.mul(x, x)), 1))


def gelu_tanh_rise(b, x):
    square = b.mul(x, x)
    t = _gelu_tanh(b, x, square)
    bend = b.mul(b.mul(x, b.sub(1, b.mul(t, t))), b.add(b.mul(square, 3 * _K * _C), _K))
    return b.mul(b.add(b.add(t, 1), bend), 0.5)


activation("gelu_tanh", gelu_tanh_ref, gelu_tanh_slope, gelu_tanh_curve, scalar=gelu_tanh_scalar, rise=gelu_tanh_rise, forms="", kernel="GeluKernelImpl")


@composite(ns="nn.functional", onnx="Gelu",
           samples=lambda m: [((m.t(3, 4),), {}), ((m.t(2, 0),), {}), ((m.t(5),), {"approximate": "tanh"})])
def gelu(input, *, approximate="none"):
    """`input * Phi(input)` with the normal distribution function, or its tanh approximation (arXiv:1606.08415)."""
    if approximate == "none":
        return F.gelu_erf(input)
    if approximate == "tanh":
        return F.gelu_tanh(input)
    fail(RuntimeError, "P036", "approximate argument must be either none or tanh.", got=f"approximate={approximate!r}",
         fix="write approximate='tanh', or leave it out")
