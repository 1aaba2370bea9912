"""Brightness, contrast, colours, tones.

In: images (..., channels, height, width) of 1 or 3 channels, floats in 0 to 1 or integers of the full range; Pillow images.
Out: the same kind and dtype. What stays true: on Pillow images Pillow itself works; on tensors values are cut to the range of
the dtype. (The definitions are torchvision's, BSD 3-Clause.)
"""
from __future__ import annotations

from typing import Any

import numpy as np

import pellucid as torch

from ....core.errors import fail
from ....tensor import Tensor
from ....nn.functional import conv2d
from ...pillow import from_array
from .convert import max_value, num_value_bits, pil_to_tensor, to_dtype, to_pil_image, working_dtype
from .dispatch import PIL, functional


def _ops() -> Any:
    from PIL import ImageOps
    return ImageOps


def _enhanced(image: Any, what: str, factor: float) -> Any:
    from PIL import ImageEnhance
    return getattr(ImageEnhance, what)(image).enhance(factor)


def _check(image: Tensor, name: str = "", factor: float = 0.0) -> int:
    channels = image.shape[-3] if image.ndim > 2 else 1
    if channels not in (1, 3):
        fail(TypeError, "P5340", f"Input image tensor permitted channel values are 1 or 3, but found {channels}",
             fix="convert it to RGB or grey")
    if factor < 0:
        fail(ValueError, "P5341", f"{name} ({factor}) is not non-negative.", fix="1 leaves the image as it is")
    return channels


def _check_hue(factor: float) -> None:
    if not -0.5 <= factor <= 0.5:
        fail(ValueError, "P5342", f"hue_factor ({factor}) is not in [-0.5, 0.5].", fix="half a turn is 0.5")


def _blend(image: Tensor, other: Tensor, ratio: float) -> Tensor:
    return (image * float(ratio) + other * (1.0 - float(ratio))).clamp(0, max_value(image.dtype)).to(image.dtype)


def _grey(image: Tensor) -> Tensor:
    """Luma with one channel, in the working dtype; whole numbers for integers."""
    r, g, b = image.to(working_dtype(image)).unbind(dim=-3)
    grey = (r * 0.2989 + g * 0.587 + b * 0.114).unsqueeze(-3)
    return grey if image.is_floating_point() else grey.floor()


def _check_output_channels(count: int) -> None:
    if count not in (1, 3):
        fail(ValueError, "P5343", f"num_output_channels should be either 1 or 3, got {count}", fix="pass 1 or 3")


@functional
def rgb_to_grayscale(inpt: Tensor, num_output_channels: int = 1) -> Tensor:
    """Grey of the same brightness, with 1 channel or 3 equal ones."""
    _check_output_channels(num_output_channels)
    grey = inpt.clone() if _check(inpt) == 1 else _grey(inpt).to(inpt.dtype)
    return grey.expand(*inpt.shape[:-3], 3, *inpt.shape[-2:]) if num_output_channels == 3 else grey


@rgb_to_grayscale.on(PIL)
def _(image: Any, num_output_channels: int = 1) -> Any:
    _check_output_channels(num_output_channels)
    grey = image.convert("L")
    return grey if num_output_channels == 1 else grey.convert("RGB")


to_grayscale = rgb_to_grayscale


@functional
def grayscale_to_rgb(inpt: Tensor) -> Tensor:
    """Three equal channels of one; images with colours as they are."""
    return inpt if inpt.shape[-3] >= 3 else rgb_to_grayscale(inpt, 3)


@grayscale_to_rgb.on(PIL)
def _(image: Any) -> Any:
    return image.convert("RGB")


@functional
def adjust_brightness(inpt: Tensor, brightness_factor: float) -> Tensor:
    """0 is black, 1 the image itself, 2 twice as bright."""
    _check(inpt, "brightness_factor", brightness_factor)
    return (inpt * float(brightness_factor)).clamp(0, max_value(inpt.dtype)).to(inpt.dtype)


@adjust_brightness.on(PIL)
def _(image: Any, brightness_factor: float) -> Any:
    return _enhanced(image, "Brightness", brightness_factor)


@functional
def adjust_contrast(inpt: Tensor, contrast_factor: float) -> Tensor:
    """0 is one grey, 1 the image itself, 2 twice the contrast."""
    grey = _grey(inpt) if _check(inpt, "contrast_factor", contrast_factor) == 3 else inpt.to(working_dtype(inpt))
    return _blend(inpt, grey.mean(dim=(-3, -2, -1), keepdim=True), contrast_factor)


@adjust_contrast.on(PIL)
def _(image: Any, contrast_factor: float) -> Any:
    return _enhanced(image, "Contrast", contrast_factor)


@functional
def adjust_saturation(inpt: Tensor, saturation_factor: float) -> Tensor:
    """0 is grey, 1 the image itself, 2 twice as colourful."""
    return inpt if _check(inpt, "saturation_factor", saturation_factor) == 1 else _blend(inpt, _grey(inpt), saturation_factor)


@adjust_saturation.on(PIL)
def _(image: Any, saturation_factor: float) -> Any:
    return _enhanced(image, "Color", saturation_factor)


@functional
def adjust_sharpness(inpt: Tensor, sharpness_factor: float) -> Tensor:
    """0 is blurred, 1 the image itself, 2 twice as sharp."""
    channels = _check(inpt, "sharpness_factor", sharpness_factor)
    height, width = inpt.shape[-2:]
    if inpt.numel() == 0 or height <= 2 or width <= 2:
        return inpt
    dtype = working_dtype(inpt)
    a, b = 1.0 / 13.0, 5.0 / 13.0
    weight = torch.tensor([[a, a, a], [a, b, a], [a, a, a]], dtype=dtype).expand(channels, 1, 3, 3)
    flat = inpt.reshape(-1, channels, height, width).to(dtype)
    blurred = conv2d(flat, weight, groups=channels)
    if not inpt.is_floating_point():
        blurred = blurred.round()
    inner = flat[..., 1:-1, 1:-1]
    output = flat.clone()
    output[..., 1:-1, 1:-1] = inner + (blurred - inner) * (1.0 - sharpness_factor)
    return output.clamp(0, max_value(inpt.dtype)).to(inpt.dtype).reshape(inpt.shape)


@adjust_sharpness.on(PIL)
def _(image: Any, sharpness_factor: float) -> Any:
    return _enhanced(image, "Sharpness", sharpness_factor)


def _rgb_to_hsv(image: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    r, g, b = image.unbind(dim=-3)
    low, high = torch.aminmax(image, dim=-3)
    ones = torch.ones_like(high)
    span = torch.where(high == low, ones, high - low)
    saturation = (high - low) / torch.where(high == low, ones, high)
    rc, gc, bc = (high - r) / span, (high - g) / span, (high - b) / span
    hue = ((high == r) * (bc - gc) + ((high == g) & (high != r)) * (2.0 + rc - bc) + ((high != g) & (high != r)) * (4.0 + gc - rc))
    return torch.fmod(hue / 6.0 + 1.0, 1.0), saturation, high


def _hsv_to_rgb(h: Tensor, s: Tensor, v: Tensor) -> Tensor:
    sector = torch.floor(h * 6.0)
    f = h * 6.0 - sector
    p = (v * (1.0 - s)).clamp(0.0, 1.0)
    q = (v * (1.0 - s * f)).clamp(0.0, 1.0)
    t = (v * (1.0 - s * (1.0 - f))).clamp(0.0, 1.0)
    choices = torch.stack((v, p, q, t), dim=-3)
    which = torch.tensor([[0, 2, 1, 1, 3, 0], [3, 0, 0, 2, 1, 1], [1, 1, 3, 0, 0, 2]])[:, sector.long() % 6]
    return choices.gather(-3, which.movedim(0, -3) if which.ndim > 3 else which)


@functional
def adjust_hue(inpt: Tensor, hue_factor: float) -> Tensor:
    """Turn the circle of colours: by half a turn at -0.5 and 0.5."""
    _check_hue(hue_factor)
    if _check(inpt) == 1 or inpt.numel() == 0:
        return inpt
    h, s, v = _rgb_to_hsv(to_dtype(inpt, torch.float32, scale=True))
    return to_dtype(_hsv_to_rgb((h + hue_factor) % 1.0, s, v), inpt.dtype, scale=True)


@adjust_hue.on(PIL)
def _(image: Any, hue_factor: float) -> Any:
    _check_hue(hue_factor)
    if image.mode in ("L", "1", "I", "F"):
        return image
    h, s, v = image.convert("HSV").split()
    turned = np.array(h, dtype=np.uint8)
    turned += np.int32(hue_factor * 255).astype(np.uint8)              # wraps round, as the circle does
    from PIL import Image
    return Image.merge("HSV", (from_array(turned), s, v)).convert(image.mode)


def _check_gamma(gamma: float) -> None:
    if gamma < 0:
        fail(ValueError, "P5344", "Gamma should be a non-negative real number", got=f"gamma={gamma}", fix="1 leaves the image as it is")


@functional
def adjust_gamma(inpt: Tensor, gamma: float, gain: float = 1) -> Tensor:
    """`gain * image ** gamma` on values of 0 to 1: above 1 shadows darken, below 1 they lighten."""
    _check_gamma(gamma)
    output = to_dtype(inpt, torch.float32, scale=True) if not inpt.is_floating_point() else inpt
    return to_dtype((output.pow(gamma) * gain).clamp(0, 1), inpt.dtype, scale=True)


@adjust_gamma.on(PIL)
def _(image: Any, gamma: float, gain: float = 1) -> Any:
    _check_gamma(gamma)
    table = [int((255 + 1 - 1e-3) * gain * pow(v / 255.0, gamma)) for v in range(256)] * 3
    return image.convert("RGB").point(table).convert(image.mode)


def _check_bits(bits: int) -> None:
    if not 0 <= bits <= 8:
        fail(ValueError, "P5345", f"The number if bits should be between 0 and 8. Got {bits}", fix="8 leaves the image as it is")


@functional
def posterize(inpt: Tensor, bits: int) -> Tensor:
    """Keep the `bits` highest bits of each value."""
    _check_bits(bits)
    if inpt.is_floating_point():
        levels = 1 << bits
        return (inpt * levels).floor().clamp(0, levels - 1) * (1.0 / levels)
    have = num_value_bits(inpt.dtype)
    return inpt if bits >= have else inpt & (((1 << bits) - 1) << (have - bits))


@posterize.on(PIL)
def _(image: Any, bits: int) -> Any:
    _check_bits(bits)
    return _ops().posterize(image, bits)


@functional
def invert(inpt: Tensor) -> Tensor:
    """Black is white, and white black."""
    return max_value(inpt.dtype) - inpt


@invert.on(PIL)
def _(image: Any) -> Any:
    return _ops().invert(image)


@functional
def solarize(inpt: Tensor, threshold: float) -> Tensor:
    """Values of at least `threshold` inverted."""
    if threshold > max_value(inpt.dtype):
        fail(TypeError, "P5346", "Threshold should be less than bound of img.", got=f"threshold={threshold}, a {inpt.dtype} image",
             fix=f"at most {max_value(inpt.dtype)}")
    return torch.where(inpt >= threshold, invert(inpt), inpt)


@solarize.on(PIL)
def _(image: Any, threshold: float) -> Any:
    return _ops().solarize(image, threshold)


@functional
def autocontrast(inpt: Tensor) -> Tensor:
    """Each channel stretched so that its darkest value is black and its brightest white."""
    _check(inpt)
    if inpt.numel() == 0:
        return inpt
    bound, image = max_value(inpt.dtype), inpt.to(working_dtype(inpt))
    low, high = image.amin(dim=(-2, -1), keepdim=True), image.amax(dim=(-2, -1), keepdim=True)
    flat = low == high
    scale = torch.where(flat, torch.ones_like(low), (high - low) * (1.0 / bound))
    return ((image - torch.where(flat, torch.zeros_like(low), low)) / scale).clamp(0, bound).to(inpt.dtype)


@autocontrast.on(PIL)
def _(image: Any) -> Any:
    return _ops().autocontrast(image)


@functional
def equalize(inpt: Tensor) -> Tensor:
    """Each channel's values spread so that all are about as frequent."""
    if inpt.numel() == 0:
        return inpt
    flat = to_dtype(inpt, torch.uint8, scale=True).flatten(-2).long()
    histogram = torch.zeros((*flat.shape[:-1], 256), dtype=torch.long).scatter_add(-1, flat, torch.ones_like(flat))
    total = histogram.cumsum(-1)
    last = histogram.gather(-1, total.argmax(-1, keepdim=True))       # how often the brightest value is there
    step = torch.div(flat.shape[-1] - last, 255, rounding_mode="floor")
    table = torch.div(total[..., :-1] + torch.div(step, 2, rounding_mode="floor"), step.clamp(min=1), rounding_mode="floor").clamp(0, 255)
    table = torch.cat([torch.zeros_like(table[..., :1]), table], dim=-1)
    output = torch.where(step != 0, table.gather(-1, flat), flat).to(torch.uint8)
    return to_dtype(output.reshape(inpt.shape), inpt.dtype, scale=True)


@equalize.on(PIL)
def _(image: Any) -> Any:
    return _ops().equalize(image)


@functional
def permute_channels(inpt: Tensor, permutation: list[int]) -> Tensor:
    """The channels in the order of `permutation`."""
    order = permutation.tolist() if isinstance(permutation, Tensor) else list(permutation)
    if len(order) != inpt.shape[-3]:
        fail(ValueError, "P5347", f"Length of permutation does not match number of channels: {len(order)} != {inpt.shape[-3]}",
             fix="name each channel once")
    return inpt.index_select(-3, torch.tensor(order))


@permute_channels.on(PIL)
def _(image: Any, permutation: list[int]) -> Any:
    return to_pil_image(permute_channels(pil_to_tensor(image), permutation))
