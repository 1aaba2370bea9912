"""`__torch_function__`: Tensor subclasses, duck types and function modes that take over operators.

In: an operator with the user's arguments. Out: the override's result, or NotImplemented when nobody overrides.
"""
from __future__ import annotations

from ..ops.dispatch import add_slow, local
from ..ops.op import F
from .core import PLAIN

_known: dict[type, bool] = {}


def _disabled_torch_function_impl(*args, **kwargs):
    """Assign it to `__torch_function__` in a Tensor subclass that wants plain behaviour."""
    return NotImplemented


def special(cls: type) -> bool:
    """Whether values of `cls` take operators over: by an override of their own, or, for a Tensor subclass, by the
    default one, which keeps the subclass in results."""
    known = _known.get(cls)
    if known is None:
        method = getattr(cls, "__torch_function__", None)
        known = _known[cls] = (method is not None and cls not in PLAIN and method is not _disabled_torch_function_impl)
    return known


def overloaded_arguments(args: tuple, kwargs: dict) -> list:
    """Arguments whose types override, subclasses before their bases, each type once."""
    found: list = []
    types: set = set()
    waiting = [*args, *kwargs.values()][::-1]
    while waiting:
        v = waiting.pop()
        if isinstance(v, (list, tuple)):
            waiting.extend(reversed(v))
        elif type(v) not in types and special(type(v)):
            types.add(type(v))
            place = next((i for i, old in enumerate(found) if issubclass(type(v), type(old))), len(found))
            found.insert(place, v)
    return found


def ordinary(values) -> bool:
    """Whether none of `values` is, or could hold, something that takes operators over."""
    for v in values:
        cls = type(v)
        if cls is tuple or cls is list or _known.get(cls, True) and special(cls):
            return False
    return True


def overridden(args: tuple) -> bool:
    """Whether a mode or one of `args` takes operators over."""
    return not local.in_override and bool(local.function_modes or overloaded_arguments(args, {}))


def override(op, args: tuple, kwargs: dict):
    """Let modes, then arguments, take the call over."""
    if not local.function_modes and ordinary(args) and (not kwargs or ordinary(kwargs.values())):
        return NotImplemented
    func = getattr(F, op.name)
    if local.function_modes:
        mode = local.function_modes[-1]
        before = local.function_modes
        local.function_modes = before[:-1]
        try:
            types = [type(v) for v in overloaded_arguments(args, kwargs)]
            r = mode.__torch_function__(func, types, args, kwargs)
        finally:
            local.function_modes = before
        if r is not NotImplemented:
            return r
    found = overloaded_arguments(args, kwargs)
    if not found:
        return NotImplemented
    types = tuple(type(v) for v in found)
    for v in found:
        r = type(v).__torch_function__(func, types, args, kwargs)
        if r is not NotImplemented:
            return r
    raise TypeError(f"no implementation found for 'pellucid.{op.public}' on types that implement __torch_function__: "
                    f"{list(types)}")


class DisableTorchFunctionSubclass:
    """Inside this context operators see subclasses as plain tensors."""

    def __enter__(self):
        self.before, local.in_override = local.in_override, True
        return self

    def __exit__(self, *exc):
        local.in_override = self.before
        return False


class TorchFunctionMode:
    """Subclass, define `__torch_function__(self, func, types, args=(), kwargs=None)`, and use it as a context: every
    operator inside is handed to it."""

    def __torch_function__(self, func, types, args=(), kwargs=None):
        return func(*args, **(kwargs or {}))

    def __enter__(self):
        local.function_modes = local.function_modes + (self,)
        add_slow(1)
        return self

    def __exit__(self, *exc):
        add_slow(-1)
        local.function_modes = local.function_modes[:-1]
        return False


def has_torch_function(relevant_args) -> bool:
    """Whether any of `relevant_args` overrides operators."""
    return any(special(type(v)) for v in relevant_args)


def handle_torch_function(public_api, relevant_args, *args, **kwargs):
    """Call the overrides of `relevant_args` for `public_api`, as library code written for PyTorch does."""
    found = overloaded_arguments(tuple(relevant_args), {})
    types = tuple(type(v) for v in found)
    for v in found:
        r = type(v).__torch_function__(public_api, types, args, kwargs)
        if r is not NotImplemented:
            return r
    raise TypeError(f"no implementation found for '{public_api.__module__}.{public_api.__name__}' on types that implement "
                    f"__torch_function__: {list(types)}")
