"""What runs a captured graph: native code, the printed kernels, the operators' references, or the user's own function.

In: a Graph and the name of a backend, or a callable. Out: a function of arrays (one per input of the graph) that gives the
outputs as new arrays and does the write-backs in place, with a `report` of what was built.
"""
from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from ..core.errors import fail
from ..graph import interp
from ..graph.ir import Graph
from ..graph.passes import run_passes
from ..native import build as native

__all__: list[str] = []

NAMES = ("llvm", "python", "eager", "inductor")           # the last is PyTorch's name of the first


def check_backend(backend: Any) -> None:
    """Refuse what is no backend."""
    if not callable(backend) and backend not in NAMES:
        fail(ValueError, "P3100", f"compile(): no backend {backend!r}",
             fix=f"one of {', '.join(map(repr, NAMES))}, or a function of a Graph")


class Custom:
    """The user's backend: what it made of the graph."""

    def __init__(self, graph: Graph, backend: Callable[[Graph], Callable]):
        start = time.perf_counter()
        self.run = backend(graph)
        if not callable(self.run):
            fail(TypeError, "P3101", f"the backend returned {type(self.run).__name__}", fix="return a function of a list of arrays that "
                 "gives the list of outputs")
        self.report: dict[str, Any] = {"seconds": {"backend": time.perf_counter() - start}}

    def __call__(self, arrays: list) -> list:
        return list(self.run(arrays))


def prepare(graph: Graph) -> Graph:
    """The graph after the passes that every native graph goes through: what is cut in two should be cut in its final form."""
    return run_passes(graph, native.PASSES)


def build(graph: Graph, backend: str | Callable, options: dict[str, Any]) -> Any:
    """An executable for the graph."""
    if callable(backend):
        return Custom(graph, backend)
    if backend == "eager":
        return Custom(graph, lambda graph: lambda arrays: interp.run(graph, arrays))
    return native.compile_graph(graph, backend, options)
