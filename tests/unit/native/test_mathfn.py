"""The mathematical functions of kernels: within 2 ULP of exact results, native or printed, with C's special cases."""

from __future__ import annotations

import math
import os

import numpy as np
import pytest

from pellucid.core import dtype as dt
from pellucid.kernel import scalars
from pellucid.kernel.ir import Apply, Axis, Buf, Index, Kernel, Load, Loop, Store

pytest.importorskip("llvmlite")
special = pytest.importorskip("scipy.special")
from .kernel_harness import ISAS, Native, ulps  # noqa: E402

FULL = os.environ.get("PELLUCID_TEST_FULL") == "1"
EXACT = {"exp": np.exp, "exp2": np.exp2, "expm1": np.expm1, "sinh": np.sinh, "cosh": np.cosh, "tanh": np.tanh, "sigmoid": lambda x: np.where(x >= 0, 1.0, np.exp(-np.abs(x))) / (1 + np.exp(-np.abs(x))),
         "log": np.log, "log2": np.log2, "log10": np.log10, "log1p": np.log1p, "erf": special.erf, "erfc": special.erfc, "sin": np.sin,
         "cos": np.cos, "tan": np.tan, "asin": np.arcsin, "acos": np.arccos, "atan": np.arctan, "rsqrt": lambda x: 1 / np.sqrt(x),
         "pow": np.power, "atan2": np.arctan2}
BINARY = ("pow", "atan2")
EDGES = [0.0, -0.0, np.inf, -np.inf, np.nan, 1e-45, -1e-45, 1e-38, -1e-38, 1, -1, 2, -2, 0.5, -0.5, 3, -3, 88.72, 88.73, -87.3, -103.9,
         -104.1, -150, 127.9, 128, -149, -149.6, 3.4e38, -3.4e38, 1.5, -1.5, 16777216, 16777217, -33554433, 47999, 48001, 1e10, 20, 0.625]


def kernel(name: str, d) -> Kernel:
    at = Index(0, (("i", 1),))
    names = ("x", "z") if name in BINARY else ("x",)
    args = tuple(Load(n, at, d) for n in names)
    return Kernel(name, (*(Buf(n, d, "in", "n") for n in names), Buf("y", d, "out", "n")), ("n",), (
        Loop(Axis("i", "n", "par", True), (Store("y", at, Apply(name, args, d)),)),))


def points(n: int) -> np.ndarray:
    rng = np.random.default_rng(0)
    bits = rng.integers(0, 2**32, n, dtype=np.uint64).astype(np.uint32).view(np.float32)
    with np.errstate(all="ignore"):
        return np.concatenate([bits, rng.random(n) * 200 - 100, rng.standard_normal(n) * 2, rng.random(n) * 2 - 1, EDGES]).astype(np.float32)


def pairs(name: str, x: np.ndarray) -> list[np.ndarray]:
    """Operands: everything against everything, and where `pow` is neither 0 nor infinite."""
    if name not in BINARY:
        return [x]
    rng = np.random.default_rng(1)
    n = len(x)
    edges = np.asarray(EDGES, np.float32)
    a = [x, rng.random(n) * 4, 1 + rng.standard_normal(n) * 1e-5, rng.integers(-20, 20, n), np.repeat(edges, len(edges))]
    b = [rng.permutation(x), rng.random(n) * 100 - 50, rng.standard_normal(n) * 1e6, rng.integers(-20, 20, n), np.tile(edges, len(edges))]
    return [np.concatenate(a).astype(np.float32), np.concatenate(b).astype(np.float32)]


def check(name: str, got: np.ndarray, args: list[np.ndarray], limit: float = 2.0) -> None:
    with np.errstate(all="ignore"):
        exact = EXACT[name](*[a.astype(np.float64) for a in args])
        want = exact.astype(np.float32)
        ok = np.isfinite(want) & np.isfinite(got)
        off = np.abs(got.astype(np.float64) - exact) / np.maximum(np.spacing(np.abs(want)).astype(np.float64), 2.0**-149)
    same = (got == want) | (np.isnan(got) & np.isnan(want))
    bad = np.where(ok, off > limit, ~same)
    assert not bad.any(), (name, got[bad][:4], exact[bad][:4], [a[bad][:4] for a in args])
    signs = ok & (want == 0) & (got == 0)
    assert np.array_equal(np.signbit(got[signs]), np.signbit(want[signs])), (name, "the sign of zero")


@pytest.mark.parametrize("level", ISAS)
def test_float32_functions_are_within_2_ulp(level):
    native = Native([kernel(name, dt.float32) for name in EXACT], level)
    if native.isa.name != level:
        pytest.skip(f"this machine has no {level}")
    x = points(400_000 if FULL else 4000)
    for k, name in enumerate(EXACT):
        args = pairs(name, x)
        got = native.run(k, [*args, np.zeros_like(args[0])], (len(args[0]),))[-1]
        check(name, got, args)


def test_printed_functions_take_the_same_steps():
    """On machines with a fused multiply-add, lane by lane and number by number."""
    native = Native([kernel(name, dt.float32) for name in EXACT])
    if not native.isa.fma:
        pytest.skip("no fused multiply-add here")
    x = points(1500)
    for k, name in enumerate(EXACT):
        args = pairs(name, x)
        with scalars.quiet():
            printed = getattr(scalars, name)(*args)
            some = [getattr(scalars, name)(*[a[i] for a in args]) for i in range(0, len(args[0]), 97)]
        check(name, printed, args)
        assert ulps(printed[::97], np.asarray(some)) == 0 and some[0].dtype == np.float32
        got = native.run(k, [*args, np.zeros_like(args[0])], (len(args[0]),))[-1]
        near = np.abs(args[0]) < 48000 if name in ("sin", "cos", "tan") else np.ones(len(got), bool)    # beyond: the C library's
        assert ulps(printed[near], got[near]) == 0, name


@pytest.mark.parametrize("level", ISAS)
def test_float64_functions_are_close(level):
    """Against NumPy's own, which are within a few ULP (exp, log, tanh and sigmoid are ours, the others the C library's)."""
    names = [n for n in EXACT if n not in BINARY] + ["pow", "atan2"]
    native = Native([kernel(name, dt.float64) for name in names], level)
    rng = np.random.default_rng(0)
    x = np.concatenate([rng.standard_normal(500) * 3, rng.random(500) * 1500 - 750, rng.random(300) * 2 - 1,
                        10.0 ** (rng.random(300) * 600 - 300), 1 + rng.standard_normal(300) * 1e-3, np.asarray(EDGES), [5e-324, 1e-310, 710.5, -745.2]])
    for k, name in enumerate(names):
        args = [x, rng.permutation(x)] if name in BINARY else [x]
        got = native.run(k, [*args, np.zeros_like(x)], (len(x),))[-1]
        with np.errstate(all="ignore"):
            want = np.asarray([math.erfc(v) for v in x]) if name == "erfc" else EXACT[name](*args)
        assert ulps(got, want) <= 4, (name, ulps(got, want))
