"""The schedule: which values share a kernel, in what order, and where everything lives.

In: a graph and Options. Out: a `plan.Plan`: kernels, library and host calls in order, buffers in one arena, and for every
pair of values that could have shared a loop but do not, the reason (`WhyNot`).

A group becomes one kernel. Its iteration space is `n` elements, seen as rows of `c` if it reduces rows: for each row, passes
over its elements; what a row's reduction gives is there for the next pass. Members are whole-space values, reductions of
exactly the rows, values with one element per row, and reductions of anything else, which accumulate in memory and are
complete only after the kernel.

True always: groups form no cycle (each knows all it depends on, as a bit set); roots are looked at in topological order,
and merged along an edge or a shared input, the largest saving first; a group that cannot be lowered is split into its roots.
"""
from __future__ import annotations

import time
from dataclasses import dataclass, field

from ..core.spec import contiguous_strides, numel
from ..graph.ir import Graph, Node, Value
from ..ops.op import RANDOM
from . import memory
from .build import Reduction
from .lower import Hazard, Lowering, Unlowered
from .plan import Buffer, HostCall, KernelCall, LibCall, Plan, Post, View, WhyNot
from .roots import Copy, Options, Root, Roots, nbytes

__all__ = ["Options", "plan"]


@dataclass(slots=True, eq=False)
class Group:
    """Roots that share a kernel, or one library or host step."""

    id: int
    kind: str                       # kernel, library, host
    roots: list[Root] = field(default_factory=list)
    node: Node | None = None
    n: int = 0
    c: int = 0                      # the row length; 0: no rows needed
    soft: int = 0                   # a row length it would do well with: it reads one element per row of something
    anc: int = 0                    # ids of all groups it depends on
    preds: set[int] = field(default_factory=set)
    reads: dict[Value, int] = field(default_factory=dict)       # leaves from outside, and their bytes
    cuts: frozenset[int] = frozenset()
    dead: bool = False
    post: list[tuple[str, Value | None]] = field(default_factory=list)     # library: pointwise steps on its result
    result: Value | None = None     # library: the value they give

    @property
    def name(self) -> str:
        return self.node.outs[0].name if self.node is not None else self.roots[-1].value.name


class Grouping:
    """Merges roots into groups."""

    def __init__(self, roots: Roots, options: Options, pinned: set[Value]):
        self.roots, self.options, self.pinned = roots, options, pinned
        self.scalars: Group | None = None           # the latest group of single numbers
        self.groups: list[Group] = []
        self.made: dict[Value, Group] = {}
        self.readers: dict[Value, list[Group]] = {}
        self.whynot: list[WhyNot] = []
        for item in roots.order:
            self.enter(item)
        for g in list(self.groups):                 # single numbers last: they are cheap, and must not keep others apart
            if not g.dead and g.n == 1 and g.kind == "kernel" and options.fuse:
                self.fuse(g)

    # ------------------------------------------------------------------------------------------------ entering
    def enter(self, item: Root | Node) -> None:
        if isinstance(item, Node):
            g = Group(len(self.groups), self.roots.step[item], node=item)
            leaves = [self.roots.view(v)[0] for v in item.operands()]
            outs = item.outs
        else:
            g = Group(len(self.groups), "kernel", [item], n=item.n, c=item.k if item.kind == "row" else 0)
            g.cuts = cuts(item)
            g.soft = min((k for ks in item.leaves.values() for k in ks if 16 <= k < item.n), default=0) if item.kind == "point" else 0
            leaves, outs = list(item.leaves), (item.value,)
            item.group = g
        self.groups.append(g)
        for v in leaves:
            g.reads[v] = nbytes(v)
            p = self.made.get(v)
            if p is not None:
                g.preds.add(p.id)
                g.anc |= p.anc | 1 << p.id
        for v in outs:
            self.made[v] = g
        if g.kind == "kernel" and self.options.fuse and g.n > 1:
            self.fuse(g)

    def fuse(self, g: Group) -> None:
        """Merge a new group with those it reads from, or reads the same as."""
        tried: set[int] = {g.id}
        while True:
            best: tuple | None = None
            score: dict[int, int] = {}
            shared: dict[int, str] = {}
            for v, size in g.reads.items():
                p = self.made.get(v)
                if p is not None and p.kind == "kernel":
                    score[p.id] = score.get(p.id, 0) + 2 * size + 64
                    shared[p.id] = v.name
                for q in self.readers.get(v, ())[-self.options.window:]:
                    if not q.dead and (size > 64 or q.n == 1 or g.n == 1):
                        score[q.id] = score.get(q.id, 0) + size
                        shared.setdefault(q.id, v.name)
            if g.n == 1 and self.scalars is not None and not self.scalars.dead:
                score.setdefault(self.scalars.id, 1)
                shared.setdefault(self.scalars.id, "both are numbers")
            for other, gain in sorted(score.items(), key=lambda s: (-s[1], s[0])):
                if other in tried:
                    continue
                tried.add(other)
                why = self.refusal(self.groups[other], g)
                if why is None:
                    best = self.groups[other]
                    break
                self.whynot.append(WhyNot(self.groups[other].name, g.name, f"{why} ({gain:,} bytes, {shared[other]})"))
            if best is None:
                break
            g = self.merge(best, g)
            tried.add(g.id)
        if g.n == 1:
            self.scalars = g
        for v in g.reads:
            known = self.readers.setdefault(v, [])
            if g not in known:
                known.append(g)

    # ------------------------------------------------------------------------------------------------ may they merge
    def refusal(self, a: Group, b: Group) -> str | None:
        """Why two groups cannot be one kernel; None if they can."""
        if any(r.kind == "scatter" for g in (a, b) for r in g.roots):
            return "a scatter has a kernel of its own"
        if a.n == b.n:
            n, c = a.n, a.c or b.c
            if a.c and b.c and a.c != b.c:
                return f"rows of {a.c} and of {b.c} elements"
        elif (a.c or a.soft) and not b.c and b.n * (a.c or a.soft) == a.n or self.rides(b, a):
            n, c = a.n, a.c or a.soft
        elif (b.c or b.soft) and not a.c and a.n * (b.c or b.soft) == b.n or self.rides(a, b):
            n, c = b.n, b.c or b.soft
        else:
            return f"iteration spaces of {a.n} and {b.n} elements"
        for x, y in ((a, b), (b, a)):
            why = self.edges(x, y, n, c)
            if why is not None:
                return why
            if any(p != x.id and self.groups[p].anc >> x.id & 1 for p in y.preds):
                return "another step stands between them"
        if not chain(scaled(a, n) | scaled(b, n) | ({c} if c else set())):
            return "shapes whose dimensions do not align"
        if len(a.reads.keys() | b.reads.keys()) + len(a.roots) + len(b.roots) > self.options.max_buffers:
            return "too many buffers for one kernel"
        return None

    def rides(self, a: Group, b: Group) -> bool:
        """Whether `a` is single numbers that the first row of `b` can store by the way."""
        return a.n == 1 < b.n and (b.c or b.soft) > 0 and all(
            r.kind == "point" and not isinstance(r.desc, Reduction) and r.value not in self.pinned for r in a.roots)

    @staticmethod
    def edges(a: Group, b: Group, n: int, c: int) -> str | None:
        """Whether what `b` reads of `a` is there when it reads it."""
        mine = {r.value: r for r in a.roots}
        for r in b.roots:
            for v, where in r.leaves.items():
                p = mine.get(v)
                if p is None:
                    continue
                if p.kind in ("accum", "scatter"):
                    return f"{v.name} is complete only after all elements"
                if p.n == 1 and n > max(c, 1):
                    continue                        # a number, computed by whoever reads it
                per_row = p.kind == "row" or p.n != n
                want = 1 if not per_row or r.n != n else c
                if per_row and p.kind == "row" and p.n != n:
                    return f"{v.name} reduces rows of rows"
                if r.n == 1 and n > max(c, 1):
                    return f"{r.value.name} needs all of {v.name}"
                if not per_row and r.n != n:
                    return f"{v.name} is read by row"
                if where != {want}:
                    return f"{v.name} is read at other places than where it is computed"
        return None

    def merge(self, a: Group, b: Group) -> Group:
        """One group of two; the earlier one's id."""
        if b.id < a.id:
            a, b = b, a
        n = max(a.n, b.n)
        a.cuts = scaled(a, n) | scaled(b, n)
        if a.n != b.n:                              # one lives on the rows of the other
            big = a if a.n > b.n else b
            a.c = big.c or big.soft
        else:
            a.c = a.c or b.c
            a.soft = min(filter(None, (a.soft, b.soft)), default=0)
        a.n = n
        a.roots = sorted(a.roots + b.roots, key=lambda r: r.order)
        for r in b.roots:
            r.group = a
            self.made[r.value] = a
        inside = {r.value for r in a.roots}
        a.reads = {v: s for v, s in {**a.reads, **b.reads}.items() if v not in inside}
        a.preds = (a.preds | b.preds) - {a.id, b.id}
        b.dead = True
        bits = 1 << a.id | 1 << b.id
        a.anc = (a.anc | b.anc) & ~bits
        new = a.anc | bits
        for g in self.groups:
            if g.anc & bits and g is not a:
                g.anc |= new
                if b.id in g.preds:
                    g.preds.discard(b.id)
                    g.preds.add(a.id)
        return a


def cuts(r: Root) -> frozenset[int]:
    """Where the dimensions of a root's space begin, counted in elements from the end."""
    out, step = set(), 1
    for s in reversed(r.shape):
        step *= s
        out.add(step)
    return frozenset(out)


def scaled(g: Group, n: int) -> frozenset[int]:
    """A group's cuts, in a space of `n` elements whose rows are its elements."""
    return g.cuts if g.n == n or g.n == 1 else frozenset(c * (n // g.n) for c in g.cuts)


def chain(found: set[int]) -> bool:
    """Whether each divides the next: then one set of loops serves all."""
    last = 1
    for c in sorted(found):
        if not c or c % last:
            return False
        last = c
    return True


# ---------------------------------------------------------------------------------------------------- post-steps
PRODUCTS = frozenset(("gemm", "bgemm", "mm", "bmm"))


def fold_posts(grouping: Grouping) -> None:
    """Bias, residual and relu on a product's result move into the product, where nothing else needs them."""
    roots = grouping.roots
    for g in grouping.groups:
        if g.dead or g.kind != "kernel" or len(g.roots) != 1 or g.roots[0].kind != "point":
            continue
        found = posts(roots, g.roots[0])
        if found is None:
            continue
        y, steps = found
        p = grouping.made[y]
        if p.post or any(q != p.id and grouping.groups[q].anc >> p.id & 1 for q in g.preds):
            continue
        v = g.roots[0].value
        g.reads.pop(y)
        grouping.merge(p, g)
        if p.dead:                                  # the earlier id stays: the product is always earlier
            raise AssertionError("a product after its reader")
        p.kind, p.post, p.result, p.n = "library", steps, v, 0


def posts(roots: Roots, root: Root):
    """(product's result, steps) if a root is nothing but steps that products can do; else None."""
    v = root.value
    if v.dtype.name not in ("float32", "float64") or isinstance(root.desc, Copy):
        return None
    steps: list[tuple[str, Value | None]] = []
    cur = v
    while True:
        node = cur.node
        if node is None or cur is not v and (roots.uses.get(cur, 0) != 1 or cur in roots.forced) or cur.dtype is not v.dtype:
            return None
        name = node.op.name
        if roots.step.get(node) == "library":
            break
        if name == "relu" and not steps:
            steps.append(("relu", None))
            cur = node.args[0]
        elif name == "add" and all(isinstance(a, Value) for a in node.args):
            a, b = node.args
            if not product_below(roots, a):
                a, b = b, a
            kind = operand(roots, b, cur)
            if kind is None or a.shape != cur.shape:
                return None
            steps.append((kind, b))
            cur = a
        elif name in ("view_shape", "detach", "alias"):
            cur = node.args[0]
        else:
            return None
    if not steps or node.op.name not in PRODUCTS or roots.uses.get(cur, 0) != 1 or any(
            k == "bias" and b.shape[-1] != cur.shape[-1] for k, b in steps):
        return None
    return cur, steps[::-1]


def product_below(roots: Roots, v: Value) -> bool:
    while v.node is not None:
        if v.node.op.name in PRODUCTS:
            return True
        if v.node.op.name == "add" or v.node.op.name in ("view_shape", "detach", "alias"):
            v = v.node.args[0]
        else:
            return False
    return False


def operand(roots: Roots, b: Value, like: Value) -> str | None:
    """What an addend is: "bias", "add", or nothing that a product can add."""
    base, shape, strides, offset = roots.view(b)
    if not roots.leaf(base) or b.dtype is not like.dtype or base in roots.roots and roots.roots[base].kind == "accum" and base is not b:
        return None
    if len(b.shape) == 1 and like.shape and numel(b.shape) == like.shape[-1] and strides[-1] == 1 and len(like.shape) > 1:
        return "bias"
    if b.shape == like.shape and tuple(strides) == contiguous_strides(shape) and base is b:
        return "add"
    return None


# ---------------------------------------------------------------------------------------------------- the plan
class Planner:
    """Orders groups, gives every value its memory, and lowers group by group."""

    def __init__(self, graph: Graph, options: Options):
        self.graph, self.options = graph, options
        self.plan = Plan(graph)
        self.home: dict[Value, int] = {}            # the buffer a value is read from
        self.kernels: dict[tuple, object] = {}
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
            fold_posts(self.grouping)
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
        for target, v in self.graph.writebacks:
            if target is v:
                continue
            holder = self.holder(v, True)
            if holder in self.direct or target in taken:
                holder = self.roots.copy(v).value
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
        return self.roots.copy(v).value

    # ------------------------------------------------------------------------------------------------ order
    def order(self) -> list[Group]:
        """Groups in an order their dependencies allow, near that of the graph; readers of an input before its overwriting."""
        import heapq
        alive = {g.id: g for g in self.groups}
        after: dict[int, set[int]] = {g.id: set(g.preds) for g in self.groups}
        owner = self.grouping.made
        readers: dict[int, list[Group]] = {}
        for g in self.groups:
            for v in g.reads:
                base = self.home.get(v)
                if base is not None:
                    readers.setdefault(base, []).append(g)
        for v, buffer in list(self.direct.items()):
            g = owner[v]
            late = [r for r in readers.get(buffer, ()) if r is not g]
            if any(r.anc >> g.id & 1 for r in late):
                self.postpone(v)
                continue
            for r in late:
                after[g.id].add(r.id)
                r_new = r.anc | 1 << r.id
                if r_new & ~g.anc:
                    bit = 1 << g.id
                    g.anc |= r_new
                    for x in self.groups:
                        if x.anc & bit:
                            x.anc |= r_new
        users: dict[int, list[int]] = {}
        for k, ps in after.items():
            for p in ps:
                users.setdefault(p, []).append(k)
        waiting = {k: len(ps) for k, ps in after.items()}
        ready = [(self.rank(alive[k]), k) for k, n in waiting.items() if n == 0]
        heapq.heapify(ready)
        out = []
        while ready:
            _, k = heapq.heappop(ready)
            out.append(alive[k])
            for u in users.get(k, ()):
                waiting[u] -= 1
                if waiting[u] == 0:
                    heapq.heappush(ready, (self.rank(alive[u]), u))
        assert len(out) == len(alive), "the schedule has a cycle"
        return out

    @staticmethod
    def rank(g: Group) -> int:
        """Host steps first; then by place in the graph."""
        if g.kind == "host" and g.anc == 0:
            return -1
        return max((r.order for r in g.roots), default=g.id) if g.kind == "kernel" else g.id

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
        for call in Lowering(self.plan, self.roots, self.home, g, self.options).calls():
            call.kernel = self.kernels.setdefault(call.kernel.key(), call.kernel)
            self.plan.steps.append(call)

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
        post = tuple([Post(kind, None if a is None else self.view(a)) for kind, a in g.post])
        outs, copies = [], []
        for v in [g.result] if g.post else node.outs:
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
            outs.append(View(target, b.dtype, b.shape, b.strides))
            copies += [(v, k) for k in spare]
        if g.post:                                  # the product's own shape, in the last step's memory
            outs = [View(outs[0].buffer, outs[0].dtype, node.out.shape, contiguous_strides(node.out.shape))]
            post = tuple([p if p.kind != "add" else Post("add", p.operand._replace(
                shape=node.out.shape, strides=contiguous_strides(node.out.shape))) for p in post])
        if g.kind == "library":
            nodes = (node, *[n for r in g.roots for n in r.nodes])
            self.plan.steps.append(LibCall(node.op.name, operands, tuple(outs), node.attrs, node, post, nodes))
        else:
            self.plan.steps.append(HostCall(node, operands, tuple(outs)))
        for v, k in copies:
            self.copy_back(v, k)

    def copy_back(self, v: Value, buffer: int) -> None:
        root = self.roots.copy(v)
        root.dests = [buffer]
        g = Group(-1, "kernel", [root], n=root.n)
        self.lower(g)


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


def plan(graph: Graph, options: Options | None = None) -> Plan:
    """Schedule a graph."""
    return Planner(graph, options or Options()).build()
