"""Memory that several processes see: an unnamed file, mapped.

In: a Storage. Out: a copy of it in memory that forks share, and that travels to other processes by its file descriptor
(`multiprocessing.reductions`). True always: the memory lives as long as some process maps it, and leaves nothing behind.
"""
from __future__ import annotations

import mmap
import os

import numpy as np

from ..core.storage import Storage

__all__: list[str] = []


class SharedMap(mmap.mmap):
    """A mapping that remembers its file."""

    fd = -1

    def __del__(self) -> None:
        if self.fd >= 0:
            os.close(self.fd)


def map_file(fd: int, nbytes: int) -> np.ndarray:
    """The first `nbytes` of an open file as memory; the array owns the descriptor from now on."""
    mapped = SharedMap(fd, max(nbytes, 1))
    mapped.fd = fd
    return np.frombuffer(mapped, np.uint8, nbytes)


def new_file(nbytes: int) -> int:
    """The descriptor of a new file that has no name."""
    if hasattr(os, "memfd_create"):
        fd = os.memfd_create("pellucid", os.MFD_CLOEXEC)
    else:
        import tempfile             # here, because Linux has no use for it, and it takes long to import
        with tempfile.TemporaryFile() as file:
            fd = os.dup(file.fileno())
    os.truncate(fd, max(nbytes, 1))
    return fd


def shared_copy(storage: Storage) -> np.ndarray:
    """The storage's bytes in shared memory."""
    nbytes = storage.nbytes()
    new = map_file(new_file(nbytes), nbytes)
    new[...] = storage.bytes()
    return new


def shared_map(storage: Storage) -> mmap.mmap | None:
    """The mapping under a storage that is shared, or None."""
    base = storage.array.base
    if isinstance(base, memoryview):
        base = base.obj
    return base if isinstance(base, mmap.mmap) else None
