"""Collating: from a list of samples to a batch.

In: samples of one structure (tensors, arrays, numbers, strings; tuples, lists, dicts, named tuples of them).
Out: the same structure, each leaf a tensor with a new first dimension (strings stay lists).
True always: in a worker process the samples are copied once, straight into memory that the parent shares.
`default_collate_fn_map` says what is done with each type; add to it, or pass a map of your own to `collate`.
"""
from __future__ import annotations

import collections.abc
import copy
from collections.abc import Callable

import numpy as np

from ....core.errors import fail
from ....tensor import Tensor
from ....tensor import functions as T
from ....core.dtype import float64
from .worker import shared_empty

_Map = dict[type | tuple[type, ...], Callable]

default_collate_err_msg_format = ("default_collate: batch must contain tensors, numpy arrays, numbers, "
                                  "dicts or lists; found {}")


def default_convert(data):
    """NumPy arrays and scalars as tensors, through any nesting of tuples, lists and dicts; all else as it is.

    The collate function of a loader that does not batch. Tuples become lists, as in PyTorch.
    """
    kind = type(data)
    if isinstance(data, Tensor):
        return data
    if kind.__module__ == "numpy" and kind.__name__ not in ("str_", "bytes_"):
        if isinstance(data, np.ndarray) and data.dtype.kind in "SUO":
            return data
        return T.as_tensor(data)
    if isinstance(data, collections.abc.Mapping):
        return _rebuild_mapping(data, {key: default_convert(data[key]) for key in data})
    if isinstance(data, tuple):
        converted = [default_convert(d) for d in data]
        return kind(*converted) if hasattr(data, "_fields") else converted
    if isinstance(data, collections.abc.Sequence) and not isinstance(data, (str, bytes)):
        return _rebuild_sequence(data, [default_convert(d) for d in data])
    return data


def _rebuild_mapping(like, values: dict):
    """`values` in a mapping like `like`; a plain dict where the type cannot be built so."""
    try:
        if isinstance(like, collections.abc.MutableMapping):
            clone = copy.copy(like)                      # a subclass may carry more than its items
            clone.update(values)
            return clone
        return type(like)(values)
    except TypeError:
        return values


def _rebuild_sequence(like, values: list):
    """`values` in a sequence like `like`; a plain list where the type cannot be built so."""
    if type(like) is list:
        return values
    try:
        if isinstance(like, collections.abc.MutableSequence):
            clone = copy.copy(like)
            for i, value in enumerate(values):
                clone[i] = value
            return clone
        return type(like)(values)
    except TypeError:
        return values


def collate(batch, *, collate_fn_map: _Map | None = None):
    """Collate `batch` by the functions of `collate_fn_map`: by exact type of the first sample, then by `isinstance`.

    Each is called as `f(batch, collate_fn_map=map)`. Types not in the map are taken apart (mappings, named tuples,
    sequences) or raise TypeError. Samples of unequal length raise RuntimeError.
    """
    elem = batch[0]
    kind = type(elem)
    if collate_fn_map is not None:
        function = collate_fn_map.get(kind)
        if function is None:
            function = next((f for known, f in collate_fn_map.items() if isinstance(elem, known)), None)
        if function is not None:
            return function(batch, collate_fn_map=collate_fn_map)
    refuse_none(batch)
    if isinstance(elem, collections.abc.Mapping):
        for position, sample in enumerate(batch):
            if absent := [key for key in elem if key not in sample]:
                fail(KeyError, "P415", repr(absent[0]), got=f"sample 0 has the keys {list(elem)}, sample {position} has {list(sample)}",
                     fix="return the same keys for every sample, or pass a collate_fn")
        return _rebuild_mapping(
            elem, {key: collate([d[key] for d in batch], collate_fn_map=collate_fn_map) for key in elem})
    if isinstance(elem, tuple) and hasattr(elem, "_fields"):
        return kind(*[collate(column, collate_fn_map=collate_fn_map) for column in zip(*batch)])
    if isinstance(elem, collections.abc.Sequence):
        size = len(elem)
        for position, sample in enumerate(batch):
            if len(sample) != size:
                fail(RuntimeError, "P401", "each element in list of batch should be of equal size",
                     got=f"sample 0 has {size} items, sample {position} has {len(sample)}", fix="pad them, or pass a collate_fn")
        columns = [collate(column, collate_fn_map=collate_fn_map) for column in zip(*batch)]
        return columns if isinstance(elem, tuple) else _rebuild_sequence(elem, columns)
    fail(TypeError, "P402", default_collate_err_msg_format.format(kind),
         fix="convert the samples in the dataset, or pass a collate_fn")


def refuse_none(batch) -> None:
    """A TypeError if a sample is None, unlike the first."""
    for position, sample in enumerate(batch):
        if sample is None and batch[0] is not None:
            fail(TypeError, "P414", f"expected Tensor as element {position} in argument 0, but got NoneType",
                 got=f"sample {position} of the batch is None",
                 fix="__getitem__ may end without return; leave such samples out, or pass a collate_fn")


def _stack(arrays: list[np.ndarray]) -> np.ndarray | None:
    """The arrays stacked along a new first axis; None if they differ in shape or dtype."""
    shape, dtype = arrays[0].shape, arrays[0].dtype
    for a in arrays:
        if a.shape != shape or a.dtype != dtype:
            return None
    out = shared_empty((len(arrays), *shape), dtype)
    for i, a in enumerate(arrays):
        out[i] = a
    return out


def collate_tensor_fn(batch, *, collate_fn_map: _Map | None = None) -> Tensor:
    for t in batch:
        if type(t) is not Tensor or t.requires_grad:
            refuse_none(batch)
            return T.stack(list(batch))
    out = _stack([t._a for t in batch])
    if out is None and len({t.shape for t in batch}) > 1:
        position = next(i for i, t in enumerate(batch) if t.shape != batch[0].shape)
        fail(RuntimeError, "P403", f"stack expects each tensor to be equal size, but got {list(batch[0].shape)} at entry 0 and "
             f"{list(batch[position].shape)} at entry {position}", got=f"a batch of {len(batch)} samples of different shapes",
             fix="crop or pad the samples to one shape in the dataset, or pass a collate_fn that does")
    # Shapes or dtypes that differ: `stack` promotes, or says what is wrong.
    return T.stack(list(batch)) if out is None else Tensor._wrap(out)


def collate_numpy_array_fn(batch, *, collate_fn_map: _Map | None = None) -> Tensor:
    elem = batch[0]
    if elem.dtype.kind in "SUO":
        fail(TypeError, "P402", default_collate_err_msg_format.format(elem.dtype),
             fix="convert the samples in the dataset, or pass a collate_fn")
    if collate_fn_map is default_collate_fn_map and collate_fn_map.get(Tensor) is collate_tensor_fn:
        first = T.as_tensor(elem)                        # checks the dtype
        out = _stack(batch) if type(first) is Tensor and first._a.dtype == elem.dtype else None
        if out is not None:
            return Tensor._wrap(out)
    return collate([T.as_tensor(a) for a in batch], collate_fn_map=collate_fn_map)


def collate_numpy_scalar_fn(batch, *, collate_fn_map: _Map | None = None) -> Tensor:
    return T.as_tensor(np.array(batch))


def collate_float_fn(batch, *, collate_fn_map: _Map | None = None) -> Tensor:
    return T.tensor(batch, dtype=float64)


def collate_int_fn(batch, *, collate_fn_map: _Map | None = None) -> Tensor:
    if type(batch[0]) is int:
        a = np.array(batch)
        if a.dtype == np.int64 and a.ndim == 1:
            return Tensor._wrap(a)
    return T.tensor(batch)


def collate_str_fn(batch, *, collate_fn_map: _Map | None = None):
    return batch


default_collate_fn_map: _Map = {
    Tensor: collate_tensor_fn,
    np.ndarray: collate_numpy_array_fn,
    (np.bool_, np.number, np.object_): collate_numpy_scalar_fn,
    float: collate_float_fn,
    int: collate_int_fn,
    str: collate_str_fn,
    bytes: collate_str_fn,
}


def default_collate(batch):
    """Stack samples into a batch: tensors, arrays and numbers become tensors with a new first dimension.

    `float` gives float64, `int` int64, `bool` bool; strings stay a list; dicts, named tuples and lists keep their type,
    tuples become lists. Other types raise TypeError: add them to `default_collate_fn_map` or pass a `collate_fn`.
    """
    return collate(batch, collate_fn_map=default_collate_fn_map)
