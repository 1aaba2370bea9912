"""Eager operators through native kernels give what their references give, whatever the operands look like."""
from __future__ import annotations

import threading

import numpy as np
import pytest

import pellucid
import pellucid.nn.functional as TF
from pellucid import native
from pellucid.core.config import config
from pellucid.native import isa, onednn
from pellucid.ops.op import REGISTRY
from pellucid.tensor import kernels

pytestmark = pytest.mark.skipif(not config.kernels, reason="kernels are switched off")
BIG = 70_001
POINTS = {
    "relu": TF.relu, "sigmoid": pellucid.sigmoid, "tanh": pellucid.tanh, "exp": pellucid.exp, "sin": pellucid.sin, "silu": TF.silu, "gelu": TF.gelu,
    "clamp": lambda x: x.clamp(-1, 1), "pow": lambda x: x.pow(2), "scaled": lambda x: x * 2.5 + 1, "doubled": lambda x: x + x,
    "where": lambda x: pellucid.where(x > 0, x, 0.0), "masked_fill": lambda x: x.masked_fill(x > 0, 0.0)}
FLOATS = (pellucid.float32, pellucid.float64, pellucid.bfloat16, pellucid.float16)


@pytest.fixture(autouse=True)
def fresh():
    kernels.switch(True)
    pellucid.manual_seed(0)
    yield
    kernels.switch(True)


def both(f):
    """What `f` gives with kernels and without."""
    kernels.switch(True)
    for _ in range(kernels.SEEN + 1):           # small operators whose bits cannot differ are compiled after a while only
        a = f()
    kernels.switch(False)
    b = f()
    kernels.switch(True)
    return a, b


def wide(t) -> np.ndarray:
    return t.detach().double().numpy()


def agree(a, b, ulps: float = 4) -> None:
    assert a.dtype is b.dtype and a.shape == b.shape and a.stride() == b.stride()
    eps = pellucid.finfo(a.dtype).eps if a.dtype.is_floating_point else 0
    np.testing.assert_allclose(wide(a), wide(b), rtol=ulps * eps, atol=ulps * eps * 0.25)


# ---------------------------------------------------------------------------------------------------- elementwise
@pytest.mark.parametrize("dtype", FLOATS, ids=lambda d: d.name)
@pytest.mark.parametrize("name", sorted(POINTS))
@pytest.mark.parametrize("n", [0, 1, 17, BIG])
def test_elementwise(name: str, dtype, n: int) -> None:
    x = pellucid.randn(n).to(dtype)
    a, b = both(lambda: POINTS[name](x))
    if name == "gelu" and n and dtype in (pellucid.float32, pellucid.float64):      # 1 + erf(x) loses digits, in the reference more
        exact = wide(POINTS[name](x.double()))
        assert np.abs(wide(a) - exact).max() <= 2 * np.abs(wide(b) - exact).max() + 2 * pellucid.finfo(dtype).eps
    else:
        agree(a, b)


@pytest.mark.parametrize("name", sorted(POINTS))
def test_nan_infinities_and_signed_zeros(name: str) -> None:
    x = pellucid.tensor([float("nan"), float("inf"), -float("inf"), 0.0, -0.0, 1e-40, 3e38, -3e38] * 3)
    with np.errstate(all="ignore"):
        a, b = both(lambda: POINTS[name](x))
    np.testing.assert_allclose(wide(a), wide(b), rtol=1e-6)


LAYOUTS = {"transposed": lambda x: x.transpose(0, 1), "channels_last": lambda x: x.contiguous(memory_format=pellucid.channels_last),
           "sliced": lambda x: x[:, ::2], "expanded": lambda x: x[:1].expand(6, 8, 10, 12), "reversed": lambda x: x.flip(0), "offset": lambda x: x[1:]}


@pytest.mark.parametrize("layout", sorted(LAYOUTS))
@pytest.mark.parametrize("name", ["relu", "sigmoid", "doubled", "scaled", "where"])
def test_layouts(name: str, layout: str) -> None:
    x = LAYOUTS[layout](pellucid.randn(6, 8, 10, 12))
    agree(*both(lambda: POINTS[name](x)))


def test_operands_of_different_layouts() -> None:
    x = pellucid.randn(6, 8, 10, 12)
    y = x.contiguous(memory_format=pellucid.channels_last)
    a, b = both(lambda: x + y)
    np.testing.assert_array_equal(wide(a), wide(b))
    np.testing.assert_array_equal(wide(a), wide(x) * 2)


def test_broadcast_operands() -> None:
    x, row, one = pellucid.randn(300, 200), pellucid.randn(200), pellucid.randn(())
    for f in (lambda: x * row, lambda: x * one, lambda: pellucid.atan2(x, one), lambda: one - x):
        agree(*both(f))


def test_writing_over_an_operand() -> None:
    for n in (16, BIG):
        x = pellucid.randn(n)
        want = wide(x)
        x.add_(x)
        np.testing.assert_array_equal(wide(x), want * 2)
        x[1:].copy_(x[:-1].clone())
        np.testing.assert_array_equal(wide(x[1:]), want[:-1] * 2)


def test_a_given_result_is_written_only_where_nothing_is_read_late() -> None:
    add = REGISTRY["add"]
    memory = np.arange(33, dtype=np.float32)
    a, b, shifted = memory[:32], np.ones(32, np.float32), memory[1:]
    kernels.point(add, [a, b], {})
    flat = next(f for f in kernels._flats.values() if f is not kernels.NO)
    assert flat.call(a, b, shifted) is None and flat.large([a, b], shifted) is None
    assert flat.call(a, b, a) is a
    np.testing.assert_array_equal(memory[:32], np.arange(32) + 1)


# ---------------------------------------------------------------------------------------------------- reductions and others
@pytest.mark.parametrize("name", ["sum", "mean", "norm", "softmax", "log_softmax", "layer_norm"])
def test_reductions_are_as_accurate(name: str) -> None:
    x = pellucid.randn(300, 401)
    f = {"sum": lambda x: x.sum(-1), "mean": lambda x: x.mean(-1), "norm": lambda x: x.norm(), "softmax": lambda x: TF.softmax(x, -1),
         "log_softmax": lambda x: TF.log_softmax(x, -1), "layer_norm": lambda x: TF.layer_norm(x, (401,))}[name]
    exact = wide(f(x.double()))
    a, b = both(lambda: f(x))
    mine, theirs = (np.abs(wide(t) - exact).max() for t in (a, b))
    assert mine <= 2 * theirs + 1e-7 * np.abs(exact).max()


def overlapping_pool_gradient(x):
    """Windows share elements, so that several gradients meet in one place."""
    x = x.clone().requires_grad_()
    TF.max_pool2d(x, 3, 1).square().sum().backward()
    return x.grad


@pytest.mark.parametrize("size", [4, 3000])
@pytest.mark.parametrize("bad", [1.5, -0.1, float("nan")])
def test_kernels_refuse_what_are_no_probabilities(size: int, bad: float) -> None:
    x = pellucid.full((size,), 0.5)
    x[size // 2] = bad
    with pytest.raises(RuntimeError, match="between 0 and 1"):
        TF.binary_cross_entropy(x, pellucid.zeros(size))


def test_operators_of_many_passes_are_native_at_any_size() -> None:
    kernels.forget()
    x = pellucid.randn(2, 3, 2, 2).requires_grad_()
    TF.batch_norm(x, None, None, training=True).square().sum().backward()
    TF.layer_norm(x, (2, 2)).square().sum().backward()
    made = {key[0].name for key, call in kernels._calls.items() if call is not kernels.NO}
    assert made >= {"batch_norm_train", "batch_norm_backward", "native_layer_norm", "layer_norm_backward"}


@pytest.mark.parametrize("size", [4, 40])
def test_operators_that_move_data_give_the_same_bits(size: int) -> None:
    x, i = pellucid.randn(2, 3, size, size), pellucid.randint(0, size, (2, 3, size, size))
    table, rows = pellucid.randn(size, 5), pellucid.randint(0, size, (7,))
    for f in (lambda: x.gather(3, i), lambda: TF.embedding(rows, table), lambda: TF.max_pool2d(x, 2), lambda: TF.pad(x, (1, 2, 0, 1)),
              lambda: x.max(-1)[0], lambda: x.max(-1)[1], lambda: x.tril(), lambda: pellucid.cat([x, x], 1), lambda: x.transpose(2, 3).contiguous(),
              lambda: x.scatter_add(3, i, x), lambda: x.scatter(3, i, x), lambda: overlapping_pool_gradient(x)):
        a, b = both(f)
        assert a.stride() == b.stride()
        np.testing.assert_array_equal(wide(a), wide(b))


@pytest.mark.parametrize("weights", [pellucid.contiguous_format, pellucid.channels_last])
@pytest.mark.parametrize("layout", [pellucid.contiguous_format, pellucid.channels_last])
@pytest.mark.parametrize("channels, size, kernel, options", [
    (4, 9, 3, {"padding": 1}), (8, 33, 3, {"stride": 2, "padding": 1, "groups": 2}), (128, 13, 3, {"padding": 1}), (3, 16, 7, {"stride": 2}),
    (6, 12, 3, {"dilation": 2}), (64, 8, 1, {}), (1, 8, 3, {"padding": 1})], ids=str)
@pytest.mark.parametrize("dtype", [pellucid.float32, pellucid.float64], ids=lambda d: d.name)
@pytest.mark.parametrize("bias", [True, False])
def test_convolution_keeps_the_memory_format(layout, weights, channels: int, size: int, kernel: int, options: dict, dtype, bias: bool) -> None:
    x = pellucid.randn(2, channels, size, size, dtype=dtype).contiguous(memory_format=layout)
    shape = (8, channels // options.get("groups", 1), kernel, kernel)
    leaves = [(pellucid.randn(shape, dtype=dtype) * 0.1).contiguous(memory_format=weights).requires_grad_()]
    leaves += [pellucid.ones(8, dtype=dtype).requires_grad_()] * bias
    if dtype is pellucid.float32:               # else the input's gradient is not wanted
        leaves.append(x.requires_grad_())
    last = not (x.is_contiguous() and leaves[0].is_contiguous())

    def f():
        y = TF.conv2d(x, leaves[0], leaves[1] if bias else None, **options)
        return y, *pellucid.autograd.grad(y, leaves, y.detach())
    for a, b in zip(*both(f)):
        assert a.dtype is b.dtype and all(n == 1 or s == t for n, s, t in zip(a.shape, a.stride(), b.stride()))
        np.testing.assert_allclose(wide(a), wide(b), rtol=2e-4, atol=2e-4 * np.abs(wide(b)).max())
        if a.ndim == 4 and last:                # as in PyTorch
            assert a.is_contiguous(memory_format=pellucid.channels_last)


@pytest.mark.parametrize("layout", [pellucid.contiguous_format, pellucid.channels_last])
def test_convolutions_are_native_from_the_first_call(layout) -> None:
    kernels.forget()
    x = pellucid.randn(4, 128, 14, 14).contiguous(memory_format=layout).requires_grad_()
    w = pellucid.randn(128, 128, 3, 3).requires_grad_()
    a, b = both(lambda: pellucid.autograd.grad(TF.conv2d(x, w, padding=1).sum(), (x, w)))       # of one number, expanded
    for one, other in zip(a, b):
        np.testing.assert_allclose(wide(one), wide(other), rtol=1e-4, atol=1e-3)
    pellucid.autograd.grad(TF.conv2d(x, w, padding=1).sum(), (x, w))
    made = [key[0].name for key, call in kernels._calls.items() if call is not kernels.NO and key[0].name.startswith("conv")]
    assert sorted(made) == ["convolution", "convolution_input", "convolution_weight"]


@pytest.mark.parametrize("shape", [(2, 3, 4, 5), (2, 16, 12, 13)])
def test_copies_keep_the_memory_format(shape) -> None:
    x = pellucid.randn(shape)
    last = x.contiguous(memory_format=pellucid.channels_last)
    assert not last.is_contiguous() and last.is_contiguous(memory_format=pellucid.channels_last)
    for f in (lambda: x.contiguous(memory_format=pellucid.channels_last), lambda: last.clone(), lambda: last.contiguous(),
              lambda: x.transpose(1, 3).clone()):
        a, b = both(f)
        agree(a, b, 0)


@pytest.mark.parametrize("call", ["gather", "embedding"])
@pytest.mark.parametrize("bad", [-9, 99])
@pytest.mark.parametrize("n", [4, 200])
def test_bad_indices_raise_the_references_error(call: str, bad: int, n: int) -> None:
    table, good = pellucid.randn(n, n), pellucid.zeros((n, n), dtype=pellucid.int64)
    wrong = good.clone()
    wrong[1, 2] = bad if bad < 0 else n + bad

    def f(index):
        return table.gather(1, index) if call == "gather" else TF.embedding(index, table)
    for _ in range(kernels.SEEN + 1):
        f(good)
    errors = []
    for on in (True, False):
        if not on:
            kernels.switch(False)
        with pytest.raises((IndexError, RuntimeError)) as caught:
            f(wrong)
        errors.append((type(caught.value), str(caught.value).split("\n")[0]))
    assert errors[0] == errors[1]
    kernels.switch(True)
    f(good)                                     # nothing is left of the error


# ---------------------------------------------------------------------------------------------------- autograd
@pytest.mark.parametrize("n", [5, BIG])
@pytest.mark.parametrize("name", sorted(set(POINTS) - {"where", "masked_fill"}))
def test_gradients(name: str, n: int) -> None:
    def f():
        pellucid.manual_seed(1)
        x = pellucid.randn(n).requires_grad_()
        POINTS[name](x).sum().backward()
        return x.grad
    a, b = both(f)
    np.testing.assert_allclose(wide(a), wide(b), rtol=1e-5, atol=1e-6)


def test_double_backward() -> None:
    x = pellucid.randn(BIG, dtype=pellucid.float64).requires_grad_()
    g, = pellucid.autograd.grad(pellucid.tanh(x).sum(), x, create_graph=True)
    h, = pellucid.autograd.grad(g.sum(), x)
    t = np.tanh(wide(x))
    np.testing.assert_allclose(wide(h), -2 * t * (1 - t * t), rtol=1e-9, atol=1e-12)


@pytest.mark.filterwarnings("ignore:Anomaly Detection")
def test_saved_tensor_hooks_and_anomaly() -> None:
    x, packed = pellucid.randn(BIG).requires_grad_(), []
    with pellucid.autograd.graph.saved_tensors_hooks(lambda t: packed.append(t) or t.numpy().copy(), pellucid.from_numpy):
        y = TF.silu(x)
    y.sum().backward()
    assert len(packed) == 1 and x.grad is not None
    z = pellucid.full((BIG,), -1.0).requires_grad_()
    with pellucid.autograd.detect_anomaly(), np.errstate(all="ignore"), pytest.raises(RuntimeError, match="returned nan values"):
        pellucid.sqrt(z).sum().backward()


def test_a_saved_operand_that_was_written_is_noticed() -> None:
    x = pellucid.randn(BIG).requires_grad_()
    y = x * 2
    z = TF.silu(y)
    y.add_(1)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        z.sum().backward()


# ---------------------------------------------------------------------------------------------------- in place
def activated(name: str, inplace: bool, n: int = BIG):
    """(the result, its operand's gradient, where the result lies, where the operand lay)."""
    pellucid.manual_seed(3)
    x = (pellucid.randn(n) * 4).requires_grad_()
    y = x + 0
    before = y.data_ptr()
    z = getattr(TF, name)(y, inplace=inplace)
    (z * z).sum().backward()
    return z.detach(), x.grad, z.data_ptr(), before


@pytest.mark.parametrize("n", (7, BIG))
@pytest.mark.parametrize("name", ("relu", "relu6", "hardtanh", "silu", "hardswish", "elu"))
def test_activations_in_place_are_the_same_in_the_same_memory(name: str, n: int) -> None:
    want, slope, *_ = activated(name, False, n)
    got, grad, after, before = activated(name, True, n)
    np.testing.assert_array_equal(got.numpy(), want.numpy())
    np.testing.assert_array_equal(grad.numpy(), slope.numpy())
    assert after == before


def test_in_place_what_the_derivative_needs_is_kept_once() -> None:
    for name, copies in (("relu6", 0), ("relu", 0), ("silu", 1)):
        y = pellucid.randn(BIG).requires_grad_() + 0
        memory = y._a
        z = getattr(TF, name)(y, inplace=True)
        saved = [s[0] if type(s) is tuple else s._a for s in z.grad_fn._saved if s is not None]
        assert z is y and y._a is memory and [a is not memory for a in saved] == [bool(copies)], name
        z.add_(1)
        if copies:
            z.sum().backward()
        else:
            with pytest.raises(RuntimeError, match="modified by an inplace operation"):
                z.sum().backward()


def test_in_place_aliases_see_the_write_and_leaves_refuse_it() -> None:
    x = pellucid.randn(BIG)
    other, part = x.detach(), x[:5]
    want = TF.relu6(x)
    TF.relu6(x, inplace=True)
    np.testing.assert_array_equal(other.numpy(), want.numpy())
    np.testing.assert_array_equal(part.numpy(), want.numpy()[:5])
    y = pellucid.randn(BIG).requires_grad_() + 0
    view = y[:5]
    TF.relu6(y, inplace=True)
    assert view.grad_fn is not None and view.sum().backward() is None
    with pytest.raises(RuntimeError, match="leaf Variable"):
        TF.relu6(pellucid.randn(BIG).requires_grad_(), inplace=True)
    frozen = pellucid.from_numpy(np.ones(BIG, np.float32))
    frozen._a.flags.writeable = False
    with pytest.raises(RuntimeError, match="read-only"):
        TF.relu6(frozen, inplace=True)


@pytest.mark.parametrize("name", ["add_", "sub_"])
@pytest.mark.parametrize("n", [3, 1000, 300_000])
@pytest.mark.parametrize("dtype", [pellucid.float32, pellucid.float64], ids=str)
def test_updates_by_a_factor_are_those_of_the_parts(name: str, n: int, dtype) -> None:
    x, y = pellucid.randn(n, dtype=dtype), pellucid.randn(n, dtype=dtype)
    want = getattr(x.clone(), name)(y * -0.3)
    for given in (x, pellucid.nn.Parameter(x)):
        p = given.clone().detach().requires_grad_(given.requires_grad)
        version = p._version
        with pellucid.no_grad():
            assert getattr(p, name)(y, alpha=-0.3) is p
        assert p._version == version + 1 and p.requires_grad == given.requires_grad
        np.testing.assert_array_equal(p.detach().numpy(), want.numpy())
    rows = pellucid.zeros(2, n, dtype=dtype)
    np.testing.assert_array_equal(getattr(rows, name)(y, alpha=2)[1].numpy(), (y if name == "add_" else -y).numpy() * 2)
    p = pellucid.nn.Parameter(x)
    with pytest.raises(RuntimeError, match="leaf Variable"):
        getattr(p, name)(y, alpha=-0.3)


def test_a_write_refuses_to_read_what_it_has_written() -> None:
    x = pellucid.arange(10.)
    with pytest.raises(RuntimeError, match="single memory location"):
        x[1:].add_(x[:-1])
    x[:5].add_(x[5:]), x.add_(x)
    assert x.tolist() == [10., 14., 18., 22., 26., 10., 12., 14., 16., 18.]


def test_counters_count_in_place() -> None:
    n = pellucid.tensor(0)
    version = n._version
    assert n.add_(1) is n and n.mul_(6).sub_(2).item() == 4 and n._version == version + 3 and n.dtype is pellucid.int64
    with pytest.raises(RuntimeError, match="can't be cast"):
        n.div_(2)


# ---------------------------------------------------------------------------------------------------- convolutions of row-major images
@pytest.mark.skipif(onednn.library() is None, reason="oneDNN is not installed")
def test_one_convolution_of_row_major_images_is_one_library_call() -> None:
    kernels.forget()
    pellucid.conv2d(pellucid.randn(2, 32, 9, 9), pellucid.randn(48, 32, 3, 3))
    call, = [c for key, c in kernels._calls.items() if key[0].name == "convolution"]
    assert (call.exe.report["kernels"], call.exe.report["library_calls"]) == (0, 1)
    kernels.forget()
    pellucid.conv2d(pellucid.randn(8, 64, 4, 4), pellucid.randn(64, 64, 3, 3), padding=1)      # small images have code of their own
    call, = [c for key, c in kernels._calls.items() if key[0].name == "convolution"]
    assert call.exe.report["extern_calls"] == (isa.host_isa().registers >= 32)


# ---------------------------------------------------------------------------------------------------- what is kept
def test_one_kernel_serves_all_shapes() -> None:
    for n in range(1, 51):
        TF.silu(pellucid.randn(n, 3))
        TF.silu(pellucid.randn(n, 2000))
    assert sum(key[0].name == "silu" for key in kernels._flats) == 1


def test_programs_are_bounded() -> None:
    for n in range(1, 60):
        pellucid.randn(n, 64, 64).sum(-1)
    assert 0 < kernels.count() <= kernels.SHAPES + 20


def test_what_is_dropped_may_still_be_called() -> None:
    x = pellucid.randn(16)
    for _ in range(kernels.SEEN + 1):
        pellucid.sigmoid(x) + x
    kernels._flats.clear()
    for _ in range(200):
        agree(pellucid.sigmoid(x) + x, x + pellucid.sigmoid(x))


def test_numbers_of_threads_give_the_same_bits() -> None:
    x, before = pellucid.randn(1 << 18), pellucid.get_num_threads()
    try:
        found = []
        for n in (1, 2):
            pellucid.set_num_threads(n)
            found.append(wide(TF.gelu(x)))
        np.testing.assert_array_equal(*found)
    finally:
        pellucid.set_num_threads(before)


def test_several_python_threads() -> None:
    failed: list = []

    def work(seed: int) -> None:
        try:
            a = np.random.default_rng(seed).standard_normal((30, 40)).astype(np.float32)
            x = pellucid.from_numpy(a)
            for _ in range(60):
                np.testing.assert_array_equal(wide(x.gather(1, pellucid.zeros((30, 40), dtype=pellucid.int64))), np.repeat(a[:, :1], 40, 1))
                np.testing.assert_allclose(wide(TF.softmax(x, -1)).sum(-1), 1, rtol=1e-5)
                np.testing.assert_array_equal(wide(TF.relu(x)), np.maximum(a, 0))
        except BaseException as error:
            failed.append(error)
    threads = [threading.Thread(target=work, args=(k,)) for k in range(4)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert not failed, failed[0]


def test_switched_off() -> None:
    kernels.switch(False)
    TF.silu(pellucid.randn(BIG)), TF.softmax(pellucid.randn(300, 300), -1)
    assert kernels.count() == 0


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("dtype", FLOATS, ids=lambda d: d.name)
def test_attention_over_heads_that_are_views(causal: bool, dtype) -> None:
    rows = pellucid.randn(2, 40, 3 * 96).to(dtype)

    def f():
        x = rows.clone().requires_grad_()
        q, k, v = [t.view(2, 40, 6, 16).transpose(1, 2) for t in x.split(96, 2)]
        y = TF.scaled_dot_product_attention(q, k, v, is_causal=causal)
        y.transpose(1, 2).reshape(2, 40, 96).sum().backward()
        return y, x.grad
    (y, g), (want, slope) = both(f)
    close = {"float64": 1e-10, "float32": 2e-5}.get(dtype.name, 3e-2)
    for a, b in ((y, want), (g, slope)):
        assert a.stride() == b.stride() and a.dtype is b.dtype
        np.testing.assert_allclose(wide(a), wide(b), rtol=close, atol=close)


def test_products_in_every_layout() -> None:
    a, b = pellucid.randn(70, 90), pellucid.randn(90, 80)
    for f in (lambda: a @ b, lambda: a.t() @ a, lambda: a[::2] @ b, lambda: a @ a.t()):
        x, y = both(f)
        assert x.stride() == y.stride()
        np.testing.assert_allclose(wide(x), wide(y), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("shape", [(12, 4, 64, 32), (2, 2, 35, 50)])
def test_products_of_heads_that_lie_in_rows_are_native(shape) -> None:
    b, h, t, d = shape
    q, k, v = [x.view(b, t, h, d).transpose(1, 2) for x in pellucid.randn(b, t, 3 * h * d).split(h * d, 2)]
    p = pellucid.randn(b, h, t, t)
    for f in (lambda: q @ k.transpose(-1, -2), lambda: p @ v, lambda: p.transpose(-1, -2) @ q, lambda: k.transpose(-1, -2) @ v,
              lambda: q[:, :, 1:, 2:] @ k[..., 2:].transpose(-1, -2), lambda: q[0] @ k[0].transpose(-1, -2)):
        x, y = both(f)
        [f() for _ in range(kernels.SEEN + 1)]
        assert kernels.count() == 1
        np.testing.assert_allclose(wide(x), wide(y), rtol=1e-4, atol=1e-4)
        assert x.is_contiguous()


@pytest.mark.parametrize("cell", ["LSTMCell", "GRUCell", "RNNCell"])
@pytest.mark.parametrize("dtype", FLOATS[:2], ids=lambda d: d.name)
def test_cells_are_native_whatever_the_inputs_layout(cell: str, dtype) -> None:
    kernels.forget()
    net = getattr(pellucid.nn, cell)(1, 13).to(dtype)
    rows, h = pellucid.randn(9, 5).to(dtype), pellucid.randn(13, 18).to(dtype).t()
    states = (h[::2], h[1::2]) if cell == "LSTMCell" else h[::2]

    def f():
        state, outs = states, []
        for x in rows.split(1, dim=1):          # columns: not row-major
            state = net(x, state)
            outs.append(state[0] if cell == "LSTMCell" else state)
        return pellucid.autograd.grad(pellucid.stack(outs, 2).square().sum(), [*net.parameters()])
    a, b = both(f)
    close = 1e-12 if dtype is pellucid.float64 else 2e-5
    for one, other in zip(a, b):
        np.testing.assert_allclose(wide(one), wide(other), rtol=close, atol=close)
    f()
    made = [call for key, call in kernels._calls.items() if "_step" in key[0].name]
    assert made and kernels.NO not in made


def test_layers_are_native_whatever_the_inputs_layout() -> None:
    kernels.forget()
    net = pellucid.nn.LSTM(4, 13).double()
    x = pellucid.randn(5, 4, 3).double().transpose(1, 2)                  # its rows are columns
    a, b = both(lambda: net(x)[0])
    agree(a, b, 64)
    net(x)
    assert [call is not kernels.NO for key, call in kernels._calls.items() if key[0].name == "lstm_layer"] == [True]


def test_native_is_there() -> None:
    assert native.flat.usable()


@pytest.mark.parametrize("dtype", (pellucid.float32, pellucid.float64))
@pytest.mark.parametrize("shape, options", [
    ((2, 3, 9, 7), dict(kernel_size=2)), ((2, 3, 9, 7), dict(kernel_size=3, stride=2, padding=1)),
    ((1, 2, 6, 5), dict(kernel_size=(3, 2), padding=1, count_include_pad=False, ceil_mode=True)), ((2, 2, 30, 31), dict(kernel_size=5, divisor_override=7))])
def test_small_means_over_windows_have_the_same_bits_before_and_after_they_are_compiled(shape, options, dtype) -> None:
    x = pellucid.randn(shape).to(dtype)
    a, b = both(lambda: TF.avg_pool2d(x, **options))
    assert pellucid.equal(a, b)
