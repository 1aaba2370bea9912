"""A joint graph cut in two: the forward, and a backward that recomputes what is cheap and reads what is not.

In: a graph whose first outputs are results and whose others are gradients that depend on inputs of the role "tangent". Out: a
forward graph, a backward graph, and the values that the first saves for the second: the cut that moves the fewest bytes.

True always: library calls, reductions and whatever is not computed element by element run once, in the forward; so do random
draws and write-backs, which only the forward has. What both a forward and a backward library call read is saved, not made
again: it is in memory anyway.
"""
from __future__ import annotations

from collections import deque

from ..core.spec import numel
from ..ops.op import EXTERN, POINT, VIEW
from .ir import Graph, Node, Value
from .simplify import prune

# Besides elementwise operators and views: made from nothing, or only moved.
CHEAP = frozenset("filled range_values eye_values constant spread cat constant_pad_nd tril triu flip".split())
INFINITE = 1 << 60


def recomputable(node: Node) -> bool:
    """Whether the backward may compute a node again."""
    op = node.op
    return op.kind in (POINT, VIEW) or op.name in CHEAP


def partition(graph: Graph, results: int) -> tuple[Graph, Graph, list[Value]]:
    """(forward, backward, saved). `results` counts the outputs that belong to the forward.

    The forward's outputs are followed by the saved values that are no inputs, in order; the backward's inputs are the saved
    values, then the tangents; its outputs are the gradients. Values of the backward graph are new, `saved` are the forward's."""
    tangents = [v for v in graph.inputs if graph.roles.get(v) == "tangent"]
    gradients = graph.outputs[results:]
    late = set(tangents)
    for node in graph.nodes:
        if not late.isdisjoint(node.operands()):
            late.update(node.outs)
    keep = wanted(graph, graph.outputs[:results] + [v for _, v in graph.writebacks])
    late_nodes = [n for n in wanted(graph, gradients) if n.outs[0] in late]
    read = list(dict.fromkeys([v for n in late_nodes for v in n.operands() if v not in late] + [v for v in gradients if v not in late]))
    saved = min_cut(graph, read, keep, late_nodes, set(graph.outputs[:results]))
    again = remade(graph, read, saved)
    return forward_of(graph, results, tangents, saved), backward_of(graph, gradients, tangents, saved, again, late_nodes), saved


def wanted(graph: Graph, values: list[Value]) -> list[Node]:
    """The nodes that some of `values` depend on, in order."""
    needed = set(values)
    found = []
    for n in reversed(graph.nodes):
        if not needed.isdisjoint(n.outs):
            needed.update(n.operands())
            found.append(n)
    return found[::-1]


def remade(graph: Graph, read: list[Value], saved: list[Value]) -> list[Node]:
    """The nodes that the backward computes again, in order."""
    have, needed, stack = set(saved), set(), list(read)
    while stack:
        v = stack.pop()
        if v not in have and v.node is not None and v.node not in needed:
            needed.add(v.node)
            stack.extend(v.node.operands())
    return [n for n in graph.nodes if n in needed]


# ---------------------------------------------------------------------------------------------------- what to save
def min_cut(graph: Graph, read: list[Value], keep: list[Node], late: list[Node], results: set[Value]) -> list[Value]:
    """The cheapest values from which all of `read` can be computed again.

    Saving costs the bytes written and read; what is in memory anyway (inputs, `results`, operands of library calls) is only
    read. A value is split in two places, joined by an edge of that cost; from its operands an edge without limit leads to it."""
    called_early = {v for n in keep if n.op.kind is EXTERN for v in bases(n)}
    called_late = {v for n in late if n.op.kind is EXTERN for v in bases(n)}
    stay, there = called_early & called_late, called_early | results
    flow = Flow()
    order: dict[Value, int] = {}
    stack = list(read)
    while stack:
        v = stack.pop()
        if v in order or v in graph.consts:
            continue
        order[v] = k = len(order)
        cost = max(numel(v.shape), 1) * v.dtype.itemsize * (1 if v.node is None or v in there else 2)
        inside, outside = 2 * k + 2, 2 * k + 3
        flow.add(inside, outside, cost)
        if v.node is None or not recomputable(v.node) or v in stay:
            flow.add(0, inside, INFINITE)
        else:
            stack.extend(v.node.operands())
    for v, k in order.items():
        if v.node is not None and recomputable(v.node) and v not in stay:
            for a in dict.fromkeys(v.node.operands()):
                if a not in graph.consts:
                    flow.add(2 * order[a] + 3, 2 * k + 2, INFINITE)
    for v in read:
        if v not in graph.consts:
            flow.add(2 * order[v] + 3, 1, INFINITE)
    reached = flow.cut(0, 1)
    position = {v: i for i, v in enumerate([*graph.inputs, *(v for n in graph.nodes for v in n.outs)])}
    return sorted([v for v, k in order.items() if 2 * k + 2 in reached and 2 * k + 3 not in reached], key=position.__getitem__)


def bases(node: Node):
    """The values that a node reads, seen through views."""
    for v in node.operands():
        yield v
        while v.node is not None and v.node.op.kind is VIEW:
            v = v.node.args[0]
            yield v


class Flow:
    """Maximum flow by shortest augmenting levels (Dinic 1970). Places are numbers; 0 is the source by convention, 1 the sink."""

    def __init__(self):
        self.out: dict[int, list[int]] = {}
        self.to: list[int] = []
        self.room: list[int] = []

    def add(self, a: int, b: int, room: int) -> None:
        """An edge from `a` to `b`, and its reverse."""
        for x, y, r in ((a, b, room), (b, a, 0)):
            self.out.setdefault(x, []).append(len(self.to))
            self.to.append(y)
            self.room.append(r)

    def levels(self, source: int) -> dict[int, int]:
        """How many edges with room lead to each place that can be reached."""
        level, queue = {source: 0}, deque((source,))
        while queue:
            x = queue.popleft()
            for e in self.out.get(x, ()):
                y = self.to[e]
                if self.room[e] and y not in level:
                    level[y] = level[x] + 1
                    queue.append(y)
        return level

    def cut(self, source: int, sink: int) -> set[int]:
        """The places on the source's side of a smallest cut."""
        while True:
            level = self.levels(source)
            if sink not in level:
                return set(level)
            at = dict.fromkeys(self.out, 0)             # the next edge to try from each place
            path: list[int] = []
            x = source
            while True:
                if x == sink:
                    least = min(self.room[e] for e in path)
                    if least >= INFINITE:
                        raise ValueError("what cannot be computed again cannot be saved either")
                    for e in path:
                        self.room[e] -= least
                        self.room[e ^ 1] += least
                    k = next(i for i, e in enumerate(path) if not self.room[e])
                    x = self.to[path[k] ^ 1]
                    del path[k:]
                    continue
                edges = self.out.get(x, ())
                while at[x] < len(edges):
                    e = edges[at[x]]
                    if self.room[e] and level.get(self.to[e]) == level[x] + 1:
                        break
                    at[x] += 1
                else:
                    if not path:
                        break
                    e = path.pop()
                    x = self.to[e ^ 1]
                    at[x] += 1
                    continue
                path.append(e)
                x = self.to[e]


# ---------------------------------------------------------------------------------------------------- the two graphs
def forward_of(graph: Graph, results: int, tangents: list[Value], saved: list[Value]) -> Graph:
    """The results, then what is saved. Its values are those of `graph`."""
    g = Graph(graph.name)
    g.inputs = [v for v in graph.inputs if v not in set(tangents)]
    g.roles = {v: graph.roles.get(v, "argument") for v in g.inputs}
    g.consts, g.nodes, g._names = dict(graph.consts), list(graph.nodes), dict(graph._names)
    g.outputs = graph.outputs[:results] + [v for v in saved if v.node is not None]
    g.writebacks = list(graph.writebacks)
    return prune(g, rename=False)


def backward_of(graph: Graph, gradients: list[Value], tangents: list[Value], saved: list[Value], again: list[Node], late: list[Node]) -> Graph:
    """What is computed again, then what needs the tangents; all values are new."""
    g = Graph(graph.name + "_backward")
    seen: dict[Value, Value] = {}
    for v in saved:
        spec = v.spec if v.node is None else v.spec.like()
        seen[v] = g.input(spec, v.name, "saved")
    for v in tangents:
        seen[v] = g.input(v.spec, v.name, "tangent")
    for v, a in graph.consts.items():
        seen[v] = g.const(a, v.spec, v.name)
    for node in (*again, *late):
        outs = g.add(node.op, tuple([seen[a] if isinstance(a, Value) else a for a in node.args]), node.attrs,
                     tuple([v.spec for v in node.outs]), node.loc).outs
        for old, new in zip(node.outs, outs):
            seen.setdefault(old, new)                   # a saved result of a node that is run again for another one
    g.outputs = [seen[v] for v in gradients]
    return prune(g, rename=False)
