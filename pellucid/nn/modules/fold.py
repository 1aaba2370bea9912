"""Unfold (im2col) and Fold (its adjoint, col2im)."""
from __future__ import annotations

from ...tensor import Tensor
from .. import functional as F
from .module import Module
from .utils import SizeLike

__all__ = ['Fold', 'Unfold']


class Fold(Module):
    """Sum sliding blocks into an image: (N, C * prod(kernel_size), L) -> (N, C, *output_size)."""

    __constants__ = ['output_size', 'kernel_size', 'dilation', 'padding', 'stride']

    def __init__(self, output_size: SizeLike, kernel_size: SizeLike, dilation: SizeLike = 1,
                 padding: SizeLike = 0, stride: SizeLike = 1) -> None:
        super().__init__()
        self.output_size = output_size
        self.kernel_size = kernel_size
        self.dilation = dilation
        self.padding = padding
        self.stride = stride

    def forward(self, input: Tensor) -> Tensor:
        return F.fold(input, self.output_size, self.kernel_size, self.dilation, self.padding, self.stride)

    def extra_repr(self) -> str:
        return (f'output_size={self.output_size}, kernel_size={self.kernel_size}, '
                f'dilation={self.dilation}, padding={self.padding}, stride={self.stride}')


class Unfold(Module):
    """Take sliding blocks out of an image: (N, C, H, W) -> (N, C * prod(kernel_size), L)."""

    __constants__ = ['kernel_size', 'dilation', 'padding', 'stride']

    def __init__(self, kernel_size: SizeLike, dilation: SizeLike = 1, padding: SizeLike = 0,
                 stride: SizeLike = 1) -> None:
        super().__init__()
        self.kernel_size = kernel_size
        self.dilation = dilation
        self.padding = padding
        self.stride = stride

    def forward(self, input: Tensor) -> Tensor:
        return F.unfold(input, self.kernel_size, self.dilation, self.padding, self.stride)

    def extra_repr(self) -> str:
        return (f'kernel_size={self.kernel_size}, dilation={self.dilation}, '
                f'padding={self.padding}, stride={self.stride}')
