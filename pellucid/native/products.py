"""`gemm` and `bgemm` as externs: which generated product serves a call, batched and broadcast as its operands are.

In: a library call's views and post-steps. Out: an `Extern`, or None if the call belongs elsewhere. Large products are tiles
(gemm.py); those with few rows are sums of vectors (`Dots`). Small float32 products are offered before the library's.
"""
from __future__ import annotations

from dataclasses import replace

from ..core import dtype as dt
from ..core.spec import numel
from .backend import Extern, extern
from .emit import EXTERN_PARAMS, Fn, Isa, Module
from .gemm import FEW, REAL, Gemm, Product, Tiling, choose, run_product
from .symbolic import SymInt


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
        if isinstance(g.n, SymInt):
            whole = f.p_n1 - f.rem(f.p_n1 - f.p_n0, t.width)
            for lo, hi, width in ((f.p_n0, whole, t.width), (whole, f.p_n1, 1)):
                with f.loop(lo, hi, width) as j:
                    self.columns(f, j, width)
        else:
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


def emit_gemm(symbol: str, g: Gemm, isa: Isa, batch: tuple = (), tiling: Tiling | None = None, swap: bool = False) -> Extern:
    """A product as an extern. `batch` lists leading dimensions as (size, stride in a, in b, in c, in each post operand);
    with `swap` the views come with b first."""
    count = 1
    for dim in batch:
        count *= dim[0]
    if g.m < FEW:
        g = replace(g, m=int(g.m))
    module = Module(isa, any(isinstance(n, SymInt) for n in (g.m, g.n, g.k, *g.a, *g.b, g.c, g.add, *[n for dim in batch for n in dim])))
    name = f"{symbol}_block"
    if tiling is None and Dots.fits(g):
        product = Dots(module, name, g).write()
    else:
        product = Product(module, name, g, tiling or choose(g, isa, count)).write()
    f = Fn(module, symbol, EXTERN_PARAMS, g.ty)
    bases = [f.load(f.p_views, i, "ptr") for i in range(3 + len([p for p in g.post if p != "relu"]))]
    if swap:
        bases[:2] = bases[1::-1]
    run_product(f, product, bases, count, batch)
    f.end()
    return Extern(module.text, symbol, sizes=module.sizes, parallel=g.flops * count > 200_000, scratch=product.scratch, shared=product.shared,
                  flops=g.flops * count, invariant=True)


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
    shared_b = len(batch) == 1 and batch[0][2] == 0 and sa[0] * m == batch[0][1] and sc * m == batch[0][3]
    if shared_b and foldable(batch[0][4:], call.post, adds, m):
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
