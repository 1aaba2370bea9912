"""Functions of one score or one place, called once for all of them.

In: a mask_mod (batch, head, q_idx, kv_idx) or score_mod (score, batch, head, q_idx, kv_idx), which sees numbers (0-d tensors). Out: its
results (B, H, L, S). What stays true: `compile` runs this file as it is and interprets the mod that it is given, so that whatever that
looks at is guarded.
"""
from __future__ import annotations

from collections.abc import Callable

from ...func.mapping import vmap
from ...tensor import Tensor

__all__: list[str] = []

_DIMENSIONS = ((None, None, None, 0), (None, None, 0, None), (None, 0, None, None), (0, None, None, None))      # of kv_idx, ..., batch


def mapped(mod: Callable, indices: tuple[Tensor, Tensor, Tensor, Tensor], score: Tensor | None = None) -> Tensor:
    """`mod` for every combination of the batches, heads, queries and keys in `indices`, with the `score` (B, H, L, S) if it takes one."""
    first: tuple = () if score is None else (0,)
    for dims in _DIMENSIONS:
        mod = vmap(mod, first + dims)
    return mod(*indices) if score is None else mod(score, *indices)
