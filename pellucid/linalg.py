"""`pellucid.linalg`: the operators registered in that namespace."""
from __future__ import annotations

from .core.errors import unknown as _unknown
from .ops._linalg import LinAlgError as LinAlgError
from .tensor.functions import namespace

_OPERATORS = namespace("linalg")
globals().update(_OPERATORS)
__all__ = ["LinAlgError", *sorted(_OPERATORS)]

__getattr__ = _unknown(globals())
