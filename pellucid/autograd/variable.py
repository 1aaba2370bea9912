"""`Variable`: PyTorch's old name of Tensor; `Variable(t, requires_grad=True)` gives a leaf over `t`'s memory."""
from __future__ import annotations

from ..tensor import Tensor

__all__ = ["Variable"]


class _VariableMeta(type):
    def __instancecheck__(cls, other) -> bool:
        return isinstance(other, Tensor)

    def __call__(cls, data=None, requires_grad: bool = False, volatile: bool = False):
        if data is None:
            data = Tensor()
        if not isinstance(data, Tensor):
            raise TypeError(f"Variable data has to be a tensor, but got {type(data).__name__}")
        t = data.detach()
        return t.requires_grad_() if requires_grad else t


class Variable(metaclass=_VariableMeta):
    """Deprecated in PyTorch too: use tensors."""
