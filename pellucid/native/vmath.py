"""exp, log, tanh and sigmoid of vectors, for code written with `emit`: float32 and float64, within 2 ULP.

One reduction serves all: x = n ln 2 + r with n whole, e^r - 1 by its series on |r| <= ln 2 / 2. NaN comes out as NaN.
"""
from __future__ import annotations

import math

from .emit import Fn, Val, lanes_of, scalar_of, vector

# per type: integer type, mantissa bits, exponent bias, 1.5 * 2^mantissa (adding it rounds to a whole number), ln 2 in two
# parts (n * the first is exact), the smallest and largest argument with a normal result, terms of the series
_LN2 = {"float": (0.693145751953125, 1.428606765330187e-06), "double": (0.6931471803691238, 1.9082149292705877e-10)}
_RANGE = {"float": (-87.33654, 88.37626), "double": (-708.39, 709.09)}
_TERMS = {"float": 7, "double": 13}
_BITS = {"float": ("i32", 23, 127), "double": ("i64", 52, 1023)}


def polynomial(f: Fn, x: Val, coefficients) -> Val:
    """The sum of coefficients[i] * x^i."""
    out = f.fill(coefficients[-1], x.ty)
    for c in reversed(coefficients[:-1]):
        out = f.fma(out, x, f.fill(c, x.ty))
    return out


def _reduced(f: Fn, x: Val) -> tuple[Val, Val]:
    """(e^r - 1, 2^n) for x in range."""
    ty = scalar_of(x.ty)
    whole, mantissa, bias = _BITS[ty]
    whole = vector(whole, lanes_of(x.ty))
    high, low = _LN2[ty]
    magic = 1.5 * 2.0 ** mantissa
    shifted = f.fma(x, f.fill(1 / math.log(2), x.ty), f.fill(magic, x.ty))
    n = f.sub(shifted, magic)
    r = f.fma(n, f.fill(-low, x.ty), f.fma(n, f.fill(-high, x.ty), x))
    p = polynomial(f, r, [1 / math.factorial(i) for i in range(2, _TERMS[ty] + 1)])
    exponent = f.int_op("shl", f.cast("bitcast", shifted, whole) + bias, mantissa)
    return f.fma(f.mul(r, r), p, r), f.cast("bitcast", exponent, x.ty)


def clamp(f: Fn, x: Val, low: float, high: float) -> Val:
    """x between `low` and `high`; NaN stays."""
    low, high = f.fill(low, x.ty), f.fill(high, x.ty)
    x = f.select(f.compare("lt", x, low), low, x)
    return f.select(f.compare("gt", x, high), high, x)


def exp_down(f: Fn, x: Val) -> Val:
    """e^x for x <= 0: zero where the result would not be normal."""
    low = _RANGE[scalar_of(x.ty)][0]
    bound = f.fill(low, x.ty)
    below = f.compare("lt", x, bound)
    p, scale = _reduced(f, f.select(below, bound, x))
    return f.select(below, f.zero(x.ty), f.fma(p, scale, scale))


def sigmoid(f: Fn, x: Val) -> Val:
    """1 / (1 + e^-x)."""
    low, high = _RANGE[scalar_of(x.ty)]
    p, scale = _reduced(f, clamp(f, f.negate(x), low, high))
    return f.div(1.0, f.fma(p, scale, scale) + 1.0)


def tanh(f: Fn, x: Val) -> Val:
    """(e^2|x| - 1) / (e^2|x| + 1), with the sign of x."""
    size = f.call("fabs", x.ty, x)
    limit = 20.0 if scalar_of(x.ty) == "float" else 40.0
    p, scale = _reduced(f, clamp(f, size + size, 0.0, limit))
    less = f.fma(p, scale, scale - 1.0)
    return f.call("copysign", x.ty, f.div(less, less + 2.0), x)


def log(f: Fn, x: Val) -> Val:
    """ln x for normal x > 0: 2 atanh((m - 1) / (m + 1)) + e ln 2 with m in [sqrt 1/2, sqrt 2]."""
    ty = scalar_of(x.ty)
    whole, mantissa, _ = _BITS[ty]
    whole = vector(whole, lanes_of(x.ty))
    half = {"float": 0x3F3504F3, "double": 0x3FE6A09E667F3BCD}[ty]
    bits = f.cast("bitcast", x, whole)
    exponent = f.int_op("ashr", f.sub(bits, half), mantissa)
    m = f.cast("bitcast", f.sub(bits, f.int_op("shl", exponent, mantissa)), x.ty)
    e = f.cast("sitofp", exponent, x.ty)
    s = f.div(f.sub(m, 1.0), m + 1.0)
    z = f.mul(s, s)
    terms = 5 if ty == "float" else 11
    series = polynomial(f, z, [2 / (2 * i + 3) for i in range(terms)])
    high, low = _LN2[ty]
    tail = f.fma(e, f.fill(low, x.ty), f.mul(f.mul(s, z), series))
    result = f.fma(e, f.fill(high, x.ty), f.fma(s, f.fill(2.0, x.ty), tail))
    return f.select(f.op(vector("i1", lanes_of(x.ty)), f"fcmp uno {x.ty} {x}, {x}"), x, result)
