"""Gradients of a graph, as a graph: the operators' own derivative rules, run in reverse under the tracer.

In: a Graph. Out: the joint graph: the inputs, then one tangent (the gradient of some scalar) per differentiable output; the
outputs, then the gradient of each wanted input. Write-backs stay. Derivatives of derivatives: apply it again.
"""
from __future__ import annotations

from collections.abc import Sequence

from ..core import dtype as dt
from ..core.late import late
from ..core.layout import contiguous_format
from ..ops.canonical import call, ops
from .ir import Graph, Value
from .verify import stripped


def joint(graph: Graph, wrt: Sequence[int] | None = None) -> Graph:
    """The graph with gradients of its outputs with respect to the inputs numbered `wrt` (default: all floating ones).

    An input that no output depends on has a gradient of zeros. Inputs of the result have the roles of those of `graph`, the
    tangents the role "tangent"."""
    if wrt is None:
        wrt = [k for k, v in enumerate(graph.inputs) if v.dtype.is_floating_point]
    n = len(graph.inputs)
    seeds = [k for k, v in enumerate(graph.outputs) if v.dtype.category >= dt.FLOAT and depends(graph, wrt)[v]]
    specs = [stripped(v.spec) for v in graph.inputs] + [stripped(graph.outputs[k].spec) for k in seeds]
    wanted = [k in set(wrt) for k in range(n)] + [False] * len(seeds)

    def run(*xs):
        results = evaluate(graph, xs[:n])
        outs = results[:len(graph.outputs)]
        sources = [xs[k] for k in wrt]
        found = late.grad([outs[k] for k in seeds], sources, list(xs[n:]), allow_unused=True) if seeds and wrt else [None] * len(wrt)
        return (*results, *[zeros(x) if g is None else g for x, g in zip(sources, found)])

    g = late.trace(run, specs, name=graph.name, requires_grad=wanted)
    for v, old in zip(g.inputs, graph.inputs):
        g.roles[v] = graph.roles.get(old, "argument")
    for v in g.inputs[n:]:
        g.roles[v] = "tangent"
    first, writes = len(graph.outputs), len(graph.writebacks)
    g.writebacks = [(g.inputs[graph.inputs.index(t)], v) for (t, _), v in zip(graph.writebacks, g.outputs[first:first + writes])]
    del g.outputs[first:first + writes]
    return g


def depends(graph: Graph, wrt: Sequence[int]) -> dict[Value, bool]:
    """Which values depend, differentiably, on the inputs numbered `wrt`."""
    found = {v: k in set(wrt) for k, v in enumerate(graph.inputs)} | dict.fromkeys(graph.consts, False)
    for node in graph.nodes:
        some = node.op.grads and any(found[a] for a in node.operands())
        for v in node.outs:
            found[v] = some and v.dtype.category >= dt.FLOAT
    return found


def evaluate(graph: Graph, xs: Sequence) -> list:
    """The graph's outputs, then what it writes back, on Tensors."""
    env = dict(zip(graph.inputs, xs))
    for v, a in graph.consts.items():
        env[v] = ops.constant(value=a)
    for node in graph.nodes:
        r = call(node.op, tuple([env[a] if isinstance(a, Value) else a for a in node.args]), node.attrs)
        env.update(zip(node.outs, r if isinstance(r, tuple) else (r,)))
    return [env[v] for v in graph.results()]


def zeros(x):
    return ops.filled(shape=tuple(x.shape), value=0, dtype=x.dtype, fmt=contiguous_format)
