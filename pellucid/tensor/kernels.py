"""Large eager operators through native kernels: an operator on large arrays runs as a one-node graph, compiled once.

In: an operator in canonical form, its arrays (promoted) and attributes. Out: the arrays of its results, or None: the caller
runs the reference instead. What is made is remembered by operator, dtypes, shapes and attributes; numbers among the operands
are run-time arguments. Kernels come from the same definition as everything else, and from the object cache on disk.

True always: small arrays never come here (`LEAST`), and which of the two ways a call takes depends on its operands only, so
that a program computes the same in every run. After `SHAPES` shapes of one operator a further one is compiled at its second
call only. What the native layer does not compile, or only by calling the reference, is left to the reference for good.
`PELLUCID_EAGER_KERNELS=0` switches this off.
"""
from __future__ import annotations

import threading
from typing import Any

import numpy as np

from .. import native
from ..core import dtype as dt
from ..core.config import config
from ..core.spec import Spec
from ..graph.ir import Graph
from ..ops.op import COMPOSITE, CUMULATIVE, GATHER, POINT, REDUCE, SCATTER, Op

ndarray = np.ndarray
# Elements of the largest operand from which a kernel beats NumPy (benchmarks/operators.py).
LEAST = 1 << 13
LEAST_OF = {POINT: 1 << 14, REDUCE: 1 << 13, GATHER: 1 << 14, SCATTER: 1 << 13, CUMULATIVE: 1 << 62, COMPOSITE: 1 << 12}
EXTERN_LEAST = 1 << 12
# Library operators that are worth it: NumPy has no convolution, and its products of matrices are as good as any.
EXTERNS = frozenset(("convolution", "convolution_input", "convolution_weight", "constant_pad_nd", "clone"))
CONSTANT_NUMBERS = frozenset(("pow",))          # whose number decides what is computed
SHAPES = 48
_DTYPES = frozenset(d.np for d in (dt.float32, dt.float64, dt.bfloat16, dt.float16, dt.int64, dt.int32, dt.uint8, dt.bool_))
_NO = object()


class _Family:
    """The kernels of one operator with one combination of dtypes and attributes."""

    __slots__ = ("made", "seen")

    def __init__(self):
        self.made: dict[tuple, Any] = {}
        self.seen: set[tuple] = set()


_families: dict[tuple, _Family] = {}
_lock = threading.Lock()


def least(op: Op) -> int:
    """How many elements the largest operand needs for a kernel; very many for operators that have none."""
    if op.kind in LEAST_OF:
        return LEAST_OF[op.kind]
    return EXTERN_LEAST if op.name in EXTERNS else 1 << 62


def run(op: Op, arrays: list, attrs: dict) -> ndarray | tuple[ndarray, ...] | None:
    """The results of `op`, or None if its reference should make them."""
    shapes, kinds, operands = [], [], []
    order = None
    numbers = None
    for a in arrays:
        if type(a) is ndarray:
            d = a.dtype
            if d not in _DTYPES:
                return None
            if not a.flags.c_contiguous:
                order = order or _order(op, arrays)
                if order is None:
                    return None
            shapes.append(a.shape)
            kinds.append(d)
            operands.append(a)
        elif a is None:
            kinds.append(None)
        elif op.kind is POINT and op.name not in CONSTANT_NUMBERS:
            numbers = numbers or next((x.dtype for x in arrays if type(x) is ndarray), None)
            if numbers is None:
                return None
            a = np.asarray(a, numbers)
            shapes.append(())
            kinds.append(numbers)
            operands.append(a)
        else:
            kinds.append(a)
    try:
        family = _families.get((op, *kinds, *attrs.values()))
    except TypeError:                           # attributes that are no keys: slices, arrays
        return None
    if family is None:
        family = _families[(op, *kinds, *attrs.values())] = _Family()
    if order is not None:
        operands = [a.transpose(order) if a.ndim else a for a in operands]
        shapes = [a.shape for a in operands]
    exe = family.made.get(key := tuple(shapes))
    if exe is None:
        exe = _make(family, key, op, operands, [k for k in kinds], attrs)
    if exe is _NO:
        return None
    outs = exe(operands)
    if order is not None:
        back = np.argsort(order)
        outs = [a.transpose(back) for a in outs]
    return outs[0] if len(outs) == 1 and op.nout == 1 else tuple(outs)


def _order(op: Op, arrays: list) -> tuple[int, ...] | None:
    """The order of dimensions in which all operands of an elementwise operator are row-major, if they are alike."""
    if op.kind is not POINT:
        return None
    first = None
    for a in arrays:
        if type(a) is ndarray and a.ndim:
            if first is None:
                first = a
            elif a.shape != first.shape or a.strides != first.strides:
                return None
    if first is None:
        return None
    order = tuple(sorted(range(first.ndim), key=lambda d: (-first.strides[d], d)))
    return order if first.transpose(order).flags.c_contiguous else None


def _make(family: _Family, key: tuple, op: Op, operands: list, kinds: list, attrs: dict):
    with _lock:
        if len(family.made) >= SHAPES and key not in family.seen:
            family.seen.add(key)
            return _NO
        exe = family.made[key] = _compiled(op, operands, kinds, attrs) or _NO
    return exe


def _compiled(op: Op, operands: list, kinds: list, attrs: dict):
    """An executable for one call, or None if it has no native code of its own."""
    graph = Graph(op.name)
    places = iter(operands)
    args, specs = [], []
    for k in kinds:
        if isinstance(k, np.dtype):
            a = next(places)
            spec = Spec(a.shape, dt.of(a.dtype))
            args.append(graph.input(spec, "x"))
            specs.append(spec)
        else:
            args.append(k)
            specs.append(k)
    made = op.infer(*specs, **attrs) if op.infer is not None else None
    if made is None:
        return None
    results = made if isinstance(made, tuple) and not isinstance(made, Spec) else (made,)
    node = graph.add(op, tuple(args), attrs, tuple(Spec(s.shape, s.dtype) for s in results))
    graph.outputs = list(node.outs)
    try:
        exe = native.build.compile_graph(graph)
    except (TypeError, ValueError, RuntimeError, NotImplementedError):
        return None
    return None if exe.report["host_steps"] else exe


def enabled() -> bool:
    return config.kernels


def forget() -> None:
    """Drop all kernels, for tests."""
    _families.clear()


def count() -> int:
    """How many kernels there are."""
    return sum(exe is not _NO for f in _families.values() for exe in f.made.values())
