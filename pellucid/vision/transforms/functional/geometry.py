"""Where pixels go: flips, crops, padding, sizes, turns, perspective, elastic deformation.

In: images (..., height, width), Pillow images, masks (always nearest neighbours); boxes are in `boxes.py`. Out: the same kind.
What stays true: on Pillow images Pillow itself works; the map from output to input is computed once for a transform and is the
same for every kind. (The definitions are torchvision's, BSD 3-Clause.)
"""
from __future__ import annotations

import math
from collections.abc import Sequence
from enum import Enum
from typing import Any

import numpy as np

import pellucid as torch

from ....core.errors import fail
from ....nn.functional import grid_sample, interpolate
from ....nn.functional import pad as pad_tensor
from ....tensor import Tensor
from ... import tv_tensors
from ...pillow import from_array
from .convert import get_size, pil_to_tensor, to_pil_image, working_dtype
from .dispatch import PIL, functional


class InterpolationMode(Enum):
    """How a value between pixels is made. Box, Hamming and Lanczos are for Pillow images only."""

    NEAREST = "nearest"
    NEAREST_EXACT = "nearest-exact"
    BILINEAR = "bilinear"
    BICUBIC = "bicubic"
    BOX = "box"
    HAMMING = "hamming"
    LANCZOS = "lanczos"


NEAREST, BILINEAR = InterpolationMode.NEAREST, InterpolationMode.BILINEAR
_PILLOW = {"nearest": 0, "nearest-exact": 0, "lanczos": 1, "bilinear": 2, "bicubic": 3, "box": 4, "hamming": 5}
_BY_NUMBER = {0: "nearest", 1: "lanczos", 2: "bilinear", 3: "bicubic", 4: "box", 5: "hamming"}


def interpolation_of(value: Any) -> InterpolationMode:
    """A mode from itself, its name, or Pillow's number."""
    if isinstance(value, InterpolationMode):
        return value
    name = _BY_NUMBER.get(int(value)) if isinstance(value, int) else value
    if name not in _PILLOW:
        fail(ValueError, "P5350", f"unknown interpolation: {value!r}", fix=f"one of {', '.join(_PILLOW)}, or an InterpolationMode")
    return InterpolationMode(name)


def _pillow(mode: Any) -> int:
    return _PILLOW[interpolation_of(mode).value]


def _for_tensors(mode: Any) -> str:
    mode = interpolation_of(mode).value
    if mode not in ("nearest", "bilinear"):
        fail(ValueError, "P5351", f"Interpolation mode '{mode}' is unsupported with Tensor input", fix="nearest or bilinear")
    return mode


def _fill_for(image: Any, fill: Any) -> Any:
    """`fill` as Pillow wants it: a number, or one for each channel."""
    channels = len(image.getbands())
    fill = 0 if fill is None else fill
    if isinstance(fill, (int, float)) and channels > 1:
        fill = (fill,) * channels
    if isinstance(fill, (list, tuple)):
        if len(fill) not in (1, channels):
            fail(ValueError, "P5352", "The number of elements in 'fill' does not match the number of channels of the image "
                 f"({len(fill)} != {channels})", fix="one number, or one for each channel")
        fill = tuple(fill) * channels if len(fill) == 1 else tuple(fill)
    if image.mode == "F":
        return fill
    return tuple(int(x) for x in fill) if isinstance(fill, tuple) else int(fill)


# ----------------------------------------------------------------------------------------------------- flips
@functional
def horizontal_flip(inpt: Tensor) -> Tensor:
    """Left and right exchanged."""
    return inpt.flip(-1)


@functional
def vertical_flip(inpt: Tensor) -> Tensor:
    """Top and bottom exchanged."""
    return inpt.flip(-2)


horizontal_flip.on(tv_tensors.Mask)(horizontal_flip.kernels[tv_tensors.Image])
vertical_flip.on(tv_tensors.Mask)(vertical_flip.kernels[tv_tensors.Image])
horizontal_flip.on(PIL)(lambda image: image.transpose(0))      # PIL.Image.Transpose.FLIP_LEFT_RIGHT
vertical_flip.on(PIL)(lambda image: image.transpose(1))
hflip, vflip = horizontal_flip, vertical_flip


# ----------------------------------------------------------------------------------------------------- padding
def padding_of(padding: Any) -> list[int]:
    """[left, top, right, bottom] of a number, or of 1, 2 (horizontal, vertical) or 4 of them."""
    if isinstance(padding, int):
        return [padding] * 4
    if not isinstance(padding, (list, tuple)):
        fail(TypeError, "P5353", f"padding is an int or a sequence of 1, 2 or 4 ints, got {padding!r}", fix="[left, top, right, bottom]")
    if len(padding) not in (1, 2, 4):
        fail(ValueError, "P5354", f"Padding must be an int or a 1, 2, or 4 element tuple, not a {len(padding)} element tuple",
             fix="[left, top, right, bottom]")
    return [int(p) for p in (list(padding) * {1: 4, 2: 2, 4: 1}[len(padding)])]


def check_padding_mode(mode: str) -> None:
    if mode not in ("constant", "edge", "reflect", "symmetric"):
        fail(ValueError, "P5355", f"Padding mode should be either constant, edge, reflect or symmetric, got {mode!r}",
             fix="one of the four")


def _mirror(size: int, before: int, after: int) -> Tensor:
    """Indices of symmetric padding: the edge itself is repeated."""
    return torch.tensor([*range(before - 1, -1, -1), *range(size), *range(size - 1, size - 1 - after, -1)])


@functional
def pad(inpt: Tensor, padding: Any, fill: Any = 0, padding_mode: str = "constant") -> Tensor:
    """Borders of [left, top, right, bottom] pixels: of `fill`, or going on with the edge, or mirrored; negative ones cut."""
    left, top, right, bottom = padding_of(padding)
    check_padding_mode(padding_mode)
    fill = 0 if fill is None else fill[0] if isinstance(fill, (list, tuple)) and len(fill) == 1 else fill
    flat = inpt.reshape(-1, 1 if inpt.ndim == 2 else inpt.shape[-3], *inpt.shape[-2:])
    if padding_mode == "symmetric":
        height, width = inpt.shape[-2:]
        flat = flat[..., max(-top, 0):height - max(-bottom, 0), max(-left, 0):width - max(-right, 0)]
        flat = flat.index_select(-2, _mirror(flat.shape[-2], max(top, 0), max(bottom, 0)))
        flat = flat.index_select(-1, _mirror(flat.shape[-1], max(left, 0), max(right, 0)))
    elif padding_mode == "constant":
        several = isinstance(fill, (list, tuple))
        flat = pad_tensor(flat, [left, right, top, bottom], value=0.0 if several else float(fill))
        if several:
            colour = torch.tensor(fill).to(inpt.dtype).reshape(-1, 1, 1)
            height, width = flat.shape[-2:]
            for area in ((slice(0, max(top, 0)), slice(None)), (slice(height - max(bottom, 0), None), slice(None)),
                         (slice(None), slice(0, max(left, 0))), (slice(None), slice(width - max(right, 0), None))):
                flat[(..., *area)] = colour
    else:
        flat = pad_tensor(flat.to(working_dtype(inpt)), [left, right, top, bottom],
                          mode={"edge": "replicate"}.get(padding_mode, padding_mode))
        flat = flat.to(inpt.dtype)
    return flat.reshape(*inpt.shape[:-2], *flat.shape[-2:])


@pad.on(PIL)
def _(image: Any, padding: Any, fill: Any = 0, padding_mode: str = "constant") -> Any:
    left, top, right, bottom = padding_of(padding)
    check_padding_mode(padding_mode)
    palette = image.getpalette() if image.mode == "P" else None
    if padding_mode == "constant":
        from PIL import ImageOps
        output = ImageOps.expand(image, border=(left, top, right, bottom), fill=_fill_for(image, fill))
    else:
        cut = [max(-p, 0) for p in (left, top, right, bottom)]
        if any(cut):
            image = image.crop((cut[0], cut[1], image.width - cut[2], image.height - cut[3]))
        borders = [(max(top, 0), max(bottom, 0)), (max(left, 0), max(right, 0)), (0, 0)]
        array = np.asarray(image)
        output = from_array(np.pad(array, borders[:array.ndim], mode=padding_mode))
    if palette is not None:
        output.putpalette(palette)
    return output


@pad.on(tv_tensors.Mask)
def _(mask: Any, padding: Any, fill: Any = 0, padding_mode: str = "constant") -> Any:
    if isinstance(fill, (list, tuple)):
        fail(ValueError, "P5356", "Non-scalar fill value is not supported for masks", fix="fill={tv_tensors.Mask: 0, 'others': ...}")
    return tv_tensors.wrap(pad(mask.as_subclass(Tensor), padding, fill, padding_mode), like=mask)


# ----------------------------------------------------------------------------------------------------- crops
@functional
def crop(inpt: Tensor, top: int, left: int, height: int, width: int) -> Tensor:
    """The given rectangle; what lies outside of the image is 0."""
    h, w = inpt.shape[-2:]
    right, bottom = left + width, top + height
    if left >= 0 and top >= 0 and right <= w and bottom <= h:
        return inpt[..., top:bottom, left:right]
    inner = inpt[..., max(top, 0):max(bottom, 0), max(left, 0):max(right, 0)]
    return pad_tensor(inner, [max(min(right, 0) - left, 0), max(right - max(w, left), 0), max(min(bottom, 0) - top, 0),
                              max(bottom - max(h, top), 0)], value=0.0)


crop.on(tv_tensors.Mask)(crop.kernels[tv_tensors.Image])


@crop.on(PIL)
def _(image: Any, top: int, left: int, height: int, width: int) -> Any:
    return image.crop((left, top, left + width, top + height))


def size_of(size: Any, what: str = "size") -> list[int]:
    """[height, width] of a number or of one or two of them."""
    if isinstance(size, (int, float)):
        return [int(size), int(size)]
    if not isinstance(size, Sequence) or len(size) not in (1, 2):
        fail(ValueError, "P5357", f"Please provide only two dimensions (h, w) for {what}, got {size!r}", fix="an int, or (height, width)")
    return [size[0], size[-1]]


def center_crop(inpt: Any, output_size: Any) -> Any:
    """The middle, of (height, width); smaller images are padded with 0."""
    height, width = size_of(output_size)
    h, w = get_size(inpt)
    if height > h or width > w:
        dx, dy = max(width - w, 0), max(height - h, 0)
        inpt = pad(inpt, [dx // 2, dy // 2, (dx + 1) // 2, (dy + 1) // 2], fill=0)
        h, w = get_size(inpt)
        if (height, width) == (h, w):
            return inpt
    return crop(inpt, round((h - height) / 2.0), round((w - width) / 2.0), height, width)


def five_crop(inpt: Any, size: Any) -> tuple:
    """(top left, top right, bottom left, bottom right, centre), each of (height, width)."""
    height, width = size_of(size)
    h, w = get_size(inpt)
    if width > w or height > h:
        fail(ValueError, "P5358", f"Requested crop size {(height, width)} is bigger than input size {(h, w)}", fix="resize or pad first")
    corners = [(0, 0), (0, w - width), (h - height, 0), (h - height, w - width)]
    return (*(crop(inpt, top, left, height, width) for top, left in corners), center_crop(inpt, [height, width]))


def ten_crop(inpt: Any, size: Any, vertical_flip: bool = False) -> tuple:
    """The five crops, and the five of the flipped image."""
    return five_crop(inpt, size) + five_crop(vflip(inpt) if vertical_flip else hflip(inpt), size)


# ----------------------------------------------------------------------------------------------------- sizes
def resized(old: Sequence[int], size: Any, max_size: int | None = None) -> tuple[int, int]:
    """(height, width) that `resize` gives: a number is the shorter side, and `max_size` bounds the longer one."""
    h, w = old
    if isinstance(size, (list, tuple)) and len(size) == 2:
        if max_size is not None:
            fail(ValueError, "P5359", "max_size should only be passed if size specifies the length of the smaller edge",
                 fix="leave one out")
        return size[0], size[1]
    short, long = min(h, w), max(h, w)
    if size is None:
        if not isinstance(max_size, int):
            fail(ValueError, "P5360", f"max_size must be an integer when size is None, but got {max_size}", fix="pass size or max_size")
        new_short, new_long = int(max_size * short / long), max_size
    else:
        if isinstance(size, (list, tuple)) and len(size) != 1:
            fail(ValueError, "P5361", f"Size must be an int or a 1 or 2 element tuple/list, not a {len(size)} element tuple/list",
                 fix="an int, or (height, width)")
        wanted = size if isinstance(size, int) else size[0]
        new_short, new_long = wanted, int(wanted * long / short)
        if max_size is not None:
            if max_size <= wanted:
                fail(ValueError, "P5362", f"max_size = {max_size} must be strictly greater than the requested size for the smaller edge "
                     f"size = {size}", fix="a greater max_size")
            if new_long > max_size:
                new_short, new_long = int(max_size * new_short / new_long), max_size
    return (new_long, new_short) if w <= h else (new_short, new_long)


@functional
def resize(inpt: Tensor, size: Any, interpolation: Any = BILINEAR, max_size: int | None = None, antialias: bool | None = True) -> Tensor:
    """The image in another size; see `resized` for what `size` and `max_size` say."""
    mode = interpolation_of(interpolation).value
    new = resized(inpt.shape[-2:], size, max_size)
    if new == tuple(inpt.shape[-2:]):
        return inpt
    shape = (*inpt.shape[:-2], *new)
    if inpt.numel() == 0:
        return inpt.new_zeros(shape)
    if mode not in ("nearest", "nearest-exact", "bilinear", "bicubic"):
        fail(ValueError, "P5351", f"Interpolation mode '{mode}' is unsupported with Tensor input", fix="nearest, bilinear or bicubic")
    smooth = mode in ("bilinear", "bicubic")
    flat = inpt.reshape(-1, 1 if inpt.ndim == 2 else inpt.shape[-3], *inpt.shape[-2:])
    native = inpt.dtype in (torch.float32, torch.float64) or not smooth and inpt.dtype == torch.uint8
    flat = interpolate(flat if native else flat.to(torch.float32), size=list(new), mode=mode, align_corners=False if smooth else None,
                       antialias=bool(antialias) and smooth)
    if not native:
        if not inpt.is_floating_point():
            flat = flat.round() if mode != "bicubic" or inpt.dtype != torch.uint8 else flat.clamp(0, 255).round()
        flat = flat.to(inpt.dtype)
    return flat.reshape(shape)


@resize.on(PIL)
def _(image: Any, size: Any, interpolation: Any = BILINEAR, max_size: int | None = None, antialias: bool | None = True) -> Any:
    height, width = resized((image.height, image.width), size, max_size)
    return image if (width, height) == image.size else image.resize((width, height), _pillow(interpolation))


@resize.on(tv_tensors.Mask)
def _(mask: Any, size: Any, interpolation: Any = NEAREST, max_size: int | None = None, antialias: bool | None = None) -> Any:
    mode = interpolation_of(interpolation)
    mode = mode if mode is InterpolationMode.NEAREST_EXACT else NEAREST
    return tv_tensors.wrap(resize(mask.as_subclass(Tensor), size, mode, max_size), like=mask)


def resized_crop(inpt: Any, top: int, left: int, height: int, width: int, size: Any, interpolation: Any = BILINEAR,
                 antialias: bool | None = True) -> Any:
    """`crop`, then `resize`."""
    return resize(crop(inpt, top, left, height, width), size, interpolation, antialias=antialias)


# ----------------------------------------------------------------------------------------------------- maps of the plane
def sampled(image: Tensor, grid: Tensor, mode: str, fill: Any) -> Tensor:
    """`image` at the places of `grid`, (1, height, width, 2) in -1 to 1; outside of it is `fill`, 0 where that is None."""
    height, width = grid.shape[1:3]
    channels = 1 if image.ndim == 2 else image.shape[-3]
    shape = (*image.shape[:-2], height, width)
    if image.numel() == 0:
        return image.reshape(shape)
    if isinstance(fill, (list, tuple)) and len(fill) not in (1, channels):
        fail(ValueError, "P5363", "The number of elements in 'fill' cannot broadcast to match the number of channels of the image "
             f"({len(fill)} != {channels})", fix="one number, or one for each channel")
    flat = image.reshape(-1, channels, *image.shape[-2:]).to(grid.dtype)
    if fill is not None:                                     # one more channel of ones says how much of a pixel lies inside
        flat = torch.cat((flat, torch.ones_like(flat[:, :1])), dim=1)
    output = grid_sample(flat, grid.expand(flat.shape[0], -1, -1, -1), mode=mode, padding_mode="zeros", align_corners=False)
    if fill is not None:
        output, inside = output[:, :-1], output[:, -1:]
        colour = torch.tensor(fill if isinstance(fill, (list, tuple)) else [float(fill)], dtype=grid.dtype).reshape(1, -1, 1, 1)
        output = torch.where(inside < 0.5, colour, output) if mode == "nearest" else (output - colour) * inside + colour
    if not image.is_floating_point():
        output = output.round()
    return output.to(image.dtype).reshape(shape)


def affine_matrix(center: Sequence[float], angle: float, translate: Sequence[float], scale: float, shear: Sequence[float],
                  inverted: bool = True) -> list[float]:
    """The first two rows of T * C * RotateScaleShear * C^-1, or of its inverse, which takes output places to input places."""
    rot, sx, sy = math.radians(angle), math.radians(shear[0]), math.radians(shear[1])
    (cx, cy), (tx, ty) = center, translate
    a = math.cos(rot - sy) / math.cos(sy)
    b = -math.cos(rot - sy) * math.tan(sx) / math.cos(sy) - math.sin(rot)
    c = math.sin(rot - sy) / math.cos(sy)
    d = -math.sin(rot - sy) * math.tan(sx) / math.cos(sy) + math.cos(rot)
    if inverted:
        m = [x / scale for x in (d, -b, 0.0, -c, a, 0.0)]
        m[2] += m[0] * (-cx - tx) + m[1] * (-cy - ty) + cx
        m[5] += m[3] * (-cx - tx) + m[4] * (-cy - ty) + cy
    else:
        m = [x * scale for x in (a, b, 0.0, c, d, 0.0)]
        m[2] += m[0] * -cx + m[1] * -cy + cx + tx
        m[5] += m[3] * -cx + m[4] * -cy + cy + ty
    return m


def _middles(n: int, dtype: Any) -> Tensor:
    return torch.linspace((1.0 - n) * 0.5, (n - 1.0) * 0.5, steps=n, dtype=dtype)


def _affine_grid(matrix: list[float], old: Sequence[int], new: Sequence[int], dtype: Any) -> Tensor:
    """Places of an image of `old` (height, width) for each pixel of one of `new`."""
    (h, w), (height, width) = old, new
    theta = torch.tensor(matrix, dtype=dtype).reshape(2, 3).T / torch.tensor([0.5 * w, 0.5 * h], dtype=dtype)
    x, y = _middles(width, dtype).expand(height, width), _middles(height, dtype).unsqueeze(-1).expand(height, width)
    base = torch.stack([x, y, torch.ones_like(x)], dim=-1)
    return (base.reshape(-1, 3) @ theta).reshape(1, height, width, 2)


def expanded(matrix: list[float], height: int, width: int) -> tuple[int, int]:
    """(height, width) of the whole turned image, in float32 as torchvision has it."""
    half = torch.tensor([0.5 * width, 0.5 * height])
    corners = torch.tensor([[-0.5 * width, -0.5 * height, 1.0], [-0.5 * width, 0.5 * height, 1.0],
                            [0.5 * width, 0.5 * height, 1.0], [0.5 * width, -0.5 * height, 1.0]])
    moved = corners @ torch.tensor(matrix, dtype=torch.float32).reshape(2, 3).T
    low, high = moved.amin(0) + half, moved.amax(0) + half
    size = torch.ceil((high / 1e-4).trunc() * 1e-4) - torch.floor((low / 1e-4).trunc() * 1e-4)
    return int(size[1]), int(size[0])


def affine_arguments(angle: Any, translate: Any, scale: float, shear: Any) -> tuple[float, list[float], list[float]]:
    """(angle, translate, shear), checked."""
    if not isinstance(translate, (list, tuple)) or len(translate) != 2:
        fail(ValueError, "P5364", f"translate should be a sequence of length 2, got {translate!r}", fix="(x, y) in pixels")
    if scale <= 0.0:
        fail(ValueError, "P5365", f"Argument scale should be positive, got {scale}", fix="1.0 keeps the size")
    shear = [shear, 0.0] if isinstance(shear, (int, float)) else list(shear) * 2 if len(shear) == 1 else list(shear)
    if len(shear) != 2:
        fail(ValueError, "P5366", f"Shear should be a sequence containing two values. Got {shear}", fix="(x, y) in degrees")
    return float(angle), [float(t) for t in translate], [float(s) for s in shear]


def _from_middle(center: Any, size: Sequence[int]) -> list[float]:
    return [0.0, 0.0] if center is None else [1.0 * (c - s * 0.5) for c, s in zip(center, (size[1], size[0]))]


@functional
def affine(inpt: Tensor, angle: float, translate: Any, scale: float, shear: Any, interpolation: Any = NEAREST, fill: Any = None,
           center: Any = None) -> Tensor:
    """Turn clockwise by `angle` degrees, shear, scale and move; the size stays."""
    mode = _for_tensors(interpolation)
    angle, translate, shear = affine_arguments(angle, translate, scale, shear)
    size = inpt.shape[-2:]
    matrix = affine_matrix(_from_middle(center, size), angle, translate, scale, shear)
    return sampled(inpt, _affine_grid(matrix, size, size, working_dtype(inpt)), mode, fill)


@affine.on(PIL)
def _(image: Any, angle: float, translate: Any, scale: float, shear: Any, interpolation: Any = NEAREST, fill: Any = None,
      center: Any = None) -> Any:
    angle, translate, shear = affine_arguments(angle, translate, scale, shear)
    center = [image.width * 0.5, image.height * 0.5] if center is None else center
    matrix = affine_matrix(center, angle, translate, scale, shear)
    return image.transform(image.size, 0, matrix, _pillow(interpolation), fillcolor=_fill_for(image, fill))      # Transform.AFFINE


@functional
def rotate(inpt: Tensor, angle: float, interpolation: Any = NEAREST, expand: bool = False, center: Any = None, fill: Any = None) -> Tensor:
    """Turn counter-clockwise by `angle` degrees; with `expand` the result is as large as the turned image."""
    mode, angle = _for_tensors(interpolation), angle % 360
    size = inpt.shape[-2:]
    if center is None:                                       # without any rounding
        if angle in (0, 180):
            return inpt.clone() if angle == 0 else torch.rot90(inpt, 2, (-2, -1))
        if angle in (90, 270) and (expand or size[0] == size[1]):
            return torch.rot90(inpt, int(angle // 90), (-2, -1))
    matrix = affine_matrix(_from_middle(center, size), -angle, [0.0, 0.0], 1.0, [0.0, 0.0])
    new = expanded(matrix, *size) if expand else size
    return sampled(inpt, _affine_grid(matrix, size, new, working_dtype(inpt)), mode, fill)


@rotate.on(PIL)
def _(image: Any, angle: float, interpolation: Any = NEAREST, expand: bool = False, center: Any = None, fill: Any = None) -> Any:
    return image.rotate(angle, _pillow(interpolation), expand, center, fillcolor=_fill_for(image, fill))


def perspective_coefficients(startpoints: Any, endpoints: Any, coefficients: Any = None) -> list[float]:
    """The eight numbers of the map that takes `endpoints` to `startpoints`: four corners each, [x, y]."""
    if coefficients is not None:
        if startpoints is not None or endpoints is not None or len(coefficients) != 8:
            fail(ValueError, "P5367", "give either startpoints and endpoints, or 8 coefficients", fix="leave the others None")
        return list(coefficients)
    if startpoints is None or endpoints is None or len(startpoints) != 4 or len(endpoints) != 4:
        fail(ValueError, "P5368", "Please provide exactly four corners", got=f"{startpoints!r}, {endpoints!r}", fix="four [x, y] each")
    rows = []
    for (x, y), (u, v) in zip(endpoints, startpoints):
        rows += [[x, y, 1, 0, 0, 0, -u * x, -u * y], [0, 0, 0, x, y, 1, -v * x, -v * y]]
    solution = np.linalg.lstsq(np.array(rows, np.float64), np.array(startpoints, np.float64).reshape(8), rcond=None)[0]
    return solution.astype(np.float32).tolist()


def _perspective_grid(c: list[float], size: Sequence[int], dtype: Any) -> Tensor:
    height, width = size
    x = torch.linspace(0.5, width - 0.5, steps=width, dtype=dtype).expand(height, width)
    y = torch.linspace(0.5, height - 0.5, steps=height, dtype=dtype).unsqueeze(-1).expand(height, width)
    base = torch.stack([x, y, torch.ones_like(x)], dim=-1).reshape(-1, 3)
    upper = torch.tensor([c[0:3], c[3:6]], dtype=dtype).T / torch.tensor([0.5 * width, 0.5 * height], dtype=dtype)
    lower = torch.tensor([[c[6], c[7], 1.0]] * 2, dtype=dtype).T
    return ((base @ upper) / (base @ lower) - 1.0).reshape(1, height, width, 2)


@functional
def perspective(inpt: Tensor, startpoints: Any, endpoints: Any, interpolation: Any = BILINEAR, fill: Any = None,
                coefficients: Any = None) -> Tensor:
    """The image seen from elsewhere: the corners `startpoints`, [x, y] each, come to lie at `endpoints`."""
    mode, c = _for_tensors(interpolation), perspective_coefficients(startpoints, endpoints, coefficients)
    return sampled(inpt, _perspective_grid(c, inpt.shape[-2:], working_dtype(inpt)), mode, fill)


@perspective.on(PIL)
def _(image: Any, startpoints: Any, endpoints: Any, interpolation: Any = BILINEAR, fill: Any = None, coefficients: Any = None) -> Any:
    c = perspective_coefficients(startpoints, endpoints, coefficients)
    return image.transform(image.size, 2, c, _pillow(interpolation), fillcolor=_fill_for(image, fill))           # Transform.PERSPECTIVE


def identity_grid(size: Sequence[int], dtype: Any = None) -> Tensor:
    """(1, height, width, 2): the place of each pixel's middle in -1 to 1."""
    ys, xs = (torch.linspace((1.0 - s) / s, (s - 1.0) / s, steps=s, dtype=dtype) for s in size)
    y, x = torch.meshgrid(ys, xs, indexing="ij")
    return torch.stack([x, y], dim=-1).unsqueeze(0)


@functional
def elastic(inpt: Tensor, displacement: Tensor, interpolation: Any = BILINEAR, fill: Any = None) -> Tensor:
    """Each pixel from a place that `displacement`, (1, height, width, 2) in halves of the image, is away."""
    size, dtype = tuple(inpt.shape[-2:]), working_dtype(inpt)
    if not isinstance(displacement, Tensor) or tuple(displacement.shape) != (1, *size, 2):
        fail(ValueError, "P5369", f"Argument displacement shape should be {(1, *size, 2)}",
             got=str(tuple(getattr(displacement, "shape", ()))), fix="one (x, y) for each pixel")
    return sampled(inpt, identity_grid(size, dtype) + displacement.to(dtype), _for_tensors(interpolation), fill)


@elastic.on(PIL)
def _(image: Any, displacement: Tensor, interpolation: Any = BILINEAR, fill: Any = None) -> Any:
    return to_pil_image(elastic(pil_to_tensor(image), displacement, interpolation, fill), image.mode)


elastic_transform = elastic


def _nearest_for_masks(function: Any) -> None:
    def run(mask: Any, *args: Any, interpolation: Any = None, **kwargs: Any) -> Any:
        return tv_tensors.wrap(function(mask.as_subclass(Tensor), *args, interpolation=NEAREST, **kwargs), like=mask)
    function.on(tv_tensors.Mask)(run)


for _function in (affine, rotate, perspective, elastic):
    _nearest_for_masks(_function)
