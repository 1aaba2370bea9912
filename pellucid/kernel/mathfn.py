"""Mathematical functions as short programs of exactly rounded steps: one source for native code and for printed kernels.

In: a machine `m` and values of it. A machine has arithmetic on its values by operators, and `fma mad select compare abs neg
sqrt rint floor ceil trunc copysign bits unbits toint tofloat scale isnan extreme cast rare libm`; `native.ssa.Writer` is one
(values are lanes of LLVM), `NUMPY` another (values are NumPy scalars or arrays). Out: a value of the same dtype.

True always: float32 results are within 2 ULP of the exact ones over the whole range, with C's results for infinities, nan,
signed zeros, denormals and overflow; float64's are the C library's, or as close to it. `mad` is `fma` where the machine has
it, else two roundings, so that machines with `fma` agree to the bit.
"""
from __future__ import annotations

import ctypes
import ctypes.util
import math
from collections.abc import Callable
from functools import cache

import numpy as np

from ..core import dtype as dt

LOG2E = 1.4426950408889634
# ln 2 in two parts: the first has trailing zeros, so that n * part is exact
LN2_HI, LN2_LO = 0.693359375, -2.12194440e-4


def poly(m, x, *coefficients: float):
    """Horner's rule, highest power first."""
    first, second, *rest = coefficients
    r = m.mad(first, x, second)
    for c in rest:
        r = m.mad(r, x, c)
    return r


# ---------------------------------------------------------------------------------------------------- float32
def exp(m, x):
    """Cephes' expf (S. Moshier, 1984-1992): x = n ln 2 + r, a polynomial in r, times 2^n."""
    x = m.select(x < -104.0, -104.0, x)
    x = m.select(x > 89.0, 89.0, x)
    n = m.rint(x * LOG2E)
    r = m.fma(n, -LN2_HI, x)
    r = m.fma(n, -LN2_LO, r)
    p = poly(m, r, 1.9875691500e-4, 1.3981999507e-3, 8.3334519073e-3, 4.1665795894e-2, 1.6666665459e-1, 5.0000001201e-1)
    return m.scale(m.fma(p, r * r, r) + 1.0, n)


def log(m, x):
    """Cephes' logf."""
    tiny = x < 1.17549435e-38
    y = m.select(tiny, x * 2.0 ** 25, x)
    i = m.bits(y)
    e = (i - 0x3F3504F3) >> 23
    f = m.unbits(i - (e << 23)) - 1.0
    n = m.tofloat(e) + m.select(tiny, -25.0, f * 0.0)
    z = f * f
    p = poly(m, f, 7.0376836292e-2, -1.1514610310e-1, 1.1676998740e-1, -1.2420140846e-1, 1.4249322787e-1, -1.6668057665e-1,
             2.0000714765e-1, -2.4999993993e-1, 3.3333331174e-1)
    r = m.fma(n, LN2_LO, f * z * p)
    r = m.fma(z, -0.5, r)
    r = m.fma(n, LN2_HI, f + r)
    r = m.select(x < math.inf, r, x)
    return m.select(x > 0.0, r, m.select(m.compare("eq", x, 0.0), -math.inf, m.const(math.nan, x.dtype)))


def tanh(m, x):
    """Cephes' tanhf."""
    t = m.abs(x)
    q = x * x
    big = 1.0 - 2.0 / (exp(m, m.select(t > 20.0, 40.0, t + t)) + 1.0)
    p = poly(m, q, -5.70498872745e-3, 2.06390887954e-2, -5.37397155531e-2, 1.33314422036e-1, -3.33332819422e-1)
    return m.select(t > 0.625, m.copysign(big, x), m.fma(p * q, x, x))


def sigmoid(m, x):
    e = exp(m, -m.abs(x))
    return m.select(x >= 0.0, 1.0, m.select(m.isnan(x), x, e)) / (1.0 + e)


def erf(m, x):
    """N. Juffa's erff (stackoverflow.com/a/35148199; 2-clause BSD)."""
    t = m.abs(x)
    q = x * x
    r = m.fma(-1.72853470e-5, t, 3.83197126e-4)
    u = m.fma(-3.88396438e-3, t, 2.42546219e-2)
    r = m.fma(r, q, u)
    for c in (-1.06777877e-1, -6.34846687e-1, -1.28717512e-1):
        r = m.fma(r, t, c)
    r = m.fma(r, t, -t)
    big = 1.0 - exp(m, r)
    p = poly(m, q, -5.96761703e-4, 4.99119423e-3, -2.67681349e-2, 1.12819925e-1, -3.76125336e-1, 1.28379166e-1)
    big = m.select(t > 4.0, 1.0, big)
    return m.select(t > 0.927734375, m.copysign(big, x), m.fma(p, x, x))


FLOAT32: dict[str, Callable] = {"exp": exp, "log": log, "tanh": tanh, "sigmoid": sigmoid, "erf": erf}
FLOAT64: dict[str, Callable] = {}


def sigmoid64(m, x):
    e = m.libm("exp", -m.abs(x))
    return m.select(x >= 0.0, 1.0, m.select(m.isnan(x), x, e)) / (1.0 + e)


FLOAT64["sigmoid"] = sigmoid64


def rsqrt(m, x):
    return 1.0 / m.sqrt(x)


def rem(m, x, y):
    return m.libm("fmod", x, y)


def mod(m, x, y):
    """Python's remainder: fmod, moved to the divisor's sign."""
    r = m.libm("fmod", x, y)
    wrong = m.compare("ne", r, 0.0) & m.compare("ne", r < 0.0, y < 0.0)
    return m.select(m.compare("eq", r, 0.0), m.copysign(r, y), m.select(wrong, r + y, r))


def floordiv(m, x, y):
    """The quotient rounded down, as CPython and NumPy compute it: from the remainder, so that it is exact."""
    r = m.libm("fmod", x, y)
    q = (x - r) / y
    wrong = m.compare("ne", r, 0.0) & m.compare("ne", r < 0.0, y < 0.0)
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
