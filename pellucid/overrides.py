"""`pellucid.overrides`: for code that takes operators over with `__torch_function__`, or has to expect that others do."""
from __future__ import annotations

from typing import Any

from .core.errors import unknown as _unknown
from .tensor.core import Slots as _Slots
from .tensor.overrides import TorchFunctionMode, handle_torch_function, has_torch_function

__all__ = ["TorchFunctionMode", "handle_torch_function", "has_torch_function", "is_tensor_like"]


def is_tensor_like(inp: Any) -> bool:
    """Whether `inp` is a Tensor, or its type takes operators over."""
    return isinstance(inp, _Slots) or hasattr(inp, "__torch_function__")


__getattr__ = _unknown(globals())
