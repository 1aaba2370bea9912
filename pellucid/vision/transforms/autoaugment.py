"""Learnt and random policies of augmentation: AutoAugment, RandAugment, TrivialAugmentWide, AugMix.

In: one image or video in a sample. Out: the same sample with it changed.
What stays true: the draws are torchvision's. Its two versions draw signs, and write the threshold of Solarize, in two ways:
the classes here are those of `transforms.v2`, and `first(cls)` makes those of `transforms` of them.
"""
from __future__ import annotations

import math
from collections.abc import Callable
from enum import Enum
from functools import lru_cache
from typing import Any

import numpy as np

import pellucid as torch

from ...core.errors import fail
from ...tensor import Tensor
from .. import tv_tensors
from ..pillow import is_pil
from . import functional as F
from .functional.convert import max_value
from .functional.geometry import interpolation_of
from .transform import Transform, chance, check_fill, check_type, fill_of, flattened, integer, unflattened

_MOVES = ("ShearX", "ShearY", "TranslateX", "TranslateY", "Rotate")
_ADJUSTMENTS = ("Brightness", "Color", "Contrast", "Sharpness")
_TONES = ("Posterize", "Solarize", "AutoContrast", "Equalize")
_SIGNED = {*_MOVES, *_ADJUSTMENTS}


class AutoAugmentPolicy(Enum):
    """The data set a policy was learnt on."""

    IMAGENET = "imagenet"
    CIFAR10 = "cifar10"
    SVHN = "svhn"


_POLICIES = {
    AutoAugmentPolicy.IMAGENET: """
Posterize 0.4 8, Rotate 0.6 9
Solarize 0.6 5, AutoContrast 0.6
Equalize 0.8, Equalize 0.6
Posterize 0.6 7, Posterize 0.6 6
Equalize 0.4, Solarize 0.2 4
Equalize 0.4, Rotate 0.8 8
Solarize 0.6 3, Equalize 0.6
Posterize 0.8 5, Equalize 1.0
Rotate 0.2 3, Solarize 0.6 8
Equalize 0.6, Posterize 0.4 6
Rotate 0.8 8, Color 0.4 0
Rotate 0.4 9, Equalize 0.6
Equalize 0.0, Equalize 0.8
Invert 0.6, Equalize 1.0
Color 0.6 4, Contrast 1.0 8
Rotate 0.8 8, Color 1.0 2
Color 0.8 8, Solarize 0.8 7
Sharpness 0.4 7, Invert 0.6
ShearX 0.6 5, Equalize 1.0
Color 0.4 0, Equalize 0.6
Equalize 0.4, Solarize 0.2 4
Solarize 0.6 5, AutoContrast 0.6
Invert 0.6, Equalize 1.0
Color 0.6 4, Contrast 1.0 8
Equalize 0.8, Equalize 0.6
""",
    AutoAugmentPolicy.CIFAR10: """
Invert 0.1, Contrast 0.2 6
Rotate 0.7 2, TranslateX 0.3 9
Sharpness 0.8 1, Sharpness 0.9 3
ShearY 0.5 8, TranslateY 0.7 9
AutoContrast 0.5, Equalize 0.9
ShearY 0.2 7, Posterize 0.3 7
Color 0.4 3, Brightness 0.6 7
Sharpness 0.3 9, Brightness 0.7 9
Equalize 0.6, Equalize 0.5
Contrast 0.6 7, Sharpness 0.6 5
Color 0.7 7, TranslateX 0.5 8
Equalize 0.3, AutoContrast 0.4
TranslateY 0.4 3, Sharpness 0.2 6
Brightness 0.9 6, Color 0.2 8
Solarize 0.5 2, Invert 0.0
Equalize 0.2, AutoContrast 0.6
Equalize 0.2, Equalize 0.6
Color 0.9 9, Equalize 0.6
AutoContrast 0.8, Solarize 0.2 8
Brightness 0.1 3, Color 0.7 0
Solarize 0.4 5, AutoContrast 0.9
TranslateY 0.9 9, TranslateY 0.7 9
AutoContrast 0.9, Solarize 0.8 3
Equalize 0.8, Invert 0.1
TranslateY 0.7 9, AutoContrast 0.9
""",
    AutoAugmentPolicy.SVHN: """
ShearX 0.9 4, Invert 0.2
ShearY 0.9 8, Invert 0.7
Equalize 0.6, Solarize 0.6 6
Invert 0.9, Equalize 0.6
Equalize 0.6, Rotate 0.9 3
ShearX 0.9 4, AutoContrast 0.8
ShearY 0.9 8, Invert 0.4
ShearY 0.9 5, Solarize 0.2 6
Invert 0.9, AutoContrast 0.8
Equalize 0.6, Rotate 0.9 3
ShearX 0.9 4, Solarize 0.3 3
ShearY 0.8 8, Invert 0.7
Equalize 0.9, TranslateY 0.6 6
Invert 0.9, Equalize 0.6
Contrast 0.3 3, Rotate 0.8 4
Invert 0.8, TranslateY 0.0 2
ShearY 0.7 6, Solarize 0.4 8
Invert 0.6, Rotate 0.8 4
ShearY 0.3 7, TranslateX 0.9 3
ShearX 0.1 6, Invert 0.6
Solarize 0.7 2, TranslateY 0.6 7
ShearY 0.8 4, Invert 0.8
ShearX 0.7 9, TranslateY 0.8 3
ShearY 0.8 5, AutoContrast 0.7
ShearX 0.7 2, Invert 0.1
""",
}


def _policies(policy: AutoAugmentPolicy) -> list[list[tuple[str, float, int | None]]]:
    def step(text: str) -> tuple[str, float, int | None]:
        name, p, *magnitude = text.split()
        return name, float(p), int(magnitude[0]) if magnitude else None
    if policy not in _POLICIES:
        fail(ValueError, "P5470", f"The provided policy {policy} is not recognized.", fix="AutoAugmentPolicy.IMAGENET, CIFAR10 or SVHN")
    return [[step(text) for text in line.split(",")] for line in _POLICIES[policy].strip().splitlines()]


@lru_cache(maxsize=64)         # the same for each image of a size
def _spaced(start: float, end: float, bins: int) -> list[float]:
    """`torch.linspace` to the bit, as PyTorch's vectors compute it: from both ends, each product and sum rounded once. Where a
    magnitude is cut to a whole number of pixels, the last bit decides."""
    start, end = np.float32(start), np.float32(end)
    step = float((end - start) / np.float32(bins - 1))
    return [float(np.float32(float(start) + step * i if i < bins // 2 else float(end) - step * (bins - 1 - i))) for i in range(bins)]


class _Augment(Transform):
    """What the four share: the steps, their magnitudes, and finding the one image of a sample."""

    _first = False                      # draws of torchvision's first version
    _names: tuple[str, ...] = ("Identity", *_MOVES, *_ADJUSTMENTS, *_TONES)
    _shear, _rotate, _enhance = 0.3, 30.0, 0.9
    _posterize = (8, 4)                 # bits at the weakest step, how many fewer at the strongest

    def __init__(self, interpolation: Any = "nearest", fill: Any = None) -> None:
        super().__init__()
        self.interpolation = interpolation_of(interpolation)
        self.fill = check_fill(fill)

    def _translate(self, size: int) -> float:
        return 150.0 / 331.0 * size

    def _magnitudes(self, name: str, bins: int, height: int, width: int) -> list[float] | None:
        """`bins` magnitudes from weak to strong; None for steps that have none."""
        if name == "Posterize":
            high, fewer = self._posterize
            return [float(high - round(i / ((bins - 1) / fewer))) for i in range(bins)]
        if name == "Solarize":
            return _spaced(255.0 if self._first else 1.0, 0.0, bins)
        most = {"ShearX": self._shear, "ShearY": self._shear, "TranslateX": self._translate(width), "TranslateY": self._translate(height),
                "Rotate": self._rotate}
        return _spaced(0.0, most.get(name, self._enhance), bins) if name in _SIGNED else None

    def _negative(self) -> bool:
        return integer(0, 2) == 1 if self._first else chance() <= 0.5

    def _drawn(self, names: tuple[str, ...], bins: int, size: list[int], choose: Callable[[], int]) -> tuple[str, float]:
        """A random step, and its magnitude: the one `choose` says, with a random sign."""
        name = names[integer(0, len(names))]
        magnitudes = self._magnitudes(name, bins, *size)
        if magnitudes is None:
            return name, 0.0
        magnitude = magnitudes[choose()]
        return name, -magnitude if name in _SIGNED and self._negative() else magnitude

    def _step(self, image: Any, name: str, magnitude: float) -> Any:
        fill = fill_of(self.fill, type(image))
        kind = {"interpolation": self.interpolation, "fill": fill}
        match name:
            case "ShearX" | "ShearY":
                degrees = math.degrees(math.atan(magnitude))
                shear = [degrees, 0.0] if name == "ShearX" else [0.0, degrees]
                return F.affine(image, angle=0.0, translate=[0, 0], scale=1.0, shear=shear, center=[0, 0], **kind)
            case "TranslateX" | "TranslateY":
                shift = [int(magnitude), 0] if name == "TranslateX" else [0, int(magnitude)]
                return F.affine(image, angle=0.0, translate=shift, scale=1.0, shear=[0.0, 0.0], **kind)
            case "Rotate":
                return F.rotate(image, magnitude, **kind)
            case "Brightness":
                return F.adjust_brightness(image, 1.0 + magnitude)
            case "Color":
                return F.adjust_saturation(image, 1.0 + magnitude)
            case "Contrast":
                return F.adjust_contrast(image, 1.0 + magnitude)
            case "Sharpness":
                return F.adjust_sharpness(image, 1.0 + magnitude)
            case "Posterize":
                return F.posterize(image, int(magnitude))
            case "Solarize":
                white = max_value(image.dtype) if isinstance(image, Tensor) else 255.0
                return F.solarize(image, magnitude if self._first else white * magnitude)
            case "AutoContrast":
                return F.autocontrast(image)
            case "Equalize":
                return F.equalize(image)
            case "Invert":
                return F.invert(image)
        return image

    def _augment(self, image: Any) -> Any:
        return image

    def forward(self, *inputs: Any) -> Any:
        flat, spec = flattened(inputs)
        which = self._needs_transform_list(flat)
        images = [i for i, x in enumerate(flat) if which[i] and not check_type(x, (tv_tensors.BoundingBoxes, tv_tensors.Mask))]
        if len(images) != 1 or len(images) != sum(which):
            fail(TypeError, "P5471", f"{type(self).__name__}() takes samples with one image or video, and neither boxes nor masks",
                 got=f"{len(images)} images among {len(flat)} parts", fix="give it the image alone")
        flat[images[0]] = self._augment(flat[images[0]])
        return unflattened(flat, spec)


class AutoAugment(_Augment):
    """Two steps, drawn as the policy that was learnt on a data set says."""

    def __init__(self, policy: AutoAugmentPolicy = AutoAugmentPolicy.IMAGENET, interpolation: Any = "nearest", fill: Any = None) -> None:
        super().__init__(interpolation, fill)
        self.policy = policy
        self.policies = _policies(policy)

    @staticmethod
    def get_params(transform_num: int) -> tuple[int, Tensor, Tensor]:
        """(which pair of steps, two chances, two signs)."""
        return integer(0, transform_num), torch.rand((2,)), torch.randint(2, (2,))

    def _augment(self, image: Any) -> Any:
        size = F.get_size(image)
        if self._first:
            chosen, probabilities, signs = self.get_params(len(self.policies))
            chances, negative = iter(probabilities.tolist()), iter((signs == 0).tolist())
        else:
            chosen = integer(0, len(self.policies))
        for name, p, index in self.policies[chosen]:
            drawn, minus = (next(chances), next(negative)) if self._first else (chance(), None)
            if drawn > p:
                continue
            magnitudes = self._magnitudes(name, 10, *size)
            magnitude = 0.0 if magnitudes is None or index is None else magnitudes[index]
            if name in _SIGNED and (self._negative() if minus is None else minus):
                magnitude = -magnitude
            image = self._step(image, name, magnitude)
        return image


class RandAugment(_Augment):
    """`num_ops` random steps of one magnitude."""

    def __init__(self, num_ops: int = 2, magnitude: int = 9, num_magnitude_bins: int = 31, interpolation: Any = "nearest",
                 fill: Any = None) -> None:
        super().__init__(interpolation, fill)
        if not isinstance(num_ops, int) or num_ops < 0:
            fail(ValueError, "P5472", f"num_ops should be a non-negative integer, but got {num_ops} instead.", fix="2")
        self.num_ops, self.magnitude, self.num_magnitude_bins = num_ops, magnitude, num_magnitude_bins

    def _augment(self, image: Any) -> Any:
        size = F.get_size(image)
        for _ in range(self.num_ops):
            image = self._step(image, *self._drawn(self._names, self.num_magnitude_bins, size, lambda: self.magnitude))
        return image


class TrivialAugmentWide(_Augment):
    """One random step of a random magnitude."""

    _shear, _rotate, _enhance, _posterize = 0.99, 135.0, 0.99, (8, 6)

    def __init__(self, num_magnitude_bins: int = 31, interpolation: Any = "nearest", fill: Any = None) -> None:
        super().__init__(interpolation, fill)
        self.num_magnitude_bins = num_magnitude_bins

    def _translate(self, size: int) -> float:
        return 32.0

    def _augment(self, image: Any) -> Any:
        bins = self.num_magnitude_bins
        return self._step(image, *self._drawn(self._names, bins, F.get_size(image), lambda: integer(0, bins)))


class AugMix(_Augment):
    """The image mixed with `mixture_width` chains of random steps."""

    _posterize = (4, 4)

    def __init__(self, severity: int = 3, mixture_width: int = 3, chain_depth: int = -1, alpha: float = 1.0, all_ops: bool = True,
                 interpolation: Any = "bilinear", fill: Any = None) -> None:
        super().__init__(interpolation, fill)
        if not 1 <= severity <= 10:
            fail(ValueError, "P5473", f"The severity must be between [1, 10]. Got {severity} instead.", fix="3")
        self.severity, self.mixture_width, self.chain_depth, self.alpha, self.all_ops = severity, mixture_width, chain_depth, alpha, all_ops

    def _translate(self, size: int) -> float:
        return size / 3.0

    def _augment(self, original: Any) -> Any:
        names = _MOVES + _TONES + (_ADJUSTMENTS if self.all_ops else ())
        size = F.get_size(original)
        image = F.pil_to_tensor(original) if is_pil(original) else original.as_subclass(Tensor)
        dimensions = 5 if isinstance(original, tv_tensors.Video) else 4
        batch = image.reshape((1,) * max(dimensions - image.ndim, 0) + tuple(image.shape))
        column = (batch.shape[0],) + (1,) * (batch.ndim - 1)
        both = torch._sample_dirichlet(torch.tensor([self.alpha, self.alpha]).expand(column[0], -1))
        weights = torch._sample_dirichlet(torch.tensor([self.alpha] * self.mixture_width).expand(column[0], -1)) * both[:, 1].reshape(-1, 1)
        mix = both[:, 0].reshape(column) * batch
        for i in range(self.mixture_width):
            chain = batch
            for _ in range(self.chain_depth if self.chain_depth > 0 else integer(1, 4)):
                chain = self._step(chain, *self._drawn(names, 10, size, lambda: integer(0, self.severity)))
            mix = mix + weights[:, i].reshape(column) * chain
        mix = mix.reshape(image.shape).to(image.dtype)
        return F.to_pil_image(mix) if is_pil(original) else tv_tensors.wrap(mix, like=original)


def first(cls: type) -> type:
    """`cls` as torchvision's first version draws."""
    return type(cls.__name__, (cls,), {"_first": True, "__module__": "pellucid.vision.transforms", "__doc__": cls.__doc__})
