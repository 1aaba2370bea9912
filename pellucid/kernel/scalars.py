"""What printed kernels call: numbers with the meaning of loop IR, on NumPy scalars or arrays.

In: NumPy values of one dtype (Python's numbers where a dtype is clear). Out: a NumPy value of the dtype that loop IR gives it.
True always: integers wrap; a mathematical function of float32 is the same sequence of rounded steps that native code takes
(`mathfn`), so that both agree to the bit where the machine has a fused multiply-add.
"""
from __future__ import annotations

import math
import sys

import ml_dtypes
import numpy as np

from . import mathfn

inf, nan = math.inf, math.nan
_f32, _f64 = np.float32, np.float64
_INT = {4: np.int32, 8: np.int64}
_FLOAT = {4: np.float32, 8: np.float64}
_COMPARE = {"eq": np.equal, "ne": np.not_equal, "lt": np.less, "le": np.less_equal, "gt": np.greater, "ge": np.greater_equal}
_erf, _erfc = np.frompyfunc(math.erf, 1, 1), np.frompyfunc(math.erfc, 1, 1)
_LIBM = {"atan": np.arctan, "asin": np.arcsin, "acos": np.arccos, "atan2": np.arctan2, "fmod": np.fmod, "pow": np.power,
         "erf": lambda x: np.asarray(_erf(x), _f64), "erfc": lambda x: np.asarray(_erfc(x), _f64)}


def quiet():
    """A context without NumPy's notices on overflow and the like."""
    return np.errstate(all="ignore")


# ---------------------------------------------------------------------------------------------------- the machine of mathfn
def const(value, dtype):
    return np.dtype(dtype).type(value)


def fma(a, b, c):
    """a * b + c, rounded once. float32: exactly, by way of float64 rounded to odd (S. Boldo, G. Melquiond, 2008); float64: by
    exact halves, which misses the last bit in rare cases."""
    like = next(np.asarray(x).dtype for x in (a, b, c) if isinstance(x, (np.generic, np.ndarray)))
    if like == _f32:
        c = np.asarray(c, _f32).astype(_f64)
        p = np.asarray(a, _f32).astype(_f64) * np.asarray(b, _f32)          # exact
        s = np.asarray(p + c)
        t = s - p
        low = (p - (s - t)) + (c - t)                                       # what s lost
        i = s.view(np.int64)
        odd = (i - ((low < 0) != (s < 0))) | 1
        return np.where((low != 0) & np.isfinite(low), odd, i).view(_f64).astype(_f32)[()]
    a, b, c = [np.asarray(x, _f64) for x in (a, b, c)]
    p = a * b
    e = _product_error(a, b, p)
    s = p + c
    t = s - p
    low = (p - (s - t)) + (c - t)
    r = s + (low + np.where(np.isfinite(e), e, 0.0))
    return np.where(np.isfinite(r), r, s)[()]


def _product_error(a, b, p):
    """a * b - p, exactly (T. J. Dekker, 1971)."""
    def halves(x):
        t = x * 134217729.0
        high = t - (t - x)
        return high, x - high
    (a1, a2), (b1, b2) = halves(a), halves(b)
    return ((a1 * b1 - p) + a1 * b2 + a2 * b1) + a2 * b2


mad = fma


def select(c, a, b):
    """`a` where `c`, else `b`; a Python number takes the other's dtype."""
    if not isinstance(a, (np.generic, np.ndarray)):
        a = np.asarray(b).dtype.type(a)
    elif not isinstance(b, (np.generic, np.ndarray)):
        b = np.asarray(a).dtype.type(b)
    if np.ndim(c) == 0 and np.ndim(a) == 0 and np.ndim(b) == 0:
        return a if c else b
    return np.where(c, a, b)


def compare(how, a, b):
    return _COMPARE[how](a, b)


def bits(x):
    return np.asarray(x).view(_INT[x.dtype.itemsize])[()]


def unbits(x):
    return np.asarray(x).view(_FLOAT[x.dtype.itemsize])[()]


def toint(x):
    return np.asarray(x).astype(_INT[x.dtype.itemsize])[()]


def tofloat(x):
    return np.asarray(x).astype(_FLOAT[x.dtype.itemsize])[()]


def power(n):
    """2^n for a whole float n with a normal result."""
    bias, low = (127, 23) if n.dtype == _f32 else (1023, 52)
    return unbits((toint(n) + bias) << low)


def scale(x, n):
    """x * 2^n for x near 1, rounded once."""
    half = np.rint(n * 0.5)
    return x * power(half) * power(n - half)


def whole(x):
    """The nearest whole number of a small one."""
    return np.rint(x)


def narrow_whole(i):
    """A small int64 as float64."""
    return np.asarray(i).astype(_f64)[()]


def rare(cond, usual, slow):
    return select(cond, slow(), usual) if np.any(cond) else usual


def libm(name, *args):
    d = args[0].dtype
    got = _LIBM.get(name) or getattr(np, name)
    return np.asarray(got(*[np.asarray(a, _f64) for a in args])).astype(d)[()]


def widen(x):
    """float32 as float64."""
    return np.asarray(x).astype(_f64)[()]


def narrow(x):
    return np.asarray(x).astype(_f32)[()]


# ---------------------------------------------------------------------------------------------------- operations
sqrt, rint, floor, ceil, trunc, copysign, isnan = np.sqrt, np.rint, np.floor, np.ceil, np.trunc, np.copysign, np.isnan
maxnum, minnum, neg = np.fmax, np.fmin, np.negative
abs = np.absolute


def max(a, b):
    """The larger; nan if either is."""
    return np.maximum(a, b) if np.asarray(a).dtype != bool else a | b


def min(a, b):
    """The smaller; nan if either is."""
    return np.minimum(a, b) if np.asarray(a).dtype != bool else a & b


def extreme(name, a, b):
    return {"max": max, "min": min, "maxnum": maxnum, "minnum": minnum}[name](a, b)


def not_(x):
    return np.logical_not(x) if isinstance(x, bool) or x.dtype == bool else np.invert(x)


def shl(a, n):
    return np.left_shift(a, n)


def shr(a, n):
    return np.right_shift(a, n)


def rem(a, b):
    """C's remainder."""
    return np.fmod(a, b)


def pow(a, b):
    """Integers by squaring, so that negative exponents give 0, 1 or -1; floats as `mathfn` has it."""
    if np.asarray(a).dtype.kind == "f":
        return mathfn.call(_machine(), "pow", a, b)
    a, n = np.asarray(a), np.asarray(b)
    r = np.ones_like(a)
    x, left = a, np.where(n < 0, 0, n)
    while np.any(left):
        r = np.where(left & 1, r * x, r)
        x, left = x * x, left >> 1
    down = np.where(a == 1, 1, np.where(a == -1, np.where(n & 1, -1, 1), 0)) if a.dtype.kind == "i" else 0
    return np.where(n < 0, down, r).astype(a.dtype)[()]


def bitcast(x, dtype):
    return np.asarray(x).view(dtype)[()]


def number(dtype):
    """The conversion to a dtype, as C's: cut towards zero, wrapped, or whether it is not 0."""
    dtype = np.dtype(dtype)

    def convert(x):
        x = np.asarray(x)
        if dtype == bool:
            return (x != 0)[()]
        if dtype.kind in "iu" and x.dtype.kind not in "iub":
            x = x.astype(np.int64) if dtype != np.uint64 else x
        if x.dtype == object:
            x = x.astype(np.int64)
        return x.astype(dtype)[()]
    convert.__name__ = dtype.name
    return convert


float32, float64, bool_ = number(np.float32), number(np.float64), number(np.bool_)
int8, int16, int32, int64 = number(np.int8), number(np.int16), number(np.int32), number(np.int64)
uint8, uint16, uint32, uint64 = number(np.uint8), number(np.uint16), number(np.uint32), number(np.uint64)


def cast(x, dtype):
    return number(dtype)(x)


def float16(x):
    """Rounded to float16, held as float32."""
    return float32(np.asarray(x, _f32).astype(np.float16))


def bfloat16(x):
    """Rounded to bfloat16, held as float32."""
    return float32(np.asarray(x, _f32).astype(ml_dtypes.bfloat16))


def _machine():
    return sys.modules[__name__]


def _mathematical(name: str):
    def function(*args):
        return mathfn.call(_machine(), name, *args)
    function.__name__ = name
    return function


exp, exp2, expm1, log, log2, log10, log1p = map(_mathematical, ("exp", "exp2", "expm1", "log", "log2", "log10", "log1p"))
tanh, sinh, cosh, erf, erfc, sigmoid, rsqrt = map(_mathematical, ("tanh", "sinh", "cosh", "erf", "erfc", "sigmoid", "rsqrt"))
sin, cos, tan, asin, acos, atan, atan2 = map(_mathematical, ("sin", "cos", "tan", "asin", "acos", "atan", "atan2"))
floordiv, mod = _mathematical("floordiv"), _mathematical("mod")


def row(size: int, dtype: str):
    """Memory of the kernel's own."""
    return np.zeros(size, ml_dtypes.bfloat16 if dtype == "bfloat16" else dtype)
