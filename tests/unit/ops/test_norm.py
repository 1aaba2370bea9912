"""Normalisation against its definition in float64, its running statistics, and the shape and dtype errors."""

import numpy as np
import pytest

import pellucid

F = pellucid.nn.functional


def values(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape)


def normed(x, axes, eps):
    return (x - x.mean(axes, keepdims=True)) / np.sqrt(x.var(axes, keepdims=True) + eps)


def along_channels(v, ndim):
    return v.reshape((1, -1) + (1,) * (ndim - 2))


DEFINITIONS = {
    "layer": (lambda x, w, b: F.layer_norm(x, x.shape[2:], w, b, 1e-3),
              lambda x, w, b: normed(x, tuple(range(2, x.ndim)), 1e-3) * w + b, lambda s: s[2:]),
    "batch": (lambda x, w, b: F.batch_norm(x, None, None, w, b, True, 0.1, 1e-3),
              lambda x, w, b: normed(x, (0, *range(2, x.ndim)), 1e-3) * along_channels(w, x.ndim) + along_channels(b, x.ndim), lambda s: s[1:2]),
    "instance": (lambda x, w, b: F.instance_norm(x, weight=w, bias=b, eps=1e-3),
                 lambda x, w, b: normed(x, tuple(range(2, x.ndim)), 1e-3) * along_channels(w, x.ndim) + along_channels(b, x.ndim), lambda s: s[1:2]),
    "group": (lambda x, w, b: F.group_norm(x, 2, w, b, 1e-3),
              lambda x, w, b: normed(x.reshape(len(x), 2, -1), (2,), 1e-3).reshape(x.shape) * along_channels(w, x.ndim) + along_channels(b, x.ndim),
              lambda s: s[1:2]),
    "rms": (lambda x, w, b: F.rms_norm(x, x.shape[2:], w, 1e-3) + b,
            lambda x, w, b: x / np.sqrt((x * x).mean(tuple(range(2, x.ndim)), keepdims=True) + 1e-3) * w + b, lambda s: s[2:]),
}


@pytest.mark.parametrize("dtype, tolerance", [("float64", 1e-12), ("float32", 2e-6), ("bfloat16", 3e-2), ("float16", 4e-3)])
@pytest.mark.parametrize("shape", [(3, 4, 5), (2, 6, 3, 4), (5, 2, 1)])
@pytest.mark.parametrize("name", DEFINITIONS)
def test_definition(name, shape, dtype, tolerance):
    ours, definition, parameters = DEFINITIONS[name]
    if name == "instance" and shape[2:] == (1,):
        pytest.skip("one value per channel is refused")
    x, w, b = values(*shape), values(*parameters(shape), seed=1), values(*parameters(shape), seed=2)
    tensors = [pellucid.tensor(v).to(getattr(pellucid, dtype)) for v in (x, w, b)]
    exact = definition(*(t.double().numpy() for t in tensors))
    got = ours(*tensors)
    assert got.dtype is getattr(pellucid, dtype)
    np.testing.assert_allclose(got.double().numpy(), exact, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("name", DEFINITIONS)
def test_a_large_mean_does_not_drown_the_variance(name):
    ours, definition, parameters = DEFINITIONS[name]
    x = (values(4, 4, 64) + 1000).astype(np.float32)
    w, b = np.ones(parameters(x.shape), np.float32), np.zeros(parameters(x.shape), np.float32)
    got = ours(*map(pellucid.tensor, (x, w, b))).numpy()
    np.testing.assert_allclose(got, definition(x.astype(np.float64), w, b), atol=2e-3)


@pytest.mark.parametrize("name", DEFINITIONS)
def test_strides_do_not_matter_and_channels_last_works(name):
    ours, _, parameters = DEFINITIONS[name]
    x = pellucid.tensor(values(2, 4, 3, 5)).requires_grad_()
    w, b = (pellucid.tensor(values(*parameters(x.shape), seed=s)).requires_grad_() for s in (1, 2))
    plain = ours(x, w, b)
    (plain * pellucid.tensor(values(2, 4, 3, 5, seed=3))).sum().backward()
    expected = [t.grad.clone() for t in (x, w, b)]
    for t in (x, w, b):
        t.grad = None
    turned = ours(x.contiguous(memory_format=pellucid.channels_last), w, b)
    (turned * pellucid.tensor(values(2, 4, 3, 5, seed=3))).sum().backward()
    np.testing.assert_allclose(turned.detach().numpy(), plain.detach().numpy(), atol=1e-12)
    for t, e in zip((x, w, b), expected):
        np.testing.assert_allclose(t.grad.numpy(), e.numpy(), atol=1e-10)


def test_only_wanted_gradients_are_computed():
    x, w, b = (pellucid.tensor(v) for v in (values(4, 3), values(3), values(3)))
    for wanted in (x, w, b):
        wanted.requires_grad_()
        F.layer_norm(x, (3,), w, b).pow(2).sum().backward()
        assert wanted.grad is not None and sum(t.grad is not None for t in (x, w, b)) == 1
        wanted.requires_grad_(False)
        wanted.grad = None


def test_running_statistics():
    x = values(6, 3, 4).astype(np.float32)
    mean, var = pellucid.full((3,), 2.0), pellucid.full((3,), 3.0)
    F.batch_norm(pellucid.tensor(x), mean, var, training=True, momentum=0.25)
    np.testing.assert_allclose(mean.numpy(), 1.5 + 0.25 * x.mean((0, 2)), rtol=1e-5)
    np.testing.assert_allclose(var.numpy(), 2.25 + 0.25 * x.var((0, 2), ddof=1), rtol=1e-5)
    y = F.batch_norm(pellucid.tensor(x), mean, var)
    exact = (x - mean.numpy().reshape(1, 3, 1)) / np.sqrt(var.numpy().reshape(1, 3, 1) + 1e-5)
    np.testing.assert_allclose(y.numpy(), exact, rtol=1e-4, atol=1e-5)
    mean, var = pellucid.full((3,), 2.0), pellucid.full((3,), 3.0)
    F.instance_norm(pellucid.tensor(x), mean, var, momentum=0.5)
    np.testing.assert_allclose(mean.numpy(), 1 + 0.5 * x.mean((0, 2)), rtol=1e-5)
    np.testing.assert_allclose(var.numpy(), 1.5 + 0.5 * x.var(2, ddof=1).mean(0), rtol=1e-4)


def test_running_statistics_know_that_they_were_written():
    mean, var = pellucid.zeros(3), pellucid.ones(3)
    before = mean._version, var._version
    F.batch_norm(pellucid.ones(4, 3, requires_grad=True), mean, var, training=True)
    assert mean._version > before[0] and var._version > before[1] and not mean.requires_grad


def test_relu_in_place_after_batch_norm():
    """The output is not saved for backward, so it may be written."""
    x = pellucid.tensor(values(4, 3)).requires_grad_()
    F.relu(F.batch_norm(x, None, None, training=True), inplace=True).sum().backward()
    y = x.detach().clone().requires_grad_()
    F.relu(F.batch_norm(y, None, None, training=True)).sum().backward()
    np.testing.assert_array_equal(x.grad.numpy(), y.grad.numpy())


ERRORS = {
    "one value": (lambda: F.batch_norm(pellucid.ones(1, 3), None, None, training=True), ValueError, "Expected more than 1 value per channel when training, got input size"),
    "one spatial": (lambda: F.instance_norm(pellucid.ones(2, 3, 1)), ValueError, "Expected more than 1 spatial element when training, got input size"),
    "no statistics": (lambda: F.batch_norm(pellucid.ones(2, 3), None, None), RuntimeError, "Expected running_mean to be defined when training=False"),
    "statistics size": (lambda: F.batch_norm(pellucid.ones(2, 3), pellucid.ones(2), pellucid.ones(3)), RuntimeError, "running_mean should contain 3 elements not 2"),
    "weight size": (lambda: F.batch_norm(pellucid.ones(2, 3), None, None, pellucid.ones(2), training=True), RuntimeError, "weight should contain 3 elements not 2"),
    "eps": (lambda: F.batch_norm(pellucid.ones(2, 3), None, None, training=True, eps=0), ValueError, "batch_norm eps must be positive during training, but got 0"),
    "shape": (lambda: F.layer_norm(pellucid.ones(2, 3), (4,)), RuntimeError, r"Given normalized_shape=\[4\], expected input with shape \[\*, 4\], but got input of size\[2, 3\]"),
    "no shape": (lambda: F.layer_norm(pellucid.ones(2, 3), ()), RuntimeError, "Expected normalized_shape to be at least 1-dimensional"),
    "weight shape": (lambda: F.layer_norm(pellucid.ones(2, 3), (3,), pellucid.ones(2)), RuntimeError, "Expected weight to be of same shape as normalized_shape"),
    "rms shape": (lambda: F.rms_norm(pellucid.ones(2, 3), (2,)), RuntimeError, "Given normalized_shape"),
    "groups": (lambda: F.group_norm(pellucid.ones(2, 3), 2), RuntimeError, "Expected number of channels in input to be divisible by num_groups"),
    "no groups": (lambda: F.group_norm(pellucid.ones(2, 3), 0), RuntimeError, "Expected num groups to be greater than 0, got 0"),
    "no channels": (lambda: F.group_norm(pellucid.ones(2), 1), RuntimeError, "Expected at least 2 dimensions for input tensor but received 1"),
    "response": (lambda: F.local_response_norm(pellucid.ones(2, 3), 2), ValueError, "Expected 3D or higher dimensionality"),
}


@pytest.mark.parametrize("name", ERRORS)
def test_errors(name):
    call, kind, match = ERRORS[name]
    with pytest.raises(kind, match=match):
        call()


def test_other_argument_orders_of_the_main_namespace():
    x, w = pellucid.tensor(values(4, 3, 2)), pellucid.tensor(values(3))
    np.testing.assert_array_equal(pellucid.batch_norm(x, w, w, None, None, True, 0.1, 1e-5, False).numpy(),
                                  F.batch_norm(x, None, None, w, w, True).numpy())
    np.testing.assert_array_equal(pellucid.instance_norm(x, w, w, None, None, True, 0.1, 1e-5, False).numpy(),
                                  F.instance_norm(x, weight=w, bias=w).numpy())
    y, mean, rstd = pellucid.native_batch_norm(x, w, None, None, None, True, 0.1, 1e-5)
    np.testing.assert_allclose(mean.numpy(), x.numpy().mean((0, 2)))
    np.testing.assert_allclose(rstd.numpy(), 1 / np.sqrt(x.numpy().var((0, 2)) + 1e-5))
    y, mean, rstd = pellucid.native_layer_norm(x, (2,), None, None, 1e-5)
    assert mean.shape == (4, 3, 1) and not rstd.requires_grad
