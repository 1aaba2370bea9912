"""`pellucid.fft`: the operators registered in that namespace."""
from __future__ import annotations

from .core.errors import unknown as _unknown
from .tensor.functions import namespace

_OPERATORS = namespace("fft")
globals().update(_OPERATORS)
__all__ = sorted(_OPERATORS)

__getattr__ = _unknown(globals())
