"""Appending to a graph: a call by the operator's name, its results' Specs worked out from its shape rule.

In: a Graph, the name, operands (values, numbers, None) and canonical attributes. Out: the result Values.
"""
from __future__ import annotations

from typing import Any

from ..ops.op import REGISTRY, Op
from .ir import Graph, Loc, Value
from .verify import results_of, stripped


def outs_of(graph: Graph, op: Op | str, args: tuple, attrs: dict[str, Any], loc: Loc | None = None) -> tuple[Value, ...]:
    """The results of a new node."""
    op = REGISTRY[op] if isinstance(op, str) else op
    specs = results_of(op, args, attrs)
    return graph.add(op, args, attrs, tuple([stripped(s) for s in specs]), loc).outs


def emit(graph: Graph, op: Op | str, /, *args, loc: Loc | None = None, **attrs) -> Value:
    """The first result of a new node."""
    return outs_of(graph, op, args, attrs, loc)[0]
