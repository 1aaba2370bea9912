"""Functions that rearrange tensors."""
from __future__ import annotations

from ..tensor import functions as P
from .dtypes import promoted

__all__ = ["broadcast_arrays", "broadcast_shapes", "broadcast_to", "concat", "expand_dims", "flip", "moveaxis", "permute_dims", "repeat",
           "reshape", "roll", "squeeze", "stack", "tile", "unstack"]

moveaxis = P.moveaxis


def broadcast_arrays(*arrays) -> tuple:
    """The tensors, expanded to their common shape."""
    return tuple(P.broadcast_tensors(*arrays))


def broadcast_shapes(*shapes) -> tuple:
    """The common shape under broadcasting. Raises ValueError if there is none."""
    try:
        return tuple(P.broadcast_shapes(*shapes))
    except RuntimeError as e:
        raise ValueError(str(e)) from None


def broadcast_to(x, /, shape):
    """`x` expanded to `shape`."""
    return P.broadcast_to(x, shape)


def concat(arrays, /, *, axis=0):
    """The tensors joined along `axis`; flattened first where it is None."""
    arrays = promoted(*arrays)
    return P.cat([a.reshape(-1) for a in arrays], 0) if axis is None else P.cat(arrays, axis)


def expand_dims(x, /, axis):
    """`x` with a dimension of size one at each of the positions `axis` in the result."""
    axes = (axis,) if isinstance(axis, int) else tuple(axis)
    ndim = x.ndim + len(axes)
    if any([not -ndim <= a < ndim for a in axes]) or len({a % ndim for a in axes}) < len(axes):
        raise IndexError(f"expand_dims(): axis {axis} does not name distinct dimensions of a result of {ndim} dimensions")
    for a in sorted([a % ndim for a in axes]):
        x = P.unsqueeze(x, a)
    return x


def flip(x, /, *, axis=None):
    """The elements in reverse order along each of `axis`; along all where it is None."""
    return P.flip(x, tuple(range(x.ndim)) if axis is None else (axis,) if isinstance(axis, int) else tuple(axis))


def permute_dims(x, /, axes):
    """The dimensions in the order `axes`."""
    return P.permute(x, axes)


def repeat(x, repeats, /, *, axis=None):
    """Each element `repeats` times in a row along `axis`; of the flattened `x` where it is None."""
    return P.repeat_interleave(x, repeats, axis)


def reshape(x, /, shape, *, copy=None):
    """`x` in another shape; `copy=False` refuses where that needs a copy."""
    if copy:
        return P.reshape(x.clone(), shape)
    return P.reshape(x, shape) if copy is None else x.view(shape)


def roll(x, /, shift, *, axis=None):
    """The elements moved along `axis`; what falls out at the end comes in at the beginning."""
    return P.roll(x, shift, axis)


def squeeze(x, /, axis):
    """`x` without the dimensions `axis`, all of size one."""
    for a in (axis,) if isinstance(axis, int) else axis:
        if -x.ndim <= a < x.ndim and x.shape[a] != 1:
            raise ValueError(f"squeeze(): dimension {a} has size {x.shape[a]}; only dimensions of size 1 can be left out")
    return P.squeeze(x, axis if isinstance(axis, int) else tuple(axis))


def stack(arrays, /, *, axis=0):
    """The tensors joined along a new dimension."""
    return P.stack(promoted(*arrays), axis)


def tile(x, repetitions, /):
    """Copies of `x` side by side, `repetitions[i]` of them along dimension `i`."""
    return P.tile(x, tuple(repetitions))


def unstack(x, /, *, axis=0) -> tuple:
    """The slices along `axis`."""
    return P.unbind(x, axis)
