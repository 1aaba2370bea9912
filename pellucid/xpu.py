"""`pellucid.xpu`: Intel GPUs: none in this build, which computes on the CPU. Answers are truthful; what needs a device raises RuntimeError."""
from __future__ import annotations

from typing import NoReturn

from .core.no_device import (
    device_count, empty_cache, get_rng_state_all, is_available, is_bf16_supported, manual_seed, manual_seed_all,
    max_memory_allocated, memory_allocated, reset_peak_memory_stats,
)

__all__ = ["current_device", "device_count", "empty_cache", "get_device_name", "get_rng_state", "get_rng_state_all", "is_available",
           "is_bf16_supported", "manual_seed", "manual_seed_all", "max_memory_allocated", "mem_get_info", "memory_allocated",
           "reset_peak_memory_stats", "set_device", "set_rng_state", "set_rng_state_all", "synchronize"]


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


def mem_get_info(device=None) -> tuple[int, int]:
    """Raises RuntimeError: there is no device."""
    _none("mem_get_info()")


def get_rng_state(device="xpu"):
    """Raises RuntimeError: there is no device."""
    _none("get_rng_state()")


def set_rng_state(new_state, device="xpu") -> None:
    """Raises RuntimeError: there is no device."""
    _none("set_rng_state()")


def set_rng_state_all(new_states) -> None:
    """Sets the state of each device: there is none. RuntimeError if states of devices are given."""
    if len(new_states):
        _none("set_rng_state_all()")
