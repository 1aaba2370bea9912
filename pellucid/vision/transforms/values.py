"""Transforms that change values: colours, tones, blur, noise, and those that change the form: dtype, tensor, Pillow image.

In and out: see `transform.py`. What stays true: the random draws are torchvision's, in its order.
"""
from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

import pellucid as torch

from ...core.dtype import dtype as _dtype
from ...core.errors import fail
from ...tensor import Tensor
from .. import tv_tensors
from ..pillow import is_pil
from . import functional as F
from .functional.boxes import valid_boxes
from .functional.dispatch import is_pure_tensor
from .functional.geometry import size_of
from .transform import (RandomApplied, Transform, chance, check_type, flattened, get_bounding_boxes, has_any, integer, labels_getter_of,
                        pair, query_chw, sequence, unflattened, uniform)


class Grayscale(Transform):
    """Grey, with 1 channel or 3 equal ones."""

    def __init__(self, num_output_channels: int = 1) -> None:
        super().__init__()
        self.num_output_channels = num_output_channels

    def transform(self, inpt: Any, params: dict[str, Any]) -> Any:
        return self._call_kernel(F.rgb_to_grayscale, inpt, num_output_channels=self.num_output_channels)


class RandomGrayscale(RandomApplied):
    """Grey with probability `p`, with as many channels as before."""

    def __init__(self, p: float = 0.1) -> None:
        super().__init__(p=p)

    def make_params(self, flat_inputs: list[Any]) -> dict[str, Any]:
        return {"num_output_channels": query_chw(flat_inputs)[0]}

    def transform(self, inpt: Any, params: dict[str, Any]) -> Any:
        return self._call_kernel(F.rgb_to_grayscale, inpt, **params)


class RGB(Transform):
    """Three channels, of grey images too."""

    def transform(self, inpt: Any, params: dict[str, Any]) -> Any:
        return self._call_kernel(F.grayscale_to_rgb, inpt)


_ADJUST = {"brightness": F.adjust_brightness, "contrast": F.adjust_contrast, "saturation": F.adjust_saturation, "hue": F.adjust_hue}


class ColorJitter(Transform):
    """Brightness, contrast, saturation and hue changed by random factors, in random order."""

    def __init__(self, brightness: Any = None, contrast: Any = None, saturation: Any = None, hue: Any = None) -> None:
        super().__init__()
        self.brightness = _range(brightness, "brightness")
        self.contrast = _range(contrast, "contrast")
        self.saturation = _range(saturation, "saturation")
        self.hue = _range(hue, "hue", center=0.0, bound=(-0.5, 0.5))

    @staticmethod
    def get_params(brightness: Any, contrast: Any, saturation: Any, hue: Any) -> tuple:
        """(the order, and a factor or None for each of the four)."""
        order = torch.randperm(4)
        return (order, *(None if r is None else uniform(r[0], r[1]) for r in (brightness, contrast, saturation, hue)))

    def make_params(self, flat_inputs: list[Any]) -> dict[str, Any]:
        order, *factors = self.get_params(self.brightness, self.contrast, self.saturation, self.hue)
        steps = list(zip(_ADJUST.values(), factors))
        return {"steps": [steps[i] for i in order.tolist() if steps[i][1] is not None]}

    def transform(self, inpt: Any, params: dict[str, Any]) -> Any:
        for adjust, factor in params["steps"]:
            inpt = self._call_kernel(adjust, inpt, factor)
        return inpt


def _range(value: Any, name: str, center: float = 1.0, bound: tuple[float, float] = (0.0, float("inf"))) -> tuple[float, float] | None:
    if value is None:
        return None
    if isinstance(value, (int, float)):
        if value < 0:
            fail(ValueError, "P5440", f"If {name} is a single number, it must be non negative.", got=str(value), fix="or pass (min, max)")
        value = [max(center - value, 0.0) if center else -value, center + value]
    elif not isinstance(value, Sequence) or len(value) != 2:
        fail(TypeError, "P5441", f"{name} should be a single number or a list/tuple with length 2.", got=repr(value), fix="(min, max)")
    low, high = float(value[0]), float(value[1])
    if not bound[0] <= low <= high <= bound[1]:
        fail(ValueError, "P5442", f"{name} values should be between {bound}, but got {[low, high]}.", fix="min before max")
    return None if low == high == center else (low, high)


class RandomPhotometricDistort(Transform):
    """SSD's distortion of brightness, contrast, saturation, hue and the order of channels, each with probability `p`."""

    def __init__(self, brightness: Any = (0.875, 1.125), contrast: Any = (0.5, 1.5), saturation: Any = (0.5, 1.5), hue: Any = (-0.05, 0.05),
                 p: float = 0.5) -> None:
        super().__init__()
        self.brightness, self.contrast, self.hue, self.saturation, self.p = brightness, contrast, hue, saturation, p

    def make_params(self, flat_inputs: list[Any]) -> dict[str, Any]:
        channels = query_chw(flat_inputs)[0]
        factor = {name: uniform(*getattr(self, name)) if chance() < self.p else None for name in _ADJUST}
        first = chance() < 0.5
        order = ["brightness", *["contrast"] * first, "saturation", "hue", *["contrast"] * (not first)]
        return {"steps": [(_ADJUST[name], factor[name]) for name in order if factor[name] is not None],
                "permutation": torch.randperm(channels) if chance() < self.p else None}

    def transform(self, inpt: Any, params: dict[str, Any]) -> Any:
        for adjust, factor in params["steps"]:
            inpt = self._call_kernel(adjust, inpt, factor)
        return inpt if params["permutation"] is None else self._call_kernel(F.permute_channels, inpt, params["permutation"])


class RandomChannelPermutation(Transform):
    """The channels in a random order."""

    def make_params(self, flat_inputs: list[Any]) -> dict[str, Any]:
        return {"permutation": torch.randperm(query_chw(flat_inputs)[0])}

    def transform(self, inpt: Any, params: dict[str, Any]) -> Any:
        return self._call_kernel(F.permute_channels, inpt, **params)


class RandomEqualize(RandomApplied):
    """Values spread evenly, with probability `p`."""

    def transform(self, inpt: Any, params: dict[str, Any]) -> Any:
        return self._call_kernel(F.equalize, inpt)


class RandomInvert(RandomApplied):
    """Black and white exchanged, with probability `p`."""

    def transform(self, inpt: Any, params: dict[str, Any]) -> Any:
        return self._call_kernel(F.invert, inpt)


class RandomAutocontrast(RandomApplied):
    """Contrast stretched to the full range, with probability `p`."""

    def transform(self, inpt: Any, params: dict[str, Any]) -> Any:
        return self._call_kernel(F.autocontrast, inpt)


class RandomPosterize(RandomApplied):
    """The `bits` highest bits kept, with probability `p`."""

    def __init__(self, bits: int, p: float = 0.5) -> None:
        super().__init__(p=p)
        self.bits = bits

    def transform(self, inpt: Any, params: dict[str, Any]) -> Any:
        return self._call_kernel(F.posterize, inpt, bits=self.bits)


class RandomSolarize(RandomApplied):
    """Values of at least `threshold` inverted, with probability `p`."""

    def __init__(self, threshold: float, p: float = 0.5) -> None:
        super().__init__(p=p)
        self.threshold = threshold

    def transform(self, inpt: Any, params: dict[str, Any]) -> Any:
        return self._call_kernel(F.solarize, inpt, threshold=self.threshold)


class RandomAdjustSharpness(RandomApplied):
    """Sharpness changed by `sharpness_factor`, with probability `p`."""

    def __init__(self, sharpness_factor: float, p: float = 0.5) -> None:
        super().__init__(p=p)
        self.sharpness_factor = sharpness_factor

    def transform(self, inpt: Any, params: dict[str, Any]) -> Any:
        return self._call_kernel(F.adjust_sharpness, inpt, sharpness_factor=self.sharpness_factor)


class Normalize(Transform):
    """`(image - mean) / std`, one mean and one deviation for each channel."""

    def __init__(self, mean: Any, std: Any, inplace: bool = False) -> None:
        super().__init__()
        self.mean, self.std, self.inplace = mean, std, inplace

    def transform(self, inpt: Any, params: dict[str, Any]) -> Any:
        return self._call_kernel(F.normalize, inpt, mean=self.mean, std=self.std, inplace=self.inplace)


class GaussianBlur(Transform):
    """Blur of a random width `sigma`: (min, max), or a number."""

    def __init__(self, kernel_size: Any, sigma: Any = (0.1, 2.0)) -> None:
        super().__init__()
        self.kernel_size = tuple(size_of(kernel_size, "kernel_size"))
        if any(k <= 0 or k % 2 == 0 for k in self.kernel_size):
            fail(ValueError, "P5443", "Kernel size value should be an odd and positive number.", got=repr(kernel_size), fix="3, 5, 7, ...")
        self.sigma = tuple(pair(sigma, "sigma"))
        if not 0.0 < self.sigma[0] <= self.sigma[1]:
            fail(ValueError, "P5444", "sigma values should be positive and of the form (min, max).", got=repr(sigma), fix="(0.1, 2.0)")

    @staticmethod
    def get_params(sigma_min: float, sigma_max: float) -> float:
        """A random width."""
        return uniform(sigma_min, sigma_max)

    def make_params(self, flat_inputs: list[Any]) -> dict[str, Any]:
        return {"sigma": [self.get_params(*self.sigma)] * 2}

    def transform(self, inpt: Any, params: dict[str, Any]) -> Any:
        return self._call_kernel(F.gaussian_blur, inpt, list(self.kernel_size), **params)


class GaussianNoise(Transform):
    """Normal noise added, in units of white."""

    def __init__(self, mean: float = 0.0, sigma: float = 0.1, clip: bool = True) -> None:
        super().__init__()
        self.mean, self.sigma, self.clip = mean, sigma, clip

    def check_inputs(self, flat_inputs: list[Any]) -> None:
        if has_any(flat_inputs, is_pil):
            fail(ValueError, "P5445", "Gaussian Noise is not implemented for PIL images.", fix="put ToImage before it")

    def transform(self, inpt: Any, params: dict[str, Any]) -> Any:
        return self._call_kernel(F.gaussian_noise, inpt, mean=self.mean, sigma=self.sigma, clip=self.clip)


class JPEG(Transform):
    """JPEG artefacts of a random `quality`: a number of 1 to 100, or (min, max)."""

    def __init__(self, quality: Any) -> None:
        super().__init__()
        self.quality = [quality, quality] if isinstance(quality, int) else list(sequence(quality, "quality", 2))
        if not 1 <= self.quality[0] <= self.quality[1] <= 100 or not all(type(q) is int for q in self.quality):
            fail(ValueError, "P5446", f"quality must be an integer from 1 to 100, got quality ={quality!r}", fix="90, or (50, 90)")

    def make_params(self, flat_inputs: list[Any]) -> dict[str, Any]:
        return {"quality": integer(self.quality[0], self.quality[1] + 1)}

    def transform(self, inpt: Any, params: dict[str, Any]) -> Any:
        return self._call_kernel(F.jpeg, inpt, **params)


class LinearTransformation(Transform):
    """`(flat image - mean_vector) @ transformation_matrix`: whitening."""

    _transformed_types = (is_pure_tensor, tv_tensors.Image, tv_tensors.Video)

    def __init__(self, transformation_matrix: Tensor, mean_vector: Tensor) -> None:
        super().__init__()
        size = transformation_matrix.size(0)
        if size != transformation_matrix.size(1) or mean_vector.size(0) != size or transformation_matrix.dtype != mean_vector.dtype:
            fail(ValueError, "P5447", "transformation_matrix should be square, mean_vector of the same length and dtype",
                 got=f"{tuple(transformation_matrix.shape)} {transformation_matrix.dtype}, {tuple(mean_vector.shape)} {mean_vector.dtype}",
                 fix="(D, D) and (D,), D being channels x height x width")
        self.transformation_matrix, self.mean_vector = transformation_matrix, mean_vector

    def check_inputs(self, flat_inputs: list[Any]) -> None:
        if has_any(flat_inputs, is_pil):
            fail(TypeError, "P5448", f"{type(self).__name__}() does not support PIL images.", fix="put ToTensor before it")

    def transform(self, inpt: Any, params: dict[str, Any]) -> Any:
        size = inpt.shape[-3:].numel()
        if size != self.transformation_matrix.shape[0]:
            fail(ValueError, "P5449", "Input tensor and transformation matrix have incompatible shape.",
                 got=f"{tuple(inpt.shape[-3:])}, {tuple(self.transformation_matrix.shape)}", fix="resize to the size it was made for")
        flat = inpt.as_subclass(Tensor).reshape(-1, size) - self.mean_vector
        output = (flat @ self.transformation_matrix.to(flat.dtype)).reshape(inpt.shape)
        return tv_tensors.wrap(output, like=inpt)


# ----------------------------------------------------------------------------------------------------- forms
class ToTensor(Transform):
    """A Pillow image or an array as a float tensor of 0 to 1, (channels, height, width)."""

    def forward(self, pic: Any) -> Tensor:
        return F.to_tensor(pic)


class PILToTensor(Transform):
    """Pillow images as uint8 tensors."""

    _transformed_types = (is_pil,)

    def transform(self, inpt: Any, params: dict[str, Any]) -> Any:
        return F.pil_to_tensor(inpt)


def is_array(x: Any) -> bool:
    """Whether `x` is a NumPy array (a scalar is none)."""
    return isinstance(x, np.ndarray)


class ToImage(Transform):
    """Pillow images, arrays and plain tensors as `tv_tensors.Image`, values as they are."""

    _transformed_types = (is_pure_tensor, is_pil, is_array)

    def transform(self, inpt: Any, params: dict[str, Any]) -> Any:
        return F.to_image(inpt)


class ToPILImage(Transform):
    """Tensors and arrays as Pillow images."""

    _transformed_types = (is_pure_tensor, tv_tensors.Image, is_array)

    def __init__(self, mode: str | None = None) -> None:
        super().__init__()
        self.mode = mode

    def transform(self, inpt: Any, params: dict[str, Any]) -> Any:
        return F.to_pil_image(inpt, self.mode)


class ToPureTensor(Transform):
    """`tv_tensors` as plain tensors."""

    _transformed_types = (tv_tensors.TVTensor,)

    def transform(self, inpt: Any, params: dict[str, Any]) -> Any:
        return inpt.as_subclass(Tensor)


class ConvertImageDtype(Transform):
    """Images in another dtype, white staying white."""

    def __init__(self, dtype: Any = torch.float32) -> None:
        super().__init__()
        self.dtype = dtype

    def transform(self, inpt: Any, params: dict[str, Any]) -> Any:
        return self._call_kernel(F.to_dtype, inpt, dtype=self.dtype, scale=True)


class ToDtype(Transform):
    """Images and videos as `dtype`, or each type as a dict says ("others" for the rest); `scale`: white stays white."""

    _transformed_types = (Tensor,)

    def __init__(self, dtype: Any, scale: bool = False) -> None:
        super().__init__()
        if not isinstance(dtype, (dict, _dtype)):
            fail(ValueError, "P5450", f"dtype must be a dict or a torch.dtype, got {type(dtype)} instead", fix="torch.float32")
        self.dtype, self.scale = dtype, scale

    def transform(self, inpt: Any, params: dict[str, Any]) -> Any:
        picture = is_pure_tensor(inpt) or isinstance(inpt, (tv_tensors.Image, tv_tensors.Video))
        if not isinstance(self.dtype, dict):
            return self._call_kernel(F.to_dtype, inpt, dtype=self.dtype, scale=self.scale) if picture else inpt
        if type(inpt) not in self.dtype and "others" not in self.dtype:
            fail(ValueError, "P5451", f"No dtype was specified for type {type(inpt)}", fix='"others": None passes the rest through')
        dtype = self.dtype.get(type(inpt), self.dtype.get("others"))
        if dtype is None and picture and self.scale:
            warnings.warn("scale was set to True but no dtype was specified for images or videos: no scaling will be done.", stacklevel=2)
        return inpt if dtype is None else self._call_kernel(F.to_dtype, inpt, dtype=dtype, scale=self.scale)


class Identity(Transform):
    """Everything as it is."""


class UniformTemporalSubsample(Transform):
    """`num_samples` frames of a video, at equal distances."""

    _transformed_types = (is_pure_tensor, tv_tensors.Video)

    def __init__(self, num_samples: int) -> None:
        super().__init__()
        self.num_samples = num_samples

    def transform(self, inpt: Any, params: dict[str, Any]) -> Any:
        return F.uniform_temporal_subsample(inpt, self.num_samples)


# ----------------------------------------------------------------------------------------------------- boxes and labels
class _OfBoxes(Transform):
    _transformed_types = (tv_tensors.BoundingBoxes,)


class ConvertBoundingBoxFormat(_OfBoxes):
    """Boxes in another format."""

    def __init__(self, format: Any) -> None:
        super().__init__()
        self.format = format

    def transform(self, inpt: Any, params: dict[str, Any]) -> Any:
        return F.convert_bounding_box_format(inpt, new_format=self.format)


class ClampBoundingBoxes(_OfBoxes):
    """Boxes cut to the image."""

    def __init__(self, clamping_mode: str | None = "auto") -> None:
        super().__init__()
        self.clamping_mode = clamping_mode

    def transform(self, inpt: Any, params: dict[str, Any]) -> Any:
        return F.clamp_bounding_boxes(inpt, clamping_mode=self.clamping_mode)


class SetClampingMode(_OfBoxes):
    """What later transforms do with boxes that leave the image: None keeps them, "soft" and "hard" cut them."""

    def __init__(self, clamping_mode: str | None) -> None:
        super().__init__()
        self.clamping_mode = clamping_mode

    def transform(self, inpt: Any, params: dict[str, Any]) -> Any:
        return tv_tensors.wrap(inpt.as_subclass(Tensor).clone(), like=inpt, clamping_mode=self.clamping_mode)


class SanitizeBoundingBoxes(Transform):
    """Boxes that are too small or leave the image removed, with their labels and masks."""

    def __init__(self, min_size: float = 1.0, min_area: float = 1.0, labels_getter: Any = "default") -> None:
        super().__init__()
        if min_size < 1 or min_area < 1:
            fail(ValueError, "P5452", f"min_size and min_area must be >= 1, got {min_size} and {min_area}.",
                 fix="1 keeps all that have an area")
        self.min_size, self.min_area, self.labels_getter = min_size, min_area, labels_getter
        self._labels_getter = labels_getter_of(labels_getter)

    def forward(self, *inputs: Any) -> Any:
        sample = inputs if len(inputs) > 1 else inputs[0]
        labels = self._labels_getter(sample)
        labels = () if labels is None else (labels,) if isinstance(labels, Tensor) else tuple(labels)
        flat, spec = flattened(inputs)
        boxes = get_bounding_boxes(flat)
        for label in labels:
            if not isinstance(label, Tensor) or label.shape[0] != boxes.shape[0]:
                fail(ValueError, "P5453", f"the labels are tensors with one row for each of the {boxes.shape[0]} boxes",
                     got=str(getattr(label, "shape", type(label))), fix="labels_getter says where they are")
        valid = valid_boxes(boxes, boxes.format, boxes.canvas_size, self.min_size, self.min_area)

        def kept(x: Any) -> Any:
            if not (isinstance(x, (tv_tensors.BoundingBoxes, tv_tensors.Mask)) or any(x is label for label in labels)):
                return x
            if x.shape[0] != valid.shape[0]:
                return x                                      # one mask of the whole image
            return tv_tensors.wrap(x.as_subclass(Tensor)[valid], like=x)
        return unflattened([kept(x) for x in flat], spec)


class _Mixed(Transform):
    """MixUp and CutMix: a batch of images and its labels mixed with the batch moved on by one."""

    def __init__(self, *, alpha: float = 1.0, num_classes: int | None = None, labels_getter: Any = "default") -> None:
        super().__init__()
        self.alpha, self.num_classes = float(alpha), num_classes
        self._beta = torch.distributions.Beta(torch.tensor([self.alpha]), torch.tensor([self.alpha]))
        self._labels_getter = labels_getter_of(labels_getter)

    def forward(self, *inputs: Any) -> Any:
        sample = inputs if len(inputs) > 1 else inputs[0]
        flat, spec = flattened(inputs)
        name = type(self).__name__
        if has_any(flat, is_pil, tv_tensors.BoundingBoxes, tv_tensors.Mask):
            fail(ValueError, "P5454", f"{name}() does not support PIL images, bounding boxes and masks.",
                 fix="it works on batches of tensors")
        labels = self._labels_getter(sample)
        if not isinstance(labels, Tensor) or labels.ndim not in (1, 2):
            fail(ValueError, "P5455", "labels should be index based with shape (batch_size,) or probability based with shape "
                 "(batch_size, num_classes)", got=str(getattr(labels, "shape", type(labels))), fix="labels_getter says where they are")
        if labels.ndim == 2 and self.num_classes not in (None, labels.shape[-1]):
            fail(ValueError, "P5456", f"When passing 2D labels, the number of elements in last dimension must match num_classes: "
                 f"{labels.shape[-1]} != {self.num_classes}", fix="leave num_classes out")
        if labels.ndim == 1 and self.num_classes is None:
            fail(ValueError, "P5457", "num_classes must be passed if the labels are index-based (1D)", fix=f"{name}(num_classes=10)")
        which = [needed and x is not labels for x, needed in zip(flat, self._needs_transform_list(flat))]
        params = self.make_params([x for x, needed in zip(flat, which) if needed])
        for x, needed in zip(flat, which):
            dimensions = 5 if isinstance(x, tv_tensors.Video) else 4
            if needed and (x.ndim != dimensions or x.shape[0] != labels.shape[0]):
                fail(ValueError, "P5458", f"Expected a batched input with {dimensions} dims and {labels.shape[0]} samples",
                     got=str(tuple(x.shape)), fix="use it on batches, in collate_fn or after the DataLoader")
        return unflattened([tv_tensors.wrap(self._mix(x.as_subclass(Tensor), params), like=x) if needed
                            else self._mix_labels(x, params["weight"]) if x is labels else x for x, needed in zip(flat, which)], spec)

    def _mix_labels(self, labels: Tensor, weight: float) -> Tensor:
        if labels.ndim == 1:
            labels = torch.nn.functional.one_hot(labels, num_classes=self.num_classes)
        labels = labels if labels.is_floating_point() else labels.float()
        return labels.roll(1, 0).mul(1.0 - weight).add(labels.mul(weight))

    def _mix(self, images: Tensor, params: dict[str, Any]) -> Tensor:
        return images


class MixUp(_Mixed):
    """Each image and label a weighted mean of two."""

    def make_params(self, flat_inputs: list[Any]) -> dict[str, Any]:
        return {"weight": float(self._beta.sample(()))}

    def _mix(self, images: Tensor, params: dict[str, Any]) -> Tensor:
        return images.roll(1, 0).mul(1.0 - params["weight"]).add(images.mul(params["weight"]))


class CutMix(_Mixed):
    """A rectangle of each image from another one; labels weighted by area."""

    def make_params(self, flat_inputs: list[Any]) -> dict[str, Any]:
        weight = float(self._beta.sample(()))
        height, width = query_chw(flat_inputs)[1:]
        x, y = integer(0, width), integer(0, height)
        r = 0.5 * (1.0 - weight) ** 0.5
        half_w, half_h = int(r * width), int(r * height)
        x1, y1, x2, y2 = max(x - half_w, 0), max(y - half_h, 0), min(x + half_w, width), min(y + half_h, height)
        return {"box": (x1, y1, x2, y2), "weight": 1.0 - (x2 - x1) * (y2 - y1) / (width * height)}

    def _mix(self, images: Tensor, params: dict[str, Any]) -> Tensor:
        x1, y1, x2, y2 = params["box"]
        output = images.clone()
        output[..., y1:y2, x1:x2] = images.roll(1, 0)[..., y1:y2, x1:x2]
        return output


class Lambda(Transform):
    """A function of yours on each part of a sample, or on those of the given types."""

    _transformed_types = (object,)

    def __init__(self, lambd: Callable[[Any], Any], *types: type) -> None:
        super().__init__()
        self.lambd, self.types = lambd, types or self._transformed_types

    def transform(self, inpt: Any, params: dict[str, Any]) -> Any:
        return self.lambd(inpt) if check_type(inpt, self.types) else inpt

    def extra_repr(self) -> str:
        name = getattr(self.lambd, "__name__", "")
        return f"{name + ', ' if name else ''}types={[t.__name__ for t in self.types]}"
