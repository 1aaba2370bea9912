"""A graph as Python source that runs: one call of `ops` per node, the user's lines as comments.

In: a Graph. Out: text of a module that defines one function over the inputs. Its calls are in canonical form
(`ops.canonical`), so that running it computes exactly what the graph says: on Tensors as it stands, on arrays by `execute`.
Constants that are small are written out; the others, and objects that have no source form (a generator's engine), become
keyword arguments: `constants(graph)` gives them.
"""
from __future__ import annotations

import builtins
import keyword
import linecache
import math
import os
import re
from typing import Any

import numpy as np

from ..core import dtype as dt
from ..core.layout import layout, memory_format
from ..ops.canonical import arrays as array_calls
from ..ops.op import Op
from .ir import Graph, Node, Value

HEADER = """from math import inf, nan

import numpy as np

import pellucid
from pellucid.ops.canonical import ops
"""
SMALL = 16                      # elements of a constant that is written out
_RESERVED = frozenset(("ops", "np", "pellucid", "inf", "nan", *keyword.kwlist, *keyword.softkwlist, *dir(builtins)))


class Names:
    """Python names for values and for objects without a source form."""

    def __init__(self, graph: Graph):
        self.of: dict[Value, str] = {}
        self.taken: set[str] = set()
        self.objects: dict[str, Any] = {}         # keyword arguments: large constants, objects
        self._known: dict[int, str] = {}
        for v in graph.inputs:
            self.name(v)
        for v, a in graph.consts.items():
            name = self.name(v)
            if a.size > SMALL:
                self.objects[name] = a
        for node in graph.nodes:
            for v in node.outs:
                self.name(v)

    def unique(self, stem: str) -> str:
        stem = re.sub(r"\W", "_", stem) or "v"
        if stem[0].isdigit():
            stem = "v" + stem
        name, n = stem + "_" if stem in _RESERVED else stem, 1
        while name in self.taken or name in _RESERVED:
            name, n = f"{stem}_{n}", n + 1
        self.taken.add(name)
        return name

    def name(self, v: Value) -> str:
        if v not in self.of:
            self.of[v] = self.unique(v.name)
        return self.of[v]

    def object(self, x: Any, stem: str) -> str:
        """The keyword argument that stands for `x`."""
        if id(x) not in self._known:
            name = self._known[id(x)] = self.unique(stem)
            self.objects[name] = x
        return self._known[id(x)]


def literal(x: Any, names: Names | None = None, stem: str = "obj") -> str:
    """The source of an attribute or a number."""
    kind = type(x)
    if kind is float:
        return repr(x)                            # inf and nan are imported by the header; -inf is an expression
    if kind is complex:
        if math.isfinite(x.real) and math.isfinite(x.imag):
            return f"complex({x.real!r}, {x.imag!r})" if x.real == 0 or x.imag == 0 else repr(x)
        return f"complex({x.real!r}, {x.imag!r})"
    if x is None or kind in (bool, int, str, bytes):
        return repr(x)
    if kind is slice:
        return f"slice({literal(x.start)}, {literal(x.stop)}, {literal(x.step)})"
    if kind is tuple and any(type(v) is slice for v in x) and all(v is None or type(v) in (int, slice) for v in x):
        inner = ", ".join([range_literal(v) if type(v) is slice else repr(v) for v in x])
        return f"np.s_[{inner}{',' if len(x) == 1 else ''}]"
    if isinstance(x, (tuple, list)):
        inner = ", ".join([literal(v, names, stem) for v in x])
        return f"[{inner}]" if isinstance(x, list) else f"({inner},)" if len(x) == 1 else f"({inner})"
    if kind is dict:
        return "{" + ", ".join(f"{literal(k)}: {literal(v, names, stem)}" for k, v in x.items()) + "}"
    if isinstance(x, dt.dtype):
        return f"pellucid.{x.name}"
    if isinstance(x, (memory_format, layout)):
        return f"pellucid.{x.name}"
    if isinstance(x, Op):
        return repr(x.name)
    if isinstance(x, np.ndarray) and x.size <= SMALL:
        return array_literal(x)
    if isinstance(x, np.generic):
        return literal(x.item())
    if names is None:
        raise TypeError(f"{kind.__name__} has no source form")
    return names.object(x, stem)


def range_literal(s: slice) -> str:
    """A slice as it is written between brackets."""
    start, stop, step = ("" if v is None else repr(v) for v in (s.start, s.stop, s.step))
    return f"{start}:{stop}" + (f":{step}" if step else "")


def array_literal(a: np.ndarray) -> str:
    values = [literal(v) for v in a.astype(np.float64 if a.dtype.kind == "V" else a.dtype).reshape(-1).tolist()]
    text = f"np.array([{', '.join(values)}], pellucid.{dt.of(a.dtype).name}.np)"
    return text if a.ndim == 1 else f"{text}.reshape({a.shape!r})"


def describe(v: Value) -> str:
    return f"{v.dtype.name}{list(v.shape)}"


def call_text(node: Node, names: Names) -> str:
    """The node as one assignment."""
    operands = [names.of[a] if isinstance(a, Value) else literal(a, names) for a in node.args]
    attrs = [f"{k}={literal(v, names, k)}" for k, v in node.attrs.items()]
    left = ", ".join(names.of[v] for v in node.outs)
    return f"{left} = ops.{node.op.name}({', '.join(operands + attrs)})"


def source_line(loc) -> str:
    """The user's line as a comment."""
    code = linecache.getline(loc.file, loc.line).strip()
    where = f"{os.path.basename(loc.file)}:{loc.line}" + (f" in {loc.function}" if loc.function and loc.function != "<module>" else "")
    return f"# {where}" + (f": {code}" if code else "")


def text(graph: Graph, header: bool = True) -> str:
    """Python source of a function named after the graph; `header=False` leaves out the imports."""
    names = Names(graph)
    body: list[str] = []
    for v, a in graph.consts.items():
        if a.size <= SMALL:
            body.append(f"{names.of[v]} = ops.constant(value={array_literal(a)})")
    wide = 0
    before = None
    for node in graph.nodes:
        if node.loc is not None and node.loc != before:
            body.append(source_line(node.loc))
        before = node.loc
        line = call_text(node, names)
        wide = min(max(wide, len(line)), 90)
        body.append(line + "\0" + ", ".join(describe(v) for v in node.outs))
    lines = [one.replace("\0", " " * max(2, wide + 2 - one.index("\0")) + "# ") if "\0" in one else one for one in body]
    outs = [names.of[v] for v in graph.outputs]
    result = f"({', '.join(outs)},)" if len(outs) == 1 else f"({', '.join(outs)})"
    if graph.writebacks:
        pairs = ", ".join(f"({names.of[t]}, {names.of[v]})" for t, v in graph.writebacks)
        lines.append(f"return ops.finish({result}, writes=({pairs},))")
    else:
        lines.append(f"return {result}")
    params = [names.of[v] for v in graph.inputs] + (["*", *names.objects] if names.objects else [])
    roles = [f"# {names.of[v]}: {describe(v)} {graph.roles.get(v, 'argument')}" for v in graph.inputs]
    for name, x in names.objects.items():
        roles.append(f"# {name}: {describe_object(x)}")
    function = f"def {function_name(graph)}({', '.join(params)}):"
    if len(function) > 120:
        function = f"def {function_name(graph)}(\n" + "\n".join(f"    {p}," for p in params) + "\n):"
    top = f"# {len(graph.nodes)} operators, {len(graph.inputs)} inputs, {len(graph.outputs)} outputs, {len(graph.writebacks)} write-backs"
    inner = "\n".join("    " + one for one in roles + lines)
    return (HEADER + "\n\n" if header else "") + f"{top}\n{function}\n{inner}\n"


def describe_object(x: Any) -> str:
    return f"constant {dt.of(x.dtype).name}{list(x.shape)}" if isinstance(x, np.ndarray) else type(x).__name__


def function_name(graph: Graph) -> str:
    name = re.sub(r"\W", "_", graph.name) or "graph"
    return name + "_" if name in _RESERVED or name[0].isdigit() else name


def constants(graph: Graph) -> dict[str, Any]:
    """The keyword arguments of the printed function: its larger constants, and objects without a source form."""
    names = Names(graph)
    for node in graph.nodes:
        call_text(node, names)
    return names.objects


def load(source: str, **globals_) -> Any:
    """The function that a printed text defines."""
    scope: dict[str, Any] = {}
    code = compile(source, "<graph>", "exec")
    exec(code, scope)                             # noqa: S102: our own text, or what a person made of it
    scope.update(globals_)
    return next(scope[n] for n in reversed(code.co_names) if callable(scope.get(n)) and getattr(scope[n], "__globals__", None) is scope)


def execute(source: str, arrays: list[np.ndarray], consts: dict[str, Any] | None = None) -> list[np.ndarray]:
    """Run a printed text on arrays by the operators' references: outputs in order, write-backs in place. `consts` are the
    keyword arguments."""
    return [np.array(a, order="C") for a in load(source, ops=array_calls)(*arrays, **(consts or {}))]


def _print(self: Graph, file=None) -> None:
    """Print the graph as Python that runs."""
    print(text(self), file=file)


Graph.text, Graph.print = text, _print
