"""Layer 5: eager tensors: memory, history, backward."""
from __future__ import annotations

from ..core.late import late
from ..core.lazy import lazily
from ..ops import F
from .core import Node
from .eager import register_plain_class
from .function import Function, FunctionCtx, once_differentiable
from .hooks import RemovableHandle
from .modes import (enable_grad, inference_mode, is_grad_enabled, is_inference_mode_enabled, no_grad, saved_tensors_hooks,
                    set_grad_enabled)
from .size import Size
from .tensor import Tensor

__all__ = ["F", "Function", "FunctionCtx", "Node", "RemovableHandle", "Size", "Tensor", "TraceError", "enable_grad", "inference_mode",
           "is_grad_enabled", "is_inference_mode_enabled", "no_grad", "once_differentiable", "register_plain_class",
           "saved_tensors_hooks", "set_grad_enabled", "trace", "trace_specs"]

__getattr__ = lazily(__name__, ("tracing", "sparse", "sparse_rules"), {"META_INTERPRETER": "meta", "TraceError": "fake", "trace": "tracing",
                                                                      "trace_specs": "tracing"})


def _load_and_trace(*args, **kwargs):
    return __getattr__("trace_specs")(*args, **kwargs)


def _sparse():
    __getattr__("sparse_rules")
    return __getattr__("sparse")


late.sparse = _sparse
late.meta = lambda: __getattr__("META_INTERPRETER")
late.trace = _load_and_trace         # until `tracing`, which programs that only run eagerly do without, fills the slot itself
