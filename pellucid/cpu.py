"""`pellucid.cpu`: the one device that there is, asked as other devices are."""
from __future__ import annotations

__all__ = ["current_device", "device_count", "is_available", "synchronize"]


def is_available() -> bool:
    """True."""
    return True


def device_count() -> int:
    """1: all cores together."""
    return 1


def current_device() -> str:
    """"cpu"."""
    return "cpu"


def synchronize(device=None) -> None:
    """Returns at once: what was called has been computed."""
