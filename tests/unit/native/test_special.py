"""Hand-scheduled operators against their references: products, attention, recurrent layers, at every instruction set, on
several threads, between guard pages."""

from __future__ import annotations

import numpy as np
import pytest

from pellucid.core import dtype as dt
from pellucid.kernel.plan import LibCall, Post, View
from pellucid.native import attention, products, recurrent, vmath
from pellucid.native.backend import Extern
from pellucid.native.emit import Fn, Module
from pellucid.native.isa import AVX2, SSE2
from pellucid.native.varying import symbolic
from pellucid.ops.attention import attention_backward_ref, attention_ref
from pellucid.ops.matmul import bgemm_ref
from pellucid.ops.op import REGISTRY

from .extern_harness import Native, copy_guarded, guarded, isas

ISAS = isas()
FLOATS = (np.float32, np.float64)
isa_cases = pytest.mark.parametrize("isa", ISAS, ids=lambda isa: str(isa.bits))
float_cases = pytest.mark.parametrize("real", FLOATS, ids=lambda d: np.dtype(d).name)


def view(a):
    return None if a is None else View(0, dt.of(a.dtype), a.shape, tuple(s // a.itemsize for s in a.strides))


def library_call(name, ins, outs, attrs, post=()):
    return LibCall(name, tuple(map(view, ins)), tuple(map(view, outs)), attrs, None, tuple(post))


def run(emitter, isa, name, ins, outs, attrs, post=(), others=(), threads=1):
    """Once with the sizes as numbers in the code, once with all of them as arguments: the same bits."""
    call = library_call(name, ins, outs, attrs, post)
    extern, general = emitter(call, isa, "f"), emitter(symbolic(call, {i: f"n{i}" for i in range(99)}), isa, "f")
    assert extern is not None and general.sizes
    found = []
    for e in (general, extern):
        Native(e, isa)(*[a for a in (*ins, *outs, *others) if a is not None], threads=threads if e.parallel else 1)
        found.append([a.copy() for a in outs])
        if e is general:
            for a in outs:
                a[...] = 77
    for a, b in zip(*found):
        assert np.array_equal(a, b, equal_nan=True)
    return extern


def wide(a):
    """In float64: what references are computed in."""
    return a if a is None or a.dtype == np.bool_ else a.astype(np.float64)


def tolerance(real, scale=1.0):
    return scale * (2e-6 if real is np.float32 else 4e-15)


# ---------------------------------------------------------------------------------------------------- products
PRODUCTS = [(13, 7, 5, False, False), (64, 128, 200, False, True), (50, 70, 400, True, False), (33, 300, 129, True, True),
            (1, 1, 1, False, False), (200, 10, 64, False, False), (1, 45, 100, False, True), (3, 33, 70, False, True),
            (70, 1, 90, False, False)]


@isa_cases
@float_cases
@pytest.mark.parametrize(("m", "n", "k", "ta", "tb"), PRODUCTS)
def test_product(isa, real, m, n, k, ta, tb):
    rng = np.random.default_rng(m * n + k)
    a = copy_guarded(rng.standard_normal((k, m) if ta else (m, k)).astype(real))
    b = copy_guarded(rng.standard_normal((n, k) if tb else (k, n)).astype(real))
    want = bgemm_ref(wide(a), wide(b), ta=ta, tb=tb)
    found = []
    for threads in (1, 3):
        c = guarded((m, n), real)
        run(products.gemm_extern, isa, "gemm", (a, b), (c,), {"ta": ta, "tb": tb}, threads=threads)
        assert np.abs(c - want).max() < tolerance(real, 4 * k ** 0.5)
        found.append(c)
    assert np.array_equal(*found)                     # sums run in one order, whatever the threads


@pytest.mark.parametrize("posts", [("bias",), ("add", "relu"), ("bias", "relu", "add")])
@isa_cases
def test_product_with_post_steps(isa, posts):
    rng = np.random.default_rng(3)
    real, m, n, k = np.float32, 37, 45, 30
    a, b = (copy_guarded(rng.standard_normal(s).astype(real)) for s in ((m, k), (k, n)))
    b[0, 0] = np.nan
    c, want, others, post = guarded((m, n), real), wide(a) @ wide(b), [], []
    for kind in posts:
        if kind == "relu":
            want = np.maximum(want, 0)
            post.append(Post("relu"))
            continue
        x = copy_guarded(rng.standard_normal(n if kind == "bias" else (m, n)).astype(real))
        want = want + x
        others.append(x)
        post.append(Post(kind, view(x)))
    run(products.gemm_extern, isa, "gemm", (a, b), (c,), {"ta": False, "tb": False}, post, others)
    assert np.isnan(c[:, 0]).all()
    assert np.abs(c - want)[:, 1:].max() < 1e-4


@isa_cases
@pytest.mark.parametrize(("a", "b", "shape"), [((2, 3, 5, 6), (2, 3, 6, 7), None), ((1, 3, 5, 6), (2, 1, 6, 7), None),
                                               ((4, 5, 6), (6, 7), None), ((3, 2, 9, 4), (3, 2, 4, 5), (0, 2, 1, 3))])
def test_batched_product(isa, a, b, shape):
    """Broadcast batches, one matrix for all of them, transposed heads."""
    rng = np.random.default_rng(4)
    x, y = (rng.standard_normal(s).astype(np.float32) for s in (a, b))
    if shape is not None:                              # the memory order of dimensions
        x, y = (np.ascontiguousarray(z.transpose(shape)).transpose(shape) for z in (x, y))
    want = bgemm_ref(wide(x), wide(y), ta=False, tb=False)
    c = guarded(want.shape, np.float32)
    run(products.gemm_extern, isa, "bgemm", (x, y), (c,), {"ta": False, "tb": False}, threads=2)
    assert np.abs(c - want).max() < 1e-5


def test_products_of_any_strides():
    rng = np.random.default_rng(5)
    a, b = rng.standard_normal((40, 60)).astype(np.float32)[::2, ::3], rng.standard_normal((40, 60)).astype(np.float32)[::2, ::2]
    c = guarded((20, 30), np.float32)
    run(products.gemm_extern, ISAS[0], "gemm", (a.T, b), (c,), {"ta": True, "tb": False})
    assert np.abs(c - wide(a) @ wide(b)).max() < 1e-4


def test_products_that_belong_elsewhere():
    a, b, c = np.zeros((2, 2), np.int64), np.zeros((2, 2), np.float32), np.zeros((2, 0), np.float32)
    for ins, out in (((a, a), a), ((b, c), c)):
        assert products.gemm_extern(library_call("gemm", ins, (out,), {"ta": False, "tb": False}), ISAS[0], "f") is None


# ---------------------------------------------------------------------------------------------------- attention
def operands(rng, real, lead, sizes, layout):
    """Matrices of the given (rows, columns), as heads cut out of one projection or contiguous."""
    out = []
    for rows, columns in sizes:
        if layout == "heads":
            a = rng.standard_normal((lead[0], rows, 3, lead[1], columns)).astype(real)[:, :, 1].transpose(0, 2, 1, 3)
        elif layout == "columns":
            a = rng.standard_normal((*lead, columns, rows)).astype(real).swapaxes(-1, -2)
        else:
            a = copy_guarded(rng.standard_normal((*lead, rows, columns)).astype(real))
        out.append(a)
    return out


# leading dimensions, queries, keys, features, values, causal, layout, mask's kind and shape
ATTENTION = [((2, 2), 64, 64, 32, 32, True, "heads", None), ((3,), 45, 77, 20, 13, False, "columns", None),
             ((3,), 45, 177, 20, 13, True, "", None),
             ((2, 3), 37, 21, 8, 40, False, "", ("bool", (37, 21))), ((2, 3), 37, 261, 8, 40, False, "", ("float", (2, 1, 37, 261))),
             ((2, 3), 37, 21, 8, 40, False, "", ("bool", (2, 1, 1, 21))), ((2, 3), 5, 21, 8, 40, False, "", ("float", (3, 1, 21))),
             ((1,), 1, 300, 64, 64, False, "", None), ((), 70, 30, 3, 1, True, "", None)]


def attend(isa, real, case, threads=2):
    """Forward and backward of one case, natively and by reference: pairs of results."""
    lead, n, m, e, v, causal, layout, masked = case
    rng = np.random.default_rng(n + m)
    q, k, value, g = operands(rng, real, lead, ((n, e), (m, e), (m, v), (n, v)), layout)
    mask = None
    if masked is not None:
        mask = rng.random(masked[1]) > 0.5 if masked[0] == "bool" else rng.standard_normal(masked[1]).astype(real)
        if masked[1] == (n, m):
            mask[3], mask[-1] = False, False              # queries that may attend to nothing
    attrs = {"is_causal": causal, "scale": 0.3}
    want = attention_ref(wide(q), wide(k), wide(value), wide(mask), **attrs)
    normaliser = np.float32 if np.dtype(real).itemsize == 2 else real
    outs = guarded((*lead, n, v), real), guarded((*lead, n, 1), normaliser)
    run(attention.attention_extern, isa, "attention", (q, k, value, mask), outs, attrs, threads=threads)
    attrs["needs"] = (True, True, True, False)
    lse = copy_guarded(want[1].astype(normaliser))
    want_back = attention_backward_ref(wide(g), wide(q), wide(k), wide(value), wide(mask), want[1], **attrs)
    back = [guarded((*lead, *s), real) for s in ((n, e), (m, e), (m, v))]
    run(attention.attention_backward_extern, isa, "attention_backward", (g, q, k, value, mask, lse), back, attrs, threads=threads)
    return [*zip(outs, want), *zip(back, want_back)]


@isa_cases
@pytest.mark.parametrize("case", ATTENTION, ids=str)
def test_attention(isa, case):
    for found, want in attend(isa, np.float32, case):
        finite = np.isfinite(want)
        assert np.array_equal(found[~finite], want[~finite])
        assert np.abs(found[finite] - want[finite]).max(initial=0) < 2e-5


@isa_cases
@pytest.mark.parametrize("case", ATTENTION[1:4], ids=str)
def test_attention_in_float64(isa, case):
    for found, want in attend(isa, np.float64, case, threads=1):
        finite = np.isfinite(want)
        assert np.abs(found[finite] - want[finite]).max(initial=0) < 1e-13


@isa_cases
@pytest.mark.parametrize("case", [ATTENTION[0], ATTENTION[2], ATTENTION[4], ((2,), 20, 9, 3, 1, False, "", None)], ids=str)
@pytest.mark.parametrize("low", [dt.bfloat16, dt.float16], ids=str)
def test_attention_in_low_precision(isa, case, low):
    """As exact as the results can be written down."""
    if low is dt.float16 and not isa.half:
        assert attention.describe(*[View(0, low, (4, 4), (4, 1))] * 3, None, {"is_causal": False, "scale": 1}, isa) is None
        return
    for found, want in attend(isa, low.np, case):
        finite = np.isfinite(want)
        precision = 1e-5 if found.dtype == np.float32 else 2.0 ** -8 if low is dt.bfloat16 else 2.0 ** -11
        error = np.abs(found[finite].astype(np.float64) - want[finite])
        assert (error <= precision * np.abs(want[finite]) + 1e-5).all()


def test_attention_carries_nan_and_infinity():
    rng = np.random.default_rng(6)
    q, k, v = (rng.standard_normal((2, 40, 16)).astype(np.float32) for _ in range(3))
    q[0, 3, 2], q[1, 5, :], k[1, 7, 0] = np.nan, 1e30, np.inf
    outs = guarded((2, 40, 16), np.float32), guarded((2, 40, 1), np.float32)
    attrs = {"is_causal": True, "scale": 0.25}
    run(attention.attention_extern, ISAS[0], "attention", (q, k, v, None), outs, attrs)
    with np.errstate(all="ignore"):
        want = attention_ref(q, k, v, None, **attrs)
    for found, right in zip(outs, want):
        assert np.array_equal(np.isnan(found), np.isnan(right))
        assert np.allclose(found, right, rtol=1e-4, atol=1e-5, equal_nan=True)


@pytest.mark.parametrize("needs", [(True, False, False, False), (False, True, True, False), (False, False, True, False)])
def test_attention_gradients_that_are_asked_for(needs):
    rng = np.random.default_rng(7)
    q, k, v, g = operands(rng, np.float64, (2,), ((20, 8), (30, 8), (30, 5), (20, 5)), "")
    attrs = {"is_causal": False, "scale": 0.3}
    _, lse = attention_ref(q, k, v, None, **attrs)
    want = attention_backward_ref(g, q, k, v, None, lse, **attrs, needs=needs)
    outs = [guarded(w.shape, np.float64) for w in want]
    run(attention.attention_backward_extern, ISAS[0], "attention_backward", (g, q, k, v, None, lse), outs, {**attrs, "needs": needs})
    assert all(np.abs(a - b).max() < 1e-13 for a, b in zip(outs, want))


# ---------------------------------------------------------------------------------------------------- recurrent layers
# steps, sequences, inputs, hidden, threads, reverse, biases
LAYERS = [(5, 16, 20, 48, 2, False, True), (3, 2, 7, 13, 2, True, True), (2, 37, 30, 150, 3, False, True), (1, 1, 1, 1, 1, False, False),
          (3, 9, 5, 140, 1, False, False)]


def layer(isa, real, case, needs=(True,) * 8, given=(True, True, True)):
    """Forward and backward of an LSTM layer, natively and by reference: pairs of results."""
    steps, batch, inputs, hidden, threads, reverse, biases = case
    forward, backward = REGISTRY["lstm_layer"], REGISTRY["lstm_layer_backward"]
    rng = np.random.default_rng(steps)

    def make(*shape, scale=0.5):
        return copy_guarded((scale * rng.standard_normal(shape)).astype(real))
    weights = [make(4 * hidden, inputs, scale=0.2), make(4 * hidden, hidden, scale=0.2)]
    weights += [make(4 * hidden), make(4 * hidden)] if biases else [None, None]
    ins = [make(steps * batch, inputs), make(batch, hidden), make(batch, hidden), *weights, None]
    attrs = {"batch_sizes": (batch,) * steps, "reverse": reverse}
    want = forward.ref(*map(wide, ins), **attrs)
    outs = [guarded(w.shape, real) for w in want]
    run(recurrent.lstm_extern, isa, "lstm_layer", ins, outs, attrs, threads=threads)
    gs = [make(*w.shape) if there else None for w, there in zip(want[:3], given)]
    zeros = [np.zeros(w.shape) if g is None else wide(g) for g, w in zip(gs, want[:3])]
    attrs["needs"] = tuple(need and x is not None for need, x in zip(needs, ins))
    want_back = backward.ref(*zeros, *map(wide, ins), *map(wide, outs[3:]), **attrs)
    back = [guarded(w.shape, real) for w in want_back]
    run(recurrent.lstm_backward_extern, isa, "lstm_layer_backward", [*gs, *ins, *outs[3:]], back, attrs, threads=threads)
    return [*zip(outs, want), *zip(back, want_back)]


@isa_cases
@pytest.mark.parametrize("case", LAYERS, ids=str)
def test_lstm_layer(isa, case):
    for found, want in layer(isa, np.float32, case):
        assert np.abs(found - want).max() < 1e-5 * max(1, np.abs(want).max())


@isa_cases
def test_lstm_layer_in_float64(isa):
    for found, want in layer(isa, np.float64, LAYERS[1]):
        assert np.abs(found - want).max() < 1e-13 * max(1, np.abs(want).max())


@pytest.mark.parametrize(("needs", "given"), [((False, True, False, True, False, True, False, False), (True, False, True)),
                                              ((True, False, False, False, True, False, True, False), (False, True, True)),
                                              ((True,) * 8, (True, False, False))])
def test_lstm_gradients_that_are_asked_for(needs, given):
    for found, want in layer(ISAS[0], np.float64, LAYERS[0], needs, given):
        assert np.abs(found - want).max() < 1e-13 * max(1, np.abs(want).max())


def test_layers_that_belong_elsewhere():
    """Sequences of different lengths, and projections."""
    x, h, w = np.zeros((3, 2)), np.zeros((2, 2)), np.zeros((8, 2))
    outs = [np.zeros(s) for s in ((3, 2), (2, 2), (2, 2), (3, 8), (3, 2), (3, 2))]
    uneven = library_call("lstm_layer", (x, h, h, w, w, None, None, None), outs, {"batch_sizes": (2, 1), "reverse": False})
    assert recurrent.lstm_extern(uneven, ISAS[0], "f") is None


# ---------------------------------------------------------------------------------------------------- functions
def apply(function, isa, real, x):
    """A vector function of vmath over an array."""
    module = Module(isa)
    f = Fn(module, "f", "ptr views, i64 tid, i64 nth, ptr scratch, ptr shared", {np.float32: "float", np.float64: "double"}[real])
    source, to = f.load(f.p_views, 0, "ptr"), f.load(f.p_views, 1, "ptr")
    with f.loop(0, x.size, f.lanes) as i:
        f.store(function(f, f.load(source, i)), to, i)
    f.end()
    out = guarded(x.shape, real)
    Native(Extern(module.text, "f"), isa)(copy_guarded(x), out)
    return out


@isa_cases
@float_cases
@pytest.mark.parametrize(("name", "right", "low", "high"), [
    ("exp_down", np.exp, -80, 0), ("sigmoid", lambda x: 1 / (1 + np.exp(-x)), -20, 20), ("tanh", np.tanh, -4, 4),
    ("tanh", np.tanh, -1e-3, 1e-3),
    ("log", np.log, 1e-3, 30)])
def test_vector_functions(isa, real, name, right, low, high):
    x = np.random.default_rng(8).uniform(low, high, 4096).astype(real)
    found, want = apply(getattr(vmath, name), isa, real, x), right(x.astype(np.longdouble))
    assert (np.abs(found - want) / np.spacing(np.abs(want).astype(real))).max() < 2.6


@float_cases
def test_vector_functions_at_the_ends(real):
    x = np.array([np.nan, -np.inf, -1e30, -0.0, 0.0, 1e30, np.inf, 1.0] * 2, real)
    sigmoid = [np.nan, 0, 0, 0.5, 0.5, 1, 1, 1 / (1 + np.exp(-1))]
    for name, want in (("tanh", [np.nan, -1, -1, -0.0, 0, 1, 1, np.tanh(1)]), ("sigmoid", sigmoid)):
        assert np.allclose(apply(getattr(vmath, name), ISAS[0], real, x)[:8], want, equal_nan=True, atol=1e-30)
    x = np.array([np.nan, -np.inf, -1e30, -800.0, -0.0, 0.0, -1.0, -5.0] * 2, real)
    assert np.allclose(apply(vmath.exp_down, ISAS[0], real, x)[:8], [np.nan, 0, 0, 0, 1, 1, np.exp(-1), np.exp(-5)], equal_nan=True)


def test_lower_instruction_sets_are_covered():
    assert AVX2 not in ISAS or SSE2 in ISAS
