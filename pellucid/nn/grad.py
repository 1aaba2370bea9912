"""The gradients of convolutions as functions: what a result's gradient is to the input, and to the weight.

In: the gradient of a convolution's result, its other operand, and the shape wanted. Out: that operand's gradient.
What stays true: these are the operators that backward itself uses, so they can be differentiated again.
"""
from __future__ import annotations

from collections.abc import Sequence

from ..ops import F
from ..ops._windows import per_dim
from ..tensor import Tensor

__all__ = ["conv1d_input", "conv1d_weight", "conv2d_input", "conv2d_weight", "conv3d_input", "conv3d_weight"]


SizeLike = int | Sequence[int]


def _geometry(n: int, stride: SizeLike, padding: SizeLike, dilation: SizeLike, groups: int) -> dict:
    options = {"stride": stride, "padding": padding, "dilation": dilation}
    return {name: per_dim(x, n, f"conv{n}d", name) for name, x in options.items()} | {"groups": groups}


def conv1d_input(input_size: Sequence[int], weight: Tensor, grad_output: Tensor, stride: SizeLike = 1, padding: SizeLike = 0,
                 dilation: SizeLike = 1, groups: int = 1) -> Tensor:
    """The gradient, of shape `input_size` (N, C, L), of conv1d's input."""
    return F.convolution_input(grad_output, weight, input_size, **_geometry(1, stride, padding, dilation, groups))


def conv1d_weight(input: Tensor, weight_size: Sequence[int], grad_output: Tensor, stride: SizeLike = 1, padding: SizeLike = 0,
                  dilation: SizeLike = 1, groups: int = 1) -> Tensor:
    """The gradient, of shape `weight_size` (O, C / groups, K), of conv1d's weight."""
    return F.convolution_weight(grad_output, input, weight_size, **_geometry(1, stride, padding, dilation, groups))


def conv2d_input(input_size: Sequence[int], weight: Tensor, grad_output: Tensor, stride: SizeLike = 1, padding: SizeLike = 0,
                 dilation: SizeLike = 1, groups: int = 1) -> Tensor:
    """The gradient, of shape `input_size` (N, C, H, W), of conv2d's input."""
    return F.convolution_input(grad_output, weight, input_size, **_geometry(2, stride, padding, dilation, groups))


def conv2d_weight(input: Tensor, weight_size: Sequence[int], grad_output: Tensor, stride: SizeLike = 1, padding: SizeLike = 0,
                  dilation: SizeLike = 1, groups: int = 1) -> Tensor:
    """The gradient, of shape `weight_size` (O, C / groups, KH, KW), of conv2d's weight."""
    return F.convolution_weight(grad_output, input, weight_size, **_geometry(2, stride, padding, dilation, groups))


def conv3d_input(input_size: Sequence[int], weight: Tensor, grad_output: Tensor, stride: SizeLike = 1, padding: SizeLike = 0,
                 dilation: SizeLike = 1, groups: int = 1) -> Tensor:
    """The gradient, of shape `input_size` (N, C, D, H, W), of conv3d's input."""
    return F.convolution_input(grad_output, weight, input_size, **_geometry(3, stride, padding, dilation, groups))


def conv3d_weight(input: Tensor, weight_size: Sequence[int], grad_output: Tensor, stride: SizeLike = 1, padding: SizeLike = 0,
                  dilation: SizeLike = 1, groups: int = 1) -> Tensor:
    """The gradient, of shape `weight_size` (O, C / groups, KD, KH, KW), of conv3d's weight."""
    return F.convolution_weight(grad_output, input, weight_size, **_geometry(3, stride, padding, dilation, groups))
