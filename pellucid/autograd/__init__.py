"""`pellucid.autograd`: gradients by function calls, custom Functions, modes, and checks of derivatives."""
from __future__ import annotations

from ..tensor.autograd import backward, grad
from ..tensor.function import Function, FunctionCtx
from ..tensor.modes import (detect_anomaly, enable_grad, inference_mode, is_multithreading_enabled, no_grad, set_detect_anomaly,
                            set_grad_enabled, set_multithreading_enabled)
from ..tensor.saved import SavedTensor
from ..core.lazy import lazily
from ..ops.dispatch import local as _local
from . import function, grad_mode, graph, variable
from .variable import Variable
from .gradcheck import gradcheck, gradgradcheck
from .anomaly_mode import is_anomaly_check_nan_enabled, is_anomaly_enabled

__all__ = ["Function", "FunctionCtx", "SavedTensor", "Variable", "backward", "detect_anomaly", "enable_grad", "forward_ad", "function", "functional",
           "grad", "grad_mode", "gradcheck", "gradgradcheck", "graph", "inference_mode", "is_anomaly_check_nan_enabled",
           "is_anomaly_enabled", "is_multithreading_enabled", "kineto_available", "no_grad", "profiler", "profiler_util",
           "set_detect_anomaly", "set_grad_enabled", "set_multithreading_enabled", "variable"]

__getattr__ = lazily(__name__, ("forward_ad", "functional", "profiler", "profiler_util"), {"kineto_available": "profiler"})


def _is_checkpoint_valid() -> bool:
    """Whether the re-entrant checkpoint may run: not inside `grad()` or `backward(inputs=...)`."""
    return not _local.partial
