"""Hashable keys of attributes and nodes, for merging equal nodes and remembering what was worked out before.

In: attribute values (numbers, strings, tuples, slices, dicts, dtypes, operators, arrays, engines). Out: hashable keys.
True always: equal keys mean the same computation: 1, 1.0 and True differ, 0.0 and -0.0 differ, NaN equals itself.
"""
from __future__ import annotations

from typing import Any

import numpy as np

from ..core.dtype import dtype
from ..core.layout import layout, memory_format
from ..ops.op import Op

_PLAIN = frozenset((str, bytes, type(None)))


class Unhashable(TypeError):
    """An attribute that has no key."""


def freeze(x: Any):
    """A key for one attribute value."""
    kind = type(x)
    if kind in _PLAIN or kind is dtype or kind is memory_format:
        return x
    if kind is int or kind is bool:
        return kind, x
    if kind is float or kind is complex:
        return kind, repr(x)
    if kind is tuple or kind is list:
        return (kind, *[freeze(v) for v in x])
    if kind is slice:
        return slice, freeze(x.start), freeze(x.stop), freeze(x.step)
    if kind is dict:
        return dict, tuple(sorted((k, freeze(v)) for k, v in x.items())) if all(type(k) is str for k in x) else id(x)
    if isinstance(x, Op):
        return Op, x.name
    if isinstance(x, np.ndarray):
        return np.ndarray, x.shape, x.dtype.str, x.tobytes() if x.nbytes <= 1 << 12 else id(x)
    if isinstance(x, (dtype, layout, np.dtype)) or callable(x):
        return x
    if isinstance(x, np.generic):
        return kind, repr(x)
    if isinstance(x, tuple):
        return (kind, *[freeze(v) for v in x])
    try:
        hash(x)
    except TypeError:
        raise Unhashable(f"an attribute of type {kind.__name__}") from None
    return x


def attrs_key(attrs: dict[str, Any]) -> tuple:
    """A key for a node's attributes."""
    return tuple([(k, freeze(attrs[k])) for k in sorted(attrs)]) if attrs else ()


def arg_key(a: Any):
    """A key for one argument: values are compared by identity, numbers as attributes are."""
    return a if hasattr(a, "spec") else freeze(a)


def node_key(op: Op, args: tuple, attrs: dict[str, Any]) -> tuple:
    """A key for a call: equal calls compute equal results (unless the operator is random)."""
    return op.name, tuple([arg_key(a) for a in args]), attrs_key(attrs)
