"""Elementwise arithmetic: sums, products, quotients, remainders, powers, signs.

`unary` and `binary` are how all elementwise families are defined: over a NumPy ufunc (or a function of arrays that
broadcasts), a derivative per operand, the operands it takes and the dtypes it refuses. They check arguments as PyTorch's
parser does; plain float operands skip the checks on the fast path.
"""
from __future__ import annotations

import cmath
import math

from ._common import describe, dt, fail, is_tensor, need_tensor, np, point_infer
from .op import COMPARE, FLOAT, POINT, SAME, F, composite, point, primitive

_CATEGORY = {"bool": dt.BOOL, "int": dt.INT, "float": dt.FLOAT, "complex": dt.COMPLEX}


# ---------------------------------------------------------------------------------------------------- definitions
def conj(x):
    """The complex conjugate of a tensor or a number, for derivatives; what is real is returned as it is."""
    if is_tensor(x):
        return F.conj_physical(x) if x.is_complex() else x
    return x.conjugate()


def common_dtype(*xs) -> dt.dtype:
    """The dtype that tensors and numbers meet in; None is skipped."""
    dims, zeros, numbers = [], [], []
    for x in xs:
        if is_tensor(x):
            (dims if x.ndim else zeros).append(x.dtype)
        elif x is not None:
            numbers.append(dt.of_number(x))
    return dt.result_type_of(dims, zeros, numbers)


def not_implemented(kernel: str, d: dt.dtype, *operands):
    """PyTorch's answer to a dtype that an operator has no meaning for. A sentence as `kernel` is used as it is."""
    text = kernel if " " in kernel else f"\"{kernel}\" not implemented for '{d.type_name}'"
    fail(NotImplementedError, "P110", text, got=describe(*operands) or d.name, fix="convert the tensor with .to(dtype) first")


def refusing(name: str, refuse: str, kernel: str | None):
    """A check `(*operands)` that the common dtype is of none of the categories in `refuse`; None if all are welcome."""
    if not refuse:
        return None
    refused = {_CATEGORY[w] for w in refuse.split()}
    kernel = kernel or name + "_cpu"

    def check(*operands):
        d = common_dtype(*operands)
        if d.category in refused:
            not_implemented(kernel, d, *operands)
    return check


def unary(name, ref, vjp=None, *, refuse="", kernel=None, domain=(-2.0, 2.0), **kw):
    """An elementwise operator of one tensor. `refuse` lists categories of dtypes, `domain` bounds its samples."""
    check = refusing(name, refuse, kernel)

    def front(input):
        need_tensor(input, name)
        if check is not None:
            check(input)
        return (input,), {}
    front.plain = True
    kw.setdefault("module", __name__)
    kw.setdefault("front", front)
    kw.setdefault("samples", lambda m: [((m.t(*shape, low=domain[0], high=domain[1]),),
                                         {}) for shape in ((3, 4), (2, 0), (), (5,))])
    return point(name, ref, vjp, **kw)


def binary(name, ref, vjp=None, *, takes="TN", refuse="", kernel=None, check=None, domain=(-2.0, 2.0), rounded=False, **kw):
    """An elementwise operator of two operands. `takes` says what they may be: "TT" tensors, "TN" the second a number,
    "NN" one of them a number, "any" both. `check(input, other)` is called off the fast path, after `refuse`. `rounded`:
    beside a low-precision tensor a number is rounded as the tensor's elements are. The front says by attributes what needs no check:
    two tensors of integers (`ints`), two of bools (`bools`), one of int64 and an int (`whole`)."""
    refused = refusing(name, refuse, kernel)

    def front(input, other):
        check_pair(name, takes, input, other)
        if refused is not None:
            refused(input, other)
        if check is not None:
            check(input, other)
        if rounded:
            input, other = beside_low(input, other), beside_low(other, input)
        return some_tensor(input, other) if takes == "any" else (input, other), {}
    front.plain = True
    front.numbers = takes != "TT"
    front.ints, front.bools = "int" not in refuse.split(), "bool" not in refuse.split() and check is None
    front.whole = front.numbers and front.ints and check is None and kw.get("promote") is not FLOAT
    kw.setdefault("promote", SAME)
    kw.setdefault("module", __name__)
    kw.setdefault("front", front)
    kw.setdefault("samples", pair_samples(*domain, takes))
    return point(name, ref, vjp, args="input other", **kw)


def beside_low(x, other):
    """A number, rounded to the other operand's dtype if that is of low precision."""
    if is_tensor(x) or not is_tensor(other) or other.dtype not in dt.LOW_PRECISION:
        return x
    return float(np.asarray(x, other.dtype.np))


def check_pair(name: str, takes: str, input, other, second: str = "other") -> None:
    """PyTorch's TypeError for an operand that is no tensor where one is needed."""
    if takes[0] == "T" or takes == "NN" and not is_tensor(other):
        need_tensor(input, name)
    if takes == "TT":
        need_tensor(other, name, second, 2)


def pair_samples(low, high, takes="TT"):
    """Samples of a binary operator whose operands lie in [low, high]: equal, broadcast, empty shapes and a number."""
    def samples(m):
        t = lambda *shape: m.t(*shape, low=low, high=high)      # noqa: E731
        pairs = [(t(3, 4), t(3, 4)), (t(2, 1, 3), t(4, 1)), (t(0, 3), t(3)), (t(), t(5))]
        if takes != "TT":
            pairs.append((t(3, 2), (low + 2 * high) / 3))
        return [(p, {}) for p in pairs]
    return samples


# ---------------------------------------------------------------------------------------------------- sums and products
def _check_alpha(input, other, alpha) -> None:
    d = common_dtype(input, other)
    if isinstance(alpha, bool) and d is not dt.bool_:
        fail(RuntimeError, "P111", "Boolean alpha only supported for Boolean results.", got=f"alpha={alpha}, result {d.name}")
    if d.category < dt.FLOAT and isinstance(alpha, float):
        fail(RuntimeError, "P112", "For integral input tensors, argument alpha must not be a floating point number.",
             got=f"alpha={alpha}, result {d.name}", fix="convert the tensors to a floating point dtype, or use an integer alpha")
    if d.category < dt.COMPLEX and isinstance(alpha, complex):
        fail(RuntimeError, "P113", "For non-complex input tensors, argument alpha must not be a complex number.",
             got=f"alpha={alpha}, result {d.name}")


def scaled(input, other, alpha):
    """`alpha * other`, computed in the dtype it will meet `input` in."""
    alpha = plain_number(alpha)
    _check_alpha(input, other, alpha)
    if not is_tensor(other):
        return other * alpha
    d = common_dtype(input, other)
    if is_tensor(input) and other.dtype is not input.dtype and other.ndim:
        other = F.convert(other, d)
    other = F.mul(other, alpha)
    return F.convert(other, d) if d is dt.bool_ else other


def _add_front(input, other, *, alpha=1):
    if alpha != 1 or type(alpha) is not int:
        other = scaled(input, other, alpha)
    return some_tensor(input, other), {}


def plain_number(x):
    """A 0-d tensor given where PyTorch takes a number, as that number."""
    if not is_tensor(x):
        return x
    if x.requires_grad:
        fail(RuntimeError, "P206", "a tensor that requires grad cannot be used as a number", fix="use x.item() or x.detach()")
    return x.item()


def some_tensor(input, other):
    """Two numbers as a 0-d tensor and a number."""
    if not is_tensor(input) and not is_tensor(other):
        input = F.full((), input)
    return input, other


def is_bool(x) -> bool:
    return x is True or x is False or (is_tensor(x) and x.dtype is dt.bool_)


def _check_sub(input, other) -> None:
    a, b = is_bool(input), is_bool(other)
    if a and b:
        fail(RuntimeError, "P114", "Subtraction, the `-` operator, with two bool tensors is not supported. "
             "Use the `^` or `logical_xor()` operator instead.",
             got=describe(input, other), fix="a ^ b is true where they differ; a & ~b is what a - b of sets would be")
    if a or b:
        fail(RuntimeError, "P115", "Subtraction, the `-` operator, with a bool tensor is not supported. "
             "If you are trying to invert a mask, use the `~` or `logical_not()` operator instead.",
             got=describe(input, other), fix="convert the mask with .float() or .long(), or invert it with ~")


def _sub_front(input, other, *, alpha=1):
    _check_sub(input, other)
    if alpha != 1 or type(alpha) is not int:
        other = scaled(input, other, alpha)
    return some_tensor(input, other), {}


_add_front.plain = _sub_front.plain = _add_front.whole = _sub_front.whole = True


def _same(g):
    return g


def _zeros(g):
    return F.zeros_like(g)


binary("add", np.add, {"input": _same, "other": _same}, front=_add_front, operator="add", onnx="Add",
       scalar=lambda b, x, y: b.add(x, y),
       doc="`input + alpha * other`, elementwise with broadcasting.",
       samples=lambda m: pair_samples(-2, 2, "TN")(m) + [((m.t(2, 3), m.t(3)), {"alpha": 0.5}),
                                                         ((m.t(2, 3), 2.0), {"alpha": 3})])
binary("sub", np.subtract, {"input": _same, "other": lambda g: F.neg(g)}, front=_sub_front, operator="sub",
       aliases="subtract", onnx="Sub", scalar=lambda b, x, y: b.sub(x, y), doc="`input - alpha * other`, elementwise with broadcasting. Refuses bools.",
       samples=lambda m: pair_samples(-2, 2, "TN")(m) + [((m.t(2, 3), m.t(3)), {"alpha": 0.5}),
                                                         ((m.t(2, 3), 2.0), {"alpha": 3})])
binary("mul", np.multiply, {"input": lambda g, other: F.mul(g, conj(other)), "other": lambda g, input: F.mul(g, conj(input))},
       takes="any", operator="mul", aliases="multiply", onnx="Mul", scalar=lambda b, x, y: b.mul(x, y),
       doc="`input * other`, elementwise with broadcasting.")


@composite(samples=lambda m: [((m.t(3, 4), m.t(4)), {}), ((m.t(2, 0), 2.0), {}), ((m.t(5), m.t(5)), {"alpha": 0.5})])
def rsub(input, other, *, alpha=1):
    """`other - alpha * input`, elementwise with broadcasting."""
    need_tensor(input, "rsub")
    return F.sub(other, input, alpha=alpha)


def _check_neg(input):
    need_tensor(input, "neg")
    if input.dtype is dt.bool_:
        fail(RuntimeError, "P116", "Negation, the `-` operator, on a bool tensor is not supported. If you are trying to invert "
             "a mask, use the `~` or `logical_not()` operator instead.", got=describe(input), fix="~x inverts a mask")
    return (input,), {}


_check_neg.plain = True
unary("neg", np.negative, lambda g: F.neg(g), front=_check_neg, promote=SAME, aliases="negative", operator="neg", onnx="Neg",
      scalar=lambda b, x: b.neg(x),
      doc="`-input`. Refuses bools.")


@composite(forms="function method", operator="pos", samples=lambda m: [((m.t(3, 4),), {}), ((m.t(2, 0),), {}), ((m.i(5),), {})])
def positive(input):
    """`+input`: the tensor itself. Refuses bools."""
    if input.dtype is dt.bool_:
        fail(RuntimeError, "P117", "The `+` operator, on a bool tensor is not supported.")
    return input


# ---------------------------------------------------------------------------------------------------- quotients
_ROUNDING = {"floor": "div_floor", "trunc": "div_trunc"}


def _div_front(input, other, *, rounding_mode=None):
    if rounding_mode is None:
        return some_tensor(input, other), {}
    if rounding_mode not in _ROUNDING:
        fail(RuntimeError, "P118", "div expected rounding_mode to be one of None, 'trunc', or 'floor' but found "
             f"'{rounding_mode}'", fix="None divides truly, 'trunc' rounds to zero, 'floor' rounds down")
    return _ROUNDING[rounding_mode], (input, other), {}


_div_front.plain = True
_DIV_VJP = {"input": lambda g, other: F.div(g, conj(other)),
            "other": lambda g, input, other: F.neg(F.mul(g, conj(F.div(F.div(input, other), other))))}
binary("div", np.true_divide, _DIV_VJP, front=_div_front, promote=FLOAT, operator="truediv div", aliases="divide", onnx="Div",
       scalar=lambda b, x, y: b.div(x, y),
       doc="`input / other`, elementwise with broadcasting; integers give the default float. `rounding_mode` \"floor\" or "
           "\"trunc\" rounds the quotient and keeps integers.",
       samples=lambda m: pair_samples(0.5, 2, "TN")(m) + [((m.t(2, 3), m.t(3, low=0.5)),
                                                           {"rounding_mode": r}) for r in _ROUNDING])
binary("true_divide", np.true_divide, _DIV_VJP, takes="any", promote=FLOAT, domain=(0.5, 2), scalar=lambda b, x, y: b.div(x, y),
       doc="`input / other`, elementwise with broadcasting; integers give the default float.")


def no_zero_divisor(x, y) -> None:
    """Integer division by zero is an error, as in PyTorch; floats give inf or nan."""
    if x.dtype.kind in "iu" and not np.asarray(y).all():
        fail(RuntimeError, "P119", "ZeroDivisionError", got="an integer divisor of 0",
             fix="convert to a floating point dtype first")


def floor_divide_ref(x, y):
    no_zero_divisor(x, y)
    return np.floor_divide(x, y)


def trunc_divide_ref(x, y):
    if x.dtype.kind not in "iu":
        return np.trunc(np.true_divide(x, y))
    no_zero_divisor(x, y)
    q = np.floor_divide(x, y)
    return q + ((q < 0) & (q * y != x)).astype(q.dtype)        # towards zero


def _first_array(ref):
    """`ref` for operands of which the first may be a Python number."""
    def run(x, y):
        return ref(x if isinstance(x, (np.ndarray, np.generic)) else np.asarray(x, y.dtype), y)
    return run


def _divisor(b, x, y):
    """Both operands, the integer divisor known not to be 0: others are checked by the reference."""
    x, y = b.pair(x, y)
    if not x.dtype.is_floating_point and not b.number(y):
        b.refuse("integer division by a divisor that may be 0")
    return x, y


def floor_divide_scalar(b, x, y):
    return b.floordiv(*_divisor(b, x, y))


def trunc_divide_scalar(b, x, y):
    x, y = _divisor(b, x, y)
    if not x.dtype.is_floating_point:
        return b.div_trunc(x, y)
    return b.trunc(b.rounded(b.div(x, y)))


_NO_DIV = {"refuse": "bool complex", "rounded": True, "domain": (0.5, 3.0)}
_STEP = {"input": _zeros, "other": _zeros}
binary("div_floor", _first_array(floor_divide_ref), _STEP, takes="any", kernel="div_floor_cpu", forms="", ns=(),
       scalar=floor_divide_scalar, **_NO_DIV)
binary("div_trunc", _first_array(trunc_divide_ref), _STEP, takes="any", kernel="div_trunc_cpu", forms="", ns=(),
       low=False, scalar=trunc_divide_scalar, **_NO_DIV)          # a low-precision quotient is rounded before it is cut
binary("floor_divide", _first_array(floor_divide_ref), _STEP, takes="any", operator="floordiv", kernel="div_floor_cpu",
       scalar=floor_divide_scalar,
       doc="The quotient rounded towards minus infinity; integers stay integers.", **_NO_DIV)


def remainder_ref(x, y):
    no_zero_divisor(x, y)
    return np.remainder(x, y)


def fmod_ref(x, y):
    no_zero_divisor(x, y)
    return np.fmod(x, y)


binary("remainder", _first_array(remainder_ref),
       {"input": _same, "other": lambda g, input, other: F.neg(F.mul(g, F.div_floor(input, other)))},
       takes="NN", operator="mod", onnx="Mod", scalar=lambda b, x, y: b.mod(*_divisor(b, x, y)),
       doc="Python's modulus: the result has the divisor's sign.", **_NO_DIV)
binary("fmod", fmod_ref, {"input": _same, "other": lambda g, input, other: F.neg(F.mul(g, F.div_trunc(input, other)))},
       scalar=lambda b, x, y: b.rem(*_divisor(b, x, y)), doc="C's fmod: the result has the dividend's sign.", **_NO_DIV)
unary("reciprocal", np.reciprocal, lambda g, out: F.neg(F.mul(g, conj(F.mul(out, out)))), onnx="Reciprocal", domain=(0.5, 2),
      aliases="", scalar=lambda b, x: b.recip(x), doc="`1 / input`.")


# ---------------------------------------------------------------------------------------------------- powers
def pow_ref(x, y):
    if isinstance(y, float):              # the exponents that have a quicker and better way
        if y == 2.0:
            return np.square(x)
        if y == 0.5 and x.dtype.kind == "f":
            return np.sqrt(x)
        if y == 3.0:
            return x * x * x
        if y == -1.0:
            return np.reciprocal(x)
    d = y.dtype if isinstance(y, (np.ndarray, np.generic)) else x.dtype
    if d.kind in "iu":
        return int_pow(np.asarray(x, d), y)
    return np.power(x, y)


def pow_scalar(b, x, y):
    x, y = b.pair(x, y)
    n = b.number(y)
    if x.dtype.is_floating_point:
        quick = {2.0: lambda: b.mul(x, x), 0.5: lambda: b.sqrt(x), 3.0: lambda: b.mul(b.mul(x, x), x), -1.0: lambda: b.recip(x)}
        return quick[n]() if n in quick else b.pow(x, y)
    if n is None or not 0 <= n <= 64:
        b.refuse("an integer power whose exponent is not a small number")
    r, base = b.const(1, x), x
    while n:                              # by squaring: integers wrap, so the order does not matter
        r, n = b.mul(r, base) if n & 1 else r, n >> 1
        base = b.mul(base, base) if n else base
    return r


def int_pow(x, y):
    """Integer powers; a negative exponent gives 1 for 1, +-1 for -1, and 0 otherwise."""
    negative = np.less(y, 0)
    if not negative.any():
        return np.power(x, y)
    r = np.power(x, np.where(negative, -y, y))
    inverse = np.where(x == 1, 1, np.where(x == -1, r, 0)).astype(r.dtype)
    return np.where(negative, inverse, r)


def _check_pow(input, other):
    for x, y in ((input, other), (other, input)):
        if is_tensor(x) and x.dtype is dt.float16 and isinstance(y, complex):
            fail(NotImplementedError, "P207", "\"pow\" not implemented for 'ComplexHalf'",
                 fix="convert the tensor to float32 first")
    if is_tensor(input) and not is_tensor(other) and other is not None:
        if input.dtype.category == dt.INT and isinstance(other, int) and other < 0:
            fail(RuntimeError, "P120", "Integers to negative integer powers are not allowed.",
                 got=f"{input.dtype.name} ** {other}",
                 fix="convert the tensor to a floating point dtype first")



def _pow_base_vjp(g, input, other):
    if not is_tensor(other):
        if other == 0:
            return F.zeros_like(g)
        if other == 2:
            return F.mul(g, conj(F.mul(input, 2)))
        return F.mul(g, conj(F.mul(F.pow(input, other - 1), other)))
    return F.where(F.eq(other, 0), 0, F.mul(g, conj(F.mul(other, F.pow(input, F.sub(other, 1))))))


def _pow_exponent_vjp(g, input, other):
    if is_tensor(input):
        log, zero = F.log(input), F.eq(input, 0)
    elif input == 0:
        return F.zeros_like(g)
    else:
        log = cmath.log(input) if other.is_complex() else math.log(input) if input > 0 else math.nan
        return F.mul(g, conj(F.mul(F.pow(input, other), log)))
    grad = F.mul(g, conj(F.mul(F.pow(input, other), log)))
    return F.where(zero if other.is_complex() else F.logical_and(zero, F.ge(other, 0)), 0, grad)


binary("pow", pow_ref, {"input": _pow_base_vjp, "other": _pow_exponent_vjp}, takes="NN", refuse="bool", kernel="pow",
       check=_check_pow, operator="pow", onnx="Pow", scalar=pow_scalar,
       doc="`input ** other`, elementwise with broadcasting; either may be a number.",
       samples=lambda m: pair_samples(0.5, 2, "TN")(m) + [((m.t(3), 2), {}), ((m.t(2, 3, low=0.5), -0.5), {}),
                                                          ((2.0, m.t(3)), {})])


def _float_power_operands(input, exponent):
    """The operands in float64, or complex128 if one is complex."""
    if not is_tensor(input):
        need_tensor(exponent, "float_power", "exponent", 2)
    d = dt.complex128 if common_dtype(input, exponent).category == dt.COMPLEX else dt.float64
    return d, *[F.convert(x, d) if is_tensor(x) else x for x in (input, exponent)]


@composite(forms="function method", samples=lambda m: [((m.t(3, 4, low=0.5), m.t(4)), {}), ((m.t(2, 0), 2.0), {}),
                                                       ((2.0, m.t(5)), {})])
def float_power(input, exponent, *, out=None):
    """`input ** exponent` computed in float64 (complex128 for complex operands)."""
    d, a, b = _float_power_operands(input, exponent)
    if out is None:
        return F.pow(a, b)
    if out.dtype is not d:
        fail(RuntimeError, "P209", f"the output given to float_power has dtype {out.dtype.type_name} but the operation's result requires "
             f"dtype {d.type_name}")
    return F.pow(a, b, out=out)


@composite(name="float_power_inplace", public="float_power_", forms="method",
           samples=lambda m: [((F.convert(m.t(*shape, low=0.5).detach(), dt.float64), 1.5),
                               {}) for shape in ((3, 4), (2, 0), (5,))])
def float_power_inplace(input, exponent):
    """`float_power` written to its base, which must have the result's dtype."""
    d, _, b = _float_power_operands(input, exponent)
    if input.dtype is not d:
        fail(RuntimeError, "P208", f"the base given to float_power_ has dtype {input.dtype.type_name} but the operation's result requires "
             f"dtype {d.type_name}")
    return input.pow_(b)


def square_ref(x):
    return np.square(x) if x.dtype.kind != "b" else x.astype(np.int64)


unary("square", square_ref, lambda g, input: F.mul(g, conj(F.mul(input, 2))), promote=SAME,
      infer=lambda s: s.like(dtype=dt.int64) if s.dtype is dt.bool_ else s.like(),
      scalar=lambda b, x: b.square(b.cast(x, dt.int64) if x.dtype is dt.bool_ else x), doc="`input * input`; bools give int64.")
unary("sqrt", np.sqrt, lambda g, out: F.div(g, F.mul(conj(out), 2)), onnx="Sqrt", domain=(0.1, 2),
      scalar=lambda b, x: b.sqrt(x), doc="The square root.")
unary("rsqrt", lambda x: np.reciprocal(np.sqrt(x)), lambda g, out: F.mul(F.mul(g, -0.5), conj(F.mul(F.mul(out, out), out))),
      domain=(0.1, 2), scalar=lambda b, x: b.recip(b.sqrt(x)), doc="`1 / sqrt(input)`.")


# ---------------------------------------------------------------------------------------------------- signs
def _abs_infer(s):
    return s.like(dtype=s.dtype.to_real())


def _abs_front(input):
    need_tensor(input, "abs")
    if input.dtype is dt.bool_:
        not_implemented("abs_cpu", input.dtype)
    return (input,), {}


def _abs_inplace(input):
    if input.is_complex():
        fail(RuntimeError, "P205", "In-place abs is not supported for complex tensors.", fix="the result is real: use x.abs()")


_abs_front.plain, _abs_front.refuse_inplace = True, _abs_inplace
unary("abs", np.absolute, lambda g, input: F.mul(g, F.sgn(input)), front=_abs_front, promote=SAME, infer=_abs_infer,
      aliases="absolute", operator="abs", onnx="Abs", scalar=lambda b, x: b.abs(x), doc="The absolute value; a complex tensor gives a real one.")


def sign_ref(x):
    """NumPy's sign, but 0 for nan."""
    if x.dtype.kind == "f":
        return np.subtract(x > 0, x < 0, dtype=x.dtype)
    return x.copy() if x.dtype.kind == "b" else np.sign(x)


def sign_scalar(b, x):
    if x.dtype is dt.bool_:
        return x
    return b.sub(b.cast(b.gt(x, 0), x.dtype), b.cast(b.lt(x, 0), x.dtype)) if x.dtype.is_signed else b.cast(b.gt(x, 0), x.dtype)


def _sgn_vjp(g, input, out):
    """For complex z: the part of g across z, over |z| (0 at z = 0)."""
    if not input.is_complex():
        return F.zeros_like(g)
    size = F.abs(input)
    across = F.sub(g, F.mul(out, F.real(F.mul(g, conj(out)))))
    return F.where(F.eq(size, 0), 0, F.div(across, size))


unary("sign", sign_ref, _zeros, promote=SAME, refuse="complex", onnx="Sign",
      kernel="Unlike NumPy, torch.sign is not intended to support complex numbers. Please use torch.sgn instead.", scalar=sign_scalar,
      doc="-1, 0 or 1 by sign; 0 for nan. Complex tensors: see sgn.")
unary("sgn", lambda x: np.sign(x) if x.dtype.kind == "c" else sign_ref(x), _sgn_vjp, promote=SAME, scalar=sign_scalar,
      doc="The sign; for complex elements z / |z|, and 0 for 0.")
unary("signbit", lambda x: np.signbit(x) if x.dtype.kind == "f" else x < 0, promote=COMPARE, refuse="complex",
      kernel="signbit is not implemented for complex tensors.", forms="function method out",
      scalar=lambda b, x: b.lt(b.bitcast(x, dt.int64 if x.dtype is dt.float64 else dt.int32) if x.dtype.is_floating_point else x, 0),
      doc="Whether the sign bit is set: True for -0.0 and negative numbers.")


def _copysign_vjp(g, input, out):
    return F.where(F.eq(input, 0), 0, F.mul(g, F.div(out, input)))


binary("copysign", np.copysign, {"input": _copysign_vjp, "other": _zeros}, promote=FLOAT, refuse="complex",
       scalar=lambda b, x, y: b.copysign(x, y), doc="The magnitude of `input` with the sign of `other`.")


def heaviside_ref(x, values):
    return np.where(x == 0, values, (x > 0).astype(x.dtype))


def _heaviside_samples(m):
    return [((m.t(3, 4), m.t(4)), {}), ((m.t(2, 0), m.t(0)), {}), ((m.t(), m.t(5)), {})]


@primitive(POINT, args="input values", ref=heaviside_ref, infer=point_infer, promote=SAME, forms="method inplace", grads=False,
           samples=_heaviside_samples, scalar=lambda b, x, v: b.select(b.eq(x, 0), v, b.cast(b.gt(x, 0), x.dtype)))
def heaviside(input, values):
    """0 below zero, 1 above, `values` at zero; 0 for nan. Both tensors have one dtype."""
    check_pair("heaviside", "TT", input, values, "values")
    if input.is_complex() or values.is_complex():
        not_implemented("heaviside is not yet implemented for complex tensors.", input.dtype)
    if input.dtype is not values.dtype:
        fail(RuntimeError, "P121", "heaviside is not yet implemented for tensors with different dtypes.",
             got=f"{input.dtype.name} and {values.dtype.name}")
    return (input, values), {}


@composite(name="heaviside_function", public="heaviside", samples=_heaviside_samples)
def heaviside_function(input, values, *, out=None):
    """0 below zero, 1 above, `values` at zero; 0 for nan. Both tensors have one dtype."""
    if out is None:
        return F.heaviside(input, values)
    if out.is_complex():
        not_implemented("heaviside is not yet implemented for complex tensors.", out.dtype)
    return F.heaviside(input, values, out=out)


# ---------------------------------------------------------------------------------------------------- dtype
def convert_ref(a, *, dtype):
    if a.dtype.kind == "c" and dtype.category != dt.COMPLEX:
        a = a.real
    return a.astype(dtype.np)


@primitive(POINT, args="input", ref=convert_ref, jvp="input", infer=lambda s, *, dtype: s.like(dtype=dtype), low=False, forms="", ns=(),
           samples=lambda m: [((m.t(3, 4), dt.float64), {}), ((m.t(2, 0), dt.float64), {}), ((m.i(5), dt.float32), {})],
           scalar=lambda b, x, *, dtype: b.cast(x, dtype), vjp={"input": lambda g, input_dtype: F.convert(g, input_dtype)})
def convert(input, dtype):
    """The values in another dtype."""
    return (input,), {"dtype": dtype}
