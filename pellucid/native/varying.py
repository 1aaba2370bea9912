"""What varies from one size of a function to the next: the numbers of its plans that become arguments of the code.

In: the plans that one function gets, size by size. Out: `Varying.marks(graph, plan)`: for each step that differs from the step of the
function's first plan, which of its numbers do; `kernel` and `call` put SymInts there. The first plan is compiled as it is: a function
that has one size pays nothing. From the second on, whatever has varied so far is an argument, and code is found by its text.

A kernel's numbers are its extents, strides, offsets and constants; a library call's the shapes and strides of its operands. Steps are
compared by what they are (operators, how many numbers) and in their order. What stays true: marks are only advice. Numbers that were
not marked, or marked though they do not vary, cost objects or speed, never a wrong result (symbolic.py says why).
"""
from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any

from ..core import dtype as dt
from ..graph.ir import Graph
from ..kernel.ir import AccumStore, Apply, Const, Expr, If, Index, Kernel, Load, Local, Loop, Stmt, Store
from ..kernel.plan import HostCall, KernelCall, LibCall, Plan, Step, View
from ..kernel.walk import parts
from .execute import Workspace
from .symbolic import SymFloat, SymInt

Number = int | float
Change = Callable[[Number], Number]


# ---------------------------------------------------------------------------------------------------- the numbers of a step
class _Rewriter:
    """A kernel with other numbers: `change` is called for each of them, in a fixed order."""

    def __init__(self, change: Change):
        self.change = change
        self.done: dict[int, Expr] = {}                 # by id: expressions share parts

    def size(self, n):
        return n if isinstance(n, str) else self.change(n)

    def index(self, x: Index) -> Index:
        return Index(self.size(x.const), tuple([(name, self.size(c)) for name, c in x.terms]))

    def expr(self, root: Expr) -> Expr:
        for e in parts((root,)):
            if id(e) in self.done:
                continue
            if isinstance(e, Const):
                varies = e.dtype is dt.int64 or e.dtype in (dt.float32, dt.float64)
                new: Expr = Const(self.change(e.value), e.dtype) if varies else e
            elif isinstance(e, Load):
                new = Load(e.buf, self.index(e.index), e.dtype)
            elif isinstance(e, Apply):
                new = Apply(e.name, tuple([self.done[id(a)] for a in e.args]), e.dtype)
            else:
                new = e
            self.done[id(e)] = new
        return self.done[id(root)]

    def block(self, body: Iterable[Stmt]) -> tuple[Stmt, ...]:
        return tuple([self.statement(s) for s in body])

    def statement(self, s: Stmt) -> Stmt:
        if isinstance(s, Loop):
            return Loop(replace(s.axis, extent=self.size(s.axis.extent)), self.block(s.body))
        if isinstance(s, If):
            return If(self.expr(s.cond), self.block(s.body))
        if isinstance(s, Local):
            return Local(s.var, self.expr(s.init))
        if isinstance(s, (Store, AccumStore)):
            return replace(s, index=self.index(s.index), expr=self.expr(s.expr))
        return replace(s, expr=self.expr(s.expr))

    def kernel(self, k: Kernel) -> Kernel:
        return replace(k, bufs=tuple([replace(b, size=self.size(b.size)) for b in k.bufs]), body=self.block(k.body))


def _changed_call(s: LibCall, change: Change) -> LibCall:
    def view(x: Any) -> Any:
        if not isinstance(x, View):
            return x
        return x._replace(shape=tuple([change(n) for n in x.shape]), strides=tuple([change(n) for n in x.strides]))
    return replace(s, operands=tuple([view(x) for x in s.operands]), outs=tuple([view(x) for x in s.outs]),
                   post=tuple([p._replace(operand=view(p.operand)) for p in s.post]))


def changed(s: KernelCall | LibCall, change: Change) -> KernelCall | LibCall:
    """A step with other numbers."""
    return replace(s, kernel=_Rewriter(change).kernel(s.kernel)) if isinstance(s, KernelCall) else _changed_call(s, change)


def numbers(s: Step) -> list[Number]:
    """The numbers of a step, in the order `changed` meets them."""
    found: list[Number] = []

    def see(n: Number) -> Number:
        found.append(n)
        return n
    if not isinstance(s, HostCall):
        changed(s, see)
    return found


def symbolic(s: KernelCall | LibCall, marks: dict[int, str]) -> KernelCall | LibCall:
    """A step with a SymInt or SymFloat of the given formula at each of the places in `marks`."""
    count = iter(range(1 << 62))

    def change(n: Number) -> Number:
        formula = marks.get(next(count))
        return n if formula is None else SymFloat(n, formula) if isinstance(n, float) else SymInt(n, formula)
    return changed(s, change)


# ---------------------------------------------------------------------------------------------------- what one function has met
class Varying:
    """What varied so far in the plans of one function, by the operators of the graph (a function may have several); and the memory that
    its programs share."""

    def __init__(self):
        self.lock = threading.Lock()
        self.workspace = Workspace()
        self.first: dict[tuple, dict[tuple, list[Number]] | Callable[[], Plan]] = {}      # or how to make the first plan
        self.places: dict[tuple, dict[tuple, set[int]]] = {}

    def met(self, graph: Graph) -> bool:
        """Whether another size of this graph has been compiled."""
        return _kind(graph) in self.first

    def begin(self, graph: Graph, plan: Callable[[], Plan]) -> None:
        """Remember how to make the first plan of a graph, should there be a second."""
        with self.lock:
            self.first.setdefault(_kind(graph), plan)

    def marks(self, graph: Graph, plan: Plan) -> dict[int, dict[int, str]]:
        """By step of a later plan: the places of the numbers that vary, and their names: the same for those that were equal in the
        first plan and are now. Nothing for the first plan."""
        kind = _kind(graph)
        with self.lock:
            first = self.first.get(kind)
            if first is None:
                return {}
            if callable(first):
                first = self.first[kind] = dict(_steps(first()))
            places = self.places.setdefault(kind, {})
            steps = list(zip([k for k, s in enumerate(plan.steps) if not isinstance(s, HostCall)], _steps(plan)))
            moving: set[Number] = set()
            steady: set[Number] = set()
            for _, (key, now) in steps:
                if key in first:
                    varies = places.setdefault(key, set())
                    varies |= {i for i, (a, b) in enumerate(zip(first[key], now)) if a != b}
                    for i, n in enumerate(now):
                        (moving if i in varies else steady).add(n)
            found: dict[int, dict[int, str]] = {}
            for k, (key, now) in steps:
                if key not in first:                        # the schedule is another one at this size: what varies elsewhere varies here
                    first[key], places[key] = now, {i for i, n in enumerate(now) if n in moving and n not in steady}
                then, names = first[key], {}
                marked = {i: names.setdefault((then[i], now[i]), f"n{i}") for i in sorted(places[key])}
                if marked:
                    found[k] = marked
            return found


def _kind(graph: Graph) -> tuple:
    return tuple([node.op.name for node in graph.nodes])


def _steps(plan: Plan) -> list[tuple[tuple, list[Number]]]:
    """(what it is and how many of the kind came before, its numbers) of each step that becomes code."""
    found, count = [], {}
    for s in plan.steps:
        if isinstance(s, HostCall):
            continue
        now = numbers(s)
        what = (s.kernel.ops if isinstance(s, KernelCall) else (s.name,), len(now))
        count[what] = count.get(what, 0) + 1
        found.append(((*what, count[what]), now))
    return found
