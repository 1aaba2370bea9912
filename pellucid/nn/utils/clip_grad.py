"""Limiting the size of gradients.

In: parameters whose ``.grad`` is set, or the gradients themselves. Out: their norm, or the gradients scaled or cut in
place. What stays true: parameters without a gradient are skipped, and nothing is recorded by autograd.
"""

from __future__ import annotations

import types
import warnings
from collections.abc import Iterable

import numpy as np

from ... import native
from ...core.dtype import float32
from ...core.errors import fail
from ...ops.dispatch import watched
from ...tensor import Tensor, no_grad
from ...tensor import functions as T
from ...tensor.updates import holds_values, together, update

__all__ = ["clip_grad_norm", "clip_grad_norm_", "clip_grads_with_norm_", "clip_grad_value_", "get_total_norm"]


def get_total_norm(
    tensors: Tensor | Iterable[Tensor],
    norm_type: float = 2.0,
    error_if_nonfinite: bool = False,
    foreach: bool | None = None,
) -> Tensor:
    """The norm of all values of ``tensors``, as if they were one vector.

    Args:
        norm_type: the order of the norm; ``inf`` for the largest absolute value.
        error_if_nonfinite: raise RuntimeError when the norm is NaN or infinite.
        foreach: accepted for compatibility.

    Returns:
        a 0-d tensor.
    """
    with no_grad():
        tensors = [tensors] if isinstance(tensors, Tensor) else list(tensors)
        norm_type = float(norm_type)
        if not tensors:
            return T.tensor(0.0)
        total_norm = _as_pytorch(tensors) if norm_type == 2.0 else None
        if total_norm is None:
            total_norm = T.norm(T.stack([T.norm(tensor, norm_type) for tensor in tensors]), norm_type)
        if error_if_nonfinite and not total_norm.isfinite():
            fail(RuntimeError, "P653", f"The total norm of order {norm_type} for gradients from `parameters` is non-finite, so it cannot be "
                 "clipped. To disable this error and scale the gradients by the non-finite norm anyway, set "
                 "`error_if_nonfinite=False`",
                 fix="find the first NaN with pellucid.autograd.set_detect_anomaly(True)")
        return total_norm


def _as_pytorch(tensors: list[Tensor]) -> Tensor | None:
    """The 2-norm with PyTorch's roundings, if all values are float32 and known: from the same seed, training goes as it does there."""
    if watched() or not all(holds_values(t) and t._a.dtype == np.float32 for t in tensors):
        return None
    functions = native.in_order.functions()
    if functions is None:
        return None
    arrays = [t._a if t._a.flags.c_contiguous else t._a.ravel("K") for t in tensors]
    norms = np.array([functions.norm(a, a.size) for a in arrays], np.float32)
    return T.tensor(functions.norm(norms, norms.size), dtype=float32)


def clip_grads_with_norm_(
    parameters: Tensor | Iterable[Tensor], max_norm: float, total_norm: Tensor, foreach: bool | None = None
) -> None:
    """Scale the gradients of ``parameters`` in place by ``max_norm / (total_norm + 1e-6)`` where that is below 1."""
    with no_grad():
        scale = T.clamp(float(max_norm) / (total_norm + 1e-6), max=1.0)
        grads = _grads(parameters)
        plain = all(holds_values(g) and g._a.dtype == scale._a.dtype and g._a.dtype.kind == "f" for g in grads)
        if watched() or not plain:
            for grad in grads:
                grad.mul_(scale.to(grad.device))
            return
        with together([g._a for g in grads]):
            for grad in grads:
                update(_scale, grad._a, hyper=[scale._a])
                grad._bump()


def _scale(a: np.ndarray, *, hyper: list[np.ndarray]) -> None:
    (factor,) = hyper
    a *= factor


def clip_grad_norm_(
    parameters: Tensor | Iterable[Tensor],
    max_norm: float,
    norm_type: float = 2.0,
    error_if_nonfinite: bool = False,
    foreach: bool | None = None,
) -> Tensor:
    """Scale the gradients of ``parameters`` in place so that their total norm is at most ``max_norm``.

    Args:
        parameters: parameters, or one of them.
        norm_type: the order of the norm; ``inf`` for the largest absolute value.
        error_if_nonfinite: raise RuntimeError when the norm is NaN or infinite.
        foreach: accepted for compatibility.

    Returns:
        the total norm before scaling (a 0-d tensor).
    """
    if not isinstance(parameters, Tensor):
        is_generator = isinstance(parameters, types.GeneratorType)
        parameters = list(parameters)
        if is_generator and not parameters:
            warnings.warn(
                "`parameters` is an empty generator, no gradient clipping will occur.", stacklevel=2
            )
    total_norm = get_total_norm(_grads(parameters), norm_type, error_if_nonfinite, foreach)
    clip_grads_with_norm_(parameters, max_norm, total_norm, foreach)
    return total_norm


def clip_grad_norm(
    parameters: Tensor | Iterable[Tensor],
    max_norm: float,
    norm_type: float = 2.0,
    error_if_nonfinite: bool = False,
    foreach: bool | None = None,
) -> Tensor:
    """Deprecated: use ``clip_grad_norm_``."""
    warnings.warn(
        "`torch.nn.utils.clip_grad_norm` is now deprecated in favor of `torch.nn.utils.clip_grad_norm_`.",
        FutureWarning,
        stacklevel=2,
    )
    return clip_grad_norm_(parameters, max_norm, norm_type, error_if_nonfinite, foreach)


def clip_grad_value_(
    parameters: Tensor | Iterable[Tensor], clip_value: float, foreach: bool | None = None
) -> None:
    """Cut every gradient value in place to [-clip_value, clip_value]."""
    clip_value = float(clip_value)
    with no_grad():
        for grad in _grads(parameters):
            grad.clamp_(min=-clip_value, max=clip_value)


def _grads(parameters: Tensor | Iterable[Tensor]) -> list[Tensor]:
    parameters = [parameters] if isinstance(parameters, Tensor) else parameters
    return [parameter.grad for parameter in parameters if parameter.grad is not None]
