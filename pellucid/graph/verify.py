"""The rules every graph keeps, checked: after each pass in tests, and whenever somebody asks.

In: a Graph. Out: nothing; VerifyError names the node and the rule it breaks.
The rules: every argument is an input, a constant or made by an earlier node; names are unique; operators are registered;
operands are promoted; attributes can be compared; results are what the shape rule says; outputs are known; write-backs go
to inputs, once each, in their shape and dtype.
"""
from __future__ import annotations

import numpy as np

from ..core import dtype as dt
from ..core.spec import Spec
from ..ops.op import BITWISE, COMPARE, FLOAT, NONE, REGISTRY, SAME
from .ir import Graph, Node, Value
from .keys import Unhashable, attrs_key

_ONE_DTYPE = (SAME, FLOAT, COMPARE, BITWISE)
_NUMBERS = (bool, int, float, complex)


class VerifyError(AssertionError):
    """A graph that breaks a rule. `node` is the culprit, if there is one."""

    def __init__(self, rule: str, node: Node | None = None, graph: Graph | None = None):
        where = f" in {node!r}" + (f", from {node.loc}" if node.loc else "") if node is not None else ""
        super().__init__(f"graph {graph.name if graph is not None else '?'}: {rule}{where}")
        self.rule, self.node = rule, node


def stripped(s: Spec) -> Spec:
    """The Spec of a value: no strides."""
    return s if s.strides is None else Spec(s.shape, s.dtype, None, s.device)


def results_of(op, args: tuple, attrs: dict) -> tuple[Spec, ...] | None:
    """What the operator's shape rule says of its results; None if it has no rule."""
    if op.infer is None:
        return None
    r = op.infer(*[stripped(a.spec) if isinstance(a, Value) else a for a in args], **attrs)
    return r if type(r) is tuple else (r,)


def check(graph: Graph) -> None:
    """Raise VerifyError unless `graph` keeps all rules."""
    known: set[Value] = set()
    names: dict[str, Value] = {}

    def fail(rule: str, node: Node | None = None):
        raise VerifyError(rule, node, graph)

    def define(v: Value, node: Node | None = None) -> None:
        if v in known:
            fail(f"value {v.name} is defined twice", node)
        if names.setdefault(v.name, v) is not v:
            fail(f"two values are called {v.name}", node)
        known.add(v)

    for v in graph.inputs:
        if v.node is not None:
            fail(f"input {v.name} says a node makes it", v.node)
        define(v)
    for v, a in graph.consts.items():
        define(v)
        if not isinstance(a, np.ndarray) or a.shape != v.shape or a.dtype != v.dtype.np:
            fail(f"constant {v.name} is declared {v!r}, its array is {getattr(a, 'dtype', type(a))}{list(getattr(a, 'shape', ()))}")
    for node in graph.nodes:
        check_node(node, known, fail)
        for i, v in enumerate(node.outs):
            if v.node is not node or v.index != i:
                fail(f"result {v.name} does not point back to its node", node)
            define(v, node)
    for v in graph.outputs:
        if v not in known:
            fail(f"output {v!r} is not computed")
    written: set[Value] = set()
    inputs = set(graph.inputs)
    for target, value in graph.writebacks:
        if target not in inputs:
            fail(f"write-back to {target!r}, which is no input")
        if target in written:
            fail(f"two write-backs to {target.name}")
        if value not in known:
            fail(f"write-back of {value!r}, which is not computed")
        if (target.shape, target.dtype) != (value.shape, value.dtype):
            fail(f"write-back of {value!r} to {target!r}: shape or dtype differs")
        written.add(target)


def check_node(node: Node, known: set[Value], fail) -> None:
    """The rules of one node; `fail(rule, node)` reports."""
    op = node.op
    if REGISTRY.get(op.name) is not op:
        fail(f"operator {op.name} is not registered", node)
    if op.ref is None and op.body is None:
        fail(f"operator {op.name} has neither a reference nor a body", node)
    if op.front is None:
        fail(f"composite {op.name} has no canonical form: it must be recorded by its parts", node)
    variadic = bool(op.args) and op.args[-1].startswith("*")
    if len(node.args) != len(op.args) if not variadic else len(node.args) < len(op.args) - 1:
        fail(f"{op.name} takes {len(op.args)} operands, got {len(node.args)}", node)
    dtypes = set()
    for a in node.args:
        if isinstance(a, Value):
            if a not in known:
                fail(f"argument {a!r} is used before it is made", node)
            dtypes.add(a.dtype)
        elif a is not None and type(a) not in _NUMBERS:
            fail(f"argument of type {type(a).__name__}: only values, numbers and None", node)
    if op.promote in _ONE_DTYPE:
        if len(dtypes) > 1:
            fail(f"operands are not promoted: {', '.join(sorted(d.name for d in dtypes))}", node)
        if op.promote is FLOAT and dtypes and min(d.category for d in dtypes) < dt.FLOAT:
            fail("operands are not promoted: integers where floats are due", node)
        if not dtypes and op.promote is not NONE:
            fail("an elementwise operator without a tensor operand", node)
    try:
        attrs_key(node.attrs)
    except Unhashable as error:
        fail(f"attributes cannot be compared: {error}", node)
    try:
        expect = results_of(op, node.args, node.attrs)
    except Exception as error:
        fail(f"the shape rule of {op.name} refuses its operands: {error}", node)
    if expect is None:
        return
    if len(expect) != len(node.outs):
        fail(f"{op.name} makes {len(expect)} results, the node has {len(node.outs)}", node)
    for v, s in zip(node.outs, expect):
        if v.shape != tuple(s.shape) or v.dtype is not s.dtype:
            fail(f"result {v!r} should be {s.dtype.name}{list(s.shape)}", node)
