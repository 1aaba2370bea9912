"""`pellucid.mps`: GPUs of Apple computers: none in this build, which computes on the CPU."""
from __future__ import annotations

from .core.no_device import device_count, empty_cache, is_available, manual_seed

__all__ = ["device_count", "empty_cache", "is_available", "manual_seed"]
