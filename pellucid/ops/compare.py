"""Comparisons, tests of single elements, logical operators, and the choice between two tensors by a mask."""
from __future__ import annotations

import warnings

from ._common import Spec, broadcast_shapes, compare_infer, describe, dt, fail, is_tensor, need_tensor, np
from .elementwise import binary, check_pair, common_dtype, unary
from .op import COMPARE, POINT, F, composite, primitive


# ---------------------------------------------------------------------------------------------------- comparisons

binary("eq", np.equal, promote=COMPARE, scalar=lambda b, x, y: b.eq(x, y), operator="eq", onnx="Equal", module=__name__,
       doc="Whether `input == other`, elementwise.")
binary("ne", np.not_equal, promote=COMPARE, scalar=lambda b, x, y: b.ne(x, y), operator="ne", aliases="not_equal", module=__name__,
       doc="Whether `input != other`, elementwise.")
for _name, _ref, _alias, _onnx, _sign in (
        ("lt", np.less, "less", "Less", "<"), ("le", np.less_equal, "less_equal", "LessOrEqual", "<="),
        ("gt", np.greater, "greater", "Greater", ">"), ("ge", np.greater_equal, "greater_equal", "GreaterOrEqual", ">=")):
    binary(_name, _ref, promote=COMPARE, operator=_name, aliases=_alias, onnx=_onnx, refuse="complex", module=__name__,
           scalar=lambda b, x, y, _name=_name: getattr(b, _name)(x, y), doc=f"Whether `input {_sign} other`, elementwise. Complex numbers have no order.")


# ---------------------------------------------------------------------------------------------------- tests of elements
def test(name, ref, **kw):
    """A question about each element: a bool tensor."""
    unary(name, ref, promote=COMPARE, forms="function method", module=__name__, **kw)


test("isnan", np.isnan, scalar=lambda b, x: b.isnan(x), onnx="IsNaN", doc="Whether each element is nan (for complex: a part is).")
test("isinf", np.isinf, scalar=lambda b, x: b.isinf(x), onnx="IsInf", doc="Whether each element is infinite (for complex: a part is).")
test("isfinite", np.isfinite, scalar=lambda b, x: b.isfinite(x), doc="Whether each element is neither infinite nor nan.")
test("isreal", lambda x: np.asarray(x.imag == 0) if x.dtype.kind == "c" else np.ones_like(x, np.bool_, subok=False),
     scalar=lambda b, x: b.const(True, dt.bool_),
     doc="Whether each element's imaginary part is 0.")
def is_number(b, x, value):
    """Whether a float is `value`; integers are not."""
    return b.eq(x, value) if x.dtype.is_floating_point else b.const(False, dt.bool_)


unary("is_plus_inf", lambda x: x == np.inf, promote=COMPARE, refuse="complex", forms="", ns=(), module=__name__,
      kernel="isposinf does not support complex inputs.", scalar=lambda b, x: is_number(b, x, np.inf), doc="Whether each element is +inf.")
unary("is_minus_inf", lambda x: x == -np.inf, promote=COMPARE, refuse="complex", forms="", ns=(), module=__name__,
      kernel="isneginf does not support complex inputs.", scalar=lambda b, x: is_number(b, x, -np.inf), doc="Whether each element is -inf.")


def _bool_out(fn: str, out) -> None:
    if out is not None and out.dtype is not dt.bool_:
        fail(RuntimeError, "P107", f"{fn} does not support non-boolean outputs.", got=describe(out))


def _unary_samples(m):
    return [((m.t(3, 4),), {}), ((m.t(2, 0),), {}), ((m.t(5),), {})]


@composite(forms="function method", samples=_unary_samples)
def isposinf(input, *, out=None):
    """Whether each element is +inf."""
    _bool_out("isposinf", out)
    return F.is_plus_inf(input) if out is None else F.is_plus_inf(input, out=out)


@composite(forms="function method", samples=_unary_samples)
def isneginf(input, *, out=None):
    """Whether each element is -inf."""
    _bool_out("isneginf", out)
    return F.is_minus_inf(input) if out is None else F.is_minus_inf(input, out=out)


# ---------------------------------------------------------------------------------------------------- closeness
def isclose_ref(x, y, *, rtol, atol, equal_nan):
    close = np.equal(x, y)
    if x.dtype.kind in "fc":
        if equal_nan:
            close = close | (np.isnan(x) & np.isnan(y))
    elif rtol == 0 and atol == 0:
        return close
    else:
        y = y.astype(np.float64)
    allowed = atol + np.abs(rtol * y)
    actual = np.abs(x - y)
    return close | (np.isfinite(actual) & (actual <= allowed))


def isclose_scalar(b, x, y, *, rtol, atol, equal_nan):
    close = b.eq(x, y)
    if x.dtype.is_floating_point:
        if equal_nan:
            close = b.or_(close, b.and_(b.isnan(x), b.isnan(y)))
        allowed, actual = b.add(b.abs(b.mul(y, rtol)), atol), b.abs(b.sub(x, y))
    elif rtol == 0 and atol == 0:
        return close
    elif x.dtype is dt.bool_:
        b.refuse("differences of bools")
    else:
        allowed = b.add(b.abs(b.mul(b.cast(y, dt.float64), rtol)), atol)
        actual = b.abs(b.sub(b.cast(x, dt.float64), b.cast(y, dt.float64)))
    return b.or_(close, b.and_(b.isfinite(actual), b.le(actual, allowed)))


@primitive(POINT, args="input other", ref=isclose_ref, scalar=isclose_scalar, infer=compare_infer, forms="function method", grads=False,
           samples=lambda m: [((m.t(3, 4), m.t(3, 4)), {"atol": 0.5}), ((m.t(2, 1), m.t(3)), {"rtol": 1.0}),
                              ((m.t(0), m.t(0)), {})])
def isclose(input, other, rtol=1e-05, atol=1e-08, equal_nan=False):
    """Whether `|input - other| <= atol + rtol * |other|`, elementwise; with `equal_nan`, nan is close to nan."""
    check_pair("isclose", "TT", input, other)
    if input.dtype is not other.dtype:
        fail(RuntimeError, "P124", f"{input.dtype.type_name} did not match {other.dtype.type_name}",
             fix="convert one of the tensors: isclose compares equal dtypes")
    for name, value in (("rtol", rtol), ("atol", atol)):
        if value < 0:
            fail(RuntimeError, "P125", f"{name} must be greater than or equal to zero, but got {value}")
    return (input, other), {"rtol": rtol, "atol": atol, "equal_nan": bool(equal_nan)}


@composite(forms="function method", samples=lambda m: [((m.t(3, 4), m.t(3, 4)), {}), ((m.t(2, 0), m.t(2, 0)), {}),
                                                       ((m.t(5), m.t(5)), {"atol": 9.0})])
def allclose(input, other, rtol=1e-05, atol=1e-08, equal_nan=False) -> bool:
    """Whether all elements are close (see isclose). A Python bool."""
    return bool(F.all(F.isclose(input, other, rtol, atol, equal_nan)))


@composite(forms="function method", samples=lambda m: [((m.t(3, 4), m.t(3, 4)), {}), ((m.t(2, 0), m.t(2, 0)), {}),
                                                       ((m.i(5), m.t(5)), {})])
def equal(input, other) -> bool:
    """Whether both tensors have the same shape and the same values. A Python bool."""
    check_pair("equal", "TT", input, other)
    return tuple(input.shape) == tuple(other.shape) and bool(F.all(F.eq(input, other)))


# ---------------------------------------------------------------------------------------------------- logic
for _name in ("and", "or", "xor"):
    binary(f"logical_{_name}", getattr(np, f"logical_{_name}"), takes="TT", promote=COMPARE, module=__name__,
           scalar=lambda b, x, y, _way=_name if _name == "xor" else _name + "_": getattr(b, _way)(b.truth(x), b.truth(y)),
           onnx=_name.capitalize(), doc=f"Logical {_name} of the elements' truth (0 is False). A bool tensor.")
unary("logical_not", np.logical_not, promote=COMPARE, module=__name__, onnx="Not", scalar=lambda b, x: b.not_(b.truth(x)),
      doc="True where the element is 0. A bool tensor.")


# ---------------------------------------------------------------------------------------------------- choice
def where_infer(condition, input, other) -> Spec:
    tensors = [x for x in (condition, input, other) if isinstance(x, Spec)]
    d = next((x.dtype for x in (input, other) if isinstance(x, Spec)), None) or dt.of_number(input)
    return Spec(broadcast_shapes(*[x.shape for x in tensors]), d)


_BITS = {4: np.int32, 8: np.int64}


def keep(mask, x):
    """The array `x` where `mask`, zero elsewhere (even where x is nan). Large floats are masked by their bits: NumPy's
    `where` costs ten times as much on an irregular mask."""
    if x.size < 1000 or x.dtype.kind != "f" or x.itemsize not in _BITS or mask.shape != x.shape:
        return np.where(mask, x, x.dtype.type(0))
    return np.bitwise_and(x.view(_BITS[x.itemsize]), np.negative(mask.view(np.int8))).view(x.dtype)


def blend(mask, x, y):
    """The array `x` where `mask`, the array `y` elsewhere; large floats by their bits, as in `keep`."""
    d = x.dtype
    if mask.size < 1000 or d.kind != "f" or y.dtype != d or d.itemsize not in _BITS or not mask.shape == x.shape == y.shape:
        return np.where(mask, x, y)
    x, y = x.view(_BITS[d.itemsize]), y.view(_BITS[d.itemsize])
    r = np.bitwise_xor(x, y)
    np.bitwise_and(r, np.negative(mask.view(np.int8)), out=r)
    np.bitwise_xor(r, y, out=r)
    return r.view(d)


def where_ref(condition, input, other):
    a, b = isinstance(input, np.ndarray), isinstance(other, np.ndarray)
    if a and b:
        return blend(condition, input, other)
    if a:
        return keep(condition, input) if other == 0 else np.where(condition, input, other)
    if b:
        return keep(~condition, other) if input == 0 else np.where(condition, input, other)
    d = dt.of_number(input).np
    return np.where(condition, d.type(input), d.type(other))


def _number_for(x, d: dt.dtype):
    """A number as it stands beside tensors of dtype `d`."""
    return complex(x) if d.category == dt.COMPLEX else float(x) if d.category == dt.FLOAT else bool(x) if d is dt.bool_ else int(x)


def where_scalar(b, condition, x, y):
    if isinstance(x, (int, float)) and isinstance(y, (int, float)):
        x = b.const(x, dt.of_number(x))
    return b.select(condition, x, y)


@primitive(POINT, args="condition input other", ref=where_ref, infer=where_infer, scalar=where_scalar, forms="function out", onnx="Where",
           vjp={"input": lambda g, condition: F.where(condition, g, 0), "other": lambda g, condition: F.where(condition, 0, g)},
           samples=lambda m: [((m.b(3, 4), m.t(3, 4), m.t(4)), {}), ((m.b(2, 1), m.t(3), 0.5), {}),
                              ((m.b(0), m.t(0), m.t(0)), {})])
def where(condition, input=None, other=None):
    """`input` where `condition` is True, `other` elsewhere; either may be a number. `where(condition)` alone gives the
    indices of True elements, as `nonzero(condition, as_tuple=True)`."""
    if input is None and other is None:
        return "nonzero", (condition,), {"as_tuple": True}
    need_tensor(condition, "where", "condition")
    if condition.dtype is not dt.bool_:
        if condition.dtype is not dt.uint8:
            fail(RuntimeError, "P126", "where expected condition to be a boolean tensor, but got a tensor with dtype "
                 + condition.dtype.type_name, fix="compare first: where(condition != 0, ...)")
        warnings.warn("where received a uint8 condition tensor. This behavior is deprecated and will be removed in a future "
                      "version of PyTorch. Use a boolean condition instead.", stacklevel=2)
        condition = F.convert(condition, dt.bool_)
    a, b = is_tensor(input), is_tensor(other)
    if a and b and input.dtype is other.dtype:
        return (condition, input, other), {}
    d = common_dtype(input, other)
    input = (input if input.dtype is d else F.convert(input, d)) if a else _number_for(input, d)
    other = (other if other.dtype is d else F.convert(other, d)) if b else _number_for(other, d)
    return (condition, input, other), {}


@composite(name="where_method", public="where", forms="method",
           samples=lambda m: [((m.t(3, 4), m.b(3, 4), m.t(4)), {}), ((m.t(2, 0), m.b(2, 1), 0.0), {}),
                              ((m.t(5), m.b(5), m.t(5)), {})])
def where_method(input, condition, other):
    """`input` where `condition` is True, `other` elsewhere."""
    return F.where(condition, input, other)
