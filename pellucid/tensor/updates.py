"""Updates of many arrays in place, element by element: what optimisers do, written once, as functions of NumPy's.

In: a rule, a function that changes arrays of one shape in place, with the arrays and numbers it takes. Out: the arrays, changed.
What stays true: the same bits, whether a rule runs on arrays, in pieces that stay in cache, or as one native loop over all arrays that
came together (`recorded` reads it; a quotient by a number may differ in the last bit); which it is depends on the number of elements only.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np

from ..core.config import config
from . import recorded
from .core import PLAIN
from .recorded import Recorded

__all__: list[str] = []

# Several passes over a block that stays in cache beat several passes over memory, but each NumPy call costs about 0.3 us:
# measured from 2**14 to 2**22 bytes, 1 MiB is within 5% of the best for Adam on 100 thousand and on 4 million elements.
BLOCK_BYTES = 1 << 20
NATIVE_LEAST = 1 << 14       # elements from which what comes together runs as native code


class _Scratch(threading.local):
    """One reusable buffer per thread, so that large updates touch no fresh memory."""

    def __init__(self) -> None:
        self.buffer = np.empty(0, np.uint8)
        self.batch: Batch | None = None         # of the group that is being updated


_scratch = _Scratch()


def holds_values(t: Any) -> bool:
    """Whether a tensor's array may be updated without an operator: the values are in it, and its class watches nothing."""
    return type(t._a) is np.ndarray and type(t) in PLAIN


def scratch_like(a: np.ndarray) -> np.ndarray:
    """An uninitialised array like `a`, valid until the next call in this thread."""
    if type(a) is Recorded:
        return temporary(a)
    size = a.nbytes
    if size < 1 << 14 or not a.flags.c_contiguous:
        return np.empty_like(a)
    if size > _scratch.buffer.nbytes:
        _scratch.buffer = np.empty(max(size, BLOCK_BYTES), np.uint8)
    return _scratch.buffer[:size].view(a.dtype).reshape(a.shape)


def temporary(a: np.ndarray) -> np.ndarray:
    """An uninitialised array like `a`."""
    return np.empty_like(a) if type(a) is not Recorded else Recorded(None)


def update(rule: Callable, *arrays: np.ndarray, **options: Any) -> None:
    """`rule(*arrays, **options)`, which changes arrays of one shape in place, element by element: in pieces that fit in cache, or,
    inside `together`, as native code at its end."""
    batch = _scratch.batch
    if batch is not None:
        return batch.add(rule, arrays, options)
    _run(rule, arrays, options)


class Batch:
    """Updates that wait to be done together."""

    def __init__(self) -> None:
        self.work: dict[Any, tuple[list[np.ndarray], list[tuple]]] = {}      # {native program: (operands, the same as calls)}

    def add(self, rule: Callable, arrays: tuple[np.ndarray, ...], options: dict[str, Any]) -> None:
        arrays = in_memory_order(arrays)
        program, operands = recorded.program(rule, arrays, options)
        if program is None:
            _run(rule, arrays, options)
            return
        waiting = self.work.setdefault(program, ([], []))
        waiting[0].extend(operands)
        waiting[1].append((rule, arrays, options))

    def run(self) -> None:
        """Do what waits."""
        for program, (operands, calls) in self.work.items():
            if not program(operands):
                for call in calls:
                    _run(*call)


def _run(rule: Callable, arrays: tuple[np.ndarray, ...], options: dict[str, Any]) -> None:
    for piece in blocks(*arrays):
        rule(*piece, **options)


def blocks(*arrays: np.ndarray) -> Iterable[tuple[np.ndarray, ...]]:
    """The arrays (of one shape) cut alike into pieces that fit in cache; whole if they are small or not dense."""
    first = arrays[0]
    if first.nbytes <= BLOCK_BYTES:
        return (arrays,)
    arrays = in_memory_order(arrays)
    if not all(a.flags.c_contiguous for a in arrays):
        return (arrays,)
    return _pieces([a.reshape(-1) for a in arrays])


@contextlib.contextmanager
def together(written: list[np.ndarray]) -> Iterator[None]:
    """Let the updates inside the block be done at its end, all at once, if many elements are written."""
    if not config.kernels or sum([a.size for a in written]) < NATIVE_LEAST:
        yield
        return
    batch = _scratch.batch = Batch()
    try:
        yield
    finally:
        _scratch.batch = None
        batch.run()


def in_memory_order(arrays: tuple[np.ndarray, ...]) -> tuple[np.ndarray, ...]:
    """The arrays in C order if they all lie in memory as the first does: channels_last, transposed."""
    first = arrays[0]
    if first.flags.c_contiguous:
        return arrays
    order = sorted(range(first.ndim), key=lambda d: -first.strides[d])
    return tuple([a.transpose(order) for a in arrays])


def _pieces(flat: list[np.ndarray]) -> Iterator[tuple[np.ndarray, ...]]:
    length = BLOCK_BYTES // flat[0].itemsize
    for start in range(0, flat[0].size, length):
        yield tuple(a[start : start + length] for a in flat)
