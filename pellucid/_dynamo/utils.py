"""`torch._dynamo.utils`: whether two results agree, and copies of inputs."""
from __future__ import annotations

import logging
import math
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from ..core import dtype as dt
from ..core.device import device
from ..nn import ParameterList
from ..nn import functional as F
from ..tensor import Tensor
from ..tensor import functions as f

__all__ = ["clone_input", "clone_inputs", "rmse", "same"]

log = logging.getLogger("pellucid.same")


def clone_input(x: Tensor | None) -> Tensor | None:
    """A copy, a leaf that requires a gradient if `x` does."""
    return None if x is None else x.detach().clone().requires_grad_(x.requires_grad)


def clone_inputs(example_inputs: Any) -> Any:
    """Copies of tensors in a list, or in a dict by name."""
    if isinstance(example_inputs, dict):
        return {name: [clone_input(x) for x in value] if isinstance(value, (list, tuple)) else clone_input(value)
                for name, value in example_inputs.items()}
    return [clone_input(x) if isinstance(x, Tensor) else x for x in example_inputs]


def rmse(ref: Tensor, res: Tensor) -> Tensor:
    """The root of the mean squared difference."""
    return f.sqrt(f.mean(f.square(ref - res)))


def same(ref: Any, res: Any, fp64_ref: Any = None, cos_similarity: bool = False, tol: float = 1e-4, equal_nan: bool = False,
         exact_dtype: bool = True, *, log_error: Callable[..., None] = log.error) -> bool:
    """Whether two results agree: structures part by part, tensors to `tol`, or as near to `fp64_ref`, a result in float64, as `ref` is.

    Args:
        cos_similarity: tensors agree where their directions do.
        exact_dtype: tensors of different dtypes do not agree.
        log_error: is told what does not agree.
    """
    again = partial(same, cos_similarity=cos_similarity, tol=tol, equal_nan=equal_nan, exact_dtype=exact_dtype, log_error=log_error)
    fp64_ref = ref if fp64_ref is None else fp64_ref
    if isinstance(ref, (list, tuple, deque, ParameterList)):
        if not isinstance(res, (list, tuple, deque)):
            raise AssertionError(f"type mismatch {type(ref)} {type(res)}")
        return len(ref) == len(res) and all(map(again, ref, res, fp64_ref))
    if isinstance(ref, dict):
        if ref.keys() != res.keys():
            raise AssertionError(f"keys mismatch {set(ref)} == {set(res)}")
        for key in sorted(ref):
            if not again(ref[key], res[key], fp64_ref[key]):
                log_error("Accuracy failed for key name %s", key)
                return False
        return True
    if isinstance(ref, (Tensor, float)):
        return _tensors(*[x if isinstance(x, Tensor) else f.tensor(x) for x in (ref, res, fp64_ref)], cos_similarity, tol, equal_nan,
                        exact_dtype, log_error)
    if isinstance(ref, set):
        if ref != res:
            raise AssertionError(f"elements mismatch {ref} == {res}")
        return True
    if isinstance(ref, np.ndarray):
        return type(ref) is type(res) and again(f.tensor(ref), f.tensor(res), f.tensor(fp64_ref))
    if isinstance(ref, (str, int, device, np.number, type(None))):
        alike = (not isinstance(ref, np.number) or type(ref) is type(res)) and bool(ref == res)
        if not alike:
            log_error("Accuracy failed (%s): %s != %s", type(ref), ref, res)
        return alike
    if type(ref) is type(res) and hasattr(ref, "__dict__"):
        return again(vars(ref), vars(res), vars(fp64_ref))
    raise RuntimeError(f"unsupported type: {type(ref).__name__}")


def _tensors(ref: Tensor, res: Tensor, exact: Tensor, cos_similarity: bool, tol: float, equal_nan: bool, exact_dtype: bool,
             log_error: Callable[..., None]) -> bool:
    close = partial(f.allclose, atol=tol, rtol=tol, equal_nan=equal_nan)
    if exact_dtype and ref.dtype is not res.dtype:
        log_error("dtype mismatch %s, %s", ref.dtype, res.dtype)
        return False
    if exact_dtype and ref.dtype is dt.bool_:
        ref, res = ref.to(dt.uint8), res.to(dt.uint8)
    if cos_similarity:
        ref, res = ref.flatten().to(dt.float32), res.flatten().to(dt.float32)
        return f.allclose(ref, res, atol=tol, rtol=tol, equal_nan=True) or F.cosine_similarity(ref, res, dim=0, eps=1e-6).item() >= 0.99
    if not exact_dtype:
        ref = ref.to(res.dtype)
    if close(ref, res):
        return True
    if exact.dtype is dt.float64 and ref.dtype is not dt.float64:
        error, allowed = rmse(exact, res).item(), rmse(exact, ref).item()
        noisy = exact.numel() < 1000 or ref.ndim == 4 and ref.shape[-1] == ref.shape[-2] == 1 or tol >= 2e-2
        multiplier = 3.0 if noisy or res.dtype in (dt.float16, dt.bfloat16) else 2.0
        if error <= multiplier * allowed + tol / 10 or equal_nan and math.isnan(allowed) and math.isnan(error):
            return True
        log_error("RMSE (res-fp64): %.5f, (ref-fp64): %.5f and shape=%s", error, allowed, tuple(res.shape))
        return False
    log_error("Accuracy failed: allclose not within tol=%s", tol)
    return False
