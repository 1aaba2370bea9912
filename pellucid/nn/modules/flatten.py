"""Flatten and Unflatten: reshape a range of dimensions inside a `Sequential`."""
from __future__ import annotations

from collections.abc import Sequence

from ...core.errors import fail
from ...tensor import Tensor
from .module import Module

__all__ = ['Flatten', 'Unflatten']


class Flatten(Module):
    """Merge dimensions `start_dim` to `end_dim` (inclusive) into one; the batch dimension stays by default."""

    __constants__ = ['start_dim', 'end_dim']

    def __init__(self, start_dim: int = 1, end_dim: int = -1) -> None:
        super().__init__()
        self.start_dim = start_dim
        self.end_dim = end_dim

    def forward(self, input: Tensor) -> Tensor:
        return input.flatten(self.start_dim, self.end_dim)

    def extra_repr(self) -> str:
        return f'start_dim={self.start_dim}, end_dim={self.end_dim}'


class Unflatten(Module):
    """Split dimension `dim` into `unflattened_size` (one entry may be -1).

    Raises TypeError when `unflattened_size` is not a tuple or list of ints.
    """

    __constants__ = ['dim', 'unflattened_size']

    def __init__(self, dim: int, unflattened_size: Sequence[int]) -> None:
        super().__init__()
        if not isinstance(unflattened_size, (tuple, list)):
            fail(TypeError, "P650", 'unflattened_size must be a tuple of ints, '
                 f'but found type {type(unflattened_size).__name__}', fix="pass a tuple such as (3, 8, 8)")
        for i, size in enumerate(unflattened_size):
            if not isinstance(size, int):
                raise TypeError('unflattened_size must be tuple of ints, '
                                f'but found element of type {type(size).__name__} at pos {i}')
        self.dim = dim
        self.unflattened_size = unflattened_size

    def forward(self, input: Tensor) -> Tensor:
        return input.unflatten(self.dim, self.unflattened_size)

    def extra_repr(self) -> str:
        return f'dim={self.dim}, unflattened_size={self.unflattened_size}'
