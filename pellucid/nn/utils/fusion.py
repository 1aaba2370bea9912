"""Folding a batch norm in evaluation mode into the layer before it.

In: a convolution or linear layer and the batch norm that follows it. Out: one layer that computes the same. What stays
true: the originals are unchanged.
"""

from __future__ import annotations

import copy
from typing import Any

from ...tensor import Tensor
from ...tensor import functions as T
from ..parameter import Parameter

__all__ = ["fuse_conv_bn_eval", "fuse_conv_bn_weights", "fuse_linear_bn_eval", "fuse_linear_bn_weights"]


def fuse_conv_bn_eval(conv: Any, bn: Any, transpose: bool = False) -> Any:
    """A copy of ``conv`` that does what ``conv`` and then ``bn`` do; both must be in evaluation mode.

    Args:
        transpose: whether ``conv`` is a transposed convolution.
    """
    _require_eval(conv, bn)
    fused = copy.deepcopy(conv)
    fused.weight, fused.bias = fuse_conv_bn_weights(
        fused.weight, fused.bias, bn.running_mean, bn.running_var, bn.eps, bn.weight, bn.bias, transpose
    )
    return fused


def fuse_conv_bn_weights(
    conv_w: Tensor,
    conv_b: Tensor | None,
    bn_rm: Tensor,
    bn_rv: Tensor,
    bn_eps: float,
    bn_w: Tensor | None,
    bn_b: Tensor | None,
    transpose: bool = False,
) -> tuple[Parameter, Parameter]:
    """The weight and bias of a convolution with a batch norm folded in.

    Args:
        conv_w: (out, in / groups, *kernel), or (in, out, *kernel) with ``transpose``.
        conv_b: (out,) or None.
        bn_rm, bn_rv: running mean and variance, (out,).
        bn_eps: the batch norm's epsilon.
        bn_w, bn_b: its weight and bias, (out,) or None.
    """
    scale, bias = _scale_and_bias(conv_b, bn_rm, bn_rv, bn_eps, bn_w, bn_b)
    shape = [1] * conv_w.dim()
    shape[1 if transpose else 0] = -1
    return _fused(conv_w, conv_b, conv_w * scale.reshape(shape), bias)


def fuse_linear_bn_eval(linear: Any, bn: Any) -> Any:
    """A copy of ``linear`` that does what ``linear`` and then ``bn`` do; both must be in evaluation mode."""
    _require_eval(linear, bn)
    if bn.num_features not in (linear.out_features, 1):
        raise AssertionError(
            "To fuse, linear.out_features == bn.num_features or bn.num_features == 1, got "
            f"linear.out_features={linear.out_features} and bn.num_features={bn.num_features}"
        )
    fused = copy.deepcopy(linear)
    fused.weight, fused.bias = fuse_linear_bn_weights(
        fused.weight, fused.bias, bn.running_mean, bn.running_var, bn.eps, bn.weight, bn.bias
    )
    return fused


def fuse_linear_bn_weights(
    linear_w: Tensor,
    linear_b: Tensor | None,
    bn_rm: Tensor,
    bn_rv: Tensor,
    bn_eps: float,
    bn_w: Tensor | None,
    bn_b: Tensor | None,
) -> tuple[Parameter, Parameter]:
    """The weight (out, in) and bias (out,) of a linear layer with a batch norm folded in."""
    scale, bias = _scale_and_bias(linear_b, bn_rm, bn_rv, bn_eps, bn_w, bn_b)
    return _fused(linear_w, linear_b, linear_w * scale.unsqueeze(-1), bias)


def _require_eval(layer: Any, bn: Any) -> None:
    if layer.training or bn.training:
        raise AssertionError("Fusion only for eval!")
    if bn.running_mean is None or bn.running_var is None:
        raise AssertionError("bn.running_mean and bn.running_var must not be None")


def _scale_and_bias(
    layer_bias: Tensor | None, mean: Tensor, var: Tensor, eps: float, weight: Tensor | None, bias: Tensor | None
) -> tuple[Tensor, Tensor]:
    """What the batch norm multiplies the layer's outputs by, and the bias of the fused layer."""
    scale = T.rsqrt(var + eps)
    if weight is not None:
        scale = weight * scale
    fused = (-mean if layer_bias is None else layer_bias - mean) * scale
    return scale, fused if bias is None else fused + bias


def _fused(old_w: Tensor, old_b: Tensor | None, weight: Tensor, bias: Tensor) -> tuple[Parameter, Parameter]:
    bias_like = old_w if old_b is None else old_b
    return (
        Parameter(weight.detach().to(old_w.dtype), old_w.requires_grad),
        Parameter(bias.detach().to(bias_like.dtype), bias_like.requires_grad),
    )
