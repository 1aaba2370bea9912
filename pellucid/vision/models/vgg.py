"""VGG: "Very deep convolutional networks for large-scale image recognition" (Simonyan & Zisserman 2014, https://arxiv.org/abs/1409.1556).

In: images (N, 3, H, W), at least 32 by 32. Out: scores (N, num_classes).
"""
from __future__ import annotations

from functools import partial
from typing import Any

from pellucid import Tensor, nn

from ._api import register_model
from .weights import (VGG11_BN_Weights, VGG11_Weights, VGG13_BN_Weights, VGG13_Weights, VGG16_BN_Weights, VGG16_Weights, VGG19_BN_Weights,
                      VGG19_Weights)

__all__ = ["VGG", "VGG11_BN_Weights", "VGG11_Weights", "VGG13_BN_Weights", "VGG13_Weights", "VGG16_BN_Weights", "VGG16_Weights",
           "VGG19_BN_Weights", "VGG19_Weights", "vgg11", "vgg11_bn", "vgg13", "vgg13_bn", "vgg16", "vgg16_bn", "vgg19", "vgg19_bn"]


class VGG(nn.Module):
    def __init__(self, features: nn.Module, num_classes: int = 1000, init_weights: bool = True, dropout: float = 0.5) -> None:
        super().__init__()
        self.features = features
        self.avgpool = nn.AdaptiveAvgPool2d((7, 7))
        self.classifier = nn.Sequential(
            nn.Linear(512 * 7 * 7, 4096), nn.ReLU(True), nn.Dropout(p=dropout),
            nn.Linear(4096, 4096), nn.ReLU(True), nn.Dropout(p=dropout), nn.Linear(4096, num_classes))
        for m in self.modules() if init_weights else ():
            if isinstance(m, nn.Conv2d):
                nn.init.kaiming_normal_(m.weight, mode="fan_out", nonlinearity="relu")
                if m.bias is not None:
                    nn.init.zeros_(m.bias)
            elif isinstance(m, nn.BatchNorm2d):
                nn.init.ones_(m.weight)
                nn.init.zeros_(m.bias)
            elif isinstance(m, nn.Linear):
                nn.init.normal_(m.weight, 0, 0.01)
                nn.init.zeros_(m.bias)

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(self.avgpool(self.features(x)).flatten(1))


def make_layers(cfg: list[int | str], batch_norm: bool = False) -> nn.Sequential:
    """A convolution of 3 by 3 for each number (its channels), max pooling for each "M"."""
    layers: list[nn.Module] = []
    in_channels = 3
    for v in cfg:
        if v == "M":
            layers.append(nn.MaxPool2d(kernel_size=2, stride=2))
            continue
        layers.append(nn.Conv2d(in_channels, v, kernel_size=3, padding=1))
        if batch_norm:
            layers.append(nn.BatchNorm2d(v))
        layers.append(nn.ReLU(inplace=True))
        in_channels = v
    return nn.Sequential(*layers)


cfgs: dict[str, list[int | str]] = {
    name: [layer for channels, n in zip((64, 128, 256, 512, 512), repeats) for layer in [*[channels] * n, "M"]]
    for name, repeats in {"A": (1, 1, 2, 2, 2), "B": (2, 2, 2, 2, 2), "D": (2, 2, 3, 3, 3), "E": (2, 2, 4, 4, 4)}.items()}


def _prepare(kwargs: dict[str, Any], meta: dict[str, Any]) -> None:
    kwargs["init_weights"] = False                # what is loaded need not be drawn first


register = partial(register_model, prepare=_prepare)


@register(VGG11_Weights)
def vgg11(**kwargs: Any) -> VGG:
    return VGG(make_layers(cfgs["A"]), **kwargs)


@register(VGG11_BN_Weights)
def vgg11_bn(**kwargs: Any) -> VGG:
    return VGG(make_layers(cfgs["A"], batch_norm=True), **kwargs)


@register(VGG13_Weights)
def vgg13(**kwargs: Any) -> VGG:
    return VGG(make_layers(cfgs["B"]), **kwargs)


@register(VGG13_BN_Weights)
def vgg13_bn(**kwargs: Any) -> VGG:
    return VGG(make_layers(cfgs["B"], batch_norm=True), **kwargs)


@register(VGG16_Weights)
def vgg16(**kwargs: Any) -> VGG:
    return VGG(make_layers(cfgs["D"]), **kwargs)


@register(VGG16_BN_Weights)
def vgg16_bn(**kwargs: Any) -> VGG:
    return VGG(make_layers(cfgs["D"], batch_norm=True), **kwargs)


@register(VGG19_Weights)
def vgg19(**kwargs: Any) -> VGG:
    return VGG(make_layers(cfgs["E"]), **kwargs)


@register(VGG19_BN_Weights)
def vgg19_bn(**kwargs: Any) -> VGG:
    return VGG(make_layers(cfgs["E"], batch_norm=True), **kwargs)
