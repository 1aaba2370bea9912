"""Large arrays from memory that is used again: a fresh 64 MiB result costs more in page faults than in arithmetic.

In: a shape and a dtype. Out: an uninitialised row-major array, aligned to 64 bytes. The memory comes back when the last array over it is
gone, whatever views were taken: its owner is the arrays' base.

Huge pages are not asked for: the system may stop to put memory in order for them (a first step of GPT: 0.36 against 0.54 s), and the
steps after it are no quicker.

True always: memory in use is never handed out again; at most `LIMIT` bytes wait for a next use, the rest is given back.
"""
from __future__ import annotations

import ctypes
import mmap
import os
import sys
from collections import Counter
from collections.abc import Iterable
from functools import cache
from sys import getrefcount

import numpy as np

POPULATE_WRITE = 23             # Linux's madvise, from 5.14 on
LEAST = 1 << 20                 # smaller arrays come from the C allocator, which keeps freed memory (core/storage.py)
MAPS = hasattr(mmap, "MAP_ANONYMOUS")


def _memory() -> int:
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, OSError, ValueError):
        return 8 << 30


LIMIT = max(256 << 20, _memory() // 8)


class _Block:
    """A mapping that goes back to the pool with its last array."""

    __slots__ = ("map", "start", "size", "__weakref__")

    def __init__(self, size: int):
        self.map, self.start, self.size = None, 0, size
        try:
            self.map = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        except (OSError, OverflowError, ValueError):
            raise MemoryError(f"no memory for an array of {size:,} bytes") from None
        self.start = np.frombuffer(self.map, np.uint8).__array_interface__["data"][0]


class _Owner:
    """Mixed into a ctypes array over a block, which is what NumPy's arrays hold on to."""

    def __del__(self):
        give_back(self.block)


@cache
def _owner(size: int) -> type:
    return type("Owner", (ctypes.c_char * size, _Owner), {})


def alone(a: np.ndarray) -> bool:
    """Whether no other array lies over the memory of `a` (a view's memory is another's)."""
    base = a.base
    return base is None or isinstance(base, _Owner) and getrefcount(base) == 3      # `a` itself, `base`, the argument


_free: dict[int, list[_Block]] = {}


def size_class(nbytes: int) -> int:
    """`nbytes` rounded up to one of eight steps per power of two."""
    step = max(1 << max(nbytes.bit_length() - 4, 0), 4096)
    return -(-nbytes // step) * step


def give_back(block: _Block) -> None:
    """A block is free again. (Called from finalisers: single dict and list operations only, which are atomic.)"""
    waiting = sum([len(blocks) * size for size, blocks in list(_free.items())])
    if waiting + block.size <= LIMIT:
        _free.setdefault(block.size, []).append(block)


def clear() -> None:
    """Give all waiting memory back to the system."""
    for blocks in list(_free.values()):
        blocks.clear()


def waiting() -> int:
    """Bytes that wait for a next use."""
    return sum([len(blocks) * size for size, blocks in list(_free.items())])


def empty(shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
    """An uninitialised array. Raises MemoryError."""
    nbytes = dtype.itemsize
    for n in shape:
        nbytes *= n
    if nbytes < LEAST or not MAPS:
        return np.empty(shape, dtype)
    size = size_class(nbytes)
    try:
        block = _free[size].pop()
    except (KeyError, IndexError):
        try:
            block = _Block(size)
        except MemoryError:
            clear()
            block = _Block(size)
    owner = _owner(size).from_address(block.start)
    owner.block = block
    return np.ndarray(shape, dtype, owner)


def populate(arrays: Iterable[np.ndarray] = (), sizes: Iterable[int] = ()) -> None:
    """Have the system give memory that is about to be written to: that of contiguous `arrays`, whose contents stay, and of new arrays of
    these `sizes` in bytes, which `empty` makes. At once it takes half of what it takes page by page, at the first write. Nothing happens
    where the system cannot, nor beyond `LIMIT` bytes: so much may never be written."""
    if not MAPS or sys.platform != "linux":
        return
    spans = [(a, a.__array_interface__["data"][0], a.nbytes) for a in arrays if a.nbytes >= LEAST and a.flags.c_contiguous]
    for size, many in Counter([size_class(n) for n in sizes if n >= LEAST]).items():
        for _ in range(many - len(_free.get(size, ()))):
            try:
                block = _Block(size)
            except MemoryError:                 # who asks for the array is told
                break
            give_back(block)
            spans.append((block, block.start, size))        # (it stays mapped meanwhile, whoever takes it)
    if not spans or sum([size for _, _, size in spans]) > LIMIT:
        return
    advise, page = ctypes.CDLL(None).madvise, mmap.PAGESIZE
    for _, start, size in spans:
        begin, end = -(-start // page) * page, (start + size) // page * page
        advise(ctypes.c_void_p(begin), ctypes.c_size_t(end - begin), POPULATE_WRITE)
