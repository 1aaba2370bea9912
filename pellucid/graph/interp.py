"""Run a graph by the references of its operators: the meaning that every other way of running it must keep.

In: a Graph and one array per input. Out: the outputs, arrays with memory of their own; write-backs are done in place,
after everything is computed. Low precision goes through float32 and is rounded at each operator, as in eager.
"""
from __future__ import annotations

import re
from collections.abc import Iterable

import numpy as np

from ..core.errors import at
from ..core.rng import default_engine
from ..core.spec import Spec, contiguous_strides
from ..ops.canonical import evaluate
from ..ops.op import RANDOM
from .ir import Graph, Node, Value


def run(graph: Graph, arrays: list[np.ndarray]) -> list[np.ndarray]:
    """The outputs of `graph` for `arrays`, its inputs in order. Input arrays that are written back to change."""
    if len(arrays) != len(graph.inputs):
        raise TypeError(f"graph {graph.name} takes {len(graph.inputs)} inputs, got {len(arrays)}")
    env: dict[Value, np.ndarray] = dict(graph.consts)
    for v, a in zip(graph.inputs, arrays):
        if a.shape != v.shape or a.dtype != v.dtype.np:
            raise TypeError(f"input {v!r} got {a.dtype}{list(a.shape)}")
        env[v] = a
    last = last_uses(graph)
    for node in graph.nodes:
        outs = step(node, env)
        env.update(zip(node.outs, outs))
        for v in last.get(node, ()):
            env.pop(v, None)
    outputs = [own(env[v], v.spec) for v in graph.outputs]
    values = [own(env[v]) for _, v in graph.writebacks]
    for (target, _), value in zip(graph.writebacks, values):
        np.copyto(env[target], value, casting="unsafe")
    return outputs


def step(node: Node, env: dict[Value, np.ndarray]) -> tuple[np.ndarray, ...]:
    """The results of one node."""
    args = tuple([env[a] if isinstance(a, Value) else a for a in node.args])
    try:
        if node.op.kind is RANDOM and args and odd_strides(node.out.spec):          # numbers come in the order of eager's memory
            outs = (np.asarray(node.op.ref(laid_out(node.out.spec), *args[1:], **node.attrs)),)
        else:
            outs = evaluate(node.op, args, node.attrs)
    except Exception as error:
        error.add_note(f"in {node!r}" + (f", from {node.loc}" if node.loc else ""))
        if node.loc is not None and error.args and isinstance(error.args[0], str):      # the line that called the operator, not the graph
            place = at((node.loc.file, node.loc.line))
            error.args = (re.sub(r"(?m)^  at:  .*$", lambda m: f"  at:  {place}", error.args[0]), *error.args[1:])
        raise refused(error)
    if len(outs) != len(node.outs):
        raise TypeError(f"{node!r} made {len(outs)} results")
    return outs


def laid_out(spec: Spec) -> np.ndarray:
    """An array of no particular values that lies in memory as `spec` says."""
    order = sorted(range(spec.ndim), key=lambda d: (-spec.strides[d], d))
    return np.zeros([spec.shape[d] for d in order], spec.dtype.np).transpose([order.index(d) for d in range(spec.ndim)])


def refused(error: Exception, early: Iterable[int] = ()) -> Exception:
    """Mark an error as an operator's, that it does not take the values it was given. `early`: the inputs that were written before."""
    error.refused, error.early = True, list(early)
    return error


def refusal(graph: Graph, arrays: list[np.ndarray]) -> Exception | None:
    """The error that the references raise for `arrays`; None if they raise none. Nothing is written, and generators stay where
    they are."""
    engines = {n.attrs.get("engine") or default_engine() for n in graph.nodes if n.op.kind is RANDOM}
    states = [(e, e.get_state()) for e in engines]
    try:
        run(Graph(graph.name, graph.inputs, graph.consts, graph.nodes, graph.outputs), arrays)
    except (IndexError, RuntimeError, ValueError) as error:
        return error.with_traceback(None)
    finally:
        for e, s in states:
            e.set_state(s)
    return None


def own(a: np.ndarray, spec: Spec | None = None) -> np.ndarray:
    """A copy, in row-major order or as `spec` says."""
    if spec is None or not odd_strides(spec) or not a.size or 0 in spec.strides:
        return np.array(a, order="C")
    r = laid_out(spec)
    r[...] = a
    return r


def odd_strides(spec: Spec) -> bool:
    """Whether a Spec says that a tensor does not lie in row-major order."""
    return spec.strides is not None and spec.strides != contiguous_strides(spec.shape)


def last_uses(graph: Graph) -> dict[Node, list[Value]]:
    """For each node, the values that nobody needs after it."""
    needed = set(graph.results()) | {t for t, _ in graph.writebacks}
    last: dict[Value, Node] = {}
    for node in graph.nodes:
        for v in (*node.operands(), *node.outs):
            last[v] = node
    found: dict[Node, list[Value]] = {}
    for v, node in last.items():
        if v not in needed:
            found.setdefault(node, []).append(v)
    return found
