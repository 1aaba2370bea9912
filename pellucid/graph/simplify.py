"""Simplification: one walk that merges equal calls, folds constants and applies exact algebra, then drops what is unused.

In: a Graph. Out: a new one that computes the same: pointwise the same bits (signed zeros, NaN and infinities included);
sums may be reordered. Random operators are never merged, moved or dropped: they move the generator on.
The rewrites are in `rules.py`; what they make is simplified in turn, so that one walk reaches the end.
"""
from __future__ import annotations

from typing import Any

import numpy as np

from ..core.spec import Spec, contiguous_strides
from ..ops.canonical import evaluate
from ..ops.op import POINT, RANDOM, REGISTRY, Op
from .ir import Graph, Loc, Value
from .keys import Unhashable, node_key
from .rules import RULES, point_rules
from .verify import results_of, stripped

SMALL = 1 << 12                 # elements of constants that are worth folding
NEVER_FOLD = frozenset(("filled", "range_values"))      # better made where they are used than loaded from memory


class Walk:
    """The new graph as it grows."""

    def __init__(self, graph: Graph):
        self.g = Graph(graph.name)
        self.g.roles = dict(graph.roles)
        self.g._names = dict(graph._names)        # new constants get names of their own; the rest is named at the end
        self.seen: dict[tuple, tuple[Value, ...]] = {}
        self.value: dict[Value, Value] = {}
        self.loc: Loc | None = None

    def call(self, op: Op | str, /, *args, **attrs) -> Value:
        """The (first) result of a call."""
        return self.outs(REGISTRY[op] if type(op) is str else op, args, attrs)[0]

    def outs(self, op: Op, args: tuple, attrs: dict[str, Any], specs: tuple[Spec, ...] | None = None) -> tuple[Value, ...]:
        """The results of a call: of an equal one, of what a rule makes of it, folded, or of a new node."""
        if op.kind is RANDOM:
            return self.append(op, args, attrs, specs)
        try:
            key = node_key(op, args, attrs)
        except Unhashable:
            key = None
        found = self.seen.get(key) if key is not None else None
        if found is not None:
            return found
        made = None
        for fn in RULES.get(op.name, ()):
            made = fn(self, op, args, attrs)
            if made is not None:
                break
        if made is None and op.kind is POINT:
            made = point_rules(self, op, args, attrs)
        if made is None:
            made = fold(self, op, args, attrs)
        if made is None:
            made = self.append(op, args, attrs, specs)
        elif type(made) is not tuple:
            made = (made,)
        if key is not None:
            self.seen[key] = made
        return made

    def append(self, op: Op, args: tuple, attrs: dict, specs=None) -> tuple[Value, ...]:
        if specs is None:
            specs = tuple([stripped(s) for s in results_of(op, args, attrs)])
        return self.g.add(op, args, attrs, specs, self.loc).outs

    def const(self, array: np.ndarray, spec: Spec) -> Value:
        return self.g.const(np.ascontiguousarray(array).reshape(array.shape), spec)


def begin(graph: Graph) -> Walk:
    """A walk that has the inputs and constants of `graph`."""
    walk = Walk(graph)
    g, value = walk.g, walk.value
    for v in graph.inputs:
        value[v] = new = Value(v.spec, v.name)
        g.inputs.append(new)
        g.roles[new] = g.roles.pop(v, "argument")
    for v, a in graph.consts.items():
        value[v] = new = Value(v.spec, v.name)
        g.consts[new] = a
    return walk


def end(walk: Walk, graph: Graph) -> Graph:
    """The walk's graph, with the results of `graph` and nothing that they do not need."""
    g, value = walk.g, walk.value
    g.outputs = [value[v] for v in graph.outputs]
    g.writebacks = [(value[t], value[v]) for t, v in graph.writebacks if value[t] is not value[v]]
    for old, new in zip(graph.outputs, g.outputs):                  # an output keeps the layout it has in eager
        if odd_strides(old.spec) and new.spec.strides != old.spec.strides and new.node is not None:
            new.spec = Spec(new.spec.shape, new.spec.dtype, old.spec.strides, new.spec.device)
    return prune(g)


def simplify(graph: Graph) -> Graph:
    """The simplified graph."""
    walk = begin(graph)
    value = walk.value
    pinned = {v for v in graph.outputs if odd_strides(v.spec)}
    needed = live(graph)
    for node in graph.nodes:
        if node not in needed:
            continue
        walk.loc = node.loc
        args = tuple([value[a] if isinstance(a, Value) else a for a in node.args])
        specs = tuple([v.spec for v in node.outs])
        outs = walk.outs(node.op, args, node.attrs, specs)
        for old, new in zip(node.outs, outs):
            if old in pinned and new.spec.strides != old.spec.strides:      # a value of its own for that layout
                new = walk.append(node.op, args, node.attrs, specs)[old.index]
            value[old] = new
    return end(walk, graph)


def reserve(g: Graph) -> None:
    """The names of inputs and constants are taken."""
    for v in (*g.inputs, *g.consts):
        g._names.setdefault(v.name, 1)


def odd_strides(s: Spec) -> bool:
    return s.strides is not None and s.strides != contiguous_strides(s.shape)


def live(graph: Graph) -> set:
    """The nodes whose results are needed, and all random ones."""
    needed: set = set()
    stack = [v.node for v in graph.results() if v.node is not None] + [n for n in graph.nodes if n.op.kind is RANDOM]
    while stack:
        node = stack.pop()
        if node not in needed:
            needed.add(node)
            stack.extend([a.node for a in node.args if isinstance(a, Value) and a.node is not None and a.node not in needed])
    return needed


def prune(g: Graph, rename: bool = True) -> Graph:
    """Drop nodes and constants that nothing needs, and number the names of what is left (in place)."""
    needed = live(g)
    g.nodes = [n for n in g.nodes if n in needed]
    if rename:
        g._names = {}
        reserve(g)
        for n in g.nodes:
            for v in n.outs:
                v.name = g.fresh(n.op.name)
    used = {a for n in g.nodes for a in n.args if isinstance(a, Value)} | set(g.results())
    g.consts = {v: a for v, a in g.consts.items() if v in used}
    return g


# ---------------------------------------------------------------------------------------------------- constants
def fold(walk: Walk, op: Op, args: tuple, attrs: dict):
    """A call whose operands are all small constants, computed now."""
    consts = walk.g.consts
    if op.ref is None or op.name in NEVER_FOLD:
        return None
    total, tensors = 0, 0
    for a in args:
        if isinstance(a, Value):
            c = consts.get(a)
            if c is None:
                return None
            total += c.size
            tensors += 1
    if not tensors and op.name != "constant" or total > SMALL:
        return None
    specs = results_of(op, args, attrs) if op.infer is not None else None
    if specs is None or sum(s.numel() for s in specs) > SMALL and op.name != "constant":
        return None
    outs = evaluate(op, tuple([consts[a] if isinstance(a, Value) else a for a in args]), attrs)
    return tuple([walk.const(o, stripped(s)) for o, s in zip(outs, specs)])
