"""`pellucid.jit`: PyTorch programs that mention TorchScript run as plain Python.

There is no TorchScript here. The names mean what they mean in PyTorch under `PYTORCH_JIT=0`: a decorator gives back what it
decorates, `script` and `trace` give back the function or module itself, and the questions answer no. To make a function
fast, use `pellucid.compile`; to see its graph, `pellucid.trace`. What only a TorchScript program can do (`save`, `load`,
`freeze`, ...) is not there.
"""
from __future__ import annotations

import typing as _typing
from typing import Any, Final, NamedTuple

from .core.errors import fail as _fail, unknown as _unknown
from .nn import Module as _Module

__all__ = ["Attribute", "Final", "ScriptFunction", "ScriptModule", "TracingCheckError", "annotate", "export", "fork", "ignore",
           "interface", "is_scripting", "is_tracing", "isinstance", "script", "script_if_tracing", "script_method", "trace", "trace_module",
           "unused", "wait"]


class ScriptModule(_Module):
    """What scripted modules are in PyTorch: here a Module like any other, to inherit from."""


class ScriptFunction:
    """What scripted functions are in PyTorch: `isinstance(f, ScriptFunction)` is always false here."""


class TracingCheckError(Exception):
    """Never raised: nothing is traced here."""


class Attribute(NamedTuple):
    """A value with the type that TorchScript would give it."""

    value: Any
    type: Any


def script(obj: Any, *args: Any, **kwargs: Any) -> Any:
    """`obj` itself."""
    return obj


def trace(func: Any, *args: Any, **kwargs: Any) -> Any:
    """`func` itself."""
    return func


def trace_module(mod: Any, *args: Any, **kwargs: Any) -> Any:
    """`mod` itself."""
    return mod


def script_method(fn: Any) -> Any:
    """`fn` itself."""
    return fn


def script_if_tracing(fn: Any) -> Any:
    """`fn` itself: nothing is traced."""
    return fn


def export(fn: Any) -> Any:
    """`fn` itself."""
    return fn


def interface(obj: Any) -> Any:
    """`obj` itself."""
    return obj


def unused(fn: Any) -> Any:
    """`fn` itself."""
    return fn


def ignore(drop: Any = False, **kwargs: Any) -> Any:
    """`@ignore` and `@ignore(drop=True)`: the function itself."""
    return drop if callable(drop) else lambda fn: fn


def is_scripting() -> bool:
    """False."""
    return False


def is_tracing() -> bool:
    """False."""
    return False


def annotate(the_type: Any, the_value: Any) -> Any:
    """`the_value` itself."""
    return the_value


def isinstance(obj: Any, target_type: Any) -> bool:       # PyTorch's name
    """Whether `obj` is of `target_type`; the type may be generic (`List[int]`), and then the members count too."""
    if type(target_type) is tuple:
        return any(isinstance(obj, t) for t in target_type)
    origin, inner = _typing.get_origin(target_type), _typing.get_args(target_type)
    if origin is None:
        return target_type is Any or _plain(obj, type(None) if target_type is None else target_type)
    if origin is _typing.Union or getattr(origin, "__name__", "") == "UnionType":
        return any(isinstance(obj, t) for t in inner)
    if not _plain(obj, origin):
        return False
    if origin is dict:
        return all(isinstance(k, inner[0]) and isinstance(v, inner[1]) for k, v in obj.items())
    if origin is tuple and inner[1:] != (...,):
        return len(obj) == len(inner) and all(isinstance(v, t) for v, t in zip(obj, inner))
    return all(isinstance(v, inner[0]) for v in obj)


def _plain(obj: Any, kind: type) -> bool:
    return issubclass(type(obj), kind)


def fork(func: Any, *args: Any, **kwargs: Any) -> Any:
    """Runs `func` at once; `wait` gives what it returned."""
    return func(*args, **kwargs)


def wait(future: Any) -> Any:
    """`future` itself."""
    return future


def _unwrap_optional(x: Any) -> Any:
    """`x`, which must not be None."""
    if x is None:
        _fail(AssertionError, "P792", "Unwrapping null optional", fix="give a value, or test for None first")
    return x


__getattr__ = _unknown(globals())
