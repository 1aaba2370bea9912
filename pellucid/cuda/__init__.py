"""`pellucid.cuda`: truthful answers about CUDA on a build that computes on the CPU."""
from __future__ import annotations

from ..core.lazy import lazily as _lazily
from ..core.no_device import (
    device_count, empty_cache, get_rng_state_all, is_available, is_bf16_supported, manual_seed, manual_seed_all,
    max_memory_allocated, memory_allocated, reset_peak_memory_stats,
)

__all__ = ["current_device", "device_count", "empty_cache", "get_arch_list", "get_device_capability", "get_device_name",
           "get_device_properties", "get_rng_state", "get_rng_state_all", "is_available", "is_bf16_supported", "is_initialized",
           "is_tf32_supported", "manual_seed", "manual_seed_all", "max_memory_allocated", "max_memory_reserved", "mem_get_info",
           "memory_allocated", "memory_reserved", "memory_stats", "reset_peak_memory_stats", "seed_all", "set_device",
           "set_rng_state", "set_rng_state_all", "synchronize"]


def is_initialized() -> bool:
    return False


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


def seed_all() -> None:
    """Nothing to seed."""


def is_tf32_supported() -> bool:
    """False: there is no device."""
    return False


def get_arch_list() -> list[str]:
    """Empty: nothing is compiled for CUDA."""
    return []


def set_device(device) -> None:
    """Raises RuntimeError: there is no device."""
    _none("set_device()")


def get_device_capability(device=None) -> tuple[int, int]:
    """Raises RuntimeError: there is no device."""
    _none("get_device_capability()")


def get_device_properties(device=None):
    """Raises RuntimeError: there is no device."""
    _none("get_device_properties()")


def mem_get_info(device=None) -> tuple[int, int]:
    """Raises RuntimeError: there is no device."""
    _none("mem_get_info()")


def memory_reserved(device=None) -> int:
    """0 bytes."""
    return 0


def max_memory_reserved(device=None) -> int:
    """0 bytes."""
    return 0


def memory_stats(device=None) -> dict[str, int]:
    """Empty: no device has an allocator."""
    return {}


def get_rng_state(device="cuda"):
    """Raises RuntimeError: there is no device."""
    _none("get_rng_state()")


def set_rng_state(new_state, device="cuda") -> None:
    """Raises RuntimeError: there is no device."""
    _none("set_rng_state()")


def set_rng_state_all(new_states) -> None:
    """Sets the state of each device: there is none. RuntimeError if states of devices are given."""
    if len(new_states):
        _none("set_rng_state_all()")


__getattr__ = _lazily(__name__, ("amp",))
