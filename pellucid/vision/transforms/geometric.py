"""Transforms that move pixels: flips, sizes, crops, padding, turns, perspective, elastic deformation.

In and out: see `transform.py`. What stays true: the random draws are torchvision's, in its order, so that the same seed gives
the same crops; `get_params`, where torchvision has it, makes them for code that transforms an image and its mask by hand.
"""
from __future__ import annotations

import math
import warnings
from typing import Any

import numpy as np

import pellucid as torch

from ...core.dtype import get_default_dtype
from ...core.errors import fail
from ...tensor import Tensor
from .. import tv_tensors
from ..ops.boxes import box_iou
from ..pillow import is_pil
from . import functional as F
from .functional.convert import get_dimensions
from .functional.dispatch import is_pure_tensor
from .functional.geometry import check_padding_mode, interpolation_of, padding_of, perspective_coefficients, size_of
from .transform import (RandomApplied, Transform, angles, check_fill, fill_of, get_bounding_boxes, has_all, has_any, integer, pair,
                        query_chw, query_size, sequence, uniform)


class RandomHorizontalFlip(RandomApplied):
    """Left and right exchanged, with probability `p`."""

    def transform(self, inpt: Any, params: dict[str, Any]) -> Any:
        return self._call_kernel(F.horizontal_flip, inpt)


class RandomVerticalFlip(RandomApplied):
    """Top and bottom exchanged, with probability `p`."""

    def transform(self, inpt: Any, params: dict[str, Any]) -> Any:
        return self._call_kernel(F.vertical_flip, inpt)


class Resize(Transform):
    """To `size`: (height, width), or a number for the shorter side, the longer one being at most `max_size`."""

    def __init__(self, size: Any, interpolation: Any = "bilinear", max_size: int | None = None, antialias: bool | None = True) -> None:
        super().__init__()
        if isinstance(size, (tuple, list)) and len(size) not in (1, 2):
            fail(ValueError, "P5420", "If size is a sequence, it should have 1 or 2 values", got=repr(size), fix="(height, width)")
        if not isinstance(size, (int, tuple, list)) and (size is not None or max_size is None):
            fail(TypeError, "P5421", f"Size should be int or sequence. Got {type(size)}", fix="an int, or (height, width)")
        self.size = [size] if isinstance(size, int) else size if size is None else list(size)
        self.interpolation = interpolation_of(interpolation)
        self.max_size = max_size
        self.antialias = antialias

    def transform(self, inpt: Any, params: dict[str, Any]) -> Any:
        return self._call_kernel(F.resize, inpt, self.size, interpolation=self.interpolation, max_size=self.max_size,
                                 antialias=self.antialias)


class _EachPart(Transform):
    """A transform made of other functions: whatever has a size takes it."""

    def _call(self, function: Any, inpt: Any, *args: Any, **kwargs: Any) -> Any:
        return inpt if F.get_size.kernel_for(type(inpt)) is None else function(inpt, *args, **kwargs)


class CenterCrop(_EachPart):
    """The middle, of `size`; smaller images are padded with 0."""

    def __init__(self, size: Any) -> None:
        super().__init__()
        self.size = tuple(size_of(size))

    def transform(self, inpt: Any, params: dict[str, Any]) -> Any:
        return self._call(F.center_crop, inpt, self.size)


class RandomResizedCrop(_EachPart):
    """A crop of a random part (`scale`) of the area with a random aspect ratio, resized to `size`."""

    def __init__(self, size: Any, scale: Any = (0.08, 1.0), ratio: Any = (3.0 / 4.0, 4.0 / 3.0), interpolation: Any = "bilinear",
                 antialias: bool | None = True) -> None:
        super().__init__()
        self.size = tuple(size_of(size))
        _check_ranges(scale, ratio)
        self.scale, self.ratio = scale, ratio
        self.interpolation = interpolation_of(interpolation)
        self.antialias = antialias

    @staticmethod
    def get_params(img: Any, scale: Any, ratio: Any) -> tuple[int, int, int, int]:
        """(top, left, height, width) of a random crop."""
        height, width = F.get_size(img)
        return RandomResizedCrop._draw(height, width, scale, ratio)

    @staticmethod
    def _draw(height: int, width: int, scale: Any, ratio: Any) -> tuple[int, int, int, int]:
        for _ in range(10):
            w, h = _sides(height * width, scale, ratio)
            if 0 < w <= width and 0 < h <= height:
                return integer(0, height - h + 1), integer(0, width - w + 1), h, w
        shape = width / height
        w, h = width, height
        if shape < min(ratio):
            h = round(w / min(ratio))
        elif shape > max(ratio):
            w = round(h * max(ratio))
        return (height - h) // 2, (width - w) // 2, h, w

    def make_params(self, flat_inputs: list[Any]) -> dict[str, Any]:
        return dict(zip(("top", "left", "height", "width"), self._draw(*query_size(flat_inputs), self.scale, self.ratio)))

    def transform(self, inpt: Any, params: dict[str, Any]) -> Any:
        return self._call(F.resized_crop, inpt, **params, size=self.size, interpolation=self.interpolation, antialias=self.antialias)


def _sides(area: int, scale: Any, ratio: Any) -> tuple[int, int]:
    """The sides of a random part of `area` with a random ratio of the first to the second."""
    part = area * uniform(scale[0], scale[1])
    aspect = float(np.exp(get_default_dtype().np.type(uniform(*_log(ratio)))))
    return round(math.sqrt(part * aspect)), round(math.sqrt(part / aspect))


def _log(ratio: Any) -> list[float]:
    """The logarithms of the bounds, as torchvision has them: in the default dtype."""
    key = *ratio, get_default_dtype()
    if key not in _logarithms:
        _logarithms[key] = torch.log(torch.tensor(key[:-1])).tolist()
    return _logarithms[key]


_logarithms: dict[tuple, list[float]] = {}


def _check_ranges(scale: Any, ratio: Any) -> None:
    sequence(scale, "scale", 2)
    sequence(ratio, "ratio", 2)
    if scale[0] > scale[1] or ratio[0] > ratio[1]:
        warnings.warn("Scale and ratio should be of kind (min, max)", stacklevel=4)


class FiveCrop(Transform):
    """(top left, top right, bottom left, bottom right, centre): a tuple in place of each image."""

    def __init__(self, size: Any) -> None:
        super().__init__()
        self.size = tuple(size_of(size))

    def check_inputs(self, flat_inputs: list[Any]) -> None:
        if has_any(flat_inputs, tv_tensors.BoundingBoxes, tv_tensors.Mask):
            fail(TypeError, "P5422", f"BoundingBoxes and Masks are not supported by {type(self).__name__}()", fix="crop them one by one")

    def transform(self, inpt: Any, params: dict[str, Any]) -> Any:
        return F.five_crop(inpt, self.size)


class TenCrop(FiveCrop):
    """The five crops, and the five of the flipped image."""

    def __init__(self, size: Any, vertical_flip: bool = False) -> None:
        super().__init__(size)
        self.vertical_flip = vertical_flip

    def transform(self, inpt: Any, params: dict[str, Any]) -> Any:
        return F.ten_crop(inpt, self.size, self.vertical_flip)


class Pad(Transform):
    """Borders: a number, (horizontal, vertical), or [left, top, right, bottom] pixels."""

    def __init__(self, padding: Any, fill: Any = 0, padding_mode: str = "constant") -> None:
        super().__init__()
        padding_of(padding)
        check_padding_mode(padding_mode)
        self.padding = padding
        self.fill = check_fill(fill)
        self.padding_mode = padding_mode

    def transform(self, inpt: Any, params: dict[str, Any]) -> Any:
        return self._call_kernel(F.pad, inpt, padding=self.padding, fill=fill_of(self.fill, type(inpt)), padding_mode=self.padding_mode)


class RandomZoomOut(RandomApplied):
    """The image somewhere on a canvas that is `side_range` times as large."""

    def __init__(self, fill: Any = 0, side_range: Any = (1.0, 4.0), p: float = 0.5) -> None:
        super().__init__(p=p)
        self.fill = check_fill(fill)
        self.side_range = sequence(side_range, "side_range", 2)
        if side_range[0] < 1.0 or side_range[0] > side_range[1]:
            fail(ValueError, "P5423", f"Invalid side range provided {side_range}.", fix="1 <= min <= max")

    def make_params(self, flat_inputs: list[Any]) -> dict[str, Any]:
        height, width = query_size(flat_inputs)
        low, high = self.side_range
        r = low + torch.rand(1) * (high - low)
        canvas_width, canvas_height = int(width * r), int(height * r)
        r = torch.rand(2)
        left, top = int((canvas_width - width) * r[0]), int((canvas_height - height) * r[1])
        return {"padding": [left, top, canvas_width - (left + width), canvas_height - (top + height)]}

    def transform(self, inpt: Any, params: dict[str, Any]) -> Any:
        return self._call_kernel(F.pad, inpt, **params, fill=fill_of(self.fill, type(inpt)))


class RandomRotation(Transform):
    """A turn by a random angle of `degrees`: (min, max), or a number for (-number, number)."""

    def __init__(self, degrees: Any, interpolation: Any = "nearest", expand: bool = False, center: Any = None, fill: Any = 0) -> None:
        super().__init__()
        self.degrees = angles(degrees, "degrees", 2)
        self.interpolation = interpolation_of(interpolation)
        self.expand = expand
        self.fill = check_fill(fill)
        self.center = center if center is None else sequence(center, "center", 2)

    @staticmethod
    def get_params(degrees: Any) -> float:
        """A random angle."""
        return uniform(float(degrees[0]), float(degrees[1]))

    def make_params(self, flat_inputs: list[Any]) -> dict[str, Any]:
        return {"angle": self.get_params(self.degrees)}

    def transform(self, inpt: Any, params: dict[str, Any]) -> Any:
        return self._call_kernel(F.rotate, inpt, **params, interpolation=self.interpolation, expand=self.expand, center=self.center,
                                 fill=fill_of(self.fill, type(inpt)))


class RandomAffine(Transform):
    """A random turn, shift (parts of the image's size), scale and shear (degrees)."""

    def __init__(self, degrees: Any, translate: Any = None, scale: Any = None, shear: Any = None, interpolation: Any = "nearest",
                 fill: Any = 0, center: Any = None) -> None:
        super().__init__()
        self.degrees = angles(degrees, "degrees", 2)
        self.translate = translate if translate is None else sequence(translate, "translate", 2)
        if translate is not None and not all(0.0 <= t <= 1.0 for t in translate):
            fail(ValueError, "P5424", "translation values should be between 0 and 1", got=repr(translate), fix="parts of the image's size")
        self.scale = scale if scale is None else sequence(scale, "scale", 2)
        if scale is not None and any(s <= 0 for s in scale):
            fail(ValueError, "P5425", "scale values should be positive", got=repr(scale), fix="1 keeps the size")
        self.shear = shear if shear is None else angles(shear, "shear", 2, 4)
        self.interpolation = interpolation_of(interpolation)
        self.fill = check_fill(fill)
        self.center = center if center is None else sequence(center, "center", 2)

    @staticmethod
    def get_params(degrees: Any, translate: Any, scale_ranges: Any, shears: Any, img_size: Any) -> tuple:
        """(angle, (x, y), scale, (shear x, shear y)) for an image of (width, height)."""
        angle = uniform(float(degrees[0]), float(degrees[1]))
        shift = (0, 0)
        if translate is not None:
            dx, dy = float(translate[0] * img_size[0]), float(translate[1] * img_size[1])
            shift = (round(uniform(-dx, dx)), round(uniform(-dy, dy)))
        scale = 1.0 if scale_ranges is None else uniform(scale_ranges[0], scale_ranges[1])
        x = y = 0.0
        if shears is not None:
            x = uniform(shears[0], shears[1])
            y = uniform(shears[2], shears[3]) if len(shears) == 4 else 0.0
        return angle, shift, scale, (x, y)

    def make_params(self, flat_inputs: list[Any]) -> dict[str, Any]:
        height, width = query_size(flat_inputs)
        drawn = self.get_params(self.degrees, self.translate, self.scale, self.shear, [width, height])
        return dict(zip(("angle", "translate", "scale", "shear"), drawn))

    def transform(self, inpt: Any, params: dict[str, Any]) -> Any:
        return self._call_kernel(F.affine, inpt, **params, interpolation=self.interpolation, fill=fill_of(self.fill, type(inpt)),
                                 center=self.center)


class RandomCrop(_EachPart):
    """A crop of `size` at a random place, after padding."""

    _draws_always = True        # torchvision's first version draws a row even where only one fits

    def __init__(self, size: Any, padding: Any = None, pad_if_needed: bool = False, fill: Any = 0, padding_mode: str = "constant") -> None:
        super().__init__()
        self.size = tuple(size_of(size))
        self.padding = padding if padding is None else padding_of(padding)
        check_padding_mode(padding_mode)
        self.pad_if_needed = pad_if_needed
        self.fill = check_fill(fill)
        self.padding_mode = padding_mode

    @staticmethod
    def get_params(img: Any, output_size: Any) -> tuple[int, int, int, int]:
        """(top, left, height, width) of a random crop."""
        h, w = F.get_size(img)
        return (*RandomCrop._place(h, w, *output_size, True), *output_size)

    @staticmethod
    def _place(h: int, w: int, height: int, width: int, always: bool) -> tuple[int, int]:
        if h < height or w < width:
            fail(ValueError, "P5426", f"Required crop size {(height, width)} is larger than input image size {(h, w)}",
                 fix="pad_if_needed=True, or resize first")
        always = always and (h, w) != (height, width)
        return (integer(0, h - height + 1) if always or h > height else 0, integer(0, w - width + 1) if always or w > width else 0)

    def make_params(self, flat_inputs: list[Any]) -> dict[str, Any]:
        h, w = query_size(flat_inputs)
        left, top, right, bottom = self.padding or (0, 0, 0, 0)
        height, width = self.size
        if self.pad_if_needed:
            more_y, more_x = max(height - (h + top + bottom), 0), max(width - (w + left + right), 0)
            left, top, right, bottom = left + more_x, top + more_y, right + more_x, bottom + more_y
        h, w = h + top + bottom, w + left + right
        place = self._place(h, w, height, width, self._draws_always)
        return {"padding": [left, top, right, bottom], "place": place, "needs_crop": (h, w) != (height, width)}

    def transform(self, inpt: Any, params: dict[str, Any]) -> Any:
        if any(params["padding"]):
            inpt = self._call_kernel(F.pad, inpt, padding=params["padding"], fill=fill_of(self.fill, type(inpt)),
                                     padding_mode=self.padding_mode)
        return self._call_kernel(F.crop, inpt, *params["place"], *self.size) if params["needs_crop"] else inpt


class RandomPerspective(RandomApplied):
    """Corners moved inwards by up to `distortion_scale` of half the size."""

    def __init__(self, distortion_scale: float = 0.5, p: float = 0.5, interpolation: Any = "bilinear", fill: Any = 0) -> None:
        super().__init__(p=p)
        if not 0 <= distortion_scale <= 1:
            fail(ValueError, "P5427", "Argument distortion_scale value should be between 0 and 1", got=str(distortion_scale),
                 fix="0 moves nothing")
        self.distortion_scale = distortion_scale
        self.interpolation = interpolation_of(interpolation)
        self.fill = check_fill(fill)

    @staticmethod
    def get_params(width: int, height: int, distortion_scale: float) -> tuple[list[list[int]], list[list[int]]]:
        """(the corners, where they go)."""
        dx, dy = int(distortion_scale * (width // 2)) + 1, int(distortion_scale * (height // 2)) + 1
        left, right, top, bottom = (0, dx), (width - dx, width), (0, dy), (height - dy, height)
        ends = [[integer(*x), integer(*y)] for x, y in ((left, top), (right, top), (right, bottom), (left, bottom))]
        return [[0, 0], [width - 1, 0], [width - 1, height - 1], [0, height - 1]], ends

    def make_params(self, flat_inputs: list[Any]) -> dict[str, Any]:
        height, width = query_size(flat_inputs)
        return {"coefficients": perspective_coefficients(*self.get_params(width, height, self.distortion_scale))}

    def transform(self, inpt: Any, params: dict[str, Any]) -> Any:
        return self._call_kernel(F.perspective, inpt, startpoints=None, endpoints=None, fill=fill_of(self.fill, type(inpt)),
                                 interpolation=self.interpolation, **params)


class ElasticTransform(Transform):
    """Pixels moved by smooth noise: `alpha` how far, `sigma` how smooth."""

    def __init__(self, alpha: Any = 50.0, sigma: Any = 5.0, interpolation: Any = "bilinear", fill: Any = 0) -> None:
        super().__init__()
        self.alpha, self.sigma = pair(alpha, "alpha"), pair(sigma, "sigma")
        self.interpolation = interpolation_of(interpolation)
        self.fill = check_fill(fill)

    @staticmethod
    def get_params(alpha: Any, sigma: Any, size: Any) -> Tensor:
        """A random displacement, (1, height, width, 2)."""
        height, width = size
        moves = []
        for k, length in enumerate((width, height)):
            move = torch.rand(1, 1, height, width) * 2 - 1
            if sigma[k] > 0.0:
                taps = int(8 * sigma[k] + 1) | 1
                move = F.gaussian_blur(move, [taps, taps], list(sigma))
            moves.append(move * alpha[k] / length)
        return torch.cat(moves, 1).permute(0, 2, 3, 1)

    def make_params(self, flat_inputs: list[Any]) -> dict[str, Any]:
        return {"displacement": self.get_params(self.alpha, self.sigma, query_size(flat_inputs))}

    def transform(self, inpt: Any, params: dict[str, Any]) -> Any:
        return self._call_kernel(F.elastic, inpt, **params, fill=fill_of(self.fill, type(inpt)), interpolation=self.interpolation)


class RandomIoUCrop(Transform):
    """SSD's crop: one that overlaps some box by at least a random amount; boxes whose centre is outside become 0."""

    def __init__(self, min_scale: float = 0.3, max_scale: float = 1.0, min_aspect_ratio: float = 0.5, max_aspect_ratio: float = 2.0,
                 sampler_options: list[float] | None = None, trials: int = 40) -> None:
        super().__init__()
        self.min_scale, self.max_scale = min_scale, max_scale
        self.min_aspect_ratio, self.max_aspect_ratio = min_aspect_ratio, max_aspect_ratio
        self.options = [0.0, 0.1, 0.3, 0.5, 0.7, 0.9, 1.0] if sampler_options is None else sampler_options
        self.trials = trials

    def check_inputs(self, flat_inputs: list[Any]) -> None:
        if not (has_all(flat_inputs, tv_tensors.BoundingBoxes) and has_any(flat_inputs, is_pil, tv_tensors.Image, is_pure_tensor)):
            fail(TypeError, "P5428", f"{type(self).__name__}() requires input sample to contain tensor or PIL images and bounding boxes.",
                 fix="wrap the boxes: tv_tensors.BoundingBoxes")

    def make_params(self, flat_inputs: list[Any]) -> dict[str, Any]:
        height, width = query_size(flat_inputs)
        boxes = get_bounding_boxes(flat_inputs)
        corners = F.convert_bounding_box_format(boxes.as_subclass(Tensor), boxes.format, "XYXY")
        while True:
            least = self.options[integer(0, len(self.options))]
            if least >= 1.0:                                  # the whole image
                return {}
            for _ in range(self.trials):
                r = self.min_scale + (self.max_scale - self.min_scale) * torch.rand(2)
                w, h = int(width * r[0]), int(height * r[1])
                if not self.min_aspect_ratio <= w / h <= self.max_aspect_ratio:
                    continue
                r = torch.rand(2)
                left, top = int((width - w) * r[0]), int((height - h) * r[1])
                if w == 0 or h == 0:
                    continue
                cx, cy = 0.5 * (corners[..., 0] + corners[..., 2]), 0.5 * (corners[..., 1] + corners[..., 3])
                within = (left < cx) & (cx < left + w) & (top < cy) & (cy < top + h)
                if not within.any():
                    continue
                if box_iou(corners[within], torch.tensor([[left, top, left + w, top + h]], dtype=corners.dtype)).max() < least:
                    continue
                return {"top": top, "left": left, "height": h, "width": w, "within": within}

    def transform(self, inpt: Any, params: dict[str, Any]) -> Any:
        if not params:
            return inpt
        output = self._call_kernel(F.crop, inpt, params["top"], params["left"], params["height"], params["width"])
        if isinstance(output, tv_tensors.BoundingBoxes):
            output[~params["within"]] = 0
        return output


class _RandomSize(Transform):
    """Resized to the "size" of `make_params`; subclasses have `interpolation` and `antialias`."""

    def transform(self, inpt: Any, params: dict[str, Any]) -> Any:
        return self._call_kernel(F.resize, inpt, params["size"], interpolation=self.interpolation, antialias=self.antialias)


class ScaleJitter(_RandomSize):
    """Resized by a random factor of `target_size`, aspect ratio kept."""

    def __init__(self, target_size: tuple[int, int], scale_range: tuple[float, float] = (0.1, 2.0), interpolation: Any = "bilinear",
                 antialias: bool | None = True) -> None:
        super().__init__()
        self.target_size, self.scale_range = target_size, scale_range
        self.interpolation = interpolation_of(interpolation)
        self.antialias = antialias

    def make_params(self, flat_inputs: list[Any]) -> dict[str, Any]:
        height, width = query_size(flat_inputs)
        low, high = self.scale_range
        r = min(self.target_size[1] / height, self.target_size[0] / width) * (low + torch.rand(1) * (high - low))
        return {"size": (int(height * r), int(width * r))}


class RandomShortestSize(_RandomSize):
    """Resized so that the shorter side is one of `min_size`, the longer one at most `max_size`."""

    def __init__(self, min_size: Any, max_size: int | None = None, interpolation: Any = "bilinear", antialias: bool | None = True) -> None:
        super().__init__()
        self.min_size = [min_size] if isinstance(min_size, int) else list(min_size)
        self.max_size = max_size
        self.interpolation = interpolation_of(interpolation)
        self.antialias = antialias

    def make_params(self, flat_inputs: list[Any]) -> dict[str, Any]:
        height, width = query_size(flat_inputs)
        r = self.min_size[integer(0, len(self.min_size))] / min(height, width)
        r = r if self.max_size is None else min(r, self.max_size / max(height, width))
        return {"size": (int(height * r), int(width * r))}


class RandomResize(_RandomSize):
    """Resized so that the shorter side is from `min_size` to `max_size` - 1."""

    def __init__(self, min_size: int, max_size: int, interpolation: Any = "bilinear", antialias: bool | None = True) -> None:
        super().__init__()
        self.min_size, self.max_size = min_size, max_size
        self.interpolation = interpolation_of(interpolation)
        self.antialias = antialias

    def make_params(self, flat_inputs: list[Any]) -> dict[str, Any]:
        return {"size": [integer(self.min_size, self.max_size)]}


class RandomErasing(RandomApplied):
    """A random rectangle set to `value`: a number, one for each channel, or "random" noise."""

    def __init__(self, p: float = 0.5, scale: Any = (0.02, 0.33), ratio: Any = (0.3, 3.3), value: Any = 0, inplace: bool = False) -> None:
        super().__init__(p=p)
        if not isinstance(value, (int, float, str, tuple, list)):
            fail(TypeError, "P5430", "Argument value should be either a number or str or a sequence", got=repr(value), fix="0, or 'random'")
        if isinstance(value, str) and value != "random":
            fail(ValueError, "P5431", "If value is str, it should be 'random'", got=repr(value), fix="value='random'")
        _check_ranges(scale, ratio)
        if scale[0] < 0 or scale[1] > 1:
            fail(ValueError, "P5432", "Scale should be between 0 and 1", got=repr(scale), fix="parts of the area")
        self.scale, self.ratio, self.value, self.inplace = scale, ratio, value, inplace

    @staticmethod
    def get_params(img: Tensor, scale: Any, ratio: Any, value: Any = None) -> tuple:
        """(top, left, height, width, the values) of a random rectangle; the whole image where none fits."""
        found = RandomErasing._draw(get_dimensions(img), scale, ratio, value)
        return (0, 0, img.shape[-2], img.shape[-1], img) if found is None else found

    @staticmethod
    def _draw(chw: Any, scale: Any, ratio: Any, value: Any) -> tuple | None:
        channels, height, width = chw
        for _ in range(10):
            h, w = _sides(height * width, scale, ratio)
            if h < height and w < width:
                v = torch.empty([channels, h, w]).normal_() if value is None else torch.tensor(value)[:, None, None]
                return integer(0, height - h + 1), integer(0, width - w + 1), h, w, v
        return None

    def make_params(self, flat_inputs: list[Any]) -> dict[str, Any]:
        value = None if isinstance(self.value, str) else [float(v)
                                                          for v in (self.value if isinstance(self.value, (tuple, list)) else [self.value])]
        chw = query_chw(flat_inputs)
        if value is not None and len(value) not in (1, chw[0]):
            fail(ValueError, "P5433", "If value is a sequence, it should have either a single value or "
                 f"{chw[0]} (number of input channels)",
                 got=f"{len(value)} values", fix="one number, or one for each channel")
        return {"found": self._draw(chw, self.scale, self.ratio, value)}

    def transform(self, inpt: Any, params: dict[str, Any]) -> Any:
        return inpt if params["found"] is None else self._call_kernel(F.erase, inpt, *params["found"], inplace=self.inplace)
