"""Convolution, pooling, unfold and padding against their definitions written as loops; gradients against differences."""
from __future__ import annotations

import itertools

import numpy as np
import pellucid as torch
import pytest

F = torch.nn.functional
RNG = np.random.default_rng(0)


def normal(*shape):
    return RNG.standard_normal(shape)


def conv_by_loops(x, w, b, stride, padding, dilation, groups):
    """The definition of cross-correlation, one output at a time."""
    dims = x.ndim - 2
    x = np.pad(x, [(0, 0), (0, 0)] + [(p, p) for p in padding])
    out = [(x.shape[2 + i] - dilation[i] * (w.shape[2 + i] - 1) - 1) // stride[i] + 1 for i in range(dims)]
    y = np.zeros((x.shape[0], w.shape[0], *out))
    per_in, per_out = x.shape[1] // groups, w.shape[0] // groups
    for n, o, *at in itertools.product(*map(range, y.shape)):
        first = o // per_out * per_in
        window = tuple(slice(p * s, p * s + (k - 1) * d + 1, d) for p, s, d, k in zip(at, stride, dilation, w.shape[2:]))
        y[(n, o, *at)] = (x[(n, slice(first, first + per_in), *window)] * w[o]).sum() + (0 if b is None else b[o])
    return y


CONVS = [  # dims, channels in and out, kernel, stride, padding, dilation, groups
    (1, 3, 4, (3,), (1,), (0,), (1,), 1), (1, 4, 6, (2,), (2,), (1,), (2,), 2), (2, 2, 3, (3, 2), (1, 2), (1, 0), (1, 1), 1),
    (2, 4, 8, (2, 3), (2, 1), (0, 2), (2, 1), 4), (2, 3, 5, (1, 1), (1, 1), (0, 0), (1, 1), 1), (2, 3, 3, (1, 1), (2, 1), (0, 0), (1, 1), 3),
    (3, 2, 4, (2, 1, 3), (1, 2, 1), (1, 0, 1), (1, 2, 1), 2)]


@pytest.mark.parametrize("dims, c, o, kernel, stride, padding, dilation, groups", CONVS)
@pytest.mark.parametrize("batch", [1, 3])
def test_convolution_and_its_transpose(dims, c, o, kernel, stride, padding, dilation, groups, batch):
    x, w, b = normal(batch, c, *(6, 7, 5)[:dims]), normal(o, c // groups, *kernel), normal(o)
    geometry = (stride, padding, dilation, groups)
    want = conv_by_loops(x, w, b, *geometry)
    conv, transposed = getattr(F, f"conv{dims}d"), getattr(F, f"conv_transpose{dims}d")
    got = conv(torch.tensor(x), torch.tensor(w), torch.tensor(b), *geometry)
    np.testing.assert_allclose(got.numpy(), want, rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(conv(torch.tensor(x[0]), torch.tensor(w), torch.tensor(b), *geometry).numpy(), want[0], rtol=1e-9, atol=1e-9)
    # the transposed convolution is the adjoint: <conv(x), y> = <x, conv_transpose(y)>
    y = normal(*want.shape)
    lost = [n - ((m - 1) * s - 2 * p + d * (k - 1) + 1)
            for n, m, s, p, d, k in zip(x.shape[2:], want.shape[2:], stride, padding, dilation, kernel)]
    back = transposed(torch.tensor(y), torch.tensor(w), None, stride, padding, lost, groups, dilation).numpy()
    assert back.shape == x.shape
    no_bias = want - b.reshape(-1, *(1,) * dims)
    np.testing.assert_allclose((no_bias * y).sum(), (x * back).sum(), rtol=1e-9)


def directional(function, inputs, seed=1, step=1e-6):
    """d/dt of <function(inputs + t v), u> by central differences, and v, u."""
    rng = np.random.default_rng(seed)
    v = [rng.standard_normal(a.shape) for a in inputs]
    first = function(*[torch.tensor(a) for a in inputs])
    u = rng.standard_normal(tuple(first.shape))
    ends = [float((function(*[torch.tensor(a + t * d) for a, d in zip(inputs, v)]).numpy() * u).sum()) for t in (step, -step)]
    return (ends[0] - ends[1]) / (2 * step), v, u


def check_gradients(function, *inputs):
    """First and second derivatives along random directions."""
    want, v, u = directional(function, inputs)

    def slope(*tensors):
        y = function(*tensors)
        grads = torch.autograd.grad((y * torch.tensor(u)).sum(), tensors, create_graph=True, allow_unused=True)
        return sum((g * torch.tensor(d)).sum() for g, d in zip(grads, v) if g is not None)

    leaves = [torch.tensor(a).requires_grad_() for a in inputs]
    first = slope(*leaves)
    np.testing.assert_allclose(float(first.detach()), want, rtol=1e-5, atol=1e-6)
    if first.requires_grad:
        second = torch.autograd.grad(first, leaves, allow_unused=True)
        ends = []
        for t in (1e-6, -1e-6):
            moved = [torch.tensor(a + t * d).requires_grad_() for a, d in zip(inputs, v)]
            ends.append(float(slope(*moved).detach()))
        got = sum(float((g.numpy() * d).sum()) for g, d in zip(second, v) if g is not None)
        np.testing.assert_allclose(got, (ends[0] - ends[1]) / 2e-6, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("dims, c, o, kernel, stride, padding, dilation, groups", CONVS)
def test_convolution_gradients(dims, c, o, kernel, stride, padding, dilation, groups):
    x, w, b = normal(2, c, *(4, 5, 4)[:dims]), normal(o, c // groups, *kernel), normal(o)
    conv, transposed = getattr(F, f"conv{dims}d"), getattr(F, f"conv_transpose{dims}d")
    check_gradients(lambda x, w, b: conv(x, w, b, stride, padding, dilation, groups), x, w, b)
    extra = [max(s, d) - 1 for s, d in zip(stride, dilation)]
    w = normal(c, o // groups, *kernel)
    check_gradients(lambda x, w, b: transposed(x, w, b, stride, padding, extra, groups, dilation), x, w, b)


def test_same_and_valid_padding():
    x, w = normal(1, 2, 6, 5), normal(3, 2, 2, 3)
    same = F.conv2d(torch.tensor(x), torch.tensor(w), padding="same", dilation=(1, 2)).numpy()
    padded = np.pad(x, [(0, 0), (0, 0), (0, 1), (2, 2)])
    np.testing.assert_allclose(same, conv_by_loops(padded, w, None, (1, 1), (0, 0), (1, 2), 1), atol=1e-12)
    valid = F.conv2d(torch.tensor(x), torch.tensor(w), padding="valid").numpy()
    np.testing.assert_allclose(valid, conv_by_loops(x, w, None, (1, 1), (0, 0), (1, 1), 1), atol=1e-12)


def test_large_batches_are_cut_into_blocks():
    x, w = normal(70, 8, 12, 12).astype(np.float32), normal(4, 8, 3, 3).astype(np.float32)
    whole = F.conv2d(torch.tensor(x), torch.tensor(w), padding=1).numpy()
    one = F.conv2d(torch.tensor(x[69:]), torch.tensor(w), padding=1).numpy()
    np.testing.assert_allclose(whole[69:], one, rtol=1e-5, atol=1e-5)


def test_convolution_dtypes_and_tbc():
    ints = F.conv1d(torch.tensor([[[1, 2, 3, 4]]]), torch.tensor([[[1, -1]]]))
    assert ints.dtype == torch.int64 and ints.tolist() == [[[-1, -1, -1]]]
    z = F.conv1d(torch.tensor([[[1 + 1j, 2, 3]]]), torch.tensor([[[1j, 1]]]))
    np.testing.assert_allclose(z.numpy(), [[[1 + 1j, 3 + 2j]]], rtol=1e-6)
    x, w = torch.tensor(normal(1, 2, 9)), torch.tensor(normal(3, 2, 2))
    low = F.conv1d(x.to(torch.bfloat16), w.to(torch.bfloat16))
    assert low.dtype == torch.bfloat16
    np.testing.assert_allclose(low.float().numpy(), F.conv1d(x, w).numpy(), atol=0.1)
    x, w, b = normal(5, 2, 3), normal(2, 3, 4), normal(4)
    tbc = F.conv_tbc(torch.tensor(x), torch.tensor(w), torch.tensor(b), 1).numpy()
    want = conv_by_loops(x.transpose(1, 2, 0), w.transpose(2, 1, 0), b, (1,), (1,), (1,), 1).transpose(2, 0, 1)
    np.testing.assert_allclose(tbc, want, atol=1e-12)


# ---------------------------------------------------------------------------------------------------- pooling
def pool_by_loops(x, kernel, stride, padding, dilation, ceil_mode, reduce):
    """One window at a time; `reduce` gets its elements and, for each, whether it is padding, and plane positions."""
    dims, sizes = x.ndim - 2, x.shape[2:]
    out = []
    for n, k, s, p, d in zip(sizes, kernel, stride, padding, dilation):
        free = n + 2 * p - d * (k - 1) - 1
        m = (free + s - 1 if ceil_mode else free) // s + 1
        out.append(m - 1 if ceil_mode and (m - 1) * s >= n + p else m)
    y = np.zeros((*x.shape[:2], *out), object)
    for n, c, *at in itertools.product(*map(range, y.shape)):
        window = []
        for k in itertools.product(*map(range, kernel)):
            place = [a * s - p + o * d for a, s, p, o, d in zip(at, stride, padding, k, dilation)]
            inside = all(0 <= i < m for i, m in zip(place, sizes))
            reach = all(i < m + p for i, m, p in zip(place, sizes, padding))
            position = int(np.ravel_multi_index(place, sizes)) if inside else -1
            window.append((x[(n, c, *place)] if inside else 0.0, inside, reach, position))
        y[(n, c, *at)] = reduce(window)
    assert y.ndim == dims + 2
    return y


POOLS = [(1, (3,), (2,), (1,), (1,), False), (1, (2,), (3,), (1,), (1,), True), (2, (2, 3), (2, 1), (1, 1), (1, 1), True),
         (2, (2, 2), (2, 2), (0, 0), (2, 1), False), (3, (2, 1, 3), (1, 2, 2), (0, 0, 1), (1, 1, 1), True)]


@pytest.mark.parametrize("dims, kernel, stride, padding, dilation, ceil_mode", POOLS)
def test_pooling(dims, kernel, stride, padding, dilation, ceil_mode):
    x = normal(2, 2, *(6, 7, 5)[:dims])
    geometry = (kernel, stride, padding, dilation, ceil_mode)
    best = pool_by_loops(x, *geometry, lambda w: max(((v, -p) for v, inside, _, p in w if inside)))
    values, index = getattr(F, f"max_pool{dims}d")(torch.tensor(x), kernel, stride, padding, dilation, ceil_mode, True)
    assert index.dtype == torch.int64
    assert values.tolist() == np.vectorize(lambda b: b[0])(best).tolist()
    assert index.tolist() == np.vectorize(lambda b: -b[1])(best).tolist()
    average = getattr(F, f"avg_pool{dims}d")
    no_dilation = (kernel, stride, padding, (1,) * dims, ceil_mode)
    for count_pad in (True, False):
        want = pool_by_loops(x, *no_dilation, lambda w: sum(e[0] for e in w) / sum(e[2] if count_pad else e[1] for e in w))
        got = average(torch.tensor(x), kernel, stride, padding, ceil_mode, count_pad).numpy()
        np.testing.assert_allclose(got, want.astype(float), rtol=1e-12, atol=1e-12)
    # un-pooling puts the maxima back
    back = getattr(F, f"max_unpool{dims}d")(values, index, kernel, stride, padding, tuple(x.shape[2:])) if dilation == (1,) * dims \
        and all((m - 1) * s + k - 2 * p - s < n < (m - 1) * s + k - 2 * p + s
                for n, m, s, k, p in zip(x.shape[2:], values.shape[2:], stride, kernel, padding)) else None
    if back is not None:
        flat = np.zeros((4, int(np.prod(x.shape[2:]))))
        np.put_along_axis(flat, index.numpy().reshape(4, -1), values.numpy().reshape(4, -1), 1)
        np.testing.assert_array_equal(back.numpy().reshape(4, -1), flat)


@pytest.mark.parametrize("dims, kernel, stride, padding, dilation, ceil_mode", POOLS)
def test_pooling_gradients(dims, kernel, stride, padding, dilation, ceil_mode):
    x = normal(2, 2, *(5, 6, 4)[:dims])
    check_gradients(lambda x: getattr(F, f"max_pool{dims}d")(x, kernel, stride, padding, dilation, ceil_mode) ** 2, x)
    check_gradients(lambda x: getattr(F, f"avg_pool{dims}d")(x, kernel, stride, padding, ceil_mode, False) ** 2, x)
    check_gradients(lambda x: getattr(F, f"lp_pool{dims}d")(x, 3.0, kernel, stride), np.abs(x) + 0.1)
    check_gradients(lambda x: getattr(F, f"adaptive_avg_pool{dims}d")(x, (3, 2, 4)[:dims]) ** 2, x)
    check_gradients(lambda x: getattr(F, f"adaptive_max_pool{dims}d")(x, (3, 2, 4)[:dims]) ** 2, x)


def test_max_pool_special_values():
    nan = float("nan")
    assert F.max_pool1d(torch.tensor([[1.0, nan, 2.0, 3.0]]), 2).isnan().tolist() == [[True, False]]
    values, index = F.max_pool1d(torch.tensor([[-np.inf, -np.inf, -np.inf]], dtype=torch.float32), 3, 1, 1, return_indices=True)
    assert values.tolist() == [[-np.inf] * 3] and index.tolist() == [[0, 0, 1]]
    least = np.iinfo(np.int64).min
    values, index = F.max_pool2d(torch.tensor([[[least, least], [least, 5]]]), 2, 1, 1, return_indices=True)
    assert index.tolist() == [[[0, 0, 1], [0, 3, 3], [2, 3, 3]]] and values[0, 1, 1] == 5


def test_adaptive_windows():
    x = normal(1, 2, 7, 5)
    got = F.adaptive_avg_pool2d(torch.tensor(x), (3, None)).numpy()
    want = np.stack([x[:, :, a:b].mean(2) for a, b in ((0, 3), (2, 5), (4, 7))], 2)
    np.testing.assert_allclose(got, want, atol=1e-12)
    values, index = F.adaptive_max_pool1d(torch.tensor([[3.0, 1.0, 3.0, 2.0, 5.0]]), 2, True)
    assert values.tolist() == [[3.0, 5.0]] and index.tolist() == [[0, 4]]
    assert F.adaptive_avg_pool1d(torch.tensor([[np.inf, 1.0, 1.0, 1.0, 1.0]]), 2)[0, 1] == 1   # no leak between windows


def test_fractional_pooling():
    x = normal(2, 3, 7, 6)
    samples = RNG.random((2, 3, 2))
    values, index = F.fractional_max_pool2d(torch.tensor(x), 2, (3, 4), return_indices=True, _random_samples=torch.tensor(samples))

    def start(u, n, m, i):
        alpha = (n - 2) / (m - 1)
        return n - 2 if i == m - 1 else int((i + u) * alpha) - int(u * alpha)

    for n, c, i, j in itertools.product(range(2), range(3), range(3), range(4)):
        top, left = start(samples[n, c, 1], 7, 3, i), start(samples[n, c, 0], 6, 4, j)
        window = x[n, c, top:top + 2, left:left + 2]
        assert values[n, c, i, j].item() == window.max()
        assert x[n, c].reshape(-1)[index[n, c, i, j].item()] == window.max()
    check_gradients(lambda x: F.fractional_max_pool2d(x, 2, (3, 4), _random_samples=torch.tensor(samples)) ** 2, x)
    torch.manual_seed(0)
    assert tuple(F.fractional_max_pool3d(torch.tensor(normal(2, 6, 6, 6)), 2, output_ratio=0.5).shape) == (2, 3, 3, 3)


# ---------------------------------------------------------------------------------------------------- pad, fold, shuffles
@pytest.mark.parametrize("mode, numpy_mode", [("constant", "constant"), ("reflect", "reflect"), ("replicate", "edge"), ("circular", "wrap")])
@pytest.mark.parametrize("pad", [(1, 2), (2, 0, 1, 3), (0, 1, 2, 2, 1, 1)])
def test_pad_is_numpys(mode, numpy_mode, pad):
    x = normal(*(2, 3, 4, 5, 4)[:2 + len(pad) // 2])
    pairs = [(0, 0)] * (x.ndim - len(pad) // 2) + [(pad[i], pad[i + 1]) for i in range(len(pad) - 2, -1, -2)]
    np.testing.assert_array_equal(F.pad(torch.tensor(x), pad, mode).numpy(), np.pad(x, pairs, numpy_mode))
    check_gradients(lambda x: F.pad(x, pad, mode) ** 2, x)


def test_negative_padding_crops():
    x = np.arange(12.0).reshape(1, 3, 4)
    assert F.pad(torch.tensor(x), (-1, 2), value=9).tolist()[0][0] == [1, 2, 3, 9, 9]
    assert F.pad(torch.tensor(x), (-1, 1), "replicate").tolist()[0][0] == [1, 2, 3, 3]
    assert F.pad(torch.tensor(x), (-1, 1), "circular").tolist()[0][0] == [1, 2, 3, 1]
    assert F.pad(torch.tensor([[True, False]]), (1, 0)).tolist() == [[False, True, False]]
    check_gradients(lambda x: F.pad(x, (-1, 2), "replicate") ** 2, x)
    check_gradients(lambda x: F.pad(x, (-1, 2, 1, -1)) ** 2, x)


def test_unfold_and_fold():
    x, w = normal(2, 3, 6, 5), normal(4, 3, 2, 3)
    options = dict(kernel_size=(2, 3), dilation=(2, 1), padding=1, stride=(1, 2))
    columns = F.unfold(torch.tensor(x), **options)
    by_matmul = (w.reshape(4, -1) @ columns.numpy())
    want = conv_by_loops(x, w, None, (1, 2), (1, 1), (2, 1), 1)
    np.testing.assert_allclose(by_matmul.reshape(want.shape), want, atol=1e-12)
    y = normal(*columns.shape)   # fold is the adjoint
    folded = F.fold(torch.tensor(y), (6, 5), **options).numpy()
    np.testing.assert_allclose((columns.numpy() * y).sum(), (x * folded).sum())
    np.testing.assert_allclose(F.fold(torch.tensor(y[0]), (6, 5), **options).numpy(), folded[0])
    check_gradients(lambda x: F.unfold(x, **options) ** 2, x)
    check_gradients(lambda y: F.fold(y, (6, 5), **options) ** 2, y)


def test_shuffles():
    x = torch.arange(8).reshape(1, 4, 1, 2)
    assert F.pixel_shuffle(x, 2).tolist() == [[[[0, 2, 1, 3], [4, 6, 5, 7]]]]
    assert torch.equal(F.pixel_unshuffle(F.pixel_shuffle(x, 2), 2), x)
    assert F.channel_shuffle(torch.arange(6).reshape(1, 6, 1), 2).flatten().tolist() == [0, 3, 1, 4, 2, 5]


@pytest.mark.parametrize("dims", [1, 2, 3])
def test_nn_grad_is_what_backward_computes(dims):
    x = torch.tensor(normal(2, 4, *(6, 5, 4)[:dims])).requires_grad_()
    w = torch.tensor(normal(6, 2, *(2, 3, 2)[:dims])).requires_grad_()
    options = dict(stride=2, padding=1, dilation=1, groups=2)
    y = getattr(F, f"conv{dims}d")(x, w, None, **options)
    g = torch.tensor(normal(*y.shape))
    to_x, to_w = torch.autograd.grad((y * g).sum(), [x, w])
    grad = torch.nn.grad
    np.testing.assert_allclose(getattr(grad, f"conv{dims}d_input")(x.shape, w, g, **options).detach().numpy(), to_x.numpy(), rtol=1e-12)
    np.testing.assert_allclose(getattr(grad, f"conv{dims}d_weight")(x, w.shape, g, **options).detach().numpy(), to_w.numpy(), rtol=1e-12)


def test_channels_last_goes_through():
    x = torch.tensor(normal(2, 3, 6, 6)).to(memory_format=torch.channels_last)
    w = torch.tensor(normal(4, 3, 2, 2))
    for y in (F.conv2d(x, w), F.max_pool2d(x, 2), F.avg_pool2d(x, 2), F.adaptive_avg_pool2d(x, 2), F.interpolate(x, size=3), F.pad(x, (1, 1))):
        assert y.is_contiguous(memory_format=torch.channels_last) and not y.is_contiguous()
    np.testing.assert_allclose(F.conv2d(x, w).numpy(), F.conv2d(x.contiguous(), w).numpy(), atol=1e-12)


def test_large_kernels_and_strided_inputs():
    x, w = normal(1, 40, 3).transpose(0, 2, 1), normal(3, 1, 31)
    got = F.conv1d(torch.tensor(x).transpose(1, 2).contiguous().transpose(1, 2), torch.tensor(w), groups=3).numpy()
    np.testing.assert_allclose(got, conv_by_loops(x, w, None, (1,), (0,), (1,), 3), atol=1e-12)
