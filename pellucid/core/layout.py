"""Memory formats and layouts: how a tensor's elements are ordered in memory."""
from __future__ import annotations

import numpy as np


class _Named:
    __slots__ = ("name",)

    def __init__(self, name: str):
        self.name = name

    def __repr__(self) -> str:
        return f"torch.{self.name}"

    def __reduce__(self):
        return type(self)._get, (self.name,)

    def __deepcopy__(self, memo):
        return self

    @classmethod
    def _get(cls, name):
        return globals()[name]


class memory_format(_Named):
    """contiguous_format, channels_last, channels_last_3d, or preserve_format."""


class layout(_Named):
    """strided is the one layout here."""


contiguous_format = memory_format("contiguous_format")
preserve_format = memory_format("preserve_format")
channels_last = memory_format("channels_last")
channels_last_3d = memory_format("channels_last_3d")
strided = layout("strided")
# names PyTorch code compares against; no tensor here has them
sparse_coo, sparse_csr, sparse_csc, sparse_bsr, sparse_bsc, jagged = (
    layout(n) for n in ("sparse_coo", "sparse_csr", "sparse_csc", "sparse_bsr", "sparse_bsc", "jagged"))

_ORDER = {channels_last: (0, 2, 3, 1), channels_last_3d: (0, 2, 3, 4, 1)}


def order_of(fmt: memory_format, ndim: int) -> tuple[int, ...] | None:
    """Dimensions from the slowest to the fastest; None if the format does not fit `ndim` dimensions."""
    if fmt is contiguous_format:
        return tuple(range(ndim))
    order = _ORDER.get(fmt)
    return order if order is not None and len(order) == ndim else None


def strides_for(shape, fmt: memory_format = contiguous_format) -> tuple[int, ...]:
    """Strides in elements of a dense tensor of `shape` in `fmt`. Raises RuntimeError if the rank does not fit."""
    order = order_of(fmt, len(shape))
    if order is None:
        raise RuntimeError(f"required rank {len(_ORDER[fmt])} tensor to use {fmt.name} format")
    out, step = [0] * len(shape), 1
    for d in reversed(order):
        out[d] = step
        step *= max(shape[d], 1)
    return tuple(out)


def is_in_format(a: np.ndarray, fmt: memory_format) -> bool:
    """Whether the array's elements lie densely in the order of `fmt`; dimensions of size 1 do not matter."""
    if fmt is contiguous_format:
        return a.flags.c_contiguous
    order = order_of(fmt, a.ndim)
    if order is None:
        return False
    expect = a.itemsize
    for d in reversed(order):
        n = a.shape[d]
        if n != 1 and a.strides[d] != expect:
            return False
        expect *= n
    return True


def empty_in(shape, dtype, fmt: memory_format = contiguous_format) -> np.ndarray:
    """Uninitialised dense memory in `fmt`."""
    if fmt is contiguous_format or fmt is preserve_format:
        return np.empty(shape, dtype)
    order = order_of(fmt, len(shape))
    if order is None:
        raise RuntimeError(f"required rank {len(_ORDER[fmt])} tensor to use {fmt.name} format")
    a = np.empty([shape[d] for d in order], dtype)
    inverse = [order.index(d) for d in range(len(shape))]
    return a.transpose(inverse)
