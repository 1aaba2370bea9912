"""What a compiled function is called, and where it is written: for reports, errors and logs.

In: what was compiled. Out: names, files and lines of the user's. What stays true: a module that is compiled in place goes by its class.
"""
from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..nn import Module

__all__: list[str] = []


def meant(fn: Callable) -> Callable:
    """What a user calls by `fn`: of a module that is compiled in place, the module."""
    owner = getattr(fn, "__self__", None)
    return owner if isinstance(owner, Module) and getattr(fn, "__func__", None) is Module._call_impl else fn


def name_of(fn: Callable) -> str:
    fn = meant(fn)
    return getattr(fn, "__qualname__", None) or type(fn).__name__


def code_of(fn: Callable) -> Any:
    """The code object that a call of `fn` starts with; None if it has none."""
    fn = meant(fn)
    fn = getattr(fn, "__func__", fn)
    code = getattr(fn, "__code__", None)
    if code is None:
        methods = [getattr(getattr(type(fn), name, None), "__code__", None) for name in ("forward", "__call__")]
        code = methods[0] or methods[1]
    return code


def place_of(fn: Callable) -> tuple[str, int]:
    """Its file and first line."""
    code = code_of(fn)
    return (code.co_filename, code.co_firstlineno) if code is not None else ("", 0)
