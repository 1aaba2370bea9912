"""`x[index]` and `x[index] = value`.

Basic indices (ints, slices, None, Ellipsis) make views; tensors, sequences and masks go to the operators `index` and
`index_put`. The meaning of an index is worked out in `ops.index.parse`.
"""
from __future__ import annotations

import numpy as np

from ..ops.dispatch import local, state
from ..ops.op import REGISTRY, F
from .core import PLAIN
from .eager import view_result


def get(x, index):
    """`x[index]`."""
    if not state.slow and type(x) in PLAIN and is_basic(index):
        a = x._a
        try:
            r = a[index]
        except IndexError:
            return F.getitem(x, index)          # the operator words the error
        if type(r) is not np.ndarray:
            r = a[(*index, ...)] if type(index) is tuple else a[index, ...]
        return view_result(_BASIC, x, (x,), {"index": index if type(index) is tuple else (index,)}, r)
    return F.getitem(x, index)


def is_basic(index) -> bool:
    """Whether `index` means to NumPy what it means to PyTorch: ints, None, Ellipsis, slices of ints with a positive step."""
    for i in index if type(index) is tuple else (index,):
        if type(i) is slice:
            step = i.step
            if step is not None and (type(step) is not int or step < 1) or type(i.start) not in _INT or type(i.stop) not in _INT:
                return False
        elif type(i) not in _SIMPLE:
            return False
    return True


def set(x, index, value) -> None:
    """`x[index] = value`."""
    if not state.slow and not (x._rg and local.grad) and type(x) in PLAIN:
        if fast_set(x, index, value):
            return
    F.setitem(x, index, value)


_INT = frozenset((int, type(None)))
_SIMPLE = frozenset((int, type(None), type(Ellipsis)))
_BASIC = REGISTRY["basic_index"]


def fast_set(x, index, value) -> bool:
    """Plain assignment through NumPy when nothing is recorded and the index is basic. True if done."""
    if not is_basic(index):
        return False
    if type(value) in PLAIN:
        if value._rg and local.grad:
            return False
        v = value._a
        if v.dtype != x._a.dtype:
            return False
    elif type(value) in (int, float, bool):
        v = value
    else:
        return False
    if x._x is not None and (x._x.base is not None and x._x.base._rg or x._x.inference):
        return False
    a = x._a
    if not a.flags.writeable or 0 in a.strides:
        return False
    try:
        a[index] = v
    except (ValueError, IndexError, OverflowError):
        return False                        # the slow path words the error
    x._bump()
    return True


