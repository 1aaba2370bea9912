"""Choosing how attention is computed.

In: one or several ``SDPBackend``. Out: a context inside which ``scaled_dot_product_attention`` uses only those. What stays
true: the result is the same up to rounding. Masks that know what they are: `bias`; scores and masks as functions: `flex_attention`.
"""

from __future__ import annotations

import enum
from collections.abc import Iterator
from contextlib import contextmanager

from ...core.lazy import lazily as _lazily
from ...ops.attention import choice

__all__ = ["SDPBackend", "sdpa_kernel"]


class SDPBackend(enum.Enum):
    """Ways to compute attention. Here FLASH_ATTENTION is the fused operator, MATH its definition in other operators; the
    rest exist on other devices only."""

    ERROR = -1
    MATH = 0
    FLASH_ATTENTION = 1
    EFFICIENT_ATTENTION = 2
    CUDNN_ATTENTION = 3
    OVERRIDEABLE = 4


@contextmanager
def sdpa_kernel(backends: SDPBackend | list[SDPBackend], set_priority: bool = False) -> Iterator[None]:
    """Inside, attention uses only ``backends``. The fused operator comes first, whatever ``set_priority`` says.

    Raises:
        AssertionError: something else is given.
    """
    backends = [backends] if isinstance(backends, SDPBackend) else backends
    if not isinstance(backends, (list, tuple)) or not all(isinstance(b, SDPBackend) for b in backends):
        raise AssertionError("Backend must be an instance of SDPBackend or a list of SDPBackend instances")
    before = choice.fused, choice.composed
    choice.fused, choice.composed = SDPBackend.FLASH_ATTENTION in backends, SDPBackend.MATH in backends
    try:
        yield
    finally:
        choice.fused, choice.composed = before


__getattr__ = _lazily(__name__, ("bias", "flex_attention"))
