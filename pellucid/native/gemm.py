"""Products of matrices, generated: C = A B, batched, with a bias, an addend and ReLU as the result is stored.

In: a `Gemm` (shapes, strides, float type: all known), an `Isa`. Out: functions in an `emit.Module`. `product` writes
`void NAME(ptr a, ptr b, ptr c, ptr post..., i64 m0, i64 m1, i64 n0, i64 n1, ptr scratch, ptr shared)`, a block of the
result by one thread; `gemm_extern` makes of it what backend.py calls an extern, split over threads.

How it works (Goto and van de Geijn, 2008): a tile of C, as many rows and vectors as registers hold, is summed over a block
of K at a time. Blocks of B are copied into panels one tile wide, blocks of A into tiles, where the copy pays: then
whatever the strides were, the innermost loop reads memory in order. Everything is unrolled for the sizes at hand, the last
tiles too; sums run in the order of K, whatever the thread count.
"""
from __future__ import annotations

from dataclasses import dataclass

from ..core import dtype as dt
from ..core.spec import numel
from .backend import Extern, extern
from .emit import SIZES, Fn, Isa, Module

REAL = {dt.float32: "float", dt.float64: "double"}


@dataclass(frozen=True, slots=True)
class Gemm:
    """One product: c[m, n] = sum over k of a[m, k] * b[k, n], then `post` in order ("bias": along n; "add": a matrix like
    c, its row stride in `add`; "relu"). Strides count elements; c's and the addend's columns are contiguous."""

    m: int
    n: int
    k: int
    a: tuple[int, int]              # strides of a along m and k
    b: tuple[int, int]              # strides of b along k and n
    c: int                          # row stride of c
    ty: str = "float"
    post: tuple[str, ...] = ()
    add: int = 0
    accumulate: bool = False        # c += a b

    @property
    def flops(self) -> int:
        return 2 * self.m * self.n * self.k


@dataclass(frozen=True, slots=True)
class Tiling:
    """How a product is cut: tiles of `rows` x (`vectors` * `lanes`); blocks of `kc`, `mc`, `nc`; what is copied first."""

    rows: int
    vectors: int
    lanes: int
    kc: int
    mc: int
    nc: int
    pack_a: bool
    pack_b: bool
    share_b: bool                   # all of B is packed once, by all threads together
    along_n: bool                   # threads split the columns (else the rows)

    @property
    def width(self) -> int:
        return self.vectors * self.lanes


def tile_cost(rows: int, vectors: int, lanes: int) -> float:
    """Cycles that one step of k takes in a tile: two multiplies a cycle, two loads a cycle, at least the latency of one;
    and a share of what fetching the operands from the second cache takes."""
    return max(rows * vectors / 2, (rows + vectors) / 2 + 0.5, 4.0) + (rows + vectors * lanes) / 64


def ceil(a: int, b: int) -> int:
    return -(-a // b)


def spans(total: int, unit: int, parts: int) -> dict[int, int]:
    """How many pieces of which size the largest of `parts` equal shares of `total` has: `unit`s, and a rest."""
    share = min(total, ceil(ceil(total, unit), parts) * unit)
    return {size: count for size, count in ((unit, share // unit), (share % unit, 1)) if size and count}


def choose(g: Gemm, isa: Isa, batch: int = 1, threads: int = 2) -> Tiling:
    """The tiling with the fewest cycles by `tile_cost`, for a given number of threads (any number may run it)."""
    lanes = isa.lanes(g.ty)
    size = SIZES[g.ty]
    best = None
    for vectors in (1, 2, 3, 4) if isa.registers == 32 else (1, 2, 3):
        limit = min((isa.registers - 2 - vectors) // vectors, 24)
        for rows in range(min(limit, g.m), max(0, min(limit, g.m) // 2 - 1), -1):
            for along_n in (True, False):
                share = threads if batch == 1 else 1
                tall = spans(g.m, rows, 1 if along_n else share)
                wide = spans(g.n, vectors * lanes, share if along_n else 1)
                cost = sum((tile_cost(r, ceil(w, lanes), lanes) * g.k + 24 + 2 * r * ceil(w, lanes)) * tall[r] * wide[w]
                           for r in tall for w in wide)
                # copying: what every thread must copy by itself
                if g.a[1] != 1 or sum(wide.values()) > 4:
                    cost += sum(r * n for r, n in tall.items()) * g.k / 6
                if g.b[1] != 1:
                    cost += sum(w * n for w, n in wide.items()) * g.k / 3 / (1 if along_n else share)
                if best is None or cost < best[0]:
                    best = cost, rows, vectors, along_n
    _, rows, vectors, along_n = best
    width = vectors * lanes
    blocks = max(1, ceil(g.k, 384))
    kc = g.k if blocks == 1 else min(g.k, ceil(ceil(g.k, blocks), lanes) * lanes)
    mc = max(1, (128 * 1024 * 4 // size // kc) // rows) * rows
    nc = max(1, (512 * 1024 * 4 // size // kc) // width) * width
    panels = ceil(g.n, width)
    conflict = (g.a[0] * size) % 1024 == 0
    pack_a = 1 not in g.a or (panels > 2 and (panels > 8 or conflict or (g.a[1] != 1 and g.k > 256)))
    pack_b = g.b[1] != 1 or (ceil(g.m, rows) > 4 and (g.b[0] * size) % 1024 == 0 and g.k > 64) or ceil(g.m, rows) > 24
    share_b = pack_b and batch == 1 and not along_n and g.k * panels * width * size <= 64 << 20
    return Tiling(rows, vectors, lanes, kc, mc, nc, pack_a, pack_b, share_b, along_n)


class Product:
    """Writes the functions of one product into a module."""

    def __init__(self, module: Module, name: str, g: Gemm, tiling: Tiling):
        self.module, self.name, self.g, self.t = module, name, g, tiling
        self.size = SIZES[g.ty]
        self.k_blocks = ceil(g.k, tiling.kc) if g.k else 1
        self.row_tail, self.column_tail = g.m % tiling.rows, g.n % tiling.width
        self.by_rows = g.a[1] == 1 or g.a[0] != 1        # packed A keeps its rows (k contiguous)
        # packed tiles of A: rows of kc elements, one cache line apart modulo their length; or kc columns of `rows`
        self.a_row = tiling.kc + 64 // self.size if self.by_rows else 1
        self.a_tile = tiling.rows * self.a_row if self.by_rows else tiling.kc * tiling.rows + tiling.lanes

    # ------------------------------------------------------------------------------------------------ memory it needs
    @property
    def scratch(self) -> int:
        """Bytes of scratch per thread."""
        t, g = self.t, self.g
        a = ceil(min(t.mc, g.m), t.rows) * self.a_tile if t.pack_a else 0
        b = 0 if not t.pack_b or t.share_b else ceil(min(t.nc, g.n), t.width) * t.width * t.kc
        return (self.round(a) + b) * self.size

    @property
    def shared(self) -> int:
        return ceil(self.g.n, self.t.width) * self.t.width * self.g.k * self.size if self.t.share_b else 0

    def round(self, elements: int) -> int:
        return ceil(elements * self.size, 64) * 64 // self.size

    # ------------------------------------------------------------------------------------------------ names and shapes
    def heights(self) -> list[int]:
        """The heights tiles have."""
        g, t = self.g, self.t
        return ([t.rows] if g.m >= t.rows else []) + ([self.row_tail] if self.row_tail else [])

    def widths(self) -> list[int]:
        g, t = self.g, self.t
        return ([t.width] if g.n >= t.width else []) + ([self.column_tail] if self.column_tail else [])

    def choose_tile(self, f: Fn, sizes: list[int], left, act) -> None:
        """Call `act(size)` for the tile size that fits what is left: a full tile, or the last one."""
        if len(sizes) == 1:
            act(sizes[0])
            return
        full = f.compare("ge", left, sizes[0])
        with f.when(full):
            act(sizes[0])
        with f.unless(full):
            act(sizes[1])

    def write(self) -> Product:
        for height in self.heights():
            for width in self.widths():
                self.micro(height, width)
            if self.t.pack_a:
                self.pack_a(height)
        if self.t.pack_b:
            for width in self.widths():
                self.pack_b(width)
        self.block()
        return self

    # ------------------------------------------------------------------------------------------------ one tile
    def micro(self, height: int, width: int) -> None:
        """c[tile] (+)= a[tile] b[panel] over kc steps; `first`: c is not read; `last`: the post-steps are applied."""
        g, t = self.g, self.t
        posts = "".join(f", ptr x{i}" for i, p in enumerate(g.post) if p != "relu")
        f = Fn(self.module, f"{self.name}_tile_{height}_{width}", f"ptr a, ptr b, ptr c{posts}, i64 kc, i1 first, i1 last", g.ty,
               internal=True)
        vectors = ceil(width, t.lanes)
        mask = f.mask(width - (vectors - 1) * t.lanes)
        masks = [None] * (vectors - 1) + [mask]
        a_row, a_step = (self.a_row, 1) if t.pack_a and self.by_rows else (1, t.rows) if t.pack_a else g.a
        b_step = t.width if t.pack_b else g.b[0]
        b_masks = [None] * vectors if t.pack_b else masks
        acc = [[f.var(f.zero()) for _ in range(vectors)] for _ in range(height)]
        kc = f.p_kc if self.k_blocks > 1 else g.k
        accumulate(f, acc, kc, f.p_a, (a_row, a_step), f.p_b, b_step, b_masks)
        if self.k_blocks > 1 or g.accumulate:
            first = False if g.accumulate else f.p_first
            with f.unless(first):
                self.each(f, acc, masks, lambda i, j, x, m: x + f.load(f.p_c, i * g.c + j * t.lanes, mask=m))
        others = {p: getattr(f, f"p_x{p}") for p, post in enumerate(g.post) if post != "relu"}
        self.finish(f, acc, masks, f.p_c, others, f.p_last if self.k_blocks > 1 else True)
        f.end()

    def finish(self, f: Fn, acc, masks, c, others, last=True) -> None:
        """The post-steps, if this is the `last` block of k, and the stores."""
        g, lanes = self.g, self.t.lanes
        with f.when(last):
            for p, post in enumerate(g.post):
                if post == "relu":
                    zero = f.zero()
                    # not (x < 0), so that NaN stays
                    self.each(f, acc, masks, lambda i, j, x, m: f.select(f.compare("lt", x, zero), zero, x))
                elif post == "bias":
                    bias = [f.load(others[p], j * lanes, mask=mask) for j, mask in enumerate(masks)]
                    self.each(f, acc, masks, lambda i, j, x, m: x + bias[j])
                else:
                    self.each(f, acc, masks, lambda i, j, x, m: x + f.load(others[p], i * g.add + j * lanes, mask=m))
        for i, row in enumerate(acc):
            for j, x in enumerate(row):
                f.store(x.get(), c, i * g.c + j * lanes, masks[j])

    @staticmethod
    def each(f: Fn, acc, masks, change) -> None:
        for i, row in enumerate(acc):
            for j, var in enumerate(row):
                var.set(change(i, j, var.get(), masks[j]))

    # ------------------------------------------------------------------------------------------------ copies
    def k_loop(self, f: Fn, kc, body) -> None:
        """`body(k, count)` for blocks of `lanes` steps of k, then for those left (known: only the last block has them)."""
        lanes, tail = self.t.lanes, self.g.k % self.t.lanes
        whole = kc - f.rem(kc, lanes)
        with f.loop(0, whole, lanes) as k:
            body(k, lanes)
        if tail:
            with f.when(f.compare("lt", whole, kc)):
                body(whole, tail)

    def pack_a(self, height: int) -> None:
        """A tile of A to `to`: rows as they are, or columns of `rows` elements."""
        g, t = self.g, self.t
        f = Fn(self.module, f"{self.name}_a_{height}", "ptr a, ptr to, i64 kc", g.ty, internal=True)
        kc = f.p_kc if self.k_blocks > 1 else g.k
        if g.a[1] == 1:
            def body(k, count):
                mask = f.mask(count)
                for i in range(height):
                    f.store(f.load(f.p_a, i * g.a[0] + k, mask=mask), f.p_to, i * self.a_row + k)
            self.k_loop(f, kc, body)
        elif g.a[0] == 1:
            with f.loop(0, kc) as k:
                for j in range(0, height, t.lanes):          # what is stored past the column is overwritten by the next
                    x = f.load(f.p_a, k * g.a[1] + j, mask=f.mask(height - j))
                    f.store(x, f.p_to, k * t.rows + j)
        else:
            with f.loop(0, kc) as k:
                for i in range(height):
                    f.store(f.load(f.p_a, k * g.a[1] + i * g.a[0], g.ty), f.p_to, i * self.a_row + k)
        f.end()

    def pack_b(self, width: int) -> None:
        """A panel of B to `to`: kc rows of the tile's width, zero where B has no more columns."""
        g, t = self.g, self.t
        f = Fn(self.module, f"{self.name}_b_{width}", "ptr b, ptr to, i64 kc", g.ty, internal=True)
        kc = f.p_kc if self.k_blocks > 1 or t.share_b else g.k
        starts = range(0, t.width, t.lanes)
        if g.b[1] == 1:
            with f.loop(0, kc) as k:
                for j in starts:
                    x = f.zero() if j >= width else f.load(f.p_b, k * g.b[0] + j, mask=f.mask(width - j))
                    f.store(x, f.p_to, k * t.width + j)
        elif g.b[0] == 1:
            for j in starts:
                columns = min(max(width - j, 0), t.lanes)

                def body(k, count, j=j, columns=columns):
                    mask = f.mask(count)
                    x = [f.load(f.p_b, (j + i) * g.b[1] + k, mask=mask) if i < columns else f.zero() for i in range(t.lanes)]
                    for i, row in enumerate(transpose(f, x)[:count]):
                        f.store(row, f.p_to, (k + i) * t.width + j)
                self.k_loop(f, kc, body)
        else:
            with f.loop(0, kc) as k:
                for j in range(t.width):
                    x = f.load(f.p_b, k * g.b[0] + j * g.b[1], g.ty) if j < width else f.val("0.0", g.ty)
                    f.store(x, f.p_to, k * t.width + j)
        f.end()

    # ------------------------------------------------------------------------------------------------ the loops
    def block_function(self) -> Fn:
        posts = "".join(f", ptr x{i}" for i, p in enumerate(self.g.post) if p != "relu")
        return Fn(self.module, self.name, f"ptr a, ptr b, ptr c{posts}, i64 m0, i64 m1, i64 n0, i64 n1, ptr scratch, ptr packed", self.g.ty,
                  internal=True)

    def block(self) -> None:
        """c[m0:m1, n0:n1] by one thread; m0 and n0 are multiples of a tile's rows and width."""
        g, t = self.g, self.t
        f = self.block_function()
        packed_a = f.p_scratch
        packed_b = f.at(f.p_scratch, self.round(ceil(min(t.mc, g.m), t.rows) * self.a_tile if t.pack_a else 0))
        with self.k_parts(f) as (pc, kc, first, last):
            with f.loop(f.p_n0, f.p_n1, t.nc) as jc:
                j_end = f.least(jc + t.nc, f.p_n1)
                if t.pack_b and not t.share_b:
                    with f.loop(jc, j_end, t.width) as j:
                        source, to = f.at(f.p_b, pc * g.b[0] + j * g.b[1]), f.at(packed_b, (j - jc) * kc)
                        self.choose_tile(f, self.widths(), g.n - j, lambda w: f.invoke(f"{self.name}_b_{w}", source, to, kc))
                with f.loop(f.p_m0, f.p_m1, t.mc) as ic:
                    i_end = f.least(ic + t.mc, f.p_m1)
                    if t.pack_a:
                        with f.loop(ic, i_end, t.rows) as i:
                            source = f.at(f.p_a, i * g.a[0] + pc * g.a[1])
                            to = f.at(packed_a, f.div(i - ic, t.rows) * self.a_tile)
                            self.choose_tile(f, self.heights(), g.m - i, lambda h: f.invoke(f"{self.name}_a_{h}", source, to, kc))
                    with f.loop(jc, j_end, t.width) as j:
                        if t.share_b:
                            b = f.at(f.p_packed, j * g.k + pc * t.width)
                        elif t.pack_b:
                            b = f.at(packed_b, (j - jc) * kc)
                        else:
                            b = f.at(f.p_b, pc * g.b[0] + j)
                        with f.loop(ic, i_end, t.rows) as i:
                            a = f.at(packed_a, f.div(i - ic, t.rows) * self.a_tile) if t.pack_a else f.at(f.p_a, i * g.a[0] + pc * g.a[1])
                            c = f.at(f.p_c, i * g.c + j)
                            others = [f.at(getattr(f, f"p_x{p}"), j if post == "bias" else i * g.add + j)
                                      for p, post in enumerate(g.post) if post != "relu"]

                            def tile(h, w):
                                f.invoke(f"{self.name}_tile_{h}_{w}", a, b, c, *others, kc, first, last)
                            self.choose_tile(f, self.heights(), g.m - i, lambda h: self.choose_tile(
                                f, self.widths(), g.n - j, lambda w: tile(h, w)))
        f.end()

    def k_parts(self, f: Fn):
        """A loop over the blocks of K: (start, length, whether first, whether last)."""
        return KParts(f, self.g.k, self.t.kc, self.k_blocks)

    def share(self, f: Fn, b, shared, tid, nth) -> None:
        """This thread's part of packing all of B."""
        g, t = self.g, self.t
        panels = ceil(g.n, t.width)
        with f.loop(f.div(panels * tid, nth), f.div(panels * (tid + 1), nth)) as p:
            source, to = f.at(b, p * (t.width * g.b[1])), f.at(shared, p * (t.width * g.k))
            self.choose_tile(f, self.widths(), g.n - p * t.width,
                             lambda w: f.invoke(f"{self.name}_b_{w}", source, to, g.k))


class Dots(Product):
    """A product with few rows whose operands both lie along k: each number is a sum of vectors, and nothing is copied."""

    ROWS = 4                        # at most

    def __init__(self, module: Module, name: str, g: Gemm):
        lanes = module.isa.lanes(g.ty)
        super().__init__(module, name, g, Tiling(g.m, 1, lanes, max(g.k, 1), g.m, lanes, False, False, False, True))

    @staticmethod
    def fits(g: Gemm) -> bool:
        return g.m <= Dots.ROWS and g.a[1] == 1 and g.b[0] == 1 and g.k >= 32

    def write(self) -> Dots:
        g, t = self.g, self.t
        f = self.block_function()
        with f.loop(f.p_n0, f.p_n1, t.width) as j:
            self.choose_tile(f, self.widths(), f.sub(g.n, j), lambda width: self.columns(f, j, width))
        f.end()
        return self

    def columns(self, f: Fn, j, width: int) -> None:
        """All rows of the columns j to j + width."""
        g, t = self.g, self.t
        group = max(1, (self.module.isa.registers - 6) // g.m // 2)
        mask = f.mask(width)
        out = [[f.zero()] for _ in range(g.m)]
        for start in range(0, width, group):
            count = min(group, width - start)
            sums = [[f.var(f.zero()) for _ in range(count)] for _ in range(g.m)]
            b = f.at(f.p_b, f.add(j, start) * g.b[1])

            def step(k, n, sums=sums, b=b, count=count):
                part = f.mask(n)
                x = [f.load(f.p_a, f.add(k, i * g.a[0]), mask=part) for i in range(g.m)]
                for c in range(count):
                    y = f.load(b, f.add(k, c * g.b[1]), mask=part)
                    for i in range(g.m):
                        sums[i][c].set(f.fma(x[i], y, sums[i][c].get()))
            whole = g.k - g.k % t.lanes
            with f.loop(0, whole, t.lanes) as k:
                step(k, t.lanes)
            if g.k % t.lanes:
                step(whole, g.k % t.lanes)
            for i, row in enumerate(sums):
                for c, x in enumerate(row):
                    out[i] = [f.insert(out[i][0], f.reduce("fadd", x.get()), start + c) if t.lanes > 1 else f.reduce("fadd", x.get())]
        acc = [[f.var(row[0])] for row in out]
        self.finish(f, acc, [mask], f.at(f.p_c, j), {p: f.at(getattr(f, f"p_x{p}"), j) for p, post in enumerate(g.post) if post != "relu"})


class KParts:
    """`with` block over the parts of K; with one part there is no loop."""

    def __init__(self, f: Fn, k: int, kc: int, blocks: int):
        self.f, self.k, self.kc, self.blocks = f, k, kc, blocks

    def __enter__(self):
        f = self.f
        yes = f.val("true", "i1")
        if self.blocks == 1:
            return 0, self.k, yes, yes
        self.loop = f.loop(0, self.k, self.kc)
        pc = self.loop.__enter__()
        kc = f.least(self.k - pc, self.kc)
        return pc, kc, f.compare("eq", pc, 0), f.compare("eq", pc + kc, self.k)

    def __exit__(self, *error):
        if self.blocks > 1:
            self.loop.__exit__(*error)


def accumulate(f: Fn, acc, steps, a, a_strides, b, b_step, masks=None) -> None:
    """acc[i][j] += a[i, k] * (vector j of b[k]) for k in range(steps): the innermost loop of all products here. `a` has
    strides along rows and steps; rows of `b` are `b_step` apart."""
    row, step = a_strides
    vectors = len(acc[0])
    with f.loop(0, steps) as k:
        at = f.at(b, k * b_step)
        columns = [f.load(at, j * f.lanes, mask=masks and masks[j]) for j in range(vectors)]
        at = f.at(a, k * step)
        for i, sums in enumerate(acc):
            x = f.spread(at, i * row)
            for j in range(vectors):
                sums[j].set(f.fma(x, columns[j], sums[j].get()))


def transpose(f: Fn, rows: list) -> list:
    """The transpose of a square of vectors, in log2(lanes) rounds of shuffles."""
    n, rows, d = len(rows), list(rows), 1
    while d < n:
        low = [j if not j & d else n + j - d for j in range(n)]
        high = [j + d if not j & d else n + j for j in range(n)]
        for i in range(n):
            if not i & d:
                a, b = rows[i], rows[i + d]
                rows[i], rows[i + d] = f.shuffle(a, b, low), f.shuffle(a, b, high)
        d *= 2
    return rows


# ---------------------------------------------------------------------------------------------------- as an extern
def emit_gemm(symbol: str, g: Gemm, isa: Isa, batch: tuple = (), tiling: Tiling | None = None, swap: bool = False) -> Extern:
    """A product as an extern. `batch` lists leading dimensions as (size, stride in a, in b, in c, in each post operand);
    with `swap` the views come with b first."""
    count = 1
    for dim in batch:
        count *= dim[0]
    module = Module(isa)
    name = f"{symbol}_block"
    if tiling is None and Dots.fits(g):
        product = Dots(module, name, g).write()
    else:
        product = Product(module, name, g, tiling or choose(g, isa, count)).write()
    f = Fn(module, symbol, "ptr views, i64 tid, i64 nth, ptr scratch, ptr shared", g.ty)
    bases = [f.load(f.p_views, i, "ptr") for i in range(3 + len([p for p in g.post if p != "relu"]))]
    if swap:
        bases[:2] = bases[1::-1]
    run_product(f, product, bases, count, batch)
    f.end()
    return Extern(module.text, symbol, parallel=g.flops * count > 200_000, scratch=product.scratch, shared=product.shared,
                  flops=g.flops * count)


def run_product(f: Fn, product: Product, pointers, count: int = 1, batch: tuple = (), shared=None) -> None:
    """This thread's part of a product, in a function with `tid`, `nth` and `scratch`: all threads run it together."""
    g, t = product.g, product.t
    shared = f.p_shared if shared is None else shared
    if t.share_b:
        product.share(f, pointers[1], shared, f.p_tid, f.p_nth)
        barrier(f, f.p_nth)
    size, unit = (g.n, t.width) if t.along_n else (g.m, t.rows)
    units = ceil(size, unit)
    lo, hi = share_of(f, units * count)

    def part(pointers, lo, hi):
        lo, hi = lo * unit, f.least(hi * unit, size)
        m, n = ((0, g.m), (lo, hi)) if t.along_n else ((lo, hi), (0, g.n))
        f.invoke(product.name, *pointers, *m, *n, f.p_scratch, shared)
    if count == 1:
        part(pointers, lo, hi)
        return
    with f.loop(f.div(lo, units), f.ceil_div(hi, units)) as item:
        start, stop = f.most(lo - item * units, 0), f.least(hi - item * units, units)
        offsets, left = [0] * len(pointers), item
        for dim, *strides in reversed(batch):
            index, left = f.rem(left, dim), f.div(left, dim)
            offsets = [o + index * s for o, s in zip(offsets, strides)]
        part([f.at(p, o) for p, o in zip(pointers, offsets)], start, stop)


def share_of(f: Fn, n: int) -> tuple:
    """This thread's share of n things: first, and one past the last."""
    return f.div(n * f.p_tid, f.p_nth), f.div(n * (f.p_tid + 1), f.p_nth)


def barrier(f: Fn, nth) -> None:
    """All threads meet."""
    f.module.declare("declare void @pl_barrier(i64)")
    f.put(f"call void @pl_barrier(i64 {nth})")


def matrix_strides(view, transposed: bool) -> tuple[int, int]:
    """Strides along rows and columns of the last two dimensions; a stride never walked counts as what is most convenient."""
    (m, n), (r, c) = view.shape[-2:], view.strides[-2:]
    if transposed:
        (m, n), (r, c) = (n, m), (c, r)
    if n == 1 and c != 1:
        c = 1
    elif m == 1 and r != 1 and c != 1:
        r = 1
    return r, c


@extern("gemm", "bgemm")
def gemm_extern(call, isa, symbol: str) -> Extern | None:
    """`gemm` and `bgemm` of float32 and float64; other dtypes run elsewhere."""
    a, b = call.operands
    c = call.outs[0]
    if c.dtype not in REAL or a.dtype is not c.dtype or b.dtype is not c.dtype or 0 in c.shape:
        return None
    ta, tb = call.attrs["ta"], call.attrs["tb"]
    k = a.shape[-2] if ta else a.shape[-1]
    m, n = c.shape[-2:]
    if k == 0 or (n > 1 and c.strides[-1] != 1):
        return None
    operands = [a, b, c]
    for post in call.post:
        if post.kind not in ("bias", "add", "relu") or (post.operand is not None and post.operand.dtype is not c.dtype):
            return None
        if post.kind == "bias" and (len(post.operand.shape) != 1 or post.operand.strides[0] != 1):
            return None
        if post.kind == "add" and (post.operand.shape != c.shape or (n > 1 and post.operand.strides[-1] != 1)):
            return None
        if post.operand is not None:
            operands.append(post.operand)
    adds = [p.operand.strides[-2] for p in call.post if p.kind == "add"]
    if len(set(adds)) > 1:
        return None
    batch = fold_batch(batch_strides(operands, len(c.shape) - 2, c.shape[:-2], call.post))
    sa, sb, sc = matrix_strides(a, ta), matrix_strides(b, tb), c.strides[-2]
    if len(batch) == 1 and batch[0][2] == 0 and sa[0] * m == batch[0][1] and sc * m == batch[0][3] and foldable(batch[0][4:], call.post, adds, m):
        m, batch = m * batch[0][0], ()                   # one matrix for the whole batch: one large product
    posts = tuple(p.kind for p in call.post)
    if n == 1 and m > Dots.ROWS and sc == 1 and set(posts) <= {"relu"}:          # a column: the transpose is a row
        g = Gemm(1, m, k, (k * sb[0], sb[0]), sa[::-1], m, REAL[c.dtype], posts)
        return emit_gemm(symbol, g, isa, tuple((d, b, a, *rest) for d, a, b, *rest in batch), swap=True)
    return emit_gemm(symbol, Gemm(m, n, k, sa, sb, sc, REAL[c.dtype], posts, adds[0] if adds else 0), isa, batch)


SMALL = 32_000_000          # operations up to which generated code is at least as fast as a library, call and threads included


@extern("gemm", "bgemm", before_library=True)
def small_gemm_extern(call, isa, symbol: str) -> Extern | None:
    """Small float32 products go before the library: they join the parallel region around them."""
    a, c = call.operands[0], call.outs[0]
    k = a.shape[-2] if call.attrs["ta"] else a.shape[-1]
    if c.dtype is not dt.float32 or 2 * k * numel(c.shape) > SMALL:
        return None
    return gemm_extern(call, isa, symbol)


def foldable(strides, post, adds, m: int) -> bool:
    """Whether the post-steps' operands walk the batch as they walk rows."""
    kinds = [p.kind for p in post if p.kind != "relu"]
    return all(s == 0 if kind == "bias" else s == adds[0] * m for kind, s in zip(kinds, strides))


def batch_strides(operands, dims: int, shape, post) -> list[tuple[int, ...]]:
    """(size, stride in each operand) of the leading dimensions; 0 where an operand is broadcast. The last operands are those
    of the post-steps."""
    kinds = [p.kind for p in post if p.kind != "relu"]
    kinds = ["matrix"] * (len(operands) - len(kinds)) + kinds
    out = []
    for d in range(dims):
        steps = []
        for view, kind in zip(operands, kinds):
            at = d - dims + len(view.shape) - 2
            steps.append(0 if kind == "bias" or at < 0 or view.shape[at] == 1 else view.strides[at])
        out.append((shape[d], *steps))
    return out


def fold_batch(dims) -> tuple:
    """Neighbouring leading dimensions merged where every operand allows it; those of size 1 dropped."""
    out: list[tuple[int, ...]] = []
    for dim in dims:
        if dim[0] == 1:
            continue
        if out and all(s == t * dim[0] for s, t in zip(out[-1][1:], dim[1:])):
            out[-1] = (out[-1][0] * dim[0], *dim[1:])
        else:
            out.append(dim)
    return tuple(out)
