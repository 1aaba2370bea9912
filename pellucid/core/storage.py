"""`Storage`: the memory that a tensor and its views share, with the version counter that in-place writes bump.

A tensor gets one only when somebody asks (a view, an in-place write, `data_ptr`), so that plain results cost nothing.
True always: all tensors over the same memory that know of each other hold the same Storage object.
"""
from __future__ import annotations

import ctypes
import os

import numpy as np

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3     # glibc's malloc.h


def keep_freed_memory(kept: int = 256 << 20) -> bool:
    """Tell the C allocator to keep up to `kept` bytes of freed memory for the next tensors. True if it took the advice.

    Without it every buffer above 128 KiB is mapped anew, and each step pays for its page faults again (a 784-128-10 training
    step: 950 against 690 us). This is the pool of buffers: NumPy's arrays come from this allocator. glibc only; the
    environment variable PELLUCID_KEEP_MEMORY=0 leaves the allocator alone.
    """
    if os.environ.get("PELLUCID_KEEP_MEMORY") == "0":
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if os.name == "posix" else None
    if mallopt is None:
        return False
    return bool(mallopt(M_TRIM_THRESHOLD, kept)) and bool(mallopt(M_MMAP_THRESHOLD, 32 << 20))     # 32 MiB is glibc's maximum


keep_freed_memory()


ARRAYS: set[type] = {np.ndarray}        # what tensors hold: arrays, and the fakes of tracing


def root(a: np.ndarray) -> np.ndarray:
    """The array that owns `a`'s memory (or the outermost one over foreign memory)."""
    while type(a.base) in ARRAYS:
        a = a.base
    return a


class Clock:
    """Counts writes to several memories at once. `whole`: none of those it counted for has left it for another one."""

    __slots__ = ("count", "members", "whole")

    def __init__(self, members: int = 0):
        self.count, self.members, self.whole = 0, members, True


STILL = Clock()                         # of memories that nobody writes together with others


class Storage:
    """Memory of a tensor family. `array` owns the bytes, `version` counts in-place writes: `own` those to it alone, `clock` those to it
    and others together (a compiled step's); `handed` how often the memory was given to somebody whose writes are not counted (NumPy,
    `.data`)."""

    __slots__ = ("array", "own", "clock", "handed", "views", "__weakref__")

    def __init__(self, array: np.ndarray):
        self.array = root(array)
        self.own = self.handed = 0
        self.clock = STILL
        self.views: list | None = None          # weak references to differentiable views, for in-place rebasing

    @property
    def version(self) -> int:
        return self.own + self.clock.count

    @version.setter
    def version(self, version: int) -> None:
        self.own = version - self.clock.count

    def join(self, clock: Clock) -> None:
        """Let `clock` count from now on, from the version that there is."""
        self.clock.whole = self.clock is STILL
        self.own, self.clock = self.own + self.clock.count - clock.count, clock

    def data_ptr(self) -> int:
        return self.array.__array_interface__["data"][0]

    def nbytes(self) -> int:
        return self.array.nbytes

    def bytes(self) -> np.ndarray:
        """The memory as a flat uint8 array (shared)."""
        a = self.array
        if a.size == 0:
            return np.empty(0, np.uint8)
        if type(a) is not np.ndarray and type(a) in ARRAYS:
            a.tobytes()                         # a fake says that it has no values
        flat = np.lib.stride_tricks.as_strided(a, (a.size,), (a.itemsize,)) if not a.flags.c_contiguous else a.reshape(-1)
        return flat.view(np.uint8)
