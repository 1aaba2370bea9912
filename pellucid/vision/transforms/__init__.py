"""Image transforms under torchvision's names; `transforms.v2` has those of its second version, `transforms.functional` the functions.

In: Pillow images, tensors, and (as in v2) any nesting with `tv_tensors` in it. Out: the same, transformed.
What stays true: a class is shared with v2 unless torchvision's two versions draw differently or take samples apart differently.
"""
from __future__ import annotations

from . import functional
from .autoaugment import AugMix as _AugMix
from .autoaugment import AutoAugment as _AutoAugment
from .autoaugment import AutoAugmentPolicy, first as _first
from .autoaugment import RandAugment as _RandAugment
from .autoaugment import TrivialAugmentWide as _TrivialAugmentWide
from .containers import Compose, RandomApply
from .first import Lambda, RandomChoice, RandomOrder
from .functional import InterpolationMode
from .geometric import (CenterCrop, ElasticTransform, FiveCrop, Pad, RandomAffine, RandomCrop, RandomErasing, RandomHorizontalFlip,
                        RandomPerspective, RandomResizedCrop, RandomRotation, RandomVerticalFlip, Resize, TenCrop)
from .values import (ColorJitter, ConvertImageDtype, GaussianBlur, Grayscale, LinearTransformation, Normalize, PILToTensor,
                     RandomAdjustSharpness,
                     RandomAutocontrast, RandomEqualize, RandomGrayscale, RandomInvert, RandomPosterize, RandomSolarize, ToPILImage,
                     ToTensor)

AutoAugment, RandAugment, TrivialAugmentWide, AugMix = map(_first, (_AutoAugment, _RandAugment, _TrivialAugmentWide, _AugMix))

from . import v2  # noqa: E402

__all__ = ["AugMix", "AutoAugment", "AutoAugmentPolicy", "CenterCrop", "ColorJitter", "Compose", "ConvertImageDtype", "ElasticTransform",
           "FiveCrop", "GaussianBlur", "Grayscale", "InterpolationMode", "Lambda", "LinearTransformation", "Normalize", "PILToTensor",
           "Pad",
           "RandAugment", "RandomAdjustSharpness", "RandomAffine", "RandomApply", "RandomAutocontrast", "RandomChoice", "RandomCrop",
           "RandomEqualize", "RandomErasing", "RandomGrayscale", "RandomHorizontalFlip", "RandomInvert", "RandomOrder", "RandomPerspective",
           "RandomPosterize", "RandomResizedCrop", "RandomRotation", "RandomSolarize", "RandomVerticalFlip", "Resize", "TenCrop",
           "ToPILImage",
           "ToTensor", "TrivialAugmentWide", "functional", "v2"]
