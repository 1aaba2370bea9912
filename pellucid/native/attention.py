"""Attention in tiles: softmax(q k^T * scale + mask) v without the matrix of weights, and its gradients.

In: strided operands as the plan gives them; keys and values that do not lie together are copied a head at a time, which
spares the caches and address translation. Out: externs for
`attention` and `attention_backward`. The weights of a query are computed a tile of keys at a time and renormalised as
larger ones appear (Dao et al., 2022); tiles of keys that a causal mask hides are not computed.

float16 and bfloat16 are computed in float32: a head's keys and values are widened once, results rounded as they are stored.

Everything is held transposed: queries lie along the lanes, keys and features along rows. Maxima and sums over keys are then
plain vector operations, keys and values are read one number at a time in any layout, and only queries need transposing.
"""
from __future__ import annotations

import math
from dataclasses import dataclass

from ..core import dtype as dt
from . import vmath
from .backend import Extern, extern, symbolic
from .emit import EXTERN_PARAMS, SIZES, Fn, Isa, Module, Val
from .gemm import REAL, accumulate, ceil, transpose
from .products import batch_strides, fold_batch

MEMORY = {**REAL, dt.bfloat16: "i16", dt.float16: "half"}
KEYS = 128                  # keys in a tile of the forward pass


@dataclass(frozen=True, slots=True)
class Shape:
    """One attention: sizes, strides (rows, columns) of each operand, the mask's kind ("", "bool", "float") and strides."""

    queries: int
    keys: int
    features: int
    values: int
    q: tuple[int, int]
    k: tuple[int, int]
    v: tuple[int, int]
    causal: bool
    scale: float
    ty: str                         # what is computed in
    memory: str                     # what operands and results are held in
    mask: str = ""
    m: tuple[int, int] = (0, 0)

    def flops(self, products: int) -> int:
        """Of one head: `products` products of all its keys and queries, half of them where a causal mask hides the rest."""
        return products * (self.features + self.values) * self.queries * self.keys // (2 if self.causal else 1)


class Tiles:
    """Writes what both passes share: reading and writing tiles of queries, scores."""

    def __init__(self, module: Module, name: str, s: Shape):
        self.module, self.name, self.s = module, name, s
        self.lanes = module.isa.lanes(s.ty)
        self.size = SIZES[s.ty]
        self.vectors = min(2, ceil(s.queries, self.lanes))
        self.wide = self.vectors * self.lanes                     # queries in a tile
        self.rows = 8 if module.isa.registers == 32 else 6        # keys, or features, in a register tile
        self.tiles = ceil(s.queries, self.wide)
        together = (s.features, 1), (s.values, 1)
        self.copied = s.memory != s.ty or (self.tiles > 1 and (s.k, s.v) != together)      # keys and values go into scratch first
        self.k, self.v = together if self.copied else (s.k, s.v)
        self.last = s.queries - (self.tiles - 1) * self.wide      # queries in the last tile
        self.used = 0                                             # elements of scratch taken
        self.at_k, self.at_v = (self.room(s.keys * n) if self.copied else 0 for n in (s.features, s.values))
        if self.copied:
            self.write_copy("k", s.features, s.k)
            self.write_copy("v", s.values, s.v)

    def write_copy(self, name: str, columns: int, strides: tuple[int, int]) -> None:
        """`NAME_copy_name(from, to)`: keys or values of a head, row by row, in what is computed in."""
        f = Fn(self.module, f"{self.name}_copy_{name}", "ptr from, ptr to", self.s.ty, internal=True)
        with f.loop(0, self.s.keys) as j:
            self.blocks(f, columns, lambda c, n: f.store(self.row(f, f.p_from, j * strides[0] + c * strides[1], strides[1], n), f.p_to,
                                                         f.add(j * columns, c), f.mask(n)))
        f.end()

    def gathered(self, f: Fn, k, v):
        """Where the keys and values of a head are, once they can be read."""
        if not self.copied:
            return k, v
        to = f.at(f.p_scratch, self.at_k), f.at(f.p_scratch, self.at_v)
        f.invoke(f"{self.name}_copy_k", k, to[0])
        f.invoke(f"{self.name}_copy_v", v, to[1])
        return to

    def room(self, elements: int) -> int:
        """Take elements of scratch; the offset."""
        at, step = self.used, 64 // self.size
        self.used += ceil(elements, step) * step
        return at

    def padded(self, n: int) -> int:
        return ceil(n, self.lanes) * self.lanes

    # ------------------------------------------------------------------------------------------------ tiles of queries
    def for_tile(self, f: Fn, tile, act) -> None:
        """`act(number of queries)` for a full tile or the last one."""
        if self.tiles == 1 or self.last == self.wide:
            act(self.last)
            return
        is_last = f.compare("eq", tile, self.tiles - 1)
        with f.when(is_last):
            act(self.last)
        with f.unless(is_last):
            act(self.wide)

    def blocks(self, f: Fn, n: int, body) -> None:
        """`body(start, count)` for blocks of `lanes` columns, the last one smaller."""
        with f.loop(0, n - n % self.lanes, self.lanes) as c:
            body(c, self.lanes)
        if n % self.lanes:
            body(n - n % self.lanes, n % self.lanes)

    def write_reader(self, name: str, columns: int, strides: tuple[int, int], scale: float, copy: bool) -> None:
        """`NAME_count(from, to, copy)`: queries as columns of `to` times `scale`, zero where there are none; and, with
        `copy`, as they are, in rows padded to whole vectors."""
        for count in {self.last, min(self.wide, self.s.queries)}:
            f = Fn(self.module, f"{self.name}_{name}_{count}", "ptr from, ptr to" + ", ptr copy" * copy, self.s.ty, internal=True)
            padded = self.padded(columns)

            def body(c, n, f=f, count=count, padded=padded):
                for at in range(0, self.wide, self.lanes):
                    rows = [self.row(f, f.p_from, (at + i) * strides[0] + c * strides[1], strides[1], n) if at + i < count else f.zero()
                            for i in range(self.lanes)]
                    if copy:
                        for i, row in enumerate(rows):
                            f.store(row, f.p_copy, (at + i) * padded + c)
                    for i, column in enumerate(transpose(f, rows)[:n]):
                        f.store(column if scale == 1 else f.mul(column, scale), f.p_to, (c + i) * self.wide + at)
            self.blocks(f, columns, body)
            f.end()

    def row(self, f: Fn, p, index, stride: int, n: int) -> Val:
        """n numbers of an operand as a vector."""
        if stride == 1:
            return f.read(p, index, self.s.memory, mask=f.mask(n))
        out = f.zero()
        for i in range(n):
            out = f.insert(out, f.read(p, f.add(index, i * stride), self.s.memory, 1), i)
        return out

    def write_writer(self, name: str, columns: int, row_stride: int) -> None:
        """`NAME_count(from, to, factor)`: columns of `from` times the vectors at `factor`, as rows of `to`."""
        for count in {self.last, min(self.wide, self.s.queries)}:
            f = Fn(self.module, f"{self.name}_{name}_{count}", "ptr from, ptr to, ptr factor", self.s.ty, internal=True)

            def body(c, n, f=f, count=count):
                for at in range(0, count, self.lanes):
                    factor = f.load(f.p_factor, at)
                    columns = [f.mul(f.load(f.p_from, (c + i) * self.wide + at), factor) if i < n else f.zero() for i in range(self.lanes)]
                    for i, row in enumerate(transpose(f, columns)[:count - at]):
                        f.write(row, f.p_to, f.add(c, (at + i) * row_stride), self.s.memory, f.mask(n))
            self.blocks(f, columns, body)
            f.end()

    # ------------------------------------------------------------------------------------------------ scores
    def row_tiles(self, f: Fn, lo, hi, total: int, body) -> None:
        """`body(start, count)` for groups of rows from lo (a multiple of a group) to hi, of `total` rows: whole groups even
        past hi, but not past the total."""
        tail = total % self.rows
        stop = f.least(f.mul(f.ceil_div(hi, self.rows), self.rows), total - tail)
        with f.loop(lo, stop, self.rows) as j:
            body(j, self.rows)
        if tail:
            with f.when(f.compare("gt", hi, total - tail)):
                body(total - tail, tail)

    def key_end(self, f: Fn, q0):
        """How many keys the queries from q0 on may see."""
        s = self.s
        return f.least(f.add(q0, self.wide), s.keys) if s.causal else s.keys

    def scores(self, f: Fn, acc, j, rows: int, q0, k, q_tile, mask, bias) -> list[list[Val]]:
        """The scores of keys j.. (rows) for the tile's queries, in registers; -inf where not allowed."""
        s = self.s
        accumulate(f, acc, s.features, f.at(k, j * self.k[0]), self.k, q_tile, self.wide)
        if s.mask:
            self.apply_mask(f, acc, j, mask, bias)
        if s.causal:
            with f.when(f.compare("gt", f.add(j, rows - 1), q0)):
                low = f.fill(-math.inf, f.v)
                for at in range(self.vectors):
                    lane = self.positions(f, q0 + at * self.lanes)
                    for i in range(rows):
                        hidden = f.compare("gt", f.splat(f.cast("trunc", f.add(j, i), "i32"), self.lanes) if isinstance(j, Val) else
                                           f.fill(j + i, lane.ty), lane)
                        acc[i][at].set(f.select(hidden, low, acc[i][at].get()))
        return [[x.get() for x in row] for row in acc]

    def positions(self, f: Fn, start) -> Val:
        """start, start + 1, ... as 32-bit numbers, one a lane."""
        ty = f"<{self.lanes} x i32>"
        iota = f.val("<" + ", ".join(f"i32 {i}" for i in range(self.lanes)) + ">", ty)
        base = f.splat(f.cast("trunc", start, "i32"), self.lanes) if isinstance(start, Val) else f.fill(start, ty)
        return f.add(base, iota)

    def apply_mask(self, f: Fn, acc, j, mask, bias) -> None:
        """Add a float mask; -inf where a bool one is False. A mask that is the same for all queries is read directly, another
        from the tile that `write_bias` made, whose rows begin at key `bias[1]`."""
        s = self.s
        low = f.fill(-math.inf, f.v)
        for i, row in enumerate(acc):
            if s.m[0] == 0:
                at = f.add(j, i) * s.m[1]
                if s.mask == "bool":
                    shown = f.compare("ne", f.load(mask, at, "i8"), 0)
                    for x in row:
                        x.set(f.op(f.v, f"select i1 {shown}, {f.v} {x.get()}, {f.v} {low}"))
                else:
                    one = f.splat(f.read(mask, at, s.memory, 1), self.lanes)
                    for x in row:
                        x.set(x.get() + one)
                continue
            for at, x in enumerate(row):
                y = f.load(bias[0], (f.add(j, i) - bias[1]) * self.wide + at * self.lanes)
                x.set(f.select(f.compare("eq", y, low), low, x.get()) if s.mask == "bool" else x.get() + y)

    def write_bias(self) -> None:
        """`bias_count(mask, to, keys)`: a tile of the mask, keys along rows; 0 and -inf for a bool one."""
        s = self.s
        if not s.mask or s.m[0] == 0:
            return
        for count in {self.last, min(self.wide, s.queries)}:
            f = Fn(self.module, f"{self.name}_bias_{count}", "ptr mask, ptr to, i64 keys", s.ty, internal=True)
            with f.loop(0, f.p_keys) as j:
                for at in range(0, self.wide, self.lanes):
                    n = min(max(count - at, 0), self.lanes)
                    f.store(self.mask_lanes(f, j * s.m[1] + at * s.m[0], n), f.p_to, j * self.wide + at)
            f.end()

    def mask_lanes(self, f: Fn, index, n: int) -> Val:
        """The mask for n queries and one key."""
        s = self.s
        if s.mask == "float":
            return self.row(f, f.p_mask, index, s.m[0], n)
        ty = f"<{self.lanes} x i8>"
        bits = f.val("zeroinitializer", ty)
        for i in range(n):
            bits = f.insert(bits, f.load(f.p_mask, index + i * s.m[0], "i8"), i)
        return f.select(f.compare("ne", bits, 0), f.zero(), f.fill(-math.inf, f.v))


class Forward(Tiles):
    """`NAME(q, k, v, mask, out, lse, tile, scratch)`: one tile of queries of one head."""

    def __init__(self, module: Module, name: str, s: Shape, out_stride: int):
        super().__init__(module, name, s)
        self.tile_keys = ceil(KEYS, self.rows) * self.rows
        held = min(self.tile_keys, ceil(s.keys, self.rows) * self.rows)
        self.at_q = self.room(s.features * self.wide)
        self.at_p = self.room(held * self.wide)
        self.at_out = self.room(s.values * self.wide)
        self.at_factor = self.room(self.wide)
        self.at_bias = self.room(held * self.wide) if s.mask and s.m[0] else 0
        self.write_reader("read", s.features, s.q, s.scale, False)
        self.write_writer("write", s.values, out_stride)
        self.write_bias()
        self.out_stride = out_stride
        self.tile()

    def tile(self) -> None:
        s = self.s
        f = Fn(self.module, self.name, "ptr q, ptr k, ptr v, ptr mask, ptr out, ptr lse, i64 tile, ptr scratch", s.ty, internal=True)
        q_tile, p_tile, out_tile, factor = (f.at(f.p_scratch, x) for x in (self.at_q, self.at_p, self.at_out, self.at_factor))
        bias = f.at(f.p_scratch, self.at_bias)
        q0 = f.p_tile * self.wide
        self.for_tile(f, f.p_tile, lambda n: f.invoke(f"{self.name}_read_{n}", f.at(f.p_q, q0 * s.q[0], s.memory), q_tile))
        low = f.fill(-math.inf, f.v)
        top, total, factors = ([f.var(x) for _ in range(self.vectors)] for x in (low, f.zero(), f.zero()))
        with f.loop(0, s.values * self.wide, self.lanes) as i:
            f.store(f.zero(), out_tile, i)
        end = self.key_end(f, q0)
        with f.loop(0, end, self.tile_keys) as k0:
            k1 = f.least(k0 + self.tile_keys, end)
            if self.at_bias:
                count = f.least(f.mul(f.ceil_div(k1 - k0, self.rows), self.rows), s.keys - k0)
                mask = f.at(f.p_mask, q0 * s.m[0] + k0 * s.m[1], "i8" if s.mask == "bool" else s.memory)
                self.for_tile(f, f.p_tile, lambda n: f.invoke(f"{self.name}_bias_{n}", mask, bias, count))
            most = [f.var(low) for _ in range(self.vectors)]

            def score(j, rows):
                acc = [[f.var(f.zero()) for _ in range(self.vectors)] for _ in range(rows)]
                for i, row in enumerate(self.scores(f, acc, j, rows, q0, f.p_k, q_tile, f.p_mask, (bias, k0))):
                    for at, x in enumerate(row):
                        f.store(x, p_tile, (f.add(j, i) - k0) * self.wide + at * self.lanes)
                        most[at].set(f.top(x, most[at].get()))
            self.row_tiles(f, k0, k1, s.keys, score)
            shift = []
            for at in range(self.vectors):
                old, new = top[at].get(), f.top(top[at].get(), most[at].get())
                shift.append(f.select(f.compare("eq", new, low), f.zero(), new))       # nothing allowed yet
                factors[at].set(vmath.exp_down(f, f.sub(old, shift[at])))
                top[at].set(new)
                total[at].set(f.mul(total[at].get(), factors[at].get()))
            with f.loop(0, k1 - k0) as j:
                for at in range(self.vectors):
                    x = vmath.exp_down(f, f.sub(f.load(p_tile, j * self.wide + at * self.lanes), shift[at]))
                    total[at].set(total[at].get() + x)
                    f.store(x, p_tile, j * self.wide + at * self.lanes)

            def gather(c, rows):
                acc = [[f.var(f.mul(f.load(out_tile, f.add(c, i) * self.wide + at * self.lanes), factors[at].get()))
                        for at in range(self.vectors)] for i in range(rows)]
                values = f.at(f.p_v, f.add(k0 * self.v[0], f.mul(c, self.v[1])))
                accumulate(f, acc, k1 - k0, values, (self.v[1], self.v[0]), p_tile, self.wide)
                for i, row in enumerate(acc):
                    for at, x in enumerate(row):
                        f.store(x.get(), out_tile, f.add(c, i) * self.wide + at * self.lanes)
            self.row_tiles(f, 0, s.values, s.values, gather)
        for at in range(self.vectors):
            nothing = f.compare("eq", total[at].get(), f.zero())
            whole = f.select(nothing, f.fill(1.0, f.v), total[at].get())
            f.store(f.div(1.0, whole), factor, at * self.lanes)
            lse = f.select(nothing, f.fill(math.inf, f.v), vmath.log(f, whole) + top[at].get())
            left = f.least(f.most(s.queries - (q0 + at * self.lanes), 0), self.lanes)
            f.store(lse, f.p_lse, q0 + at * self.lanes, f.mask(left))
        to = f.at(f.p_out, q0 * self.out_stride, s.memory)
        self.for_tile(f, f.p_tile, lambda n: f.invoke(f"{self.name}_write_{n}", out_tile, to, factor))
        f.end()


def describe(q, k, v, mask, attrs, isa: Isa) -> Shape | None:
    """The shape of an attention, None if it is not for this module."""
    memory = MEMORY.get(q.dtype)
    ty = REAL.get(q.dtype, "float")
    if memory is None or (memory == "half" and not isa.half) or not q.dtype is k.dtype is v.dtype:
        return None
    if 0 in q.shape or 0 in k.shape or 0 in v.shape:
        return None
    kind, m = "", (0, 0)
    if mask is not None:
        if mask.dtype is not dt.bool_ and mask.dtype is not q.dtype:
            return None
        kind = "bool" if mask.dtype is dt.bool_ else "float"
        shape, strides = ((1, 1) + mask.shape)[-2:], ((0, 0) + mask.strides)[-2:]
        m = tuple(0 if n == 1 else s for n, s in zip(shape, strides))
    return Shape(q.shape[-2], k.shape[-2], q.shape[-1], v.shape[-1], tuple(q.strides[-2:]), tuple(k.strides[-2:]), tuple(v.strides[-2:]),
                 bool(attrs["is_causal"]), float(attrs["scale"]), ty, memory, kind, m)


def heads(f: Fn, batch, units: int, names, views, body) -> None:
    """`body(head, unit, pointers)` for this thread's share of heads and, in each, of `units`; cheap and dear units alternate,
    so that equal shares cost the same under a causal mask."""
    count = math.prod([d[0] for d in batch])
    lo, hi = f.div(count * units * f.p_tid, f.p_nth), f.div(count * units * (f.p_tid + 1), f.p_nth)
    with f.loop(lo, hi) as item:
        head, i = f.div(item, units), f.rem(item, units)
        half = f.div(i, 2)
        unit = f.select(f.compare("eq", f.rem(i, 2), 0), half, f.sub(units - 1, half))
        offsets, left = [0] * len(views), head
        for dim, *strides in reversed(batch):
            index, left = f.rem(left, dim), f.div(left, dim)
            offsets = [o + index * s for o, s in zip(offsets, strides)]
        body(head, unit, [f.at(p, o, ty) for p, o, ty in zip(views, offsets, names)])


def elements(views) -> list[str]:
    """What the memory of each operand holds."""
    return ["i8" if x.dtype is dt.bool_ else MEMORY[x.dtype] for x in views]


@extern("attention")
def attention_extern(call, isa: Isa, symbol: str) -> Extern | None:
    """The forward pass, for float32 and float64."""
    q, k, v, mask = call.operands
    out, lse = call.outs
    s = describe(q, k, v, mask, call.attrs, isa)
    if s is None or call.post or 0 in out.shape or out.strides[-1] != 1 or not lse.contiguous or REAL.get(lse.dtype) != s.ty:
        return None
    module = Module(isa, symbolic(call))
    forward = Forward(module, f"{symbol}_tile", s, out.strides[-2])
    operands = [x for x in (q, k, v, mask, out, lse) if x is not None]
    batch = fold_batch(batch_strides(operands, len(out.shape) - 2, out.shape[:-2], ()))
    f = Fn(module, symbol, EXTERN_PARAMS, s.ty)
    views = [f.load(f.p_views, i, "ptr") for i in range(len(operands))]

    current = f.var(-1)

    def tile(head, unit, pointers):
        if mask is None:
            pointers.insert(3, f.val("null", "ptr"))
        if forward.copied:
            with f.when(f.compare("ne", head, current.get())):
                pointers[1:3] = forward.gathered(f, *pointers[1:3])
                current.set(head)
            pointers[1:3] = [f.at(f.p_scratch, at) for at in (forward.at_k, forward.at_v)]
        f.invoke(forward.name, *pointers, unit, f.p_scratch)
    heads(f, batch, forward.tiles, elements(operands), views, tile)
    f.end()
    count = math.prod(out.shape[:-2])
    return Extern(module.text, symbol, sizes=module.sizes, scratch=forward.used * forward.size, flops=s.flops(2) * count,
                  parallel=s.flops(2) * count > 200_000, invariant=True)


class Backward(Tiles):
    """`NAME(g, q, k, v, mask, lse, gq, gk, gv, tile, scratch)`: one tile of queries of one head; what it adds to the gradients
    of keys and values is added in place, so the tiles of a head run in order."""

    def __init__(self, module: Module, name: str, s: Shape, g: tuple[int, int], needs, strides: tuple[int, int, int]):
        super().__init__(module, name, s)
        self.needs, self.strides = needs, strides                 # row strides of gq, gk, gv
        self.apart = s.memory != s.ty or strides[1:] != (s.features, s.values)      # gradients are summed in scratch
        self.at_sums = [self.room(s.keys * n) if self.apart and need else 0 for n, need in ((s.features, needs[1]), (s.values, needs[2]))]
        held = ceil(s.keys, self.rows) * self.rows
        self.at_q = self.room(s.features * self.wide)
        self.at_g = self.room(s.values * self.wide)
        self.at_rows_q = self.room(self.padded(s.features) * self.wide)
        self.at_rows_g = self.room(self.padded(s.values) * self.wide)
        self.at_p = self.room(held * self.wide)
        self.at_ds = self.room(held * self.wide)
        self.at_out = self.room(s.features * self.wide)
        self.at_one = self.room(self.wide)
        self.at_bias = self.room(held * self.wide) if s.mask and s.m[0] else 0
        self.write_reader("q", s.features, s.q, s.scale, True)
        self.write_reader("g", s.values, g, 1, True)
        if needs[0]:
            self.write_writer("write", s.features, strides[0])
        self.write_bias()
        self.g = g
        self.tile()

    def tile(self) -> None:
        s = self.s
        f = Fn(self.module, self.name, "ptr g, ptr q, ptr k, ptr v, ptr mask, ptr lse, ptr gq, ptr gk, ptr gv, i64 tile, ptr scratch",
               s.ty, internal=True)
        q_tile, g_tile, q_rows, g_rows, p_tile, ds_tile, out_tile, ones, bias = (f.at(f.p_scratch, x) for x in (
            self.at_q, self.at_g, self.at_rows_q, self.at_rows_g, self.at_p, self.at_ds, self.at_out, self.at_one, self.at_bias))
        q0 = f.p_tile * self.wide
        end = self.key_end(f, q0)

        def read(n):
            f.invoke(f"{self.name}_q_{n}", f.at(f.p_q, q0 * s.q[0], s.memory), q_tile, q_rows)
            f.invoke(f"{self.name}_g_{n}", f.at(f.p_g, q0 * self.g[0], s.memory), g_tile, g_rows)
            if self.at_bias:
                f.invoke(f"{self.name}_bias_{n}", f.at(f.p_mask, q0 * s.m[0], "i8" if s.mask == "bool" else s.memory), bias, s.keys)
        self.for_tile(f, f.p_tile, read)
        lse, dots = [], [f.var(f.zero()) for _ in range(self.vectors)]
        for at in range(self.vectors):                            # queries that are not there: exp(-inf) = 0
            left = f.mask(f.least(f.most(s.queries - (q0 + at * self.lanes), 0), self.lanes))
            x = f.load(f.p_lse, q0 + at * self.lanes, mask=left)
            lse.append(x if left is None else f.select(left, x, f.fill(math.inf, f.v)))

        def weights(j, rows):
            acc = [[f.var(f.zero()) for _ in range(self.vectors)] for _ in range(rows)]
            for i, row in enumerate(self.scores(f, acc, j, rows, q0, f.p_k, q_tile, f.p_mask, (bias, 0))):
                for at, x in enumerate(row):
                    f.store(vmath.exp_down(f, f.sub(x, lse[at])), p_tile, f.add(j, i) * self.wide + at * self.lanes)
            if not (self.needs[0] or self.needs[1]):
                return
            acc = [[f.var(f.zero()) for _ in range(self.vectors)] for _ in range(rows)]
            accumulate(f, acc, s.values, f.at(f.p_v, j * self.v[0]), self.v, g_tile, self.wide)
            for i, row in enumerate(acc):
                for at, x in enumerate(row):
                    to = f.add(j, i) * self.wide + at * self.lanes
                    f.store(x.get(), ds_tile, to)
                    dots[at].set(f.fma(x.get(), f.load(p_tile, to), dots[at].get()))
        self.row_tiles(f, 0, end, s.keys, weights)
        if self.needs[0] or self.needs[1]:
            touched = f.least(f.mul(f.ceil_div(end, self.rows), self.rows), s.keys)
            with f.loop(0, touched) as j:
                for at in range(self.vectors):
                    to = j * self.wide + at * self.lanes
                    x = f.mul(f.sub(f.load(ds_tile, to), dots[at].get()), f.load(p_tile, to))
                    f.store(f.mul(x, s.scale), ds_tile, to)
        if self.needs[0]:
            for at in range(self.vectors):
                f.store(f.fill(1.0, f.v), ones, at * self.lanes)

            def gather(c, rows):
                acc = [[f.var(f.zero()) for _ in range(self.vectors)] for _ in range(rows)]
                accumulate(f, acc, end, f.at(f.p_k, c * self.k[1]), (self.k[1], self.k[0]), ds_tile, self.wide)
                for i, row in enumerate(acc):
                    for at, x in enumerate(row):
                        f.store(x.get(), out_tile, f.add(c, i) * self.wide + at * self.lanes)
            self.row_tiles(f, 0, s.features, s.features, gather)
            to = f.at(f.p_gq, q0 * self.strides[0], s.memory)
            self.for_tile(f, f.p_tile, lambda n: f.invoke(f"{self.name}_write_{n}", out_tile, to, ones))
        if self.needs[1]:
            self.add_up(f, f.p_gk, s.features if self.apart else self.strides[1], s.features, ds_tile, q_rows, end)
        if self.needs[2]:
            self.add_up(f, f.p_gv, s.values if self.apart else self.strides[2], s.values, p_tile, g_rows, end)
        f.end()

    def head(self, f: Fn, pointers) -> None:
        """All tiles of one head, in a function with `scratch`. Keys that no query sees get zeros."""
        s = self.s
        pointers[2:4] = self.gathered(f, *pointers[2:4])
        found = pointers[-2:]
        sums = [f.at(f.p_scratch, at) for at in self.at_sums] if self.apart else found
        columns = s.features, s.values
        for need, to, stride, n in zip(self.needs[1:3], sums, columns if self.apart else self.strides[1:], columns):
            if need:
                with f.loop(0, s.keys) as j:
                    self.blocks(f, n, lambda c, k: f.store(f.zero(), to, f.add(j * stride, c), f.mask(k)))
        with f.loop(0, self.tiles) as tile:
            f.invoke(self.name, *pointers[:-2], *sums, tile, f.p_scratch)
        for need, source, to, stride, n in zip(self.needs[1:3], sums, found, self.strides[1:], columns):
            if need and self.apart:
                with f.loop(0, s.keys) as j:
                    self.blocks(f, n, lambda c, k: f.write(f.load(source, f.add(j * n, c), mask=f.mask(k)), to, f.add(j * stride, c),
                                                           s.memory, f.mask(k)))

    def add_up(self, f: Fn, to, stride: int, columns: int, a, b, end) -> None:
        """to[keys, columns] += a[keys, queries] b[queries, columns]."""
        padded = self.padded(columns)
        group = 2 * self.lanes

        def part(j, rows, c, vectors, last):
            masks = [None] * (vectors - 1) + [f.mask(last)]
            at = [[f.add(f.add(j, i) * stride, f.add(c, x * self.lanes)) for x in range(vectors)] for i in range(rows)]
            acc = [[f.var(f.load(to, at[i][x], mask=masks[x])) for x in range(vectors)] for i in range(rows)]
            accumulate(f, acc, self.wide, f.at(a, j * self.wide), (self.wide, 1), f.at(b, c), padded)
            for i, row in enumerate(acc):
                for x, var in enumerate(row):
                    f.store(var.get(), to, at[i][x], masks[x])

        def keys(j, rows):
            with f.loop(0, columns - columns % group, group) as c:
                part(j, rows, c, 2, self.lanes)
            if columns % group:
                left = columns % group
                part(j, rows, columns - left, ceil(left, self.lanes), (left - 1) % self.lanes + 1)
        self.row_tiles(f, 0, end, self.s.keys, keys)


@extern("attention_backward")
def attention_backward_extern(call, isa: Isa, symbol: str) -> Extern | None:
    """The gradients of query, key and value; that of a mask is left to the reference. A head is one thread's."""
    g, q, k, v, mask, lse = call.operands
    needs = tuple(call.attrs["needs"])
    s = describe(q, k, v, mask, call.attrs, isa)
    if s is None or call.post or needs[3] or g.dtype is not q.dtype or REAL.get(lse.dtype) != s.ty or 0 in g.shape:
        return None
    if lse.strides[-2] != 1 and lse.shape[-2] > 1 or any(out.strides[-1] != 1 for out in call.outs):
        return None
    module = Module(isa, symbolic(call))
    rest = iter(call.outs)
    outs = [next(rest) if need else None for need in needs[:3]]
    strides = tuple(out.strides[-2] if out is not None else 0 for out in outs)
    backward = Backward(module, f"{symbol}_tile", s, tuple(g.strides[-2:]), needs, strides)
    slots = [g, q, k, v, mask, lse, *outs]
    operands = [x for x in slots if x is not None]
    lead = g.shape[:-2]
    batch = fold_batch(batch_strides(operands, len(lead), lead, ()))
    f = Fn(module, symbol, EXTERN_PARAMS, s.ty)
    views = [f.load(f.p_views, i, "ptr") for i in range(len(operands))]

    def head(_, unit, found):
        given = iter(found)
        backward.head(f, [f.val("null", "ptr") if x is None else next(given) for x in slots])
    heads(f, batch, 1, elements(operands), views, head)
    f.end()
    count = math.prod(lead)
    flops = (2 * s.flops(2) + s.flops(1)) * count
    return Extern(module.text, symbol, sizes=module.sizes, scratch=backward.used * backward.size, flops=flops,
                  parallel=count > 1 and flops > 200_000, invariant=True)
