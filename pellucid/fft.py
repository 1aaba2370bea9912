"""`pellucid.fft`: the operators registered in that namespace."""
from __future__ import annotations

from .core.errors import unknown as _unknown
from .tensor.functions import namespace

globals().update(namespace("fft"))

__getattr__ = _unknown(globals())
