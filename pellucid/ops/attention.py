"""Attention: softmax(query key^T * scale + mask) value, and the multi-head layer around it.

The reference works through the batch in blocks that stay in the cache, and keeps of the weights only the logarithm of
their normaliser (one number per query), from which the backward pass computes them again (Dao et al., 2022).
"""
from __future__ import annotations

import math
import warnings
from _thread import _local

from ._common import broadcast_shapes, describe, dt, fail, is_tensor, np
from .norm import spread
from .op import COMPOSITE, F, composite, primitive

_BLOCK = 1 << 20            # attention weights per block


class _Choice(_local):
    """Which of the two ways a thread allows: the fused operator, and the definition made of other operators."""

    fused = True
    composed = True


choice = _Choice()


def _blocks(q, k, v, mask):
    """Operands as (batch, rows, columns), the mask as one or `batch` matrices, and slices of the batch to work on."""
    lead = np.broadcast_shapes(q.shape[:-2], k.shape[:-2], v.shape[:-2], *(() if mask is None else (mask.shape[:-2],)))
    batch = math.prod(lead)

    def flat(a):
        if a.shape[:-2] != lead:
            a = np.broadcast_to(a, lead + a.shape[-2:])
        return a.reshape(batch, *a.shape[-2:])

    if mask is not None:
        mask = np.broadcast_to(mask, mask.shape[:-2] + (q.shape[-2], k.shape[-2]))
        mask = mask.reshape(1, *mask.shape[-2:]) if math.prod(mask.shape[:-2]) == 1 else flat(mask)
    step = max(1, _BLOCK // max(1, q.shape[-2] * k.shape[-2]))
    return lead, flat(q), flat(k), flat(v), mask, [slice(i, min(i + step, batch)) for i in range(0, batch, step)]


def _scores(q, k, mask, block, hidden, scale):
    """query key^T * scale + mask for a block, -inf where attention is not allowed."""
    s = np.matmul(q[block] * scale, k[block].swapaxes(1, 2))
    if mask is not None:
        m = mask if mask.shape[0] == 1 else mask[block]
        if m.dtype == np.bool_:
            np.copyto(s, -np.inf, where=~m)
        else:
            s += m
    if hidden is not None:
        np.copyto(s, -np.inf, where=hidden)
    return s


def _hidden(rows: int, columns: int, is_causal: bool):
    """True where a causal mask hides a key from a query."""
    return ~np.tri(rows, columns, dtype=np.bool_) if is_causal else None


def _widened(*arrays):
    """float16 and bfloat16 as float32; everything else as it is."""
    return [a.astype(np.float32) if a is not None and a.dtype.itemsize == 2 else a for a in arrays]


def attention_ref(q, k, v, mask, *, is_causal, scale):
    if q.dtype.itemsize == 2:                              # the normaliser stays in float32: backward subtracts it from scores
        out, lse = attention_ref(*_widened(q, k, v, mask), is_causal=is_causal, scale=scale)
        return out.astype(q.dtype), lse
    lead, q, k, v, mask, blocks = _blocks(q, k, v, mask)
    hidden = _hidden(q.shape[1], k.shape[1], is_causal)
    out = np.empty((q.shape[0], q.shape[1], v.shape[2]), q.dtype)
    lse = np.empty((q.shape[0], q.shape[1], 1), q.dtype)
    scale = q.dtype.type(scale)
    for block in blocks:
        s = _scores(q, k, mask, block, hidden, scale)
        top = s.max(2, keepdims=True, initial=-np.inf)
        np.copyto(top, 0, where=np.isneginf(top))           # a query that may attend to nothing gets zeros
        s -= top
        np.exp(s, out=s)
        total = s.sum(2, keepdims=True)
        np.matmul(s, v[block], out=out[block])
        nothing = total == 0
        np.copyto(total, 1, where=nothing)
        out[block] /= total
        lse[block] = np.where(nothing, np.inf, np.log(total) + top)
    return out.reshape(*lead, *out.shape[1:]), lse.reshape(*lead, *lse.shape[1:])


def attention_infer(q, k, v, mask, *, is_causal, scale):
    lead = broadcast_shapes(q.shape[:-2], k.shape[:-2], v.shape[:-2])
    if q.shape[-1] != k.shape[-1]:
        fail(RuntimeError, "P28P", f"Expected size for first two dimensions of batch2 tensor to be: [{math.prod(lead)}, {q.shape[-1]}] "
             f"but got: [{math.prod(lead)}, {k.shape[-1]}].", got=f"query {list(q.shape)}, key {list(k.shape)}",
             fix="query and key must have the same last dimension")
    if k.shape[-2] != v.shape[-2]:
        fail(RuntimeError, "P28Q", f"Expected size for first two dimensions of batch2 tensor to be: [{math.prod(lead)}, {k.shape[-2]}] "
             f"but got: [{math.prod(lead)}, {v.shape[-2]}].", got=f"key {list(k.shape)}, value {list(v.shape)}",
             fix="key and value must have the same length")
    if mask is not None:
        lead = broadcast_shapes((*lead, q.shape[-2], k.shape[-2]), mask.shape)[:-2]
    wide = dt.float32 if q.dtype.itemsize == 2 else q.dtype
    return q.like((*lead, q.shape[-2], v.shape[-1])), q.like((*lead, q.shape[-2], 1), wide)


def attention_backward_ref(g, q, k, v, mask, lse, *, is_causal, scale, needs):
    if q.dtype.itemsize == 2:
        found = attention_backward_ref(*_widened(g, q, k, v, mask, lse), is_causal=is_causal, scale=scale, needs=needs)
        return tuple([a.astype(q.dtype) for a in found])
    lead, q, k, v, mask, blocks = _blocks(q, k, v, mask)
    hidden = _hidden(q.shape[1], k.shape[1], is_causal)
    g, lse = g.reshape(q.shape[0], *g.shape[-2:]), lse.reshape(q.shape[0], q.shape[1], 1)
    scale = q.dtype.type(scale)
    gq, gk, gv = (np.empty_like(a) if need else None for a, need in zip((q, k, v), needs))
    gm = np.empty((q.shape[0], q.shape[1], k.shape[1]), q.dtype) if needs[3] else None
    for block in blocks:
        p = _scores(q, k, mask, block, hidden, scale)
        p -= lse[block]
        np.exp(p, out=p)
        if gv is not None:
            np.matmul(p.swapaxes(1, 2), g[block], out=gv[block])
        if gq is None and gk is None and gm is None:
            continue
        ds = np.matmul(g[block], v[block].swapaxes(1, 2))
        ds -= np.einsum("bij,bij->bi", p, ds)[:, :, None]
        ds *= p
        if gm is not None:
            gm[block] = ds
        ds *= scale
        if gq is not None:
            np.matmul(ds, k[block], out=gq[block])
        if gk is not None:
            np.matmul(ds.swapaxes(1, 2), q[block], out=gk[block])
    return tuple(a.reshape(*lead, *a.shape[1:]) for a in (gq, gk, gv, gm) if a is not None)


def attention_weights(query, key, attn_mask, is_causal, scale):
    """softmax(query key^T * scale + mask), rows that may attend to nothing being zero; the definition, in operators."""
    s = F.mul(F.matmul(query, F.transpose(key, -2, -1)), scale)
    if is_causal:
        causal = F.tril(F.ones((query.shape[-2], key.shape[-2]), dtype=dt.bool_))
        s = F.where(causal, s, -math.inf)
    if attn_mask is not None:
        s = F.where(attn_mask, s, -math.inf) if attn_mask.dtype is dt.bool_ else F.add(s, attn_mask)
    if is_causal or attn_mask is not None:
        nothing = F.all(F.eq(s, -math.inf), -1, True)
        return F.where(nothing, 0.0, F.softmax(F.where(nothing, 0.0, s), -1))
    return F.softmax(s, -1)


def attention_scores(query, key, attn_mask, is_causal, scale):
    """query key^T * scale + mask, -inf where attention is not allowed."""
    s = F.matmul(F.mul(query, scale), F.transpose(key, -2, -1))
    if is_causal:
        s = F.where(F.tril(F.ones((query.shape[-2], key.shape[-2]), dtype=dt.bool_)), s, -math.inf)
    if attn_mask is not None:
        s = F.where(attn_mask, s, -math.inf) if attn_mask.dtype is dt.bool_ else F.add(s, attn_mask)
    return s


def attention_body(query, key, value, attn_mask, *, is_causal, scale):
    s = attention_scores(query, key, attn_mask, is_causal, scale)
    if not s.numel():
        return F.matmul(s, value), F.full((*s.shape[:-1], 1), math.inf, dtype=s.dtype)
    top = F.amax(s, -1, True)
    if not is_causal and attn_mask is None:
        e = F.exp(F.sub(s, top))
        total = F.sum(e, -1, True)
        return F.div(F.matmul(e, value), total), F.add(F.log(total), top)
    top = F.where(F.eq(top, -math.inf), 0.0, top)               # a query that may attend to nothing gets zeros
    e = F.exp(F.sub(s, top))
    total = F.sum(e, -1, True)
    nothing = F.eq(total, 0)
    safe = F.where(nothing, 1.0, total)
    return F.div(F.matmul(e, value), safe), F.where(nothing, math.inf, F.add(F.log(safe), top))


def attention_backward_body(g, query, key, value, attn_mask, lse, *, is_causal, scale, needs):
    if any(t is not None and t.requires_grad for t in (query, key, attn_mask)):
        p = attention_weights(query, key, attn_mask, is_causal, scale)
    else:
        p = F.exp(F.sub(attention_scores(query, key, attn_mask, is_causal, scale), lse))
    gs = []
    gp = F.matmul(g, F.transpose(value, -2, -1))
    ds = F.mul(p, F.sub(gp, F.sum(F.mul(p, gp), -1, True)))
    if needs[0]:
        gs.append(F.mul(F.matmul(ds, key), scale))
    if needs[1]:
        gs.append(F.mul(F.matmul(F.transpose(ds, -2, -1), query), scale))
    if needs[2]:
        gs.append(F.matmul(F.transpose(p, -2, -1), g))
    if needs[3]:
        gs.append(ds)
    return tuple(gs)


def _backward_infer(g, q, k, v, mask, lse, *, is_causal, scale, needs):
    lead = g.shape[:-2]
    shapes = (q.shape[-2:], k.shape[-2:], v.shape[-2:], (q.shape[-2], k.shape[-2]))
    return tuple(q.like(lead + tuple(s)) for s, need in zip(shapes, needs) if need)


@primitive(COMPOSITE, args="g query key value attn_mask lse", forms="", ref=attention_backward_ref, body=attention_backward_body,
           infer=_backward_infer, low=False)
def attention_backward(g, query, key, value, attn_mask, lse, is_causal, scale, needs):
    """The gradients of attention's query, key, value and mask, those that `needs` asks for."""
    return (g, query, key, value, attn_mask, lse), {"is_causal": is_causal, "scale": scale, "needs": needs}


def attention_vjp(gs, query, key, value, attn_mask, out1, is_causal, scale, needs):
    needs = needs[:4]
    return spread(F.attention_backward(gs[0], query, key, value, attn_mask, out1, is_causal, scale, needs), needs)


@primitive(COMPOSITE, args="query key value attn_mask", nout=2, forms="", ref=attention_ref, body=attention_body, infer=attention_infer,
           vjp=attention_vjp)
def attention(query, key, value, attn_mask, is_causal, scale):
    """Attention without dropout, and the logarithm of the weights' normaliser for each query."""
    return (query, key, value, attn_mask), {"is_causal": is_causal, "scale": scale}


def _check(query, key, value, attn_mask, is_causal) -> None:
    if not query.dtype is key.dtype is value.dtype:
        fail(RuntimeError, "P28R", "Expected query, key, and value to have the same dtype, but got query.dtype: "
             f"{query.dtype.name} key.dtype: {key.dtype.name} and value.dtype: {value.dtype.name} instead.",
             fix="convert them to one dtype with .to(dtype)")
    if min(query.ndim, key.ndim, value.ndim) < 2:
        fail(RuntimeError, "P28S", "Expected query, key, and value to all be  at least 2 dimensional, but got query.dim: "
             f"{query.ndim} key.dim: {key.ndim} and value.dim: {value.ndim} instead.", fix="the dimensions are (..., length, features)")
    if attn_mask is not None:
        if attn_mask.dtype is not dt.bool_ and attn_mask.dtype is not query.dtype and attn_mask.dtype is not dt.float32:
            fail(RuntimeError, "P28T", "Expected attn_mask dtype to be bool or float or to match query dtype, but got "
                 f"attn_mask.dtype: {attn_mask.dtype.name} and  query.dtype: {query.dtype.name} instead.",
                 fix="use a bool mask (True: attend), or convert it with .to(query.dtype)")
        if is_causal:
            fail(RuntimeError, "P28U", "_scaled_dot_product_attention: Explicit attn_mask should not be set when is_causal=True",
                 fix="combine both into attn_mask, or drop one")


def _attention_samples(m):
    return [((m.t(2, 3, 4), m.t(2, 5, 4), m.t(2, 5, 2)), {}), ((m.t(1, 2, 3, 4), m.t(1, 2, 3, 4), m.t(1, 2, 3, 4)), {"is_causal": True}),
            ((m.t(2, 2, 3), m.t(2, 4, 3), m.t(2, 4, 3), m.t(2, 4)), {"scale": 0.3}),
            ((m.t(2, 2, 3), m.t(2, 4, 3), m.t(2, 4, 3), m.b(2, 4)), {}), ((m.t(0, 2, 3), m.t(0, 4, 3), m.t(0, 4, 3)), {})]


@composite(ns="nn.functional", cast="low", samples=_attention_samples)
def scaled_dot_product_attention(query, key, value, attn_mask=None, dropout_p=0.0, is_causal=False, scale=None, enable_gqa=False):
    """softmax(query key^T * scale + mask) value, with dropout on the weights. Vaswani et al., 2017.

    query (*, L, E), key (*, S, E), value (*, S, V): (*, L, V). `attn_mask` broadcasts to (*, L, S): bool, True where a query
    may attend, or float, added. `is_causal` hides later keys. `scale` defaults to 1 / sqrt(E). With `enable_gqa` key and
    value may have fewer heads (dimension -3), each serving a group of queries' heads."""
    _check(query, key, value, attn_mask, is_causal)
    if not 0 <= dropout_p <= 1:
        fail(RuntimeError, "P28V", f"dropout probability has to be between 0 and 1, but got {dropout_p}",
             fix="choose dropout_p between 0 and 1")
    if enable_gqa:
        heads = query.shape[-3]
        if heads % key.shape[-3] or heads % value.shape[-3]:
            fail(RuntimeError, "P28W", "Number of heads in key and value must divide the number of heads in query",
                 got=f"query {list(query.shape)}, key {list(key.shape)}, value {list(value.shape)}")
        key = F.repeat_interleave(key, heads // key.shape[-3], -3)
        value = F.repeat_interleave(value, heads // value.shape[-3], -3)
    scale = 1 / math.sqrt(max(query.shape[-1], 1)) if scale is None else float(scale)
    if attn_mask is not None and attn_mask.dtype is not dt.bool_ and attn_mask.dtype is not query.dtype:
        attn_mask = F.convert(attn_mask, query.dtype)
    if dropout_p == 0 and choice.fused:
        return F.attention(query, key, value, attn_mask, bool(is_causal), scale)[0]
    if not choice.composed:
        fail(RuntimeError, "P668", "No viable backend for scaled_dot_product_attention was found.",
             fix="allow SDPBackend.MATH, which can do everything")
    weights = attention_weights(query, key, attn_mask, is_causal, scale)
    return F.matmul(F.dropout(weights, dropout_p, True) if dropout_p else weights, value)


# ---------------------------------------------------------------------------------------------------- the multi-head layer
def none_or_dtype(input):
    """The dtype of a tensor, None of None."""
    if input is None or is_tensor(input):
        return None if input is None else input.dtype
    raise RuntimeError("input to _none_or_dtype() must be None or torch.Tensor")


def canonical_mask(mask, mask_name, other_type, other_name, target_type, check_other=True):
    """A mask as floats to add: -inf where a bool mask is True."""
    if mask is None:
        return None
    if mask.dtype is not dt.bool_ and not mask.is_floating_point():
        raise AssertionError(f"only bool and floating types of {mask_name} are supported")
    if check_other and other_type is not None and mask.dtype is not other_type:
        warnings.warn(f"Support for mismatched {mask_name} and {other_name} is deprecated. Use same type for both instead.",
                      stacklevel=3)
    if mask.is_floating_point():
        return mask
    return F.masked_fill(F.zeros(tuple(mask.shape), dtype=target_type), mask, -math.inf)


def _check_shapes(query, key, value, key_padding_mask, attn_mask, num_heads) -> bool:
    """Whether the operands come in batches; AssertionError when their dimensions do not fit together."""
    if query.ndim not in (2, 3):
        fail(AssertionError, "P658", f"query should be unbatched 2D or batched 3D tensor but received {query.ndim}-D query tensor",
             got=describe(query), fix="the dimensions are (length, batch, features), or (batch, length, features) with batch_first=True")
    batched = query.ndim == 3
    kind, n = ("batched (3-D)", 3) if batched else ("unbatched (2-D)", 2)
    if key.ndim != n or value.ndim != n:
        raise AssertionError(f"For {kind} `query`, expected `key` and `value` to be {n}-D but found {key.ndim}-D and "
                             f"{value.ndim}-D tensors respectively")
    if key_padding_mask is not None and key_padding_mask.ndim != n - 1:
        raise AssertionError(f"For {kind} `query`, expected `key_padding_mask` to be `None` or {n - 1}-D but found "
                             f"{key_padding_mask.ndim}-D tensor instead")
    if attn_mask is not None:
        if attn_mask.ndim not in (2, 3):
            raise AssertionError(f"For {kind} `query`, expected `attn_mask` to be `None`, 2-D or 3-D but found "
                                 f"{attn_mask.ndim}-D tensor instead")
        expected = (num_heads, query.shape[0], key.shape[0])
        if not batched and attn_mask.ndim == 3 and tuple(attn_mask.shape) != expected:
            fail(AssertionError, "P659", f"Expected `attn_mask` shape to be {expected} but got {attn_mask.shape}",
                 fix="an attn_mask is (target length, source length), or one such per batch element and head")
    return batched


def _require(condition, message: str) -> None:
    if not condition:
        fail(AssertionError, "P664", message, fix="query, key and value end in embed_dim (kdim, vdim); their lengths and batches must agree")


def _project(query, key, value, packed, bias, separate):
    """Queries, keys and values projected: by the three parts of one weight, or by three weights."""
    e = query.shape[-1]
    biases = (None,) * 3 if bias is None else [F.narrow(bias, 0, i * e, e) for i in (0, 1, 2)]
    if separate is not None:
        return tuple(F.linear(x, w, b) for x, w, b in zip((query, key, value), separate, biases))
    if query is key is value:
        together = F.linear(query, packed, bias)
        return tuple(F.narrow(together, -1, i * e, e) for i in (0, 1, 2))
    weights = [F.narrow(packed, 0, i * e, e) for i in (0, 1, 2)]
    return tuple(F.linear(x, w, b) for x, w, b in zip((query, key, value), weights, biases))


def _heads_first(x, heads, size):
    """(T, N, heads * size) as (N * heads, T, size)."""
    return F.transpose(F.reshape(x, (x.shape[0], heads, size)), 0, 1)


def _given(fixed, heads, size, name):
    """A projected key or value given by the user, checked."""
    _require(fixed.shape[0] == heads, f"expecting static_{name}.size(0) of {heads}, but got {fixed.shape[0]}")
    _require(fixed.shape[2] == size, f"expecting static_{name}.size(2) of {size}, but got {fixed.shape[2]}")
    return fixed


def _with_one_more_key(masks):
    return [None if mask is None else F.cat([mask, F.zeros((*mask.shape[:-1], 1), dtype=mask.dtype)], -1) for mask in masks]


@composite(ns="nn.functional", cast="low", samples=lambda m: [
    ((m.t(3, 2, 4), m.t(5, 2, 4), m.t(5, 2, 4), 4, 2, m.t(12, 4), m.t(12), None, None, False, 0.0, m.t(4, 4), m.t(4)), {}),
    ((m.t(3, 4), m.t(5, 4), m.t(5, 4), 4, 2, m.t(12, 4), None, None, None, True, 0.0, m.t(4, 4), None), {"need_weights": False}),
    ((m.t(2, 1, 4), m.t(2, 1, 4), m.t(2, 1, 4), 4, 1, m.t(12, 4), m.t(12), m.t(1, 1, 4), m.t(1, 1, 4), False, 0.0, m.t(4, 4), m.t(4)), {"average_attn_weights": False})])
def multi_head_attention_forward(query, key, value, embed_dim_to_check, num_heads, in_proj_weight, in_proj_bias, bias_k, bias_v,
                                 add_zero_attn, dropout_p, out_proj_weight, out_proj_bias, training=True, key_padding_mask=None,
                                 need_weights=True, attn_mask=None, use_separate_proj_weight=False, q_proj_weight=None,
                                 k_proj_weight=None, v_proj_weight=None, static_k=None, static_v=None, average_attn_weights=True,
                                 is_causal=False):
    """Multi-head attention: project, attend in `num_heads` parts, project back. Returns (output, weights or None).

    query (L, N, E), key and value (S, N, *) or all without N; output (L, N, E); weights (N, L, S), or (N, heads, L, S) when
    not averaged. In masks True (or -inf) hides: `key_padding_mask` (N, S), `attn_mask` (L, S) or (N * heads, L, S)."""
    batched = _check_shapes(query, key, value, key_padding_mask, attn_mask, num_heads)
    if not batched:
        same = query is key, key is value
        query = F.unsqueeze(query, 1)
        key = query if same[0] else F.unsqueeze(key, 1)
        value = key if same[1] else F.unsqueeze(value, 1)
        key_padding_mask = None if key_padding_mask is None else F.unsqueeze(key_padding_mask, 0)
    length, n, e = query.shape
    if is_causal and attn_mask is None:
        raise RuntimeError("Need attn_mask if specifying the is_causal hint. You may use the Transformer module method "
                           "`generate_square_subsequent_mask` to create this mask.")
    key_padding_mask = canonical_mask(key_padding_mask, "key_padding_mask", none_or_dtype(attn_mask), "attn_mask", query.dtype)
    if is_causal and key_padding_mask is None and not need_weights:
        attn_mask = None                       # the hint says it all
    else:
        attn_mask = canonical_mask(attn_mask, "attn_mask", None, "", query.dtype, False)
        is_causal = is_causal and key_padding_mask is None
    _require(e == embed_dim_to_check, f"was expecting embedding dimension of {embed_dim_to_check}, but got {e}")
    size = e // num_heads
    _require(size * num_heads == e, f"embed_dim {e} not divisible by num_heads {num_heads}")
    separate = None
    if use_separate_proj_weight:
        _require(tuple(key.shape[:2]) == tuple(value.shape[:2]),
                 f"key's sequence and batch dims {key.shape[:2]} do not match value's {value.shape[:2]}")
        separate = (q_proj_weight, k_proj_weight, v_proj_weight)
        for name, w in zip("qkv", separate):
            _require(w is not None, f"use_separate_proj_weight is True but {name}_proj_weight is None")
    else:
        _require(tuple(key.shape) == tuple(value.shape), f"key shape {key.shape} does not match value shape {value.shape}")
        _require(in_proj_weight is not None, "use_separate_proj_weight is False but in_proj_weight is None")
    q, k, v = _project(query, key, value, in_proj_weight, in_proj_bias, separate)
    if attn_mask is not None:
        shape = tuple(attn_mask.shape)
        wanted = (length, key.shape[0]) if attn_mask.ndim == 2 else (n * num_heads, length, key.shape[0])
        if attn_mask.ndim not in (2, 3):
            raise RuntimeError(f"attn_mask's dimension {attn_mask.ndim} is not supported")
        if shape != wanted:
            raise RuntimeError(f"The shape of the {attn_mask.ndim}D attn_mask is {attn_mask.shape}, but should be {wanted}.")
        if attn_mask.ndim == 2:
            attn_mask = F.unsqueeze(attn_mask, 0)
    _require(bias_v is None or bias_k is not None, "bias_v is set but bias_k is None")
    _require(bias_k is None or bias_v is not None, "bias_k is set but bias_v is None")
    if bias_k is not None:
        _require(static_k is None, "bias cannot be added to static key.")
        _require(static_v is None, "bias cannot be added to static value.")
        k = F.cat([k, F.expand(bias_k, (1, n, e))])
        v = F.cat([v, F.expand(bias_v, (1, n, e))])
        attn_mask, key_padding_mask = _with_one_more_key((attn_mask, key_padding_mask))
    heads = n * num_heads
    q = _heads_first(q, heads, size)
    k = _heads_first(k, heads, size) if static_k is None else _given(static_k, heads, size, "k")
    v = _heads_first(v, heads, size) if static_v is None else _given(static_v, heads, size, "v")
    if add_zero_attn:
        zero = F.zeros((heads, 1, size), dtype=k.dtype)
        k, v = F.cat([k, zero], 1), F.cat([v, zero], 1)
        attn_mask, key_padding_mask = _with_one_more_key((attn_mask, key_padding_mask))
    sources = k.shape[1]
    if key_padding_mask is not None:
        _require(tuple(key_padding_mask.shape) == (n, sources),
                 f"expecting key_padding_mask shape of {(n, sources)}, but got {key_padding_mask.shape}")
        padding = F.expand(F.reshape(key_padding_mask, (n, 1, 1, sources)), (n, num_heads, 1, sources))
        padding = F.reshape(padding, (heads, 1, sources))
        attn_mask = padding if attn_mask is None else F.add(attn_mask, padding)
    if not training:
        dropout_p = 0.0
    weights = None
    if need_weights:
        q = F.mul(q, math.sqrt(1.0 / size))
        if attn_mask is None:
            weights = F.bmm(q, F.transpose(k, -2, -1))
        else:
            weights = F.baddbmm(attn_mask, q, F.transpose(k, -2, -1))
        weights = F.softmax(weights, -1)
        if dropout_p > 0.0:
            weights = F.dropout(weights, dropout_p, True)
        output = F.transpose(F.bmm(weights, v), 0, 1)
        weights = F.reshape(weights, (n, num_heads, length, sources))
        weights = F.mean(weights, 1) if average_attn_weights else weights
        if not batched:
            weights = F.squeeze(weights, 0)
    else:
        if attn_mask is not None:
            attn_mask = F.unsqueeze(attn_mask, 0) if attn_mask.shape[0] == 1 else F.reshape(attn_mask, (n, num_heads, -1, sources))
        q, k, v = (F.reshape(x, (n, num_heads, x.shape[1], size)) for x in (q, k, v))
        output = F.scaled_dot_product_attention(q, k, v, attn_mask, dropout_p, is_causal)
        output = F.permute(output, (2, 0, 1, 3))
    output = F.linear(F.reshape(output, (length, n, e)), out_proj_weight, out_proj_bias)
    return (output if batched else F.squeeze(output, 1)), weights
