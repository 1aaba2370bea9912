"""The loops of one kernel, before any statement: what is accessed, which dimensions are joined or cut, in what order they run.

In: a `Lowering`: targets, recipes and dimensions. Out: `Layout`: the outer and inner loops, and for every expression the
depths of the loops it depends on.

Depth. Loops are numbered from the outside, 1 to D; the axes of recipes come after. `mask(e)` is the set of depths that an
expression depends on, as bits; its highest bit says in which loop it must be computed.

True always: a joined dimension is one that no access tells apart from its neighbour; a cut one (`split`) is the sum of two loop
variables with coefficients; a kernel that reads and writes one buffer does so element by element, or `Hazard` is raised.
"""
from __future__ import annotations

from .ir import Apply, Expr, Index, Load, Var

DEEP = 40           # operations in one expression at most: beyond, parts get names


class Unlowered(Exception):
    """A group that cannot be one kernel; the message says why."""


class Hazard(Exception):
    """A write-back whose kernel still reads the old values elsewhere."""

    def __init__(self, buffer: int):
        super().__init__(f"buffer {buffer} is read at other places than it is written")
        self.buffer = buffer


class Layout:
    """What the loops of a kernel are."""

    def __init__(self, low, sequential: bool = False):
        self.low, self.plan, self.sequential = low, low.plan, sequential
        self.b = low.b
        self.targets = low.targets
        self.where = [self.b.index(t.index) if t.kind != "row" else Index() for t in self.targets]
        self.lets = {s.var: s.expr for s in self.b.lets}
        self.uses: dict = {}
        self.indices: list[Index] = []
        self.raw: set[str] = set()
        self.ops = 0
        for t, at in zip(self.targets, self.where):
            self.see_index(at)
            self.see(t.expr)
            if t.kind == "row":
                self.see(t.init)
        self.bits: dict[str, int] = {}
        self.masks: dict[int, int] = {}
        self.split: dict[str, tuple[tuple[str, int], ...]] = {}     # a dimension's loop variables, and by how much each counts
        self.join()
        self.landings: list[list[Expr]] = [self.deep(t.expr) if self.ops > DEEP else [] for t in self.targets]
        self.landed = {id(e) for es in self.landings for e in es}
        self.written = {f"#{t.buffer}" for t in self.targets if t.kind in ("store", "scatter")}
        self.hazards()

    # ------------------------------------------------------------------------------------------------ a first look
    def see(self, e: Expr) -> None:
        """Count how often each expression is used, and collect what is accessed."""
        todo = [e]
        while todo:
            e = todo.pop()
            k = id(e)
            n = self.uses.get(k, 0)
            self.uses[k] = n + 1
            if n:
                continue
            kind = type(e)
            if kind is Apply:
                self.ops += 1
                todo += e.args
            elif kind is Load:
                self.see_index(e.index)
            elif kind is Var:
                self.raw.add(e.name)
                r = self.low.recipes.get(e.name)
                if r is not None:
                    if self.uses.get(id(r), 0) == 0:
                        self.uses[id(r)] = 1
                        todo += (r.expr, r.init)
                else:
                    self.see_name(e.name)

    def see_index(self, i: Index) -> None:
        self.indices.append(i)
        for name, _ in i.terms:
            self.see_name(name)

    def see_name(self, name: str) -> None:
        e = self.lets.get(name)
        if e is not None and self.uses.get(name, 0) == 0:       # type: ignore[call-overload]
            self.uses[name] = 1                                 # type: ignore[index]
            self.see(e)

    def deep(self, e: Expr) -> list[Expr]:
        """Parts of a deep expression to name first, from the inside, so that no recursion goes deep."""
        height: dict[int, int] = {}
        out: list[Expr] = []
        todo = [(e, False)]
        while todo:
            e, ready = todo.pop()
            if type(e) is not Apply or not ready and id(e) in height:
                continue
            if not ready:
                height[id(e)] = 0
                todo.append((e, True))
                todo += [(a, False) for a in e.args]
                continue
            h = 1 + max([height.get(id(a), 0) for a in e.args], default=0)
            height[id(e)] = h % DEEP
            if h == DEEP:
                out.append(e)
                self.mask(e)
        return out

    # ------------------------------------------------------------------------------------------------ loops
    def join(self) -> None:
        """Join neighbouring dimensions that no access tells apart; number the loops."""
        low = self.low
        dims = [[name, e] for name, e in low.dims]
        if not low.group.c and self.targets and all(t.kind == "store" for t in self.targets):
            steps = dict(self.where[0].terms)       # in the order of the result's memory
            dims.sort(key=lambda d: -steps.get(d[0], 0))
        fence = self.fence()
        self.dropped: set[str] = set()
        maps = [dict(i.terms) for i in dict.fromkeys(self.indices)]
        out: list[list] = []
        outer = 0
        for k, (name, e) in enumerate(dims):
            if out and k != fence and name not in self.raw and out[-1][0] not in self.raw:
                before = out[-1][0]
                if all(m.get(before, 0) == m.get(name, 0) * e for m in maps):
                    self.dropped.add(before)
                    out[-1] = [name, e * out[-1][1]]
                    continue
            out.append([name, e])
            if k < low.outer:
                outer += 1
        accumulates = any(t.kind != "store" for t in self.targets)
        if not low.group.c:
            outer = max(len(out) - 1, 0)
        self.outer, self.inner = out[:outer], out[outer:]
        self.order_scatter()
        if not low.group.c and not accumulates:
            self.tile(maps)
            self.feed()
        self.collapsed: list[list] = []
        if len(self.outer) > 1 and not self.sequential and self.outer[0][1] < 8 * max(low.options.threads, 2):
            self.collapsed = self.outer
            total = 1
            for _, e in self.outer:
                total *= e
            self.outer = [["par", total]]
        if not self.outer and (accumulates or not self.inner):
            self.outer = [["par", 1]]
        depth = 0
        for name, _ in self.outer + self.inner:
            depth += 1
            self.bits[name] = 1 << depth
        for name, _ in self.collapsed:
            self.bits[name] = 2
        for name, parts in self.split.items():
            self.bits[name] = self.bits[parts[0][0]] | self.bits[parts[1][0]]
        self.depth = depth
        self.base = len(self.outer)
        for name in self.low.levels:                # rows' accumulators
            self.bits[name] = 1 << self.base
        extra = depth
        for r in self.low.recipes.values():
            for axis, _ in r.axes:
                extra += 1
                self.bits[axis] = 1 << extra

    def cut(self, name: str, extent: int, block: int) -> tuple[list, list]:
        """A dimension as two loops: over blocks, and within one."""
        high, low = f"{name}.blocks", f"{name}.block"
        self.split[name] = (high, block), (low, 1)
        return [high, extent // block], [low, block]

    def tile(self, maps: list[dict]) -> None:
        """Run in tiles where the innermost loop strides through memory that an outer one walks: a transposition."""
        if not self.outer or not self.inner:
            return
        name, extent = self.inner[-1]
        sizes = dict(map(tuple, self.outer))
        walker = next((u for m in maps if isinstance(m.get(name, 0), int) and abs(m.get(name, 0)) >= 8 for u, c in m.items()
                       if c == 1 and u in sizes), None)
        if walker is None or extent <= 256 or {name, walker} & self.raw:
            return
        wide, tall = divisor(extent, 64, 256), divisor(sizes[walker], 8, 16)
        if wide and tall:
            others = [d for d in self.outer if d[0] != walker]
            rows, row = self.cut(walker, sizes[walker], tall)
            blocks, block = self.cut(name, extent, wide)
            self.outer, self.inner = [*others, rows, blocks, row], [*self.inner[:-1], block]

    def feed(self) -> None:
        """Cut a long innermost loop where the outer ones are too few for the threads."""
        if not self.outer or self.split:
            return
        count = 1
        for _, e in self.outer:
            count *= e
        name, extent = self.inner[-1]
        wanted = 16 * self.low.options.threads
        if count < wanted and extent >= 4096 and name not in self.raw:
            block = divisor(extent, 512, max(extent * count // wanted, 1024))
            if block and block < extent:
                blocks, inside = self.cut(name, extent, block)
                self.outer, self.inner = [*self.outer, blocks], [*self.inner[:-1], inside]

    def fence(self) -> int:
        """The dimension that must not be joined with the one before it."""
        low = self.low
        if low.group.c:
            return low.outer
        if self.sequential:
            return len(low.dims) - 1
        if all(t.kind == "store" for t in self.targets):
            return -1
        size, k = 1, len(low.dims)                  # rows of a few thousand elements for what is accumulated
        while k > 0 and size * low.dims[k - 1][1] <= 8192:
            k -= 1
            size *= low.dims[k][1]
        return k if 0 < k < len(low.dims) else -1

    def order_scatter(self) -> None:
        """Scatters run in order; blocks of columns may run side by side where the last dimension is written as it is read."""
        self.lanes = True
        if not self.sequential:
            return
        k = next(k for k, t in enumerate(self.targets) if t.kind == "scatter")
        terms = dict(self.where[k].terms)
        last = self.inner[-1][0] if self.inner else ""
        safe = terms.get(last, 0) == 1 and not any(self.reaches(n, last) for n in terms if n != last)
        self.lanes = safe
        block = self.outer[-1] if self.outer else None
        if safe and block is not None and block[0] == self.low.columns and not any(
                self.reaches(n, block[0]) for n in terms if n != block[0]):
            self.outer = [block, *self.outer[:-1]]
        else:
            self.outer = [["par", 1], *self.outer]

    def reaches(self, name: str, var: str) -> bool:
        """Whether a name depends on a loop variable."""
        if name == var:
            return True
        e = self.lets.get(name)
        todo = [e] if e is not None else []
        while todo:
            x = todo.pop()
            if isinstance(x, Var):
                if self.reaches(x.name, var):
                    return True
            elif isinstance(x, Load):
                if any(self.reaches(n, var) for n, _ in x.index.terms):
                    return True
            elif isinstance(x, Apply):
                todo += x.args
        return False

    def mask(self, e: Expr) -> int:
        """The depths an expression depends on."""
        found = self.masks.get(id(e))
        if found is None:
            kind = type(e)
            if kind is Apply:
                found = 0
                for a in e.args:
                    found |= self.mask(a)
            elif kind is Load:
                found = self.index_mask(e.index)
            elif kind is Var:
                found = self.name_mask(e.name)
            else:
                found = 0
            self.masks[id(e)] = found
        return found

    def index_mask(self, i: Index) -> int:
        found = 0
        for name, _ in i.terms:
            if name not in self.dropped:
                found |= self.name_mask(name)
        return found

    def name_mask(self, name: str) -> int:
        found = self.bits.get(name)
        if found is None:
            r = self.low.recipes.get(name)
            if r is not None:
                found = self.mask(r.expr) | self.mask(r.init) | 2       # inside the outermost loop
                for axis, _ in r.axes:
                    found &= ~self.bits[axis]
            elif name in self.lets:
                found = self.mask(self.lets[name])
            else:
                found = 0
            self.bits[name] = found
        return found

    def hazards(self) -> None:
        """Buffers read and written: only element by element, and not read after the pass that writes."""
        writes = {}
        for t, at in zip(self.targets, self.where):
            if t.kind == "store":
                writes[f"#{t.buffer}"] = (at, t.level, t.full)
            elif t.kind == "scatter":
                places = [e for n, _ in at.terms if n in self.lets for e in self.reach(self.lets[n])]
                if any(e.buf == f"#{t.buffer}" for e in (*self.reach(t.expr), *places)):
                    raise Hazard(t.buffer)
        sums = {f"#{t.buffer}" for t in self.targets if t.kind == "accum"}
        if not writes and not sums:
            return
        for t in self.targets:
            for e in self.reach(t.expr):
                if e.buf in sums:
                    raise Hazard(int(e.buf[1:]))
                w = writes.get(e.buf)
                if w is not None and (e.index != w[0] or t.level > w[1] or t.full and not w[2]):
                    raise Hazard(int(e.buf[1:]))

    def reach(self, e: Expr):
        """The loads below an expression."""
        seen: set[int] = set()
        todo = [e]
        while todo:
            e = todo.pop()
            if id(e) in seen:
                continue
            seen.add(id(e))
            if type(e) is Load:
                yield e
                todo += [self.lets[n] for n, _ in e.index.terms if n in self.lets]
            elif type(e) is Apply:
                todo += e.args
            elif type(e) is Var:
                r = self.low.recipes.get(e.name)
                if r is not None:
                    todo += (r.expr, r.init)
                elif e.name in self.lets:
                    todo.append(self.lets[e.name])


def divisor(n: int, low: int, high: int) -> int:
    """The greatest divisor of `n` between two bounds; 0 if there is none."""
    return next((d for d in range(min(high, n), low - 1, -1) if n % d == 0), 0)
