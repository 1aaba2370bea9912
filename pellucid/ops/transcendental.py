"""Exponentials, logarithms, trigonometric and hyperbolic functions. Integers give the default float."""
from __future__ import annotations

import math

from ._common import np
from .elementwise import binary, conj, unary
from .op import FLOAT, F

LN2, LN10 = math.log(2.0), math.log(10.0)


def fn(name, ref, vjp, **kw):
    """A function of one float or complex operand."""
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


binary("logaddexp", logaddexp_ref, {"input": lambda g, input, other: F.div(g, conj(F.add(F.exp(F.sub(other, input)), 1))),
                                    "other": lambda g, input, other: F.div(g, conj(F.add(F.exp(F.sub(input, other)), 1)))},
       takes="TT", refuse="bool int", forms="function method out", module=__name__,
       doc="`log(exp(input) + exp(other))` without overflow.")
binary("logaddexp2", np.logaddexp2, {"input": lambda g, input, other: F.div(g, F.add(F.exp2(F.sub(other, input)), 1)),
                                     "other": lambda g, input, other: F.div(g, F.add(F.exp2(F.sub(input, other)), 1))},
       takes="TT", refuse="bool int complex", forms="function method out", module=__name__,
       doc="`log2(2**input + 2**other)` without overflow.")

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


def _atan2_vjp(g, input, other, needs):
    """Zero at the origin, as in PyTorch."""
    square = F.add(F.mul(input, input), F.mul(other, other))
    g = F.where(F.eq(square, 0), 0, F.div(g, square))
    return F.mul(g, other) if needs[0] else None, F.neg(F.mul(g, input)) if needs[1] else None


binary("atan2", np.arctan2, _atan2_vjp, takes="TT", promote=FLOAT, refuse="complex", aliases="arctan2", module=__name__,
       doc="The angle of the point (other, input), in (-pi, pi].")
binary("hypot", np.hypot, {"input": lambda g, input, out: F.mul(g, F.div(input, out)),
                           "other": lambda g, other, out: F.mul(g, F.div(other, out))},
       takes="TT", refuse="bool int complex", domain=(0.2, 2), module=__name__,
       doc="`sqrt(input**2 + other**2)` without overflow.")
unary("deg2rad", np.deg2rad, lambda g: F.mul(g, math.pi / 180), refuse="complex", module=__name__,
      kernel="deg2rad is not supported for complex tensors.", doc="Degrees to radians.")
unary("rad2deg", np.rad2deg, lambda g: F.mul(g, 180 / math.pi), refuse="complex", module=__name__,
      kernel="rad2deg is not supported for complex tensors.", doc="Radians to degrees.")


def sinc_ref(x):
    z = x * math.pi
    return np.where(x == 0, x.dtype.type(1), np.sin(z) / z)


def _sinc_vjp(g, input):
    z = F.mul(input, math.pi)
    square = F.mul(z, input)
    slope = F.div(F.sub(F.mul(z, F.cos(z)), F.sin(z)), square)
    return F.mul(g, conj(F.where(F.eq(square, 0), 0, slope)))


fn("sinc", sinc_ref, _sinc_vjp, ns=("", "special"), domain=(0.2, 2), doc="`sin(pi x) / (pi x)`, and 1 at 0.")

# ---------------------------------------------------------------------------------------------------- hyperbolic
fn("sinh", np.sinh, lambda g, input: F.mul(g, conj(F.cosh(input))), onnx="Sinh", doc="The hyperbolic sine.")
fn("cosh", np.cosh, lambda g, input: F.mul(g, conj(F.sinh(input))), onnx="Cosh", doc="The hyperbolic cosine.")


def tanh_backward_ref(g, out):
    r = np.multiply(out, out)
    r = np.subtract(1, r)
    return np.multiply(g, r if r.dtype.kind != "c" else np.conj(r))


binary("tanh_backward", tanh_backward_ref,
       {"input": lambda g, other: F.tanh_backward(g, conj(other)),
        "other": lambda g, input, other: F.mul(F.mul(conj(g), input), conj(F.mul(other, -2)))},
       forms="", ns=(), module=__name__, doc="The gradient `input` of tanh's result `other`, as that of its argument.")
fn("tanh", np.tanh, lambda g, out: F.tanh_backward(g, out), onnx="Tanh", ns=("", "nn.functional"),
   doc="The hyperbolic tangent.")
fn("asinh", np.arcsinh, lambda g, input: F.mul(g, conj(F.rsqrt(F.add(F.mul(input, input), 1)))), onnx="Asinh",
   aliases="arcsinh", doc="The inverse hyperbolic sine.")


def _acosh_vjp(g, input):
    if input.is_complex():
        return F.mul(g, conj(F.mul(F.rsqrt(F.sub(input, 1)), F.rsqrt(F.add(input, 1)))))
    return F.mul(g, F.rsqrt(F.sub(F.mul(input, input), 1)))


fn("acosh", np.arccosh, _acosh_vjp, onnx="Acosh", domain=(1.2, 3.0), aliases="arccosh", doc="The inverse hyperbolic cosine.")
fn("atanh", np.arctanh, lambda g, input: F.div(g, conj(F.sub(1, F.mul(input, input)))), onnx="Atanh", domain=(-0.9, 0.9),
   aliases="arctanh", doc="The inverse hyperbolic tangent.")
