"""The loop IR: what one kernel does to memory, as data.

    kernel = (name, bufs, sizes, body)
    buf    = (name, dtype, role, size)            role: in | out | inout | local (a scratch row, one per thread)
    axis   = (var, extent, kind, vec)             kind: par (independent, split over threads) | seq | red
    stmt   = Let(var, expr)                       names a scalar; never changes
           | Local(var, init) | Accum(var, op, expr)      a scalar in a register, and `var = op(var, expr)`
           | Store(buf, index, expr)              buf[index] = expr
           | AccumStore(buf, index, op, expr)     buf[index] = op(buf[index], expr): reductions over a par axis, scatters
           | Loop(axis, stmts) | If(expr, stmts)
    expr   = Const(value, dtype) | Var(name, dtype) | Load(buf, index) | Apply(name, args, dtype)
    index  = Index(const, ((var, coef), ...))     an element offset into the flat buffer: const + sum of var * coef

Sizes: extents and coefficients are ints, or the names of run-time sizes (listed in `sizes`), so that one kernel serves many
shapes. Index variables are loop variables or int64 Lets (loaded indices, quotients, remainders).

Semantics, which the printer, the Python backend and LLVM share: statements run in order; `par` iterations may run in any
order, so they must not store to the same element, except by AccumStore, whose buffer's elements start from `init` when the
buffer is an out (the backend gives each thread its own partial copy and adds them up in thread order; a body that calls for
it does so in blocks of rows, for accuracy). `vec` marks the one axis of a nest that becomes SIMD lanes: loads along it have
coefficient 0 or 1 (or else gather); a red axis with vec keeps one partial result per lane. float16 and bfloat16 are loaded
as float32 and rounded on Store; arithmetic is in the dtype of the expression.
"""
from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from ..core.dtype import dtype

Size = int | str

# What Apply may name. Numbers; comparisons give bool; "select"(cond, a, b); "cast" converts to its dtype.
ARITHMETIC = ("add", "sub", "mul", "div", "fma", "neg", "abs", "max", "min", "maxnum", "minnum", "copysign", "rem", "floordiv", "mod")
MATH = ("exp", "exp2", "expm1", "log", "log2", "log10", "log1p", "sqrt", "rsqrt", "tanh", "sinh", "cosh", "erf", "erfc", "sin",
        "cos", "tan", "asin", "acos", "atan", "atan2", "pow", "floor", "ceil", "trunc", "rint", "sigmoid")
LOGIC = ("eq", "ne", "lt", "le", "gt", "ge", "and", "or", "xor", "not", "shl", "shr", "select", "isnan", "cast", "bitcast")
APPLY = frozenset(ARITHMETIC + MATH + LOGIC)
REDUCTIONS = ("add", "mul", "max", "min", "and", "or", "set")    # max and min carry NaN; "set" assigns (never vectorised)


@dataclass(frozen=True, slots=True)
class Const:
    value: Any
    dtype: dtype


@dataclass(frozen=True, slots=True)
class Var:
    name: str
    dtype: dtype


@dataclass(frozen=True, slots=True)
class Index:
    """An element offset: `const` + the sum of variables times coefficients."""

    const: Size = 0
    terms: tuple[tuple[str, Size], ...] = ()


@dataclass(frozen=True, slots=True)
class Load:
    buf: str
    index: Index
    dtype: dtype        # of the value: float32 for a float16 or bfloat16 buffer


@dataclass(frozen=True, slots=True)
class Apply:
    name: str
    args: tuple[Expr, ...]
    dtype: dtype


Expr = Const | Var | Load | Apply


@dataclass(frozen=True, slots=True)
class Buf:
    name: str
    dtype: dtype
    role: str                   # in, out, inout, local
    size: Size                  # elements
    init: Any = None            # out buffers that AccumStore adds to: what their elements start from


@dataclass(frozen=True, slots=True)
class Axis:
    var: str
    extent: Size
    kind: str = "seq"           # par, seq, red
    vec: bool = False


@dataclass(frozen=True, slots=True)
class Let:
    var: str
    expr: Expr


@dataclass(frozen=True, slots=True)
class Local:
    var: str
    init: Expr


@dataclass(frozen=True, slots=True)
class Accum:
    var: str
    op: str
    expr: Expr


@dataclass(frozen=True, slots=True)
class Store:
    buf: str
    index: Index
    expr: Expr


@dataclass(frozen=True, slots=True)
class AccumStore:
    buf: str
    index: Index
    op: str
    expr: Expr


@dataclass(frozen=True, slots=True)
class Loop:
    axis: Axis
    body: tuple[Stmt, ...]


@dataclass(frozen=True, slots=True)
class If:
    cond: Expr
    body: tuple[Stmt, ...]


Stmt = Let | Local | Accum | Store | AccumStore | Loop | If


@dataclass(frozen=True, eq=False)
class Kernel:
    """One loop nest. `bufs` and `sizes` are its parameters, in the order they are passed. `ops` and `lines` say which
    operators it computes, from which of the user's lines; `flops` and `nbytes` what one run costs at the traced sizes."""

    name: str
    bufs: tuple[Buf, ...]
    sizes: tuple[str, ...]
    body: tuple[Stmt, ...]
    ops: tuple[str, ...] = ()
    lines: tuple[str, ...] = ()
    flops: int = 0
    nbytes: int = 0
    notes: tuple[str, ...] = field(default=())

    def key(self) -> tuple:
        """What makes two kernels the same code: everything but the name and where it came from."""
        return self.bufs, self.sizes, self.body
