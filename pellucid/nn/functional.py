"""`pellucid.nn.functional`: every operator registered in that namespace. Nothing is listed here by hand."""
from __future__ import annotations

from ..core.errors import unknown as _unknown
from ..tensor.functions import namespace
from . import grad  # noqa: F401  (PyTorch has it here too)

globals().update(namespace("nn.functional"))

__getattr__ = _unknown(globals())
