"""Looking inside transforms: `debug_unwrap`."""
from __future__ import annotations

from ..tensor.levels import Lifted
from ..tensor.tensor import Tensor

__all__ = ["debug_unwrap"]


def debug_unwrap(tensor: Tensor, *, recurse: bool = True) -> Tensor:
    """What lies beneath a tensor inside `vmap` (the whole batch, its dimension first) or `jvp` (the value); of all transforms, or with
    `recurse=False` of the innermost. Only to look at: computing with it inside the transform gives nonsense."""
    while type(tensor._a) is Lifted:
        tensor = tensor._a.lower
        if not recurse:
            break
    return tensor
