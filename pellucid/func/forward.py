"""The interpreter of forward-mode differentiation: every operator with its tangent.

In: calls of operators on dual tensors (a value, and its tangent: the derivative along one direction). Out: dual results. How the
tangent follows, an operator says already:

- `Op.jvp`, where there is one: the names of the tensor arguments that the operator is linear in, each by itself ("a b"), or
  together ("base+value"): the tangent is the operator of the tangents; or a function `(primals, tangents, **attrs)`, in which
  a tangent that is zero is None;
- views: the same view of the tangent;
- elementwise and real: the derivative of an element is a factor, so the rules of `Op.vjp` give the tangent as they give a gradient;
- a composite without derivative rules: by its body;
- anything else: the gradient is linear in the gradient of the result, and the tangent is the transpose of that linear map. The
  tape transposes it: backward through the backward.

What stays true: what lies beneath sees ordinary operators on values and tangents, so that they can be batched, differentiated
and traced in turn; a tangent that is None is zero.
"""
from __future__ import annotations

from typing import Any
from weakref import ref

import numpy as np

from ..core.errors import describe, fail
from ..ops.op import POINT, RANDOM, F, Op, is_out
from ..tensor import autograd
from ..tensor.core import Slots, readable, wrap
from ..tensor.inplace import living_views
from ..tensor.levels import Level, Lifted
from .custom import dual_forward
from .gradients import differentiable, goes_on, plain, recording


class Jvp(Level):
    """One level of dual numbers. `inherits`: tensors from outside keep their place in reverse mode (`forward_ad`)."""

    def __init__(self, inherits: bool = False):
        self.inherits = inherits
        self.made: list = []            # weak references to the tensors of a level that ends while they live on

    def record(self, op: Op, flat: tuple, attrs: dict):
        r = super().record(op, flat, attrs)
        if self.inherits:
            self.made += [ref(t) for t in (r if type(r) is tuple else (r,))]
        return r

    def close(self) -> None:
        """The level is over: its tensors are their values alone."""
        self.closed = True
        for weak in self.made:
            t = weak()
            if t is not None and isinstance(t._a, Lifted):
                t._a = t._a.settled()

    # ------------------------------------------------------------------------------------------ lifting
    def refuse(self, a: Lifted, got: str):
        fail(RuntimeError, "P4030", "a dual tensor's values were asked for as an array, which loses its tangent", got=got,
             fix="use tensor operations; unpack_dual(x).primal is the value alone")

    def values_of(self, a: Lifted) -> np.ndarray:
        return readable(a.lower._a)

    def shown(self, a: Lifted) -> str:
        with self.beneath():
            return f"{repr(a.lower)[:-1]}, tangent={a.extra!r})" if a.extra is not None else repr(a.lower)

    def copied_extra(self, tangent):
        return tangent.clone()

    def captured(self, t, value: Lifted) -> Lifted:
        if value.extra is not None and not self.inherits:
            fail(RuntimeError, "P4031", "During a grad (vjp, jvp, grad, etc) transform, the function provided attempted to call in-place operation "
                 "that would mutate a captured Tensor. This is not supported; please rewrite the function being transformed to explicitly "
                 "accept the mutated Tensor(s) as inputs.", got=describe(t), fix="pass the tensor as an argument, or clone it first")
        return self.array(t, None)

    def write(self, a: Lifted, v: np.ndarray, t) -> None:
        lower, tangent = (v.lower, v.extra) if type(v) is Lifted and v.level is self else (wrap(v), None)
        with self.beneath():
            a.lower.copy_(lower)
        if tangent is None and a.extra is None:
            return
        base = t._x.base if t._x is not None and t._x.base is not None and self.array_of(t._x.base) is not None else None
        with self.beneath():                # a new tangent, for the tensor and all that share its memory: one may be batched, the old one not
            if tangent is not None and tangent.dtype is not a.lower.dtype:
                tangent = F.convert(tangent, a.lower.dtype)
            if base is None:
                base, a.extra = t, tangent
            else:
                before = F.zeros_like(base._a.lower) if base._a.extra is None else base._a.extra
                base._a.extra = F.view_scatter(before, F.zeros_like(a.lower) if tangent is None else tangent, t._x.chain)
            for view in living_views(base) + [t]:
                found = self.array_of(view)
                if view is not base and found is not None:
                    tangent = base._a.extra
                    for op, attrs in view._x.chain if tangent is not None else ():
                        tangent = self.run(op, (tangent,), attrs)
                    found.extra = tangent

    # ------------------------------------------------------------------------------------------ calls
    def by_parts(self, op: Op, flat: tuple) -> bool:
        return op.body is not None and not op.plan

    def compute(self, op: Op, flat: tuple, attrs: dict):
        pairs = [self.parts(t) if isinstance(t, Slots) else (t, None) for t in flat]
        primals, tangents = tuple([p for p, _ in pairs]), tuple([t for _, t in pairs])
        with self.beneath():
            if not op.plan or all([t is None for t in tangents]):
                r = self.run(op, primals, attrs)
                tangent = (None,) * len(r) if type(r) is tuple else None
            else:
                r, tangent = dual(self, op, primals, tangents, attrs)
        if type(r) is not tuple:
            return self.lift(r, tangent)
        return tuple([self.lift(p, t) for p, t in zip(r, tangent)])

    def forward_of(self, cls: type, args: tuple):
        """The forward of a custom Function."""
        return dual_forward(self, cls, args)

    def view(self, op: Op, source, attrs: dict) -> Lifted:
        lower, tangent = self.parts(source)
        with self.beneath():
            if tangent is not None:
                tangent = self.run(op, (tangent,), attrs) if op.grads else None
            return self.array(self.run(op, (lower,), attrs), tangent)


# ---------------------------------------------------------------------------------------------------- tangents
def dual(level: Level, op: Op, primals: tuple, tangents: tuple, attrs: dict) -> tuple:
    """(result, tangent) of an operator, some of whose operands have tangents."""
    if callable(op.jvp):
        return level.run(op, primals, attrs), op.jvp(primals, tangents, **attrs)
    if op.jvp is not None:
        names = names_of(op, len(primals))
        groups = [g.split("+") for g in op.jvp.split()]
        if all([t is None or any([n in g for g in groups]) for n, t in zip(names, tangents)]):
            r = level.run(op, primals, attrs)
            return r, linear(level, op, primals, tangents, attrs, names, groups) if r.is_floating_point() or r.is_complex() else None
    real = not any([isinstance(p, Slots) and p.is_complex() for p in primals])
    if op.kind is POINT and op.nout == 1 and real and direct(op):
        r = level.run(op, primals, attrs)
        if not r.is_complex():
            return r, elementwise(op, primals, tangents, attrs, r) if r.is_floating_point() else None
    return transposed(level, op, primals, tangents, attrs)


def names_of(op: Op, n: int) -> list[str]:
    """The argument that each operand belongs to."""
    names = [a.lstrip("*") for a in op.args]
    return names + [names[-1]] * (n - len(names)) if op.args[-1].startswith("*") else names


def linear(level: Level, op: Op, primals: tuple, tangents: tuple, attrs: dict, names: list, groups: list):
    """The sum of the operator with each group of operands replaced by their tangents."""
    total = None
    for group in groups:
        if all([t is None for n, t in zip(names, tangents) if n in group]):
            continue
        operands = [p if n not in group else t if t is not None or not isinstance(p, Slots) else F.zeros_like(p)
                    for n, p, t in zip(names, primals, tangents)]
        part = level.run(op, tuple(operands), attrs)
        total = part if total is None else F.add(total, part)
    return total


def direct(op: Op) -> bool:
    """Whether the rules of an elementwise operator know nothing of shapes: then they give tangents, too."""
    return not any([p.endswith(("_shape", "_dtype")) or p == "needs" for _, _, params in op.plan for p in params])


def elementwise(op: Op, primals: tuple, tangents: tuple, attrs: dict, out):
    """The tangent of a real elementwise operator by its derivative rules."""
    known = dict(zip([a.lstrip("*") for a in op.args], primals))
    total = None
    for i, t in enumerate(tangents):
        if t is None:
            continue
        if t.shape != out.shape:
            t = F.expand(t, out.shape)
        for name, rule, params in op.plan:
            if name and name != op.args[i]:
                continue
            values = [t if p in ("g", "gs") else out if is_out(p) else attrs if p == "attrs_" else known[p] if p in known else attrs[p] for p in params]
            part = rule(*values)
            if not name:
                part = part[i] if isinstance(part, (tuple, list)) else part
            if part is not None:
                total = part if total is None else F.add(total, part)
    if total is None:
        return None
    if total.dtype is not out.dtype:
        total = F.convert(total, out.dtype)
    return total if total.shape == out.shape else F.expand(total, out.shape)


def transposed(level: Level, op: Op, primals: tuple, tangents: tuple, attrs: dict) -> tuple:
    """(result, tangent): the operator's backward pass, which is linear in the gradient of the result, transposed."""
    with recording() as before:
        xs = [p if t is None else differentiable(p) for p, t in zip(primals, tangents)]
        wanted = [x for x, t in zip(xs, tangents) if t is not None]
        given = [t for t in tangents if t is not None]
        r = level.run(op, tuple(xs), attrs)
        outs = list(r) if type(r) is tuple else [r]
        live = [i for i, o in enumerate(outs) if o._rg]
        found: list[Any] = [None] * len(outs)
        on = before and (goes_on([outs[i] for i in live], wanted) or any([t._rg for t in given]))
        if live and op.kind is not RANDOM or live and not op.name.endswith("_fill"):
            us = [differentiable(F.zeros_like(plain(outs[i]))) for i in live]
            back = autograd.grad([outs[i] for i in live], wanted, us, create_graph=True, allow_unused=True)
            linear = [(g, t) for g, t in zip(back, given) if g is not None and g._rg]
            if linear:
                tangent = autograd.grad([g for g, _ in linear], us, [t for _, t in linear], create_graph=on, retain_graph=on, allow_unused=True)
                for i, t in zip(live, tangent):
                    found[i] = t
        outs = [o if on or not o._rg else plain(o) for o in outs]
    return (tuple(outs), tuple(found)) if type(r) is tuple else (outs[0], found[0])
