"""Types by the standard: promotion, casts and limits.

In: tensors, dtypes, Python numbers. True always: tensors without dimensions take part in promotion as all others; Python numbers
adopt the dtype of what they meet, widened to its kind only.
"""
from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any, NamedTuple

import numpy as np

from ..core import dtype as dt
from ..tensor import Tensor
from ..tensor import functions as P
from .info import is_of_kind

__all__ = ["astype", "can_cast", "finfo", "iinfo", "isdtype", "result_type"]


def astype(x, dtype, /, *, copy: bool = True, device=None):
    """`x` as `dtype`. `copy=False` gives `x` itself where it has that dtype already."""
    return x.to(device=device, dtype=dtype, copy=copy)


def can_cast(from_, to, /) -> bool:
    """Whether type promotion leads from `from_` (a dtype or a tensor) to `to`."""
    try:
        return result_type(from_, to) is to
    except (RuntimeError, TypeError):
        return False


def isdtype(dtype, kind) -> bool:
    """Whether `dtype` is of a kind ("bool", "signed integer", "real floating", ...), is a given dtype, or one of a tuple of these."""
    return is_of_kind(dtype, kind)


class FloatLimits(NamedTuple):
    bits: int
    eps: float
    max: float
    min: float
    smallest_normal: float
    dtype: dt.dtype                     # PyTorch's limits have its name here


class IntegerLimits(NamedTuple):
    bits: int
    max: int
    min: int
    dtype: dt.dtype


def finfo(type, /) -> FloatLimits:
    """Limits of a floating dtype (of the parts of a complex one), or of a tensor's."""
    d = type.dtype if isinstance(type, Tensor) else type
    f = dt.finfo(d)
    return FloatLimits(f.bits, f.eps, f.max, f.min, f.smallest_normal, d.to_real())


def iinfo(type, /) -> IntegerLimits:
    """Limits of an integer dtype, or of a tensor's."""
    d = type.dtype if isinstance(type, Tensor) else type
    i = dt.iinfo(d)
    return IntegerLimits(i.bits, i.max, i.min, d)


def _join(a: dt.dtype, b: dt.dtype) -> dt.dtype:
    """The standard's table. PyTorch's lacks the unsigned types beyond uint8."""
    if a.category == b.category == dt.INT:
        d = np.promote_types(a.np, b.np)
        if d.kind in "iu":
            return dt.of(d)
    return dt.promote_types(a, b)


def result_type(*arrays_and_dtypes) -> dt.dtype:
    """The dtype of an operation on tensors, dtypes and Python numbers."""
    found, numbers = None, []
    for x in arrays_and_dtypes:
        if isinstance(x, Tensor):
            x = x.dtype
        if isinstance(x, dt.dtype):
            found = x if found is None else _join(found, x)
        elif isinstance(x, (bool, int, float, complex)):
            numbers.append(dt.of_number(x))
        else:
            raise TypeError(f"result_type(): expected tensors, dtypes and Python numbers, got {type(x).__name__}: {x!r}")
    return dt.result_type_of([] if found is None else [found], [], numbers)


def promoted(*operands) -> tuple:
    """The operands as tensors of one dtype, that of promotion."""
    d = result_type(*operands)
    first = next((x for x in operands if isinstance(x, Tensor)), None)
    if first is None:
        raise TypeError("at least one operand must be a tensor: wrap a number with pellucid.array_api.asarray")
    return tuple([(x if x.dtype is d else x.to(d)) if isinstance(x, Tensor) else P.full((), x, dtype=d) for x in operands])


def of_two(function: Callable) -> Callable:
    """An operator of two operands with the standard's promotion."""
    @wraps(function)
    def binary(x1: Any, x2: Any, /):
        if type(x1) is type(x2) is Tensor and x1.dtype is x2.dtype:
            return function(x1, x2)
        return function(*promoted(x1, x2))
    del binary.__wrapped__               # whoever asks sees the standard's signature
    return binary
