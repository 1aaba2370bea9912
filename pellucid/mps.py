"""`pellucid.mps`: GPUs of Apple computers: none in this build, which computes on the CPU."""
from __future__ import annotations

__all__ = ["device_count", "empty_cache", "is_available", "manual_seed"]


def is_available() -> bool:
    """False: this build computes on the CPU."""
    return False


def device_count() -> int:
    """0."""
    return 0


def empty_cache() -> None:
    """Nothing is cached."""


def manual_seed(seed: int) -> None:
    """Nothing to seed."""
