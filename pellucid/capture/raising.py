"""Frames with the user's file and line, where none of Python's own is on that line: for tracebacks, and for who asks where it is called
from (warnings, logging)."""
from __future__ import annotations

import types
from collections.abc import Callable
from typing import Any
from weakref import WeakSet

__all__: list[str] = []

_raisers: dict[tuple, Any] = {}


def at_line(error: BaseException, code: Any, line: int | None) -> BaseException:
    """The exception as raised at a line of the user's."""
    key = code.co_filename, code.co_name, line
    raiser = _raisers.get(key)
    if raiser is None:
        if len(_raisers) > 1000:
            _raisers.clear()
        source = "\n" * max((line or 1) - 2, 0) + ("def raiser(error):\n" if (line or 1) > 1 else "def raiser(error): ") + " raise error"
        space: dict = {}
        exec(compile(source, code.co_filename, "exec"), space)
        raiser = space["raiser"]
        raiser.__code__ = raiser.__code__.replace(co_name=code.co_name, co_qualname=code.co_qualname)
        _raisers[key] = raiser
    before = error.__context__, error.__cause__, error.__suppress_context__
    try:
        raiser(error)
    except BaseException as raised:
        raised.__traceback__ = raised.__traceback__.tb_next
        raised.__context__, raised.__cause__, raised.__suppress_context__ = before
        return raised
    return error


callers: WeakSet = WeakSet()            # code of what `caller_at` gives


def caller_at(code: Any, line: int | None, space: dict) -> Callable[[Callable, tuple, dict], Any]:
    """A function that calls another one from a line of the user's, with the globals there."""
    source = "\n" * max((line or 1) - 1, 0) + "def caller(fn, args, kwargs): return fn(*args, **kwargs)"
    found: dict = {}
    exec(compile(source, code.co_filename, "exec"), found)
    made = found["caller"].__code__.replace(co_name=code.co_name, co_qualname=code.co_qualname)
    callers.add(made)
    return types.FunctionType(made, space)
