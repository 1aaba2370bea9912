"""The graph: a traced function as data. Functional SSA, one kind of node.

    graph = (inputs, consts, nodes, outputs, writebacks)
    node  = outs <- op(args, **attrs)      args: Value | int | float | bool | complex | None, after promotion
    value = what one node makes, or an input, or a constant: a Spec and a name

True always (`verify.check` says so after each pass, in tests): every argument is an input, a constant or made by an earlier
node; nothing is written to but by `writebacks`, which happen after all nodes, in order; operands have the dtypes the
operator's reference expects (promotion is over); attributes are those of the operator's canonical form, hashable.
Values know no strides: `spec.strides` counts only for inputs, and for outputs whose layout differs from row-major.
"""
from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np

from ..core.spec import Spec
from ..ops.op import Op


class Loc(NamedTuple):
    """The user's line that called the operator."""

    file: str
    line: int
    function: str = ""

    def __str__(self) -> str:
        return f"{self.file}:{self.line}"


class Value:
    """One tensor in a graph. `node` is None for inputs and constants."""

    __slots__ = ("spec", "name", "node", "index")

    def __init__(self, spec: Spec, name: str, node: Node | None = None, index: int = 0):
        self.spec, self.name, self.node, self.index = spec, name, node, index

    @property
    def shape(self) -> tuple[int, ...]:
        return self.spec.shape

    @property
    def dtype(self):
        return self.spec.dtype

    def __repr__(self) -> str:
        return f"%{self.name}: {self.spec.dtype.name}{list(self.spec.shape)}"


class Node:
    """One call of an operator in canonical form."""

    __slots__ = ("op", "args", "attrs", "outs", "loc")

    def __init__(self, op: Op, args: tuple, attrs: dict[str, Any], loc: Loc | None = None):
        self.op, self.args, self.attrs, self.loc = op, args, attrs, loc
        self.outs: tuple[Value, ...] = ()

    @property
    def out(self) -> Value:
        """The first result."""
        return self.outs[0]

    def operands(self) -> Iterator[Value]:
        """The arguments that are values."""
        return (a for a in self.args if isinstance(a, Value))

    def __repr__(self) -> str:
        return f"{', '.join(v.name for v in self.outs)} = {self.op.name}({', '.join(map(repr, self.args))}, {self.attrs})"


class Graph:
    """A program. `consts` holds the arrays of constant values; `writebacks` are (input, value): the input's memory
    receives the value at the end. `roles` says what each input is, for the reader and the caller: "argument", "parameter",
    "buffer", "state", "scalar" (a run-time number, 0-d float64), "random" (a generator's draws)."""

    def __init__(self, name: str = "graph", inputs: list[Value] | None = None, consts: dict[Value, np.ndarray] | None = None,
                 nodes: list[Node] | None = None, outputs: list[Value] | None = None,
                 writebacks: list[tuple[Value, Value]] | None = None, roles: dict[Value, str] | None = None):
        self.name = name
        self.inputs = [] if inputs is None else inputs
        self.consts = {} if consts is None else consts
        self.nodes = [] if nodes is None else nodes
        self.outputs = [] if outputs is None else outputs
        self.writebacks = [] if writebacks is None else writebacks
        self.roles = {} if roles is None else roles
        self._names: dict[str, int] = {}

    def __repr__(self) -> str:
        return (f"Graph(name={self.name!r}, inputs={self.inputs!r}, consts={self.consts!r}, nodes={self.nodes!r}, "
                f"outputs={self.outputs!r}, writebacks={self.writebacks!r}, roles={self.roles!r})")

    # ------------------------------------------------------------------------------------------------ building
    def fresh(self, stem: str) -> str:
        """A name no value of this graph has yet."""
        n = self._names.get(stem, 0)
        self._names[stem] = n + 1
        return stem if n == 0 else self.fresh(f"{stem}_{n}")

    def input(self, spec: Spec, name: str = "x", role: str = "argument") -> Value:
        v = Value(spec, self.fresh(name))
        self.inputs.append(v)
        self.roles[v] = role
        return v

    def const(self, array: np.ndarray, spec: Spec, name: str = "c") -> Value:
        v = Value(spec, self.fresh(name))
        self.consts[v] = array
        return v

    def add(self, op: Op, args: tuple, attrs: dict[str, Any], specs: tuple[Spec, ...], loc: Loc | None = None) -> Node:
        """Append a node; `specs` are those of its results."""
        node = Node(op, args, attrs, loc)
        node.outs = tuple(Value(s, self.fresh(op.name), node, i) for i, s in enumerate(specs))
        self.nodes.append(node)
        return node

    # ------------------------------------------------------------------------------------------------ reading
    def results(self) -> list[Value]:
        """What must be computed: the outputs, then what is written back."""
        return [*self.outputs, *(v for _, v in self.writebacks)]

    def users(self) -> dict[Value, list[Node]]:
        """Which nodes read each value."""
        found: dict[Value, list[Node]] = {}
        for node in self.nodes:
            for v in dict.fromkeys(node.operands()):
                found.setdefault(v, []).append(node)
        return found

    def rebuild(self, rewrite: Callable[[Graph, Node, tuple, Callable], tuple[Value, ...] | None]) -> Graph:
        """A new graph: `rewrite(new graph, node, mapped args, copy)` returns the values that replace the node's results
        (None: `copy()` it). Inputs, constants, outputs and write-backs follow."""
        g = Graph(self.name)
        seen: dict[Value, Value] = {}
        for v in self.inputs:
            seen[v] = g.input(v.spec, v.name, self.roles.get(v, "argument"))
        for v, a in self.consts.items():
            seen[v] = g.const(a, v.spec, v.name)
        for node in self.nodes:
            args = tuple([seen[a] if isinstance(a, Value) else a for a in node.args])

            def copy(node=node, args=args):
                return g.add(node.op, args, node.attrs, tuple(v.spec for v in node.outs), node.loc).outs
            outs = rewrite(g, node, args, copy)
            if outs is None:
                outs = copy()
            seen.update(zip(node.outs, outs))
        g.outputs = [seen[v] for v in self.outputs]
        g.writebacks = [(seen[a], seen[b]) for a, b in self.writebacks]
        return g
