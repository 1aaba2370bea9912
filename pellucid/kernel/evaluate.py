"""What each operation of the loop IR means, on NumPy scalars or arrays: the printer's Python, constant folding and the tests.

In: an operation's name, its result's dtype, operands of the right dtypes. Out: a NumPy value of that dtype.
True always: integers wrap, division by zero of floats gives inf or nan; transcendental functions of float32 are computed in
float64 and rounded once.
"""
from __future__ import annotations

import math

import numpy as np

from ..core import dtype as dt
from ..core.dtype import dtype
from .ir import Apply, Const, Expr, Load, Var

_erf = np.frompyfunc(math.erf, 1, 1)
_erfc = np.frompyfunc(math.erfc, 1, 1)


def _slow(f):
    return lambda x: np.asarray(f(x), np.float64)[()]


def _sigmoid(x):
    """In the dtype's own range: 0 where exp(-x) overflows."""
    one = x.dtype.type(1)
    return one / (one + np.exp(-x.astype(np.float64)).astype(x.dtype))


DIRECT = {
    "add": np.add, "sub": np.subtract, "mul": np.multiply, "div": np.true_divide, "neg": np.negative, "abs": np.absolute,
    "max": np.maximum, "min": np.minimum, "maxnum": np.fmax, "minnum": np.fmin, "copysign": np.copysign, "rem": np.fmod,
    "floordiv": np.floor_divide, "mod": np.remainder, "floor": np.floor, "ceil": np.ceil, "trunc": np.trunc, "rint": np.rint,
    "eq": np.equal, "ne": np.not_equal, "lt": np.less, "le": np.less_equal, "gt": np.greater, "ge": np.greater_equal,
    "and": np.bitwise_and, "or": np.bitwise_or, "xor": np.bitwise_xor, "not": np.invert, "shl": np.left_shift, "shr": np.right_shift,
    "select": np.where, "isnan": np.isnan, "sqrt": np.sqrt,
}
# computed in float64 and rounded
WIDE = {
    "exp": np.exp, "exp2": np.exp2, "expm1": np.expm1, "log": np.log, "log2": np.log2, "log10": np.log10, "log1p": np.log1p,
    "tanh": np.tanh, "sinh": np.sinh, "cosh": np.cosh, "sin": np.sin, "cos": np.cos, "tan": np.tan, "asin": np.arcsin,
    "acos": np.arccos, "atan": np.arctan, "atan2": np.arctan2, "pow": np.power, "erf": _slow(_erf), "erfc": _slow(_erfc),
    "rsqrt": lambda x: 1 / np.sqrt(x), "fma": lambda x, y, z: x * y + z,
}


def apply(name: str, d: dtype, *args):
    """One operation."""
    with np.errstate(all="ignore"):
        if name == "cast":
            return cast(args[0], d)
        if name == "bitcast":
            return np.asarray(args[0]).view(d.np)[()]
        if name == "sigmoid":
            return _sigmoid(np.asarray(args[0]))[()]
        if name in DIRECT:
            return np.asarray(DIRECT[name](*args)).astype(d.np, copy=False)[()]
        if d.category == dt.INT:                       # pow of integers
            return np.asarray(WIDE[name](*args)).astype(d.np, copy=False)[()]
        wide = [np.asarray(a, np.float64) for a in args]
        return np.asarray(WIDE[name](*wide)).astype(d.np)[()]


def cast(x, d: dtype):
    """The value in another dtype: cut towards zero, wrapped, or whether it is not 0. What no integer can hold (nan, 1e30)
    gives what the processor gives."""
    x = np.asarray(x)
    return (x != 0)[()] if d is dt.bool_ else x.astype(d.np)[()]


def evaluate(e: Expr, env: dict, memo: dict | None = None):
    """An expression's value; `env` has variables by name (numbers or arrays) and a buffer's flat array by its name."""
    memo = {} if memo is None else memo
    found = memo.get(id(e))
    if found is not None:
        return found[1]
    if isinstance(e, Const):
        v = e.dtype.np.type(e.value)
    elif isinstance(e, Var):
        v = env[e.name]
    elif isinstance(e, Load):
        at = e.index.const if isinstance(e.index.const, int) else env[e.index.const]
        for name, c in e.index.terms:
            at = at + env[name] * (c if isinstance(c, int) else env[c])
        v = env[e.buf][at]
        if v.dtype != e.dtype.np:
            v = v.astype(e.dtype.np)
    elif isinstance(e, Apply):
        v = apply(e.name, e.dtype, *[evaluate(a, env, memo) for a in e.args])
    else:
        raise TypeError(f"not an expression: {e!r}")
    memo[id(e)] = (e, v)
    return v
