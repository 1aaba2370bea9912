"""Products of matrices, generated: C = A B, batched, with a bias, an addend and ReLU as the result is stored.

In: a `Gemm` (shapes, strides, float type: all known), an `Isa`. Out: functions in an `emit.Module`. `product` writes
`void NAME(ptr a, ptr b, ptr c, ptr post..., i64 m0, i64 m1, i64 n0, i64 n1, ptr scratch, ptr shared)`, a block of the
result by one thread; `run_product` splits it over threads.

How it works (Goto and van de Geijn, 2008): a tile of C, as many rows and vectors as registers hold, is summed over a block
of K at a time. Blocks of B are copied into panels one tile wide, blocks of A into tiles, where the copy pays: then
whatever the strides were, the innermost loop reads memory in order. Everything is unrolled for the sizes at hand, the last
tiles too; sums run in the order of K, whatever the thread count. Rows that are a SymInt end in tiles of 8, 4, 2 and 1 rows.
"""
from __future__ import annotations

from dataclasses import dataclass, replace

from ..core import dtype as dt
from .emit import SIZES, Fn, Isa, Module
from .symbolic import SymInt

FEW = 8                         # rows from which on code may serve any number of them
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

    def typical(self) -> Gemm:
        """The product that stands for those that share code with this one."""
        def one(n: int, low: int, bound: int, high: int) -> int:
            return n if not isinstance(n, SymInt) else low if n <= bound else high
        return replace(self, m=one(self.m, 64, 192, 1024), n=one(self.n, 64, 192, 1024), k=one(self.k, 1024, 0, 1024))


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
    real, g = g, g.typical()
    any_rows = isinstance(real.m, SymInt)           # these end in tiles of powers of two, and threads may split either way
    for vectors in (1, 2, 3, 4) if isa.registers == 32 else (1, 2, 3):
        limit = min((isa.registers - 2 - vectors) // vectors, 24)
        for rows in range(min(limit, g.m), max(0, min(limit, g.m) // 2 - 1), -1):
            if any_rows and rows & (rows - 1):
                continue
            for along_n in (False,) if any_rows else (True, False):
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
    blocks = max(1, int(ceil(real.k, 384)))
    kc = real.k if blocks == 1 else min(real.k, ceil(ceil(real.k, blocks), lanes) * lanes)
    if isinstance(real.k, SymInt):
        kc = SymInt(kc, f"block of {real.k.formula}")        # another argument, though it may be the same number
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
        self.k_blocks = 2 if isinstance(g.k, SymInt) else ceil(g.k, tiling.kc) if g.k else 1      # one, or any number
        self.row_tail, self.column_tail = g.m % tiling.rows, g.n % tiling.width
        self.by_rows = g.a[1] == 1 or g.a[0] != 1        # packed A keeps its rows (k contiguous)
        # packed tiles of A: rows of kc elements, one cache line apart modulo their length; or kc columns of `rows`
        kc = 384 if isinstance(tiling.kc, SymInt) else tiling.kc
        self.a_row = kc + 64 // self.size if self.by_rows else 1
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
        if isinstance(g.m, SymInt):
            return heights(t.rows)
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

    def over_rows(self, f: Fn, lo, hi, act) -> None:
        """`act(i, height)` for the tiles of rows lo to hi; lo is the first of a tile, hi too or the end."""
        g, rows = self.g, self.t.rows
        if not isinstance(g.m, SymInt):
            with f.loop(lo, hi, rows) as i:
                self.choose_tile(f, self.heights(), g.m - i, lambda height: act(i, height))
            return
        any_rows(f, lo, hi, rows, act)

    def a_place(self, f: Fn, packed, row):
        """Where row `row` of a packed block of A begins, the first of a tile or of a tile's part."""
        at = f.div(row, self.t.rows) * self.a_tile
        if isinstance(self.g.m, SymInt):
            at = at + f.rem(row, self.t.rows) * self.a_row
        return f.at(packed, at)

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
                    mask = f.mask(height - j)
                    x = f.load(f.p_a, k * g.a[1] + j, mask=mask)
                    f.store(x, f.p_to, k * t.rows + j, mask if isinstance(g.m, SymInt) and height < t.rows else None)     # parts of a tile
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
                        def pack(i, h):
                            source, to = f.at(f.p_a, i * g.a[0] + pc * g.a[1]), self.a_place(f, packed_a, i - ic)
                            f.invoke(f"{self.name}_a_{h}", source, to, kc)
                        self.over_rows(f, ic, i_end, pack)
                    with f.loop(jc, j_end, t.width) as j:
                        if t.share_b:
                            b = f.at(f.p_packed, j * g.k + pc * t.width)
                        elif t.pack_b:
                            b = f.at(packed_b, (j - jc) * kc)
                        else:
                            b = f.at(f.p_b, pc * g.b[0] + j)
                        def tiles(i, h, j=j, b=b):
                            a = self.a_place(f, packed_a, i - ic) if t.pack_a else f.at(f.p_a, i * g.a[0] + pc * g.a[1])
                            c = f.at(f.p_c, i * g.c + j)
                            others = [f.at(getattr(f, f"p_x{p}"), j if post == "bias" else i * g.add + j)
                                      for p, post in enumerate(g.post) if post != "relu"]

                            self.choose_tile(f, self.widths(), g.n - j, lambda w: f.invoke(
                                f"{self.name}_tile_{h}_{w}", a, b, c, *others, kc, first, last))
                        self.over_rows(f, ic, i_end, tiles)
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


def heights(rows: int) -> list[int]:
    """The heights that any number of rows can be cut into: tiles of `rows`, then parts, each at most once."""
    return [rows, *[1 << i for i in range(rows.bit_length() - 1, -1, -1) if 1 << i < rows]]


def any_rows(f: Fn, lo, hi, rows: int, act) -> None:
    """`act(i, height)` for the rows lo to hi, cut into `heights(rows)`."""
    left = f.rem(f.sub(hi, lo), rows)
    at = f.sub(hi, left)
    with f.loop(lo, at, rows) as i:
        act(i, rows)
    for height in heights(rows)[1:]:
        some = f.int_op("and", left, height)
        with f.when(f.compare("ne", some, 0)):
            act(at, height)
        at = at + some


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


# ---------------------------------------------------------------------------------------------------- on threads
def run_product(f: Fn, product: Product, pointers, count: int = 1, batch: tuple = (), shared=None) -> None:
    """This thread's part of a product, in a function with `tid`, `nth` and `scratch`: all threads run it together."""
    g, t = product.g, product.t
    shared = f.p_shared if shared is None else shared
    if t.share_b:
        product.share(f, pointers[1], shared, f.p_tid, f.p_nth)
        barrier(f, f.p_nth)
    if count == 1 and isinstance(g.m, SymInt):
        along_n = f.compare("lt", f.run_time(g.m), f.p_nth * (2 * t.rows))      # too few rows for each thread
        size, unit = f.select(along_n, g.n, f.run_time(g.m)), f.select(along_n, f.run_time(t.width), t.rows)
        lo, hi = share_of(f, f.div(size + unit - 1, unit))
        lo, hi = lo * unit, f.least(hi * unit, size)
        rows = f.select(along_n, 0, lo), f.select(along_n, g.m, hi)
        columns = f.select(along_n, lo, 0), f.select(along_n, hi, g.n)
        f.invoke(product.name, *pointers, *rows, *columns, f.p_scratch, shared)
        return
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
