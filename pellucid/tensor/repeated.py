"""The same work on the tensors of one parameter after another, traced once: for the others the nodes of the first are copied.

In: a function, and the tensors it reads and writes, which are of one shape or 0-d. Out: the graph as if the function had been called.
What stays true: a copy is what the call would have recorded. It is made only of operators that go element by element, whose attributes say
nothing of shapes, on row-major tensors; whatever is otherwise is called.
"""
from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from operator import is_
from typing import Any, NamedTuple

from ..core.spec import Spec
from ..graph.ir import Node, Value
from ..ops.dispatch import local
from ..ops.op import POINT
from .core import PLAIN
from .fake import Fake
from .inplace import unwatched, write

__all__: list[str] = []

COPIES = ("clone", "copy")          # go element by element too


class Work(NamedTuple):
    """What a function recorded: nodes, and of each tensor the value before and after, and how often it was written."""

    nodes: list[Node]
    before: list[Value]
    after: list[Value]
    writes: list[int]


class Repeated:
    """Runs functions under the tracer of this thread, if one watches that makes graphs; each kind of tensors is traced once."""

    def __init__(self) -> None:
        tracer = local.stack[-1] if len(local.stack) == 1 else None
        self.tracer = tracer if hasattr(tracer, "graph") else None
        self.known: dict[Hashable, Work | None] = {}

    def run(self, fn: Callable[[], Any], parts: Callable[[], tuple[Sequence[Any], Hashable]]) -> None:
        """`fn()`, which works on the tensors that `parts()` gives, with whatever else decides what it does. If that is not the same
        afterwards, `fn` does more than a graph can say."""
        tracer = self.tracer
        tensors, told = ((), None) if tracer is None else parts()
        shape = None if tracer is None else common_shape(tensors)
        if shape is None:
            fn()
            return
        key = told, shape == (), *[(t._a.dtype, t._a.ndim == 0) for t in tensors]
        before = [self.value(t) for t in tensors]
        if key not in self.known:
            start, versions = len(tracer.graph.nodes), [t._storage().version for t in tensors]
            fn()
            now, told_now = parts()
            same = told_now == told and len(now) == len(tensors) and all(map(is_, now, tensors))
            writes = [t._storage().version - version for t, version in zip(tensors, versions)]
            work = Work(tracer.graph.nodes[start:], before, [self.value(t) for t in tensors], writes)
            self.known[key] = needed(work, shape) if same else None
            return
        work = self.known[key]
        if work is None:
            fn()
            return
        new = dict(zip(work.before, before))
        for node in work.nodes:
            args = tuple([new.get(a, a) if type(a) is Value else a for a in node.args])
            specs = tuple([Spec(shape if v.spec.shape else (), v.spec.dtype) for v in node.outs])
            new.update(zip(node.outs, tracer.graph.add(node.op, args, node.attrs, specs, node.loc).outs))
        for t, old, value, writes in zip(tensors, *work[1:]):
            if value is not old:
                write(t, tracer.tensor(new.get(value, value)), "copy_")
                t._bump(writes - 1)

    def value(self, t: Any) -> Value:
        """The graph's value of what a tensor holds now."""
        a = t._a
        return (a if type(a) is Fake and a.cell.tracer is self.tracer else self.tracer.lift(t)).read()


def common_shape(tensors: Sequence[Any]) -> tuple | None:
    """The shape of all tensors that are not 0-d, () if all are; None if some are otherwise, or more than their values counts."""
    shapes = {t._a.shape for t in tensors if t._a.ndim} or {()}
    if len(shapes) != 1 or not all([type(t) in PLAIN and t._a.flags.c_contiguous and t._fn is None and unwatched(t._x) for t in tensors]):
        return None
    return shapes.pop()


def needed(work: Work, shape: tuple) -> Work | None:
    """The nodes that depend on the tensors; None if another shape could make them others."""
    known = set(work.before)
    nodes = []
    for node in work.nodes:
        found = list(node.operands())
        if known.isdisjoint(found):
            continue
        plain = (node.op.kind is POINT or node.op.name in COPIES) and not any([type(v) is tuple for v in node.attrs.values()])
        if not plain or any([v.spec.strides is not None or v.spec.shape not in ((), shape) for v in node.outs]):
            return None
        if any([v not in known and v.spec.shape for v in found]):
            return None
        known.update(node.outs)
        nodes.append(node)
    if len(set(work.before)) < len(work.before) or any([v not in known and v.spec.shape for v in work.after]):
        return None
    return work._replace(nodes=nodes)
