"""What oneDNN's primitives see of a library call: operands, results and post-steps as strided memory.

In: a plan's LibCall. Out: `Call`, whose `Operand`s are numbered as an extern's views: the operands that are Views, the outs, the
post-steps' operands. True always: an Operand may be looked at in another shape (`like`), it stays the same memory.
"""
from __future__ import annotations

from dataclasses import dataclass

from ..core import dtype as dt
from ..kernel.plan import LibCall, View
from . import onednn as dnn
from .onednn import DST, SRC, Handle, Primitive, Unavailable, description


@dataclass(frozen=True, slots=True)
class Operand:
    """A view with its number. `wide`: its memory is bfloat16, and the primitive sees a float32 copy (`md`, dense)."""

    index: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]
    dtype: dt.dtype
    constant: bool = False
    wide: bool = False

    def like(self, shape, strides) -> Operand:
        return Operand(self.index, tuple(shape), tuple(strides), self.dtype, self.constant, self.wide)

    @property
    def md(self):
        """What the primitive sees."""
        return description(self.shape, dt.float32, tightened(self.shape, self.strides)) if self.wide else self.memory

    @property
    def memory(self):
        """What is there."""
        return description(self.shape, self.dtype, self.strides)

    @property
    def any(self):
        return description(self.shape, dt.float32 if self.wide else self.dtype)

    def swapped(self) -> Operand:
        """The last two dimensions exchanged."""
        s, t = self.shape, self.strides
        return self.like((*s[:-2], s[-1], s[-2]), (*t[:-2], t[-1], t[-2]))


def tightened(shape, strides) -> tuple[int, ...]:
    """Strides without gaps, in the same order of dimensions."""
    step, out = 1, [0] * len(shape)
    for d in sorted(range(len(shape)), key=lambda d: (strides[d], shape[d] > 1, -d)):
        out[d] = step
        step *= shape[d]
    return tuple(out)


def read(p: Primitive, x: Operand, target) -> Handle:
    """The memory of an operand in the layout `target` (a description, or what `wanted` gives)."""
    md = x.memory
    return p.reordered(p.view(x.index, md), md, target.value if isinstance(target, Handle) else target, lasting=x.constant)


class Written:
    """Where a primitive writes a result: the result itself, or a temporary that a reorder then copies from."""

    def __init__(self, p: Primitive, x: Operand, target):
        self.p, self.md, self._kept = p, x.memory, target
        self.chosen = target.value if isinstance(target, Handle) else target
        self.result = p.view(x.index, self.md)
        self.memory = self.result if dnn.same(self.md.value, self.chosen) else p.temporary(self.chosen)

    def finish(self) -> None:
        if self.memory is not self.result:
            self.p.add(dnn.reorder(self.chosen, self.md.value), {SRC: self.memory, DST: self.result})


class Call:
    """A LibCall's operands, outs and post-steps, numbered."""

    def __init__(self, call: LibCall, constant: frozenset[int] = frozenset(), widen: bool = False):
        self.name, self.attrs = call.name, call.attrs

        def operand(n: int, v: View) -> Operand:
            return Operand(n, v.shape, v.strides, v.dtype, n in constant, widen and v.dtype is dt.bfloat16)

        n = 0
        self.operands: list = []
        for a in call.operands:
            if isinstance(a, View):
                self.operands.append(operand(n, a))
                n += 1
            else:
                self.operands.append(a)
        self.outs = [operand(n + i, v) for i, v in enumerate(call.outs)]
        n += len(self.outs)
        self.post: list[tuple[str, Operand | None]] = []
        for p in call.post:
            self.post.append((p.kind, None if p.operand is None else operand(n, p.operand)))
            n += p.operand is not None


def dense(x: Operand) -> Operand:
    """An activation whose strides describe some dense order of its dimensions (others the library does not take)."""
    order = sorted((d for d in range(len(x.shape)) if x.shape[d] > 1), key=lambda d: x.strides[d])
    step = 1
    for d in order:
        if x.strides[d] < step:
            raise Unavailable("overlapping strides")
        step = x.strides[d] * x.shape[d]
    last = len(x.shape) > 1 and x.shape[1] > 1 and x.strides[1] == 1     # a dimension of size 1: keep the order recognisable
    strides = list(x.strides)
    for d in range(len(x.shape)):
        if x.shape[d] == 1:
            strides[d] = 1 if d == 1 and not last and all(n == 1 for n in x.shape[2:]) else step
    return x.like(x.shape, strides)


def fast(pd):
    """The description, unless it is the library's reference code."""
    if dnn.implementation(pd).startswith("ref"):
        raise Unavailable("the library's reference code")
    return pd
