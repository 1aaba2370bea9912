"""Attention whose scores and mask are the user's functions (Dong et al., 2024, "Flex Attention").

In: query (B, Hq, L, E), key (B, Hkv, S, E), value (B, Hkv, S, Ev); a `score_mod`, which changes one score, and a `BlockMask`, whose
`mask_mod` says which scores count. Out: softmax(score_mod(query key^T * scale)) value. The functions see one score at a time (0-d
tensors) and are called once for all of them (`vmap`); gradients reach the tensors they close over, and `compile` fuses them.

What stays true: where a query may attend to nothing the output is 0. Blocks of keys that no query of a block of queries sees are not
looked at, where the scores would be many, few of them count, and the block mask's values are known: not while a function is compiled.
"""
from __future__ import annotations

import math
from typing import Any, NamedTuple

from ...core import dtype as dt
from ...core.errors import describe, fail
from ...ops.dispatch import values_known
from ...ops.op import F
from ...tensor import Tensor
from ...tensor import functions as T
from ...tensor.autocast import autocast, get_autocast_dtype, is_autocast_enabled
from ._block_mask import (BlockMask, ModFunction, and_masks, create_block_mask, create_mask, from_lists, indices, noop_mask, or_masks,
                          sliced)
from ._mods import mapped

__all__ = ["AuxOutput", "AuxRequest", "BlockMask", "and_masks", "create_block_mask", "create_mask", "flex_attention", "noop_mask",
           "or_masks"]

_MANY = 1 << 21             # scores from which it pays to leave blocks out
_SHARE = 0.5                # of the scores that is left then, at most: several small products cost more than one large one


class AuxRequest(NamedTuple):
    """What `flex_attention` returns beside its output."""

    lse: bool = False
    max_scores: bool = False


class AuxOutput(NamedTuple):
    """What was asked for by an `AuxRequest`, else None. lse (B, H, L): the logarithm of the sum of the exponentials of a query's scores;
    max_scores (B, H, L): the largest of them, without gradient. -inf where a query may attend to nothing."""

    lse: Tensor | None = None
    max_scores: Tensor | None = None


def flex_attention(query: Tensor, key: Tensor, value: Tensor, score_mod: ModFunction | None = None, block_mask: BlockMask | None = None,
                   scale: float | None = None, enable_gqa: bool = False, return_lse: bool = False,
                   kernel_options: dict[str, Any] | None = None, *, return_aux: AuxRequest | None = None) -> Any:
    """Attention with the scores `score_mod(score, batch, head, q_idx, kv_idx)`, of which those count that `block_mask` allows.

    query (B, Hq, L, E), key (B, Hkv, S, E), value (B, Hkv, S, Ev): (B, Hq, L, Ev). `scale` defaults to 1 / sqrt(E). With `enable_gqa`
    each head of key and value serves Hq / Hkv heads of query. A query of several batches may meet key and value of one, if the block
    mask is made for the batches. `return_aux` asks for more: (output, AuxOutput); `return_lse` for (output, lse).
    `kernel_options` tune the kernels of other devices; nothing depends on them here.
    Raises ValueError for shapes that do not fit, or a block mask for other lengths.
    """
    _check(query, key, value, block_mask, enable_gqa)
    if return_lse and return_aux is not None:
        fail(ValueError, "P5711", "Cannot specify both return_lse and return_aux.", fix="return_aux=AuxRequest(lse=True)")
    want = return_aux or AuxRequest(lse=return_lse)
    scale = 1 / math.sqrt(max(query.shape[-1], 1)) if scale is None else scale
    if is_autocast_enabled("cpu"):
        query, key, value = [x.to(get_autocast_dtype("cpu")) for x in (query, key, value)]
    with autocast("cpu", enabled=False):
        key, value = [_for_heads(x, query) for x in (key, value)]
        parts = [_attend(query, key, value, score_mod, block_mask, scale, want, rows, columns)
                 for rows, columns in _parts(query, key, block_mask)]
        output, lse, largest = [_joined(p) for p in zip(*parts)]
    if return_aux is not None:
        return output, AuxOutput(lse, largest)
    return (output, lse) if return_lse else output


def _check(query: Tensor, key: Tensor, value: Tensor, block_mask: BlockMask | None, enable_gqa: bool) -> None:
    got = describe(query, key, value)
    if not query.ndim == key.ndim == value.ndim == 4:
        fail(NotImplementedError, "P5712", "query, key, and value must be 4D tensors", got=got,
             fix="(batch, heads, length, features): unsqueeze what is missing")
    if query.shape[-1] != key.shape[-1]:
        fail(ValueError, "P5713", "Expect query and key/value to have the same embedding dimension but got "
             f"E={query.shape[-1]} and E={key.shape[-1]}.", got=got, fix="the last dimension of query and key is one")
    heads, groups = query.shape[1], key.shape[1]
    if not enable_gqa and heads != groups:
        fail(ValueError, "P5714", f"Expect query and key/value to have the same number of heads but got Hq={heads} and Hkv={groups}. "
             "Try setting enable_gqa=True for GQA.", got=got, fix="enable_gqa=True")
    if heads % max(groups, 1):
        fail(ValueError, "P5715", "Expect number of query heads to be a multiple of kv heads for GQA but got "
             f"Hq={heads} and Hkv={groups}.", got=got, fix="each head of key and value serves equally many of query")
    if value.shape[:3] != key.shape[:3]:
        fail(ValueError, "P5716", "Expect key and value to have the same batch, heads and length", got=got,
             fix="only the last dimension may differ")
    if query.shape[0] != key.shape[0] and (block_mask is None or key.shape[0] != 1 or block_mask.kv_num_blocks.shape[0] != query.shape[0]):
        fail(ValueError, "P5717", "Expect query and key/value to have the same batch size, or block_mask and query to have the same "
             f"batch size and key/value a batch of 1, but got Bq={query.shape[0]} and Bkv={key.shape[0]}.", got=got, fix="expand key and value")
    if block_mask is None:
        return
    if block_mask.mask_mod is sliced:
        fail(RuntimeError, "P5718", "Cannot use mask_mod from a sliced BlockMask", got="a BlockMask made by indexing",
             fix="part.mask_mod = a function made from the whole mask's mask_mod, with the offset of the part")
    lengths = query.shape[2], key.shape[2]
    if tuple(block_mask.seq_lengths) != lengths:
        fail(ValueError, "P5719", f"block_mask was created for block_mask.shape={block_mask.shape} but got q_len={lengths[0]} and "
             f"kv_len={lengths[1]}.", got=got,
             fix="create_block_mask for these lengths; block_mask._adjust(q_len, kv_len) is the upper left part of one")


def _for_heads(x: Tensor, query: Tensor) -> Tensor:
    """A key or value with the batches and heads of `query`."""
    if x.shape[1] != query.shape[1]:
        x = T.repeat_interleave(x, query.shape[1] // x.shape[1], 1)
    return x if x.shape[0] == query.shape[0] else x.expand(query.shape[0], -1, -1, -1)


def _joined(parts: tuple) -> Tensor | None:
    """The results for all queries."""
    return parts[0] if len(parts) == 1 else None if parts[0] is None else T.cat(parts, 2)


def _parts(query: Tensor, key: Tensor, block_mask: BlockMask | None) -> list[tuple[range, range]]:
    """(queries, keys) to be looked at together: all, or runs of blocks of queries, with the keys between the first and last they see."""
    length, total = query.shape[2], key.shape[2]
    whole = [(range(length), range(total))]
    if block_mask is None or math.prod(query.shape[:3]) * total < _MANY or not values_known():
        return whole
    down, right = block_mask.BLOCK_SIZE
    seen = block_mask.to_dense().flatten(0, -3).any(0).numpy()
    hulls = [(min(found), max(found) + 1) if len(found) else (0, 1) for found in [row.nonzero()[0] for row in seen]]
    parts, start = [], 0
    for row in range(1, len(hulls) + 1):
        if row == len(hulls) or hulls[row] != hulls[start]:
            first, last = hulls[start]
            parts.append((range(start * down, min(row * down, length)), range(int(first) * right, min(int(last) * right, total))))
            start = row
    return parts if sum([len(r) * len(c) for r, c in parts]) <= _SHARE * length * total else whole


def _attend(query: Tensor, key: Tensor, value: Tensor, score_mod: ModFunction | None, block_mask: BlockMask | None, scale: float,
            want: AuxRequest, rows: range, columns: range) -> tuple[Tensor, Tensor | None, Tensor | None]:
    """(output, lse, largest score) of the queries in `rows`, which see keys in `columns` only."""
    if len(rows) < query.shape[2]:
        query = query[:, :, rows.start:rows.stop]
    if len(columns) < key.shape[2]:
        key, value = key[:, :, columns.start:columns.stop], value[:, :, columns.start:columns.stop]
    ranges = range(query.shape[0]), range(query.shape[1]), rows, columns
    mask = None if block_mask is None else _allowed(block_mask, ranges)
    if score_mod is None and not any(want) and query.dtype is key.dtype is value.dtype:
        return F.scaled_dot_product_attention(query, key, value, mask, 0.0, False, scale), None, None
    wide = dt.float64 if query.dtype is dt.float64 else dt.float32
    scores = T.matmul(query.to(wide), key.to(wide).transpose(-2, -1)) * scale
    if score_mod is not None:
        scores = mapped(score_mod, indices(*ranges), scores).to(wide)
    if mask is not None:
        scores = T.where(mask, scores, -math.inf)
    # a query without keys: its scores are replaced before softmax, whose gradient would be nan
    nothing = T.eq(scores, -math.inf).all(-1, keepdim=True)
    safe = T.where(nothing, 0.0, scores)
    weights = T.where(nothing, 0.0, T.softmax(safe, -1))
    output = T.matmul(weights.to(query.dtype), value.to(query.dtype))
    lse = T.where(nothing.squeeze(-1), -math.inf, T.logsumexp(safe, -1)) if want.lse else None
    return output, lse, T.amax(scores.detach(), -1) if want.max_scores else None


def _allowed(block_mask: BlockMask, ranges: tuple[range, range, range, range]) -> Tensor:
    """The mask of bool, broadcastable to (B, H, L, S), of these queries and keys."""
    rows, columns = ranges[2:]
    mask = mapped(block_mask.mask_mod, indices(*ranges))
    for d in (0, 1):                        # what it does not look at, it is the same for
        if mask.stride(d) == 0:
            mask = mask.narrow(d, 0, 1)

    def whole(number: Tensor, which: Tensor) -> Tensor:
        """The blocks at these queries and keys, as large as they are."""
        found = from_lists(number, which, which.shape[-1]).to(dt.bool_)
        found = found[(None,) * (4 - found.ndim)]
        down, right = block_mask.BLOCK_SIZE
        found = found[:, :, rows.start // down:-(-rows.stop // down), columns.start // right:-(-columns.stop // right)]
        return found.repeat_interleave(down, 2).repeat_interleave(right, 3)[:, :, :len(rows), :len(columns)]
    mask = T.logical_and(mask, whole(block_mask.kv_num_blocks, block_mask.kv_indices))
    if block_mask.full_kv_num_blocks is None:
        return mask
    return T.logical_or(mask, whole(block_mask.full_kv_num_blocks, block_mask.full_kv_indices))
