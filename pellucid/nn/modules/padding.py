"""Padding layers: circular, constant, reflection, replication, zero; 1 to 3 spatial dimensions.

In: (N, C, *spatial) or (C, *spatial). Out: the same rank, spatial sizes grown by the padding.
What stays true: `padding` is an int, or (left, right, top, bottom, front, back) up to the rank;
negative entries crop.
"""
from __future__ import annotations

from ...core.errors import describe, fail
from ...tensor import Tensor
from .. import functional as F
from .module import Module
from .utils import SizeLike, _ntuple

__all__ = ['CircularPad1d', 'CircularPad2d', 'CircularPad3d', 'ConstantPad1d', 'ConstantPad2d', 'ConstantPad3d',
           'ReflectionPad1d', 'ReflectionPad2d', 'ReflectionPad3d',
           'ReplicationPad1d', 'ReplicationPad2d', 'ReplicationPad3d', 'ZeroPad1d', 'ZeroPad2d', 'ZeroPad3d']


class _PadNd(Module):
    """Pads `_spatial_dims` trailing dimensions in `_mode`."""

    __constants__ = ['padding']
    _spatial_dims: int
    _mode: str

    def __init__(self, padding: SizeLike) -> None:
        super().__init__()
        self.padding = _ntuple(2 * self._spatial_dims)(padding)

    def forward(self, input: Tensor) -> Tensor:
        return F.pad(input, self.padding, self._mode)

    def extra_repr(self) -> str:
        return f'{self.padding}'


class _CircularPadNd(_PadNd):
    _mode = 'circular'

    def forward(self, input: Tensor) -> Tensor:
        unbatched = self._spatial_dims + 1
        if input.dim() not in (unbatched, unbatched + 1):
            fail(ValueError, "P651", f'expected {unbatched}D or {unbatched + 1}D input (got {input.dim()}D input)',
                 got=describe(input), fix="the dimensions are (batch, channels, *spatial)")
        return super().forward(input)


class CircularPad1d(_CircularPadNd):
    """Wrap (N, C, W) or (C, W) around. ValueError for other ranks."""

    _spatial_dims = 1


class CircularPad2d(_CircularPadNd):
    """Wrap (N, C, H, W) or (C, H, W) around. ValueError for other ranks."""

    _spatial_dims = 2


class CircularPad3d(_CircularPadNd):
    """Wrap (N, C, D, H, W) or (C, D, H, W) around. ValueError for other ranks."""

    _spatial_dims = 3


class _ConstantPadNd(_PadNd):
    __constants__ = ['padding', 'value']
    _mode = 'constant'

    def __init__(self, padding: SizeLike, value: float) -> None:
        super().__init__(padding)
        self.value = value

    def forward(self, input: Tensor) -> Tensor:
        return F.pad(input, self.padding, 'constant', self.value)

    def extra_repr(self) -> str:
        return f'padding={self.padding}, value={self.value}'


class ConstantPad1d(_ConstantPadNd):
    """Pad the last dimension with `value`."""

    _spatial_dims = 1


class ConstantPad2d(_ConstantPadNd):
    """Pad the last 2 dimensions with `value`."""

    _spatial_dims = 2


class ConstantPad3d(_ConstantPadNd):
    """Pad the last 3 dimensions with `value`."""

    _spatial_dims = 3


class ReflectionPad1d(_PadNd):
    """Mirror (N, C, W) or (C, W) at its borders, the border value once."""

    _spatial_dims, _mode = 1, 'reflect'


class ReflectionPad2d(_PadNd):
    """Mirror (N, C, H, W) or (C, H, W) at its borders, the border value once."""

    _spatial_dims, _mode = 2, 'reflect'


class ReflectionPad3d(_PadNd):
    """Mirror (N, C, D, H, W) or (C, D, H, W) at its borders, the border value once."""

    _spatial_dims, _mode = 3, 'reflect'


class ReplicationPad1d(_PadNd):
    """Repeat the border values of (N, C, W) or (C, W)."""

    _spatial_dims, _mode = 1, 'replicate'


class ReplicationPad2d(_PadNd):
    """Repeat the border values of (N, C, H, W) or (C, H, W)."""

    _spatial_dims, _mode = 2, 'replicate'


class ReplicationPad3d(_PadNd):
    """Repeat the border values of (N, C, D, H, W) or (C, D, H, W)."""

    _spatial_dims, _mode = 3, 'replicate'


class _ZeroPadNd(_ConstantPadNd):
    def __init__(self, padding: SizeLike) -> None:
        super().__init__(padding, 0.0)

    def extra_repr(self) -> str:
        return f'{self.padding}'


class ZeroPad1d(_ZeroPadNd, ConstantPad1d):
    """Pad the last dimension with zeros."""


class ZeroPad2d(_ZeroPadNd, ConstantPad2d):
    """Pad the last 2 dimensions with zeros."""


class ZeroPad3d(_ZeroPadNd, ConstantPad3d):
    """Pad the last 3 dimensions with zeros."""
