"""The builder: what the operators' `scalar` and `lower` definitions make loop IR with.

In: expressions, indices, specs. Out: typed expressions, simplified where that is exact; index values (`index.Ix`); and the
descriptors of what is no single expression: `Reduction`, `Scatter`, `Pieces`. `describe(b, op, specs, attrs)` asks an
operator's definition and gives one of them, or `Point` or `Element`.

True always: an expression's dtype is what its operation computes in. Values of float16 and bfloat16 tensors are float32;
`round(x, dtype)` is such a value rounded to them. Constants are exact in their dtype. Definitions that have no meaning for
a dtype or an attribute raise `Refused`; the operator's reference then runs instead.
"""
from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ..core import dtype as dt
from ..core.dtype import dtype
from ..core.spec import Spec
from ..ops.op import Op, parameters
from . import index
from .descriptors import (Descriptor, Element, Guard, LoadFn, Pieces, Point, Reduction, Refused, Region, Scatter, Values, compute_dtype,
                          identity, is_number, wrap)
from .evaluate import apply as compute
from .index import Ix, Num, ix
from .ir import Apply, Const, Expr, Index, Let, Var


def _identity(x: Expr) -> Expr:
    return x


class Builder:
    """Makes expressions for one kernel. `out` says which result of an operator with several is being described; `low` the
    low-precision dtype of the operands of an operator that is not computed in float32 throughout.

    What it collects, for the kernel: `lets` (names for what is no affine index), `guards`, `derived` (names of run-time
    sizes that are polynomials in others)."""

    def __init__(self, prefix: str = "t"):
        self.prefix = prefix
        self.out = 0
        self.low: dtype | None = None
        self.lets: list[Let] = []
        self.guards: list[Guard] = []
        self.derived: dict[str, index.Poly] = {}
        self._names: dict[Any, Var] = {}
        self._count = 0
        self._exact: dict[int, tuple[Const, Any]] = {}

    def restart(self) -> None:
        """Begin another kernel: names are counted from 0 again."""
        self.lets, self.guards, self.derived, self._count = [], [], {}, 0
        self._names.clear()
        self._exact.clear()

    def refuse(self, why: str):
        raise Refused(why)

    # ------------------------------------------------------------------------------------------------ constants
    def const(self, value, like: Expr | dtype) -> Const:
        """A number as a constant of a dtype (or of an expression's dtype): rounded to it, or wrapped, as the operators do."""
        d = like if isinstance(like, dtype) else like.dtype
        if isinstance(value, Const):
            value = value.value
        if d in dt.LOW_PRECISION:
            d = dt.float32
        if d.category == dt.COMPLEX or isinstance(value, complex):
            self.refuse("complex numbers")
        if d is dt.bool_:
            return Const(bool(value), d)
        if d.category == dt.INT:
            return Const(wrap(int(value), d), d)
        with np.errstate(all="ignore"):
            c = Const(float(d.np.type(value)), d)
        if c.value != value:
            self._exact[id(c)] = (c, value)
        return c

    def exact(self, x: Expr | float):
        """A constant's number as it was given, before rounding to its dtype; None if `x` is no constant."""
        if isinstance(x, (int, float)):
            return x
        if not isinstance(x, Const):
            return None
        return self._exact.get(id(x), (x, x.value))[1]

    def zero(self, d: dtype) -> Const:
        return self.const(0, d)

    def compute(self, d: dtype) -> dtype:
        """What values of a tensor of dtype `d` are computed in."""
        return compute_dtype(d)

    def number(self, x: Expr):
        """A constant's number, else None."""
        return x.value if isinstance(x, Const) else None

    def _operand(self, x, like: Expr | dtype) -> Expr:
        return x if not isinstance(x, (int, float, bool)) else self.const(x, like)

    def pair(self, x, y) -> tuple[Expr, Expr]:
        """Two operands of one dtype: a number beside an expression becomes a constant of its dtype."""
        if isinstance(x, (int, float)):
            x = self.const(x, y)
        elif isinstance(y, (int, float)):
            y = self.const(y, x)
        if x.dtype is not y.dtype:
            raise TypeError(f"operands of dtypes {x.dtype.name} and {y.dtype.name}: cast one of them")
        return x, y

    def _apply(self, name: str, args: tuple, d: dtype) -> Expr:
        if all(isinstance(a, Const) for a in args):
            with np.errstate(all="ignore"):
                return self.const(compute(name, d, *[a.dtype.np.type(a.value) for a in args]).item(), d)
        return Apply(name, args, d)

    # ------------------------------------------------------------------------------------------------ arithmetic
    def add(self, x, y) -> Expr:
        x, y = self.pair(x, y)
        if x.dtype is dt.bool_:
            return self.or_(x, y)
        if is_number(x, 0) and (x.dtype.category == dt.INT or math.copysign(1, x.value) < 0):
            return y
        if is_number(y, 0) and (y.dtype.category == dt.INT or math.copysign(1, y.value) < 0):
            return x
        return self._apply("add", (x, y), x.dtype)

    def sub(self, x, y) -> Expr:
        x, y = self.pair(x, y)
        if is_number(y, 0) and (y.dtype.category == dt.INT or math.copysign(1, y.value) > 0):
            return x
        return self._apply("sub", (x, y), x.dtype)

    def mul(self, x, y) -> Expr:
        x, y = self.pair(x, y)
        if x.dtype is dt.bool_:
            return self.and_(x, y)
        if is_number(x, 1):
            return y
        if is_number(y, 1):
            return x
        return self._apply("mul", (x, y), x.dtype)

    def div(self, x, y) -> Expr:
        """The quotient of floats."""
        x, y = self.pair(x, y)
        if is_number(y, 1):
            return x
        return self._apply("div", (x, y), x.dtype)

    def fma(self, x, y, z) -> Expr:
        """`x * y + z` rounded once."""
        return self._apply("fma", (x, self._operand(y, x), self._operand(z, x)), x.dtype)

    def neg(self, x) -> Expr:
        if isinstance(x, Apply) and x.name == "neg":
            return x.args[0]
        return self._apply("neg", (x,), x.dtype)

    def abs(self, x) -> Expr:
        return x if x.dtype is dt.bool_ or not x.dtype.is_signed else self._apply("abs", (x,), x.dtype)

    def max(self, x, y) -> Expr:
        """The larger; nan if either is."""
        return self._extreme("max", x, y)

    def min(self, x, y) -> Expr:
        """The smaller; nan if either is."""
        return self._extreme("min", x, y)

    def maxnum(self, x, y) -> Expr:
        """The larger; nan only if both are."""
        return self._extreme("maxnum", x, y)

    def minnum(self, x, y) -> Expr:
        """The smaller; nan only if both are."""
        return self._extreme("minnum", x, y)

    def _extreme(self, name: str, x, y) -> Expr:
        x, y = self.pair(x, y)
        if x.dtype is dt.bool_:
            return (self.or_ if name[:3] == "max" else self.and_)(x, y)
        if not x.dtype.is_floating_point:
            name = name[:3]
        return self._apply(name, (x, y), x.dtype)

    def copysign(self, x, y) -> Expr:
        x, y = self.pair(x, y)
        return self._apply("copysign", (x, y), x.dtype)

    def rem(self, x, y) -> Expr:
        """C's remainder: the dividend's sign."""
        x, y = self.pair(x, y)
        return self._apply("rem", (x, y), x.dtype)

    def floordiv(self, x, y) -> Expr:
        """The quotient rounded down, as Python's. Integers: the divisor is not 0."""
        x, y = self.pair(x, y)
        if x.dtype.category == dt.INT:
            return x if is_number(y, 1) else self._apply("floordiv", (x, y), x.dtype)
        r = self.rem(x, y)                                  # the remainder is exact, the quotient is made from it
        q = self.div(self.sub(x, r), y)
        q = self.select(self.and_(self.ne(r, 0), self._apart(r, y)), self.sub(q, 1), q)
        low = self.floor(q)
        low = self.select(self.gt(self.sub(q, low), 0.5), self.add(low, 1), low)
        low = self.select(self.eq(q, 0), self.copysign(self.const(0, x), self.div(x, y)), low)
        return self.select(self.eq(y, 0), self.div(x, y), low)

    def mod(self, x, y) -> Expr:
        """Python's remainder: the divisor's sign. Integers: the divisor is not 0."""
        x, y = self.pair(x, y)
        if x.dtype.category == dt.INT:
            return self._apply("mod", (x, y), x.dtype)
        r = self.rem(x, y)
        some = self.select(self._apart(r, y), self.add(r, y), r)
        return self.select(self.eq(r, 0), self.copysign(self.const(0, x), y), some)

    def _apart(self, x: Expr, y: Expr) -> Expr:
        """Whether just one of them is below 0."""
        return self.xor(self.lt(x, 0), self.lt(y, 0))

    def div_trunc(self, x, y) -> Expr:
        """The quotient of integers, cut towards zero; the divisor is not 0."""
        x, y = self.pair(x, y)
        q = self.floordiv(x, y)
        inexact = self.and_(self.lt(q, 0), self.ne(self.mul(q, y), x))
        return self.add(q, self.cast(inexact, x.dtype)) if x.dtype.is_signed else q

    def pow(self, x, y) -> Expr:
        x, y = self.pair(x, y)
        return self._apply("pow", (x, y), x.dtype)

    def atan2(self, y, x) -> Expr:
        y, x = self.pair(y, x)
        return self._apply("atan2", (y, x), y.dtype)

    def square(self, x) -> Expr:
        return self.mul(x, x)

    def recip(self, x) -> Expr:
        return self.div(self.const(1, x), x)

    # ------------------------------------------------------------------------------------------------ comparisons, logic
    def _compare(self, name: str, x, y) -> Expr:
        x, y = self.pair(x, y)
        return self._apply(name, (x, y), dt.bool_)

    def eq(self, x, y) -> Expr:
        return self._compare("eq", x, y)

    def ne(self, x, y) -> Expr:
        return self._compare("ne", x, y)

    def lt(self, x, y) -> Expr:
        return self._compare("lt", x, y)

    def le(self, x, y) -> Expr:
        return self._compare("le", x, y)

    def gt(self, x, y) -> Expr:
        return self._compare("gt", x, y)

    def ge(self, x, y) -> Expr:
        return self._compare("ge", x, y)

    def and_(self, x, y) -> Expr:
        x, y = self.pair(x, y)
        if x.dtype is dt.bool_:
            for a, b in ((x, y), (y, x)):
                if isinstance(a, Const):
                    return b if a.value else a
        return self._apply("and", (x, y), x.dtype)

    def or_(self, x, y) -> Expr:
        x, y = self.pair(x, y)
        if x.dtype is dt.bool_:
            for a, b in ((x, y), (y, x)):
                if isinstance(a, Const):
                    return a if a.value else b
        return self._apply("or", (x, y), x.dtype)

    def xor(self, x, y) -> Expr:
        x, y = self.pair(x, y)
        return self._apply("xor", (x, y), x.dtype)

    def not_(self, x) -> Expr:
        """Logical not of a bool, bitwise not of an integer."""
        if isinstance(x, Apply) and x.name == "not":
            return x.args[0]
        return self._apply("not", (x,), x.dtype)

    def shl(self, x, y) -> Expr:
        x, y = self.pair(x, y)
        return self._apply("shl", (x, y), x.dtype)

    def shr(self, x, y) -> Expr:
        """Shift right, keeping the sign of signed integers."""
        x, y = self.pair(x, y)
        return self._apply("shr", (x, y), x.dtype)

    def isnan(self, x) -> Expr:
        return self._apply("isnan", (x,), dt.bool_) if x.dtype.is_floating_point else self.const(False, dt.bool_)

    def isinf(self, x) -> Expr:
        return self.eq(self.abs(x), math.inf) if x.dtype.is_floating_point else self.const(False, dt.bool_)

    def isfinite(self, x) -> Expr:
        return self.lt(self.abs(x), math.inf) if x.dtype.is_floating_point else self.const(True, dt.bool_)

    def select(self, cond: Expr, x, y) -> Expr:
        """`x` where `cond`, else `y`. Both are computed: neither may load out of bounds."""
        x, y = self.pair(x, y)
        if isinstance(cond, Const):
            return x if cond.value else y
        if x == y if isinstance(x, Const) and isinstance(y, Const) else x is y:
            return x
        return self._apply("select", (cond, x, y), x.dtype)

    def truth(self, x) -> Expr:
        """Whether a number is not 0."""
        return x if x.dtype is dt.bool_ else self.ne(x, 0)

    # ------------------------------------------------------------------------------------------------ conversions
    def cast(self, x: Expr, d: dtype) -> Expr:
        """The value in another dtype: to integers cut towards zero and wrapped, to bool whether it is not 0. To float16 or
        bfloat16: rounded to it, as a float32."""
        if d in dt.LOW_PRECISION:
            return self.round(x, d)
        if x.dtype is d:
            return x
        if d.category == dt.COMPLEX:
            self.refuse("complex numbers")
        if d is dt.bool_:
            return self.ne(x, 0)
        if isinstance(x, Const):
            return self.const(compute("cast", d, x.dtype.np.type(x.value)).item(), d)
        return Apply("cast", (x,), d)

    def round(self, x: Expr, d: dtype) -> Expr:
        """A value as it is after a store to a tensor of dtype `d` and a load from it. Itself unless `d` is of low precision."""
        if d not in dt.LOW_PRECISION:
            return self.cast(x, d)
        if d in dt.FLOAT8:
            self.refuse("float8")
        if not x.dtype.is_floating_point:
            x = self.cast(x, dt.float32)
        if isinstance(x, Const):
            return self.const(float(np.asarray(x.value, x.dtype.np).astype(d.np)), dt.float32)
        if isinstance(x, Apply) and x.name == "cast" and x.args[0].dtype is d:
            return x
        return Apply("cast", (Apply("cast", (x,), d),), dt.float32)

    def rounded(self, x: Expr) -> Expr:
        """`x` rounded to the operands' dtype, which counts where an operator rounds before its end."""
        return x if self.low is None else self.round(x, self.low)

    def bitcast(self, x: Expr, d: dtype) -> Expr:
        return x if x.dtype is d else self._apply("bitcast", (x,), d)

    # ------------------------------------------------------------------------------------------------ index values
    def iadd(self, x, y) -> Ix:
        return ix(x) + y

    def isub(self, x, y) -> Ix:
        return ix(x) - y

    def imul(self, x, y) -> Ix:
        return ix(x) * y

    def idiv(self, x, n) -> Ix:
        """Floor quotient by a size."""
        return ix(x) // n

    def imod(self, x, n) -> Ix:
        """Floor remainder by a size."""
        return ix(x) % n

    def ilt(self, x, y) -> Expr:
        """`x < y` of indices; a constant where their ranges decide."""
        known = index.below(x, y)
        if known is not None:
            return self.const(known, dt.bool_)
        return self.lt(self.value(ix(x)), self.value(ix(y)))

    def ile(self, x, y) -> Expr:
        return self.ilt(x, ix(y) + 1)

    def ige(self, x, y) -> Expr:
        known = index.below(x, y)
        if known is not None:
            return self.const(not known, dt.bool_)
        return self.ge(self.value(ix(x)), self.value(ix(y)))

    def ieq(self, x, y) -> Expr:
        d = ix(x) - y
        if d.number() is not None and isinstance(d.const, int):
            return self.const(d.const == 0, dt.bool_)
        if index.below(d, 0) is True or index.below(0, d) is True:
            return self.const(False, dt.bool_)
        return self.eq(self.value(ix(x)), self.value(ix(y)))

    def iwithin(self, x, lo, hi) -> Expr:
        """`lo <= x < hi`."""
        return self.and_(self.ige(x, lo), self.ilt(x, hi))

    def iselect(self, cond: Expr, x, y) -> Ix:
        """One of two indices."""
        if isinstance(cond, Const):
            return ix(x) if cond.value else ix(y)
        lo, hi = _hull(ix(x).bounds(), ix(y).bounds())
        return index.value(self.select(cond, self.value(ix(x)), self.value(ix(y))), lo, hi)

    def clamp(self, x, lo, hi) -> Ix:
        """An index kept within [lo, hi]; itself if it cannot leave."""
        return index.clamp(ix(x), lo, hi)

    def inside(self, idx: Sequence, shape: Sequence) -> Values:
        """An index kept within a shape, dimension by dimension."""
        return tuple([self.clamp(i, 0, n - 1) for i, n in zip(idx, shape)])

    def as_index(self, x: Expr, lo: Num | None = None, hi: Num | None = None) -> Ix:
        """A computed integer as an index; `lo` and `hi` say what is known of it."""
        x = self.cast(x, dt.int64)
        return ix(x.value) if isinstance(x, Const) else index.value(x, lo, hi)

    def guarded(self, x: Expr | Ix, extent, wrap: bool = False) -> Ix:
        """A loaded index that must lie in [0, extent), checked at run time and kept inside. With `wrap` negative ones
        count from the end first."""
        n = index.size(extent)
        if isinstance(n, int) and n == 0:
            self.refuse("indexing a dimension of size 0")
        e = self.cast(self.value(x) if isinstance(x, Ix) else x, dt.int64)
        if wrap:
            end = self.value(ix(n))
            e = self.select(self.lt(e, 0), self.add(e, end), e)
        if isinstance(e, Const) and isinstance(n, int) and 0 <= e.value < n:
            return ix(e.value)
        self.guards.append(Guard(e, n))
        top = self.value(ix(n - 1))
        return index.value(self.max(self.min(e, top), self.const(0, dt.int64)), 0, n - 1)

    def kept(self, x: Expr, extent: int) -> Ix:
        """A loaded index that is known to lie in [0, extent): kept inside, without a check."""
        e = self.cast(x, dt.int64)
        return index.value(self.max(self.min(e, extent - 1), 0), 0, extent - 1)

    def flatten(self, idx: Sequence, shape: Sequence, strides: Sequence | None = None) -> Ix:
        return index.flatten(idx, shape, strides)

    def unflatten(self, flat, shape: Sequence) -> Values:
        return index.unflatten(flat, shape)

    def broadcast(self, i: Values, shape: Sequence) -> Values:
        """The index of an operand of `shape` that is broadcast to the result indexed by `i`."""
        lead = len(i) - len(shape)
        return tuple([index.ZERO if n == 1 else i[lead + k] for k, n in enumerate(shape)])

    def value(self, x: Ix | Num) -> Expr:
        """An index as an int64 expression."""
        x = ix(x)
        total: Expr | None = None
        for a, c in x.terms:
            v: Expr = self.atom(a)
            part = v if c == 1 else self.mul(v, self.size_value(c))
            total = part if total is None else self.add(total, part)
        c0 = self.size_value(x.const)
        return c0 if total is None else self.add(total, c0)

    def size_value(self, n: Num) -> Expr:
        """A size as an int64 expression: a constant, or the variable of a run-time size."""
        s = self.size(n)
        return Const(s, dt.int64) if isinstance(s, int) else Var(s, dt.int64)

    def size(self, n: Num) -> int | str:
        """A size as the IR has it: an int, or the name of a run-time size (`derived` says what a new one is)."""
        if isinstance(n, int):
            return n
        if len(n.terms) == 1:
            (m, c), = n.terms.items()
            if c == 1 and len(m) == 1:
                return m[0]
        for name, p in self.derived.items():
            if p == n:
                return name
        name = f"{self.prefix}z{len(self.derived)}"
        self.derived[name] = n
        return name

    def atom(self, a: index.Atom) -> Var:
        """The variable of an index's atom: a loop variable, or a Let made for it."""
        if isinstance(a, index.Axis):
            return Var(a.name, dt.int64)
        key = id(a.expr) if isinstance(a, index.Value) else a     # expressions are deep: not hashed
        found = self._names.get(key)
        if found is not None:
            return found
        if isinstance(a, index.Value):
            e = a.expr
        elif isinstance(a, index.Clamp):
            e = self.max(self.min(self.value(a.x), self.size_value(a.hi)), self.size_value(a.lo))
        else:
            e = self._apply("floordiv" if isinstance(a, index.Quot) else "mod", (self.value(a.x), self.size_value(a.n)), dt.int64)
        var = self.let(e)
        self._names[key] = var
        return var

    def let(self, e: Expr) -> Var:
        """A name for an expression, defined before the statement being built."""
        if isinstance(e, Var):
            return e
        var = Var(f"{self.prefix}{self._count}", e.dtype)
        self._count += 1
        self.lets.append(Let(var.name, e))
        return var

    def take_lets(self) -> list[Let]:
        """The names made since the last call, in order; later indices do not use them again (they have left scope)."""
        lets, self.lets = self.lets, []
        self._names.clear()
        return lets

    def index(self, x: Ix | Num) -> Index:
        """An index as the IR has it; what is not affine gets a name."""
        x = ix(x)
        return Index(self.size(x.const), tuple([(self.atom(a).name, self.size(c)) for a, c in x.terms]))

    # ------------------------------------------------------------------------------------------------ descriptors
    def reduction(self, op: str, spec: Spec, dims: Sequence[int], keepdim: bool = False, *, pre=None, post=None,
                  dtype: dtype | None = None, init=None, shape: Sequence[int] | None = None) -> Reduction:
        """A reduction of operand 0, whose spec is given. The identity of `op` is the default `init`."""
        d = dtype or compute_dtype(spec.dtype)
        dims = tuple(dims)
        if shape is None:
            shape = [1 if k in dims else n for k, n in enumerate(spec.shape) if keepdim or k not in dims]
        start = identity(op, d) if init is None else init
        return Reduction(op, dims, keepdim, pre or _identity, post or _identity,
                         None if start is None else self.const(start, d), d, tuple(shape))

    def element(self, fn: Callable[[Values, LoadFn], Expr]) -> Element:
        """The result's element at an index, by a function of index and loads; see Element."""
        return Element(fn)

    def combining(self, op: str, d: dtype) -> str:
        """A reduction's name for elements of dtype `d`: bools are combined by "or" and "and"."""
        return {"max": "or", "add": "or", "min": "and", "mul": "and"}.get(op, op) if d is dt.bool_ else op

    def adding(self, d: dtype) -> str:
        return self.combining("add", d)

    def scatter(self, shape: Sequence[int], init, op: str, at) -> Scatter:
        """A scatter over updates of `shape`; see Scatter."""
        return Scatter(tuple(shape), init, op, at)

    def pieces(self, regions: Sequence[tuple], element=None) -> Pieces:
        """A result of boxes: (start, stop, fn) each. Boxes without elements are dropped."""
        kept = [Region(tuple(a), tuple(z), fn) for a, z, fn in regions if all(not isinstance(q - p, int) or q > p for p, q in zip(a, z))]

        def choose(i: Values, load: LoadFn) -> Expr:
            out: Expr | None = None
            for r in reversed(kept):
                here = tuple([self.clamp(x, p, q - 1) for x, p, q in zip(i, r.start, r.stop)])
                e = r.fn(here, load)
                if out is None:
                    out = e
                    continue
                cond = self.const(True, dt.bool_)
                for x, p, q in zip(i, r.start, r.stop):
                    cond = self.and_(cond, self.iwithin(x, p, q))
                out = self.select(cond, e, out)
            return out
        return Pieces(tuple(kept), element or choose)


def _unary(name: str):
    def method(self, x) -> Expr:
        return self._apply(name, (x,), x.dtype)
    method.__name__ = name
    return method


for _name in ("exp", "exp2", "expm1", "log", "log2", "log10", "log1p", "sqrt", "rsqrt", "tanh", "sinh", "cosh", "erf", "erfc", "sin",
              "cos", "tan", "asin", "acos", "atan", "floor", "ceil", "trunc", "rint", "sigmoid"):
    setattr(Builder, _name, _unary(_name))


# ---------------------------------------------------------------------------------------------------- helpers
def _hull(a, b):
    lo = None if a[0] is None or b[0] is None else a[0] if index.positive(b[0] - a[0]) else b[0] if index.positive(a[0] - b[0]) else None
    hi = None if a[1] is None or b[1] is None else a[1] if index.positive(a[1] - b[1]) else b[1] if index.positive(b[1] - a[1]) else None
    return lo, hi


def defined(op: Op) -> bool:
    """Whether an operator has a definition for kernels."""
    return op.scalar is not None or op.lower is not None


def describe(b: Builder, op: Op, specs: Sequence, attrs: dict) -> Descriptor:
    """What an operator computes, on operands of the given specs (numbers stand for themselves, None for what is left out).
    `b.out` says which of several results. Raises Refused, with the reason, if its definition does not cover them; a
    definition may also refuse when the function in a descriptor is called (see `refusal`)."""
    for s in (*specs, attrs.get("dtype")):
        d = s.dtype if isinstance(s, Spec) else s
        if isinstance(d, dtype) and (d.category == dt.COMPLEX or d in dt.FLOAT8):
            raise Refused(f"{d.name} has no native arithmetic")
        if isinstance(s, complex):
            raise Refused("complex numbers")
    if op.scalar is not None:
        scalar = op.scalar
        low = next((s.dtype for s in specs if isinstance(s, Spec) and s.dtype in dt.LOW_PRECISION), None) if not op.low else None

        def point(*exprs):
            b.low = low
            return scalar(b, *exprs, **attrs)
        return Point(point)
    lower = op.lower
    if lower is None:
        raise Refused(f"{op.name} has no definition for kernels")
    if takes_index(op):
        return Element(lambda i, load: lower(b, i, load, *specs, **attrs))
    return lower(b, *specs, **attrs)


def takes_index(op: Op) -> bool:
    """Whether `lower` is of the form (b, i, load, *specs, **attrs): the element at an index; else it gives a descriptor."""
    return parameters(op.lower)[1:2] == ("i",)


def refusal(op: Op, specs: Sequence, attrs: dict, outs: Sequence[Spec]) -> str | None:
    """Why the definition of an operator does not cover these operands; None if it does. `outs` are its results' specs."""
    try:
        for k, out in enumerate(outs):
            b = Builder()
            b.out = k
            try_out(b, describe(b, op, specs, attrs), specs, out)
    except Refused as why:
        return str(why)
    return None


def try_out(b: Builder, what: Descriptor, specs: Sequence, out: Spec) -> Expr | None:
    """Call the functions of a descriptor once, on variables. The expression, if it is elementwise."""
    def load(k: int, idx: Values) -> Expr:
        return Var(f"x{k}", compute_dtype(specs[k].dtype))

    def axes(shape) -> Values:
        return tuple([index.axis(f"i{d}", n) for d, n in enumerate(shape)])
    if isinstance(what, Point):
        return what.fn(*[load(k, ()) if isinstance(s, Spec) else s for k, s in enumerate(specs)])
    if isinstance(what, Element):
        what.fn(axes(out.shape), load)
    elif isinstance(what, Pieces):
        for r in what.regions:
            r.fn(axes(out.shape), load)
    elif isinstance(what, Reduction):
        what.post(Var("acc", dt.int64 if what.op.startswith("arg") else what.dtype))
        what.pre(Var("x0", compute_dtype(specs[0].dtype)))
    else:
        what.at(axes(what.shape), load)
    return None
