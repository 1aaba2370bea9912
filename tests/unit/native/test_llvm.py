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
