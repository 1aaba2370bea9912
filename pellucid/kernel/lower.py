"""From a group of roots to a kernel: the values as expressions of the loop variables, then loops around them.

In: a group, and where every leaf lives. Out: `KernelCall`s. Two steps.

1. Expressions (`Lowering`). The iteration space is cut into dimensions that serve every member's shape; each root becomes
   an expression of their loop variables, its virtual operands inlined, equal parts shared (one object, by value and index).
   A row reduction is a variable for whoever reads it, and the level of an expression says after how many passes over the
   row it can be computed.
2. Statements (`emit.Emitter`). Neighbouring dimensions that no access tells apart are joined; what does not depend on an
   inner loop moves out of it; what is used twice gets a name; expensive values that several passes read are kept in a row
   of scratch memory.

True always: names are numbered in order of appearance, so equal computations give equal kernels (`Kernel.key`).
"""
from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ..core import dtype as dt
from ..core.spec import numel
from ..graph.ir import Value
from . import build
from .build import Pieces, Point, Reduction
from .emit import Emitter
from .index import ZERO, Ix, axis, flatten, ix
from .ir import Const, Expr, Load, Var
from .loops import Hazard, Unlowered
from .plan import Buffer, KernelCall, Plan
from .roots import Box, Copy, Fill, Options, Finish, Root, Roots

__all__ = ["Hazard", "Lowering", "Unlowered"]


@dataclass(slots=True, eq=False)
class Target:
    """Something a kernel must do at every point of its space, or of its rows: store, or combine in memory, or in a row's
    accumulator."""

    kind: str                       # store, accum, row
    expr: Expr
    full: bool                      # at every element; else once per row
    buffer: int = -1
    index: Ix = ZERO
    op: str = ""
    name: str = ""                  # row: the accumulator
    init: Any = None
    level: int = 0
    once: bool = False              # by the first row only


@dataclass(slots=True, eq=False)
class Recipe:
    """A reduction by an inner loop: `name` is what it accumulates in."""

    name: str
    axes: tuple[tuple[str, int], ...]
    op: str
    init: Expr
    expr: Expr


class Lowering:
    """Builds one group's expressions."""

    def __init__(self, plan: Plan, roots: Roots, home: dict[Value, int], group, options: Options):
        self.plan, self.roots, self.home, self.group, self.options = plan, roots, home, group, options
        self.b = roots.b
        self.reset()
        self.members = {r.value: r for r in group.roots}
        self.memo: dict[tuple, Expr] = {}
        self.levels: dict[str, int] = {}            # row accumulators: the pass after which they are complete
        self.recipes: dict[str, Recipe] = {}
        self.rows: dict[Value, Expr] = {}
        self.targets: list[Target] = []
        self.count = 0
        self.dims: list[tuple[str, int]] = []
        self.outer = 0                              # how many of `dims` are outside rows
        self.set_dims()

    def reset(self) -> None:
        """The builder as new, so that equal kernels get equal names."""
        self.roots.forget()
        self.b.restart()

    # ------------------------------------------------------------------------------------------------ dimensions
    def set_dims(self) -> None:
        """Loop variables such that every member's dimensions are products of some of them."""
        g = self.group
        wanted: set[int] = {g.c} if g.c else set()
        soft: list[set[int]] = []
        for r in g.roots:
            if r.n == 1 and g.n > 1:
                continue
            scale = 1 if r.n == g.n else g.c
            wanted |= {c * scale for c in suffixes(r.shape)}
            soft += [{c * scale for c in suffixes(s)} for s in sorted(r.shapes)]
        have = chain(wanted)
        if have is None:
            raise Unlowered("the shapes' dimensions do not align")
        for s in soft:
            if s <= have:
                continue
            more = chain(have | s)
            if more is not None:
                have = more
        if any(r.kind == "accum" for r in g.roots) and not g.c:
            have = blocked(have, g.n)
        last = g.roots[0].shape[-1] if g.roots[0].kind == "scatter" and g.roots[0].shape else 1
        if last >= 32:                              # blocks of columns, see Emitter.order_scatter
            have = have | {max(f for f in divisors(last) if f * min(self.options.threads, 16) <= last)}
        step = 1
        for c in sorted(have):
            if c != step and c:
                self.dims.append((f"d{len(self.dims)}", c // step))
                step = c
        self.dims.reverse()
        if g.c:
            size = 1
            inner = 0
            for _, e in reversed(self.dims):
                if size == g.c:
                    break
                size *= e
                inner += 1
            self.outer = len(self.dims) - inner
        self.columns = self.dims[-2][0] if last >= 32 and len(self.dims) > 1 else ""
        self.axes = [axis(name, e) for name, e in self.dims]

    def index_of(self, shape, full: bool) -> tuple[Ix, ...]:
        """The loop variables as an index into a shape that fills the space (or has one element per row)."""
        k = len(self.dims) if full else self.outer
        out = []
        for n in reversed(shape):
            total, size = ZERO, 1
            while size < n:
                k -= 1
                total = total + self.axes[k] * size
                size *= self.dims[k][1]
            out.append(total)
        return tuple(reversed(out))

    def fresh(self, stem: str) -> str:
        self.count += 1
        return f"{stem}{self.count}"

    # ------------------------------------------------------------------------------------------------ values
    def value(self, v: Value, idx: tuple[Ix, ...]) -> Expr:
        """The element of `v` at `idx`."""
        key = (v, idx)
        found = self.memo.get(key)
        if found is None:
            found = self.memo[key] = self.compute(v, idx)
        return found

    def outside(self, v: Value) -> bool:
        """Whether `v` is in memory before this kernel runs."""
        return v not in self.members and v in self.home

    def compute(self, v: Value, idx: tuple[Ix, ...]) -> Expr:
        if v.node is None and numel(v.shape) == 1:
            a = self.roots.graph.consts.get(v)
            if a is not None:
                return self.b.const(a.reshape(-1)[0].item() if v.dtype not in dt.LOW_PRECISION else float(a.reshape(-1)[0]), v.dtype)
        if self.outside(v):
            return self.load(self.home[v], flatten(idx, v.shape, self.plan.buffers[self.home[v]].strides))
        base, shape, strides, offset = self.roots.view(v)
        if v not in self.members and self.outside(base):
            return self.load(self.home[base], flatten(idx, shape, strides) + offset)
        root = self.members.get(v)
        if root is not None:
            if root.kind == "row":
                return self.rows[v]
            if root.kind in ("accum", "scatter"):
                raise Unlowered(f"{v.name} is complete only after all elements")
        elif v in self.roots.roots:
            raise Unlowered(f"{v.name} is not in memory")
        return self.define(v, idx)

    def load(self, buffer: int, at: Ix) -> Load:
        key = (buffer, at)
        found = self.memo.get(key)
        if found is None:
            b = self.plan.buffers[buffer]
            found = self.memo[key] = Load(f"#{buffer}", self.b.index(at), build.compute_dtype(b.dtype))
        return found

    def define(self, v: Value, idx: tuple[Ix, ...]) -> Expr:
        """A fusible value by its operator's definition."""
        d, b, node = self.roots.desc[v], self.b, v.node
        if isinstance(d, Finish):
            return b.round(d.fn(self.value(d.raw, idx)), v.dtype)
        if isinstance(d, Copy):
            return self.value(d.source, idx)
        if isinstance(d, Fill):
            return d.value
        if d is None:
            raise Unlowered(f"{v.name} has no definition for kernels")
        if isinstance(d, Reduction):
            return b.round(self.inner(v, d, idx), v.dtype)
        args = node.args
        if isinstance(d, Box):
            idx = tuple([i + s for i, s in zip(idx, d.start)])
        if isinstance(d, Point):
            like = v.dtype if node.op.name == "where" else next((a.dtype for a in args if isinstance(a, Value)), v.dtype)
            exprs = [self.value(a, b.broadcast(idx, a.shape)) if isinstance(a, Value) else None if a is None else b.const(a, like)
                     for a in args]
            b.out = v.index
            e = d.fn(*exprs)
        else:
            def load(k: int, i) -> Expr:
                a = args[k]
                return self.value(a, tuple(map(ix, i))) if isinstance(a, Value) else b.const(a, v.dtype)
            b.out = v.index
            fn = d.element if isinstance(d, Pieces) else d.fn
            e = fn(idx, load)
        want = build.compute_dtype(v.dtype)
        if e.dtype is not want:
            e = b.cast(e, want)
        return b.round(e, v.dtype) if v.dtype in dt.LOW_PRECISION and not isinstance(e, Load) else e

    # ------------------------------------------------------------------------------------------------ reductions
    def source_element(self, v: Value, d: Reduction, at: tuple[Ix, ...]) -> Expr:
        """What a reduction combines, at an index of its input."""
        node = v.node
        more = [self.value(a, self.b.broadcast(at, a.shape)) if isinstance(a, Value) else a for a in node.args[1:]]
        self.b.out = v.index
        e = d.pre(self.value(node.args[0], at), *more)
        return e if e.dtype is d.dtype or d.op.startswith("arg") else self.b.cast(e, d.dtype)

    def inner(self, v: Value, d: Reduction, idx: tuple[Ix, ...]) -> Expr:
        """A reduction as a loop of its own where it is needed."""
        source = v.node.args[0]
        axes, at, k = [], [], 0
        for j, n in enumerate(source.shape):
            if j in d.dims:
                name = self.fresh("r")
                axes.append((name, n))
                at.append(axis(name, n))
                k += d.keepdim
            else:
                at.append(idx[k])
                k += 1
        at = tuple(at)
        axes = [(a, n) for a, n in axes if n != 1]
        e = self.source_element(v, d, at)
        if d.op.startswith("arg"):
            where = flatten([at[j] for j in d.dims], [source.shape[j] for j in d.dims])
            best = self.accumulate(axes, d.op[3:], self.extreme(d, e), e)
            e, op, init = self.hit(e, best, where), "min", self.last()
            return d.post(self.accumulate(axes, op, init, e))
        if not axes and d.init is None:
            return d.post(e)
        init = d.init
        if init is None:
            zero = tuple([ZERO if j in d.dims else i for j, i in enumerate(at)])
            init = self.source_element(v, d, zero)
        return d.post(self.accumulate(axes, d.op, init, e))

    def accumulate(self, axes, op: str, init: Expr, e: Expr) -> Var:
        name = self.fresh("q")
        self.recipes[name] = Recipe(name, tuple(axes), op, init, e)
        return Var(name, e.dtype)

    def extreme(self, d: Reduction, e: Expr) -> Const:
        return self.b.const(build.identity(d.op[3:], e.dtype), e.dtype)

    def last(self) -> Const:
        return self.b.const(2**63 - 1, dt.int64)

    def hit(self, e: Expr, best: Expr, where: Ix) -> Expr:
        """The place of an element if it is the extreme (nan counts), else a place after all others."""
        b = self.b
        return b.select(b.or_(b.eq(e, best), b.isnan(e)), b.value(where), self.last())

    def row(self, r: Root) -> None:
        """A reduction of the rows: an accumulator, filled during a pass."""
        d, v, b = r.desc, r.value, self.b
        at = self.index_of(r.shape, True)
        e = self.source_element(v, d, at)
        op, init = d.op, d.init
        if op.startswith("arg"):
            best = self.accumulator(op[3:], self.extreme(d, e), e)
            e = self.hit(e, best, flatten([at[j] for j in d.dims], [r.shape[j] for j in d.dims]))
            op, init = "min", self.last()
        elif init is None:
            zero = tuple([ZERO if j in d.dims else i for j, i in enumerate(at)])
            init = self.source_element(v, d, zero)
        out = b.round(d.post(self.accumulator(op, init, e)), v.dtype)
        want = build.compute_dtype(v.dtype)
        self.rows[v] = out if out.dtype is want else b.cast(out, want)

    def accumulator(self, op: str, init: Expr, e: Expr) -> Var:
        name = self.fresh("a")
        t = Target("row", e, True, op=op, name=name, init=init, level=self.level(e))
        self.levels[name] = t.level + 1
        self.targets.append(t)
        return Var(name, e.dtype)

    def level(self, e: Expr) -> int:
        """The first pass over a row in which an expression can be computed."""
        known: dict[int, int] = self.memo.setdefault("levels", {})      # type: ignore[call-overload, assignment]
        found = known.get(id(e))
        if found is not None:
            return found
        if isinstance(e, Var):
            r = self.recipes.get(e.name)
            if r is not None:
                out = max(self.level(r.expr), self.level(r.init))
            else:
                out = self.levels.get(e.name, 0) or self.let_level(e.name)
        elif isinstance(e, Load):
            out = max([self.let_level(n) for n, _ in e.index.terms], default=0)
        elif isinstance(e, Const):
            out = 0
        else:
            out = max(map(self.level, e.args), default=0)
        known[id(e)] = out
        return out

    def let_level(self, name: str) -> int:
        if name[0] == "d" or name[0] == "r":
            return 0
        e = next((s.expr for s in self.b.lets if s.var == name), None)
        return 0 if e is None else self.level(e)

    # ------------------------------------------------------------------------------------------------ targets
    def calls(self) -> list[KernelCall]:
        """The kernel call that computes the group."""
        for r in self.group.roots:
            if r.kind == "scatter":
                return self.scatter(r)
            if r.kind == "pieces":
                return self.pieces(r)
            full = r.n == self.group.n
            if r.n == 1 and self.group.n > max(self.group.c, 1) and r.kind == "point":
                self.store(r, self.value(r.value, (ZERO,) * len(r.shape)), (ZERO,) * len(r.shape), False, True)
            elif r.kind == "row":
                self.row(r)
                at = self.index_of(r.value.shape, False)
                self.store(r, self.rows[r.value], at, False)
            elif r.kind == "accum":
                self.accum(r, full)
            else:
                at = self.index_of(r.shape, full)
                e = self.value(r.value, at)
                self.level(e)                       # step by step: recursion stays shallow
                self.store(r, e, at, full)
        self.checks()
        return [Emitter(self).call()]

    def store(self, r: Root, e: Expr, at: tuple[Ix, ...], full: bool, once: bool = False) -> None:
        for k in r.dests:
            buf = self.plan.buffers[k]
            where = flatten([i + s for i, s in zip(at, r.start)] if r.start else at, r.value.shape, buf.strides)
            self.targets.append(Target("store", stored(e, buf), full, k, where, level=self.level(e), once=once))

    def accum(self, r: Root, full: bool) -> None:
        d = r.desc
        source = r.value.node.args[0]
        at = self.index_of(source.shape, full)
        e = self.source_element(r.value, d, at)
        kept = [i if d.keepdim and j not in d.dims else ZERO if d.keepdim else i for j, i in enumerate(at) if d.keepdim or j not in d.dims]
        for k in r.dests:
            where = flatten(kept, r.value.shape, self.plan.buffers[k].strides)
            self.targets.append(Target("accum", e, full, k, where, d.op, init=d.init.value, level=self.level(e)))

    def checks(self) -> None:
        """Indices that must be in range: a flag is raised where one is not."""
        b, seen = self.b, set()
        first = None
        for guard in list(b.guards):
            if id(guard.value) in seen:
                continue
            seen.add(id(guard.value))
            bad = b.or_(b.lt(guard.value, 0), b.ge(guard.value, b.value(ix(guard.extent))))
            flag = self.flag(guard.extent)
            first = flag if first is None else first
            self.targets.append(Target("accum", b.cast(bad, dt.int64), True, self.plan.flag, ix(flag - first), "max", init=0,
                                       level=self.level(guard.value)))
        self.first_flag = first

    def flag(self, extent) -> int:
        """A new element of the flag buffer."""
        if self.plan.flag < 0:
            self.plan.flag = len(self.plan.buffers)
            self.plan.buffers.append(Buffer(self.plan.flag, dt.int64, 0, "flag"))
        buf = self.plan.buffers[self.plan.flag]
        buf.size += 1
        buf.shape, buf.strides = (buf.size,), (1,)
        self.plan.checks.append(extent)
        return buf.size - 1

    # ------------------------------------------------------------------------------------------------ pieces and scatters
    def pieces(self, r: Root) -> list[KernelCall]:
        """A kernel for every box of a value."""
        out: list[KernelCall] = []
        for region in r.desc.regions:
            shape = tuple([z - a for a, z in zip(region.start, region.stop)])
            part = Value(r.value.spec.like(shape), r.value.name + "_part", r.value.node, r.value.index)
            desc = Box(r.value, region.start, region.fn)
            self.roots.desc[part] = desc
            root = Root(part, "point", numel(shape), desc=desc, shape=shape, dests=r.dests, start=region.start, nodes=r.nodes)
            group = type(self.group)(-1, "kernel", [root], n=root.n)
            if root.n:
                out += Lowering(self.plan, self.roots, self.home, group, self.options).calls()
        return out

    def scatter(self, r: Root) -> list[KernelCall]:
        """The result's start, then every update in order."""
        d, v = r.desc, r.value
        args = v.node.args
        k = next((k for k in r.dests if k == self.home.get(v)), r.dests[0])
        buf = self.plan.buffers[k]
        there = isinstance(d.init, int) and self.home.get(args[d.init]) == k        # it is the very memory that is updated
        out = [] if there else self.start(r, k, Copy(args[d.init]) if isinstance(d.init, int) else Fill(d.init))
        at = self.index_of(d.shape, True)

        def load(j: int, i) -> Expr:
            a = args[j]
            return self.value(a, tuple(map(ix, i))) if isinstance(a, Value) else self.b.const(a, v.dtype)
        if numel(d.shape):
            self.b.out = v.index
            where, e = d.at(at, load)
            e = self.b.cast(e, build.compute_dtype(v.dtype))
            self.targets.append(Target("scatter", e, True, k, flatten(where, v.shape, buf.strides), d.op))
            self.checks()
            out.append(Emitter(self, sequential=True).call())
        for other in r.dests:
            if other != k:
                out += self.start(r, other, Copy(v), {**self.home, v: k})
        return out

    def start(self, r: Root, k: int, desc, home: dict | None = None) -> list[KernelCall]:
        """A scatter's result begins as a copy of another value, or full of one number."""
        v = r.value
        whole = Value(v.spec.like(), v.name + "_start")
        self.roots.desc[whole] = desc
        root = Root(whole, "point", numel(v.shape), desc=desc, shape=v.shape, dests=[k])
        group = type(self.group)(-1, "kernel", [root], n=root.n)
        calls = Lowering(self.plan, self.roots, home or self.home, group, self.options).calls() if root.n else []
        self.reset()
        return calls


def stored(e: Expr, buf: Buffer) -> Expr:
    """What to hand to Store, which rounds by itself."""
    if buf.dtype in dt.LOW_PRECISION and isinstance(e, build.Apply) and e.name == "cast" and e.args[0].dtype is buf.dtype:
        inner = e.args[0].args[0]
        return inner if inner.dtype is dt.float32 else e
    return e


def suffixes(shape) -> set[int]:
    """The sizes of a shape's trailing parts."""
    out, step = set(), 1
    for s in reversed(shape):
        step *= s
        out.add(step)
    return out


def chain(found: set[int]) -> set[int] | None:
    """The set, if each element divides the next."""
    last = 1
    for c in sorted(found):
        if not c or c % last:
            return None
        last = c
    return set(found)


def blocked(cuts: set[int], n: int, low: int = 256, high: int = 8192) -> set[int]:
    """With one more cut, so that a long space is rows of a few thousand elements, if its size allows."""
    rows = [c for c in cuts if c <= high]
    top = max(rows, default=1)
    if top >= low or n <= high:
        return cuts
    above = min((c for c in cuts if c > top), default=n)
    q = above // top
    best = max((f for f in divisors(q) if top * f <= high), default=1)
    return cuts | {top * best} if top * best >= 64 else cuts


def divisors(n: int) -> list[int]:
    out = []
    k = 1
    while k * k <= n:
        if n % k == 0:
            out += [k, n // k]
        k += 1
    return out

