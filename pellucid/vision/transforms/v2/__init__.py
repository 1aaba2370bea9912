"""torchvision's second version of transforms: any nesting of images, masks, boxes and videos, transformed together.

In: Pillow images, tensors, `tv_tensors`, in tuples, lists and dicts. Out: the same nesting.
What stays true: all parts of a sample get the same random choices; see `transform.py` for what is taken as an image.
"""
from __future__ import annotations

import warnings as _warnings
from typing import Any as _Any

from ...pillow import is_pil as _is_pil
from .. import functional as _functional
from ..autoaugment import AugMix, AutoAugment, AutoAugmentPolicy, RandAugment, TrivialAugmentWide
from ..containers import Compose, RandomApply, RandomChoice, RandomOrder
from ..functional import InterpolationMode
from ..geometric import (CenterCrop, ElasticTransform, FiveCrop, Pad, RandomAffine, RandomErasing, RandomHorizontalFlip, RandomIoUCrop,
                         RandomPerspective, RandomResize, RandomResizedCrop, RandomRotation, RandomShortestSize, RandomVerticalFlip,
                         RandomZoomOut, Resize, ScaleJitter, TenCrop)
from ..geometric import RandomCrop as _RandomCrop
from ..transform import Transform, check_type, get_bounding_boxes, has_all, has_any, query_chw, query_size
from ..values import (JPEG, RGB, ClampBoundingBoxes, ColorJitter, ConvertBoundingBoxFormat, ConvertImageDtype, CutMix, GaussianBlur,
                      GaussianNoise,
                      Grayscale, Identity, Lambda, LinearTransformation, MixUp, Normalize, PILToTensor, RandomAdjustSharpness,
                      RandomAutocontrast,
                      RandomChannelPermutation, RandomEqualize, RandomGrayscale, RandomInvert, RandomPhotometricDistort, RandomPosterize,
                      RandomSolarize, SanitizeBoundingBoxes, SetClampingMode, ToDtype, ToImage, ToPILImage, ToPureTensor,
                      UniformTemporalSubsample)
from ..values import is_array as _is_array
from . import functional


class RandomCrop(_RandomCrop):
    """A crop of `size` at a random place, after padding; nothing is drawn for a side that fits exactly."""

    _draws_always = False


class ToTensor(Transform):
    """Pillow images and arrays as float tensors of 0 to 1; `ToImage` and `ToDtype(torch.float32, scale=True)` are preferred."""

    _transformed_types = (_is_pil, _is_array)

    def __init__(self) -> None:
        _warnings.warn("The transform `ToTensor()` is deprecated. Instead, please use `v2.Compose([v2.ToImage(), "
                       "v2.ToDtype(torch.float32, scale=True)])`.", stacklevel=2)
        super().__init__()

    def transform(self, inpt: _Any, params: dict[str, _Any]) -> _Any:
        return _functional.to_tensor(inpt)


__all__ = ["AugMix", "AutoAugment", "AutoAugmentPolicy", "CenterCrop", "ClampBoundingBoxes", "ColorJitter", "Compose",
           "ConvertBoundingBoxFormat", "ConvertImageDtype", "CutMix", "ElasticTransform", "FiveCrop", "GaussianBlur", "GaussianNoise",
           "Grayscale", "Identity", "InterpolationMode", "JPEG", "Lambda", "LinearTransformation", "MixUp", "Normalize", "PILToTensor",
           "Pad",
           "RGB", "RandAugment", "RandomAdjustSharpness", "RandomAffine", "RandomApply", "RandomAutocontrast", "RandomChannelPermutation",
           "RandomChoice", "RandomCrop", "RandomEqualize", "RandomErasing", "RandomGrayscale", "RandomHorizontalFlip", "RandomInvert",
           "RandomIoUCrop", "RandomOrder", "RandomPerspective", "RandomPhotometricDistort", "RandomPosterize", "RandomResize",
           "RandomResizedCrop", "RandomRotation", "RandomShortestSize", "RandomSolarize", "RandomVerticalFlip", "RandomZoomOut", "Resize",
           "SanitizeBoundingBoxes", "ScaleJitter", "SetClampingMode", "TenCrop", "ToDtype", "ToImage", "ToPILImage", "ToPureTensor",
           "ToTensor",
           "Transform", "TrivialAugmentWide", "UniformTemporalSubsample", "check_type", "functional", "get_bounding_boxes", "has_all",
           "has_any", "query_chw", "query_size"]
