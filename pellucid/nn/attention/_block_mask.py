"""Which queries may attend to which keys, by blocks: `BlockMask`, and what makes one.

In: a mask_mod, a function (batch, head, q_idx, kv_idx) of 0-d integer tensors that says whether that query may attend to that key.
Out: a `BlockMask`, which says for each block of queries which blocks of keys it sees in part and which in full.
What stays true: a query attends to a key where their block is listed as full, or is listed as partial and `mask_mod` says so.
"""
from __future__ import annotations

import inspect
import itertools
import math
from collections.abc import Callable
from typing import Any, NoReturn

from ...core import dtype as dt
from ...core.errors import fail
from ...ops.op import F
from ...tensor import Tensor
from ...tensor import functions as T
from ._mods import mapped

__all__: list[str] = []

BLOCK = 128
ModFunction = Callable[..., Tensor]


# ---------------------------------------------------------------------------------------------------- functions of places
def noop_mask(batch: Tensor, head: Tensor, token_q: Tensor, token_kv: Tensor) -> Tensor:
    """The mask_mod that hides nothing."""
    return batch.new_ones((), dtype=dt.bool_)


def or_masks(*mask_mods: ModFunction) -> ModFunction:
    """The mask_mod of what any of `mask_mods` allows."""
    _check_callable(mask_mods)

    def or_mask(b: Tensor, h: Tensor, q_idx: Tensor, kv_idx: Tensor) -> Tensor:
        result = b.new_zeros((), dtype=dt.bool_)
        for mask in mask_mods:
            result = result | mask(b, h, q_idx, kv_idx)
        return result
    return or_mask


def and_masks(*mask_mods: ModFunction) -> ModFunction:
    """The mask_mod of what all of `mask_mods` allow."""
    _check_callable(mask_mods)

    def and_mask(b: Tensor, h: Tensor, q_idx: Tensor, kv_idx: Tensor) -> Tensor:
        result = b.new_ones((), dtype=dt.bool_)
        for mask in mask_mods:
            result = result & mask(b, h, q_idx, kv_idx)
        return result
    return and_mask


def _check_callable(mask_mods: tuple) -> None:
    if not all([callable(m) for m in mask_mods]):
        fail(RuntimeError, "P5705", f"All inputs should be callable mask_mods: {mask_mods}",
             fix="mask_mod(batch, head, q_idx, kv_idx)")


def sliced(batch: Tensor, head: Tensor, token_q: Tensor, token_kv: Tensor) -> NoReturn:
    """The mask_mod of a part of a BlockMask: it would count from the wrong place."""
    fail(RuntimeError, "P5706", "Cannot use mask_mod from a sliced BlockMask", got="a BlockMask made by indexing: the mask_mod counts from "
         "the start of the whole", fix="part.mask_mod = a function made from the whole mask's mask_mod, with the offset of the part")


def indices(*ranges: range) -> tuple[Tensor, ...]:
    """The integers of each range."""
    return tuple([T.arange(r.start, r.stop) for r in ranges])


def takes_score(mod: ModFunction) -> bool:
    """Whether `mod` is a score_mod, of five arguments, not a mask_mod, of four."""
    if hasattr(mod, "__code__"):
        n = mod.__code__.co_argcount - len(mod.__defaults__ or ())
    else:
        n = len([p for p in inspect.signature(mod).parameters.values() if p.default is inspect.Parameter.empty])
    if n not in (4, 5):
        fail(AssertionError, "P5707", f"Expected 4 or 5 positional args, got {n}",
             fix="mask_mod(batch, head, q_idx, kv_idx) or score_mod(score, batch, head, q_idx, kv_idx)")
    return n == 5


def create_mask(mod_fn: ModFunction, B: int | None, H: int | None, Q_LEN: int, KV_LEN: int, device: Any = None) -> Tensor:
    """The mask (B, H, Q_LEN, KV_LEN) of a mask_mod, or of a score_mod: False where that makes a score of 0 to -inf. None is a size of 1."""
    ranges = range(B or 1), range(H or 1), range(Q_LEN), range(KV_LEN)
    if not takes_score(mod_fn):
        return mapped(mod_fn, indices(*ranges))
    scores = T.zeros([len(r) for r in ranges], device=device)
    return T.logical_not(T.isneginf(mapped(mod_fn, indices(*ranges), scores)))


def create_block_mask(mask_mod: ModFunction, B: int | None, H: int | None, Q_LEN: int, KV_LEN: int, device: Any = None,
                      BLOCK_SIZE: int | tuple[int, int] = BLOCK, separate_full_blocks: bool = True) -> BlockMask:
    """The BlockMask of a mask_mod.

    B, H: for how many batches and heads it differs (None: it is the same for all). BLOCK_SIZE: queries and keys in a block.
    separate_full_blocks: list blocks in which every query sees every key apart.
    """
    if takes_score(mask_mod):
        fail(AssertionError, "P5708", f"create-block_mask requires a mask_mod function! Got {mask_mod}",
             fix="mask_mod(batch, head, q_idx, kv_idx) has four arguments; a score_mod goes to flex_attention itself")
    size = (BLOCK_SIZE, BLOCK_SIZE) if isinstance(BLOCK_SIZE, int) else tuple(BLOCK_SIZE)
    mask = create_mask(mask_mod, B, H, Q_LEN, KV_LEN, device)
    partial, full = by_blocks(mask, size, separate_full_blocks)
    return BlockMask.from_kv_blocks(*to_lists(partial), *((None, None) if full is None else to_lists(full)), BLOCK_SIZE=size,
                                    mask_mod=mask_mod, seq_lengths=(Q_LEN, KV_LEN))


# ---------------------------------------------------------------------------------------------------- blocks
def by_blocks(mask: Tensor, size: tuple[int, int], separate: bool) -> tuple[Tensor, Tensor | None]:
    """Which blocks of a mask (B, H, L, S) hold something, and with `separate` which of those hold everything, apart."""
    b, h, rows, columns = mask.shape
    down, right = -(-rows // size[0]), -(-columns // size[1])
    padded = F.pad(mask, (0, right * size[1] - columns, 0, down * size[0] - rows))
    seen = padded.reshape(b, h, down, size[0], right, size[1]).sum((3, 5))
    if not separate:
        return seen > 0, None
    full = seen == size[0] * size[1]
    return T.logical_and(seen > 0, T.logical_not(full)), full


def to_lists(blocks: Tensor) -> tuple[Tensor, Tensor]:
    """(how many, which) of the columns of each row are not 0: (*, rows) and (*, rows, columns), those that are first."""
    blocks = blocks.to(dt.int32)
    return blocks.sum(-1).to(dt.int32), T.argsort(blocks, dim=-1, descending=True, stable=True).to(dt.int32)


def from_lists(number: Tensor, which: Tensor, columns: int) -> Tensor:
    """1 at the columns that each row lists, else 0: (*, rows, columns), the inverse of `to_lists`."""
    listed = T.arange(which.shape[-1]) < number.unsqueeze(-1)
    places = T.where(listed, which, columns).long()             # the rest goes to a column that is cut off
    found = T.zeros(*which.shape[:-1], columns + 1, dtype=dt.int32).scatter(-1, places, 1)
    return found[..., :columns].contiguous()


def transposed(number: Tensor, which: Tensor) -> tuple[Tensor, Tensor]:
    """The lists of rows for each column."""
    return to_lists(from_lists(number, which, which.shape[-1]).transpose(-2, -1))


class BlockMask:
    """Which blocks of keys each block of queries sees: for `block_mask` of `flex_attention`. `create_block_mask` makes one.

    `kv_num_blocks` (*, rows) and `kv_indices` (*, rows, columns) list the blocks for which `mask_mod` decides, `full_kv_num_blocks` and
    `full_kv_indices` (or None) those that are seen whole; what comes after the first `kv_num_blocks` of a row has no meaning. The fields
    with `q` list blocks of queries for each block of keys. `BLOCK_SIZE` is (queries, keys); `seq_lengths` too.
    """

    _capture_as_users = True            # whoever has one may give it another mask_mod

    def __init__(self, seq_lengths: tuple[int, int], kv_num_blocks: Tensor, kv_indices: Tensor, full_kv_num_blocks: Tensor | None,
                 full_kv_indices: Tensor | None, q_num_blocks: Tensor | None, q_indices: Tensor | None, full_q_num_blocks: Tensor | None,
                 full_q_indices: Tensor | None, BLOCK_SIZE: tuple[int, int] = (BLOCK, BLOCK), mask_mod: ModFunction = noop_mask) -> None:
        if kv_indices.dim() < 2:
            fail(RuntimeError, "P5709", "BlockMask must have at least 2 dimensions", got=f"kv_indices {list(kv_indices.shape)}",
                 fix="kv_indices are (*, blocks of queries, blocks of keys)")
        for name, number, which in (("kv", full_kv_num_blocks, full_kv_indices), ("q", full_q_num_blocks, full_q_indices)):
            if (number is None) != (which is None):
                fail(AssertionError, "P5710", f"full_{name}_num_blocks and full_{name}_indices must be both provided or omitted",
                     fix="one says how many blocks a row lists, the other which")
        self.seq_lengths = seq_lengths
        self.kv_num_blocks, self.kv_indices = kv_num_blocks, kv_indices
        self.full_kv_num_blocks, self.full_kv_indices = full_kv_num_blocks, full_kv_indices
        self.q_num_blocks, self.q_indices = q_num_blocks, q_indices
        self.full_q_num_blocks, self.full_q_indices = full_q_num_blocks, full_q_indices
        self.BLOCK_SIZE = BLOCK_SIZE
        self.mask_mod = mask_mod

    @classmethod
    def from_kv_blocks(cls, kv_num_blocks: Tensor, kv_indices: Tensor, full_kv_num_blocks: Tensor | None = None,
                       full_kv_indices: Tensor | None = None, BLOCK_SIZE: int | tuple[int, int] = BLOCK,
                       mask_mod: ModFunction | None = None, seq_lengths: tuple[int, int] | None = None,
                       compute_q_blocks: bool = True) -> BlockMask:
        """The BlockMask with these lists of blocks of keys; those of blocks of queries are made from them, unless `compute_q_blocks` is
        False. Without `seq_lengths` the last blocks are whole. RuntimeError for indices of fewer than two dimensions."""
        if kv_indices.dim() < 2 or (full_kv_num_blocks is None) != (full_kv_indices is None):
            return cls((0, 0), kv_num_blocks, kv_indices, full_kv_num_blocks, full_kv_indices, None, None, None, None)     # says so
        size = (BLOCK_SIZE, BLOCK_SIZE) if isinstance(BLOCK_SIZE, int) else BLOCK_SIZE
        queries: tuple = (None, None, None, None)
        if compute_q_blocks:
            full = (None, None) if full_kv_num_blocks is None else transposed(full_kv_num_blocks, full_kv_indices)
            queries = *transposed(kv_num_blocks, kv_indices), *full
        if seq_lengths is None:
            seq_lengths = kv_indices.shape[-2] * size[0], kv_indices.shape[-1] * size[1]
        return cls(seq_lengths, kv_num_blocks, kv_indices, full_kv_num_blocks, full_kv_indices, *queries, size,
                   noop_mask if mask_mod is None else mask_mod)

    def as_tuple(self, flatten: bool = True) -> tuple:
        """Its fields: the lengths, the lists, the block size and `mask_mod`; the two pairs as pairs if not `flatten`."""
        lengths, size = (self.seq_lengths, self.BLOCK_SIZE) if flatten else ((self.seq_lengths,), (self.BLOCK_SIZE,))
        return (*lengths, self.kv_num_blocks, self.kv_indices, self.full_kv_num_blocks, self.full_kv_indices, self.q_num_blocks,
                self.q_indices, self.full_q_num_blocks, self.full_q_indices, *size, self.mask_mod)

    @property
    def shape(self) -> tuple[int, ...]:
        """(*, queries, keys)"""
        return (*self.kv_indices.shape[:-2], *self.seq_lengths)

    def numel(self) -> int:
        """How many pairs of a query and a key there are, seen or not."""
        return math.prod(self.shape)

    def sparsity(self) -> float:
        """The percentage of blocks that are not looked at."""
        listed = self.kv_num_blocks.sum()
        if self.full_kv_num_blocks is not None:
            listed = listed + self.full_kv_num_blocks.sum()
        return 100 * (1 - listed.item() * self.BLOCK_SIZE[0] * self.BLOCK_SIZE[1] / self.numel())

    def to_dense(self) -> Tensor:
        """1 for each block that is seen in part or in full: (*, blocks of queries, blocks of keys)."""
        found = from_lists(self.kv_num_blocks, self.kv_indices, self.kv_indices.shape[-1])
        if self.full_kv_num_blocks is not None:
            found = found | from_lists(self.full_kv_num_blocks, self.full_kv_indices, self.full_kv_indices.shape[-1])
        return found

    def to(self, device: Any) -> BlockMask:
        """The same on `device`."""
        fields = [x.to(device) if isinstance(x, Tensor) else x for x in self.as_tuple(flatten=False)]
        return BlockMask(*fields)

    def __getitem__(self, index: int | slice | Tensor | tuple) -> BlockMask:
        """The part at `index` of the batches, heads and blocks of queries. Give it a `mask_mod` that counts from its start before use."""
        index = index if isinstance(index, tuple) else (index,)
        padded = (*index, slice(None), slice(None), slice(None))[:3]
        # an int keeps its dimension, as a slice of one
        index = tuple([(slice(i + n, i + n + 1) if -n <= i < 0 else slice(i, i + 1)) if isinstance(i, int) else i
                       for i, n in zip(padded, self.kv_num_blocks.shape[:3])])
        lists = self.kv_num_blocks, self.kv_indices, self.full_kv_num_blocks, self.full_kv_indices
        return BlockMask.from_kv_blocks(*[x if x is None else x[index] for x in lists], BLOCK_SIZE=self.BLOCK_SIZE, mask_mod=sliced,
                                        seq_lengths=self.seq_lengths, compute_q_blocks=self.q_indices is not None)

    def _adjust(self, new_q_len: int, new_kv_len: int) -> BlockMask:
        """The upper left part for other lengths."""
        rows, columns = -(-new_q_len // self.BLOCK_SIZE[0]), -(-new_kv_len // self.BLOCK_SIZE[1])

        def cut(number: Tensor, which: Tensor) -> tuple[Tensor, Tensor]:
            return to_lists(from_lists(number, which, which.shape[-1])[..., :rows, :columns])
        full = (None, None) if self.full_kv_num_blocks is None else cut(self.full_kv_num_blocks, self.full_kv_indices)
        return self.from_kv_blocks(*cut(self.kv_num_blocks, self.kv_indices), *full, BLOCK_SIZE=self.BLOCK_SIZE, mask_mod=self.mask_mod,
                                   seq_lengths=(new_q_len, new_kv_len), compute_q_blocks=self.q_indices is not None)

    def to_string(self, grid_size: int | tuple[int, int] = (20, 20), limit: int = 4) -> str:
        """A drawing of which blocks are looked at, for the first `limit` batches and heads, in at most `grid_size` (-1: all) rows and
        columns: where there are more blocks a sign stands for several, of which all, some or none are."""
        blocks = self.to_dense()
        *lead, rows, columns = blocks.shape
        most = (rows, columns) if grid_size == -1 else (grid_size, grid_size) if isinstance(grid_size, int) else grid_size
        down, right = max(1, -(-rows // most[0])), max(1, -(-columns // most[1]))
        parts = []
        for count, place in enumerate(itertools.product(*[range(n) for n in lead])):
            if count == limit:
                parts += ["...", "To print out more, set BlockMask.to_string(limit=N)",
                          "You can also index (BlockMask[batch, head]) to choose a specific batch or head"]
                break
            grid = blocks[place].numpy()
            lines = [f"{place}"]
            for r in range(0, rows, down):
                shares = [grid[r:r + down, c:c + right].mean() for c in range(0, columns, right)]
                lines.append("".join(["██" if s == 1 else "  " if s == 0 else "░░" for s in shares]))
            parts.append("\n".join(lines) + "\n")
        return "\n".join(parts)

    def __str__(self) -> str:
        return f"BlockMask(shape={self.shape}, sparsity={self.sparsity():.2f}%, \n{self.to_string().strip()}\n)"

    def __repr__(self) -> str:
        names = ("kv_num_blocks", "kv_indices", "full_kv_num_blocks", "full_kv_indices", "q_num_blocks", "q_indices", "full_q_num_blocks",
                 "full_q_indices")
        fields = {n: getattr(getattr(self, n), "shape", None) for n in names}
        fields |= {"BLOCK_SIZE": self.BLOCK_SIZE, "shape": self.shape, "sparsity": f"{self.sparsity():.2f}%",
                   "mask_mod": getattr(self.mask_mod, "__name__", self.mask_mod)}
        return "BlockMask(\n" + ",\n".join([f"    {n}={v}" for n, v in fields.items()]) + "\n)"
