"""How a tensor's memory is pickled for another process: as the descriptor of its shared file.

In: a Storage in a queue, a pipe or a process's arguments. Out: the Storage there, over the same memory. What stays true: ordinary
pickles (`copy`, `pickle.dumps`) are not changed; only those that `multiprocessing` writes are.
"""
from __future__ import annotations

import os
from multiprocessing.reduction import DupFd, ForkingPickler
from typing import Any

from ..core.storage import Storage
from ..tensor.sharing import SharedMap, map_file, shared_copy, shared_map

__all__: list[str] = []

_STRATEGIES = frozenset(("file_descriptor",))


def get_all_sharing_strategies() -> set[str]:
    """The ways in which memory can be shared: by file descriptors."""
    return set(_STRATEGIES)


def get_sharing_strategy() -> str:
    """The way in use."""
    return "file_descriptor"


def set_sharing_strategy(new_strategy: str) -> None:
    """Choose a way. AssertionError if it is not among `get_all_sharing_strategies()`."""
    if new_strategy not in _STRATEGIES:
        raise AssertionError(f"sharing strategy {new_strategy!r} is not among {sorted(_STRATEGIES)}")


def reduce_storage(storage: Storage) -> tuple[Any, tuple]:
    """The descriptor and size of the storage's memory, which is copied into shared memory unless it lies there."""
    mapped = shared_map(storage)
    if not isinstance(mapped, SharedMap):
        storage = Storage(shared_copy(storage))
        mapped = shared_map(storage)
    return rebuild_storage, (DupFd(mapped.fd), storage.nbytes())


def rebuild_storage(descriptor: Any, nbytes: int) -> Storage:
    """The Storage over memory that another process shares."""
    fd = descriptor.detach()
    try:
        return Storage(map_file(fd, nbytes))
    except BaseException:
        os.close(fd)
        raise


def init_reductions() -> None:
    """Let `multiprocessing` pickle tensors so."""
    ForkingPickler.register(Storage, reduce_storage)
