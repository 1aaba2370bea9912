"""Memory from the system before it is first written to: in a first call a third of the time would go there, page by page.

In: arrays that will be written to, sizes of arrays that will be made. Out: a thread that goes from page to page beside whatever comes
before the first write. What stays true: contents do not change, also while somebody else writes; nobody has to wait for it.
"""
from __future__ import annotations

import ctypes
import mmap
from collections.abc import Callable, Iterable
from threading import Thread

import numpy as np

from ..core import pool
from . import threads
from .loaded import the_engine

__all__: list[str] = []

SMALL = 1 << 16                 # bytes: less is not worth asking for


def touch(arrays: Iterable[np.ndarray] = (), sizes: Iterable[int] = ()) -> Thread | None:
    """Have the memory of contiguous `arrays`, and of arrays of `sizes` bytes that are made soon. Beyond `pool.LIMIT` bytes nothing happens:
    so much may never be written."""
    sizes = [n for n in sizes if n >= SMALL]
    blocks = pool.reserve(sizes)
    kept = [a for a in arrays if a.nbytes >= SMALL and a.flags.c_contiguous and a.flags.writeable]
    kept += [np.empty(n, np.uint8) for n in sizes if n < pool.LEAST]        # what the C allocator gets back it gives again
    spans = [(a.__array_interface__["data"][0], a.nbytes) for a in kept] + [(block.start, block.size) for block in blocks]
    if not spans or sum([size for _, size in spans]) > pool.LIMIT:
        return None
    return threads.beside(touching, the_engine().touch, spans, [kept, blocks])


def touching(write: Callable, spans: list[tuple[int, int]], kept: list) -> None:
    """Write to each page of each span, without a change. `kept`: what the memory belongs to."""
    table = np.array([(start, start + size) for start, size in spans], np.int64)
    write(ctypes.c_void_p(table.__array_interface__["data"][0]), len(table), mmap.PAGESIZE)
