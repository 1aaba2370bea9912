"""`pellucid.cuda`: truthful answers about CUDA on a build that computes on the CPU."""
from __future__ import annotations

from ..core.lazy import lazily as _lazily

__all__ = ["current_device", "device_count", "empty_cache", "get_device_name", "is_available", "is_initialized", "manual_seed",
           "manual_seed_all", "seed_all", "synchronize"]


def is_available() -> bool:
    """False: this build computes on the CPU."""
    return False


def is_initialized() -> bool:
    return False


def device_count() -> int:
    """0."""
    return 0


def _none(what: str):
    raise RuntimeError(f"pellucid.cuda.{what}: no CUDA device is available; this build computes on the CPU. "
                       "Check pellucid.cuda.is_available() first.")


def current_device() -> int:
    """Raises RuntimeError: there is no device."""
    _none("current_device()")


def get_device_name(device=None) -> str:
    """Raises RuntimeError: there is no device."""
    _none("get_device_name()")


def synchronize(device=None) -> None:
    """Raises RuntimeError: there is no device."""
    _none("synchronize()")


def manual_seed(seed: int) -> None:
    """Nothing to seed."""


def manual_seed_all(seed: int) -> None:
    """Nothing to seed."""


def seed_all() -> None:
    """Nothing to seed."""


def empty_cache() -> None:
    """Nothing is cached."""


__getattr__ = _lazily(__name__, ("amp",))
