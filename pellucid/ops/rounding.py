"""Rounding, clamping and elementwise extremes; replacing nan and infinities; splitting floats into their parts."""
from __future__ import annotations

from ..core.return_types import result_type
from ._common import Spec, dt, fail, is_tensor, need_tensor, np, point_infer
from .elementwise import binary, check_pair, common_dtype, not_implemented, unary
from .compare import keep
from .op import POINT, SAME, F, composite, point, primitive


def _zeros(g):
    return F.zeros_like(g)


# ---------------------------------------------------------------------------------------------------- to whole numbers
def whole_scalar(name):
    """The rounding `name` for floats; integers are whole already."""
    return lambda b, x: getattr(b, name)(x) if x.dtype.is_floating_point else x


def whole(ufunc):
    """`ufunc` for floats; integers are whole already."""
    return lambda x: ufunc(x) if x.dtype.kind == "f" else x.copy()


for _name, _ref, _onnx, _doc in (("floor", np.floor, "Floor", "The largest integer not above each element."),
                                 ("ceil", np.ceil, "Ceil", "The smallest integer not below each element."),
                                 ("trunc", np.trunc, "", "Each element rounded towards zero.")):
    unary(_name, whole(_ref), _zeros, promote=SAME, refuse="bool complex", kernel=f"{_name}_vml_cpu", module=__name__,
          aliases="fix" if _name == "trunc" else "", onnx=_onnx or None, scalar=whole_scalar(_name), doc=_doc)


def round_ref(x, *, decimals=0):
    if x.dtype.kind != "f":
        return x.copy()
    if decimals == 0:
        return np.rint(x)
    ten = x.dtype.type(10.0 ** abs(decimals))
    return np.rint(x * ten) / ten if decimals > 0 else np.rint(x / ten) * ten


def round_scalar(b, x, *, decimals=0):
    if not x.dtype.is_floating_point or decimals == 0:
        return b.rint(x) if x.dtype.is_floating_point else x
    ten = b.const(10.0 ** abs(decimals), x)
    return b.div(b.rint(b.mul(x, ten)), ten) if decimals > 0 else b.mul(b.rint(b.div(x, ten)), ten)


def _round_front(input, *, decimals=0):
    need_tensor(input, "round")
    d = input.dtype
    if d.category == dt.COMPLEX or d is dt.bool_:
        not_implemented("round_vml_cpu", d)
    if decimals and d.category < dt.FLOAT:
        not_implemented("round_cpu", d)
    return (input,), {"decimals": decimals} if decimals else {}


_round_front.plain = True
unary("round", round_ref, _zeros, front=_round_front, promote=SAME, ns=("", "special"), onnx="Round", module=__name__, scalar=round_scalar,
      doc="The nearest integer, halves to even; `decimals` keeps so many digits after the point (before it if negative).",
      samples=lambda m: [((m.t(3, 4),), {}), ((m.t(2, 0),), {}), ((m.t(5),), {"decimals": 1}), ((m.t(5),), {"decimals": -1})])
unary("frac", lambda x: x - np.trunc(x), lambda g: g, promote=SAME, refuse="bool int complex", module=__name__,
      scalar=lambda b, x: b.sub(x, b.trunc(x)), doc="The fractional part, with the element's sign.")


# ---------------------------------------------------------------------------------------------------- clamping
BLOCK = 1 << 15


def blocked(f):
    """`f`, an elementwise function of one float array in many passes, run block by block on large arrays, so that the
    passes stay in cache (two to four times as fast)."""
    def run(x, **attrs):
        if x.size < 2 * BLOCK or not x.flags.c_contiguous:
            return f(x, **attrs)
        out = np.empty_like(x)
        flat, to = x.reshape(-1), out.reshape(-1)
        for i in range(0, x.size, BLOCK):
            to[i:i + BLOCK] = f(flat[i:i + BLOCK], **attrs)
        return out
    return run


def limited(x, low, high):
    """The array `x` kept within bounds (None: unbounded), nan kept; `high` wins if the bounds cross. One pass: NumPy's
    maximum with a number is three times slower than `clip` on large arrays."""
    if low is None or high is None:
        if x.size < 3000 or x.dtype.kind != "f" or np.ndim(low if high is None else high):
            return np.minimum(x, high) if low is None else np.maximum(x, low)
        low, high = (-np.inf, high) if low is None else (low, np.inf)
    if x.dtype.kind == "b":
        return np.minimum(np.maximum(x, low), high)
    return x.clip(low, high)


def clamp_scalar(b, x, low, high):
    x = x if low is None else b.max(x, low)
    return x if high is None else b.min(x, high)


def _inside(x, low, high):
    if low is None:
        return F.le(x, high)
    if high is None:
        return F.ge(x, low)
    return F.logical_and(F.ge(x, low), F.le(x, high))


def clamp_backward_ref(g, x, low, high):
    inside = x <= high if low is None else x >= low if high is None else (x >= low) & (x <= high)
    return keep(inside, g)


def clamp_backward_scalar(b, g, x, low, high):
    inside = None if low is None else b.ge(x, low)
    if high is not None:
        inside = b.le(x, high) if inside is None else b.and_(inside, b.le(x, high))
    return b.select(inside, g, b.const(0, g))


def clamp_backward_front(grad, input, min, max):
    return (grad, input, min, max), {}


point("clamp_backward", clamp_backward_ref, {"grad": lambda g, input, min, max: F.clamp_backward(g, input, min, max), "input": _zeros},
      args="grad input min max", front=clamp_backward_front, promote=SAME, infer=point_infer, scalar=clamp_backward_scalar, forms="", ns=(),
      module=__name__, doc="The gradient of clamp's argument: that of its result, where the argument is within the bounds.",
      samples=lambda m: [((m.t(3, 4), m.t(3, 4), -0.5, 0.7), {}), ((m.t(2, 0), m.t(2, 0), None, 0.5), {}), ((m.t(5), m.t(5), 0.0, None), {})])


def _clamp_vjp(g, input, min, max, needs):
    """Inside and on the bounds the gradient goes to the input, outside to the bound that was hit; `max` wins if they cross."""
    if not is_tensor(min) and not is_tensor(max):
        return F.clamp_backward(g, input, min, max), None, None
    grads = [F.where(_inside(input, min, max), g, 0) if needs[0] else None, None, None]
    if needs[1]:
        hit = F.lt(input, min)
        grads[1] = F.where(hit if max is None else F.logical_and(hit, F.lt(min, max)), g, 0)
    if needs[2]:
        hit = F.gt(input, max)
        grads[2] = F.where(hit if min is None else F.logical_or(hit, F.lt(max, min)), g, 0)
    return tuple(grads)


@primitive(POINT, args="input min max", ref=limited, infer=point_infer, promote=SAME, vjp=_clamp_vjp, onnx="Clip", scalar=clamp_scalar,
           forms="function method inplace out", aliases="clip",
           samples=lambda m: [((m.t(3, 4), -0.5, 0.7), {}), ((m.t(2, 3), m.t(3, low=-1, high=0), m.t(2, 1, low=0, high=1)), {}),
                              ((m.t(0),), {"max": 0.0}), ((m.t(5),), {"min": m.t(5)})])
def clamp(input, min=None, max=None):
    """Elements below `min` or above `max` replaced by it. Bounds: both numbers or both tensors, either may be left out."""
    need_tensor(input, "clamp")
    if min is None and max is None:
        fail(RuntimeError, "P140", "torch.clamp: At least one of 'min' or 'max' must not be None", fix="pass min=, max= or both")
    if min is not None and max is not None and is_tensor(min) is not is_tensor(max):
        fail(TypeError, "P141", "clamp() received an invalid combination of arguments: min and max must both be numbers or both "
             f"be tensors, got {type(min).__name__} and {type(max).__name__}")
    category = input.dtype.category
    if category == dt.COMPLEX:
        not_implemented("clamp is not supported for complex types", input.dtype)
    if category == dt.FLOAT:                # as its kernels take numbers
        min, max = float(min) if type(min) is int else min, float(max) if type(max) is int else max
    return (input, min, max), {}


def few(a, min=None, max=None):
    """`clamp` of few real numbers between two others."""
    if a.size < 1024 and a.dtype.kind == "f" and a.itemsize >= 4 and type(min) in (int, float) and type(max) in (int, float):
        return np.minimum(np.maximum(a, min), max)
    return None


clamp.front.of_array = few


def _clamp_names(name, second):
    def front(input, min=None, *, max=None):
        bound = min if max is None else max
        check_pair(name, "TN", input, bound)
        if common_dtype(input, bound).category == dt.COMPLEX:
            not_implemented("maximum_cpu" if second == "min" else "minimum_cpu", input.dtype)
        return (input, bound), {}
    front.plain = True
    return front


binary("clamp_min", lambda x, low: limited(x, low, None), {"input": lambda g, input, other: F.where(F.ge(input, other), g, 0),
                                 "other": lambda g, input, other: F.where(F.lt(input, other), g, 0)},
       front=_clamp_names("clamp_min", "min"), module=__name__, scalar=lambda b, x, y: b.max(x, y), doc="`max(input, min)`, elementwise.")
binary("clamp_max", lambda x, high: limited(x, None, high), {"input": lambda g, input, other: F.where(F.le(input, other), g, 0),
                                 "other": lambda g, input, other: F.where(F.gt(input, other), g, 0)},
       front=_clamp_names("clamp_max", "max"), module=__name__, scalar=lambda b, x, y: b.min(x, y), doc="`min(input, max)`, elementwise.")


# ---------------------------------------------------------------------------------------------------- extremes
def larger_share_ref(x, y):
    """1 where x > y, a half where equal, 0 where x < y; 1 beside nan: what of a maximum's gradient goes to x."""
    r = np.less(x, y).astype(x.dtype)
    r += np.less_equal(x, y)
    r *= -0.5
    r += 1
    return r


binary("larger_share", larger_share_ref, takes="TT", forms="", ns=(), module=__name__, grads=False,
       scalar=lambda b, x, y: b.select(b.lt(x, y), b.const(0, x), b.select(b.eq(x, y), b.const(0.5, x), 1)),
       doc="The part of a maximum's gradient that the first operand gets: 1, a half at ties, or 0.")
binary("maximum", np.maximum, {"input": lambda g, input, other: F.mul(g, F.larger_share(input, other)),
                               "other": lambda g, input, other: F.mul(g, F.larger_share(other, input))},
       takes="TT", forms="function method out", refuse="complex", kernel="maximum not implemented for complex tensors.",
       onnx="Max", module=__name__, scalar=lambda b, x, y: b.max(x, y),
       doc="The larger of two elements; nan if either is. At ties each operand gets half of the gradient.")
binary("minimum", np.minimum, {"input": lambda g, input, other: F.mul(g, F.larger_share(other, input)),
                               "other": lambda g, input, other: F.mul(g, F.larger_share(input, other))},
       takes="TT", forms="function method out", refuse="complex", kernel="minimum not implemented for complex tensors.",
       onnx="Min", module=__name__, scalar=lambda b, x, y: b.min(x, y),
       doc="The smaller of two elements; nan if either is. At ties each operand gets half of the gradient.")


def _first_wins(better):
    def mask(input, other):
        return F.logical_or(better(input, other), F.isnan(other))
    return {"input": lambda g, input, other: F.where(mask(input, other), g, 0),
            "other": lambda g, input, other: F.where(mask(input, other), 0, g)}


binary("fmax", np.fmax, _first_wins(lambda a, b: F.ge(a, b)), takes="TT", forms="function method out", refuse="complex",
       module=__name__, scalar=lambda b, x, y: b.maxnum(x, y), kernel="fmax not implemented for complex tensors.",
       doc="The larger of two elements; nan only if both are.")
binary("fmin", np.fmin, _first_wins(lambda a, b: F.le(a, b)), takes="TT", forms="function method out", refuse="complex",
       module=__name__, scalar=lambda b, x, y: b.minnum(x, y), kernel="fmin not implemented for complex tensors.",
       doc="The smaller of two elements; nan only if both are.")


# ---------------------------------------------------------------------------------------------------- floats' anatomy
def nan_to_num_ref(x, *, nan, posinf, neginf):
    kind = x.dtype.kind
    if kind == "c":
        r = np.empty(x.shape, x.dtype)
        r.real, r.imag = (nan_to_num_ref(p, nan=nan, posinf=posinf, neginf=neginf) for p in (x.real, x.imag))
        return r
    if kind != "f":
        return x.copy()
    r = np.array(x)
    r[np.isnan(x)] = nan
    r[x == np.inf] = posinf
    r[x == -np.inf] = neginf
    return r


def nan_to_num_scalar(b, x, *, nan, posinf, neginf):
    if not x.dtype.is_floating_point:
        return x
    r = b.select(b.eq(x, np.inf), b.const(posinf, x), b.select(b.eq(x, -np.inf), b.const(neginf, x), x))
    return b.select(b.isnan(x), b.const(nan, x), r)


@primitive(POINT, args="input", ref=nan_to_num_ref, infer=point_infer, scalar=nan_to_num_scalar, forms="function method inplace out",
           vjp={"input": lambda g, input: F.where(F.isfinite(input), g, 0)},
           samples=lambda m: [((m.t(3, 4),), {}), ((m.t(2, 0),), {"nan": 1.0}),
                              ((F.div(1.0, m.t(5, low=0, high=0)),), {"posinf": 3.0})])
def nan_to_num(input, nan=0.0, posinf=None, neginf=None):
    """nan replaced by `nan`, infinities by `posinf` / `neginf` (default: the dtype's largest and smallest number)."""
    need_tensor(input, "nan_to_num")
    info = dt.finfo(input.dtype.to_real()) if input.dtype.category >= dt.FLOAT else None
    return (input,), {"nan": 0.0 if nan is None else nan, "posinf": info.max if posinf is None and info else posinf,
                      "neginf": info.min if neginf is None and info else neginf}


binary("nextafter", np.nextafter, {"input": lambda g: g, "other": _zeros}, low=False, takes="TT", refuse="bool int complex",
       module=__name__,
       doc="The next representable number after `input` towards `other`.")


@composite(forms="function method inplace out",
           samples=lambda m: [((m.t(3, 4), m.i(4)), {}), ((m.t(2, 0), m.t(1)), {}), ((m.t(5), m.t(5)), {})])
def ldexp(input, other):
    """`input * 2 ** other`."""
    check_pair("ldexp", "TT", input, other)
    base = F.full((), 2.0, dtype=input.dtype if input.dtype.category >= dt.FLOAT else None)
    return F.mul(input, F.pow(base, other))


def _positive(m):
    return [((m.t(3, 4, low=0.6, high=0.9),), {}), ((m.t(2, 0),), {}), ((m.t(5, low=1.1, high=1.9),), {})]


frexp_result = result_type("frexp")


def frexp_ref(x):
    mantissa, exponent = np.frexp(x)
    return np.asarray(mantissa), np.asarray(exponent, np.int32)


@primitive(POINT, args="input", name="frexp_parts", ref=frexp_ref, nout=2, forms="", ns=(), samples=_positive,
           infer=lambda s: (s.like(), Spec(s.shape, dt.int32)),
           vjp={"input": lambda gs, out: F.div(gs[0], F.exp2(F.convert(out[1], out[0].dtype)))})
def frexp_parts(input):
    """Mantissa and exponent."""
    return (input,), {}


@composite(forms="function method", samples=_positive)
def frexp(input, *, out=None):
    """(mantissa, exponent) with `input = mantissa * 2 ** exponent` and 0.5 <= |mantissa| < 1; the exponent is int32."""
    need_tensor(input, "frexp")
    if input.dtype.category != dt.FLOAT:
        fail(RuntimeError, "P142", "torch.frexp() only supports floating-point dtypes", got=input.dtype.name)
    if out is None:
        return frexp_result(F.frexp_parts(input))
    for name, got, want in (("mantissa", out[0].dtype, input.dtype), ("exponent", out[1].dtype, dt.int32)):
        if got is not want:
            fail(RuntimeError, "P108", f"torch.frexp() expects {name} to have {'int dtype' if want is dt.int32 else f'dtype {want.type_name}'} "
                 f"but got {got.type_name}")
    return frexp_result(F.frexp_parts(input, out=tuple(out)))
