"""The arithmetic behind PyTorch's random numbers, to the last bit.

In: 32-bit words of the generator (uint64 ndarrays holding them) or float64 uniforms.
Out: float32/float64 ndarrays.
Stays true: every rounding here is one that PyTorch's AVX2 kernels make. They are compiled with FMA contraction, so
a fused multiply-add is rounded once; doing a multiply and then an add changes 1% of normals and half of uniforms.
"""
from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

_f32 = np.float32
_f64 = np.float64
_TWO_PI = 2 * math.pi
_VELTKAMP = 134217729.0  # 2**27 + 1: splits a float64 into two halves of 26 bits

PAIRS = 8192  # pairs (r, theta) per step of the float32 normal kernel: its work arrays stay in the L2 cache


def libm(f: Callable[[float], float], x: np.ndarray) -> np.ndarray:
    """`f` of the C library (as `math` exposes it) on every element of a float64 vector.

    NumPy's own log, sin, exp... are vectorised and differ from the C library's in the last bit of some values.
    """
    return np.fromiter(map(f, x.tolist()), _f64, x.size)


def exp(x: float) -> float:
    """`math.exp` with C's answer (infinity) where Python raises."""
    try:
        return math.exp(x)
    except OverflowError:
        return math.inf


def fma64(a: np.ndarray, b: float, c: float) -> np.ndarray:
    """`a*b + c` rounded once, for a float64 array and two float64 numbers.

    Boldo and Melquiond, "Emulation of FMA and correctly rounded sums" (2008): the exact product and sum are kept as
    pairs of floats, and their low parts are added with rounding to odd, which makes the last rounding the only one.
    """
    if c == 0.0 or b == 1.0 or not math.isfinite(b) or not math.isfinite(c):
        return a * b + c  # one of the two operations is exact, or nothing is to be rounded
    if abs(b) > 2.0**900:  # the splitting below would overflow; scaling by a power of two is exact
        return fma64(a, b * 2.0**-200, c * 2.0**-200) * 2.0**200
    product, error = _two_product(a, b)
    high, low = _two_sum(error, c)
    total, rest = _two_sum(product, high)
    return total + _add_to_odd(low, rest)


def _two_product(a: np.ndarray, b: float) -> tuple[np.ndarray, np.ndarray]:
    t = a * _VELTKAMP
    a1 = t - (t - a)
    a2 = a - a1
    t = b * _VELTKAMP
    b1 = t - (t - b)
    b2 = b - b1
    p = a * b
    return p, ((a1 * b1 - p) + a1 * b2 + a2 * b1) + a2 * b2


def _two_sum(a: np.ndarray, b: np.ndarray | float) -> tuple[np.ndarray, np.ndarray]:
    s = a + b
    t = s - a
    return s, (a - (s - t)) + (b - t)


def _add_to_odd(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    s, error = _two_sum(a, b)
    bits = s.view(np.int64)
    move = (error != 0) & ((bits & 1) == 0)
    bits += np.where((error > 0) == (s > 0), 1, -1) * move
    return s


# -- float32 normals: Box-Muller on blocks of 16 -----------------------------------------------------------------
# A block of 16 uniforms d gives 8 radii sqrt(-2 log(1 - d[:8])) and 8 angles 2 pi d[8:]; the cosines are its first 8
# values and the sines its last 8. log, sin and cos are the single-precision polynomials of Moshier's Cephes library.

# Constants are 0-d arrays, which NumPy takes faster than its scalars.

def _single(x: float) -> np.ndarray:
    return np.array(x, _f32)


def _rounded(*values: float) -> list[np.ndarray]:
    """float32 values, held in float64."""
    return [np.array(_f32(x), _f64) for x in values]


_LOG_POLY = _rounded(7.0376836292e-2, -1.1514610310e-1, 1.1676998740e-1, -1.2420140846e-1, 1.4249322787e-1,
                     -1.6668057665e-1, 2.0000714765e-1, -2.4999993993e-1, 3.3333331174e-1)
_COS_POLY = _rounded(2.443315711809948e-5, -1.388731625493765e-3, 4.166664568298827e-2)
_SIN_POLY = _rounded(-1.9515295891e-4, 8.3321608736e-3, -1.6666654611e-1)
_SQRT_HALF_BITS = np.array(0x3F3504F3, np.int32)
_LN2_HIGH, _LN2_LOW = _single(0.693359375), _single(-2.12194440e-4)
_FOUR_OVER_PI = _single(1.27323954473516)
_PI_4_A, _PI_4_B = _single(0.78515625), _single(2.4187564849853515625e-4)
(_MINUS_PI_4_C,) = _rounded(-3.77489497744594108e-8)
_ONE, _MINUS_TWO, _HALF, _MINUS_HALF = _single(1), _single(-2), _single(0.5), np.array(-0.5)
_TWO_PI_32, _ULP24 = _single(_TWO_PI), _single(2**-24)
_LOW24, _2_24 = np.array(0xFFFFFF, np.int32), np.array(1 << 24, np.int32)
_I1, _I2, _I4, _EVEN, _TO_SIGN, _EXPONENT = (np.array(i, np.int32) for i in (1, 2, 4, ~1, 29, 23))


def normal_blocks32(words: np.ndarray, mean: float, std: float, out: np.ndarray) -> None:
    """Turns `words` (uint64, a multiple of 16) into normals in `out` (float32, as long, contiguous)."""
    for start in range(0, words.size, 2 * PAIRS):
        stop = start + 2 * PAIRS
        _normal_step32(words[start:stop], mean, std, out[start:stop])


def _normal_step32(words: np.ndarray, mean: float, std: float, out: np.ndarray) -> None:
    bits = words.astype(np.int32)
    bits &= _LOW24
    # Half a block (8 values of 4 bytes) is one 32-byte item: copying items is much faster than rows of 8.
    halves = bits.view("V32")
    first = halves[0::2].copy().view(np.int32)
    second = halves[1::2].copy().view(np.int32)

    x = np.subtract(_2_24, first, out=first).astype(_f32)
    x *= _ULP24
    radius = _log(x)
    radius *= _MINUS_TWO
    np.sqrt(radius, out=radius)

    theta = second.astype(_f32)
    theta *= _ULP24
    theta *= _TWO_PI_32
    sin, cos = _sin_cos(theta)
    cos *= radius
    sin *= radius
    for half in (cos, sin):
        _scale(half, mean, std)
    target = out.view("V32")
    target[0::2] = cos.view("V32")
    target[1::2] = sin.view("V32")


def _scale(z: np.ndarray, mean: float, std: float) -> None:
    """`z = fma(z, std, mean)` in place, in float32."""
    m, s = _f32(mean), _f32(std)
    if m == 0 or s == 1:  # one of the two operations is exact
        if s != 1:
            z *= s
        z += m      # turns -0 into 0 too, as the fused operation does
    else:
        z[...] = z.astype(_f64) * _f64(s) + _f64(m)


def _fma(y: np.ndarray, x: np.ndarray, c: np.ndarray | np.float64, wide: np.ndarray) -> None:
    """`y = fma(y, x, c)` in place: y float32; x, c and the work array `wide` float64 (the product is exact)."""
    wide[...] = y
    wide *= x
    wide += c
    y[...] = wide


def _horner(coefficients: list[np.float64], x: np.ndarray, wide: np.ndarray) -> np.ndarray:
    """The polynomial in float32 with a fused multiply-add per step; x is float64."""
    y = np.empty(x.shape, _f32)
    np.multiply(x, coefficients[0], out=wide)
    wide += coefficients[1]
    y[...] = wide
    for c in coefficients[2:]:
        _fma(y, x, c, wide)
    return y


def _log(x: np.ndarray) -> np.ndarray:
    """Natural logarithm of float32 values in (0, 1]; overwrites its argument."""
    bits = x.view(np.int32)
    exponent = bits - _SQRT_HALF_BITS
    exponent >>= _EXPONENT
    bits -= exponent << _EXPONENT  # x is now in [sqrt(1/2), sqrt(2))
    e = exponent.astype(_f32)
    x -= _ONE
    z = x * x
    wide = np.empty(x.shape, _f64)
    y = _horner(_LOG_POLY, x.astype(_f64), wide)
    y *= x
    _fma(y, z.astype(_f64), (e * _LN2_LOW).astype(_f64), wide)
    z *= _HALF
    y -= z
    x += y
    e *= _LN2_HIGH  # exact: few bits times few bits, so that the sum below is a fused one
    x += e
    return x


def _sin_cos(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Sine and cosine of float32 values in [0, 2 pi]; overwrites its argument."""
    octant = (x * _FOUR_OVER_PI).astype(np.int32)
    octant += _I1
    octant &= _EVEN
    y = octant.astype(_f32)
    x -= y * _PI_4_A  # both products are exact
    x -= y * _PI_4_B
    wide = y.astype(_f64)
    wide *= _MINUS_PI_4_C
    wide += x
    x[...] = wide

    z = x * x
    z64 = z.astype(_f64)
    cos = _horner(_COS_POLY, z64, wide)
    cos *= z
    _fma(cos, z64, z64 * _MINUS_HALF, wide)
    cos += _ONE
    sin = _horner(_SIN_POLY, z64, wide)
    sin *= z
    x64 = x.astype(_f64)
    _fma(sin, x64, x64, wide)

    swap = (octant & _I2).astype(bool)
    result_sin = np.where(swap, cos, sin)
    result_cos = np.where(swap, sin, cos)
    # The signs: sine is negative in octants 4 to 7, cosine in 2 to 5.
    for result in (result_sin, result_cos):
        bits = result.view(np.int32)
        bits ^= (octant & _I4) << _TO_SIGN
        octant += _I2
    return result_sin, result_cos


# -- float64 normals ---------------------------------------------------------------------------------------------

def normal_blocks64(u: np.ndarray, mean: float, std: float) -> np.ndarray:
    """Normals from float64 uniforms (a multiple of 16 of them), in the same blocks, with the C library's functions."""
    u = u.reshape(-1, 2, 8)
    radius = np.sqrt(-2.0 * libm(math.log, (1.0 - u[:, 0]).ravel())).reshape(-1, 8)
    theta = (_TWO_PI * u[:, 1]).ravel()
    out = np.empty(u.shape)
    np.multiply(radius, libm(math.cos, theta).reshape(-1, 8), out=out[:, 0])
    np.multiply(radius, libm(math.sin, theta).reshape(-1, 8), out=out[:, 1])
    return fma64(out.ravel(), std, mean)


def normal_pairs(u: np.ndarray, exact: bool) -> np.ndarray:
    """Standard normals (float64) from consecutive pairs of float64 uniforms, as many as uniforms.

    With `exact` the C library's functions are used; without, NumPy's, equal to 1 ULP of float64.
    """
    u1, u2 = u[0::2], u[1::2]
    theta = _TWO_PI * u1
    out = np.empty(u.size)
    if exact:
        radius = np.sqrt(-2.0 * libm(math.log1p, -u2))
        out[0::2] = radius * libm(math.cos, theta)
        out[1::2] = radius * libm(math.sin, theta)
    else:
        radius = np.sqrt(-2.0 * np.log1p(-u2))
        out[0::2] = radius * np.cos(theta)
        out[1::2] = radius * np.sin(theta)
    return out
