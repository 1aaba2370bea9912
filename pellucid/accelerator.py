"""`pellucid.accelerator`: the device besides the CPU, whatever kind it is: there is none in this build.

Scripts ask `torch.accelerator.is_available()`, and take the CPU.
"""
from __future__ import annotations

from typing import NoReturn

from .core.device import device as Device
from .core.no_device import device_count, is_available

__all__ = ["current_accelerator", "current_device_index", "device_count", "device_index", "is_available", "set_device_index", "synchronize"]


def current_accelerator(check_available: bool = False) -> Device | None:
    """None."""
    return None


def _none() -> NoReturn:
    raise RuntimeError("Cannot access accelerator device when none is available. This build computes on the CPU: "
                       "check pellucid.accelerator.is_available() first.")


def current_device_index() -> int:
    """Raises RuntimeError: there is no accelerator."""
    _none()


def set_device_index(device) -> None:
    """Raises RuntimeError: there is no accelerator."""
    _none()


class device_index:
    """A context in which another accelerator is current. Entering it raises RuntimeError: there is none; with None it does nothing."""

    def __init__(self, device: int | None, /):
        self.device = device

    def __enter__(self) -> None:
        if self.device is not None:
            _none()

    def __exit__(self, *exc: object) -> None:
        """Nothing to put back."""


def synchronize(device=None) -> None:
    """Raises RuntimeError: there is no accelerator."""
    _none()
