"""Sliding windows over the trailing dimensions of an array: what convolution, pooling and unfold share.

In: arrays (N, C, *spatial) and per-dimension kernel, stride, padding, dilation. Out: views of windows, or slices of
one kernel offset. True always: a window view is (N, C, *kernel, *out) and copies nothing.
"""
from __future__ import annotations

import itertools

from ..core.layout import channels_last, channels_last_3d, contiguous_format, empty_in, memory_format
from ._common import as_ints, dt, fail, np

as_strided = np.lib.stride_tricks.as_strided


def per_dim(x, n: int, fn: str, arg: str) -> tuple[int, ...]:
    """An int for all `n` dimensions, one int, or one per dimension, as a tuple; RuntimeError for another length."""
    if type(x) is int:
        return (x,) * n
    v = as_ints(x, fn, arg)
    if len(v) == 1:
        return v * n
    if len(v) != n:
        words = {1: "one int", 2: "two ints", 3: "three ints"}
        fail(RuntimeError, "P2700", f"{fn}: {arg} must either be a single int, or a tuple of {words.get(n, f'{n} ints')}",
             got=f"{arg}={x}", fix="give one number for all dimensions, or one for each")
    return v


def window_count(size: int, kernel: int, stride: int, padding: int, dilation: int) -> int:
    """How many windows fit into one dimension."""
    return (size + 2 * padding - dilation * (kernel - 1) - 1) // stride + 1


def windows(a: np.ndarray, kernel, stride, dilation, out) -> np.ndarray:
    """The view (N, C, *kernel, *out) of an array (N, C, *padded spatial)."""
    n = len(kernel)
    s = a.strides[2:]
    return as_strided(a, a.shape[:2] + tuple(kernel) + tuple(out),
                      a.strides[:2] + tuple(s[i] * dilation[i] for i in range(n)) + tuple(s[i] * stride[i] for i in range(n)))


def offsets(kernel):
    """Every position inside a kernel, row-major."""
    return itertools.product(*map(range, kernel))


def at_offset(a: np.ndarray, offset, stride, dilation, out) -> np.ndarray:
    """The elements that one kernel offset sees in all windows: a view (N, C, *out) of (N, C, *padded spatial)."""
    return a[(..., *(slice(o * d, o * d + (n - 1) * s + 1, s) for o, d, n, s in zip(offset, dilation, out, stride)))]


def pad_spatial(a: np.ndarray, before, after=None, value=0) -> np.ndarray:
    """A copy with `before`/`after` elements of `value` around the spatial dimensions; `a` itself if there are none."""
    after = before if after is None else after
    if not any(before) and not any(after):
        return a
    shape = a.shape[:2] + tuple(b + n + e for b, n, e in zip(before, a.shape[2:], after))
    r = np.full(shape, value, a.dtype) if value != 0 else np.zeros(shape, a.dtype)
    inner(r, before, a.shape[2:])[...] = a
    return r


def inner(a: np.ndarray, before, sizes) -> np.ndarray:
    """The view of the unpadded part of a padded array."""
    return a[(..., *(slice(b, b + n) for b, n in zip(before, sizes)))]


def suggests_channels_last(a: np.ndarray) -> bool:
    """Whether the strides say channels-last, by PyTorch's rule; a tie (all sizes 1) counts as contiguous."""
    least = 0
    for d in (1, *range(a.ndim - 1, 1, -1), 0):
        n, s = a.shape[d], a.strides[d]
        if n == 0 or s < least or s == 0 or (d == 0 and least == a.strides[1]):
            return False
        least = s * n
    return True


def shared_format(*operands: np.ndarray) -> memory_format:
    """The memory format of a window operator's result: channels-last if one of the operands lies so."""
    for a in operands:
        if a.ndim in (4, 5) and a.strides[1] < a.strides[-1] and suggests_channels_last(a):
            return channels_last if a.ndim == 4 else channels_last_3d
    return contiguous_format


def in_format_of(y: np.ndarray, *operands: np.ndarray) -> np.ndarray:
    """`y`, copied to channels-last memory if one of the operands lies so."""
    fmt = shared_format(*operands)
    if fmt is contiguous_format:
        return y
    r = empty_in(y.shape, y.dtype, fmt)
    r[...] = y
    return r


# ---------------------------------------------------------------------------------------------------- for kernels
MOST_TAPS = 64              # a window as one expression: larger ones are left to the reference


def taps_of(b, i, sizes, kernel, stride, padding, dilation):
    """What the window at result index `i` = (n, c, *out) sees, in row-major order of the kernel: for each offset, whether it
    lies inside the input, and its index there (kept inside)."""
    if np.prod(kernel) > MOST_TAPS:
        b.refuse(f"windows of more than {MOST_TAPS} elements")
    for offset in offsets(kernel):
        hit, at = b.const(True, dt.bool_), []
        for o, w, n, s, p, d in zip(offset, i[2:], sizes, stride, padding, dilation):
            x = b.iadd(b.imul(w, s), o * d - p)
            hit = b.and_(hit, b.iwithin(x, 0, n))
            at.append(b.clamp(x, 0, n - 1))
        yield hit, (i[0], i[1], *at)
