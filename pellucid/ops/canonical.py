"""Calls in canonical form: the language that graphs are written in.

`ops.sum(x, dims=(1,), keepdim=False)` runs the operator `sum` on operands that are promoted already, with the attributes
its reference takes; nothing is checked or filled in. `ops` is for Tensors (recorded for backward as any call is);
`arrays` is the same for NumPy arrays, through the references alone: `evaluate` is its one rule.

True always: `arrays` computes what eager computes, bit for bit: float16 and bfloat16 through float32, rounded once per
operator. Values have no strides here: a view that depends on the memory order gets its operand in row-major order.
A call with one result returns it, with several a tuple.
"""
from __future__ import annotations

from typing import Any

import numpy as np

from ..core import dtype as dt
from ..core.late import late
from ..core.layout import contiguous_format
from .dispatch import below, local, state
from .op import NONE, RANDOM, REGISTRY, Op

F32 = np.dtype(np.float32)
_LOW = frozenset(d.np for d in dt.LOW_PRECISION)
# views whose reference reads the order of memory, which values of a graph do not have
IN_ORDER = frozenset(("view_shape", "as_strided", "view_dtype", "view_as_complex"))


def number_as(x, d: dt.dtype):
    """A Python number as a 0-d array of dtype `d`, wrapping integers as C does."""
    if d.category == dt.INT and not isinstance(x, bool):
        bits = d.itemsize * 8
        x = int(x) & ((1 << bits) - 1)
        if d.is_signed and x >> (bits - 1):
            x -= 1 << bits
    return np.asarray(x).astype(d.np)


def weak(x, d: dt.dtype):
    """A number beside operands of dtype `d`, as references take it: a Python float or bool where that is its kind."""
    kind = type(x)
    if kind is float and d.category == dt.FLOAT or kind is bool and d.category == dt.BOOL:
        return x
    if kind is int and (d is dt.float32 or d is dt.float64):
        return float(x)
    return number_as(x, d)


def in_order(a: np.ndarray) -> np.ndarray:
    """`a` in row-major order, with memory of its own."""
    return a if a.flags.c_contiguous and a.base is None else np.array(a, order="C")


def evaluate(op: Op, args: tuple, attrs: dict[str, Any]) -> tuple[np.ndarray, ...]:
    """The results of `op` on arrays (and numbers, None) by its reference."""
    if op.ref is None:
        raise TypeError(f"{op.name} has no reference: decompose the graph first")
    operands = list(args)
    if op.promote is not NONE:
        common = next((dt.of(a.dtype) for a in operands if isinstance(a, np.ndarray)), None)
        if common is not None:
            operands = [a if a is None or isinstance(a, np.ndarray) else weak(a, common) for a in operands]
    if op.name in IN_ORDER or op.kind is RANDOM and operands and isinstance(operands[0], np.ndarray):
        operands[0] = in_order(operands[0])
    low = None
    if op.low:
        for i, a in enumerate(operands):
            if isinstance(a, np.ndarray) and a.dtype in _LOW:
                low = a.dtype
                operands[i] = a.astype(F32)
    r = op.ref(*operands, **attrs)
    outs = tuple([np.asarray(a) for a in r]) if type(r) is tuple else (np.asarray(r),)
    if low is not None:
        outs = tuple([a.astype(low) if a.dtype == F32 else a for a in outs])
    return outs


def finish(outs: tuple, writes: tuple = ()) -> tuple:
    """The end of a graph: `writes` are (array, new value) pairs. All values are read before anything is written."""
    targets = [t for t, _ in writes]

    def safe(a):
        return a.copy() if any(np.may_share_memory(a, t) for t in targets) else a
    if targets:
        outs, values = tuple([safe(a) for a in outs]), [safe(v) for _, v in writes]
        for t, v in zip(targets, values):
            np.copyto(t, v, casting="unsafe")
    return outs


class Arrays:
    """Canonical calls on NumPy arrays: `arrays.NAME(*operands, **attrs)`."""

    finish = staticmethod(finish)

    def __getattr__(self, name: str):
        op = REGISTRY.get(name)
        if op is None:
            raise AttributeError(f"no operator {name!r} is registered")

        def call(*operands, **attrs):
            r = evaluate(op, operands, attrs)
            return r if len(r) > 1 else r[0]
        return call


def call(op: Op, args: tuple, attrs: dict[str, Any]):
    """A canonical call on Tensors: through the interpreter on top, or eager."""
    if op.name in IN_ORDER and not args[0].is_contiguous():
        args = (call(REGISTRY["clone"], args[:1], {"fmt": contiguous_format}), *args[1:])
    observer = state.observer
    if state.slow and local.stack:
        interpreter = local.stack[-1]
        with below():
            r = interpreter.apply(op, args, attrs)
    elif observer is not None:
        r = observer.operator(op.public if op.ns else op.name, late.apply, op, args, attrs)
    else:
        r = late.apply(op, args, attrs)
    return r[0] if type(r) is tuple and len(r) == 1 else r


class Tensors:
    """Canonical calls on Tensors: `ops.NAME(*operands, **attrs)`."""

    @staticmethod
    def finish(outs: tuple, writes: tuple = ()) -> tuple:
        """As `finish`, on Tensors; gradients do not flow into what is written."""
        if writes:
            places = {t.untyped_storage().data_ptr() for t, _ in writes}
            outs = tuple([t.clone() if t.untyped_storage().data_ptr() in places else t for t in outs])
            for t, v in [(t, v.detach().clone()) for t, v in writes]:
                t.detach().copy_(v)
        return outs

    def __getattr__(self, name: str):
        op = REGISTRY.get(name)
        if op is None:
            raise AttributeError(f"no operator {name!r} is registered")
        return lambda *operands, **attrs: call(op, operands, attrs)


arrays = Arrays()
ops = Tensors()
