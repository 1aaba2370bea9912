"""Exponentials, logarithms, trigonometric and hyperbolic functions. Integers give the default float."""
from __future__ import annotations

import math

from ._common import dt, np
from .elementwise import binary, conj, unary
from .op import FLOAT, F

LN2, LN10 = math.log(2.0), math.log(10.0)


def fn(name, ref, vjp, **kw):
    """A function of one float or complex operand; its scalar is the builder's method of that name, unless given."""
    kw.setdefault("scalar", lambda b, x: getattr(b, name)(x))
    unary(name, ref, vjp, promote=FLOAT, module=__name__, **kw)


# ---------------------------------------------------------------------------------------------------- exp and log
fn("exp", np.exp, lambda g, out: F.mul(g, conj(out)), onnx="Exp", doc="e to the power of each element.")
fn("exp2", np.exp2, lambda g, out: F.mul(g, conj(F.mul(out, LN2))), ns=("", "special"), doc="2 to the power of each element.")
fn("expm1", np.expm1, lambda g, out: F.mul(g, conj(F.add(out, 1))), ns=("", "special"),
   doc="`exp(input) - 1`, exact for small input.")
fn("log", np.log, lambda g, input: F.div(g, conj(input)), onnx="Log", domain=(0.2, 2), doc="The natural logarithm.")
fn("log2", np.log2, lambda g, input: F.div(g, conj(F.mul(input, LN2))), domain=(0.2, 2), doc="The logarithm to base 2.")
fn("log10", np.log10, lambda g, input: F.div(g, conj(F.mul(input, LN10))), domain=(0.2, 2), doc="The logarithm to base 10.")


def log1p_ref(x):
    """For complex numbers the modulus by log1p too: NumPy's loses small real parts."""
    if x.dtype.kind != "c":
        return np.log1p(x)
    re, im = x.real, x.imag
    r = np.empty(x.shape, x.dtype)
    size = np.log1p(re * (2 + re) + im * im) / 2
    r.real = np.where(np.isfinite(size), size, np.log(np.hypot(1 + re, im)))       # the squares overflow
    r.imag = np.arctan2(im, 1 + re)
    return r


fn("log1p", log1p_ref, lambda g, input: F.div(g, conj(F.add(input, 1))), ns=("", "special"), domain=(-0.8, 2),
   doc="`log(1 + input)`, exact for small input.")


def logaddexp_ref(x, y):
    if x.dtype.kind != "c":
        return np.logaddexp(x, y)
    swap = x.real < y.real
    big, small = np.where(swap, y, x), np.where(swap, x, y)
    equal = (x.real == y.real) & ~np.isfinite(x.real)
    return np.where(equal, np.where(x.real > 0, np.log(np.exp(x) + np.exp(y)), x), big + np.log1p(np.exp(small - big)))


def _log_sum(b, x, y, at_equal, rest):
    """The larger, plus what the smaller, -|x - y| away, adds to it."""
    return b.select(b.eq(x, y), b.add(x, at_equal), b.add(b.max(x, y), rest(b.neg(b.abs(b.sub(x, y))))))


binary("logaddexp", logaddexp_ref, {"input": lambda g, input, other: F.div(g, conj(F.add(F.exp(F.sub(other, input)), 1))),
                                    "other": lambda g, input, other: F.div(g, conj(F.add(F.exp(F.sub(input, other)), 1)))},
       takes="TT", refuse="bool int", forms="function method out", module=__name__,
       scalar=lambda b, x, y: _log_sum(b, x, y, LN2, lambda d: b.log1p(b.exp(d))), doc="`log(exp(input) + exp(other))` without overflow.")
binary("logaddexp2", np.logaddexp2, {"input": lambda g, input, other: F.div(g, F.add(F.exp2(F.sub(other, input)), 1)),
                                     "other": lambda g, input, other: F.div(g, F.add(F.exp2(F.sub(input, other)), 1))},
       takes="TT", refuse="bool int complex", forms="function method out", module=__name__,
       scalar=lambda b, x, y: _log_sum(b, x, y, 1, lambda d: b.mul(b.log1p(b.exp2(d)), 1 / LN2)), doc="`log2(2**input + 2**other)` without overflow.")

# ---------------------------------------------------------------------------------------------------- circular
fn("sin", np.sin, lambda g, input: F.mul(g, conj(F.cos(input))), onnx="Sin", doc="The sine (radians).")
fn("cos", np.cos, lambda g, input: F.neg(F.mul(g, conj(F.sin(input)))), onnx="Cos", doc="The cosine (radians).")
fn("tan", np.tan, lambda g, out: F.mul(g, conj(F.add(F.mul(out, out), 1))), onnx="Tan", domain=(-1.2, 1.2),
   doc="The tangent (radians).")
fn("asin", np.arcsin, lambda g, input: F.mul(g, conj(F.rsqrt(F.sub(1, F.mul(input, input))))), onnx="Asin", domain=(-0.9, 0.9),
   aliases="arcsin", doc="The inverse sine.")
fn("acos", np.arccos, lambda g, input: F.neg(F.mul(g, conj(F.rsqrt(F.sub(1, F.mul(input, input)))))), onnx="Acos",
   domain=(-0.9, 0.9), aliases="arccos", doc="The inverse cosine.")
fn("atan", np.arctan, lambda g, input: F.div(g, conj(F.add(F.mul(input, input), 1))), onnx="Atan", aliases="arctan",
   doc="The inverse tangent.")


def in_float64(formula):
    """A scalar by a formula that loses a little: float32 is computed in float64 and rounded."""
    def scalar(b, *xs):
        wide = [b.cast(x, dt.float64) for x in xs]
        return b.cast(formula(b, *wide), xs[0].dtype)
    return scalar


def hypot_scalar(b, x, y):
    if x.dtype is not dt.float64:
        x2, y2 = b.cast(x, dt.float64), b.cast(y, dt.float64)
        r = b.cast(b.sqrt(b.add(b.mul(x2, x2), b.mul(y2, y2))), x.dtype)
    else:
        p, q = b.abs(x), b.abs(y)
        big, ratio = b.max(p, q), b.div(b.min(p, q), b.max(p, q))
        r = b.select(b.eq(big, 0), b.const(0, x), b.mul(big, b.sqrt(b.add(b.mul(ratio, ratio), 1))))
    return b.select(b.or_(b.isinf(x), b.isinf(y)), b.const(math.inf, x), r)


def asinh_scalar(b, x):
    a = b.abs(x)
    square = b.mul(a, a)
    near = b.log1p(b.add(a, b.div(square, b.add(b.sqrt(b.add(square, 1)), 1))))
    return b.copysign(b.select(b.gt(a, 2.0 ** 28), b.add(b.log(a), LN2), near), x)


def acosh_scalar(b, x):
    t = b.sub(x, 1)
    near = b.log1p(b.add(t, b.sqrt(b.add(b.mul(t, 2), b.mul(t, t)))))
    far = b.add(b.log(x), LN2)
    return b.select(b.lt(x, 1), b.const(math.nan, x), b.select(b.gt(x, 2.0 ** 28), far, near))


def atanh_scalar(b, x):
    a = b.abs(x)
    return b.copysign(b.mul(b.log1p(b.div(b.mul(a, 2), b.sub(1, a))), 0.5), x)


def _atan2_vjp(g, input, other, needs):
    """Zero at the origin, as in PyTorch."""
    square = F.add(F.mul(input, input), F.mul(other, other))
    g = F.where(F.eq(square, 0), 0, F.div(g, square))
    return F.mul(g, other) if needs[0] else None, F.neg(F.mul(g, input)) if needs[1] else None


binary("atan2", np.arctan2, _atan2_vjp, takes="TT", promote=FLOAT, refuse="complex", aliases="arctan2", module=__name__,
       scalar=lambda b, y, x: b.atan2(y, x),
       doc="The angle of the point (other, input), in (-pi, pi].")
binary("hypot", np.hypot, {"input": lambda g, input, out: F.mul(g, F.div(input, out)),
                           "other": lambda g, other, out: F.mul(g, F.div(other, out))},
       takes="TT", refuse="bool int complex", domain=(0.2, 2), module=__name__, scalar=hypot_scalar,
       doc="`sqrt(input**2 + other**2)` without overflow.")
unary("deg2rad", np.deg2rad, lambda g: F.mul(g, math.pi / 180), refuse="complex", module=__name__,
      kernel="deg2rad is not supported for complex tensors.", scalar=lambda b, x: b.mul(x, b.div(b.const(math.pi, x), 180)), doc="Degrees to radians.")
unary("rad2deg", np.rad2deg, lambda g: F.mul(g, 180 / math.pi), refuse="complex", module=__name__,
      kernel="rad2deg is not supported for complex tensors.", scalar=lambda b, x: b.mul(x, b.div(b.const(180, x), math.pi)), doc="Radians to degrees.")


def sinc_ref(x):
    z = x * math.pi
    return np.where(x == 0, x.dtype.type(1), np.sin(z) / z)


def sinc_scalar(b, x):
    z = b.mul(x, math.pi)
    return b.select(b.eq(x, 0), b.const(1, x), b.div(b.sin(z), z))


def _sinc_vjp(g, input):
    z = F.mul(input, math.pi)
    square = F.mul(z, input)
    slope = F.div(F.sub(F.mul(z, F.cos(z)), F.sin(z)), square)
    return F.mul(g, conj(F.where(F.eq(square, 0), 0, slope)))


fn("sinc", sinc_ref, _sinc_vjp, ns=("", "special"), domain=(0.2, 2), scalar=sinc_scalar, doc="`sin(pi x) / (pi x)`, and 1 at 0.")

# ---------------------------------------------------------------------------------------------------- hyperbolic
fn("sinh", np.sinh, lambda g, input: F.mul(g, conj(F.cosh(input))), onnx="Sinh", doc="The hyperbolic sine.")
fn("cosh", np.cosh, lambda g, input: F.mul(g, conj(F.sinh(input))), onnx="Cosh", doc="The hyperbolic cosine.")


def tanh_backward_ref(g, out):
    r = np.multiply(out, out)
    r = np.subtract(1, r)
    return np.multiply(g, r if r.dtype.kind != "c" else np.conj(r))


def tanh_backward_scalar(b, g, out):
    if not out.dtype.is_floating_point:
        b.refuse("gradients of integers")
    return b.mul(g, b.sub(1, b.mul(out, out)))


binary("tanh_backward", tanh_backward_ref,
       {"input": lambda g, other: F.tanh_backward(g, conj(other)),
        "other": lambda g, input, other: F.mul(F.mul(conj(g), input), conj(F.mul(other, -2)))},
       takes="TT", forms="", ns=(), module=__name__, scalar=tanh_backward_scalar,
       doc="The gradient `input` of tanh's result `other`, as that of its argument.")
fn("tanh", np.tanh, lambda g, out: F.tanh_backward(g, out), onnx="Tanh", ns=("", "nn.functional"),
   doc="The hyperbolic tangent.")
fn("asinh", np.arcsinh, lambda g, input: F.mul(g, conj(F.rsqrt(F.add(F.mul(input, input), 1)))), onnx="Asinh", scalar=in_float64(asinh_scalar),
   aliases="arcsinh", doc="The inverse hyperbolic sine.")


def _acosh_vjp(g, input):
    if input.is_complex():
        return F.mul(g, conj(F.mul(F.rsqrt(F.sub(input, 1)), F.rsqrt(F.add(input, 1)))))
    return F.mul(g, F.rsqrt(F.sub(F.mul(input, input), 1)))


fn("acosh", np.arccosh, _acosh_vjp, onnx="Acosh", scalar=in_float64(acosh_scalar), domain=(1.2, 3.0), aliases="arccosh", doc="The inverse hyperbolic cosine.")
fn("atanh", np.arctanh, lambda g, input: F.div(g, conj(F.sub(1, F.mul(input, input)))), onnx="Atanh", scalar=in_float64(atanh_scalar), domain=(-0.9, 0.9),
   aliases="arctanh", doc="The inverse hyperbolic tangent.")
