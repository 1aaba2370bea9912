"""Attention against its definition in float64, blocks, masks, and the multi-head layer."""

import math

import numpy as np
import pytest

import pellucid
from pellucid.ops import attention

F = pellucid.nn.functional


def values(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape)


def definition(q, k, v, mask=None, causal=False, scale=None):
    s = q @ np.swapaxes(k, -1, -2) * (1 / math.sqrt(q.shape[-1]) if scale is None else scale)
    if causal:
        s = np.where(np.tri(q.shape[-2], k.shape[-2], dtype=bool), s, -np.inf)
    if mask is not None:
        s = np.where(mask, s, -np.inf) if mask.dtype == bool else s + mask
    with np.errstate(invalid="ignore"):
        p = np.exp(s - s.max(-1, keepdims=True))
        p = np.nan_to_num(p / p.sum(-1, keepdims=True))
    return p @ v


CASES = {
    "plain": ((2, 3, 5, 4), (2, 3, 7, 4), None, {}),
    "causal": ((2, 3, 5, 4), (2, 3, 5, 4), None, {"is_causal": True}),
    "causal, not square": ((1, 3, 4), (1, 6, 4), None, {"is_causal": True}),
    "scale": ((3, 4), (5, 4), None, {"scale": 0.7}),
    "float mask": ((2, 3, 4), (2, 5, 4), values(3, 5), {}),
    "mask per head": ((2, 3, 3, 4), (2, 3, 5, 4), values(2, 1, 3, 5), {}),
    "bool mask": ((2, 3, 4), (2, 5, 4), values(3, 5) > 0, {}),
    "bool mask that hides a row": ((2, 3, 4), (2, 5, 4), np.arange(3)[:, None] * np.ones(5) > 0, {}),
    "broadcast heads": ((2, 3, 3, 4), (1, 1, 5, 4), None, {}),
}


@pytest.mark.parametrize("block", [1 << 20, 1, 40])
@pytest.mark.parametrize("name", CASES)
def test_definition(name, block, monkeypatch):
    monkeypatch.setattr(attention, "_BLOCK", block)
    q_shape, k_shape, mask, options = CASES[name]
    q, k, v = values(*q_shape), values(*k_shape, seed=1), values(*k_shape[:-1], 6, seed=2)
    tensors = [pellucid.tensor(a).requires_grad_() for a in (q, k, v)]
    m = None if mask is None else pellucid.tensor(mask)
    out = F.scaled_dot_product_attention(*tensors, m, **options)
    exact = definition(q, k, v, mask, options.get("is_causal", False), options.get("scale"))
    np.testing.assert_allclose(out.detach().numpy(), exact, atol=1e-12)
    # the gradients, against those of the definition written in operators
    (out * pellucid.tensor(values(*out.shape, seed=3))).sum().backward()
    got = [t.grad.numpy() for t in tensors]
    for t in tensors:
        t.grad = None
    scale = options.get("scale", 1 / math.sqrt(q.shape[-1]))
    weights = attention.attention_weights(tensors[0], tensors[1], m, options.get("is_causal", False), scale)
    (pellucid.matmul(weights, tensors[2]) * pellucid.tensor(values(*out.shape, seed=3))).sum().backward()
    for a, t in zip(got, tensors):
        np.testing.assert_allclose(a, t.grad.numpy(), atol=1e-12)


def test_grouped_queries():
    q, k, v = (pellucid.tensor(values(2, h, 3, 4, seed=h)) for h in (6, 2, 2))
    out = F.scaled_dot_product_attention(q, k, v, enable_gqa=True)
    repeated = F.scaled_dot_product_attention(q, k.repeat_interleave(3, 1), v.repeat_interleave(3, 1))
    np.testing.assert_array_equal(out.numpy(), repeated.numpy())
    with pytest.raises(RuntimeError, match="Number of heads in key and value must divide the number of heads in query"):
        F.scaled_dot_product_attention(q, k[:, [0, 1, 1, 0]], v, enable_gqa=True)


def test_dropout_draws_what_dropout_draws():
    q = pellucid.tensor(values(2, 3, 4))
    pellucid.manual_seed(5)
    out = F.scaled_dot_product_attention(q, q, q, dropout_p=0.5)
    pellucid.manual_seed(5)
    weights = F.dropout(F.softmax(q @ q.transpose(1, 2) / 2, -1), 0.5)
    np.testing.assert_allclose(out.numpy(), (weights @ q).numpy(), atol=1e-12)


def q(*shape, dtype=None):
    return pellucid.ones(*shape, dtype=dtype)


ERRORS = {
    "dtype": (lambda: (q(2, 3), q(2, 3), q(2, 3, dtype=pellucid.float64)), {}, "Expected query, key, and value to have the same dtype"),
    "dims": (lambda: (q(3), q(2, 3), q(2, 3)), {}, "Expected query, key, and value to all be  at least 2 dimensional"),
    "size": (lambda: (q(2, 3), q(2, 4), q(2, 3)), {}, "Expected size for first two dimensions of batch2 tensor"),
    "length": (lambda: (q(2, 3), q(4, 3), q(2, 3)), {}, "Expected size for first two dimensions of batch2 tensor"),
    "mask dtype": (lambda: (q(2, 3), q(2, 3), q(2, 3), q(2, 2, dtype=pellucid.int64)), {}, "Expected attn_mask dtype to be bool or float"),
    "mask size": (lambda: (q(2, 3), q(2, 3), q(2, 3), q(5, 5)), {}, "The size of tensor a"),
    "both": (lambda: (q(2, 3), q(2, 3), q(2, 3), q(2, 2)), {"is_causal": True}, "Explicit attn_mask should not be set when is_causal=True"),
    "dropout": (lambda: (q(2, 3), q(2, 3), q(2, 3)), {"dropout_p": 2.0}, "dropout probability has to be between 0 and 1, but got 2.0"),
}


@pytest.mark.parametrize("name", ERRORS)
def test_errors(name):
    operands, options, match = ERRORS[name]
    with pytest.raises(RuntimeError, match=match):
        F.scaled_dot_product_attention(*operands(), **options)


@pytest.mark.parametrize("options", [{}, {"add_bias_kv": True, "add_zero_attn": True}, {"kdim": 3, "vdim": 5}, {"bias": False}])
@pytest.mark.parametrize("masks", ["none", "padding", "causal", "both"])
def test_multi_head_layer_agrees_with_torch(options, masks):
    torch = pytest.importorskip("torch")
    x = {n: values(4, 2, d, seed=i).astype(np.float32) for i, (n, d) in enumerate((("q", 6), ("k", options.get("kdim", 6)), ("v", options.get("vdim", 6))))}
    results = []
    for package in (pellucid, torch):
        package.manual_seed(1)
        layer = package.nn.MultiheadAttention(6, 2, **options)
        tensors = [package.tensor(v, requires_grad=True) for v in x.values()]
        kwargs = {}
        if masks in ("padding", "both"):
            kwargs["key_padding_mask"] = package.tensor([[False, False, True, True], [False, False, False, False]])
        if masks in ("causal", "both"):
            kwargs["attn_mask"] = package.ones(4, 4).triu(1).bool()
        for more in ({}, {"need_weights": False}, {"average_attn_weights": False}):
            out, weights = layer(*tensors, **kwargs, **more)
            out.pow(2).sum().backward()
            results.append([t.detach().numpy() for t in (out, weights) if t is not None])
        results.append([t.grad.numpy() for t in (*tensors, *layer.parameters())])
    for ours, theirs in zip(results[:4], results[4:]):
        for a, b in zip(ours, theirs):
            np.testing.assert_allclose(a, b, atol=3e-5, rtol=1e-4)


def test_choosing_the_way():
    from pellucid.nn.attention import SDPBackend, sdpa_kernel

    x = pellucid.tensor(values(2, 3, 4), requires_grad=True)
    names = {}
    for backend in (SDPBackend.FLASH_ATTENTION, SDPBackend.MATH, [SDPBackend.MATH, SDPBackend.FLASH_ATTENTION]):
        with sdpa_kernel(backend):
            out = F.scaled_dot_product_attention(x, x, x)
        names[str(backend)] = type(out.grad_fn).__name__
        np.testing.assert_allclose(out.detach().numpy(), definition(*[x.detach().numpy()] * 3), atol=1e-12)
    assert list(names.values())[0] == list(names.values())[2] != list(names.values())[1]
    with sdpa_kernel(SDPBackend.CUDNN_ATTENTION), pytest.raises(RuntimeError, match="No viable backend for scaled_dot_product_attention"):
        F.scaled_dot_product_attention(x, x, x)
    with sdpa_kernel(SDPBackend.FLASH_ATTENTION), pytest.raises(RuntimeError, match="No viable backend"):
        F.scaled_dot_product_attention(x, x, x, dropout_p=0.5)
    with pytest.raises(AssertionError, match="Backend must be an instance of SDPBackend"), sdpa_kernel("math"):
        pass
    F.scaled_dot_product_attention(x, x, x)
