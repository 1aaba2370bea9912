"""Computer vision: data sets, image transforms, models and operators under torchvision's names. Submodules load on first use."""
from __future__ import annotations

from ..core.lazy import lazily as _lazily

_LATER = ("datasets", "io", "models", "ops", "transforms", "tv_tensors", "utils")
__getattr__ = _lazily(__name__, _LATER)


def __dir__():
    return sorted({*globals(), *_LATER})
