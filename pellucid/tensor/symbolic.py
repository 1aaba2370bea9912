"""Run-time numbers: a Python number that is an input of a traced function, and what is computed from it.

In: a 0-d float64 graph value and the number it stands for now. Out: arithmetic gives more of them, comparisons give bools
and record guards, operators take them as numbers (weak, as Python floats are). True always: a symbol never turns into a
constant unseen: `float()`, `int()` and truth tests raise TraceError.
"""
from __future__ import annotations

import math
import numbers
import operator
from typing import Any, NamedTuple

from ..core.errors import message
from ..ops.op import F
from .core import Slots
from .fake import TraceError


class Guard(NamedTuple):
    """What the trace relied on: `relation(left, right)` was `outcome`. Sides are expressions over run-time numbers:
    a number, ("input", its place among the graph's inputs), or (operator name, expression, ...)."""

    relation: str
    left: Any
    right: Any
    outcome: bool
    where: str = ""

    def holds(self, values: dict[int, float]) -> bool:
        """Whether it is still true, given the numbers at the graph's inputs."""
        return bool(_RELATIONS[self.relation](evaluate(self.left, values), evaluate(self.right, values))) is self.outcome


_RELATIONS = {"<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge, "==": operator.eq, "!=": operator.ne}
_NUMERIC = {"add": operator.add, "sub": operator.sub, "mul": operator.mul, "div": operator.truediv, "pow": operator.pow,
            "neg": operator.neg, "abs": operator.abs, "floor_divide": operator.floordiv, "remainder": operator.mod, "sqrt": math.sqrt}


def evaluate(expr: Any, values: dict[int, float]) -> Any:
    """The number an expression stands for."""
    if type(expr) is not tuple:
        return expr
    head, *rest = expr
    if head == "input":
        return values[rest[0]]
    return _NUMERIC[head](*[evaluate(e, values) for e in rest])


class SymNumber:
    """A number known only at run time. `now` is its value during the trace, `expr` how it follows from the graph's inputs,
    `tensor` the 0-d float64 fake that operators get."""

    __slots__ = ("tracer", "now", "expr", "_tensor")

    def __init__(self, tracer, now: float, expr: Any, tensor=None):
        self.tracer, self.now, self.expr, self._tensor = tracer, now, expr, tensor

    @property
    def tensor(self):
        """The 0-d tensor; its operators are recorded when somebody needs it."""
        if self._tensor is None:
            head, *rest = self.expr
            operands = [SymNumber._operand(self.tracer, e) for e in rest]
            self._tensor = self.tracer.number_op(head, operands)
        return self._tensor

    @staticmethod
    def _operand(tracer, expr):
        return tracer.symbol_of(expr).tensor if type(expr) is tuple else expr

    def _with(self, name: str, other: Any, swap: bool = False):
        if isinstance(other, SymNumber):
            a, now = other.expr, other.now
        elif isinstance(other, Slots) or not isinstance(other, numbers.Real):
            return NotImplemented
        else:
            a = now = other
        left, right = ((a, now), (self.expr, self.now)) if swap else ((self.expr, self.now), (a, now))
        return self.tracer.symbol(_NUMERIC[name](left[1], right[1]), (name, left[0], right[0]))

    def _compare(self, relation: str, other: Any):
        if isinstance(other, SymNumber):
            expr, now = other.expr, other.now
        elif isinstance(other, Slots) or not isinstance(other, numbers.Real):
            return NotImplemented
        else:
            expr = now = other
        outcome = bool(_RELATIONS[relation](self.now, now))
        self.tracer.guard(Guard(relation, self.expr, expr, outcome))
        return outcome

    def fixed(self) -> float:
        """The value as a constant of the graph; a guard says that it was relied on."""
        self.tracer.guard(Guard("==", self.expr, self.now, True))
        return self.now

    def __neg__(self):
        return self.tracer.symbol(-self.now, ("neg", self.expr))

    def __pos__(self):
        return self

    def __abs__(self):
        return self.tracer.symbol(abs(self.now), ("abs", self.expr))

    def __hash__(self):
        constant(self, "hash()")

    def __bool__(self):
        constant(self, "a truth test")

    def __float__(self):
        constant(self, "float()")

    def __int__(self):
        constant(self, "int()")

    def __index__(self):
        constant(self, "use as an index")

    def __complex__(self):
        constant(self, "complex()")

    def __format__(self, spec: str) -> str:
        return f"<number, now {self.now.__format__(spec)}>"

    def __repr__(self) -> str:
        return f"<number, now {self.now}>"


def constant(number: SymNumber, what: str):
    error = TraceError(message("P3002", f"a run-time number became a constant by {what}",
                               fix="compute with it (+ - * / **), compare it with a number, or hand it to tensor operations"))
    error.number = number.expr
    raise error


def _dunders() -> None:
    for dunder, name in (("add", "add"), ("sub", "sub"), ("mul", "mul"), ("truediv", "div"), ("pow", "pow"),
                         ("floordiv", "floor_divide"), ("mod", "remainder")):
        setattr(SymNumber, f"__{dunder}__", lambda self, other, name=name: self._with(name, other))
        setattr(SymNumber, f"__r{dunder}__", lambda self, other, name=name: self._with(name, other, True))
    for dunder, relation in (("lt", "<"), ("le", "<="), ("gt", ">"), ("ge", ">="), ("eq", "=="), ("ne", "!=")):
        setattr(SymNumber, f"__{dunder}__", lambda self, other, relation=relation: self._compare(relation, other))


_dunders()
numbers.Number.register(SymNumber)


def operate(name: str, operands: list):
    """The operator `name` on 0-d tensors and numbers."""
    if len(operands) == 2 and not isinstance(operands[0], Slots):
        if name in ("add", "mul"):
            operands = operands[::-1]
    return getattr(F, name)(*operands)
