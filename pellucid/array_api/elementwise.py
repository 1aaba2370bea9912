"""Elementwise functions: pellucid's own, those of two operands with the standard's promotion."""
from __future__ import annotations

from ..tensor import Tensor
from ..tensor import functions as P
from .dtypes import of_two, promoted

_ONE = """abs acos acosh asin asinh atan atanh bitwise_invert=bitwise_not ceil conj cos cosh exp expm1 floor imag isfinite isinf isnan
log log1p log2 log10 logical_not negative positive real reciprocal signbit sin sinh square sqrt tan tanh trunc""".split()
_TWO = """add atan2 bitwise_and bitwise_left_shift bitwise_or bitwise_right_shift bitwise_xor copysign divide equal=eq floor_divide greater
greater_equal hypot less less_equal logaddexp logical_and logical_or logical_xor maximum minimum multiply nextafter not_equal pow remainder
subtract""".split()

__all__ = ["clip", "round", "sign"]
for _pair in (*_ONE, *_TWO):
    _name, _, _ours = _pair.partition("=")
    _function = getattr(P, _ours or _name, None)
    if _function is not None:                           # an operator that is not registered has no name here either
        globals()[_name] = of_two(_function) if _pair in _TWO else _function
        __all__.append(_name)


def clip(x, /, min=None, max=None):
    """`x` held between `min` and `max` (tensors or numbers), in the dtype of `x`."""
    low, high = [v.to(x.dtype) if isinstance(v, Tensor) else v for v in (min, max)]
    if isinstance(low, Tensor) or isinstance(high, Tensor):
        low, high = [None if v is None else promoted(x, v)[1] for v in (low, high)]
    return x.clone() if low is None and high is None else P.clip(x, low, high)


def round(x, /):
    """The nearest whole numbers, halves to even ones; of complex numbers, part by part."""
    return P.complex(P.round(x.real), P.round(x.imag)) if x.is_complex() else P.round(x)


def sign(x, /):
    """-1, 0 or 1 as `x` is negative, zero or positive; x / |x| of complex numbers; NaN where `x` is (PyTorch: 0)."""
    y = P.sgn(x)
    return P.where(P.isnan(x), x, y) if x.is_floating_point() else y
