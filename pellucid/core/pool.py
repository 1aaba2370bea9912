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
from collections import Counter
from collections.abc import Iterable
from functools import cache
from math import prod
from sys import getrefcount

import numpy as np

LEAST = 1 << 20                 # smaller arrays come from the C allocator, which keeps freed memory (core/storage.py)
ZEROS = 1 << 17                 # the same of zeros, which fresh memory from the system is without being written to
MAPS = hasattr(mmap, "MAP_ANONYMOUS")


def _memory() -> int:
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, OSError, ValueError):
        return 8 << 30


LIMIT = max(256 << 20, _memory() // 8)


class _Block:
    """A mapping that goes back to the pool with its last array."""

    __slots__ = ("map", "start", "size", "clean", "__weakref__")

    def __init__(self, size: int):
        self.map, self.start, self.size = None, 0, size
        self.clean = True                       # nobody has written to it
        try:
            self.map = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        except (OSError, OverflowError, ValueError):
            raise MemoryError(f"no memory for an array of {size:,} bytes") from None
        self.start = np.frombuffer(self.map, np.uint8).__array_interface__["data"][0]


class _Owner:
    """Mixed into a ctypes array over a block, which is what NumPy's arrays hold on to."""

    def __del__(self):
        self.block.clean = False
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


def empty(shape: tuple[int, ...], dtype: np.dtype, least: int = LEAST) -> np.ndarray:
    """An uninitialised array. Raises MemoryError."""
    nbytes = dtype.itemsize
    for n in shape:
        nbytes *= n
    if nbytes < least or not MAPS:
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


def zeros(shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
    """An array of zeros. Raises MemoryError."""
    if prod(shape) * dtype.itemsize < ZEROS or not MAPS:
        return np.zeros(shape, dtype)
    a = empty(shape, dtype, ZEROS)
    if not a.base.block.clean:
        a.fill(0)
    return a


def reserve(sizes: Iterable[int]) -> list[_Block]:
    """New blocks that `empty` and `zeros` will find, for arrays of these sizes in bytes: as many as do not wait already."""
    made = []
    for size, many in Counter([size_class(n) for n in sizes if n >= LEAST and MAPS]).items():
        for _ in range(many - len(_free.get(size, ()))):
            try:
                made.append(_Block(size))
            except MemoryError:                 # who asks for the array is told
                return made
            give_back(made[-1])
    return made
