"""Layer 5: eager tensors: memory, history, backward."""
from __future__ import annotations

from ..ops import F
from .core import Node
from .eager import register_plain_class
from .function import Function, FunctionCtx, once_differentiable
from .hooks import RemovableHandle
from .modes import (enable_grad, inference_mode, is_grad_enabled, is_inference_mode_enabled, no_grad, saved_tensors_hooks,
                    set_grad_enabled)
from .size import Size
from .tensor import Tensor
from .tracing import TraceError, trace, trace_specs

__all__ = ["F", "Function", "FunctionCtx", "Node", "RemovableHandle", "Size", "Tensor", "TraceError", "enable_grad", "inference_mode",
           "is_grad_enabled", "is_inference_mode_enabled", "no_grad", "once_differentiable", "register_plain_class",
           "saved_tensors_hooks", "set_grad_enabled", "trace", "trace_specs"]
