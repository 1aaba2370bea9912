"""Copying and pickling of tensors.

In: a tensor. Out: a copy, or what pickle needs to make one. True always: tensors that shared memory share it in the
copy (strides and offsets kept); attributes, class and `requires_grad` survive; only leaves can be deep-copied.
These pickles are for processes that trust each other (workers, queues); files are `pellucid.save`'s business.
"""
from __future__ import annotations

import copy
import copyreg
from typing import Any

import numpy as np

from ..core import dtype as dt
from ..core.device import META
from ..core.errors import describe, fail
from ..core.storage import Storage
from ..ops.op import F
from .core import Slots, _Types, wrap
from .fake import without_data
from .storages import storage_of, view_of

__all__ = ["deepcopy", "rebuild", "reduce", "rewrap"]


def deepcopy(t, memo: dict[int, Any]):
    """A deep copy. Raises RuntimeError for a tensor that was computed and requires grad."""
    if not t.is_leaf:
        fail(RuntimeError, "P370", "Only Tensors created explicitly by the user (graph leaves) support the deepcopy protocol at the "
             "moment.", got=describe(t), fix="detach() the tensor first")
    if id(t) in memo:
        return memo[id(t)]
    if without_data(t):
        c = memo[id(t)] = rebuild_meta(t.dtype, tuple(t._a.shape), t.stride(), t._rg, type(t), copy.deepcopy(t.__dict__, memo))
        return c
    storage = storage_of(t)
    new = memo.get(id(storage))
    if new is None:
        new = memo[id(storage)] = Storage(storage.bytes().copy())
    c = rebuild(new, t.dtype, t.storage_offset(), tuple(t._a.shape), t.stride(), t._rg, type(t), None)
    memo[id(t)] = c
    if t._grad is not None:
        c._grad = deepcopy(t.grad, memo)
    if t.__dict__:
        c.__dict__.update(copy.deepcopy(t.__dict__, memo))
    return c


def reduce(t) -> tuple:
    """`__reduce_ex__` of a tensor: its storage (shared by whatever shares it) and its geometry."""
    if without_data(t):
        return rebuild_meta, (t.dtype, tuple(t._a.shape), t.stride(), t._rg, type(t), t.__dict__ or None)
    return rebuild, (storage_of(t), t.dtype, t.storage_offset(), tuple(t._a.shape), t.stride(), t._rg, type(t), t.__dict__ or None)


def rebuild(storage: Storage, d: dt.dtype, offset: int, size: tuple[int, ...], stride: tuple[int, ...], requires_grad: bool,
            cls: type, attributes: dict | None):
    """The tensor that `reduce` described."""
    t = wrap(view_of(storage, d, offset, size, stride))
    t._st = storage
    if cls is not _Types.tensor:
        t = t.as_subclass(cls)
    t._rg = requires_grad
    if attributes:
        t.__dict__.update(attributes)
    return t


def rebuild_meta(d: dt.dtype, size: tuple[int, ...], stride: tuple[int, ...], requires_grad: bool, cls: type, attributes: dict | None):
    """A tensor without data."""
    t = F.empty_strided(size, stride, dtype=d, device=META)
    if cls is not _Types.tensor:
        t = F.detach(t).as_subclass(cls)
    t._rg = requires_grad
    t.__dict__.update(attributes or {})
    return t


def _new_storage(data: np.ndarray) -> Storage:
    return Storage(data)


copyreg.pickle(Storage, lambda storage: (_new_storage, (storage.bytes(),)))


def rewrap(r, cls):
    """Results as instances of the subclass `cls`, inside tuples and lists too."""
    if isinstance(r, (tuple, list)):
        return type(r)(*[rewrap(x, cls) for x in r]) if hasattr(r, "_fields") else type(r)(rewrap(x, cls) for x in r)
    if isinstance(r, Slots) and not isinstance(r, cls):
        return r.as_subclass(cls)
    return r
