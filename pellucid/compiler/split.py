"""A traced forward with its gradients, cut into a forward graph and a backward graph.

In: a graph whose first outputs are the forward's results and whose last are gradients, which depend on inputs of the role
"tangent". Out: two graphs, and what the first must hand to the second. What stays true: whatever writes or draws random numbers
is in the forward; the backward has no effects.
"""
from __future__ import annotations

from ..graph.ir import Graph, Node, Value
from ..ops.op import RANDOM

__all__: list[str] = []


def split(graph: Graph, forward_outputs: int) -> tuple[Graph, Graph, list[Value]]:
    """(forward, backward, the values that the forward saves). The forward's outputs are followed by the saved values that are
    no inputs; the backward's inputs are the saved values, then the tangents."""
    tangents = [v for v in graph.inputs if graph.roles[v] == "tangent"]
    late: set[Value] = set(tangents)
    for node in graph.nodes:
        if not late.isdisjoint(node.operands()):
            late.update(node.outs)
    results, gradients = graph.outputs[:forward_outputs], graph.outputs[forward_outputs:]
    early_nodes = [n for n in graph.nodes if n.outs[0] not in late]
    late_nodes = needed([n for n in graph.nodes if n.outs[0] in late], gradients)
    made = {v for n in late_nodes for v in n.outs} | set(tangents) | set(graph.consts)
    saved = list(dict.fromkeys(v for n in late_nodes for v in n.operands() if v not in made))
    saved += [v for v in dict.fromkeys(gradients) if v not in made and v not in saved]
    forward = Graph(graph.name, [v for v in graph.inputs if v not in late], dict(graph.consts), [], list(results), list(graph.writebacks),
                    dict(graph.roles))
    forward.outputs += [v for v in saved if v not in set(graph.inputs)]
    forward.nodes = needed(early_nodes, forward.results())
    backward = Graph(f"{graph.name}_backward", [*saved, *tangents], {v: a for v, a in graph.consts.items()}, late_nodes, list(gradients), [],
                     {**{v: "saved" for v in saved}, **{v: "tangent" for v in tangents}})
    for g in (forward, backward):
        used = {v for n in g.nodes for v in n.operands()} | set(g.results())
        g.consts = {v: a for v, a in g.consts.items() if v in used}
        g._names = dict(graph._names)
    return forward, backward, saved


def needed(nodes: list[Node], results: list[Value]) -> list[Node]:
    """The nodes that some result depends on, and those that draw random numbers."""
    wanted = set(results)
    kept = []
    for n in reversed(nodes):
        if n.op.kind is RANDOM or not wanted.isdisjoint(n.outs):
            wanted.update(n.operands())
            kept.append(n)
    return kept[::-1]
