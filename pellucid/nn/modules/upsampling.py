"""Upsampling layers over `F.interpolate`."""
from __future__ import annotations

from ...tensor import Tensor
from .. import functional as F
from .module import Module
from .utils import SizeLike

__all__ = ['Upsample', 'UpsamplingNearest2d', 'UpsamplingBilinear2d']


class Upsample(Module):
    """Resize (N, C, *spatial) to `size`, or by `scale_factor`; give one of the two.

    `mode`: nearest, linear (3-D input), bilinear, bicubic (4-D), trilinear (5-D), as `F.interpolate`.
    """

    __constants__ = ['size', 'scale_factor', 'mode', 'align_corners', 'name', 'recompute_scale_factor']

    def __init__(self, size: SizeLike | None = None, scale_factor: float | tuple[float, ...] | None = None,
                 mode: str = 'nearest', align_corners: bool | None = None,
                 recompute_scale_factor: bool | None = None) -> None:
        super().__init__()
        self.name = type(self).__name__
        self.size = size
        if isinstance(scale_factor, tuple):
            self.scale_factor = tuple(float(factor) for factor in scale_factor)
        else:
            self.scale_factor = float(scale_factor) if scale_factor else None
        self.mode = mode
        self.align_corners = align_corners
        self.recompute_scale_factor = recompute_scale_factor

    def forward(self, input: Tensor) -> Tensor:
        return F.interpolate(input, self.size, self.scale_factor, self.mode, self.align_corners,
                             recompute_scale_factor=self.recompute_scale_factor)

    def extra_repr(self) -> str:
        size = f'size={self.size!r}' if self.scale_factor is None else f'scale_factor={self.scale_factor!r}'
        return f'{size}, mode={self.mode!r}'


class UpsamplingNearest2d(Upsample):
    """Nearest-neighbour resize of (N, C, H, W)."""

    def __init__(self, size: SizeLike | None = None,
                 scale_factor: float | tuple[float, float] | None = None) -> None:
        super().__init__(size, scale_factor, mode='nearest')


class UpsamplingBilinear2d(Upsample):
    """Bilinear resize of (N, C, H, W) with aligned corners."""

    def __init__(self, size: SizeLike | None = None,
                 scale_factor: float | tuple[float, float] | None = None) -> None:
        super().__init__(size, scale_factor, mode='bilinear', align_corners=True)
