"""RegNet: "Designing network design spaces" (Radosavovic et al. 2020, https://arxiv.org/abs/2003.13678).

In: images (N, 3, H, W). Out: scores (N, num_classes). Widths and depths of the stages follow from four numbers; Y has squeeze and
excitation, X has not.
"""
from __future__ import annotations

import math
from collections import OrderedDict
from functools import partial
from typing import Any

import pellucid as torch
from pellucid import Tensor, nn

from ..ops.misc import Conv2dNormActivation, Layer, SqueezeExcitation
from ._api import register_model
from ._utils import _make_divisible
from .weights import (RegNet_X_1_6GF_Weights, RegNet_X_3_2GF_Weights, RegNet_X_8GF_Weights, RegNet_X_16GF_Weights, RegNet_X_32GF_Weights,
                      RegNet_X_400MF_Weights, RegNet_X_800MF_Weights, RegNet_Y_1_6GF_Weights, RegNet_Y_3_2GF_Weights,
                      RegNet_Y_8GF_Weights, RegNet_Y_16GF_Weights, RegNet_Y_32GF_Weights, RegNet_Y_128GF_Weights,
                      RegNet_Y_400MF_Weights, RegNet_Y_800MF_Weights)

__all__ = ["RegNet", "RegNet_X_16GF_Weights", "RegNet_X_1_6GF_Weights", "RegNet_X_32GF_Weights", "RegNet_X_3_2GF_Weights",
           "RegNet_X_400MF_Weights", "RegNet_X_800MF_Weights", "RegNet_X_8GF_Weights", "RegNet_Y_128GF_Weights",
           "RegNet_Y_16GF_Weights", "RegNet_Y_1_6GF_Weights", "RegNet_Y_32GF_Weights", "RegNet_Y_3_2GF_Weights",
           "RegNet_Y_400MF_Weights", "RegNet_Y_800MF_Weights", "RegNet_Y_8GF_Weights", "regnet_x_16gf", "regnet_x_1_6gf",
           "regnet_x_32gf", "regnet_x_3_2gf", "regnet_x_400mf", "regnet_x_800mf", "regnet_x_8gf", "regnet_y_128gf", "regnet_y_16gf",
           "regnet_y_1_6gf", "regnet_y_32gf", "regnet_y_3_2gf", "regnet_y_400mf", "regnet_y_800mf", "regnet_y_8gf"]


class SimpleStemIN(Conv2dNormActivation):
    def __init__(self, width_in: int, width_out: int, norm_layer: Layer, activation_layer: Layer) -> None:
        super().__init__(width_in, width_out, kernel_size=3, stride=2, norm_layer=norm_layer, activation_layer=activation_layer)


class BottleneckTransform(nn.Sequential):
    """1 by 1, 3 by 3 in groups, squeeze and excitation, 1 by 1."""

    def __init__(self, width_in: int, width_out: int, stride: int, norm_layer: Layer, activation_layer: Layer, group_width: int,
                 bottleneck_multiplier: float, se_ratio: float | None) -> None:
        conv = partial(Conv2dNormActivation, norm_layer=norm_layer, activation_layer=activation_layer)
        width = int(round(width_out * bottleneck_multiplier))
        layers = OrderedDict(a=conv(width_in, width, kernel_size=1, stride=1),
                             b=conv(width, width, kernel_size=3, stride=stride, groups=width // group_width))
        if se_ratio:
            layers["se"] = SqueezeExcitation(width, int(round(se_ratio * width_in)), activation=activation_layer)
        layers["c"] = conv(width, width_out, kernel_size=1, stride=1, activation_layer=None)
        super().__init__(layers)


class ResBottleneckBlock(nn.Module):
    def __init__(self, width_in: int, width_out: int, stride: int, norm_layer: Layer, activation_layer: Layer, group_width: int = 1,
                 bottleneck_multiplier: float = 1.0, se_ratio: float | None = None) -> None:
        super().__init__()
        self.proj = None
        if width_in != width_out or stride != 1:
            self.proj = Conv2dNormActivation(width_in, width_out, kernel_size=1, stride=stride, norm_layer=norm_layer,
                                             activation_layer=None)
        self.f = BottleneckTransform(width_in, width_out, stride, norm_layer, activation_layer, group_width, bottleneck_multiplier,
                                     se_ratio)
        self.activation = activation_layer(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        return self.activation((x if self.proj is None else self.proj(x)) + self.f(x))


class AnyStage(nn.Sequential):
    """`depth` blocks, the first with `stride`."""

    def __init__(self, width_in: int, width_out: int, stride: int, depth: int, block_constructor: Layer, norm_layer: Layer,
                 activation_layer: Layer, group_width: int, bottleneck_multiplier: float, se_ratio: float | None = None,
                 stage_index: int = 0) -> None:
        super().__init__()
        for i in range(depth):
            self.add_module(f"block{stage_index}-{i}", block_constructor(
                width_in if i == 0 else width_out, width_out, stride if i == 0 else 1, norm_layer, activation_layer, group_width,
                bottleneck_multiplier, se_ratio))


class BlockParams:
    """What each stage is made of."""

    def __init__(self, depths: list[int], widths: list[int], group_widths: list[int], bottleneck_multipliers: list[float],
                 strides: list[int], se_ratio: float | None = None) -> None:
        self.depths = depths
        self.widths = widths
        self.group_widths = group_widths
        self.bottleneck_multipliers = bottleneck_multipliers
        self.strides = strides
        self.se_ratio = se_ratio

    @classmethod
    def from_init_params(cls, depth: int, w_0: int, w_a: float, w_m: float, group_width: int, bottleneck_multiplier: float = 1.0,
                         se_ratio: float | None = None, **kwargs: Any) -> BlockParams:
        """Section 3.3: block j wants width w_0 + w_a j, which is rounded to w_0 w_m^s for a whole s, then to a multiple of 8."""
        if w_a < 0 or w_0 <= 0 or w_m <= 1 or w_0 % 8 != 0:
            raise ValueError("Invalid RegNet settings")
        wanted = torch.arange(depth) * w_a + w_0
        capacity = torch.round(torch.log(wanted / w_0) / math.log(w_m))
        widths = (torch.round(torch.divide(w_0 * torch.pow(w_m, capacity), 8)) * 8).int().tolist()
        stage_widths = sorted(set(widths))
        n = len(stage_widths)
        # A stage's width must be a multiple of its groups' width.
        bottlenecks = [int(w * bottleneck_multiplier) for w in stage_widths]
        groups = [min(group_width, b) for b in bottlenecks]
        adjusted = [int(_make_divisible(b, g) / bottleneck_multiplier) for b, g in zip(bottlenecks, groups)]
        return cls([widths.count(w) for w in stage_widths], adjusted, groups, [bottleneck_multiplier] * n, [2] * n, se_ratio)


class RegNet(nn.Module):
    def __init__(self, block_params: BlockParams, num_classes: int = 1000, stem_width: int = 32, stem_type: Layer | None = None,
                 block_type: Layer | None = None, norm_layer: Layer | None = None, activation: Layer | None = None) -> None:
        super().__init__()
        norm_layer = norm_layer or nn.BatchNorm2d
        activation = activation or nn.ReLU
        self.stem = (stem_type or SimpleStemIN)(3, stem_width, norm_layer, activation)
        p, width, stages = block_params, stem_width, OrderedDict()
        for i, (out, stride, depth, group_width, multiplier) in enumerate(
                zip(p.widths, p.strides, p.depths, p.group_widths, p.bottleneck_multipliers), start=1):
            stages[f"block{i}"] = AnyStage(width, out, stride, depth, block_type or ResBottleneckBlock, norm_layer, activation, group_width,
                                           multiplier, p.se_ratio, stage_index=i)
            width = out
        self.trunk_output = nn.Sequential(stages)
        self.avgpool = nn.AdaptiveAvgPool2d((1, 1))
        self.fc = nn.Linear(in_features=width, out_features=num_classes)
        for m in self.modules():
            if isinstance(m, nn.Conv2d):
                fan_out = m.kernel_size[0] * m.kernel_size[1] * m.out_channels
                nn.init.normal_(m.weight, mean=0.0, std=math.sqrt(2.0 / fan_out))
            elif isinstance(m, nn.BatchNorm2d):
                nn.init.ones_(m.weight)
                nn.init.zeros_(m.bias)
            elif isinstance(m, nn.Linear):
                nn.init.normal_(m.weight, mean=0.0, std=0.01)
                nn.init.zeros_(m.bias)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.avgpool(self.trunk_output(self.stem(x))).flatten(start_dim=1))


def _regnet(depth: int, w_0: int, w_a: float, w_m: float, group_width: int, se_ratio: float | None, kwargs: dict[str, Any]) -> RegNet:
    return RegNet(BlockParams.from_init_params(depth, w_0, w_a, w_m, group_width, se_ratio=se_ratio, **kwargs), **kwargs)


@register_model(RegNet_Y_400MF_Weights)
def regnet_y_400mf(**kwargs: Any) -> RegNet:
    return _regnet(16, 48, 27.89, 2.09, 8, 0.25, kwargs)


@register_model(RegNet_Y_800MF_Weights)
def regnet_y_800mf(**kwargs: Any) -> RegNet:
    return _regnet(14, 56, 38.84, 2.4, 16, 0.25, kwargs)


@register_model(RegNet_Y_1_6GF_Weights)
def regnet_y_1_6gf(**kwargs: Any) -> RegNet:
    return _regnet(27, 48, 20.71, 2.65, 24, 0.25, kwargs)


@register_model(RegNet_Y_3_2GF_Weights)
def regnet_y_3_2gf(**kwargs: Any) -> RegNet:
    return _regnet(21, 80, 42.63, 2.66, 24, 0.25, kwargs)


@register_model(RegNet_Y_8GF_Weights)
def regnet_y_8gf(**kwargs: Any) -> RegNet:
    return _regnet(17, 192, 76.82, 2.19, 56, 0.25, kwargs)


@register_model(RegNet_Y_16GF_Weights)
def regnet_y_16gf(**kwargs: Any) -> RegNet:
    return _regnet(18, 200, 106.23, 2.48, 112, 0.25, kwargs)


@register_model(RegNet_Y_32GF_Weights)
def regnet_y_32gf(**kwargs: Any) -> RegNet:
    return _regnet(20, 232, 115.89, 2.53, 232, 0.25, kwargs)


@register_model(RegNet_Y_128GF_Weights, pretrained=None)
def regnet_y_128gf(**kwargs: Any) -> RegNet:
    return _regnet(27, 456, 160.83, 2.52, 264, 0.25, kwargs)


@register_model(RegNet_X_400MF_Weights)
def regnet_x_400mf(**kwargs: Any) -> RegNet:
    return _regnet(22, 24, 24.48, 2.54, 16, None, kwargs)


@register_model(RegNet_X_800MF_Weights)
def regnet_x_800mf(**kwargs: Any) -> RegNet:
    return _regnet(16, 56, 35.73, 2.28, 16, None, kwargs)


@register_model(RegNet_X_1_6GF_Weights)
def regnet_x_1_6gf(**kwargs: Any) -> RegNet:
    return _regnet(18, 80, 34.01, 2.25, 24, None, kwargs)


@register_model(RegNet_X_3_2GF_Weights)
def regnet_x_3_2gf(**kwargs: Any) -> RegNet:
    return _regnet(25, 88, 26.31, 2.25, 48, None, kwargs)


@register_model(RegNet_X_8GF_Weights)
def regnet_x_8gf(**kwargs: Any) -> RegNet:
    return _regnet(23, 80, 49.56, 2.88, 120, None, kwargs)


@register_model(RegNet_X_16GF_Weights)
def regnet_x_16gf(**kwargs: Any) -> RegNet:
    return _regnet(22, 216, 55.59, 2.1, 128, None, kwargs)


@register_model(RegNet_X_32GF_Weights)
def regnet_x_32gf(**kwargs: Any) -> RegNet:
    return _regnet(23, 320, 69.86, 2.0, 168, None, kwargs)
