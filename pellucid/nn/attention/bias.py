"""Causal masks that know which corner they start from.

In: a variant and the lengths of queries and keys. Out: a `CausalBias`, for `attn_mask` of `scaled_dot_product_attention`.
What stays true: it is the bool mask it stands for, True where a query may attend, and every operator takes it as that plain tensor.
"""
from __future__ import annotations

import enum
from typing import Any

from ...core import dtype as dt
from ...core.errors import fail
from ...tensor import Tensor, register_plain_class
from ...tensor import functions as T

__all__ = ["CausalBias", "CausalVariant", "causal_lower_right", "causal_upper_left"]


class CausalVariant(enum.IntEnum):
    """Which corner the diagonal of a causal mask ends in, where there are not as many keys as queries.

    UPPER_LEFT: query i sees keys 0 ... i. LOWER_RIGHT: the last query sees every key, the one before all but the last, ...
    """

    UPPER_LEFT = enum.auto()
    LOWER_RIGHT = enum.auto()


class CausalBias(Tensor):
    """The causal mask (seq_len_q, seq_len_kv) of a variant, of bool. Queries that see no key get zeros from attention."""

    def __new__(cls, variant: CausalVariant, seq_len_q: int, seq_len_kv: int) -> CausalBias:
        if not isinstance(variant, CausalVariant):
            fail(AssertionError, "P5703", f"variant must be a CausalVariant, got {type(variant).__name__}",
                 fix="CausalVariant.UPPER_LEFT or CausalVariant.LOWER_RIGHT")
        diagonal = 0 if variant is CausalVariant.UPPER_LEFT else seq_len_kv - seq_len_q
        bias = Tensor._make_subclass(cls, T.tril(T.ones(seq_len_q, seq_len_kv, dtype=dt.bool_), diagonal))
        bias.variant, bias.seq_len_q, bias.seq_len_kv = variant, seq_len_q, seq_len_kv
        return bias

    def __deepcopy__(self, memo: dict[int, Any]) -> CausalBias:
        return memo.setdefault(id(self), type(self)(self.variant, self.seq_len_q, self.seq_len_kv))

    def __reduce_ex__(self, protocol: int) -> tuple:
        return type(self), (self.variant, self.seq_len_q, self.seq_len_kv)


register_plain_class(CausalBias)


def causal_upper_left(*size: int) -> CausalBias:
    """The mask of a size (queries, keys) in which query i sees keys 0 ... i: that of `is_causal=True`."""
    return CausalBias(CausalVariant.UPPER_LEFT, *_two(size, "causal_upper_left"))


def causal_lower_right(*size: int) -> CausalBias:
    """The mask of a size (queries, keys) in which the last query sees every key: that of new queries after cached keys."""
    return CausalBias(CausalVariant.LOWER_RIGHT, *_two(size, "causal_lower_right"))


def _two(size: tuple[int, ...], name: str) -> tuple[int, ...]:
    if len(size) != 2:
        fail(AssertionError, "P5704", f"{name} only supports 2D tensors", got=f"size {size}", fix=f"{name}(queries, keys)")
    return size
