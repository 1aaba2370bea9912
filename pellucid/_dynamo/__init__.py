"""The names of `torch._dynamo` that programs use, over `pellucid.compiler`.

    config.py      settings, as PyTorch calls them
    eval_frame.py  what a compiled module is, whether this Python is captured
    exc.py         what compiling raises
    explain.py     explain, with PyTorch's fields
    testing.py     backends that count and record, and what tests are written with
    utils.py       same: whether two results agree

In: PyTorch's spelling. Out: what pellucid.compiler has. What stays true: a name does here what it does in PyTorch, and one that would
not is absent; `pellucid.compiler` says the same things, and more, in its own words.
"""
from __future__ import annotations

from collections.abc import Callable
from typing import Any

from .. import compiler
from ..compiler import (allow_in_graph, assume_constant_result, disable, is_compiling, list_backends, reset, set_stance,
                        substitute_in_graph)
from ..core.errors import fail
from ..nn import Module
from ..tensor import Tensor
from . import config, eval_frame, exc, testing, utils
from .eval_frame import OptimizedModule, is_dynamo_supported
from .explain import explain

__all__ = ["OptimizedModule", "allow_in_graph", "assume_constant_result", "config", "disable", "eval_frame", "exc", "explain", "graph_break",
           "is_compiling", "is_dynamo_supported", "list_backends", "mark_dynamic", "mark_static", "mark_static_address",
           "maybe_mark_dynamic", "optimize", "optimize_assert", "reset", "set_stance", "substitute_in_graph", "testing", "utils"]

Index = int | list[int] | tuple[int, ...]


def optimize(backend: str | Callable = "inductor", *, nopython: bool = False, disable: bool = False, dynamic: bool | None = None) -> Callable:
    """A decorator: `compile` with this backend. `nopython` is its `fullgraph`."""
    return compiler.compile(backend=backend, fullgraph=nopython, disable=disable, dynamic=dynamic)


def optimize_assert(backend: str | Callable, *, dynamic: bool | None = None) -> Callable:
    """`optimize` with `nopython=True`: what would be a break is an error."""
    return optimize(backend, nopython=True, dynamic=dynamic)


@disable(reason="graph_break() was called")
def graph_break(msg: str = "") -> None:
    """A compiled function is cut here. Elsewhere it does nothing."""


def mark_dynamic(t: Tensor, index: Index, *, hint_override: int | None = None, min: int | None = None, max: int | None = None,
                 specialize_on: list | None = None) -> None:
    """`compiler.mark_dynamic`. The other arguments say for which sizes PyTorch's code need hold; here each size that is compiled has
    code of its own, so that nothing follows from them."""
    compiler.mark_dynamic(t, index)


def maybe_mark_dynamic(t: Tensor, index: Index) -> None:
    """`mark_dynamic`, which here never is an error."""
    compiler.mark_dynamic(t, index)


def mark_static(t: Tensor, index: Index | None = None) -> None:
    """`compiler.mark_static`. A class of modules may be marked too: what its modules hold has fixed sizes in any case."""
    if not (isinstance(t, type) and issubclass(t, Module)):
        compiler.mark_static(t, index)


def mark_static_address(t: Tensor, guard: bool = False) -> None:
    """Says that a tensor's memory stays where it is, to whoever records CUDA graphs. Nobody here does; what compiled code relies on is
    checked at each call in any case."""
    if not isinstance(t, Tensor):
        fail(TypeError, "P3133", f"mark_static_address() takes a tensor, not {type(t).__name__}", fix="pass the tensor")
