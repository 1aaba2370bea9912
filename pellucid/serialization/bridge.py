"""Where checkpoints meet tensors: the only file of this package that knows how a Tensor holds its memory.

In: an array over a loaded storage, or a tensor to be saved. Out: a tensor that shares the storage with its siblings, or
the storage's bytes and the tensor's place in them. True always: nothing is copied, but for memory no storage can describe.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from ..core.device import META
from ..core.dtype import dtype
from ..core.late import late
from ..core.spec import contiguous_strides
from ..core.storage import Storage
from ..nn.modules.module import Module
from ..nn.parameter import Parameter
from ..tensor import F, Size, Tensor
from ..tensor.storages import WITHOUT_CLASS, TypedStorage, UntypedStorage

__all__ = ["WITHOUT_CLASS", "Module", "Parameter", "Parts", "Size", "Tensor", "TypedStorage", "UntypedStorage", "parameter", "parts", "plain",
           "sparse", "storage_parts", "tensor"]


class Parts(NamedTuple):
    """A tensor as its storage's bytes and its view of them, in elements. `owner` keeps the memory alive."""

    data: np.ndarray
    offset: int
    size: tuple[int, ...]
    stride: tuple[int, ...]
    owner: Any


def tensor(array: np.ndarray, memory: Storage | None, requires_grad: bool) -> Tensor:
    """A leaf over `array`, a view of `memory` (None: its own memory)."""
    out = Tensor._wrap(array)
    if memory is not None:
        out._st = memory
    if requires_grad:
        out.requires_grad = True
    return out


def parameter(data: Tensor, requires_grad: bool) -> Parameter:
    """A Parameter over the memory of `data`."""
    return Parameter(data, requires_grad)


def sparse(indices: Tensor, values: Tensor, size: Size, coalesced: bool) -> Tensor:
    """A sparse tensor over the memory of its indices and values."""
    return late.sparse().rebuild(indices._a, values._a, tuple(size), coalesced, False)


def without_data(kind: dtype, size: tuple[int, ...], stride: tuple[int, ...], requires_grad: bool) -> Tensor:
    """A leaf on the meta device."""
    return F.empty_strided(size, stride, dtype=kind, device=META, requires_grad=requires_grad)


def plain(p: Tensor) -> Tensor:
    """The data of a parameter as a plain tensor."""
    return Tensor._wrap(p._a)


def parts(t: Tensor) -> Parts:
    """The storage of `t` and its place in it. Memory with gaps or negative steps is copied, and then shared with nobody."""
    storage, a = t._storage(), t._a
    whole = storage.array
    size = tuple(a.shape)
    if not a.size:
        return Parts(np.empty(0, np.uint8), 0, size, contiguous_strides(size), storage)
    low, high = np.lib.array_utils.byte_bounds(whole)
    begin, end = np.lib.array_utils.byte_bounds(a)
    width = a.itemsize
    dense = whole.flags.c_contiguous or whole.flags.f_contiguous
    whole_steps = all(step >= 0 and step % width == 0 for step in a.strides) and (begin - low) % width == 0
    if dense and low <= begin and end <= high and whole_steps:
        return Parts(storage.bytes(), (begin - low) // width, size, tuple(step // width for step in a.strides), storage)
    copy = np.ascontiguousarray(a)
    return Parts(copy.reshape(-1).view(np.uint8), 0, size, contiguous_strides(size), copy)


def storage_parts(obj: UntypedStorage) -> tuple[np.ndarray, dtype | None]:
    """The bytes of a storage object, and its element type (None: untyped)."""
    return obj._storage.bytes(), obj.dtype if isinstance(obj, TypedStorage) else None
