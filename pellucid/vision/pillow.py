"""Pillow, loaded when an image is first read or made: `pillow("to read a.jpg")` is the module `PIL.Image`.

In: what it is needed for. Out: the module, or an ImportError that says how to get it.
What stays true: importing pellucid.vision does not import Pillow, and asking whether something is an image does not either.
"""
from __future__ import annotations

import sys
from types import ModuleType
from typing import Any

import numpy as np

from ..core.errors import fail


def pillow(purpose: str) -> ModuleType:
    """`PIL.Image`."""
    try:
        from PIL import Image
    except ImportError:
        fail(ImportError, "P5300", f"Pillow is needed {purpose}, and it is not installed", fix="pip install 'pellucid[vision]'")
    return Image


def is_pil(x: Any) -> bool:
    """Whether `x` is a Pillow image: false for everything until Pillow is imported."""
    module = sys.modules.get("PIL.Image")
    return module is not None and isinstance(x, module.Image)


def to_array(image: Any) -> np.ndarray:
    """The values of a Pillow image, copied: (channels, height, width)."""
    array = np.array(image)
    return array[None] if array.ndim == 2 else array.transpose(2, 0, 1)


def from_array(array: np.ndarray, mode: str | None = None) -> Any:
    """A Pillow image of HxW or HxWxC values; `mode` where it does not follow from them (YCbCr, HSV, CMYK)."""
    image = pillow("to make an image of an array").fromarray(array)
    if mode is None or image.mode == mode:
        return image
    return pillow("to make an image").frombytes(mode, image.size, image.tobytes())     # the same bytes under another name
