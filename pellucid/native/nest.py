"""Walks a loop nest and writes it: lanes for the vec axis, registers for sums, what does not change in front of its loop.

In: statements of loop IR and a `Writer`. Out: LLVM text in the writer. One `Nest` serves one function.

True always: statements keep their order; a loop along lanes reads before it writes, vector by vector; lanes beyond the extent
load and store nothing. What cannot run in lanes (a scan, a scatter that may collide) runs one element at a time.
"""
from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from ..core import dtype as dt
from ..core.dtype import dtype
from ..kernel import mathfn
from ..kernel.ir import MATH, Accum, AccumStore, Apply, Buf, Const, Expr, If, Index, Kernel, Let, Load, Local, Loop, Size, Stmt, Store, Var
from ..kernel.walk import expressions, parts, statements
from .analysis import LONG, bound, held, independent, lane_count, lift, neutral, read_again, trips, vectors_per_turn, written
from .numeric import Num
from .ssa import Slot, Writer
from .symbolic import SymInt

STREAM = 16 << 20   # bytes: outputs beyond it bypass the cache


class Register:
    """A Local: a slot, or one of float64 behind a long float32 sum."""

    __slots__ = ("slot", "dtype", "wide")

    def __init__(self, slot: Slot, d: dtype, wide: bool):
        self.slot, self.dtype, self.wide = slot, d, wide

    def get(self) -> Num:
        x = self.slot.get()
        return x.w.cast(x, self.dtype) if self.wide else x

    def set(self, x: Num) -> None:
        self.slot.set(x.w.cast(x, self.slot.dtype))


class Lanes:
    """The vec axis while its body is written: which elements the lanes hold."""

    __slots__ = ("var", "lanes", "base", "mask", "tail", "sums", "stream", "_number")

    def __init__(self, var: str, lanes: int, base: Num, mask: Num | None, sums: dict[str, Slot], stream: frozenset[str] = frozenset()):
        self.var, self.lanes, self.base, self.mask, self.tail, self.sums, self.stream = var, lanes, base, mask, mask, sums, stream
        self._number: Num | None = None

    def number(self) -> Num:
        """The axis' variable, lane by lane."""
        if self._number is None:
            w = self.base.w
            self._number = w.spread(self.base, self.lanes) + w.iota(self.lanes)
        return self._number


class State:
    """What differs between the vectors that one iteration of a main loop takes: their lanes, names and kept expressions."""

    __slots__ = ("vec", "env", "kept", "bases")

    def __init__(self, vec: Lanes | None, env: dict[str, Any], kept: dict[int, Num], bases: dict[tuple, str]):
        self.vec, self.env, self.kept, self.bases = vec, env, kept, bases


class Nest:
    """Writes statements. `pointers` are the buffers' addresses, `sizes` the run-time sizes. `partials`: the buffers whose
    AccumStores go to a partial copy, and its (address, dtype). `overlap`: buffers that may share memory with others."""

    def __init__(self, w: Writer, kernel: Kernel, pointers: dict[str, str], sizes: dict[str, Num],
                 partials: dict[str, tuple[str, dtype]], overlap: frozenset[str] = frozenset()):
        self.w, self.pointers, self.sizes, self.overlap = w, dict(pointers), sizes, overlap
        self.bufs: dict[str, Buf] = {b.name: b for b in kernel.bufs}
        self.partials = {}
        for name, (address, d) in partials.items():
            self.partials[name] = "partial:" + name
            self.pointers["partial:" + name] = address
            self.bufs["partial:" + name] = replace(self.bufs[name], dtype=d)
        self.read = {e.buf for s in statements(kernel.body) for e in parts(expressions(s)) if isinstance(e, Load)}
        self.env: dict[str, Any] = {}
        self.vec: Lanes | None = None
        self.kept: dict[int, Num] = {}                # expressions in front of the loop that is being written
        self.bases: dict[tuple, str] = {}             # and addresses
        self.inverses: dict[int, tuple] = {}          # of divisors that the loop in lanes does not change
        self.changing: set[str] = set()               # the names that the innermost loop gives values to
        self.memo: dict[int, Num] = {}                # expressions of the statement that is being written
        self.ranges: dict[str, tuple[int, int]] = {}  # of int64 names, as far as sizes are numbers
        self.states: list[State] = []                 # several vectors at once: each statement is written for all of them
        self.streamed = False
        self.ahead: dict[str, dict[str, int]] = {}    # rows to fetch in time: by the loop that does it, how far away the next is
        self.fetched: dict[str, int] = {}             # those of the loop in lanes that is being written

    # ------------------------------------------------------------------------------------------------ numbers
    def size(self, n: Size) -> Num:
        return self.w.int(n) if isinstance(n, int) else self.sizes[n]

    def name(self, name: str) -> Num:
        if self.vec is not None and name == self.vec.var:
            return self.vec.number()
        v = self.env.get(name)
        if v is None:
            return self.sizes[name]
        return v.get() if isinstance(v, Register) else v

    def leaf(self, e: Expr) -> Num | None:
        """What can be had without computing."""
        found = self.kept.get(id(e)) or self.memo.get(id(e))
        if found is not None:
            return found
        if isinstance(e, Const):
            return self.w.const(e.value, held(e.dtype))
        if isinstance(e, Var):
            return self.name(e.name)
        if isinstance(e, Load):
            v = self.memo[id(e)] = self.load(e)
            return v
        return None

    def expr(self, e: Expr) -> Num:
        v = self.leaf(e)
        stack = [] if v is not None else [e]
        while stack:
            top = stack[-1]
            args = [self.leaf(a) for a in top.args]
            missing = [a for a, v in zip(top.args, args) if v is None]
            if missing:
                stack += missing
            else:
                if id(top) not in self.memo:
                    self.memo[id(top)] = self.apply(top, args)
                v = self.memo[id(top)]
                stack.pop()
        return v

    def apply(self, e: Apply, args: list[Num]) -> Num:
        w, name, d = self.w, e.name, e.dtype
        if name in ("add", "sub", "mul"):
            return w.arith(name, *args)
        if name in ("lt", "le", "gt", "ge", "eq", "ne"):
            return w.compare(name, *args)
        if name == "select":
            return w.select(*args)
        if name == "cast":
            return w.cast(args[0], d)
        if name in ("max", "min", "maxnum", "minnum"):
            return w.extreme(name, *args)
        if name in MATH:
            if name == "pow" and not d.is_floating_point:
                return w.integer_power(*w.pair(*args))
            return mathfn.call(w, name, *(w.pair(*args) if len(args) == 2 else args))
        if name in ("div", "floordiv", "mod", "rem"):
            a, b = w.pair(*args)
            if d.is_floating_point:
                if name != "div":
                    return mathfn.call(w, name, a, b)
                inverse = self.inverses.get(id(e.args[1]))
                return w.arith("div", a, b) if inverse is None else w.by_inverse(a, *inverse)
            return self.whole_quotient(name, e, a, b)
        if name in ("and", "or", "xor"):
            return w.bits2(name, *args)
        if name in ("shl", "shr"):
            return w.shift(name, *args)
        if name == "not":
            return w.invert(args[0])
        if name == "bitcast":
            return w.bitcast(args[0], d)
        if name == "copysign":
            return w.intrinsic("copysign", *w.pair(*args))
        return getattr(w, name)(*args)                # neg, abs, fma, isnan

    def whole_quotient(self, name: str, e: Apply, a: Num, b: Num) -> Num:
        """A quotient or remainder of integers: of a small index in 32 bits, of one that is not negative without corrections."""
        w = self.w
        by = e.args[1]
        size = isinstance(by, Var) and by.name in self.sizes
        if isinstance(by, Const) and isinstance(by.value, SymInt):
            if a.lanes > 1:                           # lanes divide by constants only: there is no instruction for it
                b = w.spread(w.const(int(by.value), by.dtype), a.lanes)
            size = by.value > 0
        if e.dtype is dt.int64 and (size or (b.const or 0) > 0):
            r = self.range_of(e.args[0])
            code = "udiv" if name in ("div", "floordiv") else "urem"
            if r is not None and r[0] >= 0:
                if a.lanes > 1 and b.const is not None and max(r[1], b.const) < 2 ** 31:
                    a, b = w.cast(a, dt.uint32), w.spread(w.const(b.const, dt.uint32), a.lanes)
                    return w.cast(w.op(f"{code} {a.ty} {a.text}, {b.text}", dt.uint32, a.lanes), dt.int64)
                return w.op(f"{code} {a.ty} {a.text}, {b.text}", dt.int64, a.lanes)
            return w.divide(name, a, b)               # sizes are positive
        return w.quotient(name, a, b)

    def range_of(self, e: Expr) -> tuple[int, int] | None:
        """The least and greatest value of an int64 expression, if that is known."""
        if isinstance(e, Const):
            return e.value, e.value
        if isinstance(e, Var):
            return self.ranges.get(e.name)
        if not isinstance(e, Apply) or e.dtype is not dt.int64 or e.name not in ("add", "sub", "mul", "floordiv", "mod", "min", "max"):
            return None
        a, b = self.range_of(e.args[0]), self.range_of(e.args[1])
        if e.name == "mod" and b is not None and b[0] == b[1] > 0:
            return 0, b[0] - 1 if a is None or a[0] < 0 else min(a[1], b[0] - 1)
        if a is None or b is None:
            return None
        if e.name == "add":
            return a[0] + b[0], a[1] + b[1]
        if e.name == "sub":
            return a[0] - b[1], a[1] - b[0]
        if e.name == "mul":
            ends = [x * y for x in a for y in b]
            return min(ends), max(ends)
        if e.name == "floordiv":
            return (a[0] // b[0], a[1] // b[0]) if b[0] == b[1] > 0 else None
        f = min if e.name == "min" else max
        return f(a[0], b[0]), f(a[1], b[1])

    # ------------------------------------------------------------------------------------------------ memory
    def in_lanes(self, name: str) -> bool:
        """Whether a name's value differs from lane to lane (the vec axis itself apart)."""
        v = self.env.get(name)
        lanes = v.slot.lanes if isinstance(v, Register) else v.lanes if v is not None else 1
        return self.vec is not None and lanes > 1 and name != self.vec.var

    def scalar(self, name: str) -> Num:
        return self.vec.base if self.vec is not None and name == self.vec.var else self.name(name)

    def base(self, buf: str, const: Size, steady: tuple) -> str:
        """The address that part of an index leads to."""
        p = self.bases.get((buf, const, steady))
        if p is None:
            at = self.size(const)
            for name, c in steady:
                at = at + self.scalar(name) * self.size(c)
            p = self.w.at(self.pointers[buf], at, self.bufs[buf].dtype)
        return p

    def place(self, buf: str, index: Index) -> tuple[str, Num | None, bool]:
        """(address, what lanes add to it if they are not neighbours, whether they are neighbours)."""
        w = self.w
        steady, moving, many, apart = [], [], None, w.int(0)
        for term in index.terms:
            name, c = term
            if self.in_lanes(name):
                v = self.name(name)
                r = self.ranges.get(name)
                small = r is not None and isinstance(c, int) and max(abs(r[0] * c), abs(r[1] * c)) < 2 ** 27
                if small and (many is None or many.dtype is dt.int32):     # offsets of 32 bits: twice as many lanes in a gather
                    v = w.cast(v, dt.int32)
                v = v * (self.size(c) if v.dtype is dt.int64 else c) if c != 1 else v
                many = v if many is None else w.cast(many, dt.int64) + w.cast(v, dt.int64) if many.dtype is not v.dtype else many + v
                continue
            (moving if name in self.changing else steady).append(term)
            if self.vec is not None and name == self.vec.var:
                apart = apart + self.size(c)
        p = self.base(buf, index.const, tuple(steady))
        if moving:
            at = w.int(0)
            for name, c in moving:
                at = at + self.scalar(name) * self.size(c)
            p = w.at(p, at, self.bufs[buf].dtype)
        if many is None and apart.const in (0, 1):
            return p, None, apart.const == 1
        lanes = self.vec.lanes
        if many is not None and apart.const == 0:
            return p, many, False
        own = w.iota(lanes) * apart if apart.const is None else w.iota(lanes, apart.const)
        return p, own if many is None else w.cast(many, dt.int64) + own, False

    def load(self, e: Load) -> Num:
        d = self.bufs[e.buf].dtype
        p, own, neighbours = self.place(e.buf, e.index)
        if own is not None:
            return self.w.gather(p, own, d, self.vec.mask)
        if neighbours and e.buf in self.fetched:
            self.w.prefetch(self.w.at(p, self.w.int(self.fetched[e.buf]), d))
        return self.w.load(p, d, self.vec.lanes, self.vec.mask) if neighbours else self.w.load(p, d)

    def store(self, s: Store) -> None:
        w, d = self.w, self.bufs[s.buf].dtype
        x = self.expr(s.expr)
        p, own, neighbours = self.place(s.buf, s.index)
        if own is not None:
            w.scatter(x, p, own, d, self.vec.mask)
        elif neighbours:
            w.store(w.spread(x, self.vec.lanes), p, d, self.vec.mask, s.buf in self.vec.stream)
        else:
            w.store(x, p, d)

    def accum_store(self, s: AccumStore) -> None:
        w = self.w
        x = self.expr(s.expr)
        buf = self.partials.get(s.buf, s.buf)
        d = self.bufs[buf].dtype
        p, own, neighbours = self.place(buf, s.index)
        lanes, mask = (self.vec.lanes, self.vec.mask) if own is not None or neighbours else (1, None)
        if s.op == "set":
            old = x
        elif own is not None:
            old = w.gather(p, own, d, mask)
        else:
            old = w.load(p, d, lanes, mask)
        x = w.spread(w.cast(x, held(d)), lanes)
        new = x if s.op == "set" else w.combine(s.op, old, x)
        if own is not None:
            w.scatter(new, p, own, d, mask)
        else:
            w.store(new, p, d, mask)

    # ------------------------------------------------------------------------------------------------ statements
    def block(self, body: Sequence[Stmt]) -> None:
        for k, s in enumerate(body):
            if isinstance(s, Loop):
                before, loop, after = lift(s, self.bufs)
                for local in before:
                    self.each(self.local, local, (loop,))
                self.loop(loop, self.w.int(0), self.size(loop.axis.extent))
                for last in after:
                    self.each(self.accum_store, last)
            else:
                self.each(self.statement, s, body[k + 1:])

    def each(self, write, *args) -> None:
        """Call `write` for each of the vectors at hand."""
        if not self.states:
            self.memo = {}
            write(*args)
            self.memo = {}
            return
        states, self.states = self.states, []
        for state in states:
            self.memo = {}
            self.vec, self.env, self.kept, self.bases = state.vec, state.env, state.kept, state.bases
            write(*args)
            state.kept, state.bases = self.kept, self.bases
        self.memo = {}
        self.states = states

    def statement(self, s: Stmt, rest: Sequence[Stmt]) -> None:
        if isinstance(s, Let):
            self.env[s.var] = self.expr(s.expr)
            r = self.range_of(s.expr) if s.expr.dtype is dt.int64 else None
            if r is not None:
                self.ranges[s.var] = r
            else:
                self.ranges.pop(s.var, None)
        elif isinstance(s, Store):
            self.store(s)
        elif isinstance(s, Local):
            self.local(s, rest)
        elif isinstance(s, Accum):
            self.accum(s)
        elif isinstance(s, AccumStore):
            self.accum_store(s)
        else:
            self.branch(s)

    def local(self, s: Local, rest: Sequence[Stmt]) -> None:
        x = self.expr(s.init)
        lanes = 1 if self.vec is None else self.vec.lanes
        d = held(s.init.dtype)
        sums = [t for t in statements(rest) if isinstance(t, Accum) and t.var == s.var]
        wide = d is dt.float32 and bool(sums) and all(t.op == "add" for t in sums) and trips(rest, s.var, 16 * self.w.isa.bits // 32) > LONG
        r = Register(self.w.slot(dt.float64 if wide else d, lanes), d, wide)
        r.set(x)
        self.env[s.var] = r

    def accum(self, s: Accum) -> None:
        w, r = self.w, self.env[s.var]
        x = self.expr(s.expr)
        slot, guard = r.slot, None
        if self.vec is not None:
            if slot.lanes == 1 and s.var in self.vec.sums:
                slot, guard = self.vec.sums[s.var], self.vec.mask
            elif self.vec.mask is not self.vec.tail:
                guard = self.vec.mask
        x = w.spread(w.cast(x, slot.dtype), slot.lanes)
        if s.op == "set" and guard is None:
            slot.set(x)
            return
        old = slot.get()
        new = x if s.op == "set" else w.combine(s.op, old, x)
        slot.set(new if guard is None else w.select(guard, new, old))

    def branch(self, s: If) -> None:
        cond = self.expr(s.cond)
        if cond.lanes == 1:
            with self.w.when(cond):
                self.block(s.body)
            return
        vec, mask = self.vec, self.vec.mask
        vec.mask = cond if mask is None else mask & cond
        self.block(s.body)
        vec.mask = mask

    # ------------------------------------------------------------------------------------------------ loops
    def loop(self, loop: Loop, lo: Num, hi: Num) -> None:
        """A loop over [lo, hi)."""
        static = lo.const is not None and hi.const is not None
        if static and lo.const >= hi.const:
            return
        if isinstance(loop.axis.extent, int):
            self.ranges[loop.axis.var] = 0, loop.axis.extent - 1
        else:
            self.ranges.pop(loop.axis.var, None)
        lanes = 1
        if loop.axis.vec and self.vec is None and not self.states and independent(loop):
            lanes = lane_count(loop, self.bufs, self.w.isa.bits)
        if lanes > 1:
            self.vector_loop(loop, lo, hi, lanes)
        elif static or lo.const == 0 and isinstance(loop.axis.extent, int) and loop.axis.extent > 0:
            self.plain_loop(loop, lo, hi)
        else:
            with self.w.when(lo < hi):
                self.plain_loop(loop, lo, hi)

    def plain_loop(self, loop: Loop, lo: Num, hi: Num) -> None:
        outer: list[tuple] = []
        self.each(lambda: outer.append(self.enter(loop)))
        self.changing = bound((loop,))
        if self.vec is None and not self.states:
            self.ahead = read_again(loop, self.bufs)
        if lo.const is not None and hi.const == lo.const + 1:
            self.each(self.bind, loop.axis.var, lo)
            self.block(loop.body)
        else:
            with self.w.loop(lo, hi, 1) as i:
                self.each(self.bind, loop.axis.var, i)
                self.block(loop.body)
        self.each(lambda: self.leave(outer.pop(0)))

    def bind(self, name: str, x: Num) -> None:
        self.env[name] = x

    def enter(self, loop: Loop) -> tuple:
        """Write what the loop does not change in front of it, and remember it while the body is written; then `changing` is
        to become what the loop changes."""
        outer = self.kept, self.bases, self.changing
        changing = bound((loop,))
        stored = written(loop.body)
        if stored & self.overlap:
            stored = stored | self.overlap
        kept, bases = dict(self.kept), dict(self.bases)
        same: dict[int, bool] = {}
        self.memo = {}

        def steady(e: Expr) -> bool:
            if isinstance(e, Const):
                return True
            if isinstance(e, Var):
                return e.name not in changing
            if isinstance(e, Load):
                return e.buf not in stored and all([name not in changing for name, _ in e.index.terms])
            return all([same[id(a)] for a in e.args])

        def address(buf: str, index: Index) -> None:
            if any([self.in_lanes(name) for name, _ in index.terms]):
                return
            terms = tuple([t for t in index.terms if t[0] not in changing])
            key = (buf, index.const, terms)
            if key not in bases and (terms or index.const != 0):
                bases[key] = self.moved(buf, index.const, terms)

        for s in loop.body:
            for root in expressions(s):
                for e in parts((root,)):
                    same[id(e)] = steady(e)
                    if same[id(e)]:
                        if isinstance(e, (Load, Apply)) and id(e) not in kept:
                            kept[id(e)] = self.expr(e)
                    elif isinstance(e, Load):
                        address(e.buf, e.index)
            if isinstance(s, Store):
                address(s.buf, s.index)
            elif isinstance(s, AccumStore):
                address(self.partials.get(s.buf, s.buf), s.index)
        self.kept, self.bases = kept, bases
        return outer

    def moved(self, buf: str, const: Size, terms: tuple) -> str:
        """The address of (const, terms), seen from the loop around."""
        steady = tuple([t for t in terms if t[0] not in self.changing])
        p = self.base(buf, const, steady)
        at = self.w.int(0)
        for name, c in terms:
            if name in self.changing:
                at = at + self.scalar(name) * self.size(c)
        return self.w.at(p, at, self.bufs[buf].dtype)

    def leave(self, outer: tuple) -> None:
        self.kept, self.bases, self.changing = outer
        self.memo = {}

    # ------------------------------------------------------------------------------------------------ lanes
    def vector_loop(self, loop: Loop, lo: Num, hi: Num, lanes: int) -> None:
        w = self.w
        inside = {s.var for s in statements(loop.body) if isinstance(s, Local)}
        targets = {s.var: s.op for s in statements(loop.body) if isinstance(s, Accum) and s.var not in inside}
        unroll = vectors_per_turn(loop, bool(targets), w.isa.registers)
        if any(self.env[v].wide for v in targets):
            unroll = min(unroll, 4 if w.isa.registers >= 32 else 2)
        if lo.const is not None and isinstance(loop.axis.extent, SymInt):
            self.by_length(loop, lo, hi, lanes, unroll, targets)
            return
        if lo.const is not None and hi.const is not None:
            while unroll > 1 and (hi.const - lo.const) // (lanes * unroll) == 0:
                unroll //= 2
        self.turns(loop, lo, hi, lanes, unroll, targets)

    def by_length(self, loop: Loop, lo: Num, hi: Num, lanes: int, unroll: int, targets: dict[str, str]) -> None:
        """A loop from 0 whose length is an argument: as many vectors in a turn as if it were known, so that sums are the same."""
        if unroll == 1:
            self.turns(loop, lo, hi, lanes, 1, targets)
            return
        many = hi >= lanes * unroll
        with self.w.when(many):
            self.turns(loop, lo, hi, lanes, unroll, targets)
        with self.w.when(self.w.invert(many)):
            self.by_length(loop, lo, hi, lanes, unroll // 2, targets)

    def turns(self, loop: Loop, lo: Num, hi: Num, lanes: int, unroll: int, targets: dict[str, str]) -> None:
        """The loop with `unroll` vectors in a turn, and its sums put together."""
        w = self.w
        start = {v: w.const(neutral(op, self.env[v].slot.dtype), self.env[v].slot.dtype) for v, op in targets.items()}
        sums = [{v: w.slot(x.dtype, lanes, x) for v, x in start.items()} for _ in range(unroll)]
        if lo.const is not None and hi.const is not None:
            self.vectors(loop, lo, hi, lanes, sums)
        else:
            with w.when(lo < hi):
                self.vectors(loop, lo, hi, lanes, sums)
        for v, op in targets.items():
            many = [s[v].get() for s in sums]
            while len(many) > 1:
                many = [w.combine(op, many[k], many[k + 1]) for k in range(0, len(many), 2)]
            slot = self.env[v].slot
            slot.set(w.combine(op, slot.get(), w.across(op, many[0])))

    def vectors(self, loop: Loop, lo: Num, hi: Num, lanes: int, sums: list[dict[str, Slot]]) -> None:
        """The main loop, then what remains: masked, or one by one."""
        w, var, step = self.w, loop.axis.var, lanes * len(sums)
        outer = self.enter(loop)
        self.changing = bound((loop,))
        self.inverses = self.find_inverses(loop)
        self.fetched = self.ahead.get(var, {})
        n = hi - lo
        main = lo + (w.int(n.const // step * step) if n.const is not None else n & -step)

        def run(stream: frozenset[str]) -> None:
            kept = self.vec, self.env, self.kept, self.bases
            with w.loop(lo, main, step) as i:
                self.states = [State(Lanes(var, lanes, i + u * lanes, None, s, stream), dict(self.env), self.kept, self.bases)
                               for u, s in enumerate(sums)]
                self.block(loop.body)
            self.states = []
            self.vec, self.env, self.kept, self.bases = kept

        def both() -> None:
            stream = self.streams(loop, lanes)
            if not stream:
                run(frozenset())
                return
            self.streamed = True
            self.vec = Lanes(var, lanes, lo, None, {})
            fit = None
            for s in loop.body:
                if isinstance(s, Store) and s.buf in stream:
                    p = self.place(s.buf, s.index)[0]
                    bits = w.op(f"ptrtoint ptr {p} to i64", dt.int64)
                    b = self.bufs[s.buf]
                    ok = w.compare("eq", bits & (lanes * b.dtype.itemsize - 1), 0)
                    if not isinstance(b.size, int):
                        ok = ok & (self.size(b.size) >= STREAM // b.dtype.itemsize)
                    fit = ok if fit is None else fit & ok
            self.vec = None
            with w.when(fit):
                run(stream)
            with w.when(w.invert(fit)):
                run(frozenset())

        if n.const is None:
            with w.when(lo < main):
                both()
        elif main.const > lo.const:
            both()
        if n.const is None:
            with w.when(main < hi):
                self.remains(loop, main, hi, lanes, sums[0])
        elif main.const < hi.const:
            self.remains(loop, main, hi, lanes, sums[0])
        self.inverses, self.fetched = {}, {}
        self.leave(outer)

    def find_inverses(self, loop: Loop) -> dict[int, tuple]:
        """The divisors of floats that are the same for all lanes, and what stands for dividing by them."""
        found: dict[int, tuple] = {}
        if not self.w.isa.fma:
            return found
        for s in loop.body:
            for e in parts(expressions(s)):
                if isinstance(e, Apply) and e.name == "div" and e.dtype.is_floating_point and id(e.args[1]) not in found:
                    by = e.args[1]
                    if isinstance(by, Const) or id(by) in self.kept or isinstance(by, Var) and by.name not in self.changing:
                        found[id(by)] = self.w.inverse(self.expr(by))
        self.memo = {}
        return found

    def remains(self, loop: Loop, lo: Num, hi: Num, lanes: int, sums: dict[str, Slot]) -> None:
        w, var = self.w, loop.axis.var
        if not w.isa.masks:
            with w.loop(lo, hi, 1) as i:
                self.env[var] = i
                self.block(loop.body)
            return
        with w.loop(lo, hi, lanes) as i:
            left = w.cast(hi - i, dt.int32)
            mask = w.compare("lt", w.iota(lanes, 1, dt.int32), left)
            self.vec = Lanes(var, lanes, i, mask, sums)
            self.block(loop.body)
            self.vec = None

    def streams(self, loop: Loop, lanes: int) -> frozenset[str]:
        """The outputs so large that they had better not pass through the cache."""
        found = set()
        for s in loop.body:
            if isinstance(s, Store):
                b = self.bufs[s.buf]
                term = dict(s.index.terms).get(loop.axis.var)
                large = b.size * b.dtype.itemsize >= STREAM if isinstance(b.size, int) else b.size == loop.axis.extent
                if large and b.role == "out" and b.name not in self.read and b.name not in self.overlap and term == 1 \
                        and lanes * b.dtype.itemsize in (16, 32, 64):
                    found.add(b.name)
        return frozenset(found) if self.w.isa.bits >= 256 else frozenset()
