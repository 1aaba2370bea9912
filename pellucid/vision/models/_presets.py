"""The preprocessing that trained classifiers expect.

In: a PIL image or a tensor (..., C, H, W). Out: a normalised float tensor (..., C, crop, crop). True always: the steps are those
of pellucid.vision.transforms.functional, which is loaded when an image comes.
"""
from __future__ import annotations

from typing import Any

import pellucid as torch
from pellucid import Tensor, nn, vision

__all__ = ["ImageClassification"]


class ImageClassification(nn.Module):
    """Resize the shorter side to `resize_size`, crop `crop_size` out of the middle, scale to 0..1 and normalise."""

    def __init__(self, *, crop_size: int, resize_size: int = 256, mean: tuple[float, ...] = (0.485, 0.456, 0.406),
                 std: tuple[float, ...] = (0.229, 0.224, 0.225), interpolation: str = "bilinear", antialias: bool | None = True) -> None:
        super().__init__()
        self.crop_size = [crop_size]
        self.resize_size = [resize_size]
        self.mean = list(mean)
        self.std = list(std)
        self.interpolation = interpolation
        self.antialias = antialias

    def forward(self, img: Any) -> Tensor:
        F = vision.transforms.functional
        mode = vision.transforms.InterpolationMode(self.interpolation)
        img = F.resize(img, self.resize_size, interpolation=mode, antialias=self.antialias)
        img = F.center_crop(img, self.crop_size)
        if not isinstance(img, Tensor):
            img = F.pil_to_tensor(img)
        return F.normalize(F.convert_image_dtype(img, torch.float), mean=self.mean, std=self.std)

    def __repr__(self) -> str:
        names = ("crop_size", "resize_size", "mean", "std", "interpolation")
        return f"{type(self).__name__}(\n" + "".join(f"    {name}={getattr(self, name)}\n" for name in names) + ")"
