"""Small helpers shared by the layer files.

In: an int or a sequence of ints, as users write sizes. Out: tuples of a fixed length.
What stays true: nothing here touches a tensor.
"""
from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

__all__ = ['consume_prefix_in_state_dict_if_present']

SizeLike = int | Sequence[int]


def _ntuple(n: int, name: str = 'parse') -> Callable[[Any], tuple]:
    """Return a function that repeats a scalar `n` times; an iterable becomes a tuple as it is."""
    def parse(x: Any) -> tuple:
        return tuple(x) if isinstance(x, Iterable) else (x,) * n
    parse.__name__ = name
    return parse


_single = _ntuple(1, '_single')
_pair = _ntuple(2, '_pair')
_triple = _ntuple(3, '_triple')
_quadruple = _ntuple(4, '_quadruple')


def _reverse_repeat_tuple(t: Sequence[int], n: int) -> tuple[int, ...]:
    """`(1, 2), 2` -> `(2, 2, 1, 1)`: from per-dimension padding to the order `F.pad` wants."""
    return tuple(x for x in reversed(t) for _ in range(n))


def _list_with_default(out_size: SizeLike, defaults: Sequence[int]) -> Any:
    """Replace each None of `out_size` by the matching trailing entry of `defaults`."""
    if isinstance(out_size, int):
        return out_size
    if len(defaults) <= len(out_size):
        raise ValueError(f'Input dimension should be at least {len(out_size) + 1}, got {len(defaults)}')
    return [d if v is None else v for v, d in zip(out_size, defaults[-len(out_size):])]


def consume_prefix_in_state_dict_if_present(state_dict: dict[str, Any], prefix: str) -> None:
    """Strip `prefix` (such as `'module.'`) from every key of `state_dict` that has it, in place.

    The `_metadata` attribute that `state_dict()` attaches is renamed alike.
    """
    for key in list(state_dict):
        if key.startswith(prefix):
            state_dict[key[len(prefix):]] = state_dict.pop(key)
    metadata = getattr(state_dict, '_metadata', None)
    for key in list(metadata or ()):
        if key and (key == prefix.replace('.', '') or key.startswith(prefix)):
            metadata[key[len(prefix):]] = metadata.pop(key)
