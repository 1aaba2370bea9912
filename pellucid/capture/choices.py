"""What min() and max() choose, where only the run knows which: one of two tensors, or a tensor or a number.

In: two candidates. Out: of tensors made in the function a tensor with the value of the chosen one; of a tensor and a number a `Choice`,
which becomes a tensor where it meets one. What stays true: a result is given only if it is the same whichever is chosen: a Choice has no
type of its own, so whatever asks for one, or would hand it on, is a break at the call of min() or max().
"""
from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from ..ops.dispatch import local
from ..ops.op import F
from ..tensor.fake import Fake, refuse
from ..tensor.tensor import Tensor

__all__: list[str] = []


class Choice:
    """A number or a tensor. `_tensor` has its value, `_born` is the step that made it."""

    __slots__ = ("_tensor", "_born")

    def __init__(self, tensor: Any, born: int):
        self._tensor, self._born = tensor, born

    def __getattr__(self, name: str) -> Any:
        return unknown()


class Chosen(NamedTuple):
    """A tensor that stands for one of others: the ids of their memories, and the step that made it."""

    tensor: Any
    cells: set
    born: int


def unknown(*args: Any, **kwargs: Any) -> Any:
    return refuse("min() or max() of a tensor and a number", fix="use pellucid.clamp, pellucid.minimum or pellucid.maximum")


def value_of(x: Any, dtype: Any) -> Any:
    """A candidate as a 0-d tensor of a dtype; None if it may not be one."""
    if type(x) is Choice:
        x = x._tensor
    if type(x) is Tensor:
        return x if not x.ndim and x.dtype is dtype and not (x._rg and local.grad) else None
    if type(x) in (int, float) and dtype.is_floating_point and x == x and dtype.np.type(x) == x:
        return F.constant(np.array(x, dtype.np))
    return None


def made_here(t: Any) -> bool:
    """Whether a tensor's memory is of the function's own making: nobody outside can tell it from a copy."""
    return type(t._a) is Fake and t._a.cell.input is None


def choose(found: Any, item: Any, below: bool, born: int) -> Any:
    """`item if item < found else found`, or with > unless `below`; None where that cannot be said before the run."""
    compare = operator.lt if below else operator.gt
    if type(found) is Tensor and type(item) is Tensor:
        if found.ndim or item.ndim or found.dtype is not item.dtype or found._rg is not item._rg or not (made_here(found) and made_here(item)):
            return None
        return F.where(compare(item, found), item, found)
    dtype = next((x._tensor.dtype if type(x) is Choice else x.dtype for x in (found, item) if type(x) in (Choice, Tensor)), None)
    if dtype is None or not dtype.is_floating_point or dtype.itemsize < 4:
        return None
    a, b = value_of(found, dtype), value_of(item, dtype)
    return None if a is None or b is None else Choice(F.where(compare(b, a), b, a), born)


def arithmetic(fn: Callable, swapped: bool, numbers: bool) -> Callable:
    """An operator: with a tensor of the dtype a tensor; with a number or another choice, if `numbers`, a choice."""
    def method(self: Choice, other: Any) -> Any:
        mine = self._tensor
        if type(other) is Tensor and other.dtype is mine.dtype:
            return fn(other, mine) if swapped else fn(mine, other)
        if type(other) is Tensor or not numbers:
            return unknown()
        theirs = value_of(other, mine.dtype)
        if theirs is None:
            return unknown()
        return Choice(fn(theirs, mine) if swapped else fn(mine, theirs), min(self._born, other._born if type(other) is Choice else self._born))
    return method


for _name, _fn, _numbers in (("add", operator.add, True), ("sub", operator.sub, True), ("mul", operator.mul, True), ("truediv", operator.truediv, False)):
    setattr(Choice, f"__{_name}__", arithmetic(_fn, False, _numbers))
    setattr(Choice, f"__r{_name}__", arithmetic(_fn, True, _numbers))
for _name in ("bool int float index complex str repr format hash eq ne lt le gt ge len iter getitem contains call neg pos abs invert round floordiv rfloordiv "
              "mod rmod pow rpow matmul rmatmul divmod rdivmod and rand or ror xor rxor lshift rlshift rshift rrshift array reduce_ex copy "
              "deepcopy").split():
    setattr(Choice, f"__{_name}__", unknown)
