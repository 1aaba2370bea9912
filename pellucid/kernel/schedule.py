"""The schedule: which values share a kernel, in what order, and where everything lives.

In: a graph and Options. Out: a `plan.Plan`: kernels, library and host calls in order, buffers in one arena, and for every
pair of values that could have shared a loop but do not, the reason (`WhyNot`). What is computed by itself, what shares a
kernel, and what library calls take over, is decided in `roots`, `groups` and `absorb`.

True always: a step comes after all it reads; an input is overwritten after its last reader; a group that cannot be lowered is
split into its roots; equal kernels are one object.
"""
from __future__ import annotations

import time
from dataclasses import replace

from ..core.collecting import uncollected
from ..core.spec import contiguous_strides, numel
from ..graph.ir import Graph, Value
from ..graph.keys import Unhashable, attrs_key, freeze
from . import memory
from .absorb import fold_moves, fold_steps
from .groups import Group, Grouping
from .lower import Hazard, Lowering, Unlowered
from .plan import Buffer, HostCall, LibCall, Plan, Post, View, WhyNot
from .roots import Box, Copy, Fill, Finish, Options, Root, Roots

__all__ = ["Options", "plan"]


# ---------------------------------------------------------------------------------------------------- the plan
class Planner:
    """Orders groups, gives every value its memory, and lowers group by group."""

    def __init__(self, graph: Graph, options: Options):
        self.graph, self.options = graph, options
        self.plan = Plan(graph)
        self.home: dict[Value, int] = {}            # the buffer a value is read from
        self.kernels: dict[tuple, object] = {}
        self.lowered: dict[tuple, tuple] = {}       # kernel calls by what they compute, see `signature`
        self.late: list[Root] = []                  # copies at the end, for write-backs that could not be direct
        start = time.perf_counter()
        self.roots = Roots(graph, options)
        for k, v in enumerate(graph.inputs):
            self.place(v, "input", k)
        for k, v in enumerate(graph.consts):
            self.place(v, "const", k)
        self.leaving()
        self.grouping = Grouping(self.roots, options, set(self.direct))
        if options.fuse:
            fold_steps(self.grouping)
            fold_moves(self.grouping)
        self.plan.whynot = self.grouping.whynot
        self.plan.seconds["group"] = time.perf_counter() - start
        self.groups = [g for g in self.grouping.groups if not g.dead]

    def place(self, v: Value, role: str, index: int = -1) -> Buffer:
        strides = v.spec.strides if role == "input" and v.spec.strides is not None else contiguous_strides(v.shape)
        size = 1 + sum((n - 1) * s for n, s in zip(v.shape, strides)) if numel(v.shape) else 0
        b = Buffer(len(self.plan.buffers), v.dtype, size, role, v, index, -1, v.shape, strides)
        self.plan.buffers.append(b)
        self.home[v] = b.id
        return b

    def output(self, v: Value, index: int) -> Buffer:
        """An output's buffer, with the strides eager would give it."""
        b = Buffer(len(self.plan.buffers), v.dtype, numel(v.shape), "output", v, index, -1, v.shape,
                   v.spec.strides or contiguous_strides(v.shape))
        if not dense(b.shape, b.strides):
            b.strides = contiguous_strides(v.shape)
        self.plan.buffers.append(b)
        return b

    def leaving(self) -> None:
        """Outputs and write-backs: buffers for the first, roots for what no kernel would compute otherwise."""
        self.targets: dict[Value, list[int]] = {}   # buffers each value is stored to
        self.direct: dict[Value, int] = {}          # written-back value -> the input's buffer
        taken: dict[Value, Value] = {}
        for k, v in enumerate(self.graph.outputs):
            b = self.output(v, k)
            self.plan.outputs.append(View(b.id, b.dtype, b.shape, b.strides))
            holder = self.holder(v, not contiguous(b))
            self.targets.setdefault(holder, []).append(b.id)
        read = {v for node in self.graph.nodes for v in node.operands()}
        for target, v in self.graph.writebacks:
            if target is v:
                continue
            holder = self.holder(v, True)
            if holder in self.direct or target in taken or (v in read and not contiguous(self.plan.buffers[self.home[target]])):
                holder = self.roots.copy(v)         # also where readers would look for it in row-major order
            taken[target] = holder
            self.direct[holder] = self.home[target]
        self.plan.written = tuple(sorted({self.plan.buffers[b].index for b in self.direct.values()}))

    def holder(self, v: Value, strided: bool) -> Value:
        """The value whose computation stores `v`: itself if a kernel or a library call makes it, else a copy of it."""
        if v in self.roots.roots:
            return v
        step = self.roots.step.get(v.node) if v.node is not None else None
        if step is not None and v not in self.targets and not strided:
            return v
        return self.roots.copy(v)

    # ------------------------------------------------------------------------------------------------ order
    def order(self) -> list[Group]:
        """Groups in an order their dependencies allow, near that of the graph; readers of an input before its overwriting."""
        import heapq
        alive = {g.id: g for g in self.groups}
        after: dict[int, set[int]] = {g.id: set(g.preds) for g in self.groups}
        owner = self.grouping.made
        self.number = {node: k for k, node in enumerate(self.graph.nodes)}
        self.checking = [(min(self.number.get(n, 0) for n in nodes), g) for g in self.groups
                         if (nodes := [g.node] if g.kind == "host" else [n for r in g.roots for n in r.nodes
                                                                         if not self.roots.checked.isdisjoint(n.outs)])]
        readers: dict[int, list[Group]] = {}
        for g in self.groups:
            for v in g.reads:
                base = self.home.get(v)
                if base is not None:
                    readers.setdefault(base, []).append(g)
        for v, buffer in list(self.direct.items()):
            g = owner[v]
            late = [r for r in readers.get(buffer, ()) if r is not g]
            checks = self.checks_before(v)
            if any(r.anc >> g.id & 1 for r in (*late, *checks)) or g in checks and g.kind == "kernel":
                self.postpone(v)
                continue
            for r in (*late, *[c for c in checks if c is not g]):
                after[g.id].add(r.id)
                self.grouping.depend(g, r)
        users: dict[int, list[int]] = {}
        for k, ps in after.items():
            for p in ps:
                users.setdefault(p, []).append(k)
        waiting = {k: len(ps) for k, ps in after.items()}
        rank = {k: self.rank(g) for k, g in alive.items()}
        for k, n in waiting.items():                # what reads only inputs waits for whoever wants it
            if n == 0 and alive[k].kind == "kernel" and users.get(k):
                rank[k] = max(rank[k], min(rank[u] for u in users[k]) - 0.5)
        ready = [(rank[k], k) for k, n in waiting.items() if n == 0]
        heapq.heapify(ready)
        out = []
        while ready:
            _, k = heapq.heappop(ready)
            out.append(alive[k])
            for u in users.get(k, ()):
                waiting[u] -= 1
                if waiting[u] == 0:
                    heapq.heappush(ready, (rank[u], u))
        assert len(out) == len(alive), "the schedule has a cycle"
        return out

    def checks_before(self, v: Value) -> list[Group]:
        """The steps that may refuse their operands, and that eager runs before it writes `v`: nothing is written if they do."""
        d = self.roots.desc.get(v)
        node = d.source.node if isinstance(d, Copy) else v.node
        mine = self.number.get(node, len(self.number))
        return [g for first, g in self.checking if first <= mine]

    @staticmethod
    def rank(g: Group) -> float:
        """Host steps first; then by place in the graph."""
        if g.kind == "host" and g.anc == 0:
            return -1
        return min((r.order for r in g.roots), default=g.id) if g.kind == "kernel" else g.id

    def postpone(self, v: Value) -> None:
        """A write-back through memory of its own, copied at the end."""
        buffer = self.direct.pop(v)
        self.late.append((v, buffer))

    # ------------------------------------------------------------------------------------------------ building
    def build(self) -> Plan:
        order = self.order()
        self.needed = needed(order, self.roots)
        start = time.perf_counter()
        for g in order:
            if g.kind == "kernel":
                self.kernel_group(g)
            else:
                self.step(g)
        for v, buffer in self.late:
            self.copy_back(v, buffer)
        self.plan.seconds["lower"] = time.perf_counter() - start
        start = time.perf_counter()
        memory.assign(self.plan)
        self.plan.seconds["memory"] = time.perf_counter() - start
        return self.plan

    def stores(self, r: Root, inside: set[Value] | None) -> list[int]:
        """The buffers a root is stored to; none if only its own kernel reads it."""
        v = r.value
        out = list(self.targets.get(v, ()))
        if v in self.direct:
            out.insert(0, self.direct[v])
        lasting = next((b for b in out if self.plan.buffers[b].role == "input" or contiguous(self.plan.buffers[b])), None)
        wanted = v in self.needed or inside is not None or any(v is w for w, _ in self.late)
        if wanted and lasting is None:
            dtype = r.desc.dtype if r.kind == "accum" else v.dtype
            b = Buffer(len(self.plan.buffers), dtype, numel(v.shape), "arena", v, -1, -1, v.shape, contiguous_strides(v.shape))
            self.plan.buffers.append(b)
            lasting = b.id
            out.insert(0, b.id)
        if lasting is not None:
            self.home[v] = lasting
        return out

    def kernel_group(self, g: Group, split: bool = False) -> None:
        """Lower a group; if that fails, each of its roots alone."""
        for r in g.roots:
            r.dests = self.stores(r, set() if split else None)
        try:
            self.lower(g)
        except Hazard as h:
            self.undirect(g, h)
            self.kernel_group(g, split)
        except Unlowered as why:
            if len(g.roots) == 1:
                raise
            self.plan.whynot.append(WhyNot(g.roots[0].value.name, g.roots[-1].value.name, str(why)))
            for r in g.roots:                       # one may overwrite what the next still reads
                if r.value in self.direct:
                    self.home.pop(r.value, None)
                    self.postpone(r.value)
            for r in g.roots:
                alone = Group(g.id, "kernel", [r], n=r.n, c=r.k if r.kind == "row" else 0)
                r.group = alone
                self.kernel_group(alone, True)

    def undirect(self, g: Group, h: Hazard) -> None:
        """A write-back that its own kernel would spoil goes through a temporary."""
        for r in g.roots:
            buffer = self.direct.get(r.value)
            if buffer == h.buffer:
                del self.direct[r.value]
                self.home.pop(r.value, None)
                self.late.append((r.value, buffer))
                return
        raise AssertionError("a hazard without a write-back")

    def lower(self, g: Group) -> None:
        if g.n == 0 and not any(r.kind == "accum" or r.n for r in g.roots):
            return
        key, places = signature(self.roots, self.home, self.plan, g)
        known = self.lowered.get(key) if key is not None else None
        if known is None:
            calls = Lowering(self.plan, self.roots, self.home, g, self.options).calls()
            for call in calls:
                call.kernel = self.kernels.setdefault(call.kernel.key(), call.kernel)
            if key is not None and all(b in places for call in calls for b in call.buffers):
                self.lowered[key] = calls, list(places)
        else:                                       # the same computation as before, on other buffers
            first, there = known
            moved = dict(zip(there, places))
            nodes = tuple(dict.fromkeys(n for r in g.roots for n in r.nodes))
            calls = [replace(c, buffers=tuple([moved[b] for b in c.buffers]), nodes=nodes,
                             in_place=tuple([(moved[x], moved[y]) for x, y in c.in_place])) for c in first]
        self.plan.steps += calls

    def view(self, v: Value) -> View:
        """A value as strides over the buffer of its base."""
        base, shape, strides, offset = self.roots.view(v)
        b = self.plan.buffers[self.home[base]]
        if base is not v or b.strides != contiguous_strides(b.shape):
            if base is v:
                strides = b.strides
            return View(b.id, b.dtype, tuple(shape), tuple(strides), offset)
        return View(b.id, b.dtype, b.shape, b.strides, 0)

    def step(self, g: Group) -> None:
        """A library or host call."""
        node = g.node
        operands = tuple([self.view(a) if isinstance(a, Value) else a for a in node.args])
        post = tuple([self.post(kind, a, node.out.shape) for kind, a in g.post])
        outs, copies = [], []
        moved: dict[Value, tuple] = {}              # results that are written into another value's memory
        for v, places in g.outs.items():
            moved |= {y: (v, *where) for y, where in places.items()}
        wanted: list[Value] = [g.result] if g.post else [v for v in node.outs if v not in moved]
        for v in [*g.outs, *wanted]:
            target = self.direct.get(v)
            spare = list(self.targets.get(v, ()))
            if target is not None and (not contiguous(self.plan.buffers[target]) or any(
                    isinstance(a, View) and a.buffer == target for a in (*operands, *[p.operand for p in post]))):
                self.postpone(v)
                target = None
            if target is None:
                target = next((b for b in spare if contiguous(self.plan.buffers[b])), None)
                if target is not None:
                    spare.remove(target)
            if target is None:
                b = Buffer(len(self.plan.buffers), v.dtype, numel(v.shape), "arena", v, -1, -1, v.shape, contiguous_strides(v.shape))
                self.plan.buffers.append(b)
                target = b.id
            self.home[v] = target
            b = self.plan.buffers[target]
            if v not in g.outs:
                outs.append(View(target, b.dtype, b.shape, b.strides))
            copies += [(v, k) for k in spare]
        if moved:
            rest = iter(outs)
            outs = [View(self.home[moved[y][0]], y.dtype, y.shape, *moved[y][1:]) if y in moved else next(rest) for y in node.outs]
        if g.post:                                  # the product's own shape, in the last step's memory
            outs = [View(outs[0].buffer, outs[0].dtype, node.out.shape, contiguous_strides(node.out.shape))]
        if g.kind == "library":
            nodes = (node, *[n for r in g.roots for n in r.nodes])
            self.plan.steps.append(LibCall(node.op.name, operands, tuple(outs), node.attrs, node, post, nodes))
        else:
            self.plan.steps.append(HostCall(node, operands, tuple(outs)))
        for v, k in copies:
            self.copy_back(v, k)

    def post(self, kind: str, v: Value | None, shape) -> Post:
        """A step on a result of this shape, its operand seen as the library sees it."""
        if v is None:
            return Post(kind)
        view = self.view(v)
        if kind == "add":
            return Post(kind, view._replace(shape=shape, strides=contiguous_strides(shape)))
        return Post(kind, view._replace(shape=shape[-1:], strides=(1,)))

    def copy_back(self, v: Value, buffer: int) -> None:
        copy = self.roots.copy(v)
        if copy.node is not None:                   # complex: by the reference
            b = self.plan.buffers[buffer]
            self.plan.steps.append(HostCall(copy.node, (self.view(v),), (View(buffer, b.dtype, b.shape, b.strides),)))
            return
        root = self.roots.roots[copy]
        root.dests = [buffer]
        self.lower(Group(-1, "kernel", [root], n=root.n))


def signature(roots: Roots, home: dict[Value, int], plan: Plan, g: Group):
    """(key, buffers in order): groups of equal keys become the same kernels, on their own buffers. The key is None if the
    computation cannot be told from its operators."""
    places: dict[int, int] = {}                     # buffer -> its number here
    ids: dict[Value, int] = {}
    code: list = [g.n, g.c]
    inside = {r.value for r in g.roots}

    def place(b: int) -> tuple:
        n = places.setdefault(b, len(places))
        return n, plan.buffers[b].role == "arena"

    def visit(v: Value) -> int:
        found = ids.get(v)
        if found is not None:
            return found
        base, shape, strides, offset = roots.view(v)
        const = roots.graph.consts.get(v)
        if const is not None and const.size == 1:
            item = const.dtype, const.tobytes()
        elif v in home and v not in inside:
            item = *place(home[v]), v.dtype, v.shape, tuple(plan.buffers[home[v]].strides), 0
        elif v not in inside and base in home and base not in inside:
            item = *place(home[base]), v.dtype, v.shape, tuple(strides), offset
        else:
            d, node = roots.desc.get(v), v.node
            if isinstance(d, Copy):
                item = "copy", visit(d.source), v.shape
            elif isinstance(d, Finish):
                item = "post", node.op, attrs_key(node.attrs), visit(d.raw), v.dtype, v.shape, *[x.shape for x in node.operands()]
            elif isinstance(d, (Box, Fill)) or node is None:
                raise Unhashable("a part of a kernel")
            else:
                item = node.op, v.index, attrs_key(node.attrs), v.dtype, v.shape, *[
                    visit(x) if isinstance(x, Value) else ("n", freeze(x)) for x in node.args]
        found = ids[v] = len(ids)
        code.append(item)
        return found

    try:
        for r in g.roots:
            code.append((r.kind, visit(r.value), r.n, r.k, r.shape))
            for b in r.dests:
                code.append((*place(b), plan.buffers[b].dtype, plan.buffers[b].strides))
    except Unhashable:
        return None, places
    return tuple(code), places


def contiguous(b: Buffer) -> bool:
    return all(n == 1 or s == t for n, s, t in zip(b.shape, b.strides, contiguous_strides(b.shape)))


def dense(shape, strides) -> bool:
    """Whether strides name each of the first numel(shape) elements once."""
    step = 1
    for s, n in sorted((s, n) for n, s in zip(shape, strides) if n > 1):
        if s != step:
            return False
        step *= n
    return True


def needed(order: list[Group], roots: Roots) -> set[Value]:
    """Roots that another group reads."""
    out: set[Value] = set()
    for g in order:
        if g.kind == "kernel":
            own = {r.value for r in g.roots}
            for r in g.roots:
                out.update(v for v in r.leaves if v not in own)
        else:
            out.update(roots.view(v)[0] for v in g.node.operands())
            out.update(roots.view(v)[0] for _, v in g.post if v is not None)
    return out


@uncollected
def plan(graph: Graph, options: Options | None = None) -> Plan:
    """Schedule a graph."""
    return Planner(graph, options or Options()).build()
