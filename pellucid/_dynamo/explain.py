"""`torch._dynamo.explain`: how a function falls into graphs, with PyTorch's fields.

In: a function and the arguments of one call. Out: `ExplainOutput`. What stays true: a graph is one that compiling gives, counted as PyTorch
counts them, without the backward that is cut off; `pellucid.explain` tells more (lines, kernels, costs).
"""
from __future__ import annotations

import traceback
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ..compiler import compile
from ..compiler.logs import guard
from ..compiler.modules import OptimizedModule
from ..graph.ir import Graph

__all__ = ["ExplainOutput", "GraphCompileReason", "explain"]


@dataclass
class GraphCompileReason:
    """Why a function was cut, and where."""

    reason: str
    user_stack: list[traceback.FrameSummary]
    graph_break: bool = True


@dataclass
class ExplainOutput:
    """What `explain` gives: print it, or read its fields."""

    graphs: list[Graph]
    graph_count: int
    graph_break_count: int
    break_reasons: list[GraphCompileReason]
    op_count: int
    ops_per_graph: list[list[str]]
    out_guards: list[str]
    compile_times: str

    def __str__(self) -> str:
        lines = [f"Graph Count: {self.graph_count}", f"Graph Break Count: {self.graph_break_count}", f"Op Count: {self.op_count}",
                 "Break Reasons:"]
        for n, why in enumerate(self.break_reasons, 1):
            lines += [f"  Break Reason {n}:", f"    Reason: {why.reason}", "    User Stack:", *[f"      {place}" for place in why.user_stack]]
        lines += ["Ops per Graph:"]
        for n, ops in enumerate(self.ops_per_graph, 1):
            lines += [f"  Ops {n}:", *[f"    {op}" for op in ops]]
        lines += ["Out Guards:"]
        for n, text in enumerate(self.out_guards, 1):
            lines += [f"  Guard {n}:", f"    {text.strip()}"]
        return "\n".join([*lines, f"Compile Times: {self.compile_times}"]) + "\n"


def explain(f: Callable, *extra_args: Any, **extra_kwargs: Any) -> Any:
    """`explain(f)(*args, **kwargs)`: compile `f` anew, call it, and say into which graphs it fell, and why."""
    def explained(*args: Any, **kwargs: Any) -> ExplainOutput:
        made = compile(f, backend="eager")
        compiled = made._compiled if isinstance(made, OptimizedModule) else made
        compiled(*args, **kwargs)
        versions = compiled.versions
        graphs = [v.graph for v in versions if v.graph.nodes]
        ops = [[node.op.name for node in graph.nodes] for graph in graphs]
        reasons = [GraphCompileReason(b.reason, [traceback.FrameSummary(b.file, b.line, b.function)]) for b in compiled.breaks]
        return ExplainOutput(graphs, len(graphs), len(reasons), reasons, sum(map(len, ops)), ops,
                             [guard(g) for v in versions for g in v.writer.guards], f"{sum(v.seconds['all'] for v in versions):.4f} s")

    if extra_args or extra_kwargs:
        warnings.warn("explain(f, *args, **kwargs) is deprecated, use explain(f)(*args, **kwargs) instead.", FutureWarning, stacklevel=2)
        return explained(*extra_args, **extra_kwargs)
    return explained
