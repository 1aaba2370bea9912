"""Kernels as native code: the same as what is printed, at every ISA, for sizes around the vectors' boundaries, within bounds."""

from __future__ import annotations

import itertools
import math
import os

import numpy as np
import pytest

from pellucid.core import dtype as dt
from pellucid.kernel.ir import (
    Accum, AccumStore, Apply, Axis, Buf, Const, If, Index, Kernel, Let, Load, Local, Loop, Store, Var,
)

pytest.importorskip("llvmlite")
from .kernel_harness import ISAS, Native, printed, ulps  # noqa: E402

F, D, I64, B = dt.float32, dt.float64, dt.int64, dt.bool_
SIZES = (0, 1, 7, 15, 16, 17, 63, 64, 65, 1000)


def at(const=0, **terms) -> Index:
    return Index(const, tuple(terms.items()))


def op(name, *args, d=None):
    return Apply(name, args, d or args[-1].dtype)


def num(x, d=F):
    return Const(x, d)


def row(name, d=F, **terms):
    return Load(name, at(**(terms or {"i": 1})), dt.float32 if d in (dt.float16, dt.bfloat16) else d)


def point(expr, ins, out=F, n="n"):
    """y[i] = expr for all i."""
    bufs = tuple(Buf(name, d, "in", n) for name, d in ins.items())
    return Kernel("point", (*bufs, Buf("y", out, "out", n)), ("n",) if n == "n" else (),
                  (Loop(Axis("i", n, "par", True), (Store("y", at(i=1), expr),)),))


def data(rng, d, n):
    if d is B:
        return rng.integers(0, 2, n).astype(bool)
    if d.is_floating_point:
        x = rng.standard_normal(n) * 3
        special = [0.0, -0.0, math.inf, -math.inf, math.nan, 1e-40, -1e-40, 3e38, 1.0, -1.0, 0.5, 2.5, 1e-30, 88.9, -103.5]
        where = rng.random(n) < 0.2
        x[where] = rng.choice(special, int(where.sum()))
        with np.errstate(all="ignore"):
            return x.astype(d.np)
    info = np.iinfo(d.np)
    x = rng.integers(info.min, info.max, n, dtype=d.np, endpoint=True)
    small = rng.integers(0, 2, n).astype(bool)
    return np.where(small, rng.integers(0 if info.min == 0 else -9, 9, n), x).astype(d.np)


def agree(kernel, native, k, arrays, sizes=(), limit=0.0, **how):
    want = printed(kernel, arrays, sizes)
    got = native.run(k, arrays, sizes, **how)
    for a, b, buf in zip(want, got, (b for b in kernel.bufs if b.role != "local")):
        if b.dtype.kind in "iub":
            assert np.array_equal(a, b), (kernel.name, buf.name, a[a != b][:5], b[a != b][:5], np.flatnonzero(a != b)[:5])
        else:
            assert ulps(a, b) <= limit, (kernel.name, buf.name, ulps(a, b), len(a))


@pytest.fixture(params=ISAS)
def level(request):
    from pellucid.native.isa import isa_of

    if isa_of(request.param).name != request.param:
        pytest.skip(f"this machine has no {request.param}")
    return request.param


# ---------------------------------------------------------------------------------------------------- pointwise
def arithmetic():
    x, z = row("x"), row("z")
    yield point(op("add", op("mul", x, z), num(1.5)), {"x": F, "z": F})
    yield point(op("div", op("sub", x, z), op("sqrt", op("abs", z))), {"x": F, "z": F})
    for name in ("max", "min", "maxnum", "minnum", "copysign", "rem", "mod", "floordiv"):
        yield point(op(name, x, z), {"x": F, "z": F})
    for name in ("max", "min", "maxnum", "minnum"):
        yield point(op(name, x, num(0.5)), {"x": F})
        yield point(op(name, num(0.5), x), {"x": F})
    for name in ("eq", "ne", "lt", "le", "gt", "ge"):
        yield point(Apply(name, (x, z), B), {"x": F, "z": F}, B)
    for name in ("floor", "ceil", "trunc", "rint", "neg", "abs", "sqrt"):
        yield point(op(name, x), {"x": F})
    yield point(Apply("isnan", (x,), B), {"x": F}, B)
    yield point(Apply("select", (Apply("gt", (x, z), B), op("mul", x, num(0.1)), z), F), {"x": F, "z": F})
    yield point(op("fma", x, z, x), {"x": F, "z": F})
    d = row("x", D), row("z", D)
    yield point(op("div", op("add", *d), d[1]), {"x": D, "z": D}, D)
    yield point(op("floordiv", *d), {"x": D, "z": D}, D)
    yield point(Apply("cast", (op("mul", *d),), F), {"x": D, "z": D}, F)
    yield point(op("add", Apply("cast", (x,), D), row("z", D)), {"x": F, "z": D}, D)


def whole():
    for d in (dt.int64, dt.int32, dt.uint8, dt.int8, dt.int16):
        x, z = row("x", d), row("z", d)
        for name in ("add", "sub", "mul", "max", "min", "floordiv", "mod", "and", "or", "xor"):
            yield point(op(name, x, z), {"x": d, "z": d}, d)
        for name in ("neg", "abs", "not"):
            yield point(op(name, x), {"x": d}, d)
        yield point(op("shl", x, num(3, d)), {"x": d}, d)
        yield point(op("shr", x, num(2, d)), {"x": d}, d)
        yield point(op("floordiv", x, num(7, d)), {"x": d}, d)
        yield point(Apply("lt", (x, z), B), {"x": d, "z": d}, B)
    a, b = row("x", B), row("z", B)
    for name in ("and", "or", "xor", "max", "min"):
        yield point(op(name, a, b), {"x": B, "z": B}, B)
    yield point(op("not", a), {"x": B}, B)
    yield point(Apply("select", (a, row("z", I64), num(3, I64)), I64), {"x": B, "z": I64}, I64)
    yield point(op("pow", row("x", I64), op("and", row("z", I64), num(15, I64))), {"x": I64, "z": I64}, I64)


def conversions():
    kinds = (B, dt.uint8, dt.int8, dt.int16, dt.int32, dt.int64, F, D)
    for a, b in itertools.product(kinds, kinds):
        if a is not b and not (a.is_floating_point and not b.is_floating_point and b is not B):
            yield point(Apply("cast", (row("x", a),), b), {"x": a}, b)
    for d in (dt.bfloat16, dt.float16):
        yield point(op("mul", row("x", d), row("z")), {"x": d, "z": F}, d)
        yield point(row("x"), {"x": F}, d)
        yield point(row("x", d), {"x": d}, F)
        yield point(op("add", Apply("cast", (Apply("cast", (row("x"),), d),), F), num(1.0)), {"x": F}, F)
    yield point(Apply("bitcast", (row("x"),), dt.int32), {"x": F}, dt.int32)


def check_all(kernels, level, sizes, ends=(True, False)):
    rng = np.random.default_rng(7)
    kernels = list(kernels)
    native = Native(kernels, level)
    for k, kernel in enumerate(kernels):
        for n in sizes:
            arrays = [data(rng, b.dtype, n) for b in kernel.bufs]
            arrays[-1] = np.zeros(n, kernel.bufs[-1].dtype.np)
            for end in ends:
                # without the instruction, fma is rounded twice
                agree(kernel, native, k, arrays, (n,), end=end, threads=1 + n % 3)


@pytest.mark.parametrize("family", [arithmetic, whole, conversions], ids=lambda f: f.__name__)
def test_pointwise_kernels_are_what_they_print(family, level):
    check_all(family(), level, (0, 1, 17, 65) if os.environ.get("PELLUCID_TEST_FULL") != "1" else SIZES)


def test_sizes_around_the_vectors_boundaries(level):
    x, z = row("x"), row("z")
    kernels = [point(op("add", op("mul", op("exp", x), z), num(1.5)), {"x": F, "z": F}), point(op("add", x, z), {"x": F, "z": F}),
               point(op("mul", row("x", D), row("z", D)), {"x": D, "z": D}, D), point(op("and", row("x", B), row("z", B)), {"x": B, "z": B}, B)]
    check_all(kernels, level, SIZES)


def test_floats_to_integers_are_cut_and_wrapped(level):
    kinds = (dt.uint8, dt.int8, dt.int16, dt.int32, dt.int64)
    kernels = [point(Apply("cast", (row("x", a),), b), {"x": a}, b) for a in (F, D) for b in kinds]
    native = Native(kernels, level)
    rng = np.random.default_rng(0)
    for k, kernel in enumerate(kernels):
        x = (rng.standard_normal(100) * 50).astype(kernel.bufs[0].dtype.np)
        agree(kernel, native, k, [x, np.zeros(100, kernel.bufs[1].dtype.np)], (100,))


# ---------------------------------------------------------------------------------------------------- reductions
def softmax(rows, cols):
    x, e = row("x", r=cols, j=1), Var("e", F)
    y = at(r=cols, j=1)
    return Kernel("softmax", (Buf("x", F, "in", rows * cols), Buf("y", F, "out", rows * cols)), (), (Loop(Axis("r", rows, "par"), (
        Local("m", num(-math.inf)), Loop(Axis("j", cols, "red", True), (Accum("m", "max", x),)),
        Local("s", num(0.0)),
        Loop(Axis("j", cols, "red", True), (Let("e", op("exp", op("sub", x, Var("m", F)))), Store("y", y, e), Accum("s", "add", e))),
        Let("f", op("div", num(1.0), Var("s", F))),
        Loop(Axis("j", cols, "seq", True), (Store("y", y, op("mul", Load("y", y, F), Var("f", F))),)))),))


def layer_norm(rows, cols, name="n"):
    """With rows of a run-time length, and a scratch row that keeps the differences."""
    x, c = row("x", r=name, j=1), Const(1e-5, F)
    count = Apply("cast", (Var(name, I64),), F)
    y = at(r=name, j=1)
    d = Load("d", at(j=1), F)
    return Kernel("layer_norm", (Buf("x", F, "in", "all"), Buf("w", F, "in", name), Buf("y", F, "out", "all"), Buf("d", F, "local", name)),
                  (name, "rows", "all"), (Loop(Axis("r", "rows", "par"), (
                      Local("s", num(0.0)), Loop(Axis("j", name, "red", True), (Accum("s", "add", x),)),
                      Let("mean", op("div", Var("s", F), count)), Local("v", num(0.0)),
                      Loop(Axis("j", name, "red", True), (
                          Let("t", op("sub", x, Var("mean", F))), Store("d", at(j=1), Var("t", F)),
                          Accum("v", "add", op("mul", Var("t", F), Var("t", F))))),
                      Let("f", op("rsqrt", op("add", op("div", Var("v", F), count), c))),
                      Loop(Axis("j", name, "seq", True), (
                          Store("y", y, op("mul", op("mul", d, Var("f", F)), row("w", j=1))),)))),))


def sums(rows, cols, d=F):
    """Along rows, along columns, and of everything, in one pass."""
    h = F if d in (dt.float16, dt.bfloat16) else d
    zero = 0.0 if d.is_floating_point else 0
    x = Load("x", at(r=cols, j=1), h)
    return Kernel("sums", (Buf("x", d, "in", rows * cols), Buf("a", d, "out", rows), Buf("b", d, "out", cols, zero),
                           Buf("c", d, "out", 1, zero), Buf("e", d, "inout", 1)), (), (Loop(Axis("r", rows, "par"), (
                               Local("s", Const(zero, h)),
                               Loop(Axis("j", cols, "red", True), (
                                   Let("v", x), Accum("s", "add", Var("v", h)), AccumStore("b", at(j=1), "add", Var("v", h)),
                                   AccumStore("c", at(), "add", Var("v", h)))),
                               AccumStore("e", at(), "max", Var("s", h)), Store("a", at(r=1), Var("s", h)))),))


def flat_sum(name, d, kind="par"):
    """Everything into one number, of a run-time count."""
    h = F if d in (dt.float16, dt.bfloat16) else d
    start = {"add": 0, "mul": 1, "max": -math.inf, "min": math.inf}[name]
    if not d.is_floating_point and name in ("max", "min"):
        start = np.iinfo(d.np).min if name == "max" else np.iinfo(d.np).max
    return Kernel(name, (Buf("x", d, "in", "n"), Buf("y", d, "out", 1, float(start) if d.is_floating_point else start)), ("n",), (
        Loop(Axis("i", "n", kind, True), (AccumStore("y", at(), name, Load("x", at(i=1), h)),)),))


def column_sum(rows, cols):
    """A lane for each column."""
    return Kernel("column", (Buf("x", F, "in", rows * cols), Buf("y", F, "out", cols)), (), (Loop(Axis("j", cols, "par", True), (
        Local("s", num(0.0)), Loop(Axis("r", rows, "red"), (Accum("s", "add", row("x", r=cols, j=1)),)),
        Store("y", at(j=1), Var("s", F)))),))


def close(a, b, scale, factor=4.0):
    """Within a few roundings of float32 (or what the dtype has) of the sum of magnitudes."""
    eps = {2: 2.0 ** -8, 4: 2.0 ** -24, 8: 2.0 ** -50}[a.dtype.itemsize]
    a, b = a.astype(np.float64), b.astype(np.float64)
    if not np.isfinite(b).all():
        return bool(np.array_equal(a, b))
    return bool(np.all((np.abs(a - b) <= factor * eps * scale) | (a == b)))


ROWS = (0, 1, 3, 15, 16, 17, 63, 64, 65, 130, 1000)


def test_rows_are_reduced(level):
    rng = np.random.default_rng(1)
    kernels = [softmax(3, n) for n in ROWS] + [layer_norm(0, 0)]
    native = Native(kernels, level)
    for k, n in enumerate(ROWS):
        x = (rng.standard_normal(3 * n) * 4).astype(np.float32)
        got = native.run(k, [x, np.zeros_like(x)], threads=2)[1]
        e = np.exp(x.reshape(3, n).astype(np.float64) - x.reshape(3, n).max(1, keepdims=True, initial=-np.inf)) if n else np.zeros((3, 0))
        want = (e / e.sum(1, keepdims=True)).reshape(-1)
        assert np.allclose(got, want, rtol=4e-6, atol=0), n          # x - max is rounded
        want = printed(softmax(3, n), [x, np.zeros_like(x)])[1]
        assert ulps(got, want) < 40              # the printed sum is plain
    for n in ROWS[1:]:
        x, w = rng.standard_normal(5 * n).astype(np.float32) + 2, rng.standard_normal(n).astype(np.float32)
        for end in (True, False):
            got = native.run(len(ROWS), [x, w, np.zeros_like(x)], (n, 5, 5 * n), threads=3, end=end)[2]
        z = x.reshape(5, n).astype(np.float64)
        want = ((z - z.mean(1, keepdims=True)) / np.sqrt(z.var(1, keepdims=True) + 1e-5) * w).reshape(-1)
        assert np.allclose(got, want, rtol=2e-5, atol=2e-5), n


@pytest.mark.parametrize("d", [F, D, dt.bfloat16, dt.float16, dt.int64, dt.int32], ids=lambda d: d.name)
def test_sums_along_both_axes_and_of_everything(d, level):
    rng = np.random.default_rng(2)
    shapes = ((1, 1), (5, 17), (2, 64), (70, 33))
    native = Native([sums(r, c, d) for r, c in shapes], level)
    for k, (r, c) in enumerate(shapes):
        x = (rng.standard_normal(r * c) * 8).astype(d.np)
        start = np.full(1, 3, d.np)
        arrays = [x, np.zeros(r, d.np), np.zeros(c, d.np), np.zeros(1, d.np), start]
        for threads in (1, 3):
            _, a, b, total, most = native.run(k, arrays, threads=threads)
            z = x.reshape(r, c).astype(np.float64)
            for got, want, scale in ((a, z.sum(1), np.abs(z).sum(1)), (b, z.sum(0), np.abs(z).sum(0)), (total, z.sum(), np.abs(z).sum())):
                assert close(got, np.asarray(want), scale), (r, c)
            assert close(most, np.maximum(z.sum(1).max(), 3), np.abs(z).sum(1).max())


def test_everything_becomes_one_number(level):
    rng = np.random.default_rng(3)
    cases = [(name, d) for d in (F, D, dt.int64, dt.bfloat16) for name in ("add", "max", "min", "mul")]
    native = Native([flat_sum(name, d) for name, d in cases] + [flat_sum("add", F, "seq")], level)
    for k, (name, d) in enumerate([*cases, ("add", F)]):
        f = {"add": np.add, "max": np.maximum, "min": np.minimum, "mul": np.multiply}[name]
        for n in (0, 1, 17, 64, 1000):
            x = rng.standard_normal(n) + 1 if name != "mul" else 1 + rng.standard_normal(n) / 64
            x = (x * (9 if d is dt.int64 else 1)).astype(d.np)
            kernel = native.kernels[k]
            want = f.reduce(x.astype(np.float64 if d.is_floating_point else np.int64), initial=kernel.bufs[1].init)
            got = native.run(k, [x, np.full(1, 77).astype(d.np)], (n,), threads=1 + n % 3)[1]
            scale = np.abs(x.astype(np.float64)).sum() if name == "add" else abs(float(want)) * (n + 1)
            assert close(got, np.asarray([want]), scale), (name, d.name, n, got, want)


def test_extremes_carry_nan(level):
    native = Native([flat_sum("max", F), flat_sum("min", F), softmax(1, 50)], level)
    for k, n, where in itertools.product((0, 1), (1, 16, 100), (0, 7, 15, 16, 99)):
        x = np.arange(n, dtype=np.float32)
        if where < n:
            x[where] = np.nan
        got = native.run(k, [x, np.zeros(1, np.float32)], (n,))[1][0]
        assert np.isnan(got) if where < n else got == (n - 1 if k == 0 else 0), (k, n, where)
    x = np.full(50, -math.inf, np.float32)
    assert np.isnan(native.run(2, [x, x])[1]).all()


def test_long_sums_are_as_good_as_pairwise_ones(level):
    """At most twice the error of NumPy's pairwise float32 sum, on average over several arrays."""
    rng = np.random.default_rng(4)
    native = Native([flat_sum("add", F), sums(3000, 20), column_sum(3000, 20), sums(3, 20000)], level)
    ours, theirs = [], []
    for _ in range(6):
        x = rng.random(60000, np.float32)
        exact = math.fsum(x.tolist())
        ours.append(abs(float(native.run(0, [x, np.zeros(1, np.float32)], (60000,))[1][0]) - exact) / exact)
        theirs.append(abs(float(x.sum()) - exact) / exact)
        z = x.reshape(3000, 20)
        for k, axis, r in ((1, 0, 3000), (2, 0, 3000), (3, 1, 3)):
            z = x.reshape(r, -1)
            if k == 2:
                got = native.run(k, [x, np.zeros(20, np.float32)])[1]
            else:
                got = native.run(k, [x, np.zeros(r, np.float32), np.zeros(60000 // r, np.float32), *[np.zeros(1, np.float32)] * 2])[2 - axis]
            exact = z.astype(np.float64).sum(axis)
            ours.append(float(np.abs(got / exact - 1).max()))
            pairwise = (np.ascontiguousarray(z.T) if axis == 0 else z).sum(1)
            theirs.append(float(np.abs(pairwise / exact - 1).max()))
    assert np.mean(ours) <= 2 * np.mean(theirs) and max(ours) < 2e-6, (np.mean(ours), np.mean(theirs))


# ---------------------------------------------------------------------------------------------------- other forms
def each(kind, var, n, *body):
    """A loop; `kind` with a star: in lanes."""
    return Loop(Axis(var, n, kind.rstrip("*"), kind.endswith("*")), body)


def forms():
    """(kernel, arrays, sizes): everything else that loop IR can say."""
    rng = np.random.default_rng(5)

    def f(*shape):
        return rng.standard_normal(math.prod(shape)).astype(np.float32)

    def make(name, bufs, *body, sizes=()):
        made = []
        for text in bufs.split(", "):           # name:dtype:role:size[:init]
            n, d, role, size, *init = text.split(":")
            d = {"f": F, "d": D, "i": I64, "b": B, "u1": dt.uint8, "i4": dt.int32, "bf": dt.bfloat16}[d]
            made.append(Buf(n, d, role, int(size) if size.isdigit() else size, *([float(init[0]) if d is F else int(init[0])] if init else [])))
        return Kernel(name, tuple(made), sizes, body)
    i, j = Var("i", I64), Var("j", I64)
    x_row = row("x", i=33, j=1)
    # an operand of each broadcast kind, two loops
    yield make("broadcast", "x:f:in:297, a:f:in:33, b:f:in:9, c:f:in:1, y:f:out:297", each("par", "i", 9, each("seq*", "j", 33, Store(
        "y", at(i=33, j=1), op("add", op("mul", x_row, row("a", j=1)), op("mul", row("b", i=1), Load("c", at(), F))))))), \
        [f(9, 33), f(33), f(9), f(1), f(9, 33)], ()
    # transposes: gather one way, scatter the other; with a run-time stride
    yield make("transpose", "x:f:in:740, y:f:out:740", each("par", "i", 37, each("seq*", "j", 20, Store(
        "y", at(i=20, j=1), row("x", j=37, i=1))))), [f(740), f(740)], ()
    yield make("transposed", "x:f:in:n, y:f:out:n", each("par", "i", "rows", each("seq*", "j", "cols", Store(
        "y", at(j="rows", i=1), row("x", i="cols", j=1)))), sizes=("n", "rows", "cols")), [f(740), f(740)], (740, 20, 37)
    # reversed, and every third
    yield make("reversed", "x:f:in:70, y:f:out:70", each("par*", "i", 70, Store("y", at(i=1), Load("x", at(69, i=-1), F)))), [f(70), f(70)], ()
    yield make("third", "x:u1:in:150, y:f:out:50", each("par*", "i", 50, Store(
        "y", at(i=1), Apply("cast", (Load("x", at(1, i=3), dt.uint8),), F)))), [rng.integers(0, 255, 150).astype(np.uint8), f(50)], ()
    # the axis' own number as a value, and quotients of it as indices
    yield make("numbers", "y:f:out:100, z:i:out:100", each(
        "par*", "i", 100, Store("y", at(i=1), Apply("cast", (op("mul", i, num(3, I64)),), F)),
        Store("z", at(i=1), op("mod", i, num(7, I64))))), [f(100), np.zeros(100, np.int64)], ()
    yield make("tiled", "x:f:in:10, w:f:in:10, y:f:out:100", each(
        "par*", "i", 100, Let("q", op("floordiv", i, num(10, I64))), Let("r", op("mod", i, num(10, I64))),
        Store("y", at(i=1), op("sub", row("x", q=1), row("w", r=1))))), [f(10), f(10), f(100)], ()
    # rows taken by loaded indices, and added back
    ids = rng.integers(0, 6, 40)
    index = Let("at", Load("k", at(i=1), I64))
    yield make("take", "t:f:in:114, k:i:in:40, y:f:out:760", each("par", "i", 40, index, each("seq*", "j", 19, Store(
        "y", at(i=19, j=1), row("t", at=19, j=1))))), [f(114), ids, f(760)], ()
    yield make("give", "x:f:in:760, k:i:in:40, y:f:out:114:0", each("seq", "i", 40, index, each("seq*", "j", 19, AccumStore(
        "y", at(at=19, j=1), "add", row("x", i=19, j=1))))), [f(760), ids, f(114)], ()
    low = np.ones(600, dt.bfloat16.np)
    yield make("ones", "x:bf:in:600, k:i:in:600, y:bf:inout:2", each(
        "seq", "i", 600, index, AccumStore("y", at(at=1), "add", row("x", dt.bfloat16)))), [low, np.arange(600) % 2, low[:2]], ()
    for name in ("floordiv", "mod"):            # of numbers beyond 32 bits, below zero, and of small ones, in lanes
        yield make(name, "y:i:out:100, z:i:out:100", each(
            "par*", "i", 100, Store("y", at(i=1), op(name, op("mul", i, num(1 << 33, I64)), num(1_000_003, I64))),
            Store("z", at(i=1), op("add", op(name, op("sub", i, num(50, I64)), num(7, I64)), op(name, i, num(3, I64)))))), \
            [np.zeros(100, np.int64), np.zeros(100, np.int64)], ()
    yield make("gather", "t:f:in:60, k:i4:in:45, y:f:out:45", each(
        "par*", "i", 45, Let("at", Apply("cast", (Load("k", at(i=1), dt.int32),), I64)), Store("y", at(i=1), row("t", at=1)))), \
        [f(60), rng.integers(0, 60, 45).astype(np.int32), f(45)], ()
    yield make("count", "k:i:in:45, y:i:out:6:0", each("seq*", "i", 45, index, AccumStore("y", at(at=1), "add", num(1, I64)))), \
        [rng.integers(0, 6, 45), np.zeros(6, np.int64)], ()
    # branches in lanes, on a whole row, around a sum
    yield make("branch", "x:f:in:50, y:f:inout:50, s:f:out:1:0", each("par*", "i", 50, If(Apply("gt", (row("x"), num(0.0)), B), (
        Let("v", op("mul", row("x"), num(2.0))), Store("y", at(i=1), Var("v", F)), AccumStore("s", at(), "max", Var("v", F)))))), \
        [f(50), f(50), f(1)], ()
    yield make("rows", "x:f:in:105, k:b:in:5, y:f:inout:105", each("par", "i", 5, If(Load("k", at(i=1), B), (each("seq*", "j", 21, Store(
        "y", at(i=21, j=1), op("neg", row("x", i=21, j=1)))),)))), [f(105), np.array([1, 0, 1, 1, 0], bool), f(105)], ()
    # a scan, which has no lanes; the place of the largest; of the largest in windows, in lanes
    yield make("scan", "x:f:in:45, y:f:out:45", each("par", "i", 5, Local("s", num(0.0)), each(
        "seq*", "j", 9, Accum("s", "add", row("x", i=9, j=1)), Store("y", at(i=9, j=1), Var("s", F))))), [f(45), f(45)], ()
    v, m, up = Var("v", F), Var("m", F), Apply("gt", (Var("v", F), Var("m", F)), B)
    yield make("argmax", "x:f:in:150, y:i:out:5", each("par", "i", 5, Local("m", num(-math.inf)), Local("k", num(0, I64)), each(
        "red*", "j", 30, Let("v", row("x", i=30, j=1)), Let("up", up),
        Accum("k", "set", Apply("select", (Var("up", B), j, Var("k", I64)), I64)),
        Accum("m", "set", Apply("select", (Var("up", B), v, m), F))), Store("y", at(i=1), Var("k", I64)))), [f(150), np.zeros(5, np.int64)], ()
    yield make("window", "x:f:in:60, y:f:out:20", each("par*", "i", 20, Local("m", num(-math.inf)), Local("k", num(0, I64)), each(
        "red", "j", 3, Let("v", row("x", i=3, j=1)), If(up, (
            Accum("m", "set", v), Accum("k", "set", op("add", op("mul", i, num(3, I64)), j))))),
        Store("y", at(i=1), op("add", Apply("cast", (Var("k", I64),), F), m)))), [f(60), f(20)], ()
    # several phases, the second reading what the first summed; a lone statement between them
    yield make("phases", "x:f:in:200, s:f:out:1:0, y:f:out:200, z:f:out:1", each("par*", "i", 200, AccumStore("s", at(), "max", row("x"))),
               Store("z", at(), op("mul", Load("s", at(), F), num(2.0))), Let("t", Load("z", at(), F)),
               each("par*", "j", 200, Store("y", at(j=1), op("sub", row("x", j=1), Var("t", F))))), [f(200), f(1), f(200), f(1)], ()
    # in place, and a number into many
    yield make("update", "p:f:inout:77, m:f:inout:77, g:f:in:77, lr:d:in:1", each(
        "par*", "i", 77, Let("n", op("add", op("mul", row("m"), num(0.9)), row("g"))), Store("m", at(i=1), Var("n", F)),
        Store("p", at(i=1), op("sub", row("p"), op("mul", Var("n", F), Apply("cast", (Load("lr", at(), D),), F)))))), \
        [f(77), f(77), f(77), np.array([0.01])], ()
    yield make("fill", "y:bf:out:45, z:b:out:45", each("par*", "i", 45, Store("y", at(i=1), num(1.0 / 3)), Store("z", at(i=1), num(True, B)))), \
        [np.zeros(45, dt.bfloat16.np), np.zeros(45, bool)], ()
    yield make("scalar", "x:f:in:1, y:f:out:1", Store("y", at(), op("exp", Load("x", at(), F)))), [f(1), f(1)], ()


FORMS = list(forms())


def test_other_forms_are_what_they_print(level):
    kernels = [k for k, _, _ in FORMS]
    native = Native(kernels, level)
    for k, (kernel, arrays, sizes) in enumerate(FORMS):
        for end, threads in ((True, 1), (False, 1), (True, 3)):
            agree(kernel, native, k, arrays, sizes, limit=2.0, end=end, threads=threads)


def test_buffers_that_overlap_are_read_before_they_are_written(level):
    """x and y are one buffer: each element is read before it is written."""
    kernel = Kernel("inplace", (Buf("x", F, "in", 70), Buf("s", F, "in", 70), Buf("y", F, "out", 70)), (), (Loop(Axis("i", 70, "par", True), (
        Store("y", at(i=1), op("add", row("x"), op("mul", Load("s", at(), F), row("s")))),)),))
    from .kernel_harness import _I, _P, _RUN

    native = Native([kernel], level, overlap=("x", "y"))
    x, s = np.arange(70, dtype=np.float32), np.full(70, 2, np.float32)
    bufs = (_P * 3)(x.ctypes.data, s.ctypes.data, x.ctypes.data)
    _RUN(native.code[native.emitted[0].phases[0].symbol])(bufs, (_I * 1)(), 0, 70, None, None)
    assert np.array_equal(x, np.arange(70) + 4)


def test_large_outputs_bypass_the_cache(level, monkeypatch):
    """Aligned or not, in one loop and row by row."""
    from pellucid.native import nest

    monkeypatch.setattr(nest, "STREAM", 64)
    kernels = [point(op("add", row("x"), row("z")), {"x": F, "z": F}), point(op("mul", row("x", D), row("z", D)), {"x": D, "z": D}, D),
               Kernel("rows", (Buf("x", F, "in", 5 * 80), Buf("y", F, "out", 5 * 80)), (), (Loop(Axis("i", 5, "par"), (
                   Loop(Axis("j", 80, "seq", True), (Store("y", at(i=80, j=1), op("neg", row("x", i=80, j=1))),)),)),))]
    native = Native(kernels, level)
    assert level == "baseline" or "nontemporal" in native.text
    rng = np.random.default_rng(0)
    for k, n in itertools.product((0, 1), (3, 64, 1000, 1024, 4096)):
        arrays = [data(rng, b.dtype, n) for b in kernels[k].bufs]
        for end in (True, False):
            agree(kernels[k], native, k, arrays, (n,), end=end)
    x = rng.standard_normal(400).astype(np.float32)
    for end in (True, False):
        agree(kernels[2], native, 2, [x, x], end=end)


def test_expressions_may_be_thousands_deep(level):
    e = row("x")
    for i in range(2500):
        e = op("add", e, num(1.0)) if i % 2 else op("mul", e, row("z"))
    kernel = point(e, {"x": F, "z": F})
    x, z = np.ones(20, np.float32), np.full(20, 0.5, np.float32)
    agree(kernel, Native([kernel], level), 0, [x, z, np.zeros_like(x)], (20,))


@pytest.mark.alone
def test_softmax_is_quick():
    """One pass over memory: a third of NumPy's time, or less, on one thread."""
    import time

    rows, cols = 4096, 1024
    native = Native([softmax(rows, cols)])
    x = np.random.default_rng(0).standard_normal(rows * cols).astype(np.float32)
    from .kernel_harness import _I, _P, _RUN

    y = np.empty_like(x)
    bufs, f = (_P * 2)(x.ctypes.data, y.ctypes.data), _RUN(native.code[native.emitted[0].phases[0].symbol])
    ours, theirs = [], []
    for _ in range(7):
        start = time.perf_counter()
        f(bufs, (_I * 1)(), 0, rows, None, None)
        middle = time.perf_counter()
        z = x.reshape(rows, cols)
        e = np.exp(z - z.max(1, keepdims=True))
        e /= e.sum(1, keepdims=True)
        ours.append(middle - start)
        theirs.append(time.perf_counter() - middle)
    assert np.allclose(y.reshape(rows, cols), e, rtol=1e-5)
    assert min(ours) < min(theirs) / 3, (min(ours), min(theirs))


@pytest.mark.parametrize("d", [F, D], ids=["float32", "float64"])
def test_dividing_by_what_all_lanes_share(d, level):
    """The quotient is as good as a division's; zeros, infinities, nan and the ends of the range included."""
    rng = np.random.default_rng(0)
    info = np.finfo(d.np)
    edges = [0.0, -0.0, 1.0, -3.0, np.inf, -np.inf, np.nan, info.max, -info.max, info.tiny, info.smallest_subnormal, info.tiny / 8, info.max / 3]
    x = np.concatenate([edges, rng.standard_normal(400), 10.0 ** (rng.random(400) * 70 - 35), np.ldexp(rng.random(50), -126)]).astype(d.np)
    by = np.concatenate([edges, 1 + rng.random(40), 10.0 ** (rng.random(40) * 70 - 35)]).astype(d.np)
    n = len(x)
    kernels = [Kernel("by", (Buf("x", d, "in", n), Buf("z", d, "in", 1), Buf("y", d, "out", n)), (), (Loop(Axis("i", n, "par", True), (
        Store("y", at(i=1), op("div", row("x", d), Load("z", at(), d))),)),)), point(op("div", row("x", d), Const(3.0, d)), {"x": d}, d)]
    native = Native(kernels, level)
    for z in by:
        got = native.run(0, [x, np.full(1, z), np.zeros_like(x)])[2]
        with np.errstate(all="ignore"):
            want = x / z
        assert ulps(got, want) <= 2, z
        least = info.tiny * 2.0 ** 70
        middle = (np.abs(want) > least) & (np.abs(want) < info.max * 2.0 ** -30) & (np.abs(x) > least) & (np.abs(z) < 2.0 ** 60)
        assert ulps(got[middle], want[middle]) <= 1 and np.sum(got[middle] != want[middle]) <= 4, z
        zero = want == 0
        assert np.array_equal(np.signbit(got[zero]), np.signbit(want[zero]))
    agree(kernels[1], native, 1, [x, np.zeros_like(x)], (n,), limit=1)


def test_square_roots_are_exact(level):
    """To the bit: where one instruction is slow, an estimate is refined; all mantissas in full mode."""
    kernel = point(op("sqrt", row("x")), {"x": F})
    native = Native([kernel], level)
    info = np.finfo(np.float32)
    edges = [0.0, -0.0, 1.0, -1.0, np.inf, -np.inf, np.nan, info.max, info.tiny, info.smallest_subnormal, 1e-30, 7.888609e-31, 1.7014118e38, 4.0]
    some = np.arange(0x3F800000, 0x40800000, 1 if os.environ.get("PELLUCID_TEST_FULL") == "1" else 4099, np.uint32).view(np.float32)
    wide = np.random.default_rng(0).integers(0, 0x7F800000, 20000, np.uint32).view(np.float32)
    for x in (some, wide, np.asarray(edges * 3, np.float32), np.zeros(40, np.float32)):
        got = native.run(0, [x, np.zeros_like(x)], (len(x),))[1]
        with np.errstate(all="ignore"):
            want = np.sqrt(x)
        assert np.array_equal(got.view(np.uint32)[~np.isnan(want)], want.view(np.uint32)[~np.isnan(want)]) and np.array_equal(np.isnan(got), np.isnan(want))
