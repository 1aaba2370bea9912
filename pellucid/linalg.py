"""`pellucid.linalg`: the operators registered in that namespace."""
from __future__ import annotations

from .core.errors import unknown as _unknown
from .ops._linalg import LinAlgError as LinAlgError
from .tensor.functions import namespace

globals().update(namespace("linalg"))

__getattr__ = _unknown(globals())
