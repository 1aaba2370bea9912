"""A module as a graph that TensorBoard draws: pellucid's own trace, with a box for each module.

In: a module and what to call it with. Out: nodes (name, operator, inputs, shape, text), and TensorBoard's GraphDef of them. What stays
true: the module and its tensors are as before; every node's inputs come before it.
"""
from __future__ import annotations

from typing import Any, NamedTuple

from tensorboardX.proto import attr_value_pb2, graph_pb2, node_def_pb2, tensor_shape_pb2, versions_pb2

from ...graph.ir import Value
from ...nn import Module
from ...ops.dispatch import local
from ...tensor import no_grad
from ...tensor.tracing import Tracer, trace

__all__: list[str] = []


class Drawn(NamedTuple):
    """A node as TensorBoard shows it: slashes in its name make boxes."""

    name: str
    op: str
    inputs: tuple[str, ...]
    shapes: tuple[tuple[int, ...], ...]
    text: str

    def __str__(self) -> str:
        return f"{self.name} = {self.op}({', '.join(self.inputs)}) {', '.join([str(list(s)) for s in self.shapes])}"


class _Scopes:
    """Which module each node of a graph belongs to: told by hooks when modules begin and end."""

    def __init__(self, graph: Any, model: Module):
        self.graph = graph
        self.names = {m: type(m).__name__ + (f"[{name.rpartition('.')[2]}]" if name else "") for name, m in model.named_modules()}
        self.now: list[str] = []
        self.of: list[str] = []                 # for each node so far

    def fill(self) -> None:
        self.of += ["/".join(self.now)] * (len(self.graph.nodes) - len(self.of))

    def enter(self, module: Module, args: tuple) -> None:
        if local.stack:
            self.fill()
            self.now.append(self.names[module])

    def leave(self, module: Module, args: tuple, result: Any) -> None:
        if local.stack:
            self.fill()
            self.now.pop()


def nodes_of(model: Module, args: Any) -> list[Drawn]:
    """Trace `model(*args)`: inputs, parameters, operators, outputs."""
    args = args if isinstance(args, (tuple, list)) else () if args is None else (args,)
    tracer = Tracer(type(model).__name__)
    scopes = _Scopes(tracer.graph, model)
    handles = []
    try:
        for m in scopes.names:
            handles += [m.register_forward_pre_hook(scopes.enter), m.register_forward_hook(scopes.leave)]
        with no_grad():
            graph = trace(model, tuple(args), tracer=tracer).graph
        scopes.fill()
    finally:
        for h in handles:
            h.remove()
    return _drawn(graph, tracer, scopes, model)


def _drawn(graph: Any, tracer: Tracer, scopes: _Scopes, model: Module) -> list[Drawn]:
    owners = {}                                 # id of a parameter or buffer -> its name within the boxes
    for prefix, m in model.named_modules():
        path, at = [scopes.names[model]], model
        for part in prefix.split(".") if prefix else ():
            at = at._modules[part]
            path.append(scopes.names[at])
        for name, t in [*m.named_parameters(recurse=False), *m.named_buffers(recurse=False)]:
            owners.setdefault(id(t), "/".join([*path, name]))
    names: dict[Value, str] = {}
    out = []
    for v in graph.inputs:
        t = tracer.lifted.get(v)
        owned = owners.get(id(t)) if t is not None else None
        names[v] = owned or f"input/{v.name}"
        out.append(Drawn(names[v], "Parameter" if owned else "IO Node", (), (v.shape,), str(v.dtype)))
    for v, a in graph.consts.items():
        names[v] = f"{scopes.names[model]}/{v.name}"
        out.append(Drawn(names[v], "Const", (), (v.shape,), str(v.dtype)))
    for node, scope in zip(graph.nodes, scopes.of):
        name = f"{scope}/{node.out.name}" if scope else node.out.name
        for i, v in enumerate(node.outs):
            names[v] = name if i == 0 else f"{name}:{i}"
        text = "{" + ", ".join([f"{k}={v!r}" for k, v in node.attrs.items()]) + "}" + (f" at {node.loc}" if node.loc is not None else "")
        out.append(Drawn(name, f"aten::{node.op.public.lstrip('_')}", tuple([names[v] for v in node.operands()]),
                         tuple([v.shape for v in node.outs]), text))
    for i, v in enumerate(graph.outputs):
        out.append(Drawn(f"output/output.{i + 1}", "IO Node", (names[v],), (v.shape,), str(v.dtype)))
    return out


def definition(nodes: list[Drawn]) -> Any:
    """The nodes as a GraphDef."""
    Attr, Shape = attr_value_pb2.AttrValue, tensor_shape_pb2.TensorShapeProto
    made = []
    for n in nodes:
        shapes = [Shape(dim=[Shape.Dim(size=d) for d in shape]) for shape in n.shapes]
        made.append(node_def_pb2.NodeDef(name=n.name, op=n.op, input=n.inputs,
                                         attr={"_output_shapes": Attr(list=Attr.ListValue(shape=shapes)), "attr": Attr(s=n.text.encode())}))
    return graph_pb2.GraphDef(node=made, versions=versions_pb2.VersionDef(producer=22))
