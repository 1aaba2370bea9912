"""Feature pyramids: maps of several resolutions with equal channels, each knowing what the coarser ones saw (Lin et al. 2016,
https://arxiv.org/abs/1612.03144), and RoIAlign that picks the level by a box's size.

In: a dict of maps (N, C_i, H_i, W_i), finest first. Out: a dict of maps (N, C, H_i, W_i), or for boxes (K, C, PH, PW).
"""
from __future__ import annotations

import math
from collections import OrderedDict

import pellucid as torch
from pellucid import Tensor, nn
from pellucid.nn import functional as F
from pellucid.nn.modules.utils import _pair

from .boxes import box_area
from .misc import Conv2dNormActivation, Layer
from .rois import boxes_with_image, roi_align

__all__ = ["ExtraFPNBlock", "FeaturePyramidNetwork", "LastLevelMaxPool", "LastLevelP6P7", "MultiScaleRoIAlign"]

Maps = list[Tensor]


class ExtraFPNBlock(nn.Module):
    """Base of blocks that add levels: `forward(results, x, names)`, with the pyramid, the original maps and their names, returns
    the longer (results, names)."""


class FeaturePyramidNetwork(nn.Module):
    _version = 2

    def __init__(self, in_channels_list: list[int], out_channels: int, extra_blocks: ExtraFPNBlock | None = None,
                 norm_layer: Layer | None = None) -> None:
        super().__init__()
        self.inner_blocks = nn.ModuleList()
        self.layer_blocks = nn.ModuleList()
        for channels in in_channels_list:
            if channels == 0:
                raise ValueError("in_channels=0 is currently not supported")
            self.inner_blocks.append(Conv2dNormActivation(channels, out_channels, kernel_size=1, padding=0, norm_layer=norm_layer,
                                                          activation_layer=None))
            self.layer_blocks.append(Conv2dNormActivation(out_channels, out_channels, kernel_size=3, norm_layer=norm_layer,
                                                          activation_layer=None))
        for m in self.modules():
            if isinstance(m, nn.Conv2d):
                nn.init.kaiming_uniform_(m.weight, a=1)
                if m.bias is not None:
                    nn.init.zeros_(m.bias)
        if extra_blocks is not None and not isinstance(extra_blocks, ExtraFPNBlock):
            raise TypeError(f"extra_blocks should be of type ExtraFPNBlock not {type(extra_blocks)}")
        self.extra_blocks = extra_blocks

    def _load_from_state_dict(self, state_dict, prefix, local_metadata, *rest) -> None:
        if (local_metadata.get("version") or 1) < 2:                # blocks were bare convolutions
            for block in ("inner_blocks", "layer_blocks"):
                for i in range(len(self.inner_blocks)):
                    for kind in ("weight", "bias"):
                        old = f"{prefix}{block}.{i}.{kind}"
                        if old in state_dict:
                            state_dict[f"{prefix}{block}.{i}.0.{kind}"] = state_dict.pop(old)
        super()._load_from_state_dict(state_dict, prefix, local_metadata, *rest)

    def forward(self, x: dict[str, Tensor]) -> OrderedDict[str, Tensor]:
        names, maps = list(x), list(x.values())
        inner, results = None, []
        for i in reversed(range(len(maps))):                        # from the coarsest
            lateral = self.inner_blocks[i](maps[i])
            inner = lateral if inner is None else lateral + F.interpolate(inner, size=lateral.shape[-2:], mode="nearest")
            results.insert(0, self.layer_blocks[i](inner))
        if self.extra_blocks is not None:
            results, names = self.extra_blocks(results, maps, names)
        return OrderedDict(zip(names, results))


class LastLevelMaxPool(ExtraFPNBlock):
    """Every second pixel of the coarsest level, as "pool"."""

    def forward(self, x: Maps, y: Maps, names: list[str]) -> tuple[Maps, list[str]]:
        return [*x, F.max_pool2d(x[-1], kernel_size=1, stride=2, padding=0)], [*names, "pool"]


class LastLevelP6P7(ExtraFPNBlock):
    """Two coarser levels, "p6" and "p7", for RetinaNet."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.p6 = nn.Conv2d(in_channels, out_channels, 3, 2, 1)
        self.p7 = nn.Conv2d(out_channels, out_channels, 3, 2, 1)
        for module in (self.p6, self.p7):
            nn.init.kaiming_uniform_(module.weight, a=1)
            nn.init.zeros_(module.bias)
        self.use_P5 = in_channels == out_channels

    def forward(self, p: Maps, c: Maps, names: list[str]) -> tuple[Maps, list[str]]:
        p6 = self.p6(p[-1] if self.use_P5 else c[-1])
        return [*p, p6, self.p7(F.relu(p6))], [*names, "p6", "p7"]


class MultiScaleRoIAlign(nn.Module):
    """RoIAlign on the level of a pyramid that fits each box: a box of `canonical_scale` pixels is read on level `canonical_level`,
    one of half the side on the level before (equation 1 of the paper).

    `forward(x, boxes, image_shapes)`: maps by name (those in `featmap_names` are used), boxes (L, 4) of each image in pixels of the
    images, the images' (height, width). The maps' scales follow from the sizes of the first call, and stay."""

    def __init__(self, featmap_names: list[str], output_size: int | tuple[int, ...] | list[int], sampling_ratio: int, *,
                 canonical_scale: int = 224, canonical_level: int = 4) -> None:
        super().__init__()
        self.featmap_names = featmap_names
        self.sampling_ratio = sampling_ratio
        self.output_size = _pair(output_size)
        self.scales: list[float] | None = None
        self.canonical_scale = canonical_scale
        self.canonical_level = canonical_level

    def setup_scales(self, features: Maps, image_shapes: list[tuple[int, int]]) -> None:
        """The power of two between the largest image and each map."""
        if not image_shapes:
            raise ValueError("images list should not be empty")
        height = max(shape[0] for shape in image_shapes)
        self.scales = [2.0 ** round(math.log2(feature.shape[-2] / height)) for feature in features]

    def levels(self, boxes: Maps) -> Tensor:
        """Which map each box is read from."""
        side = torch.sqrt(torch.cat([box_area(b) for b in boxes]))
        finest, coarsest = (int(-math.log2(scale)) for scale in (self.scales[0], self.scales[-1]))
        wanted = torch.floor(self.canonical_level + torch.log2(side / self.canonical_scale) + 1e-6)
        return wanted.clamp(min=finest, max=coarsest).long() - finest

    def forward(self, x: dict[str, Tensor], boxes: Maps, image_shapes: list[tuple[int, int]]) -> Tensor:
        features = [feature for name, feature in x.items() if name in self.featmap_names]
        if self.scales is None:
            self.setup_scales(features, image_shapes)
        rois = boxes_with_image(boxes)
        if len(features) == 1:
            return roi_align(features[0], rois, self.output_size, self.scales[0], self.sampling_ratio)
        levels = self.levels(boxes)
        result = features[0].new_zeros((len(rois), features[0].shape[1], *self.output_size))
        for level, (feature, scale) in enumerate(zip(features, self.scales)):
            here = torch.where(levels == level)[0]
            if len(here):
                result[here] = roi_align(feature, rois[here], self.output_size, scale, self.sampling_ratio).to(result.dtype)
        return result

    def __repr__(self) -> str:
        return (f"{type(self).__name__}(featmap_names={self.featmap_names}, output_size={self.output_size}, "
                f"sampling_ratio={self.sampling_ratio})")
