"""Random kernels: expressions over mixed dtypes, in one loop or two, with sums and branches; printed = native at every ISA."""

from __future__ import annotations

import math
import os

import numpy as np
import pytest

from pellucid.core import dtype as dt
from pellucid.kernel.ir import (
    Accum, AccumStore, Apply, Axis, Buf, Const, If, Index, Kernel, Let, Load, Local, Loop, Store, Var,
)

pytest.importorskip("llvmlite")
from .kernel_harness import ISAS, Native, printed, ulps, with_arguments  # noqa: E402

F, D, I64, B = dt.float32, dt.float64, dt.int64, dt.bool_
STORED = (F, F, D, I64, dt.int32, dt.uint8, dt.int8, B, dt.bfloat16, dt.float16)
FLOATS = (F, D)
UNARY = ("neg", "abs", "sqrt", "floor", "rint", "exp", "tanh", "sigmoid", "erf", "log")
BINARY = ("add", "sub", "mul", "div", "max", "min", "maxnum", "minnum", "copysign")
WHOLE = ("add", "sub", "mul", "max", "min", "floordiv", "mod", "and", "or", "xor")


def value(d):
    return F if d in (dt.bfloat16, dt.float16) else d


class Maker:
    """One random kernel and its arrays."""

    def __init__(self, seed: int):
        self.rng = np.random.default_rng(seed)
        self.rows = int(self.rng.integers(1, 6))
        self.cols = int(self.rng.choice([1, 2, 7, 8, 15, 16, 17, 31, 33, 64, 65, 100]))
        self.bufs: list[Buf] = []
        self.arrays: list[np.ndarray] = []
        self.names = 0
        self.two = self.rng.random() < 0.6
        self.exact = True                       # no function whose last bits may differ without a fused multiply-add

    def pick(self, options):
        return options[int(self.rng.integers(len(options)))]

    def fresh(self, stem):
        self.names += 1
        return f"{stem}{self.names}"

    def array(self, d, n):
        if d is B:
            return self.rng.integers(0, 2, n).astype(bool)
        if d.is_floating_point:
            x = self.rng.standard_normal(n) * self.pick([0.5, 3, 20])
            x[self.rng.random(n) < 0.05] = self.pick([0.0, -0.0, np.inf, np.nan, 1e-40])
            return x.astype(d.np)
        return self.rng.integers(-9 if d.is_signed else 0, 100, n).astype(d.np)

    def place(self, kind):
        """An index, and how many elements it reaches."""
        if not self.two:
            return (Index(0, (("j", 1),)), self.cols) if kind == "full" else (Index(), 1)
        return {"full": (Index(0, (("i", self.cols), ("j", 1))), self.rows * self.cols), "row": (Index(0, (("i", 1),)), self.rows),
                "col": (Index(0, (("j", 1),)), self.cols), "turned": (Index(0, (("j", self.rows), ("i", 1))), self.rows * self.cols),
                "back": (Index(self.rows * self.cols - 1, (("i", -self.cols), ("j", -1))), self.rows * self.cols),
                "one": (Index(), 1)}[kind]

    def buf(self, d, n, role="in", init=None):
        name = self.fresh("b")
        self.bufs.append(Buf(name, d, role, n, init))
        self.arrays.append(self.array(d, n))
        return name

    def load(self):
        d = self.pick(STORED)
        index, n = self.place(self.pick(["full", "full", "one"] if not self.two else ["full", "full", "row", "col", "turned", "back", "one"]))
        return Load(self.buf(d, n), index, value(d))

    def cast(self, e, d):
        if e.dtype is d:
            return e
        if e.dtype.is_floating_point and not d.is_floating_point and d is not B:        # within range, or C does not say
            e = Apply("max", (Apply("min", (e, Const(100.0, e.dtype)), e.dtype), Const(-100.0, e.dtype)), e.dtype)
            e = Apply("select", (Apply("isnan", (e,), B), Const(0.0, e.dtype), e), e.dtype)
        return Apply("cast", (e,), d)

    def expr(self, depth):
        r = self.rng.random()
        if depth == 0 or r < 0.12:
            if r < 0.03:
                return Apply("cast", (Var("j", I64),), F)
            return self.load() if self.rng.random() < 0.8 else Const(float(self.pick([0.0, 0.5, -1.0, 3.0])), F)
        a = self.expr(depth - 1)
        if r < 0.3:
            a = self.cast(a, self.pick(FLOATS)) if not a.dtype.is_floating_point else a
            name = self.pick(UNARY)
            if name not in UNARY[:5]:
                self.exact, a = False, self.cast(a, F)
            return Apply(name, (a,), a.dtype)
        if r < 0.4:
            return self.cast(a, self.pick((F, D, I64, dt.int32, dt.uint8, B)))
        b = self.cast(self.expr(depth - 1), a.dtype)
        if r < 0.5:
            return Apply(self.pick(("lt", "le", "eq", "ne", "gt", "ge")), (a, b), B)
        if r < 0.6:
            return Apply("select", (self.cast(self.expr(depth - 1), B), a, b), a.dtype)
        if a.dtype is B:
            return Apply(self.pick(("and", "or", "xor")), (a, b), B)
        name = self.pick(BINARY if a.dtype.is_floating_point else WHOLE)
        if name == "copysign":                  # nan's sign is nobody's business
            b = Apply("select", (Apply("isnan", (b,), B), Const(1.0, b.dtype), b), b.dtype)
        e = Apply(name, (a, b), a.dtype)
        if name[:3] in ("max", "min") and a.dtype.is_floating_point:        # either of 0 and -0 may be the larger
            e = Apply("add", (e, Const(0.0, a.dtype)), a.dtype)
        return e

    def stores(self, e):
        """Statements that do something with a value."""
        r = self.rng.random()
        if r < 0.5:
            d = self.pick(STORED)
            index, n = self.place("full")
            return [Store(self.buf(d, n, "out"), index, self.cast(e, value(d)))]
        op = self.pick(("add", "max", "min"))
        d = self.pick((F, D, I64))
        e = self.cast(e, d)
        if d is not I64:                        # sums of anything finite, so that they can be compared
            e = Apply("max", (Apply("min", (Apply("select", (Apply("isnan", (e,), B), Const(0.0, d), e), d), Const(9.0, d)), d), Const(-9.0, d)), d)
        start = 0 if op == "add" else (-(2**62) if op == "max" else 2**62)
        index, n = self.place(self.pick(("one", "col") if self.two else ("one",)))
        out = AccumStore(self.buf(d, n, self.pick(("out", "inout")), None), index, op, e)
        last = self.bufs[-1]
        if last.role == "out":
            self.bufs[-1] = Buf(last.name, d, "out", n, start if d is I64 else float(start))
        else:
            self.arrays[-1] = np.ones(n, d.np)
        if r < 0.7:
            return [out]
        return [If(self.cast(self.expr(1), B), (out,))]

    def kernel(self):
        body = []
        for _ in range(int(self.rng.integers(1, 4))):
            e = self.expr(int(self.rng.integers(1, 5)))
            v = Var(self.fresh("t"), e.dtype)
            body.append(Let(v.name, e))
            body += self.stores(v)
        inner = Loop(Axis("j", self.cols, "seq" if self.two else "par", True), tuple(body))
        if not self.two:
            return Kernel("random", tuple(self.bufs), (), (inner,))
        outer = [inner]
        if self.rng.random() < 0.5:             # a sum over the row, then something made of it
            x = self.cast(self.load(), F)
            x = Apply("select", (Apply("lt", (Apply("abs", (x,), F), Const(100.0, F)), B), x, Const(1.0, F)), F)
            x = Apply("rint", (x,), F)          # whole numbers: their sum is exact
            kind = self.pick(("add", "max"))
            outer = [Local("s", Const(0.0, F)), Loop(Axis("j", self.cols, "red", True), (Accum("s", kind, x),)),
                     Loop(Axis("j", self.cols, "seq", True), (Store(self.buf(F, self.rows * self.cols, "out"), self.place("full")[0], Apply(
                         "div", (self.cast(self.load(), F), Apply("add", (Apply("abs", (Var("s", F),), F), Const(1.0, F)), F)), F)),)), inner]
        return Kernel("random", tuple(self.bufs), (), (Loop(Axis("i", self.rows, "par"), tuple(outer)),))


SEEDS = range(400 if os.environ.get("PELLUCID_TEST_FULL") == "1" else 12)
FIRST = int(os.environ.get("PELLUCID_TEST_SEED", "0")) * 1000


@pytest.mark.parametrize("level", ISAS)
def test_random_kernels_are_what_they_print(level):
    for lot in range(0, len(SEEDS), 24):
        makers = [Maker(FIRST + s) for s in SEEDS[lot:lot + 24]]
        kernels = [m.kernel() for m in makers]
        native, general = Native(kernels, level), Native(list(map(with_arguments, kernels)), level)
        assert all(e.words for e in general.emitted)
        if native.isa.name != level:
            pytest.skip(f"this machine has no {level}")
        for k, (m, kernel) in enumerate(zip(makers, kernels)):
            m.exact |= native.isa.fma
            want = printed(kernel, m.arrays)
            for end, threads in ((True, 1), (False, 2)):
                got = native.run(k, m.arrays, threads=threads, end=end)
                for a, b, buf in zip(want, got, kernel.bufs):
                    same(a, b, buf, m, kernel)
                for a, b in zip(got, general.run(k, m.arrays, threads=threads, end=end)):      # sizes as arguments: the same bits
                    assert a.tobytes() == b.tobytes(), kernel


def same(a, b, buf, m, kernel):
    where = f"{buf.name}, seeds from {FIRST}\n{kernel.text()}"
    if not buf.dtype.is_floating_point:
        off = np.abs(a.astype(np.float64) - b.astype(np.float64)) if m.exact else np.zeros(1)      # a value near a whole number may fall on either side
        assert not off.any(), where
    elif buf.init is not None or buf.role == "inout":
        scale = max(1.0, float(np.abs(a).max(initial=0)), 9.0 * m.rows * m.cols)
        assert np.all(np.abs(a.astype(np.float64) - b.astype(np.float64)) <= 1e-5 * scale) or not m.exact, where
    elif m.exact:
        z = ulps(a, b)
        assert z <= 4 or math.isclose(float(np.nanmax(np.abs(a.astype(np.float64) - b.astype(np.float64)))), 0, abs_tol=1e-5), (z, where)
