"""Sizes of images, and images as tensors, arrays and Pillow images.

In: Pillow images (height, width, channels), tensors (channels, height, width). Out: the other form.
What stays true: `to_tensor` and `to_pil_image` undo each other for 8-bit images; a scaled conversion maps the full range of
one dtype on the full range of the other (floats: 0 to 1).
"""
from __future__ import annotations

import sys
from typing import Any

import numpy as np

import pellucid as torch

from ....core.errors import fail
from ....tensor import Tensor
from ... import tv_tensors
from ...pillow import from_array, is_pil, to_array
from .dispatch import PIL, functional

_MODES = {"I": np.int32, "I;16" if sys.byteorder == "little" else "I;16B": np.int16, "F": np.float32}
_VALUE_BITS = {torch.uint8: 8, torch.int8: 7, torch.int16: 15, torch.uint16: 16, torch.int32: 31, torch.int64: 63}


def max_value(dtype: Any) -> int:
    """The value of white: 1 for floats."""
    return (1 << _VALUE_BITS[dtype]) - 1 if dtype in _VALUE_BITS else 1


def num_value_bits(dtype: Any) -> int:
    if dtype not in _VALUE_BITS:
        fail(TypeError, "P5320", f"an integer dtype is needed here, got {dtype}",
             fix="convert the image: to_dtype(image, torch.uint8, scale=True)")
    return _VALUE_BITS[dtype]


def working_dtype(image: Tensor) -> Any:
    """The floating dtype in which arithmetic on the image is done: its own, or float32."""
    return image.dtype if image.is_floating_point() else torch.float32


# ----------------------------------------------------------------------------------------------------- sizes
@functional
def get_dimensions(inpt: Tensor) -> list[int]:
    """[channels, height, width]."""
    if inpt.ndim < 2:
        fail(TypeError, "P5321", f"Input tensor should have at least two dimensions, but got {inpt.ndim}", fix="pass (..., height, width)")
    return [1 if inpt.ndim == 2 else inpt.shape[-3], *inpt.shape[-2:]]


@get_dimensions.on(PIL)
def _(image: Any) -> list[int]:
    width, height = image.size
    return [len(image.getbands()), height, width]


get_dimensions.on(tv_tensors.Image, tv_tensors.Video)(get_dimensions.kernels[Tensor])


@functional
def get_size(inpt: Tensor) -> list[int]:
    """[height, width]."""
    return get_dimensions(inpt)[1:]


@get_size.on(PIL)
def _(image: Any) -> list[int]:
    return [image.height, image.width]


@get_size.on(tv_tensors.BoundingBoxes)
def _(boxes: tv_tensors.BoundingBoxes) -> list[int]:
    return list(boxes.canvas_size)


@get_size.on(tv_tensors.Image, tv_tensors.Video, tv_tensors.Mask)
def _(image: Tensor) -> list[int]:
    return list(image.shape[-2:])


def get_num_channels(inpt: Any) -> int:
    """How many channels an image or a video has."""
    return get_dimensions(inpt)[0]


def get_image_size(inpt: Any) -> list[int]:
    """[width, height], in this order."""
    return get_size(inpt)[::-1]


def get_num_frames(inpt: Tensor) -> int:
    """How many frames a video has."""
    return inpt.shape[-4]


# ----------------------------------------------------------------------------------------------------- Pillow and arrays
def to_tensor(pic: Any) -> Tensor:
    """A Pillow image or an array of (height, width, channels) as (channels, height, width); 8-bit values as floats in 0 to 1."""
    if is_pil(pic):
        array = np.array(pic, _MODES.get(pic.mode, np.uint8), copy=None)
        if pic.mode == "1":
            array = 255 * array
    elif isinstance(pic, np.ndarray):
        array = pic
    else:
        fail(TypeError, "P5322", f"pic should be PIL Image or ndarray. Got {type(pic)}",
             fix="a tensor needs no ToTensor: v2.ToDtype(torch.float32, scale=True) scales it")
    if array.ndim not in (2, 3):
        fail(ValueError, "P5323", f"pic should be 2/3 dimensional. Got {array.ndim} dimensions.",
             fix="pass one image: (height, width, channels)")
    array = array[None] if array.ndim == 2 else array.transpose(2, 0, 1)
    if array.dtype != np.uint8:
        return torch.from_numpy(np.array(array, order="C"))
    if torch.get_default_dtype() == torch.float32:
        return torch.from_numpy(_UNIT.take(array))
    return torch.from_numpy(np.array(array, order="C")).to(torch.get_default_dtype()).div(255)


_UNIT = np.arange(256, dtype=np.float32) / np.float32(255)       # a look-up is quicker than a conversion and a division


def pil_to_tensor(pic: Any) -> Tensor:
    """A Pillow image as (channels, height, width), values and dtype as they are."""
    if not is_pil(pic):
        fail(TypeError, "P5324", f"pic should be PIL Image. Got {type(pic)}", fix="arrays: torch.from_numpy")
    return torch.from_numpy(to_array(pic))


def to_image(inpt: Any) -> tv_tensors.Image:
    """A tensor, an array of (height, width, channels) or a Pillow image as `tv_tensors.Image`, values as they are."""
    if isinstance(inpt, np.ndarray):
        inpt = torch.from_numpy(np.ascontiguousarray(np.atleast_3d(inpt).transpose(2, 0, 1)))
    elif is_pil(inpt):
        inpt = pil_to_tensor(inpt)
    elif not isinstance(inpt, Tensor):
        fail(TypeError, "P5325", f"Input can either be a pure Tensor, a numpy array, or a PIL image, but got {type(inpt)} instead.",
             fix="open the file: PIL.Image.open")
    return tv_tensors.Image(inpt)


_MODES_OF = {1: (), 2: ("LA",), 3: ("RGB", "YCbCr", "HSV"), 4: ("RGBA", "CMYK", "RGBX")}      # the first where none is asked for
_GREY = {"uint8": "L", "int16": "I;16" if sys.byteorder == "little" else "I;16B", "int32": "I", "float32": "F"}


def to_pil_image(pic: Any, mode: str | None = None) -> Any:
    """A tensor (channels, height, width) or an array (height, width, channels) as a Pillow image; floats are of 0 to 1."""
    if not isinstance(pic, (Tensor, np.ndarray)):
        fail(TypeError, "P5327", f"pic should be Tensor or ndarray. Got {type(pic)}.", fix="pass a tensor or an array")
    if pic.ndim not in (2, 3):
        fail(ValueError, "P5326", f"pic should be 2/3 dimensional. Got {pic.ndim} dimensions.", fix="take one image of the batch")
    array = pic.detach().as_subclass(Tensor).numpy() if isinstance(pic, Tensor) else pic
    if array.ndim == 2:
        array = array[..., None]
    elif isinstance(pic, Tensor):
        array = array.transpose(1, 2, 0)
    channels = array.shape[2]
    if channels not in _MODES_OF:
        fail(ValueError, "P5328", f"pic should not have > 4 channels. Got {channels} channels.",
             fix="a tensor is (channels, height, width)")
    if np.issubdtype(array.dtype, np.floating) and mode != "F":
        array = (array * 255).astype(np.uint8)
    if channels == 1:
        allowed: Any = _GREY.get(array.dtype.name)
        allowed, array = (allowed,) if allowed else (), array[:, :, 0]
    else:
        allowed = _MODES_OF[channels]
    if mode is not None and mode not in allowed:
        fail(ValueError, "P5329", f"Only modes {list(allowed)} are supported for {channels} channel inputs of this dtype, got {mode}",
             fix="leave mode out")
    if mode is None and (channels == 1 or array.dtype == np.uint8) and allowed:
        mode = allowed[0]
    if mode is None:
        fail(TypeError, "P5330", f"Input type {array.dtype} is not supported",
             fix="convert to uint8: to_dtype(image, torch.uint8, scale=True)")
    return from_array(np.ascontiguousarray(array), mode)


# ----------------------------------------------------------------------------------------------------- dtypes
@functional
def to_dtype(inpt: Tensor, dtype: Any = torch.float32, scale: bool = False) -> Tensor:
    """`inpt` as `dtype`; with `scale`, white stays white: 255 of uint8 is 1.0 of a float, 65535 of uint16."""
    if inpt.dtype == dtype:
        return inpt
    if not scale or inpt.is_floating_point() and dtype.is_floating_point:
        return inpt.to(dtype)
    if inpt.is_floating_point():
        if dtype in (torch.int32, torch.int64) and (inpt.dtype != torch.float64 or dtype == torch.int64):
            fail(RuntimeError, "P5331", f"The cast from {inpt.dtype} to {dtype} cannot be performed safely.",
                 fix="a float cannot hold all its values; convert to a narrower dtype")
        return inpt.mul(max_value(dtype) + 1.0 - 1e-3).to(dtype)
    if dtype.is_floating_point:
        return inpt.to(dtype).mul(1.0 / max_value(inpt.dtype))
    shift = num_value_bits(inpt.dtype) - num_value_bits(dtype)
    return torch.div(inpt, 1 << shift, rounding_mode="floor").to(dtype) if shift > 0 else inpt.to(dtype) * (1 << -shift)


@to_dtype.on(tv_tensors.Mask, tv_tensors.BoundingBoxes)
def _(inpt: Any, dtype: Any = torch.float32, scale: bool = False) -> Any:
    return inpt.to(dtype)


def convert_image_dtype(image: Tensor, dtype: Any = torch.float32) -> Tensor:
    """`to_dtype` with `scale=True`, the older function: it divides where that one multiplies, which is rounded otherwise."""
    if dtype.is_floating_point and not image.is_floating_point():
        return image.to(dtype) / float(max_value(image.dtype))
    return to_dtype(image, dtype, scale=True)
