"""Constructors of the early PyTorch: `Tensor(2, 3)`, `FloatTensor([...])`, `t.new(...)`, and types by name.

In: sizes, sequences, tensors, storages. Out: tensors of the class's dtype. True always: `isinstance(t, FloatTensor)`
asks for the dtype; `t.type()` gives the name PyTorch gives on the CPU.
"""
from __future__ import annotations

from typing import Any

import numpy as np

from ..core import dtype as dt
from ..core.device import check, device
from ..ops.op import F
from .core import Slots, _Types, wrap
from .devices import where
from .fake import without_data
from .interop import _leaf, array_from
from .size import Size
from .storages import WITHOUT_CLASS, UntypedStorage

__all__ = ["METHODS", "TENSOR_CLASSES", "legacy_new", "set_default_tensor_type"]


def legacy_new(cls, *args: Any, device=None, size=None, data=None, other=None):
    """`Tensor(2, 3)` (uninitialised), `Tensor([..])`, `Tensor(tensor)`, `Tensor(storage)`."""
    check(device)
    args = args or tuple(x for x in (size, data, other) if x is not None)
    first = args[0] if args else None
    if len(args) == 1 and isinstance(first, Slots):
        return _finish(cls, F.detach(first))              # the base class takes any dtype
    return _finish(cls, _construct(dt.get_default_dtype(), args))


def _finish(cls, t):
    return t if cls is _Types.tensor else t.as_subclass(cls)


def _construct(d: dt.dtype, args: tuple) -> Any:
    """A tensor of dtype `d` from what the old constructors took."""
    if not args:
        return wrap(np.empty(0, d.np))
    first = args[0]
    if all(isinstance(a, (int, np.integer)) and not isinstance(a, bool) for a in args):
        return wrap(_uninitialised(args, d))
    if len(args) > 1 and isinstance(first, (tuple, list)):
        raise TypeError(f"new() received an invalid combination of arguments - got ({', '.join(type(a).__name__ for a in args)}), but "
                        "expected sizes, a sequence, a tensor or a storage")
    if len(args) > 1:
        at, odd = next((i, a) for i, a in enumerate(args, 1) if not isinstance(a, (int, np.integer)) or isinstance(a, bool))
        raise TypeError(f"new(): argument 'size' failed to unpack the object at pos {at} with error \"type must be tuple of ints,"
                        f"but got {type(odd).__name__}\"")
    if isinstance(first, Size):
        return wrap(_uninitialised(first, d))
    if isinstance(first, UntypedStorage):
        return wrap(np.empty(0, d.np)).set_(first)
    if isinstance(first, Slots):
        if first.dtype is not d:
            raise TypeError(f"expected a tensor of dtype {d}, got {first.dtype}. Use x.to({d}) to convert it.")
        return F.detach(first)
    if isinstance(first, (bool, float, complex)) or first is None:
        raise TypeError(f"new(): data must be a sequence (got {type(first).__name__})")
    if isinstance(first, (str, bytes)):
        raise TypeError(f"new(): invalid data type '{type(first).__name__}'")
    a = array_from(first, None)
    return wrap(a if a.dtype == d.np else array_from(a, d))


def _uninitialised(size, d: dt.dtype) -> np.ndarray:
    if any(n < 0 for n in size):
        raise RuntimeError(f"Trying to create tensor with negative dimension {min(size)}: {list(size)}")
    return np.empty(size, d.np)


class _ByDtype(type):
    def __instancecheck__(cls, instance: Any) -> bool:
        return isinstance(instance, Slots) and instance.dtype is cls.dtype

    def __repr__(cls) -> str:
        return f"<class 'torch.{cls.__name__}'>"


def _classes() -> dict[str, type]:
    """FloatTensor, LongTensor, ... by name."""
    out: dict[str, type] = {}
    for d in dt.ALL:
        if d in WITHOUT_CLASS or d.is_complex:
            continue

        def make(cls, *args, device=None, _d=d):
            check(device)
            return _construct(_d, args)

        name = f"{d.type_name}Tensor"
        out[name] = _ByDtype(name, (), {"dtype": d, "layout": None, "is_cuda": False, "is_sparse": False, "__new__": make,
                                        "__module__": "torch", "__doc__": f"Constructor of {d.name} tensors, as in early PyTorch."})
    return out


TENSOR_CLASSES = _classes()
_BY_NAME = {f"torch.{name}": cls.dtype for name, cls in TENSOR_CLASSES.items()}
_BY_NAME.update({f"pellucid.{name}": cls.dtype for name, cls in TENSOR_CLASSES.items()})


def _type_to_dtype(kind: Any) -> dt.dtype:
    """The dtype meant by a type name, a legacy class or a dtype."""
    if isinstance(kind, dt.dtype):
        return kind
    if isinstance(kind, _ByDtype):
        return kind.dtype
    if kind is _Types.tensor:
        return dt.get_default_dtype()
    if isinstance(kind, str):
        if kind in ("torch.Tensor", "pellucid.Tensor"):
            return dt.get_default_dtype()
        if kind in _BY_NAME:
            return _BY_NAME[kind]
    raise ValueError(f"invalid type: '{getattr(kind, '__name__', kind)}'")


def set_default_tensor_type(t: Any) -> None:
    """Set the default floating dtype by a legacy class or its name, such as "torch.DoubleTensor"."""
    kind = _type_to_dtype(t)
    if not kind.is_floating_point:
        raise TypeError("only floating-point types are supported as the default type")
    dt.set_default_dtype(kind)


# ------------------------------------------------------------------------------------------------ methods
def type_(self, dtype: Any = None, non_blocking: bool = False, **kwargs: Any):
    """Without argument the type's name ("torch.FloatTensor"), else the tensor converted to a dtype, class or name."""
    if dtype is None:
        return f"torch.{'meta.' if without_data(self) else ''}{self.dtype.type_name}Tensor"
    return F.to(self, _type_to_dtype(dtype))


def new(self, *args: Any, size: Any = None, device: device | str | None = None):
    """A tensor of the same dtype, from sizes or data, as the old constructors."""
    check(device)
    return _construct(self.dtype, args if size is None else (Size(size),))


def new_tensor(self, data: Any, *, dtype=None, device=None, requires_grad: bool = False, layout=None, pin_memory: bool = False):
    """A copy of `data` as a tensor, with this tensor's dtype unless another is given."""
    device = where(self.device if device is None else device)
    t = wrap(array_from(data, dt.as_dtype(dtype) if dtype is not None else self.dtype))
    return _leaf(F.to(t, device), requires_grad)


METHODS = {"type": type_, "new": new, "new_tensor": new_tensor}
type_.__name__ = "type"
