"""Switches of the compiler: functions that stay out of it, whether it is at work, and what all compiled functions do for a while.

In: functions, or a stance. Out: the same functions, marked; a context. What stays true: a stance holds for this process until it is
set otherwise, or for the block it is used as.
"""
from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from ..core.errors import fail, interpreted
from .driver import STANCES, Stance, every

__all__: list[str] = []


def disable(fn: Callable | None = None, recursive: bool = True, *, reason: str | None = None) -> Any:
    """Keep a function out of compiling: a compiled caller breaks before it, and Python runs it.

    Args:
        fn: the function; without it, `disable()` is a decorator.
        recursive: what it calls stays out too (it does in any case: it is not captured).
        reason: why; told with the break.
    """
    if fn is None:
        return functools.partial(disable, recursive=recursive, reason=reason)
    if not callable(fn):
        fail(TypeError, "P3122", f"disable() takes a function, not {type(fn).__name__}", fix="pass the function itself")

    @functools.wraps(fn)
    def disabled(*args: Any, **kwargs: Any) -> Any:
        return fn(*args, **kwargs)

    disabled._capture_disabled = reason or True
    return disabled


def is_compiling() -> bool:
    """Whether this code is being captured now."""
    return interpreted.place is not None


def is_exporting() -> bool:
    """Whether this code is being captured for another program to run: never, here."""
    return False


def reset() -> None:
    """Forget all compiled versions of all functions."""
    for compiled in tuple(every):
        compiled.reset()


class set_stance:
    """What compiled functions do from now on, or inside `with`: "default"; "force_eager", run as plain Python; "eager_on_recompile",
    run as plain Python where no version fits; "fail_on_recompile", raise there; "eager_then_compile", run the first call as plain
    Python. Also a decorator."""

    def __init__(self, stance: str = "default"):
        if stance not in STANCES:
            fail(ValueError, "P3123", f"no stance {stance!r}", fix=f"one of {', '.join(STANCES)}")
        self.stance, self.before = stance, Stance.now
        Stance.now = stance

    def __enter__(self) -> set_stance:
        Stance.now = self.stance
        return self

    def __exit__(self, *exc: object) -> None:
        Stance.now = self.before

    def __call__(self, fn: Callable) -> Callable:
        Stance.now = self.before

        @functools.wraps(fn)
        def within(*args: Any, **kwargs: Any) -> Any:
            before, Stance.now = Stance.now, self.stance
            try:
                return fn(*args, **kwargs)
            finally:
                Stance.now = before
        return within
