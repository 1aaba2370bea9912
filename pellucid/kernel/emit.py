"""From expressions to loops: the statements of one kernel.

In: a `Lowering` with its targets (what to store, combine, or accumulate per row), recipes (reductions by inner loops) and
dimensions. Out: a `KernelCall` with its `Kernel`.

Depth. Loops are numbered from the outside, 1 to D; the axes of recipes come after. `mask(e)` is the set of depths that an
expression depends on, as bits; its highest bit says in which loop it must be computed, and there it is put once.

True always: within a loop body, names come first, in the order of their use, then accumulations and stores; a buffer that
the kernel both reads and writes is read into names before the first store of the iteration.
"""
from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from ..core import dtype as dt
from ..core.spec import numel
from . import ir
from .index import Ix
from .ir import Accum, AccumStore, Apply, Axis, Buf, Const, Expr, If, Index, Let, Load, Local, Loop, Store, Var
from .plan import KernelCall

EXPENSIVE = frozenset(("exp", "exp2", "expm1", "log", "log2", "log10", "log1p", "tanh", "sinh", "cosh", "erf", "erfc", "sin", "cos",
                       "tan", "asin", "acos", "atan", "atan2", "pow", "sigmoid"))
STASH = 16384                       # elements of a row of scratch at most


class Unlowered(Exception):
    """A group that cannot be one kernel; the message says why."""


class Hazard(Exception):
    """A write-back whose kernel still reads the old values elsewhere."""

    def __init__(self, buffer: int):
        super().__init__(f"buffer {buffer} is read at other places than it is written")
        self.buffer = buffer


@dataclass(slots=True, eq=False)
class Scope:
    """The body of a loop being written."""

    depth: int
    stmts: list = field(default_factory=list)
    names: dict[Any, Var] = field(default_factory=dict)     # of expressions (by id) and of builder's lets (by name)


class Emitter:
    """Writes one kernel."""

    def __init__(self, low, sequential: bool = False):
        self.low, self.plan, self.sequential = low, low.plan, sequential
        self.b = low.b
        self.targets = low.targets
        self.where = [self.b.index(t.index) if t.kind != "row" else Index() for t in self.targets]
        self.lets = {s.var: s.expr for s in self.b.lets}
        self.uses: dict[int, int] = {}
        self.indices: list[Index] = []
        self.raw: set[str] = set()
        self.loads: dict[int, list[tuple[Load, int]]] = {}
        self.ops = 0
        for t, at in zip(self.targets, self.where):
            self.see_index(at)
            self.see(t.expr)
            if t.kind == "row":
                self.see(t.init)
        self.bits: dict[str, int] = {}
        self.masks: dict[int, int] = {}
        self.counters: dict[str, int] = {}
        self.bufs: dict[str, str] = {}              # plan buffer -> its name here
        self.stash: dict[int, str] = {}             # expressions kept in scratch rows
        self.locals: list[Buf] = []
        self.stack: list[Scope] = []
        self.join()
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

    # ------------------------------------------------------------------------------------------------ loops
    def join(self) -> None:
        """Join neighbouring dimensions that no access tells apart; number the loops."""
        low = self.low
        dims = [[name, e] for name, e in low.dims]
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
        self.depth = depth
        self.base = len(self.outer)
        for name in self.low.levels:                # rows' accumulators
            self.bits[name] = 1 << self.base
        extra = depth
        for r in self.low.recipes.values():
            for axis, _ in r.axes:
                extra += 1
                self.bits[axis] = 1 << extra

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

    # ------------------------------------------------------------------------------------------------ names
    def fresh(self, stem: str) -> str:
        n = self.counters.get(stem, 0)
        self.counters[stem] = n + 1
        return f"{stem}{n}"

    def buf(self, key: str) -> str:
        name = self.bufs.get(key)
        if name is None:
            name = self.bufs[key] = f"b{len(self.bufs)}"
        return name

    def known(self, key) -> Var | None:
        for s in reversed(self.stack):
            v = s.names.get(key)
            if v is not None:
                return v
        return None

    def scope_for(self, mask: int) -> int:
        """The place in the stack of the shallowest scope where everything of these depths is there."""
        depth = mask.bit_length() - 1
        for k, s in enumerate(self.stack):
            if s.depth >= depth:
                return k
        return len(self.stack) - 1

    def at_scope(self, k: int, work):
        """Run `work` with the k-th scope as the innermost."""
        rest = self.stack[k + 1:]
        del self.stack[k + 1:]
        try:
            return work()
        finally:
            self.stack += rest

    def bind(self, key, e: Expr) -> Var:
        """A name in the innermost scope."""
        v = Var(self.fresh("t"), e.dtype)
        self.stack[-1].stmts.append(Let(v.name, e))
        self.stack[-1].names[key] = v
        return v

    # ------------------------------------------------------------------------------------------------ expressions
    def lin(self, e: Expr) -> Expr:
        """An expression as it stands in the innermost scope: shared and invariant parts have names."""
        kind = type(e)
        if kind is Const:
            return e
        if kind is Var:
            return self.name(e)
        known = self.known(id(e))
        if known is not None:
            return known
        kept = self.stash.get(id(e))
        if kept is not None and kept in self.counters:          # an earlier pass has stored it
            return self.bind(id(e), Load(kept, self.row_index(), e.dtype))
        k = self.scope_for(self.mask(e))
        if k < len(self.stack) - 1:
            return self.at_scope(k, lambda: self.bind(id(e), self.parts(e)))
        new = self.parts(e)
        if self.uses.get(id(e), 0) > 1 or kind is Load and (e.buf in self.written or self.busy) or id(e) in self.stash:
            return self.bind(id(e), new)
        return new

    def parts(self, e: Expr) -> Expr:
        if type(e) is Load:
            return Load(self.buf(e.buf), self.index(e.index), e.dtype)
        return Apply(e.name, tuple([self.lin(a) for a in e.args]), e.dtype)

    def name(self, e: Var) -> Var:
        """A variable: of a loop, a let of the builder, an accumulator, a recipe."""
        found = self.known(e.name)
        if found is not None:
            return found
        r = self.low.recipes.get(e.name)
        if r is not None:
            k = self.scope_for(self.name_mask(e.name))
            return self.at_scope(k, lambda: self.recipe(r, e))
        if e.name in self.lets:
            expr = self.lets[e.name]
            k = self.scope_for(self.mask(expr))

            def make():
                out = self.lin(expr)
                if not isinstance(out, Var):
                    out = self.bind(e.name, out)
                else:
                    self.stack[-1].names[e.name] = out
                return out
            return self.at_scope(k, make)
        raise AssertionError(f"{e.name} is not in scope")

    def index(self, i: Index) -> Index:
        terms = []
        for name, c in i.terms:
            if name not in self.dropped:
                terms.append((self.name(Var(name, dt.int64)).name, c))
        return Index(i.const, tuple(terms))

    def recipe(self, r, e: Var) -> Var:
        """A reduction by loops, here."""
        v = Var(self.fresh("q"), e.dtype)
        here = self.stack[-1]
        here.stmts.append(Local(v.name, self.lin(r.init)))
        opened = []
        for axis, extent in r.axes:
            name = self.fresh("k")
            s = Scope(self.bits[axis].bit_length() - 1)
            s.names[axis] = Var(name, dt.int64)
            self.stack.append(s)
            opened.append((s, name, extent))
        busy, self.busy = self.busy, False
        expr = self.lin(r.expr)
        self.stack[-1].stmts.append(Accum(v.name, r.op, expr))
        for t, at in zip(self.targets, self.where):
            if t.kind == "inner" and opened and self.mask(t.expr).bit_length() - 1 == self.stack[-1].depth:
                self.finish(t, at)
        self.busy = busy
        vec = here.depth <= self.base and bool(opened) and opened[-1][2] >= 8
        for s, name, extent in reversed(opened):
            self.stack.pop()
            self.stack[-1].stmts.append(Loop(Axis(name, extent, "red", vec), tuple(s.stmts)))
            vec = False
        here.names[e.name] = v
        return v

    # ------------------------------------------------------------------------------------------------ the kernel
    def call(self) -> KernelCall:
        self.busy = False
        for t, at in zip(self.targets, self.where):
            if t.kind == "accum" and t.op in ("max", "min", "and", "or") and (self.mask(t.expr) | self.index_mask(at)) >> self.base <= 1:
                t.full = t.full and not self.outer          # the same for all of a row: once is enough
            if t.kind == "accum" and self.mask(t.expr) >> (self.depth + 1):
                t.kind, t.full = "inner", False             # a check within a recipe's loop
        top = Scope(0)
        self.stack = [top]
        loops = self.open(self.outer)
        for k, (name, e) in enumerate(self.collapsed):
            step = 1
            for _, n in self.collapsed[k + 1:]:
                step *= n
            p: Expr = self.stack[-1].names["par"]
            if step > 1:
                p = Apply("floordiv", (p, Const(step, dt.int64)), dt.int64)
            if k:
                p = Apply("mod", (p, Const(e, dt.int64)), dt.int64)
            self.bind(name, p)
        self.passes()
        for t, at in zip(self.targets, self.where):
            if not t.full and not t.once and t.kind != "inner":
                self.finish(t, at)
        if loops:
            self.at_scope(1, self.riders)
        self.close(loops, outermost=True)
        return self.kernel(top)

    def riders(self) -> None:
        """Single numbers, stored by the first iteration."""
        done = [Store(self.buf(f"#{t.buffer}"), self.index(at), self.lin(t.expr)) for t, at in zip(self.targets, self.where) if t.once]
        if done:
            first = next(iter(self.stack[-1].names.values()))
            cond = Apply("eq", (first, Const(0, dt.int64)), dt.bool_)
            self.stack[-1].stmts.append(If(cond, tuple(done)))

    def open(self, dims) -> list:
        loops = []
        for name, e in dims:
            s = Scope(len(self.stack))
            v = Var(self.fresh("i"), dt.int64)
            s.names[name] = v
            self.stack.append(s)
            loops.append((s, v.name, e))
        return loops

    def close(self, loops, outermost: bool = False, kind: str = "seq", vec: bool = False) -> None:
        for k in range(len(loops) - 1, -1, -1):
            s, name, e = loops[k]
            self.stack.pop()
            par = outermost and k == 0
            axis = Axis(name, e, "par" if par else kind, vec and k == len(loops) - 1)
            self.stack[-1].stmts.append(Loop(axis, tuple(s.stmts)))

    def passes(self) -> None:
        """One loop over the row for every level."""
        work: dict[int, list[int]] = {}
        for k, t in enumerate(self.targets):
            if t.full:
                work.setdefault(t.level, []).append(k)
        self.find_stash(work)
        for level in sorted(work):
            self.one_pass([(self.targets[k], self.where[k]) for k in work[level]])
            for name in self.pending:
                self.counters[name] = 1
            self.pending = []

    def one_pass(self, todo: list) -> None:
        base = self.stack[-1]
        rows = [t for t, _ in todo if t.kind == "row"]
        for t in rows:
            v = Var(self.fresh("a"), t.expr.dtype)
            base.stmts.append(Local(v.name, self.lin(t.init)))
            base.names[t.name] = v
        single = not self.outer
        accs = [(t, at, max(self.index_mask(at).bit_length() - 1, self.base)) for t, at in todo if t.kind == "accum"]
        held: dict[int, list] = {}
        local: dict[int, Var] = {}
        deepest = self.base + len(self.inner)
        for t, at, depth in accs:
            if depth < deepest and self.inner:
                held.setdefault(depth, []).append((t, at))
        loops = []
        depth = self.base

        def declare(depth):
            for t, _ in held.get(depth, ()):
                v = Var(self.fresh("a"), t.expr.dtype)
                self.stack[-1].stmts.append(Local(v.name, Const(t.init, t.expr.dtype)))
                local[id(t)] = v
        declare(depth)
        for dim in self.inner:
            loops += self.open([dim])
            depth += 1
            if depth < deepest:
                declare(depth)
        self.busy = len(todo) > 1
        done = []
        for t, at in todo:
            e = self.lin(t.expr)
            if t.kind == "row":
                done.append(Accum(base.names[t.name].name, t.op, e))
            elif id(t) in local:
                done.append(Accum(local[id(t)].name, t.op, e))
            elif t.kind == "accum":
                done.append(AccumStore(self.buf(f"#{t.buffer}"), self.index(at), t.op, e))
            elif t.kind == "scatter":
                done.append(self.update(t, at, e))
            else:
                done.append(Store(self.buf(f"#{t.buffer}"), self.index(at), e))
        self.busy = False
        self.stack[-1].stmts += self.keep() + done
        reduces = bool(rows or local)
        while loops:
            last = len(loops) == len(self.inner)
            self.close([loops.pop()], outermost=single and not loops, kind="red" if reduces else "seq", vec=last and self.lanes)
            depth -= 1
            for t, at in held.get(depth, ()):
                self.stack[-1].stmts.append(AccumStore(self.buf(f"#{t.buffer}"), self.index(at), t.op, local[id(t)]))

    def update(self, t, at: Index, e: Expr) -> Store:
        """One element of a scatter: read, combine, write."""
        name, i = self.buf(f"#{t.buffer}"), self.index(at)
        if t.op != "set":
            d = e.dtype
            e = Apply(t.op, (Load(name, i, d), e), d)
        return Store(name, i, e)

    def finish(self, t, at: Index) -> None:
        """What is done once per row."""
        e = self.lin(t.expr)
        name = self.buf(f"#{t.buffer}")
        i = self.index(at)
        self.stack[-1].stmts.append(Store(name, i, e) if t.kind == "store" else AccumStore(name, i, t.op, e))

    # ------------------------------------------------------------------------------------------------ scratch rows
    def find_stash(self, work: dict[int, list[int]]) -> None:
        """Expensive values that several passes need: computed once, kept in a row of scratch."""
        self.pending: list[str] = []
        if len(work) < 2:
            return
        row = 1
        for _, e in self.inner:
            row *= e
        if row > STASH:
            return
        first: dict[int, int] = {}
        for level in sorted(work):
            seen: set[int] = set()
            todo: list[Expr] = [self.targets[k].expr for k in work[level]]
            while todo:
                e = todo.pop()
                if id(e) in seen or type(e) is not Apply:
                    continue
                seen.add(id(e))
                if e.name in EXPENSIVE and self.mask(e) >> (self.base + 1):
                    if first.setdefault(id(e), level) < level:
                        self.stash.setdefault(id(e), f"s{len(self.stash)}")
                        continue
                todo += e.args
        for name in self.stash.values():
            self.locals.append(Buf(name, dt.float32, "local", row))
        self.row_size = row

    def row_index(self) -> Index:
        """The place in the row, as an index."""
        step, terms = 1, []
        for name, e in reversed(self.inner):
            terms.append((self.known(name).name, step))
            step *= e
        return Index(0, tuple(reversed(terms)))

    def keep(self) -> list:
        """Stores of this pass's values that later passes need."""
        out = []
        for key, name in self.stash.items():
            if name not in self.counters and name not in self.pending:
                v = self.stack[-1].names.get(key)
                if v is not None:
                    out.append(Store(name, self.row_index(), v))
                    self.pending.append(name)
                    for k, b in enumerate(self.locals):
                        if b.name == name:
                            self.locals[k] = Buf(name, v.dtype, "local", b.size)
        return out

    # ------------------------------------------------------------------------------------------------ parameters
    def kernel(self, top: Scope) -> KernelCall:
        roles: dict[str, str] = {}
        inits: dict[str, Any] = {}
        accessed(top.stmts, roles)
        for t in self.targets:
            if t.kind in ("accum", "inner"):
                inits[self.bufs[f"#{t.buffer}"]] = t.init
        bufs, ids, offsets = [], [], []
        bytes_ = 0
        n = self.low.group.n
        for key, name in self.bufs.items():
            b = self.plan.buffers[int(key[1:])]
            size, offset = b.size, 0
            if b.role == "flag":
                offset = self.low.first_flag
                size = b.size - offset
            bufs.append(Buf(name, b.dtype, roles[name], size, inits.get(name)))
            ids.append(b.id)
            offsets.append(offset)
            bytes_ += min(b.size, max(n, 1)) * b.dtype.itemsize * (2 if roles[name] == "inout" else 1)
        kept = [x for x in self.locals if x.name in self.counters]
        sizes: tuple[str, ...] = ()
        values: tuple[int, ...] = ()
        body = tuple(top.stmts)
        if not self.outer and len(self.inner) == 1 and not kept:
            body, bufs, sizes, values = self.any_length(body, bufs, ids)
        in_place = tuple(self.in_place())
        nodes = [x for r in self.low.group.roots for x in r.nodes]
        nodes = list(dict.fromkeys(nodes))
        names = list(dict.fromkeys(x.op.name for x in nodes)) or ["copy"]
        lines = tuple(dict.fromkeys(str(x.loc) for x in nodes if x.loc is not None))
        kernel = ir.Kernel("_".join(names[:4]), (*bufs, *kept), sizes, body, tuple(names), lines, self.ops * n, bytes_)
        return KernelCall(kernel, tuple(ids), values, tuple(offsets) if any(offsets) else (), tuple(nodes), self.ops * n, bytes_,
                          in_place)

    def in_place(self):
        """Pairs (written, read) of buffers whose elements are read before the same element is written."""
        reads: dict[str, list] = {}
        for t in self.targets:
            for e in self.reach(t.expr):
                reads.setdefault(e.buf, []).append((e.index, t.level, t.full))
        for t, at in zip(self.targets, self.where):
            if t.kind != "store" or not t.full or self.plan.buffers[t.buffer].role != "arena":
                continue
            for key, found in reads.items():
                b = self.plan.buffers[int(key[1:])]
                if b.role == "arena" and b.dtype.itemsize == self.plan.buffers[t.buffer].dtype.itemsize and all(
                        i == at and level <= t.level and full for i, level, full in found):
                    yield t.buffer, b.id

    def any_length(self, body, bufs, ids):
        """One loop over contiguous memory: its length is a run-time size, so that one kernel serves all lengths."""
        loop = body[-1]
        n = loop.axis.extent
        var = loop.axis.var
        if n < 2 or any(i.const or i.terms not in ((), ((var, 1),)) for i in indices(loop.body)) or mentions(loop.body, var):
            return body, bufs, (), ()
        whole = {b for b, i in accesses(loop.body) if i.terms}
        if any(b.size != n for b in bufs if b.name in whole):
            return body, bufs, (), ()
        bufs = [Buf(b.name, b.dtype, b.role, "n", b.init) if b.name in whole else b for b in bufs]
        return (*body[:-1], Loop(Axis(var, "n", loop.axis.kind, loop.axis.vec), loop.body)), bufs, ("n",), (n,)


def accessed(stmts, roles: dict[str, str]) -> None:
    """What each buffer is used for."""
    def read(e: Expr) -> None:
        if type(e) is Load:
            roles[e.buf] = "inout" if roles.get(e.buf) in ("out", "inout") else "in"
        elif type(e) is Apply:
            for a in e.args:
                read(a)
    for s in stmts:
        kind = type(s)
        if kind is Loop or kind is If:
            accessed(s.body, roles)
            continue
        read(s.init if kind is Local else s.expr)
        if kind is Store or kind is AccumStore:
            roles[s.buf] = "inout" if roles.get(s.buf) in ("in", "inout") else "out"


def accesses(stmts):
    """(buffer, index) of every load and store."""
    for s in stmts:
        kind = type(s)
        if kind is Loop:
            yield from accesses(s.body)
            continue
        if kind is Store or kind is AccumStore:
            yield s.buf, s.index
        todo = [s.init if kind is Local else s.expr]
        while todo:
            e = todo.pop()
            if type(e) is Load:
                yield e.buf, e.index
            elif type(e) is Apply:
                todo += e.args


def indices(stmts):
    return (i for _, i in accesses(stmts))


def mentions(stmts, var: str) -> bool:
    """Whether a loop variable is used as a number."""
    todo = [s.init if type(s) is Local else s.expr for s in stmts if type(s) is not Loop]
    if any(type(s) is Loop for s in stmts):
        return True
    while todo:
        e = todo.pop()
        if type(e) is Var and e.name == var:
            return True
        if type(e) is Apply:
            todo += e.args
    return False


__all__ = ["Emitter", "Hazard", "Ix", "Unlowered", "numel"]
