"""`pellucid.xpu`: Intel GPUs: none in this build, which computes on the CPU. Answers are truthful; what needs a device raises RuntimeError."""
from __future__ import annotations

from typing import NoReturn

__all__ = ["current_device", "device_count", "empty_cache", "get_device_name", "get_rng_state", "get_rng_state_all", "is_available",
           "is_bf16_supported", "manual_seed", "manual_seed_all", "max_memory_allocated", "mem_get_info", "memory_allocated",
           "reset_peak_memory_stats", "set_device", "set_rng_state", "set_rng_state_all", "synchronize"]


def is_available() -> bool:
    """False: this build computes on the CPU."""
    return False


def device_count() -> int:
    """0."""
    return 0


def _none(what: str) -> NoReturn:
    raise RuntimeError(f"pellucid.xpu.{what}: no XPU device is available; this build computes on the CPU. "
                       "Check pellucid.xpu.is_available() first.")


def current_device() -> int:
    """Raises RuntimeError: there is no device."""
    _none("current_device()")


def set_device(device) -> None:
    """Raises RuntimeError: there is no device."""
    _none("set_device()")


def get_device_name(device=None) -> str:
    """Raises RuntimeError: there is no device."""
    _none("get_device_name()")


def synchronize(device=None) -> None:
    """Raises RuntimeError: there is no device."""
    _none("synchronize()")


def is_bf16_supported(including_emulation: bool = True) -> bool:
    """False: there is no device. (The CPU computes bfloat16.)"""
    return False


def empty_cache() -> None:
    """Nothing is cached."""


def manual_seed(seed: int) -> None:
    """Nothing to seed."""


def manual_seed_all(seed: int) -> None:
    """Nothing to seed."""


def memory_allocated(device=None) -> int:
    """0 bytes."""
    return 0


def max_memory_allocated(device=None) -> int:
    """0 bytes."""
    return 0


def reset_peak_memory_stats(device=None) -> None:
    """Nothing to reset."""


def mem_get_info(device=None) -> tuple[int, int]:
    """Raises RuntimeError: there is no device."""
    _none("mem_get_info()")


def get_rng_state(device="xpu"):
    """Raises RuntimeError: there is no device."""
    _none("get_rng_state()")


def get_rng_state_all() -> list:
    """One state for each device: none."""
    return []


def set_rng_state(new_state, device="xpu") -> None:
    """Raises RuntimeError: there is no device."""
    _none("set_rng_state()")


def set_rng_state_all(new_states) -> None:
    """Sets the state of each device: there is none. RuntimeError if states of devices are given."""
    if len(new_states):
        _none("set_rng_state_all()")
