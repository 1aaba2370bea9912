"""Levels: what the interpreters of `vmap` and of forward-mode differentiation share.

In: calls of operators, some of whose operands are lifted to a level. A lifted tensor is an ordinary Tensor whose array is a
`Lifted`: the geometry the user's function sees, the tensor beneath (`lower`), and what the level knows about it (`extra`: that
its first dimension is the batch, or its tangent). Out: lifted results, computed with operators on what lies beneath.

What stays true: what is computed within a level is lifted to it, so that the history the tape gives it there (of a `grad`
inside the level) and that of the tensor beneath (of a `grad` around it) never mix; a view is a view on both sides.
"""
from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import numpy as np

from ..core.storage import ARRAYS
from ..ops.canonical import call as canonical_call
from ..ops.dispatch import Interpreter, local
from ..ops.op import VIEW, Op
from . import eager
from .core import Slots, wrap
from .fake import Geometry
from .symbolic import SymNumber

ndarray = np.ndarray


class Lifted(Geometry):
    """The array of a tensor that is lifted to `level`."""

    level: Any = None
    lower: Any = None
    extra: Any = None

    @property
    def place(self):
        return self.lower.device

    def refuse(self, got: str):
        self.level.refuse(self, got)

    def values(self) -> ndarray:
        return self.level.values_of(self)

    def shown(self) -> str:
        """How a tensor with this array prints."""
        return self.level.shown(self)

    def settled(self) -> ndarray:
        if not self.level.closed:
            return self
        a = self.lower._a
        return a.settled() if isinstance(a, Geometry) else a

    def target(self, t) -> Lifted:
        """The array of the tensor `t`, which this array's value is about to be written to."""
        a = self.level.array_of(t)
        return self.level.captured(t, self) if a is None else a

    def write(self, v: ndarray, t) -> None:
        self.level.write(self, v, t)

    def duplicate(self) -> Lifted:
        """A copy, with memory of its own."""
        level = self.level
        with level.beneath():
            return level.array(self.lower.clone(), None if self.extra is None else level.copied_extra(self.extra))


ARRAYS.add(Lifted)


@contextlib.contextmanager
def unrecorded() -> Iterator[None]:
    """Record nothing inside; those beneath the level on top record as before."""
    grad, outer = local.grad, local.beneath
    local.grad, local.beneath = False, (len(local.stack), grad) if outer is None else outer
    try:
        yield
    finally:
        local.grad, local.beneath = grad, outer


class Level(Interpreter):
    """An interpreter that lifts. Subclasses say how: `shape_of` and `compute`, `view`, `write`, `refuse`, `values_of`."""

    stays = True
    closed = False          # whether it is over
    inherits = False        # whether history of what is not lifted continues in what is (dual numbers outside of a transform)

    # ------------------------------------------------------------------------------------------ lifting
    def array(self, lower, extra) -> Lifted:
        """The array of a tensor that `lower` and `extra` stand for."""
        a = ndarray.view(self.geometry(lower._a, extra), Lifted)
        a.level, a.lower, a.extra = self, lower, extra
        return a

    def geometry(self, a: ndarray, extra) -> ndarray:
        """An array of the geometry that the user's function sees."""
        return a

    def lift(self, lower, extra=None):
        """A tensor of this level."""
        return wrap(self.array(lower, extra))

    def array_of(self, t) -> Lifted | None:
        """The array of `t` if it is lifted to this level."""
        a = t._a
        return a if type(a) is Lifted and a.level is self else None

    def parts(self, t) -> tuple:
        """(what lies beneath, what the level knows of it) of an operand."""
        a = t._a
        return (a.lower, a.extra) if type(a) is Lifted and a.level is self else (t, None)

    def own(self, operands: tuple) -> tuple:
        """The operands, those with a history from outside lifted: to this level they are constants."""
        if self.inherits:
            return operands
        return tuple([self.lift(t) if isinstance(t, Slots) and t._rg and self.array_of(t) is None else t for t in operands])

    def captured(self, t, value: Lifted) -> Lifted:
        """The array of a tensor from outside that `value` is about to be written to."""
        return self.array(t, None)

    def shown(self, a: Lifted) -> str:
        """How a tensor of this level prints."""
        return repr(a.lower)

    def copied_extra(self, extra):
        return extra

    @contextlib.contextmanager
    def beneath(self) -> Iterator[None]:
        """Run the block as those beneath this level see it."""
        stack, grad, outer, overrides, cast = local.stack, local.grad, local.beneath, local.in_override, local.autocast
        local.stack = stack[:stack.index(self)] if self in stack else list(stack)
        if outer is not None and len(local.stack) < outer[0]:
            local.grad, local.beneath = outer[1], None
        local.in_override, local.autocast = True, None
        try:
            yield
        finally:
            local.stack, local.grad, local.beneath, local.in_override, local.autocast = stack, grad, outer, overrides, cast

    @contextlib.contextmanager
    def above(self) -> Iterator[None]:
        """Run the block with this level on top of the stack."""
        stack = local.stack
        local.stack = stack[:stack.index(self) + 1] if self in stack else [*stack, self]
        try:
            yield
        finally:
            local.stack = stack

    # ------------------------------------------------------------------------------------------ calls
    def call(self, op: Op, args: tuple, kwargs: dict) -> Any:
        """A call with the user's arguments."""
        return eager.interpreted(op, args, kwargs, self.record)

    def apply(self, op: Op, flat: tuple, attrs: dict) -> Any:
        """A call in canonical form, from whoever runs a graph or another interpreter's call on tensors."""
        with self.above():
            return self.record(op, flat, attrs)

    def record(self, op: Op, flat: tuple, attrs: dict) -> Any:
        """A call in canonical form: compute beneath, lift the results, hang the history on them."""
        if any([type(t) is SymNumber for t in flat]):
            flat = tuple([t.fixed() if type(t) is SymNumber else t for t in flat])
        flat = self.own(flat)
        if op.promote is not eager.NONE:
            promoted = eager.promote(op, flat)          # numbers stay numbers: beneath they are as weak as here
            flat = tuple([p if isinstance(p, Slots) else t for p, t in zip(promoted, flat)])
        if op.kind is VIEW:
            return self.view_of(op, flat, attrs)
        tracked = local.grad and op.grads and any([isinstance(t, Slots) and t._rg for t in flat])
        if op.body is not None and not op.plan and tracked:
            return op.body(*flat, **attrs)
        if self.by_parts(op, flat):
            r = self.parts_of(op, flat, attrs)
        else:
            try:
                r = self.compute(op, flat, attrs)
            except (RuntimeError, IndexError, ValueError, TypeError) as error:
                raise self.explained(op, flat, attrs, error) from None
        outs = r if type(r) is tuple else (r,)
        if op.plan and tracked:
            eager.record(op, flat, attrs, outs)
        if local.inference:
            for t in outs:
                t._extras().inference = True
        return outs if type(r) is tuple else outs[0]

    def by_parts(self, op: Op, flat: tuple) -> bool:
        """Whether a composite is computed by its body here."""
        return op.body is not None

    def parts_of(self, op: Op, flat: tuple, attrs: dict):
        """A composite's results by its body, whose parts are not recorded on this level."""
        with unrecorded():
            r = op.body(*flat, **attrs)
        outs = tuple([wrap(t._a) for t in (r if type(r) is tuple else (r,))])
        return outs if type(r) is tuple else outs[0]

    def view_of(self, op: Op, flat: tuple, attrs: dict):
        """A view, here and beneath."""
        source = flat[0]
        if self.array_of(source) is None:
            source = self.lift(source)
        try:
            op.ref(source._a, **attrs)
        except (RuntimeError, IndexError, ValueError, TypeError) as error:
            raise eager.explain(op, (source,), attrs, error) from None
        past = flat[0] if self.inherits else source         # whose history goes on
        return eager.view_result(op, past, (past, *flat[1:]), attrs, self.view(op, source, attrs))

    def explained(self, op: Op, flat: tuple, attrs: dict, error: Exception) -> Exception:
        """The error in terms of the shapes the user's function sees."""
        if op.infer is not None:
            try:
                op.infer(*[eager.spec_of(t) for t in flat], **attrs)
            except (RuntimeError, IndexError, ValueError, TypeError) as better:
                if "[P269]" not in str(better):
                    return better
        return error

    @staticmethod
    def run(op: Op, flat: tuple, attrs: dict):
        """A canonical call on what lies beneath: the caller is `beneath()`."""
        return canonical_call(op, flat, attrs)

    # ------------------------------------------------------------------------------------------ what a tracer further down is told
    def below(self, t=None):
        """The next interpreter down that watches what happens to tensors, unless `t` is none of its."""
        stack = local.stack
        i = stack.index(self) if self in stack else 0
        return stack[i - 1] if i and stack[i - 1].stays and (t is None or type(t._a) is not Lifted) else None

    def touch(self, t) -> None:
        lower = self.below(t)
        if lower is not None:
            lower.touch(t)

    def recorded(self, node) -> None:
        lower = self.below()
        if lower is not None:
            lower.recorded(node)

    def use_grad(self, t, read: bool) -> None:
        lower = self.below(t)
        if lower is not None:
            lower.use_grad(t, read)


def levels() -> list[Level]:
    """The levels this thread is in, the outermost first."""
    return [i for i in local.stack if isinstance(i, Level)]
