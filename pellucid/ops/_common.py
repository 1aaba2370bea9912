"""What the fronts of operators share: reading dims, shapes and numbers as PyTorch's argument parser does."""
from __future__ import annotations

import operator

import numpy as np

from ..core import dtype as dt
from ..core.errors import describe, fail
from ..core.spec import Spec, TensorLike, broadcast_shapes, wrap_dim, wrap_dims
from .op import compare_infer, point_infer

__all__ = ["is_tensor", "need_tensor", "as_size", "as_ints", "as_int", "make_room", "within", "sizes_from", "point_infer", "compare_infer",
           "wrap_dim", "wrap_dims", "broadcast_shapes", "Spec", "dt", "fail", "describe", "np"]


def is_tensor(x) -> bool:
    """Whether operators take `x` as a tensor (an eager Tensor or a value being traced)."""
    return isinstance(x, TensorLike)


def need_tensor(x, fn: str, arg: str = "input", position: int = 1):
    """`x`, or PyTorch's TypeError naming function and argument."""
    if not isinstance(x, TensorLike):
        fail(TypeError, "P211", f"{fn}(): argument '{arg}' (position {position}) must be Tensor, not {type(x).__name__}",
             fix="wrap the value with pellucid.tensor(...)" if x is not None else "a value is missing here: None was passed")
    return x


def make_room(known: set | dict) -> None:
    """Before something is noted among what is known: forget all if it is much."""
    if len(known) >= 1024:
        known.clear()


def within(indices: np.ndarray, n: int) -> bool:
    """Whether indices, int64 or int32 ones, are in [0, n). (Negative ones are very large without their sign.)"""
    return not indices.size or bool(np.maximum.reduce(indices.view(np.uint64 if indices.dtype == np.int64 else np.uint32), None) < n)


def as_int(x, fn: str = "", arg: str = "") -> int:
    """An int, from ints, NumPy integers and one-element integer tensors; TypeError otherwise."""
    if type(x) is int:
        return x
    if isinstance(x, bool):
        return int(x)
    try:
        return operator.index(x)
    except TypeError:
        fail(TypeError, "P214", f"{fn}(): argument '{arg}' must be int, not {type(x).__name__}", got=f"{arg}={describe(x)}",
             fix="use // where a division makes the number, or int(...)" if isinstance(x, float) else "give whole numbers, as in f(2, 3) or f((2, 3))")


def as_ints(x, fn: str = "", arg: str = "") -> tuple[int, ...]:
    """A tuple of ints from an int or a sequence."""
    if isinstance(x, (list, tuple)):
        return tuple([i if type(i) is int else as_int(i, fn, arg) for i in x])
    return (as_int(x, fn, arg),)


def sizes_from(args: tuple, fn: str = "", arg: str = "size") -> tuple[int, ...]:
    """`f(2, 3)`, `f((2, 3))`, `f([2, 3])`, `f(size)`: the sizes as a tuple of ints."""
    if len(args) == 1 and isinstance(args[0], (list, tuple)):
        args = args[0]
    return as_ints(tuple(args), fn, arg)


def as_size(x, fn: str = "", arg: str = "size") -> tuple[int, ...]:
    """A shape; negative sizes are refused."""
    sizes = as_ints(x, fn, arg)
    for s in sizes:
        if s < 0:
            fail(RuntimeError, "P215", f"Trying to create tensor with negative dimension {s}: {list(sizes)}", fix="sizes are 0 or more")
    return sizes
