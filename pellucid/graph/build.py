"""Appending to a graph: a call by the operator's name, its results' Specs worked out from its shape rule.

In: a Graph, the name, operands (values, numbers, None) and canonical attributes. Out: the result Values.
"""
from __future__ import annotations

from typing import Any

from ..core.dtype import dtype
from ..core.spec import Spec
from ..ops.op import REGISTRY, Op
from .ir import Graph, Loc, Node, Value
from .verify import results_of, stripped


def outs_of(graph: Graph, op: Op | str, args: tuple, attrs: dict[str, Any], loc: Loc | None = None) -> tuple[Value, ...]:
    """The results of a new node."""
    op = REGISTRY[op] if isinstance(op, str) else op
    specs = results_of(op, args, attrs)
    return graph.add(op, args, attrs, tuple([stripped(s) for s in specs]), loc).outs


def emit(graph: Graph, op: Op | str, /, *args, loc: Loc | None = None, **attrs) -> Value:
    """The first result of a new node."""
    return outs_of(graph, op, args, attrs, loc)[0]


def value_of(shape, d: dtype) -> Spec:
    """The Spec of a value."""
    return Spec(tuple(shape), d)


def copy_of(graph: Graph) -> Graph:
    """A graph without nodes, with the inputs and constants of `graph` as they are (the same Value objects)."""
    g = Graph(graph.name)
    g.inputs, g.consts, g.roles = list(graph.inputs), dict(graph.consts), dict(graph.roles)
    g.outputs, g.writebacks = list(graph.outputs), list(graph.writebacks)
    g._names = dict(graph._names)
    return g


