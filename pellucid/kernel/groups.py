"""Groups: which values share a kernel.

In: the roots of a graph. Out: `Grouping.groups`: every root in one group, every library and host step a group of its own, and
for every pair of groups that might have been one but is not, the reason (`WhyNot`).

A group becomes one kernel. Its iteration space is `n` elements, seen as rows of `c` if it reduces rows: for each row, passes
over its elements; what a row's reduction gives is there for the next pass. Members are whole-space values, reductions of
exactly the rows, values with one element per row, and reductions of anything else, which accumulate in memory and are
complete only after the kernel. Single numbers that need none of this may ride along: the first row stores them.

True always: groups form no cycle (each knows all it depends on, as a bit set); roots are looked at in topological order,
and merged along an edge or a shared input, the largest saving first, in a window: the time is linear in the graph.
"""
from __future__ import annotations

from dataclasses import dataclass, field

from ..graph.ir import Node, Value
from .build import Reduction
from .plan import WhyNot
from .roots import Options, Root, Roots, nbytes


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
    outs: dict[Value, dict] = field(default_factory=dict)       # library: values whose memory its results are written into, and how

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
        if any(r.kind in ("scatter", "pieces") for g in (a, b) for r in g.roots):
            return "what is scattered, or stored in pieces, has kernels of its own"
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

    def depend(self, g: Group, p: Group) -> None:
        """`g` must come after `p`."""
        g.preds.add(p.id)
        new = p.anc | 1 << p.id
        if new & ~g.anc:
            g.anc |= new
            bit = 1 << g.id
            for x in self.groups:
                if x.anc & bit:
                    x.anc |= new


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
