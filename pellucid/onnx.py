"""`pellucid.onnx`: the questions that models ask about ONNX export."""
from __future__ import annotations

from .core.errors import unknown as _unknown

__all__ = ["is_in_onnx_export"]


def is_in_onnx_export() -> bool:
    """False: nothing is being exported."""
    return False


__getattr__ = _unknown(globals())
