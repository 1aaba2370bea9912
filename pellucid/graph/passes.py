"""Passes: named rewrites of a graph, run in order, each of which says what it did.

In: a Graph and a list of passes. Out: the rewritten graph. When somebody listens to the stage bus, each pass emits the
text of its result and how long it took; with `verify`, the graph's rules are checked after each.
"""
from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from ..core.events import Stage, emit, listening
from ..core.layout import contiguous_format
from ..core.spec import Spec
from ..ops.op import RANDOM, REGISTRY
from .interp import odd_strides
from .ir import Graph, Value
from .printer import text
from .verify import check


@dataclass(frozen=True)
class Pass:
    """One rewrite: a function of a graph, its name, and why it is done."""

    fn: Callable[[Graph], Graph]
    name: str
    why: str


def run_passes(graph: Graph, passes: Iterable[Pass], verify: bool = False, seconds: dict[str, float] | None = None) -> Graph:
    """Run `passes` in order. `seconds` collects how long each took (the sum, for passes of one name)."""
    for p in passes:
        start = time.perf_counter()
        before = len(graph.nodes)
        given, graph = graph, p.fn(graph)
        keep_layouts(given, graph)
        took = time.perf_counter() - start
        if seconds is not None:
            seconds[p.name] = seconds.get(p.name, 0.0) + took
        if verify:
            check(graph)
        if listening():
            emit(Stage(f"graph.{p.name}", p.why, text(graph), took, {"before": before, "after": len(graph.nodes)}))
    return graph


def keep_layouts(before: Graph, after: Graph) -> None:
    """Give the outputs of `after` the strides that those of `before` have: eager's. Where values of several layouts became one, the
    others become copies."""
    if before is after:
        return
    taken: dict[Value, tuple | None] = {}
    for k, (old, v) in enumerate(zip(before.outputs, after.outputs)):
        want, have = (s.strides if odd_strides(s) else None for s in (old.spec, v.spec))
        first = taken.setdefault(v, want)
        if want == have == first:
            continue
        if v.node is None or v.node.op.kind is RANDOM or first != want:         # random numbers are drawn in the order of the strides
            v = after.add(REGISTRY["clone"], (v,), {"fmt": contiguous_format}, (v.spec,), v.node.loc if v.node else None).out
            after.outputs[k] = v
        v.spec = Spec(v.shape, v.dtype, want, v.spec.device)
