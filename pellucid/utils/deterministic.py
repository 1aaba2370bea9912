"""`fill_uninitialized_memory`: whether `use_deterministic_algorithms` also fills memory that nobody has written to.

It is True to begin with; set it as an attribute of this module. What `empty` and its like, and `resize_` where it grows, leave
unset then holds NaN, or the largest integer.
"""
from __future__ import annotations

import sys
import types

from ..core.config import config

__all__ = ["fill_uninitialized_memory"]


class _Deterministic(types.ModuleType):
    @property
    def fill_uninitialized_memory(self) -> bool:
        """Whether memory that nobody has written to is filled."""
        return config.fill_uninitialized

    @fill_uninitialized_memory.setter
    def fill_uninitialized_memory(self, mode: bool) -> None:
        config.fill_uninitialized = bool(mode)


sys.modules[__name__].__class__ = _Deterministic
