"""What oneDNN's primitives see of a library call: operands, results and post-steps as strided memory.

In: a plan's LibCall. Out: `Call`, whose `Operand`s are numbered as an extern's views: the operands that are Views, the outs, the
post-steps' operands. True always: an Operand may be looked at in another shape (`like`), it stays the same memory.
"""
from __future__ import annotations

from dataclasses import dataclass

from ..core import dtype as dt
from ..kernel.plan import LibCall, View
from . import onednn as dnn
from .onednn import Unavailable, description


@dataclass(frozen=True, slots=True)
class Operand:
    """A view with its number."""

    index: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]
    dtype: dt.dtype
    constant: bool = False

    def like(self, shape, strides) -> Operand:
        return Operand(self.index, tuple(shape), tuple(strides), self.dtype, self.constant)

    @property
    def md(self):
        return description(self.shape, self.dtype, self.strides)

    @property
    def any(self):
        return description(self.shape, self.dtype)

    def swapped(self) -> Operand:
        """The last two dimensions exchanged."""
        s, t = self.shape, self.strides
        return self.like((*s[:-2], s[-1], s[-2]), (*t[:-2], t[-1], t[-2]))


class Call:
    """A LibCall's operands, outs and post-steps, numbered."""

    def __init__(self, call: LibCall, constant: frozenset[int] = frozenset()):
        self.name, self.attrs = call.name, call.attrs
        n = 0
        self.operands: list = []
        for a in call.operands:
            if isinstance(a, View):
                self.operands.append(Operand(n, a.shape, a.strides, a.dtype, n in constant))
                n += 1
            else:
                self.operands.append(a)
        self.outs = [Operand(n + i, v.shape, v.strides, v.dtype) for i, v in enumerate(call.outs)]
        n += len(self.outs)
        self.post: list[tuple[str, Operand | None]] = []
        for p in call.post:
            self.post.append((p.kind, None if p.operand is None else
                              Operand(n, p.operand.shape, p.operand.strides, p.operand.dtype)))
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
