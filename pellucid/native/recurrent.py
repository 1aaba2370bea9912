"""One LSTM layer in one direction, or one step of a cell, forward and backward, as one native function each.

In: the operands of `lstm_layer`, `lstm_step` and their backward operators (see ops/recurrent.py), every step with all sequences, float32
or float64, no projection. Out: externs. A thread keeps to its own sequences, so that no step waits for another thread; the
inputs' part of the gates (and backward, the gradient of the inputs) is computed for `CHUNK` steps at a time, while what the
loop needs of it is in the cache. With too few sequences threads split the units instead and meet after each step. The
gradients of the weights are one product each, after the loop.

The recurrent weights are packed so that the four gates of a vector of units lie side by side: they meet in registers, and
the cell is updated there. They are walked in blocks of `BLOCK` steps, which stay in the first cache for all sequences; partial
sums wait in the gates' own memory.
"""
from __future__ import annotations

from dataclasses import dataclass

from . import vmath
from .backend import Extern, extern, symbolic
from .emit import EXTERN_PARAMS, SIZES, Fn, Isa, Module
from .gemm import (FEW, REAL, Gemm, Product, Tiling, accumulate, any_rows, barrier, ceil, choose, heights, run_product, share_of,
                   transpose)
from .products import matrix_strides
from .symbolic import SymInt

BLOCK = 128                 # rows of the packed weights at a time
CHUNK = 4                   # steps whose inputs go through their weights together
UNIT = 8                    # sequences that stay together when threads split them
MEET = 4_000_000            # operations of a step from which it is worth that threads meet after it


@dataclass(frozen=True, slots=True)
class Layer:
    """Sizes of a layer, and whether it runs backwards in time."""

    steps: int
    batch: int
    inputs: int
    hidden: int
    ty: str
    reverse: bool

    @property
    def rows(self) -> int:
        return self.steps * self.batch


def layer_of(call, x, h0, w_hh, w_hr) -> Layer | None:
    """The layer that a call computes; None if it is not for this module. A cell's step is a layer of one."""
    step = call.name.startswith("lstm_step")
    sizes = h0.shape[:1] if step else call.attrs["batch_sizes"]
    if w_hr is not None or x.dtype not in REAL or len(set(sizes)) != 1 or 0 in x.shape or w_hh.shape[0] == 0:
        return None
    batch = h0.shape[0] if sizes[0] >= FEW else int(sizes[0])
    return Layer(1 if step else x.shape[0] // batch, batch, x.shape[1], w_hh.shape[1], REAL[x.dtype], not step and bool(call.attrs["reverse"]))


def plain(*views) -> bool:
    """Whether all views are contiguous."""
    return all(v is None or v.contiguous for v in views)


class Memory:
    """Places in a block of memory."""

    def __init__(self, size: int):
        self.size, self.used = size, 0

    def room(self, elements: int) -> int:
        at, step = self.used, 64 // self.size
        self.used += ceil(elements, step) * step
        return at

    @property
    def nbytes(self) -> int:
        return self.used * self.size


def in_order(f: Fn, s: Layer, before, step, after, backwards: bool = False) -> None:
    """The steps in the layer's order, or against it, in chunks: `before(steps)`, `step(t, i)` for each, `after(steps)`; i counts
    from 0, and `steps(body)` calls `body(t)` for the chunk's steps."""
    def place(i):
        return i if s.reverse == backwards else f.sub(s.steps - 1, i)
    with f.loop(0, s.steps, CHUNK) as i0:
        i1 = f.least(i0 + CHUNK, s.steps)

        def steps(body):
            with f.loop(i0, i1) as i:
                body(place(i))
        before(steps)
        with f.loop(i0, i1) as i:
            step(place(i), i)
        after(steps)


def own_rows(f: Fn, s: Layer, product: Product, pointers, packed, rows, steps) -> None:
    """A product with all rows of the layer, for these sequences of some steps; `product` is that of one step. Its right
    operand is packed."""
    g, t = product.g, product.t
    a, b, c, *others = pointers
    with f.loop(0, g.n, t.width) as j:
        def one(at):
            moved = f.at(a, at * (s.batch * g.a[0])), b, f.at(c, at * (s.batch * g.c)), *others
            f.invoke(product.name, *moved, *rows, j, f.least(j + t.width, g.n), f.p_scratch, packed)
        steps(one)


def all_rows(f: Fn, s: Layer, product: Product, pointers, packed) -> None:
    """The same for this thread's share of the steps, with all sequences."""
    def steps(body):
        with f.loop(*share_of(f, s.steps)) as t:
            body(t)
    own_rows(f, s, product, pointers, packed, (0, s.batch), steps)


def own_tiling(s: Layer, g: Gemm, isa: Isa) -> Tiling:
    """A tiling for `own_rows`: tiles that fit sequences which stay together."""
    lanes, kc = isa.lanes(g.ty), min(512, g.k)
    vectors = min(2, ceil(g.n, lanes))
    rows = min(UNIT if isa.registers == 32 else UNIT // 2, s.batch)
    return Tiling(rows, vectors, lanes, kc if kc == g.k else kc // lanes * lanes, s.batch + UNIT, g.n + vectors * lanes,
                  pack_a=False, pack_b=True, share_b=True, along_n=False)


def by_sequences(f: Fn, s: Layer):
    """Whether threads split the sequences: there are enough for each."""
    return f.compare("ge", s.batch, f.p_nth * UNIT)


def ranges(f: Fn, s: Layer, units: int) -> tuple:
    """(whether sequences are split, sequences [lo, hi), units of the other dimension [lo, hi)) of this thread."""
    split = by_sequences(f, s)
    lo, hi = share_of(f, ceil(s.batch, UNIT))
    first, last = share_of(f, units)
    return (split, (f.select(split, lo * UNIT, 0), f.select(split, f.least(hi * UNIT, s.batch), s.batch)),
            (f.select(split, 0, first), f.select(split, units, last)))


# ---------------------------------------------------------------------------------------------------- forward
class Forward:
    """Writes the functions of the forward loop. Panels of weights: [block of units][k][gate][lane]."""

    def __init__(self, module: Module, name: str, s: Layer, w: tuple[int, int], y: bool):
        """`y`: whether there is an output besides the last state."""
        self.module, self.name, self.s, self.w, self.y = module, name, s, w, y
        self.lanes = module.isa.lanes(s.ty)
        self.blocks = ceil(s.hidden, self.lanes)
        self.tail = s.hidden % self.lanes
        self.group = min(4 if module.isa.registers == 32 else 2, s.batch)
        self.panel = s.hidden * 4 * self.lanes
        for count in {min(self.lanes, s.hidden), self.tail} - {0}:
            self.pack(count)
            for rows in self.row_counts():
                self.cell(rows, count)
                if s.hidden > BLOCK:
                    self.sum(rows, count)

    def row_counts(self) -> list[int]:
        """How many sequences go through a cell together."""
        if isinstance(self.s.batch, SymInt):
            return heights(self.group)
        return [n for n in (self.group, self.s.batch % self.group) if n]

    def pack(self, count: int) -> None:
        """`NAME_pack_count(w, to)`: the panel of `count` units; zeros for the lanes that are left."""
        s, w, lanes = self.s, self.w, self.lanes
        f = Fn(self.module, f"{self.name}_pack_{count}", "ptr w, ptr to", s.ty, internal=True)
        for gate in range(4):
            def row(i, k, n, gate=gate):
                at = f.add(k * w[1], (gate * s.hidden + i) * w[0])
                if w[1] == 1:
                    return f.load(f.p_w, at, mask=f.mask(n))
                out = f.zero()
                for j in range(n):
                    out = f.insert(out, f.load(f.p_w, at + j * w[1], s.ty), j)
                return out

            def body(k, n, gate=gate, row=row):
                rows = [row(i, k, n) if i < count else f.zero() for i in range(lanes)]
                for j, column in enumerate(transpose(f, rows)[:n]):
                    f.store(column, f.p_to, (f.add(k, j) * 4 + gate) * lanes)
            whole = s.hidden - s.hidden % lanes
            with f.loop(0, whole, lanes) as k:
                body(k, lanes)
            if s.hidden % lanes:
                body(whole, s.hidden % lanes)
        f.end()

    def gates(self, f: Fn, rows: int, mask) -> list:
        """The gates' sums so far, in registers: [row][gate]."""
        s = self.s
        return [[f.var(f.load(f.p_a, i * 4 * s.hidden + gate * s.hidden, mask=mask)) for gate in range(4)] for i in range(rows)]

    def sum(self, rows: int, count: int) -> None:
        """`NAME_sum_rows_count(h, w, a)`: a += h w for one block of k."""
        s = self.s
        f = Fn(self.module, f"{self.name}_sum_{rows}_{count}", "ptr h, ptr w, ptr a", s.ty, internal=True)
        mask = f.mask(count)
        acc = self.gates(f, rows, mask)
        accumulate(f, acc, BLOCK, f.p_h, (s.hidden, 1), f.p_w, 4 * self.lanes)
        for i, row in enumerate(acc):
            for gate, x in enumerate(row):
                f.store(x.get(), f.p_a, i * 4 * s.hidden + gate * s.hidden, mask)
        f.end()

    def cell(self, rows: int, count: int) -> None:
        """`NAME_cell_rows_count(h, c, w, a, y, h_next, c_next)`: the last block of k, then the cell. `a` receives the gates."""
        s = self.s
        f = Fn(self.module, f"{self.name}_cell_{rows}_{count}", "ptr h, ptr c, ptr w, ptr a, ptr y, ptr hn, ptr cn", s.ty, internal=True)
        mask = f.mask(count)
        acc = self.gates(f, rows, mask)
        accumulate(f, acc, s.hidden - (ceil(s.hidden, BLOCK) - 1) * BLOCK, f.p_h, (s.hidden, 1), f.p_w, 4 * self.lanes)
        for i, row in enumerate(acc):
            at = i * s.hidden
            i_gate, f_gate, new, o_gate = ((vmath.tanh if k == 2 else vmath.sigmoid)(f, x.get()) for k, x in enumerate(row))
            c = f.fma(i_gate, new, f.mul(f_gate, f.load(f.p_c, at, mask=mask)))
            h = f.mul(o_gate, vmath.tanh(f, c))
            for gate, x in enumerate((i_gate, f_gate, new, o_gate)):
                f.store(x, f.p_a, 4 * at + gate * s.hidden, mask)
            for x, to in (*([(h, f.p_y)] if self.y else []), (h, f.p_hn), (c, f.p_cn)):
                f.store(x, to, at, mask)
        f.end()

    # ------------------------------------------------------------------------------------------------ the loop
    def for_block(self, f: Fn, block, act) -> None:
        """`act(units)` for a block of units: all lanes, or the last ones."""
        full = min(self.lanes, self.s.hidden)
        if not self.tail or self.blocks == 1:
            act(full)
            return
        is_last = f.compare("eq", block, self.blocks - 1)
        with f.when(is_last):
            act(self.tail)
        with f.unless(is_last):
            act(full)

    def for_rows(self, f: Fn, lo, hi, act) -> None:
        """`act(row, rows)` for groups of sequences; `lo` and `hi` are multiples of UNIT, or hi the end."""
        if isinstance(self.s.batch, SymInt):
            any_rows(f, lo, hi, self.group, act)
            return
        left = self.s.batch % self.group
        with f.loop(lo, f.least(hi, self.s.batch - left), self.group) as r:
            act(r, self.group)
        if left:
            with f.when(f.compare("eq", hi, self.s.batch)):
                act(self.s.batch - left, left)

    def share(self, f: Fn, w, packed) -> None:
        """This thread's part of packing the weights."""
        with f.loop(*share_of(f, self.blocks)) as b:
            source, to = f.at(w, b * (self.lanes * self.w[0])), f.at(packed, b * self.panel)
            self.for_block(f, b, lambda n: f.invoke(f"{self.name}_pack_{n}", source, to))

    def loop(self, f: Fn, packed, a, y, begun_h, begun_c, h_n, c_n, split, rows, blocks, inputs) -> None:
        """All steps. The state before step t is in begun_h[t], begun_c[t]; `inputs(steps)` makes a chunk's gates."""
        s = self.s
        (r0, r1), (b0, b1) = rows, blocks
        step = s.batch * s.hidden

        def one(t, i):
            at = t * step
            after = at - step if s.reverse else at + step
            is_last = f.compare("eq", i, s.steps - 1)
            hn = f.select(is_last, h_n, f.at(begun_h, after))
            cn = f.select(is_last, c_n, f.at(begun_c, after))
            with f.loop(b0, b1) as b:
                u, w = b * self.lanes, f.at(packed, b * self.panel)
                k = (ceil(s.hidden, BLOCK) - 1) * BLOCK
                if k:
                    with f.loop(0, k, BLOCK) as k0:
                        part = f.at(w, k0 * (4 * self.lanes))

                        def add(n, r, rows, k0=k0, part=part):
                            row = at + r * s.hidden
                            f.invoke(f"{self.name}_sum_{rows}_{n}", f.at(begun_h, row + k0), part, f.at(a, row * 4 + u))
                        self.for_block(f, b, lambda n: self.for_rows(f, r0, r1, lambda r, rows: add(n, r, rows)))
                part = f.at(w, k * 4 * self.lanes)

                def cell(n, r, rows):
                    row = f.mul(r, s.hidden)
                    here = at + row + u
                    f.invoke(f"{self.name}_cell_{rows}_{n}", f.at(begun_h, at + row + k), f.at(begun_c, here), part,
                             f.at(a, (at + row) * 4 + u), f.at(y, here) if self.y else f.val("null", "ptr"), f.at(hn, row + u), f.at(cn, row + u))
                self.for_block(f, b, lambda n: self.for_rows(f, r0, r1, lambda r, rows: cell(n, r, rows)))
            with f.unless(split):
                barrier(f, f.p_nth)
        in_order(f, s, inputs, one, lambda steps: None)


def copy(f: Fn, source, strides, rows: int, columns: int, to) -> None:
    """A matrix to contiguous memory."""
    with f.loop(0, rows) as i:
        if strides[1] == 1:
            whole = columns - columns % f.lanes
            with f.loop(0, whole, f.lanes) as j:
                f.store(f.load(source, i * strides[0] + j), to, i * columns + j)
            if columns % f.lanes:
                mask = f.mask(columns % f.lanes)
                f.store(f.load(source, i * strides[0] + whole, mask=mask), to, i * columns + whole, mask)
        else:
            with f.loop(0, columns) as j:
                f.store(f.load(source, i * strides[0] + j * strides[1], f.ty), to, i * columns + j)


def in_rows(f: Fn, memory: Memory, s: Layer, view, p):
    """The pointer of a state as a contiguous matrix: it is copied by the first thread unless it is one."""
    if view.contiguous:
        return p
    to = f.at(f.p_shared, memory.room(s.batch * s.hidden))
    with on_first(f):
        copy(f, p, view.strides, s.batch, s.hidden, to)
    return to


def fill_zero(f: Fn, to, count: int) -> None:
    whole = count - count % f.lanes
    with f.loop(0, whole, f.lanes) as i:
        f.store(f.zero(), to, i)
    if count % f.lanes:
        f.store(f.zero(), to, whole, f.mask(count % f.lanes))


def loader(f: Fn):
    """A function that gives the pointer of an operand, None for one that is not there; the views are taken in order."""
    count = iter(range(99))
    return lambda view: None if view is None else f.load(f.p_views, next(count), "ptr")


def on_first(f: Fn):
    return f.when(f.compare("eq", f.p_tid, 0))


def worth_threads(s: Layer, flops: int) -> bool:
    """Whether threads pay: each has sequences of its own, or the steps are long."""
    return flops > 400_000 and (s.batch >= 2 * UNIT or flops > MEET * s.steps)


@extern("lstm_layer", "lstm_step")
def lstm_extern(call, isa: Isa, symbol: str) -> Extern | None:
    """The forward pass: (y, h_n, c_n, gates, h and c each step began with); of a step (h_n, c_n, gates)."""
    x, h0, c0, w_ih, w_hh, b_ih, b_hh, *projection = call.operands
    step = not projection
    s = layer_of(call, x, h0, w_hh, None if step else projection[0])
    if s is None or call.post or not plain(*call.outs, b_ih, b_hh):
        return None
    module, n = Module(isa, symbolic(call)), s.hidden
    forward = Forward(module, f"{symbol}_step", s, tuple(w_hh.strides), not step)
    biases = [b for b in (b_ih, b_hh) if b is not None]
    g = Gemm(s.batch, 4 * n, s.inputs, matrix_strides(x, False), matrix_strides(w_ih, True), 4 * n, s.ty, ("bias",) * len(biases))
    first = Product(module, f"{symbol}_inputs", g, own_tiling(s, g, isa)).write()
    f = Fn(module, symbol, EXTERN_PARAMS, s.ty)
    pointer = loader(f)
    px, ph, pc, pw_ih, pw_hh, pb_ih, pb_hh, *_ = [pointer(v) for v in call.operands]
    outs = [pointer(v) for v in call.outs]
    memory = Memory(SIZES[s.ty])
    y, h_n, c_n, a, begun_h, begun_c = (None, *outs, in_rows(f, memory, s, h0, ph), in_rows(f, memory, s, c0, pc)) if step else outs
    packed = f.at(f.p_shared, memory.room(forward.blocks * forward.panel))
    extra = f.at(f.p_shared, memory.room(first.shared // SIZES[s.ty]))
    if not step:
        with on_first(f):
            start = (s.steps - 1) * s.batch * n if s.reverse else 0
            copy(f, ph, h0.strides, s.batch, n, f.at(begun_h, start))
            copy(f, pc, c0.strides, s.batch, n, f.at(begun_c, start))
    forward.share(f, pw_hh, packed)
    first.share(f, pw_ih, extra, f.p_tid, f.p_nth)
    barrier(f, f.p_nth)
    pointers = [px, pw_ih, a, *[p for p in (pb_ih, pb_hh) if p is not None]]
    split, rows, blocks = ranges(f, s, forward.blocks)
    with f.unless(split):
        all_rows(f, s, first, pointers, extra)
        barrier(f, f.p_nth)

    def inputs(steps):
        with f.when(split):
            own_rows(f, s, first, pointers, extra, rows, steps)
    forward.loop(f, packed, a, y, begun_h, begun_c, h_n, c_n, split, rows, blocks, inputs)
    f.end()
    flops = 2 * s.rows * 4 * n * (s.inputs + n)
    return Extern(module.text, symbol, sizes=module.sizes, scratch=first.scratch, shared=memory.nbytes, flops=flops, parallel=worth_threads(s, flops))


# ---------------------------------------------------------------------------------------------------- backward
class Backward:
    """Writes the functions of the backward loop."""

    def __init__(self, module: Module, name: str, s: Layer, gy: bool, w: tuple[int, int]):
        self.module, self.name, self.s, self.gy = module, name, s, gy
        g = Gemm(s.batch, s.hidden, 4 * s.hidden, (4 * s.hidden, 1), w, s.hidden, s.ty)
        self.through = Product(module, f"{name}_through", g, own_tiling(s, g, module.isa)).write()
        self.width = self.through.t.width
        self.panels = ceil(s.hidden, self.width)
        self.point()

    def point(self) -> None:
        """`NAME_point(gy, dh, dc, s, c, da, u0, u1)`: the gradients through the cells of one sequence's units [u0, u1), u0 a
        multiple of the lanes. `dc` is replaced by that of the cells before."""
        s = self.s
        n = s.hidden
        f = Fn(self.module, f"{self.name}_point", "ptr gy, ptr dh, ptr dc, ptr s, ptr c, ptr da, i64 u0, i64 u1", s.ty, internal=True)

        def units(u, mask):
            def at(p, gate=0):
                return f.load(p, f.add(u, gate * n), mask=mask)
            i, forget, g, o = (at(f.p_s, gate) for gate in range(4))
            c, dh = at(f.p_c), at(f.p_dh)
            if self.gy:
                dh = dh + at(f.p_gy)
            tc = vmath.tanh(f, f.fma(i, g, f.mul(forget, c)))
            dc = f.fma(f.mul(dh, o), f.sub(1.0, f.mul(tc, tc)), at(f.p_dc))
            di, df = f.mul(f.mul(dc, g), f.mul(i, f.sub(1.0, i))), f.mul(f.mul(dc, c), f.mul(forget, f.sub(1.0, forget)))
            dg, do = f.mul(f.mul(dc, i), f.sub(1.0, f.mul(g, g))), f.mul(f.mul(dh, tc), f.mul(o, f.sub(1.0, o)))
            for gate, x in enumerate((di, df, dg, do)):
                f.store(x, f.p_da, f.add(u, gate * n), mask)
            f.store(f.mul(dc, forget), f.p_dc, u, mask)
        whole = n - n % f.lanes
        with f.loop(f.p_u0, f.least(f.p_u1, whole), f.lanes) as u:
            units(u, None)
        if n % f.lanes:
            with f.when(f.compare("gt", f.p_u1, whole)):
                units(whole, f.mask(n % f.lanes))
        f.end()

    def loop(self, f: Fn, packed, gy, dh, dc, gates, begun_c, da, inputs) -> None:
        """All steps, last first. `dh` and `dc` hold the gradients of the last states, then of each step's before;
        `inputs(rows, steps)` makes the gradient of a chunk's inputs if sequences are split."""
        s = self.s
        n = s.hidden
        split, (r0, r1), (p0, p1) = ranges(f, s, self.panels)
        u0, u1 = p0 * self.width, f.least(p1 * self.width, n)

        def one(t, _):
            at = t * (s.batch * n)
            with f.loop(r0, r1) as r:
                row = r * n
                here = at + row
                f.invoke(f"{self.name}_point", f.at(gy, here) if self.gy else f.val("null", "ptr"), f.at(dh, row), f.at(dc, row),
                         f.at(gates, here * 4), f.at(begun_c, here), f.at(da, here * 4), u0, u1)
            with f.unless(split):
                barrier(f, f.p_nth)
            f.invoke(self.through.name, f.at(da, at * 4), f.val("null", "ptr"), dh, r0, r1, u0, u1, f.p_scratch, packed)
            with f.unless(split):
                barrier(f, f.p_nth)

        def after(steps):
            with f.when(split):
                inputs((r0, r1), steps)
        in_order(f, s, lambda steps: None, one, after, backwards=True)
        return split


def column_sums(f: Fn, a, rows: int, columns: int, outs) -> None:
    """This thread's part of the sums of the columns of a contiguous matrix, to each of `outs`; rows are added up in runs."""
    run = 64
    unit = f.lanes * 4
    lo, hi = share_of(f, ceil(columns, unit))

    def part(j, masks):
        total = [f.var(f.zero()) for _ in masks]
        with f.loop(0, rows, run) as i0:
            some = [f.var(f.zero()) for _ in masks]
            with f.loop(i0, f.least(i0 + run, rows)) as i:
                for x, mask in enumerate(masks):
                    some[x].set(some[x].get() + f.load(a, i * columns + j + x * f.lanes, mask=mask))
            for x, y in zip(total, some):
                x.set(x.get() + y.get())
        for out in outs:
            for x, mask in enumerate(masks):
                f.store(total[x].get(), out, f.add(j, x * f.lanes), mask)
    whole = columns // unit
    with f.loop(lo, f.least(hi, whole)) as b:
        part(b * unit, [None] * 4)
    if columns % unit:
        with f.when(f.compare("gt", hi, whole)):
            left = columns - whole * unit
            part(whole * unit, [f.mask(min(left - at, f.lanes)) for at in range(0, left, f.lanes)])


@extern("lstm_layer_backward", "lstm_step_backward")
def lstm_backward_extern(call, isa: Isa, symbol: str) -> Extern | None:
    """The gradients that `needs` asks for, of (input, h0, c0, w_ih, w_hh, b_ih, b_hh)."""
    def named(operands, none):
        """By the layer's names; for a step the first states are those it began with."""
        if call.name == "lstm_step_backward":
            gh, gc, x, h0, c0, w_ih, w_hh, b_ih, b_hh, gates = operands
            return none, gh, gc, x, h0, c0, w_ih, w_hh, b_ih, b_hh, none, gates, h0, c0
        return operands
    gy, gh, gc, x, h0, c0, w_ih, w_hh, b_ih, b_hh, w_hr, gates, begun_h, begun_c = named(call.operands, None)
    s = layer_of(call, x, h0, w_hh, w_hr)
    needs = tuple(call.attrs["needs"])
    if s is None or call.post or not plain(gy, gates, *call.outs):
        return None
    n, size = s.hidden, SIZES[s.ty]
    module = Module(isa, symbolic(call))
    backward = Backward(module, f"{symbol}_step", s, gy is not None, tuple(w_hh.strides))
    wide, tall = (4 * n, 1), (1, 4 * n)
    products = {0: Gemm(s.batch, s.inputs, 4 * n, wide, matrix_strides(w_ih, False), s.inputs, s.ty),
                3: Gemm(4 * n, s.inputs, s.rows, tall, matrix_strides(x, False), s.inputs, s.ty),
                4: Gemm(4 * n, n, s.rows, tall, (n, 1), n, s.ty)}
    first = Product(module, f"{symbol}_inputs", products[0], own_tiling(s, products[0], isa)).write() if needs[0] else None
    made = {g: Product(module, f"{symbol}_product{i}", g, choose(g, isa)) for i, g in products.items() if i and needs[i]}
    products = {i: made[g] for i, g in products.items() if i and needs[i]}
    for product in made.values():
        product.write()
    f = Fn(module, symbol, EXTERN_PARAMS, s.ty)
    pointer = loader(f)
    p_gy, p_gh, p_gc, p_x, _, _, p_w_ih, p_w_hh, _, _, _, p_s, p_h, p_c = named([pointer(v) for v in call.operands], None)
    outs = iter([pointer(v) for v in call.outs])
    out = [next(outs) if need else None for need in needs]
    memory = Memory(size)
    if call.name == "lstm_step_backward":
        p_h, p_c = in_rows(f, memory, s, h0, p_h), in_rows(f, memory, s, c0, p_c)
    da = f.at(f.p_shared, memory.room(s.rows * 4 * n))
    packed = f.at(f.p_shared, memory.room(max([backward.through.shared, *[p.shared for p in products.values()]]) // size))
    dh = f.at(f.p_shared, memory.room(s.batch * n)) if out[1] is None else out[1]
    dc = f.at(f.p_shared, memory.room(s.batch * n)) if out[2] is None else out[2]
    with on_first(f):
        for view, p, to in ((gh, p_gh, dh), (gc, p_gc, dc)):
            if p is not None:
                copy(f, p, view.strides, s.batch, n, to)
            else:
                fill_zero(f, to, s.batch * n)
    backward.through.share(f, p_w_hh, packed, f.p_tid, f.p_nth)
    extra = f.at(f.p_shared, memory.room(first.shared // size if first else 0))
    if first:
        first.share(f, p_w_ih, extra, f.p_tid, f.p_nth)
    barrier(f, f.p_nth)

    def inputs(rows, steps):
        if first:
            own_rows(f, s, first, [da, p_w_ih, out[0]], extra, rows, steps)
    split = backward.loop(f, packed, p_gy, dh, dc, p_s, p_c, da, inputs)
    barrier(f, f.p_nth)
    if first:
        with f.unless(split):
            all_rows(f, s, first, [da, p_w_ih, out[0]], extra)
    if needs[5] or needs[6]:
        column_sums(f, da, s.rows, 4 * n, [p for p in out[5:7] if p is not None])
    for i, product in products.items():
        run_product(f, product, [da, p_x if i == 3 else p_h, out[i]], shared=packed)
        if i != max(products):
            barrier(f, f.p_nth)
    f.end()
    every = [backward.through, *([first] if first else []), *products.values()]
    flops = 2 * s.rows * 4 * n * (n + s.inputs * (needs[0] + needs[3]) + n * needs[4])
    scratch = max(p.scratch for p in every)
    return Extern(module.text, symbol, sizes=module.sizes, scratch=scratch, shared=memory.nbytes, flops=flops, parallel=worth_threads(s, flops))
