"""From expressions to loops: the statements of one kernel.

In: a `Lowering` with its targets (what to store, combine, or accumulate per row) and recipes (reductions by inner loops),
and the loops that `Layout` makes for it. Out: a `KernelCall` with its `Kernel`.

True always: within a loop body, names come first, in the order of their use, then accumulations and stores; a buffer that
the kernel both reads and writes is read into names before the first store of the iteration.
"""
from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from ..core import dtype as dt
from . import ir
from .ir import Accum, AccumStore, Apply, Axis, Buf, Const, Expr, If, Index, Let, Load, Local, Loop, Store, Var
from .loops import Layout
from .plan import KernelCall

EXPENSIVE = frozenset(("exp", "exp2", "expm1", "log", "log2", "log10", "log1p", "tanh", "sinh", "cosh", "erf", "erfc", "sin", "cos",
                       "tan", "asin", "acos", "atan", "atan2", "pow", "sigmoid"))
STASH = 16384                       # elements of a row of scratch at most


@dataclass(slots=True, eq=False)
class Scope:
    """The body of a loop being written."""

    depth: int
    stmts: list = field(default_factory=list)
    names: dict[Any, Var] = field(default_factory=dict)     # of expressions (by id) and of builder's lets (by name)


class Emitter(Layout):
    """Writes one kernel."""

    def __init__(self, low, sequential: bool = False):
        super().__init__(low, sequential)
        self.counters: dict[str, int] = {}
        self.bufs: dict[str, str] = {}              # plan buffer -> its name here
        self.stash: dict[int, str] = {}             # expressions kept in scratch rows
        self.locals: list[Buf] = []
        self.stack: list[Scope] = []

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
        if self.uses.get(id(e), 0) > 1 or id(e) in self.landed or kind is Load and (e.buf in self.written or self.busy) or id(e) in self.stash:
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
            if name in self.split:
                terms += [(self.name(Var(part, dt.int64)).name, c * step) for part, step in self.split[name]]
            elif name not in self.dropped:
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
            if t.kind == "inner" and any(self.mask(t.expr).bit_length() - 1 == s.depth for s, _, _ in opened):
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
            for part in self.landings[self.targets.index(t)]:
                self.lin(part)
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
        looped, often = self.in_loops()
        flops = (self.ops + looped) * n
        for key, name in self.bufs.items():
            b = self.plan.buffers[int(key[1:])]
            size, offset = b.size, 0
            if b.role == "flag":
                offset = self.low.first_flag
                size = b.size - offset
            bufs.append(Buf(name, b.dtype, roles[name], size, inits.get(name)))
            ids.append(b.id)
            offsets.append(offset)
            bytes_ += min(b.size, max(n, 1) * often.get(key, 1)) * b.dtype.itemsize * (2 if roles[name] == "inout" else 1)
        kept = [x for x in self.locals if x.name in self.counters]
        sizes: tuple[str, ...] = ()
        values: tuple[int, ...] = ()
        body = tuple(top.stmts)
        if not self.outer and len(self.inner) == 1 and not kept:
            body, bufs, sizes, values, offsets = self.any_length(body, bufs, offsets)
        in_place = tuple(self.in_place())
        nodes = [x for r in self.low.group.roots for x in r.nodes]
        nodes = list(dict.fromkeys(nodes))
        names = list(dict.fromkeys(x.op.name for x in nodes)) or ["copy"]
        lines = tuple(dict.fromkeys(str(x.loc) for x in nodes if x.loc is not None))
        kernel = ir.Kernel("_".join(names[:4]), (*bufs, *kept), sizes, body, tuple(names), lines, flops, bytes_)
        return KernelCall(kernel, tuple(ids), values, tuple(offsets) if any(offsets) else (), tuple(nodes), flops, bytes_,
                          in_place)

    def in_loops(self) -> tuple[int, dict[str, int]]:
        """What the loops of recipes add, per element of the space: operations, and how often each buffer is read."""
        flops, often = 0, {}
        for r in self.low.recipes.values():
            size = 1
            for _, extent in r.axes:
                size *= extent
            for e in self.reach(r.expr):
                often[e.buf] = max(often.get(e.buf, 1), size)
            flops += (self.count(r.expr) + 1) * (size - 1)
        return flops, often

    @staticmethod
    def count(e: Expr) -> int:
        """Operations in an expression, shared ones once."""
        seen: dict[int, Expr] = {}
        todo = [e]
        while todo:
            e = todo.pop()
            if type(e) is Apply and id(e) not in seen:
                seen[id(e)] = e
                todo += e.args
        return len(seen)

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

    def any_length(self, body, bufs, offsets):
        """One loop over contiguous memory: its length is a run-time size, and where it begins is the caller's to say, so that
        one kernel serves all lengths and places."""
        loop = body[-1]
        n, var = loop.axis.extent, loop.axis.var
        same = body, bufs, (), (), offsets
        starts: dict[str, set] = {}
        for name, i in accesses(loop.body):
            if i.terms not in ((), ((var, 1),)) or not i.terms and i.const:
                return same
            if i.terms:
                starts.setdefault(name, set()).add(i.const)
        if n < 2 or mentions(loop.body, var) or any(len(s) > 1 for s in starts.values()):
            return same
        if starts.keys() & {name for s in body for name, i in accesses((s,)) if not i.terms}:
            return same
        begin = {name: s.pop() for name, s in starts.items()}
        if any(begin.values()):
            body = (*body[:-1], Loop(loop.axis, shifted(loop.body)))
            offsets = [o + begin.get(b.name, 0) for o, b in zip(offsets, bufs)]
            loop = body[-1]
        bufs = [Buf(b.name, b.dtype, b.role, "n", b.init) if b.name in begin else b for b in bufs]
        return (*body[:-1], Loop(Axis(var, "n", loop.axis.kind, loop.axis.vec), loop.body)), bufs, ("n",), (n,), offsets


def shifted(stmts):
    """A loop body whose indices begin at 0."""
    def expr(e: Expr) -> Expr:
        if type(e) is Load:
            return Load(e.buf, Index(0, e.index.terms), e.dtype) if e.index.terms else e
        return Apply(e.name, tuple(map(expr, e.args)), e.dtype) if type(e) is Apply else e
    out = []
    for s in stmts:
        if type(s) is Let:
            out.append(Let(s.var, expr(s.expr)))
        elif type(s) is Store:
            out.append(Store(s.buf, Index(0, s.index.terms), expr(s.expr)))
        else:
            raise AssertionError(f"a {type(s).__name__} in a loop of one level")
    return tuple(out)


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
