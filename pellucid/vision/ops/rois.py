"""Regions of interest: fixed-size features of boxes, by bilinear sampling (RoIAlign) or by maxima and means over cells (RoIPool).

In: features (N, C, H, W) and boxes, a tensor (K, 5) of (image, x1, y1, x2, y2) or a list of (L, 4), one for each image. Out:
(K, C', PH, PW). True always: the features get gradients; the boxes get none, as in torchvision. The position-sensitive forms
(https://arxiv.org/abs/1605.06409) take C = C' * PH * PW channels, and each cell reads its own.
"""
from __future__ import annotations

import math

import pellucid as torch
from pellucid import Tensor, nn
from pellucid.nn.modules.utils import _pair

__all__ = ["PSRoIAlign", "PSRoIPool", "RoIAlign", "RoIPool", "bilinear", "boxes_with_image", "ps_roi_align", "ps_roi_pool", "roi_align",
           "roi_pool"]

Size = int | tuple[int, int]


def boxes_with_image(boxes: Tensor | list[Tensor]) -> Tensor:
    """(K, 5) from either form of boxes."""
    if isinstance(boxes, Tensor):
        if boxes.ndim != 2 or boxes.shape[1] != 5:
            raise ValueError(f"The boxes tensor shape is not correct as Tensor[K, 5]: {tuple(boxes.shape)}")
        return boxes
    if not isinstance(boxes, (list, tuple)):
        raise TypeError(f"boxes is expected to be a Tensor[K, 5] or a List[Tensor[L, 4]], not {type(boxes).__name__}")
    for b in boxes:
        if b.shape[1] != 4:
            raise ValueError(f"The shape of the tensor in the boxes list is not correct as List[Tensor[L, 4]]: {tuple(b.shape)}")
    return torch.cat([torch.cat([torch.full_like(b[:, :1], i), b], dim=1) for i, b in enumerate(boxes)], dim=0)


def bilinear(features: Tensor, image: Tensor, channel: Tensor, y: Tensor, x: Tensor, clamp: bool = True) -> Tensor:
    """Values of features (N, C, H, W) between pixels; the other arguments broadcast together.

    Points more than one pixel outside are 0. Nearer ones take the edge's value (`clamp`), or fade to 0 there."""
    height, width = features.shape[2:]
    inside = (y >= -1) & (y <= height) & (x >= -1) & (x <= width)
    if clamp:
        y, x = y.clamp(0, height - 1), x.clamp(0, width - 1)
    y0, x0 = torch.floor(y.detach()), torch.floor(x.detach())
    total = 0.0
    for dy in (0, 1):
        for dx in (0, 1):
            weight = (y - y0 if dy else 1 - (y - y0)) * (x - x0 if dx else 1 - (x - x0))
            yi, xi = y0 + dy, x0 + dx
            there = inside & (yi >= 0) & (yi <= height - 1) & (xi >= 0) & (xi <= width - 1)
            value = features[image, channel, yi.clamp(0, height - 1).long(), xi.clamp(0, width - 1).long()]
            total = total + value * (weight * there)
    return total


def _samples(start: Tensor, size: Tensor, cells: int, ratio: int) -> tuple[Tensor, Tensor, int]:
    """Sampling points along one side: positions (K, cells, most), which of them count (K, most), and how many (K,)."""
    bin_size = size / cells
    count = torch.full_like(size, float(ratio)) if ratio > 0 else torch.ceil(bin_size)
    most = ratio if ratio > 0 else max(int(count.max().item()), 1) if count.numel() else 1
    step = torch.arange(most, dtype=size.dtype)
    # A box without extent has no points of its own (count 0): dividing by 1 keeps its numbers finite.
    inside = (step + 0.5) * (bin_size / count.clamp(min=1))[:, None]
    positions = (start[:, None] + torch.arange(cells, dtype=size.dtype) * bin_size[:, None])[:, :, None] + inside[:, None, :]
    return positions, step < count[:, None], count


def _align(input: Tensor, rois: Tensor, output_size: tuple[int, int], offset: float, least: float | None, scale: float, ratio: int,
           channel: Tensor) -> Tensor:
    """The mean over the sampling points of each cell; `channel` broadcasts to (K, C', PH, PW, 1, 1)."""
    rois = rois.detach().to(input.dtype)
    image = rois[:, 0].long()[:, None, None, None, None, None]
    x1, y1, x2, y2 = (rois[:, 1:] * scale - offset).unbind(1)
    width, height = x2 - x1, y2 - y1
    if least is not None:
        width, height = width.clamp(min=least), height.clamp(min=least)
    y, use_y, count_y = _samples(y1, height, output_size[0], ratio)
    x, use_x, count_x = _samples(x1, width, output_size[1], ratio)
    value = bilinear(input, image, channel, y[:, None, :, None, :, None], x[:, None, None, :, None, :])
    if ratio <= 0:
        value = value * (use_y[:, None, None, None, :, None] & use_x[:, None, None, None, None, :])
    return value.sum((-1, -2)) / (count_y * count_x).clamp(min=1)[:, None, None, None]


def roi_align(input: Tensor, boxes: Tensor | list[Tensor], output_size: Size, spatial_scale: float = 1.0, sampling_ratio: int = -1,
              aligned: bool = False) -> Tensor:
    """Mean of bilinear samples in each cell of each box (Mask R-CNN, https://arxiv.org/abs/1703.06870).

    Args:
        spatial_scale: from the boxes' coordinates to the features' (0.5 where the features have half the size).
        sampling_ratio: points along each side of a cell; <= 0: as many as the cell has pixels.
        aligned: shift by half a pixel, so that pixel i covers i - 0.5 to i + 0.5; else boxes are at least one pixel wide.
    """
    channel = torch.arange(input.shape[1])[None, :, None, None, None, None]
    offset, least = (0.5, None) if aligned else (0.0, 1.0)
    return _align(input, boxes_with_image(boxes), _pair(output_size), offset, least, spatial_scale, sampling_ratio, channel)


def _own_channels(input: Tensor, output_size: tuple[int, int]) -> Tensor:
    """(C', PH, PW): the channel that each cell reads."""
    ph, pw = output_size
    if input.shape[1] % (ph * pw):
        raise ValueError(f"input channels must be a multiple of pooling height * pooling width: {input.shape[1]} and {ph} * {pw}")
    return torch.arange(input.shape[1]).reshape(-1, ph, pw)


def ps_roi_align(input: Tensor, boxes: Tensor | list[Tensor], output_size: Size, spatial_scale: float = 1.0,
                 sampling_ratio: int = -1) -> Tensor:
    """`roi_align` where each cell reads its own channels (Light-Head R-CNN, https://arxiv.org/abs/1711.07264)."""
    size = _pair(output_size)
    channel = _own_channels(input, size)[None, :, :, :, None, None]
    return _align(input, boxes_with_image(boxes), size, 0.5, None, spatial_scale, sampling_ratio, channel)


def _cells(start: float, size: float, cells: int, limit: int) -> list[slice]:
    """The pixels of each cell along one side: all that the cell touches, below `limit`."""
    edges = [(math.floor(i * size / cells) + start, math.ceil((i + 1) * size / cells) + start) for i in range(cells)]
    return [slice(*(min(max(int(e), 0), limit) for e in pair)) for pair in edges]


def _whole(boxes: Tensor | list[Tensor], scale: float) -> list[tuple[int, int, int, int, int]]:
    """(image, x1, y1, x2, y2) of each box in whole pixels; halves are rounded away from zero."""
    rois = boxes_with_image(boxes).detach()
    corners = rois[:, 1:] * scale
    corners = torch.sign(corners) * torch.floor(torch.abs(corners) + 0.5)
    return [(image, *map(int, box)) for image, box in zip(rois[:, 0].long().tolist(), corners.tolist())]


def roi_pool(input: Tensor, boxes: Tensor | list[Tensor], output_size: Size, spatial_scale: float = 1.0) -> Tensor:
    """The maximum over the pixels of each cell (Fast R-CNN, https://arxiv.org/abs/1504.08083); 0 for a cell without pixels."""
    ph, pw = _pair(output_size)
    channels, height, width = input.shape[1:]
    pooled = []
    for image, x1, y1, x2, y2 in _whole(boxes, spatial_scale):
        rows, columns = _cells(y1, max(y2 - y1 + 1, 1), ph, height), _cells(x1, max(x2 - x1 + 1, 1), pw, width)
        cells = [input[image, :, r, c].reshape(channels, -1) for r in rows for c in columns]
        # max, not amax: of several equal pixels one gets the gradient.
        values = [cell.max(1).values if cell.numel() else input.new_zeros(channels) for cell in cells]
        pooled.append(torch.stack(values, dim=1).reshape(channels, ph, pw))
    return torch.stack(pooled) if pooled else input.new_zeros((0, channels, ph, pw))


def ps_roi_pool(input: Tensor, boxes: Tensor | list[Tensor], output_size: Size, spatial_scale: float = 1.0) -> Tensor:
    """The mean over the pixels of each cell, which reads its own channels (R-FCN); 0 for a cell without pixels.

    As in torchvision, the last row and column of the features are never read."""
    ph, pw = size = _pair(output_size)
    own = _own_channels(input, size)
    height, width = input.shape[2:]
    pooled = []
    for image, x1, y1, x2, y2 in _whole(boxes, spatial_scale):
        rows, columns = _cells(y1, max(y2 - y1, 1), ph, height - 1), _cells(x1, max(x2 - x1, 1), pw, width - 1)
        values = []
        for i, r in enumerate(rows):
            for j, c in enumerate(columns):
                cell = input[image, :, r, c][own[:, i, j]]
                values.append(cell.mean((1, 2)) if cell.numel() else input.new_zeros(len(own)))
        pooled.append(torch.stack(values, dim=1).reshape(len(own), ph, pw))
    return torch.stack(pooled) if pooled else input.new_zeros((0, len(own), ph, pw))


class _Pool(nn.Module):
    """A function of (features, boxes) with fixed settings."""

    def __init__(self, output_size: Size, spatial_scale: float) -> None:
        super().__init__()
        self.output_size = output_size
        self.spatial_scale = spatial_scale

    def extra_repr(self) -> str:
        names = ("output_size", "spatial_scale", "sampling_ratio", "aligned")
        return ", ".join(f"{name}={getattr(self, name)}" for name in names if hasattr(self, name))


class RoIAlign(_Pool):
    """See `roi_align`."""

    def __init__(self, output_size: Size, spatial_scale: float, sampling_ratio: int, aligned: bool = False) -> None:
        super().__init__(output_size, spatial_scale)
        self.sampling_ratio = sampling_ratio
        self.aligned = aligned

    def forward(self, input: Tensor, rois: Tensor | list[Tensor]) -> Tensor:
        return roi_align(input, rois, self.output_size, self.spatial_scale, self.sampling_ratio, self.aligned)


class RoIPool(_Pool):
    """See `roi_pool`."""

    def forward(self, input: Tensor, rois: Tensor | list[Tensor]) -> Tensor:
        return roi_pool(input, rois, self.output_size, self.spatial_scale)


class PSRoIAlign(_Pool):
    """See `ps_roi_align`."""

    def __init__(self, output_size: Size, spatial_scale: float, sampling_ratio: int) -> None:
        super().__init__(output_size, spatial_scale)
        self.sampling_ratio = sampling_ratio

    def forward(self, input: Tensor, rois: Tensor | list[Tensor]) -> Tensor:
        return ps_roi_align(input, rois, self.output_size, self.spatial_scale, self.sampling_ratio)


class PSRoIPool(_Pool):
    """See `ps_roi_pool`."""

    def forward(self, input: Tensor, rois: Tensor | list[Tensor]) -> Tensor:
        return ps_roi_pool(input, rois, self.output_size, self.spatial_scale)
