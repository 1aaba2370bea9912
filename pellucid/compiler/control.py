"""Switches of the compiler: functions that stay out of it or that it does not look into, whether it is at work, and what all compiled
functions do for a while.

In: functions, or a stance. Out: the same functions, marked; a context. What stays true: a stance holds for this process until it is
set otherwise, or for the block it is used as.
"""
from __future__ import annotations

import functools
import inspect
import types
from collections.abc import Callable
from typing import Any

from ..capture.policy import TOLD, Told
from ..core.errors import fail, interpreted
from ..nn import Module
from . import backends
from .driver import STANCES, Stance, every
from .modules import share

__all__: list[str] = []


def disable(fn: Callable | None = None, recursive: bool = True, *, reason: str | None = None) -> Any:
    """Keep a function out of compiling: a compiled caller breaks before it, and Python runs it.

    Args:
        fn: the function; without it, `disable()` is a decorator. Of a class, its instances are made and called so; a module gives a
            module with the same parameters and attributes.
        recursive: what it calls stays out too (it does in any case: it is not captured).
        reason: why; told with the break.
    """
    if fn is None:
        return functools.partial(disable, recursive=recursive, reason=reason)
    if not callable(fn):
        fail(TypeError, "P3122", f"disable() takes a function, not {type(fn).__name__}", fix="pass the function itself")
    if isinstance(fn, type):
        for name in ("forward" if issubclass(fn, Module) else "__call__", "__init__"):
            method = getattr(fn, name)
            if isinstance(method, types.FunctionType):
                setattr(fn, name, disable(method, reason=reason))
        return fn

    @functools.wraps(fn, updated=() if isinstance(fn, Module) else functools.WRAPPER_UPDATES)
    def disabled(*args: Any, **kwargs: Any) -> Any:
        return fn(*args, **kwargs)

    disabled._capture_disabled = reason or True
    if not isinstance(fn, Module):
        return disabled
    made = share(fn, disabled, functools.partial(disable, reason=reason))
    type(made)._capture_disabled = disabled._capture_disabled
    return made


def is_compiling() -> bool:
    """Whether this code is being captured now."""
    return interpreted.place is not None


def is_exporting() -> bool:
    """False: pellucid exports no captured program, so nothing is being exported."""
    return False


def cudagraph_mark_step_begin() -> None:
    """Says where an iteration begins, to whoever records CUDA graphs. Nobody here does: it has no effect."""


def list_backends(exclude_tags: Any = None) -> list[str]:
    """The names that `compile(backend=...)` takes. PyTorch leaves out those with `exclude_tags`; these have none."""
    return list(backends.NAMES)


def allow_in_graph(fn: Any) -> Any:
    """Let a compiled function call `fn` without following its Python: it runs at the capture, and the operators it calls are recorded.

    What it looks at besides its arguments (globals, attributes, the values of Python objects) is not checked at later calls, and what
    it does besides its result is not repeated: the caller vouches that neither matters.

    Args:
        fn: a function, or a list or tuple of functions. The same is returned, so it is a decorator too.
    """
    return _told(fn, "allow")


def assume_constant_result(fn: Callable) -> Callable:
    """Take what `fn` returns for constant: a compiled function calls it when it is captured, and goes on with what it gave then.

    Returns `fn`: also a decorator. Where it is given a tensor that is computed, the compiled function breaks instead.
    """
    return _told(fn, "constant")


def substitute_in_graph(original_fn: Callable, *, can_constant_fold_through: bool = False,
                        skip_signature_check: bool = False) -> Callable[[Callable], Callable]:
    """A decorator: in compiled functions, the decorated Python function is followed where `original_fn`, typically one written in C, is
    called. Elsewhere nothing changes.

    Args:
        original_fn: what it stands for.
        can_constant_fold_through: PyTorch's; a function of constants is evaluated at the capture in any case.
        skip_signature_check: accept parameters with other names than those of `original_fn`.
    """
    def substitute(traceable_fn: Callable) -> Callable:
        if not skip_signature_check:
            names = parameters(original_fn)
            if names is not None and names != parameters(traceable_fn):
                fail(TypeError, "P3127",
                     f"{traceable_fn.__qualname__} cannot stand for {original_fn.__qualname__}: their parameters differ",
                     got=f"{parameters(traceable_fn)}, expected {names}", fix="give it these parameters, or pass skip_signature_check=True")
        _told(original_fn, "substitute", traceable_fn)
        return traceable_fn
    return substitute


def parameters(fn: Callable) -> list[str] | None:
    """The parameters of a function as written; None if nobody knows."""
    try:
        return [str(p.replace(annotation=p.empty)) for p in inspect.signature(fn).parameters.values()]
    except (TypeError, ValueError):
        return None


def _told(fn: Any, how: str, other: Callable | None = None) -> Any:
    if isinstance(fn, (list, tuple)) and how == "allow":
        return [_told(f, how) for f in fn]
    if not callable(fn):
        fail(TypeError, "P3128", f"a function is wanted, not {type(fn).__name__}", fix="pass the function itself")
    plain = getattr(fn, "__func__", fn)
    TOLD[id(plain)] = Told(plain, how, other)
    return fn


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
