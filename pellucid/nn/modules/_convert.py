"""Moving and casting the tensors of a module.

In: a function on tensors, or a dtype, device or memory format. Out: the same module, its parameters, their gradients
and its buffers converted. What stays true: the Parameter objects keep their identity (an optimizer keeps working)
wherever the storage can be replaced underneath them, and integer tensors keep their dtype.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

from ...core.device import device as Device
from ...core.dtype import dtype as DType
from ...tensor import Tensor, no_grad
from ...tensor import functions as T
from ...utils.swap import swap_tensors
from ..parameter import Parameter, is_lazy

__all__ = ["ModuleConvert"]

_overwrite_params = False
_swap_params = False


def set_overwrite_module_params_on_conversion(value: bool) -> None:
    """Whether ``Module.to`` and its kin make new Parameter objects instead of replacing the data of the old ones."""
    global _overwrite_params
    _overwrite_params = value


def get_overwrite_module_params_on_conversion() -> bool:
    """What ``set_overwrite_module_params_on_conversion`` was set to (default False)."""
    return _overwrite_params


def set_swap_module_params_on_conversion(value: bool) -> None:
    """Whether ``Module.to`` and its kin, and ``load_state_dict``, exchange the tensor objects by ``swap_tensors``."""
    global _swap_params
    _swap_params = value


def get_swap_module_params_on_conversion() -> bool:
    """What ``set_swap_module_params_on_conversion`` was set to (default False)."""
    return _swap_params


class ModuleConvert:
    """The part of ``Module`` that converts tensors."""

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Any:
        """Replace every parameter, gradient and buffer by ``fn`` of it."""
        if recurse:
            for module in self.children():
                module._apply(fn)
        for name, parameter in self._parameters.items():
            if parameter is not None:
                self._parameters[name] = _converted(parameter, fn)
        for name, buffer in self._buffers.items():
            if buffer is not None:
                self._buffers[name] = fn(buffer)
        return self

    def apply(self, fn: Callable[[Any], Any]) -> Any:
        """Call ``fn(module)`` on every module below this one, then on this one (typically to initialise). Returns self."""
        for module in self.children():
            module.apply(fn)
        fn(self)
        return self

    def to(self, *args: Any, **kwargs: Any) -> Any:
        """Move or cast the parameters and buffers, in place. Returns self.

        Forms: ``to(device=None, dtype=None, non_blocking=False)``, ``to(dtype, non_blocking=False)``,
        ``to(tensor, non_blocking=False)`` (its dtype and device), ``to(memory_format=channels_last)``. Only floating
        point and complex tensors are cast; only 4-d (``channels_last``) or 5-d (``channels_last_3d``) parameters and
        buffers change their memory format.

        Raises:
            TypeError: an integer dtype is asked for.
        """
        device, dtype, non_blocking, memory_format = _parse_to(*args, **kwargs)
        if dtype is not None:
            if not (dtype.is_floating_point or dtype.is_complex):
                raise TypeError(
                    "nn.Module.to only accepts floating point or complex dtypes, but got desired dtype=" + str(dtype)
                )
            if dtype.is_complex:
                warnings.warn(
                    "Complex modules are a new feature under active development whose design may change, and some "
                    "modules might not work as expected when using complex tensors as parameters or buffers.",
                    stacklevel=2,
                )

        def convert(tensor: Tensor) -> Tensor:
            castable = tensor.is_floating_point() or tensor.is_complex()
            changes: dict[str, Any] = {"dtype": dtype if castable else None, "device": device}
            if memory_format is not None and not is_lazy(tensor) and tensor.dim() in (4, 5):
                changes["memory_format"] = memory_format
            try:
                return tensor.to(non_blocking=non_blocking, **changes)
            except NotImplementedError:
                if tensor.is_meta:
                    raise NotImplementedError(
                        "Cannot copy out of meta tensor; no data! Please use torch.nn.Module.to_empty() instead of torch.nn.Module.to() when moving "
                        "module from meta to a different device."
                    ) from None
                raise

        return self._apply(convert)

    def to_empty(self, *, device: Device | str | int | None, recurse: bool = True) -> Any:
        """Move the parameters and buffers to ``device`` without copying their values. Returns self."""
        return self._apply(lambda t: T.empty_like(t, device=device), recurse=recurse)

    def type(self, dst_type: DType | str) -> Any:
        """Cast all parameters and buffers to ``dst_type``. Returns self."""
        return self._apply(lambda t: t.type(dst_type))

    def float(self) -> Any:
        """Cast the floating point parameters and buffers to float32. Returns self."""
        return self._apply(lambda t: t.float() if t.is_floating_point() else t)

    def double(self) -> Any:
        """Cast the floating point parameters and buffers to float64. Returns self."""
        return self._apply(lambda t: t.double() if t.is_floating_point() else t)

    def half(self) -> Any:
        """Cast the floating point parameters and buffers to float16. Returns self."""
        return self._apply(lambda t: t.half() if t.is_floating_point() else t)

    def bfloat16(self) -> Any:
        """Cast the floating point parameters and buffers to bfloat16. Returns self."""
        return self._apply(lambda t: t.bfloat16() if t.is_floating_point() else t)

    def cpu(self) -> Any:
        """Move the parameters and buffers to the CPU. Returns self."""
        return self._apply(lambda t: t.cpu())

    def share_memory(self) -> Any:
        """Move the parameters and buffers to memory shared with child processes. Returns self."""
        return self._apply(lambda t: t.share_memory_())

    def requires_grad_(self, requires_grad: bool = True) -> Any:
        """Say whether autograd is to record operations on the parameters (freeze or unfreeze). Returns self."""
        for parameter in self.parameters():
            parameter.requires_grad_(requires_grad)
        return self

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Drop the gradients of all parameters, or (``set_to_none=False``) fill them with zeros."""
        for parameter in self.parameters():
            grad = parameter.grad
            if grad is None:
                continue
            if set_to_none:
                parameter.grad = None
            else:
                if grad.grad_fn is not None:
                    grad.detach_()
                else:
                    grad.requires_grad_(False)
                grad.zero_()


def _converted(parameter: Parameter, fn: Callable[[Tensor], Tensor]) -> Parameter:
    """``parameter`` and its gradient with ``fn`` applied: the same object unless its data cannot be replaced."""
    with no_grad():
        value = fn(parameter)
    grad = parameter.grad
    if _swap_params:
        return _swapped(parameter, value, fn)
    in_place = _replaceable(parameter, value)
    if in_place:
        parameter.data = value
        result = parameter
    else:
        result = Parameter(value, parameter.requires_grad)
    if grad is not None:
        with no_grad():
            new_grad = fn(grad)
        if in_place and _replaceable(grad, new_grad):
            result.grad.data = new_grad
        else:
            result.grad = new_grad.requires_grad_(grad.requires_grad)
    return result


def _swapped(parameter: Parameter, value: Tensor, fn: Callable[[Tensor], Tensor]) -> Parameter:
    """``parameter`` after it was exchanged with ``value``, and its gradient likewise."""
    grad, parameter.grad = parameter.grad, None
    swap_tensors(parameter, Parameter(value, parameter.requires_grad))
    if grad is not None:
        with no_grad():
            swap_tensors(grad, fn(grad).requires_grad_(grad.requires_grad))
        parameter.grad = grad
    return parameter


def _replaceable(old: Tensor, new: Tensor) -> bool:
    # A tensor on the meta device has no storage that could be swapped for a real one, or the other way round.
    return not _overwrite_params and old.is_meta == new.is_meta


def _parse_to(*args: Any, **kwargs: Any) -> tuple[Device | None, DType | None, bool, Any]:
    """The arguments of ``Module.to`` as (device, dtype, non_blocking, memory_format)."""
    device, dtype = kwargs.pop("device", None), kwargs.pop("dtype", None)
    non_blocking = kwargs.pop("non_blocking", False)
    kwargs.pop("copy", None)
    memory_format = kwargs.pop("memory_format", None)
    other = kwargs.pop("tensor", None)
    rest = list(args)
    if rest and isinstance(rest[0], Tensor):
        other = rest.pop(0)
    if other is not None:
        device, dtype = other.device, other.dtype
    elif rest and isinstance(rest[0], DType):
        dtype = rest.pop(0)
    elif rest and not isinstance(rest[0], bool):
        device = rest.pop(0)
        if rest and (rest[0] is None or isinstance(rest[0], DType)):
            dtype = rest.pop(0)
    if rest and isinstance(rest[0], bool):
        non_blocking = rest.pop(0)
    if rest and isinstance(rest[0], bool):
        rest.pop(0)  # `copy`: a module is always converted in place
    if rest or kwargs:
        given = ", ".join([type(a).__name__ for a in args] + [f"{k}={type(v).__name__}" for k, v in kwargs.items()])
        raise TypeError(
            f"to() received an invalid combination of arguments - got ({given}), but expected one of: "
            "(device, dtype, non_blocking), (dtype, non_blocking), (tensor, non_blocking), each with an optional "
            "memory_format"
        )
    return None if device is None else Device(device), dtype, bool(non_blocking), memory_format
