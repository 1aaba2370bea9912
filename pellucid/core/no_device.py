"""What the module of a device (`cuda`, `xpu`, `mps`, `mtia`, `accelerator`) answers where there is no such device.

In: the questions that scripts ask before they use one. Out: truthful answers. What needs a device raises RuntimeError in the module
itself, which names it.
"""
from __future__ import annotations

__all__: list[str] = []


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


def manual_seed_all(seed: int) -> None:
    """Nothing to seed."""


def is_bf16_supported(including_emulation: bool = True) -> bool:
    """False: there is no device. (The CPU computes bfloat16.)"""
    return False


def memory_allocated(device=None) -> int:
    """0 bytes."""
    return 0


def max_memory_allocated(device=None) -> int:
    """0 bytes."""
    return 0


def reset_peak_memory_stats(device=None) -> None:
    """Nothing to reset."""


def get_rng_state_all() -> list:
    """One state for each device: none."""
    return []
