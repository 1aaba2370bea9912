"""Exchanging two tensors while everybody keeps their references.

In: two tensor objects. Out: the same objects, each being what the other was. What stays true: views and graph nodes
that refer to either memory are not affected.
"""

from __future__ import annotations

import weakref

from ..ops.dispatch import state
from ..tensor import Tensor

__all__ = ["swap_tensors"]

_SLOTS = ("_a", "_rg", "_fn", "_oi", "_grad", "_st", "_x")


def swap_tensors(t1: Tensor, t2: Tensor) -> None:
    """Exchange class, memory, history, gradient and attributes of ``t1`` and ``t2``.

    Raises:
        RuntimeError: a weak reference to one of them exists, which would come to mean the other.
    """
    for name, tensor in (("t1", t1), ("t2", t2)):
        if weakref.getweakrefs(tensor):
            raise RuntimeError(f"Cannot swap {name} because it has weakref associated with it")
    for slot in _SLOTS:
        first, second = getattr(t1, slot), getattr(t2, slot)
        setattr(t1, slot, second)
        setattr(t2, slot, first)
    for tensor in (t1, t2):
        node = tensor._x.acc() if tensor._x is not None and tensor._x.acc is not None else None
        if node is not None:
            node.variable = tensor
    t1.__dict__, t2.__dict__ = t2.__dict__, t1.__dict__
    t1.__class__, t2.__class__ = t2.__class__, t1.__class__
    state.moves += 1
    state.grads += 1
