"""What an operator's kernel definition says beyond one expression, and what every definition rests on.

In: functions that make expressions. Out: descriptors, as plain data: `Point`, `Element`, `Pieces`, `Reduction`, `Scatter`.
True always: a descriptor names no buffer and no loop. Whoever schedules it calls its functions with index values and a
`load`, and decides where the loops go.
"""
from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from ..core import dtype as dt
from ..core.dtype import dtype
from .index import Ix, Num
from .ir import Const, Expr

Values = tuple[Ix, ...]
LoadFn = Callable[[int, Values], Expr]


class Refused(Exception):
    """An operator's definition does not cover this dtype or attribute; the message says why."""


# ---------------------------------------------------------------------------------------------------- descriptors
@dataclass(frozen=True, slots=True)
class Point:
    """Elementwise: `fn(*exprs)`, one expression (or None) per operand. Numbers come as constants of the common dtype."""

    fn: Callable[..., Expr]


@dataclass(frozen=True, slots=True)
class Element:
    """`fn(i, load)` is the result's element at index `i`; `load(k, idx)` that of operand k."""

    fn: Callable[[Values, LoadFn], Expr]


@dataclass(frozen=True, slots=True)
class Region:
    """The box of result indices from `start` up to (not including) `stop`. Within it `fn(i, load)` is the element at `i`."""

    start: tuple[Num, ...]
    stop: tuple[Num, ...]
    fn: Callable[[Values, LoadFn], Expr]


@dataclass(frozen=True, slots=True)
class Pieces:
    """A result made of boxes that cover it and do not overlap: one store loop each. `element` is the same as one
    expression, for consumers that read it in their own loop (an index outside a box is kept inside before it loads)."""

    regions: tuple[Region, ...]
    element: Callable[[Values, LoadFn], Expr]


@dataclass(frozen=True, slots=True)
class Reduction:
    """`post(acc)`, with acc the elements `pre(x)` of operand 0 over `dims` combined by `op`, from `init`.

    `op` is one of ir.REDUCTIONS, or "argmax" / "argmin": the index of the extreme (the first among equals, nan counts as
    extreme), along the one dimension in `dims`, or row-major over all of them. `dtype` is what is accumulated in (for
    an index: what is compared); None as `init` means the first element."""

    op: str
    dims: tuple[int, ...]
    keepdim: bool
    pre: Callable[[Expr], Expr]
    post: Callable[[Expr], Expr]
    init: Const | None
    dtype: dtype
    shape: tuple[int, ...]           # of the result


@dataclass(frozen=True, slots=True)
class Scatter:
    """The result starts as `init` (a constant, or the number of the operand it is a copy of); then for every index `i` of
    `shape`, `at(i, load)` gives (index in the result, value), and the value is combined by `op` (of ir.REDUCTIONS; "set"
    overwrites, the last one in row-major order counts). Values are accumulated in the dtype they are computed in."""

    shape: tuple[int, ...]
    init: Const | int
    op: str
    at: Callable[[Values, LoadFn], tuple[Values, Expr]]


@dataclass(frozen=True, slots=True)
class Guard:
    """A run-time check: `0 <= value < extent`, or the executable raises IndexError. `value` is the index as given (it may
    be used as loaded: negative ones are out of range here)."""

    value: Expr
    extent: Num


Descriptor = Point | Element | Pieces | Reduction | Scatter


# ---------------------------------------------------------------------------------------------------- helpers
def is_number(x: Expr, value) -> bool:
    return isinstance(x, Const) and x.value == value


def wrap(x: int, d: dtype) -> int:
    """An integer as dtype `d` holds it: the low bits."""
    bits = d.itemsize * 8
    x &= (1 << bits) - 1
    return x - (1 << bits) if d.is_signed and x >> (bits - 1) else x


def compute_dtype(d: dtype) -> dtype:
    """What values of a tensor of dtype `d` are computed in: float32 for float16 and bfloat16."""
    if d in dt.FLOAT8 or d.category == dt.COMPLEX:
        raise Refused(f"{d.name} has no native arithmetic")
    return dt.float32 if d in dt.LOW_PRECISION else d


def identity(op: str, d: dtype):
    """What a reduction starts from; None if its first element."""
    if op == "add":
        return 0
    if op == "mul":
        return 1
    if op in ("and", "or"):
        return op == "and"
    if op in ("max", "min"):
        if d.is_floating_point:
            return -math.inf if op == "max" else math.inf
        if d is dt.bool_:
            return op == "min"
        bits = d.itemsize * 8
        low, high = (-(1 << bits - 1), (1 << bits - 1) - 1) if d.is_signed else (0, (1 << bits) - 1)
        return low if op == "max" else high
    return None
