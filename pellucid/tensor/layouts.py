"""In which order a result lies in memory: asked of the operator's reference, on small arrays laid out like the operands.

In: a canonical call whose operands are not all row-major. Out: for each result its strides in elements, None for row-major. What
stays true: nothing of the real size is computed; the answers are kept, for they depend on few things: which sizes are 1, the
order of the strides, gaps, attributes.
"""
from __future__ import annotations

import warnings
from typing import Any

import numpy as np

from ..core.layout import contiguous_format, strides_for
from ..graph.keys import Unhashable, attrs_key
from ..ops._windows import shared_format
from ..ops.conv import CONVOLUTIONS
from ..ops.op import Op

ndarray = np.ndarray
_LIMIT = 1 << 16                        # elements of a small array
_known: dict[tuple, tuple | None] = {}


def orders(op: Op, operands: tuple, attrs: dict[str, Any], shapes: list[tuple[int, ...]]) -> list[tuple[int, ...] | None]:
    """The strides of the results, of `shapes`, for `operands` (arrays, numbers, None)."""
    if op.name == "spread":                                    # by strides alone, and of 0
        r = op.ref(operands[0], **attrs)
        return [tuple([s // r.itemsize for s in r.strides])]
    if op.name in CONVOLUTIONS:                                # sizes in the attributes
        fmt = shared_format(*operands[:2])
        return [None if fmt is contiguous_format else strides_for(shapes[0], fmt)]
    windows = "kernel" in attrs or "stride" in attrs           # attributes speak of all dimensions but the first two
    try:
        key = (op.name, windows, attrs_key(attrs), *[_pattern(a, windows) for a in operands])
    except Unhashable:
        return [None] * len(shapes)
    if key not in _known:
        _known[key] = _ask(op, operands, attrs, windows)
    found = _known[key]
    if found is None or len(found) != len(shapes):
        return [None] * len(shapes)
    return [_strides(shape, dims) for shape, dims in zip(shapes, found)]


def _pattern(a: Any, windows: bool) -> Any:
    """What of an operand decides the layout."""
    if not isinstance(a, ndarray):
        return type(a) if a is not None else None
    return a.dtype.num, _small_shape(a.shape, windows), _order(a.strides), 0 in a.strides and tuple([s == 0 for s in a.strides]), _dense(a)


def _small_shape(shape: tuple, windows: bool) -> tuple:
    return tuple([n if n < 2 or windows and d > 1 else 2 for d, n in enumerate(shape)])


def _order(strides: tuple) -> tuple:
    """Dimensions from the slowest to the fastest."""
    return tuple(sorted(range(len(strides)), key=lambda d: -strides[d]))


def _dense(a: ndarray) -> bool:
    step = a.itemsize
    for s, n in sorted(zip(a.strides, a.shape)):
        if n != 1:
            if s != step:
                return False
            step *= n
    return True


def _small(a: Any, windows: bool) -> Any:
    """An array with the layout of `a`, gaps and repetitions too; its values are ones, or between 0 and 1."""
    if not isinstance(a, ndarray):
        return a
    shape = _small_shape(a.shape, windows)
    repeated = [s == 0 and n > 1 for s, n in zip(a.strides, shape)]
    order = _order(a.strides)
    gap = 1 if _dense(a) or any(repeated) else 2
    memory = np.ones([1 if repeated[d] else shape[d] * gap for d in order], a.dtype)
    if a.dtype.kind == "f":
        memory = np.linspace(0.1, 0.9, memory.size).reshape(memory.shape).astype(a.dtype)
    v = memory[tuple([slice(None, 1 if repeated[d] else shape[d]) for d in order])]
    v = v.transpose([order.index(d) for d in range(len(order))])
    return np.broadcast_to(v, shape) if any(repeated) else v


def _ask(op: Op, operands: tuple, attrs: dict, windows: bool) -> tuple | None:
    """For each result its dimensions from the slowest to the fastest, and which are repeated; None if the reference refuses."""
    small = [_small(a, windows) for a in operands]
    if any(isinstance(a, ndarray) and a.size > _LIMIT for a in small):
        return None
    try:
        with np.errstate(all="ignore"), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            r = op.ref(*small, **attrs)
    except Exception:                                          # sizes in the attributes, values that it does not take
        return None
    found = []
    for x in r if type(r) is tuple else (r,):
        x = np.asarray(x)
        if x.flags.c_contiguous:
            found.append(None)
        else:
            found.append((_order(x.strides), tuple([s == 0 and n > 1 for s, n in zip(x.strides, x.shape)])))
    return tuple(found)


def _strides(shape: tuple, dims: tuple | None) -> tuple | None:
    """Strides in elements of dense memory of `shape` with its dimensions in that order."""
    if dims is None or len(dims[0]) != len(shape):
        return None
    order, repeated = dims
    out, step = [0] * len(shape), 1
    for d in reversed(order):
        if not repeated[d]:
            out[d] = step
            step *= max(shape[d], 1)
    return tuple(out)
