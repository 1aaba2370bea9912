"""Operators as oneDNN primitives, each against the operator's own reference."""
from __future__ import annotations

import itertools

import numpy as np
import pytest

import pellucid
from pellucid.core import dtype as dt
from pellucid.kernel.plan import LibCall, Post, View
from pellucid.native import onednn, onednn_ops
from pellucid.ops.op import REGISTRY

pytestmark = pytest.mark.skipif(onednn.library() is None, reason="oneDNN is not installed")
rng = np.random.default_rng(0)


def t(*shape, dtype=np.float32):
    return rng.standard_normal(shape).astype(dtype)


def nhwc(a):
    """The same values, channels last in memory."""
    return np.moveaxis(np.ascontiguousarray(np.moveaxis(a, 1, -1)), -1, 1)


def view(a, number=0):
    return View(number, dt.of(a.dtype), a.shape, tuple(s // a.itemsize for s in a.strides))


def run(name, *operands, out, post=(), constant=(), **attrs):
    """The primitive's result, or None if there is none."""
    steps = tuple(Post(kind, None if a is None else view(a)) for kind, a in post)
    call = LibCall(name, tuple(view(a) if isinstance(a, np.ndarray) else a for a in operands), (view(out),), attrs, None, steps)
    with onednn.sharing():
        first, p = (onednn_ops.primitive(call, frozenset(constant)) for _ in range(2))
    if p is None:
        return None
    assert [prim for prim, *_ in p.execs] == [prim for prim, *_ in first.execs]
    arrays = [a for a in (*operands, out, *(a for _, a in post)) if isinstance(a, np.ndarray)]
    kept = []
    for m, size in p.kept:
        kept.append(np.empty(size, np.uint8))
        onednn.set_handle(m, kept[-1].ctypes.data)
    for m, index in p.binds:
        onednn.call("dnnl_memory_set_data_handle", onednn.P(m), onednn.P(arrays[index].ctypes.data))
    scratch = np.empty(p.scratch + 64, np.uint8)
    for m, offset in p.inner:
        onednn.set_handle(m, scratch.ctypes.data + offset)
    stream = onednn.stream()
    p.run(p.setup, stream)
    p.run(p.execs, stream)
    return out


def reference(name, *operands, post=(), **attrs):
    r = REGISTRY[name].ref(*(a.astype(np.float64) if isinstance(a, np.ndarray) else a for a in operands), **attrs)
    for kind, a in post:
        r = np.maximum(r, 0) if kind == "relu" else r + (a if kind == "add" or r.ndim == 2 or name in ("linear", "bgemm") else
                                                         a.reshape(-1, *(1,) * (r.ndim - 2)))
    return r


def agree(name, *operands, out=None, post=(), constant=(), tolerance=2e-5, **attrs):
    expected = reference(name, *operands, post=post, **attrs)
    if out is None:
        out = np.empty(expected.shape, operands[0].dtype)
    assert out.shape == expected.shape
    assert run(name, *operands, out=out, post=post, constant=constant, **attrs) is not None, "no primitive"
    scale = np.abs(expected).max() + 1e-30
    assert np.abs(out.astype(np.float64) - expected).max() <= tolerance * scale


# ---------------------------------------------------------------------------------------------------- products
@pytest.mark.parametrize("ta, tb", [*itertools.product((False, True), repeat=2)])
def test_a_product_of_matrices_reads_either_one_transposed(ta, tb):
    a, b = t(*((40, 30) if ta else (30, 40))), t(*((20, 40) if tb else (40, 20)))
    agree("gemm", a, b, ta=ta, tb=tb)


def test_views_of_views_need_no_copies():
    a, b = t(30, 80)[:, 10:50], t(60, 40)[20:40].T
    agree("mm", a, b)
    agree("mm", a.T[:, :7].T, b)


@pytest.mark.parametrize("ta, tb", [*itertools.product((False, True), repeat=2)])
def test_batched_products_broadcast(ta, tb):
    a, b = t(2, 3, *((8, 5) if ta else (5, 8))), t(2, 3, *((7, 8) if tb else (8, 7)))
    agree("bgemm", a, b, ta=ta, tb=tb)
    agree("bgemm", a, b[:1], ta=ta, tb=tb)
    agree("bgemm", a, b[0, 0], ta=ta, tb=tb)


def test_heads_are_read_where_they_are():
    """(batch, time, 3, heads, d) as (batch, heads, time, d), the result as (batch, time, heads, d)."""
    qkv = t(2, 9, 3, 4, 8)
    q, k, v = (np.moveaxis(qkv[:, :, i], 1, 2) for i in range(3))
    scores = np.empty((2, 4, 9, 9), np.float32)
    agree("bgemm", q, k, out=scores, ta=False, tb=True)
    out = np.moveaxis(np.empty((2, 9, 4, 8), np.float32), 1, 2)
    agree("bgemm", scores, v, out=out, ta=False, tb=False)


def test_post_steps():
    a, b, c, bias = t(30, 40), t(40, 20), t(30, 20), t(20)
    agree("gemm", a, b, ta=False, tb=False, post=[("bias", bias)])
    agree("gemm", a, b, ta=False, tb=False, post=[("bias", bias), ("relu", None)])
    agree("gemm", a, b, ta=False, tb=False, post=[("bias", bias), ("add", c), ("relu", None)])
    agree("gemm", a, b, ta=False, tb=False, post=[("add", c)])
    agree("bgemm", t(2, 5, 8), t(2, 8, 7), ta=False, tb=False, post=[("add", t(2, 5, 7))])


def test_linear_over_leading_dimensions():
    x, w, b, r = t(2, 3, 4, 16), t(10, 16), t(10), t(2, 3, 4, 10)
    agree("linear", x, w, b)
    agree("linear", x, w, None, post=[("add", r)])
    agree("linear", x, w, b, post=[("relu", None)], constant=[1])


def test_products_with_an_addend_and_of_a_vector():
    agree("addmm", t(20), t(30, 40), t(40, 20), beta=1, alpha=1)
    agree("addmm", t(30, 20), t(30, 40), t(40, 20), beta=1, alpha=1)
    agree("baddbmm", t(2, 5, 7), t(2, 5, 8), t(2, 8, 7), beta=1, alpha=1)
    assert run("addmm", t(20), t(30, 40), t(40, 20), out=t(30, 20), beta=2, alpha=1) is None
    agree("mv", t(30, 40), t(40))


def test_rows_and_columns_of_one():
    agree("gemm", t(1, 40), t(40, 20), ta=False, tb=False)
    agree("gemm", t(40, 1), t(40, 20), ta=True, tb=False)
    agree("gemm", t(30, 1), t(1, 20), ta=False, tb=False)
    agree("gemm", t(30, 40), t(40, 1), ta=False, tb=False)


def test_bfloat16_products():
    a, b = t(64, 96).astype(dt.bfloat16.np), t(96, 32).astype(dt.bfloat16.np)
    out = np.empty((64, 32), np.float32)
    if run("gemm", a, b, out=out, ta=False, tb=False) is None:
        pytest.skip("no bfloat16 here")
    agree("gemm", a, b, out=out, ta=False, tb=False, tolerance=1e-5)
    agree("gemm", a, b, out=np.empty((64, 32), dt.bfloat16.np), ta=False, tb=False, tolerance=1e-2)


def test_what_it_does_not_take():
    assert run("gemm", t(3, 4, dtype=np.float64), t(4, 5, dtype=np.float64), out=t(3, 5, dtype=np.float64), ta=False, tb=False) is None
    assert run("gemm", t(0, 4), t(4, 5), out=t(0, 5), ta=False, tb=False) is None
    spread = t(30, 2, 40, 2)[:, 0, :, 0]
    assert run("mm", spread, t(40, 20), out=t(30, 20)) is None


# ---------------------------------------------------------------------------------------------------- convolutions
CASES = [
    dict(n=2, c=16, o=32, size=(9, 8), kernel=(3, 3), stride=(1, 1), padding=(1, 1), dilation=(1, 1), groups=1),
    dict(n=2, c=16, o=32, size=(9, 8), kernel=(3, 2), stride=(2, 1), padding=(1, 0), dilation=(1, 2), groups=1),
    dict(n=1, c=8, o=16, size=(10, 11), kernel=(3, 3), stride=(2, 2), padding=(0, 1), dilation=(2, 1), groups=4),
    dict(n=2, c=12, o=12, size=(7, 7), kernel=(3, 3), stride=(1, 1), padding=(1, 1), dilation=(1, 1), groups=12),
    dict(n=3, c=5, o=7, size=(13,), kernel=(4,), stride=(3,), padding=(2,), dilation=(1,), groups=1),
    dict(n=1, c=4, o=6, size=(5, 6, 7), kernel=(2, 3, 2), stride=(1, 2, 1), padding=(0, 1, 1), dilation=(1, 1, 1), groups=2),
    dict(n=2, c=16, o=16, size=(8, 8), kernel=(1, 1), stride=(1, 1), padding=(0, 0), dilation=(1, 1), groups=1),
]


def operands(case):
    x = t(case["n"], case["c"], *case["size"])
    w = t(case["o"], case["c"] // case["groups"], *case["kernel"])
    attrs = {k: case[k] for k in ("stride", "padding", "dilation", "groups")}
    return x, w, t(case["o"]), attrs


def forward(x, w, b, attrs):
    return REGISTRY["convolution"].ref(x, w, b, transposed=False, output_padding=(0,) * (x.ndim - 2), **attrs)


@pytest.mark.parametrize("layout", (np.ascontiguousarray, nhwc), ids=("first", "last"))
@pytest.mark.parametrize("case", CASES, ids=str)
def test_convolution_and_its_gradients(case, layout):
    x, w, b, attrs = operands(case)
    y = forward(x, w, b, attrs)
    rest = dict(transposed=False, output_padding=(0,) * len(case["size"]))
    x, g = layout(x), layout(t(*y.shape))
    agree("convolution", x, w, b, out=layout(np.empty_like(y)), **attrs, **rest)
    agree("convolution", x, w, None, out=layout(np.empty_like(y)), constant=[1], post=[("bias", b), ("relu", None)], **attrs, **rest)
    agree("convolution", x, w, None, out=layout(np.empty_like(y)), post=[("add", g), ("relu", None)], **attrs, **rest)
    agree("convolution_input", g, w, out=layout(np.empty_like(np.ascontiguousarray(x))), shape=x.shape, **attrs)
    agree("convolution_weight", g, x, out=np.empty_like(w), shape=w.shape, **attrs)


def test_row_major_images_are_read_as_they_are_or_reordered_not_copied_into_columns():
    def steps(c, o, kernel, groups):
        x, w = t(2, c, 12, 12), t(o, c // groups, kernel, kernel)
        pad = kernel // 2
        attrs = dict(stride=(1, 1), padding=(pad, pad), dilation=(1, 1), groups=groups)
        y = t(2, o, 12, 12)
        rest = dict(transposed=False, output_padding=(0, 0))
        calls = (("convolution", (x, w, None), y, {**attrs, **rest}), ("convolution_input", (y, w), x, {**attrs, "shape": x.shape}),
                 ("convolution_weight", (y, x), w, {**attrs, "shape": w.shape}))
        for name, operands, out, options in calls:
            views = tuple(view(a) if isinstance(a, np.ndarray) else a for a in operands)
            yield onednn_ops.primitive(LibCall(name, views, (view(out),), options, None, ())).names

    assert all(len(names) == 1 for names in steps(32, 48, 1, 1))
    for case in ((32, 32, 3, 32), (32, 48, 3, 1)):
        assert not any("gemm:" in name for names in steps(*case) for name in names)


@pytest.mark.parametrize("groups, extra", ((1, (0, 0)), (2, (1, 1)), (1, (1, 0))))
def test_transposed_convolution(groups, extra):
    x, w, b = t(2, 4, 5, 6), t(4, 6 // groups, 3, 3), t(6)
    attrs = dict(stride=(2, 2), padding=(1, 1), dilation=(1, 1), groups=groups, transposed=True, output_padding=extra)
    agree("convolution", x, w, b, **attrs)
    agree("convolution", nhwc(x), w, b, out=nhwc(reference("convolution", x, w, b, **attrs).astype(np.float32)), **attrs)


# ---------------------------------------------------------------------------------------------------- pooling
@pytest.mark.parametrize("layout", (np.ascontiguousarray, nhwc), ids=("first", "last"))
@pytest.mark.parametrize("kernel, stride, padding, ceil", (((3, 3), (2, 2), (1, 1), False), ((2, 3), (2, 1), (0, 1), False),
                                                           ((3, 2), (2, 2), (1, 0), True), ((2, 2), (3, 3), (0, 0), False)))
def test_pooling(layout, kernel, stride, padding, ceil):
    x = layout(t(2, 16, 10, 9))
    attrs = dict(kernel=kernel, stride=stride, padding=padding, ceil_mode=ceil)
    y, _ = REGISTRY["max_pool"].ref(np.ascontiguousarray(x), dilation=(1, 1), **attrs)
    out = layout(np.empty_like(y))
    assert run("max_pool", x, out=out, dilation=(1, 1), **attrs) is not None
    assert np.array_equal(out, y)
    for inside in (True, False):
        more = dict(count_include_pad=inside, divisor=None, **attrs)
        out = layout(np.empty_like(y))
        if run("avg_pool", x, out=out, **more) is None:
            assert ceil
            continue
        agree("avg_pool", x, out=out, **more)
        agree("avg_pool_grad", layout(t(*y.shape)), out=layout(np.empty(x.shape, np.float32)), sizes=x.shape[2:], **more)


def test_the_version_is_known():
    assert onednn.library().version[0] == 3 and "oneDNN 3." in repr(onednn.library())
    assert pellucid.__version__


@pytest.mark.parametrize("case", CASES, ids=str)
def test_convolution_of_channels_last_operands(case):
    x, w, b, attrs = operands(case)
    y = forward(x, w, b, attrs)
    x, g = (np.ascontiguousarray(np.moveaxis(a, 1, -1)) for a in (x, t(*y.shape)))
    agree("conv_nhwc", x, w, b, **attrs)
    agree("conv_nhwc", x, w, None, post=[("add", g), ("relu", None)], **attrs)
    agree("conv_nhwc_input", g, w, shape=x.shape, **attrs)
    agree("conv_nhwc_weight", g, x, shape=w.shape, **attrs)


@pytest.mark.parametrize("native", (False, True))
def test_bfloat16_with_and_without_a_processor_that_has_it(native, monkeypatch):
    """Wide or not, the same up to a rounding of the result."""
    monkeypatch.setattr(onednn_ops, "native_bfloat16", lambda: native)
    low = dt.bfloat16.np
    a, b, c, bias = t(30, 40).astype(low), t(20, 40).astype(low), t(30, 20).astype(low), t(20).astype(low)
    out = np.empty((30, 20), low)
    if native and run("gemm", a, b, out=out, ta=False, tb=True) is None:
        pytest.skip("no bfloat16 in this library here")
    agree("gemm", a, b, out=out, ta=False, tb=True, tolerance=1e-2)
    agree("linear", a, b, bias, out=out, post=[("add", c), ("relu", None)], tolerance=1e-2)
    agree("linear", a, b, None, out=out, constant=[1], tolerance=1e-2)
    agree("bgemm", np.moveaxis(t(2, 9, 3, 4, 8).astype(low)[:, :, 1], 1, 2), t(2, 4, 9, 8).astype(low), out=np.empty((2, 4, 9, 9), low),
          ta=False, tb=True, tolerance=1e-2)
    x, w, _, attrs = (a.astype(low) if isinstance(a, np.ndarray) else a for a in operands(CASES[0]))
    y = forward(x.astype(np.float32), w.astype(np.float32), None, attrs).astype(low)
    x, g = (np.ascontiguousarray(np.moveaxis(a, 1, -1)) for a in (x, t(*y.shape).astype(low)))
    agree("conv_nhwc", x, w, None, out=np.empty_like(g), tolerance=1e-2, **attrs)
    agree("conv_nhwc_input", g, w, out=np.empty_like(x), shape=x.shape, tolerance=1e-2, **attrs)
    agree("conv_nhwc_weight", g, x, out=np.empty_like(w), shape=w.shape, tolerance=1e-2, **attrs)


def products(count, rows):
    """As many products, and of each its operands and its result."""
    found = []
    for k in range(count):
        a, b, out = t(rows, 8 + k), t(8 + k, 5), np.empty((rows, 5), np.float32)
        p = onednn_ops.primitive(LibCall("mm", (view(a), view(b)), (view(out),), {}, None, ()), later=True)
        for m, index in p.binds:
            onednn.call("dnnl_memory_set_data_handle", onednn.P(m), onednn.P((a, b, out)[index].ctypes.data))
        found.append((p, a, b, out))
    return found


def agree_after(made, found):
    made.finish()
    stream = onednn.stream()
    for p, a, b, out in found:
        p.run(p.execs, stream)
        np.testing.assert_allclose(out, a @ b, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("count", (2, 40))
def test_primitives_are_made_by_two_threads(count):
    found = products(count, 31)
    made = onednn.Making([p for p, *_ in found])
    assert (made.helper is not None) == (count >= onednn.MANY and onednn.threads.count() > 1)
    agree_after(made, found)


def test_primitives_that_the_helper_could_not_make_are_made(monkeypatch):
    """It fails, or it is gone with a fork, with primitives in its hands."""
    def taken(self, n):
        for _ in range(3):
            next(self.each)

    monkeypatch.setattr(onednn.threads, "count", lambda: 2)
    monkeypatch.setattr(onednn.Making, "generating", taken)
    found = products(20, 33)
    agree_after(onednn.Making([p for p, *_ in found]), found)


def test_what_a_refused_call_had_asked_for_is_made_for_the_next():
    """Equal primitives are one: if who asked first gives up, who asks next still gets it."""
    with onednn.sharing():
        refused, found = products(1, 29), products(1, 29)
    assert [prim for prim, *_ in refused[0][0].execs] == [prim for prim, *_ in found[0][0].execs]
    agree_after(onednn.Making([p for p, *_ in found]), found)
