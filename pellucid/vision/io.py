"""Image files as tensors and back: `read_image`, `decode_*`, `encode_*`, `write_*`, by Pillow.

In: paths, files as one-dimensional uint8 tensors, images as uint8 tensors (channels, height, width). Out: the other form.
What stays true: `decode_image` knows JPEG, PNG, GIF and WebP by their content; what is no such file raises RuntimeError.
"""
from __future__ import annotations

import io
import os
from enum import Enum
from typing import Any

import numpy as np

import pellucid as torch

from ..core.errors import fail
from ..tensor import Tensor
from .pillow import pillow, to_array

__all__ = ["ImageReadMode", "decode_gif", "decode_image", "decode_jpeg", "decode_png", "decode_webp", "encode_jpeg", "encode_png",
           "read_file",
           "read_image", "write_file", "write_jpeg", "write_png"]


class ImageReadMode(Enum):
    """What channels an image is read with."""

    UNCHANGED = 0
    GRAY = 1
    GRAY_ALPHA = 2
    RGB = 3
    RGB_ALPHA = 4
    RGBA = RGB_ALPHA


_PIL_MODES = {ImageReadMode.GRAY: "L", ImageReadMode.GRAY_ALPHA: "LA", ImageReadMode.RGB: "RGB", ImageReadMode.RGB_ALPHA: "RGBA"}


def read_file(path: str | os.PathLike) -> Tensor:
    """The bytes of a file, a one-dimensional uint8 tensor."""
    return torch.from_numpy(np.fromfile(path, np.uint8))


def write_file(filename: str | os.PathLike, data: Tensor) -> None:
    """Write a one-dimensional uint8 tensor."""
    with open(filename, "wb") as file:
        file.write(data.numpy().tobytes())


def _opened(data: Tensor, formats: tuple[str, ...] | None) -> Any:
    if not isinstance(data, Tensor) or data.dtype != torch.uint8 or data.ndim != 1 or data.numel() == 0:
        fail(RuntimeError, "P5500", "Expected a non empty 1-dimensional tensor of uint8: the bytes of an image file",
             got=f"{getattr(data, 'dtype', type(data))} of shape {tuple(getattr(data, 'shape', ()))}", fix="read_file(path) gives one")
    image = pillow("to decode an image")
    try:
        return image.open(io.BytesIO(data.numpy().tobytes()), formats=formats)
    except (OSError, SyntaxError):
        fail(RuntimeError, "P5501", f"these bytes are no {' or '.join(formats or ('image',))}", got=f"{data.numel()} bytes beginning with "
             f"{data[:4].numpy().tobytes()!r}", fix="decode_image finds out the format")


def _decoded(data: Tensor, mode: Any, apply_exif_orientation: bool, formats: tuple[str, ...] | None) -> Tensor:
    mode = ImageReadMode[mode.upper()] if isinstance(mode, str) else ImageReadMode(mode)
    image = _opened(data, formats)
    try:
        image.load()
    except (OSError, SyntaxError) as e:
        fail(RuntimeError, "P5502", f"the image is damaged: {e}", fix="get the file again")
    if apply_exif_orientation:
        from PIL import ImageOps
        image = ImageOps.exif_transpose(image)
    if mode in _PIL_MODES:
        image = image.convert(_PIL_MODES[mode])
    elif image.mode == "1":
        image = image.convert("L")
    elif image.mode in ("P", "CMYK", "YCbCr"):                # what a file's palette or process colours stand for
        image = image.convert("RGBA" if image.mode == "P" and "transparency" in image.info else "RGB")
    array = to_array(image)
    return torch.from_numpy(np.ascontiguousarray(array if array.dtype != np.int32 else array.astype(np.uint16)))


def decode_jpeg(input: Any, mode: Any = ImageReadMode.UNCHANGED, device: Any = "cpu", apply_exif_orientation: bool = False) -> Any:
    """JPEG bytes, or a list of them, as uint8 images (channels, height, width)."""
    if torch.device(device).type != "cpu":
        fail(RuntimeError, "P5503", f"decode_jpeg works on the CPU, not on {device}", fix="device='cpu'")
    if isinstance(input, list):
        return [decode_jpeg(one, mode, device, apply_exif_orientation) for one in input]
    return _decoded(input, mode, apply_exif_orientation, ("JPEG",))


def decode_png(input: Tensor, mode: Any = ImageReadMode.UNCHANGED, apply_exif_orientation: bool = False) -> Tensor:
    """PNG bytes as an image: uint8, or uint16 where the file has 16 bits."""
    return _decoded(input, mode, apply_exif_orientation, ("PNG",))


def decode_webp(input: Tensor, mode: Any = ImageReadMode.UNCHANGED) -> Tensor:
    """WebP bytes as an image."""
    return _decoded(input, mode, False, ("WEBP",))


def decode_gif(input: Tensor) -> Tensor:
    """GIF bytes as RGB: (3, height, width), or (frames, 3, height, width) of an animation."""
    image = _opened(input, ("GIF",))
    frames = []
    for k in range(image.n_frames):
        image.seek(k)
        frames.append(to_array(image.convert("RGB")))
    array = np.stack(frames)
    return torch.from_numpy(array[0].copy() if len(frames) == 1 else array)


def decode_image(input: Any, mode: Any = ImageReadMode.UNCHANGED, apply_exif_orientation: bool = False) -> Tensor:
    """The bytes of an image file (or its path) as an image, whatever its format."""
    return _decoded(input if isinstance(input, Tensor) else read_file(input), mode, apply_exif_orientation, None)


def read_image(path: str | os.PathLike, mode: Any = ImageReadMode.UNCHANGED, apply_exif_orientation: bool = False) -> Tensor:
    """An image file as a tensor (channels, height, width)."""
    return decode_image(read_file(path), mode, apply_exif_orientation)


def _encoded(image: Tensor, format: str, **options: Any) -> Tensor:
    if image.dtype != torch.uint8 or image.ndim != 3 or image.shape[0] not in (1, 3):
        fail(RuntimeError, "P5504", f"a {format} is made of a uint8 image of 1 or 3 channels (channels, height, width)",
             got=f"{image.dtype} of shape {tuple(image.shape)}", fix="to_dtype(image, torch.uint8, scale=True) converts floats")
    array = image.detach().numpy()
    file = io.BytesIO()
    array = array[0] if len(array) == 1 else array.transpose(1, 2, 0)
    pillow(f"to write a {format}").fromarray(np.ascontiguousarray(array)).save(file, format, **options)
    return torch.from_numpy(np.frombuffer(bytearray(file.getvalue()), np.uint8))


def encode_jpeg(input: Any, quality: int = 75) -> Any:
    """A uint8 image, or a list of them, as JPEG bytes."""
    if not 1 <= quality <= 100:
        fail(ValueError, "P5505", f"Image quality should be a positive number between 1 and 100, got {quality}", fix="75")
    return [encode_jpeg(one, quality) for one in input] if isinstance(input, list) else _encoded(input, "JPEG", quality=quality)


def encode_png(input: Tensor, compression_level: int = 6) -> Tensor:
    """A uint8 image as PNG bytes."""
    if not 0 <= compression_level <= 9:
        fail(RuntimeError, "P5506", f"Compression level should be between 0 and 9, got {compression_level}", fix="6")
    return _encoded(input, "PNG", compress_level=compression_level)


def write_jpeg(input: Tensor, filename: str | os.PathLike, quality: int = 75) -> None:
    """Write a uint8 image as a JPEG file."""
    write_file(filename, encode_jpeg(input, quality))


def write_png(input: Tensor, filename: str | os.PathLike, compression_level: int = 6) -> None:
    """Write a uint8 image as a PNG file."""
    write_file(filename, encode_png(input, compression_level))
