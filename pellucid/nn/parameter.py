"""Tensors that belong to a module.

In: a tensor (or nothing). Out: the same storage seen as a ``Parameter`` (trained, listed by ``Module.parameters``)
or a ``Buffer`` (state that is saved but not trained). What stays true: a parameter is a leaf, shares the data it was
made from, and behaves in every operator exactly as a plain ``Tensor``.

The ``Uninitialized*`` classes hold the place of a tensor whose shape is known only after the first ``forward``.
"""

from __future__ import annotations

import weakref
from collections import OrderedDict
from typing import Any

from ..core.device import device as Device
from ..core.dtype import dtype as DType
from ..core.layout import preserve_format
from ..ops.dispatch import add_slow
from ..tensor import Tensor, register_plain_class
from ..tensor import functions as T

__all__ = ["Parameter", "Buffer", "UninitializedParameter", "UninitializedBuffer", "is_lazy"]


class _ParameterMeta(type(Tensor)):
    """Lets a tensor of a foreign class marked ``_is_param`` count as a Parameter."""

    def __instancecheck__(self, instance: Any) -> bool:
        if super().__instancecheck__(instance):
            return True
        return self is Parameter and isinstance(instance, Tensor) and getattr(instance, "_is_param", False)


class Parameter(Tensor, metaclass=_ParameterMeta):
    """A tensor that a Module registers as trainable when it is assigned as an attribute.

    Args:
        data: the tensor to share storage with (default: an empty one). Its graph, if any, is left behind.
        requires_grad: whether gradients are accumulated (default True).
    """

    def __new__(cls, data: Tensor | None = None, requires_grad: bool = True) -> "Parameter":
        if data is None:
            data = T.empty(0)
        if type(data) is Tensor or type(data) is Parameter:
            return Tensor._make_subclass(cls, data, requires_grad)
        # A foreign tensor class keeps its class (and its behaviour) and is only marked.
        marked = data.detach().requires_grad_(requires_grad)
        if type(marked) is not type(data):
            raise RuntimeError(
                f"Creating a Parameter from an instance of type {type(data).__name__} requires that detach() "
                f"returns an instance of the same type, but return type {type(marked).__name__} was found instead."
            )
        marked._is_param = True
        return marked

    def __deepcopy__(self, memo: dict[int, Any]) -> "Parameter":
        if id(self) in memo:
            return memo[id(self)]
        copied = type(self)(self.data.clone(memory_format=preserve_format), self.requires_grad)
        memo[id(self)] = copied
        return copied

    def __repr__(self) -> str:
        return "Parameter containing:\n" + super().__repr__()

    def __reduce_ex__(self, protocol: int) -> tuple:
        return _rebuild_parameter, (self.data, self.requires_grad, OrderedDict(), _extra_attributes(self))


def _extra_attributes(tensor: Tensor) -> dict[str, Any]:
    """The attributes the user put on a tensor, which must survive pickling."""
    return dict(getattr(tensor, "__dict__", {}))


def _rebuild_parameter(data: Tensor, requires_grad: bool, backward_hooks: Any, attributes: dict | None = None) -> Parameter:
    parameter = Parameter(data, requires_grad)
    for name, value in (attributes or {}).items():
        setattr(parameter, name, value)
    return parameter


class _BufferMeta(type(Tensor)):
    """``isinstance(t, Buffer)`` asks for the mark that ``Buffer(...)`` leaves: a buffer is a plain tensor."""

    def __instancecheck__(self, instance: Any) -> bool:
        if self is Buffer:
            return isinstance(instance, Tensor) and getattr(instance, "_is_buffer", False)
        return super().__instancecheck__(instance)


class Buffer(Tensor, metaclass=_BufferMeta):
    """A tensor that a Module registers as a buffer when it is assigned as an attribute.

    Args:
        data: the tensor to share storage with (default: an empty one).
        persistent: whether it is part of the module's ``state_dict`` (default True).

    Returns a tensor of the class of ``data``, marked as a buffer.
    """

    def __new__(cls, data: Tensor | None = None, *, persistent: bool = True) -> Tensor:
        if data is None:
            data = T.empty(0)
        buffer = data.detach().requires_grad_(data.requires_grad)
        buffer.persistent = persistent
        buffer._is_buffer = True
        return buffer


class UninitializedTensorMixin:
    """What a tensor without a shape may do: report its dtype and device, be moved, and be materialised."""

    cls_to_become: type[Tensor]

    def _repr_html_(self) -> None:
        """Notebooks show the plain repr: there are no values yet."""

    # The only operators that make sense before the shape is known, by name.
    _allowed = frozenset("half float double bfloat16 char short int long bool cpu to type convert copy_ detach".split())

    @classmethod
    def _without_shape(cls, requires_grad: bool, device: Device | str | None, dtype: DType | None) -> Tensor:
        tensor = Tensor._make_subclass(cls, T.empty(0, device=device, dtype=dtype), requires_grad)
        # While such a tensor lives, every operator call looks for it among its arguments.
        add_slow(1)
        tensor._watch = weakref.finalize(tensor, add_slow, -1)
        return tensor

    def materialize(self, shape: Any, device: Device | str | None = None, dtype: DType | None = None) -> None:
        """Give the tensor its shape (and device and dtype): from here on it is an ordinary parameter or buffer.

        The values are uninitialised.
        """
        data = self.data
        self.data = T.empty(
            shape, device=data.device if device is None else device, dtype=data.dtype if dtype is None else dtype
        )
        self.__class__ = self.cls_to_become
        self.__dict__.pop("_watch")()

    @property
    def shape(self) -> Any:
        raise RuntimeError(
            "Can't access the shape of an uninitialized parameter or buffer. This error usually happens in "
            "`load_state_dict` when trying to load an uninitialized parameter into an initialized one. Call `forward` "
            "to initialize the parameters before accessing their attributes."
        )

    def share_memory_(self) -> None:
        raise RuntimeError(
            "Can't share memory on an uninitialized parameter or buffer. Call `forward` to initialize the parameters "
            "before calling `module.share_memory()`."
        )

    def __repr__(self) -> str:
        return f"<{type(self).__name__}>"

    def __reduce_ex__(self, protocol: int) -> tuple:
        return _rebuild_uninitialized, (type(self), self.requires_grad, self.device, self.dtype)

    @classmethod
    def __torch_function__(cls, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        if getattr(func, "__name__", "") in cls._allowed:
            return super().__torch_function__(func, types, args, kwargs or {})
        raise ValueError(
            f"Attempted to use an uninitialized parameter in {func}. This error happens when you are using a "
            f"`LazyModule` or explicitly manipulating `torch.nn.parameter.{cls.__name__}` objects. When using "
            "LazyModules Call `forward` with a dummy batch to initialize the parameters before calling torch functions"
        )


def _rebuild_uninitialized(cls: type, requires_grad: bool, device: Device, dtype: DType) -> Tensor:
    return cls(requires_grad, device, dtype)


def is_lazy(tensor: Any) -> bool:
    """Whether a tensor still waits for its shape."""
    return isinstance(tensor, UninitializedTensorMixin)


class UninitializedParameter(UninitializedTensorMixin, Parameter):
    """A Parameter whose shape is not known yet; ``materialize(shape)`` makes it one.

    Reading its shape or using it in an operator is an error until then.
    """

    cls_to_become = Parameter

    def __new__(
        cls, requires_grad: bool = True, device: Device | str | None = None, dtype: DType | None = None
    ) -> "UninitializedParameter":
        return cls._without_shape(requires_grad, device, dtype)

    def __deepcopy__(self, memo: dict[int, Any]) -> "UninitializedParameter":
        if id(self) in memo:
            return memo[id(self)]
        copied = type(self)(self.requires_grad, self.data.device, self.data.dtype)
        memo[id(self)] = copied
        return copied


class UninitializedBuffer(UninitializedTensorMixin, Tensor):
    """A buffer whose shape is not known yet; ``materialize(shape)`` makes it one."""

    cls_to_become = Tensor

    def __new__(
        cls,
        requires_grad: bool = False,
        device: Device | str | None = None,
        dtype: DType | None = None,
        persistent: bool = True,
    ) -> "UninitializedBuffer":
        buffer = cls._without_shape(requires_grad, device, dtype)
        buffer.persistent = persistent
        buffer._is_buffer = True
        return buffer


register_plain_class(Parameter)
