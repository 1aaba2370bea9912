"""Where tensors are made: the default device of a thread, and which calls concern tensors without data.

In: devices, calls of operators. Out: what the interpreter of `meta.py` is asked to take over. Nothing here loads it before the
first call that does.
"""
from __future__ import annotations

from ..core.device import CPU, META, check, device, on_meta
from ..core.errors import fail
from ..core.late import late
from ..ops.dispatch import add_slow, local, state
from ..ops.op import F, Op
from .core import Slots
from .fake import without_data

PUBLIC = ("get_default_device", "set_default_device")


def takes(op: Op, args: tuple, kwargs: dict) -> bool:
    """Whether a call is one of tensors without data: its device says so or, if it names none, one of its tensors."""
    if kwargs and "device" in kwargs and op.name != "to" and kwargs["device"] is not None:
        return on_meta(kwargs["device"])
    return state.meta is not None and (any_without(args) or bool(kwargs) and any_without(kwargs.values()))


def any_without(values) -> bool:
    """Whether one of `values`, or of what is in its lists and tuples, is a tensor without data."""
    for v in values:
        if isinstance(v, Slots):
            if without_data(v):
                return True
        elif (type(v) is tuple or type(v) is list) and any_without(v):
            return True
    return False


def take(op: Op, args: tuple, kwargs: dict):
    """The call, if it is one of tensors without data; else NotImplemented."""
    return late.meta().enter(op, args, kwargs) if takes(op, args, kwargs) else NotImplemented


def where(d) -> device:
    """The device that a function from Python data is asked for: CPU or META. Raises RuntimeError for others."""
    if d is None:
        return local.device or CPU
    return META if on_meta(d) else check(d)


def default_device(d: device | None) -> None:
    """Make `d` this thread's default until it is called with None."""
    if d is None:
        new, local.outer_devices = local.outer_devices[-1], local.outer_devices[:-1]
    else:
        new = None if where(d) is CPU else META
        local.outer_devices = (*local.outer_devices, local.device)
    make_default(new)


def make_default(new: device | None) -> None:
    """Make `new` this thread's default; None is the CPU."""
    add_slow((new is not None) - (local.device is not None))
    local.device = new


def set_default_device(device) -> None:
    """Where functions such as `zeros` and `tensor` make their tensors from now on, in this thread, unless they are told."""
    make_default(None if device is None or where(device) is CPU else META)


def get_default_device() -> device:
    """Where functions such as `zeros` make their tensors."""
    return local.device or CPU


def on_default(op: Op, args: tuple, kwargs: dict):
    """A call where another device is the default: functions that make tensors from nothing follow it, as the user calls them."""
    names = op.signature.parameters
    if "device" in names and "input" not in names and kwargs.get("device") is None and not any([isinstance(t, Slots) for t in args]):
        kwargs = {**kwargs, "device": local.device}
    before, local.device = local.device, None
    overrides, local.in_override = local.in_override, True
    try:
        return getattr(F, op.name)(*args, **kwargs)
    finally:
        local.device, local.in_override = before, overrides


def refuse_data() -> None:
    """The error of whoever wants the values of a tensor on the meta device."""
    fail(NotImplementedError, "P3011", "Cannot copy out of meta tensor; no data!",
         fix="make it on the CPU (module.to_empty(device='cpu') makes parameters anew), then fill it")


late.default_device = default_device
