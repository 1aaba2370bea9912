"""Normalising, blurring, noise, erasing, JPEG artefacts, frames of a video.

In: images (..., channels, height, width), Pillow images. Out: the same kind.
"""
from __future__ import annotations

import io
import math
from functools import lru_cache
from typing import Any

import pellucid as torch

from ....core.errors import fail
from ....nn.functional import conv2d
from ....nn.functional import pad as pad_tensor
from ....tensor import Tensor
from ... import tv_tensors
from ...pillow import pillow
from .convert import pil_to_tensor, to_pil_image, working_dtype
from .dispatch import PIL, functional


@functional
def normalize(inpt: Tensor, mean: Any, std: Any, inplace: bool = False) -> Tensor:
    """`(image - mean) / std`, one mean and one deviation for each channel."""
    if not inpt.is_floating_point():
        fail(TypeError, "P5370", f"Input tensor should be a float tensor. Got {inpt.dtype}.",
             fix="ToTensor, or v2.ToDtype(torch.float32, scale=True)")
    if inpt.ndim < 3:
        fail(ValueError, "P5371", f"Expected tensor to be a tensor image of size (..., C, H, W). Got tensor.size() = {inpt.size()}",
             fix="unsqueeze(0) adds a channel")
    if type(mean) in (list, tuple) and type(std) in (list, tuple):
        mean, std = _known(tuple(mean), tuple(std), inpt.dtype)
    else:
        mean, std = _per_channel(mean, std, inpt.dtype)
    return (inpt.sub_(mean) if inplace else inpt.sub(mean)).div_(std)


def _per_channel(mean: Any, std: Any, dtype: Any) -> tuple[Tensor, Tensor]:
    mean, std = (t.reshape(-1, 1, 1) if t.ndim == 1 else t for t in (torch.as_tensor(v, dtype=dtype) for v in (mean, std)))
    if bool((std == 0).any()):
        fail(ValueError, "P5372", f"std evaluated to zero after conversion to {dtype}, leading to division by zero.",
             fix="leave the channel out")
    return mean, std


_known = lru_cache(maxsize=64)(_per_channel)         # a loader normalises each image by the same numbers


@normalize.on(PIL)
def _(image: Any, mean: Any, std: Any, inplace: bool = False) -> Any:
    fail(TypeError, "P5373", "Normalize does not support PIL images", fix="put ToTensor before Normalize")


def _gaussian(size: int, sigma: float, dtype: Any) -> Tensor:
    limit = (size - 1) / (2.0 * math.sqrt(2.0))
    return torch.softmax(-(torch.linspace(-limit, limit, steps=size, dtype=dtype) / sigma).pow(2), dim=0)


@functional
def gaussian_blur(inpt: Tensor, kernel_size: Any, sigma: Any = None) -> Tensor:
    """Blur with a bell of `kernel_size` (x, y), odd, and of width `sigma`."""
    sizes = [kernel_size] * 2 if isinstance(kernel_size, int) else list(kernel_size)
    if len(sizes) != 2 or any(s % 2 == 0 or s < 0 for s in sizes):
        fail(ValueError, "P5374", f"kernel_size should have odd and positive integers. Got {kernel_size}", fix="an odd number, or two")
    sigmas = [s * 0.15 + 0.35 for s in sizes] if sigma is None else [float(sigma)] * 2 if isinstance(sigma, (int, float)) else list(sigma)
    sigmas = sigmas * 2 if len(sigmas) == 1 else sigmas
    if len(sigmas) != 2 or any(s <= 0 for s in sigmas):
        fail(ValueError, "P5375", f"sigma should have positive values. Got {sigma}", fix="a positive number, or two")
    if inpt.numel() == 0:
        return inpt
    dtype, channels = working_dtype(inpt), inpt.shape[-3]
    kernel = _gaussian(sizes[1], sigmas[1], dtype).unsqueeze(-1) * _gaussian(sizes[0], sigmas[0], dtype)
    x, y = sizes[0] // 2, sizes[1] // 2
    flat = pad_tensor(inpt.reshape(-1, *inpt.shape[-3:]).to(dtype), [x, x, y, y], mode="reflect")
    output = conv2d(flat, kernel.expand(channels, 1, *kernel.shape), groups=channels).reshape(inpt.shape)
    return output if inpt.is_floating_point() else output.round().to(inpt.dtype)


@gaussian_blur.on(PIL)
def _(image: Any, kernel_size: Any, sigma: Any = None) -> Any:
    return to_pil_image(gaussian_blur(pil_to_tensor(image), kernel_size, sigma), image.mode)


@functional
def gaussian_noise(inpt: Tensor, mean: float = 0.0, sigma: float = 0.1, clip: bool = True) -> Tensor:
    """Add normal noise, measured in units of white; `clip` cuts to the range of the dtype."""
    if sigma < 0:
        fail(ValueError, "P5376", f"sigma shouldn't be negative. Got {sigma}", fix="0 adds no noise")
    if inpt.is_floating_point():
        output = inpt + (mean + torch.randn_like(inpt) * sigma)
        return output.clamp(0, 1) if clip else output
    if inpt.dtype != torch.uint8:
        fail(ValueError, "P5377", f"Input tensor is expected to be in uint8 or float dtype, got dtype={inpt.dtype}",
             fix="convert it: to_dtype")
    output = inpt + (mean * 255 + torch.randn(inpt.shape) * (sigma * 255)).to(torch.int16)
    return (output.clamp(0, 255) if clip else output).to(torch.uint8)


@functional
def erase(inpt: Tensor, i: int, j: int, h: int, w: int, v: Tensor, inplace: bool = False) -> Tensor:
    """The rectangle of height `h` and width `w` at row `i`, column `j` set to `v`."""
    image = inpt if inplace else inpt.clone()
    image[..., i:i + h, j:j + w] = v
    return image


@erase.on(PIL)
def _(image: Any, i: int, j: int, h: int, w: int, v: Tensor, inplace: bool = False) -> Any:
    return to_pil_image(erase(pil_to_tensor(image), i, j, h, w, v), image.mode)


@functional
def jpeg(inpt: Tensor, quality: int) -> Tensor:
    """What JPEG leaves of 8-bit images at `quality` 1 to 100."""
    flat = inpt.reshape(-1, *inpt.shape[-3:])
    done = [pil_to_tensor(_jpeg(to_pil_image(image), quality)) for image in flat]
    return torch.stack(done).reshape(inpt.shape) if done else inpt.clone()


@jpeg.on(PIL)
def _jpeg(image: Any, quality: int) -> Any:
    file = io.BytesIO()
    image.save(file, format="JPEG", quality=quality)
    return pillow("to read a JPEG").open(file).copy()


def uniform_temporal_subsample(inpt: Tensor, num_samples: int) -> Tensor:
    """`num_samples` frames at equal distances, of a video (..., time, channels, height, width)."""
    output = inpt.index_select(-4, torch.linspace(0, inpt.shape[-4] - 1, num_samples).long())
    return tv_tensors.wrap(output, like=inpt) if isinstance(inpt, tv_tensors.Video) else output
