"""Images: datasets, transforms, models, operators on boxes and regions, and drawing, under torchvision's names."""
from __future__ import annotations

from ..core.lazy import lazily as _lazily

_LATER = ("datasets", "io", "models", "ops", "transforms", "utils")
__getattr__ = _lazily(__name__, _LATER)


def __dir__():
    return sorted({*globals(), *_LATER})
