"""Normalisation: subtract a mean, divide by a standard deviation, scale and shift.

Layer, group and instance norm take mean and deviation over the rows of a matrix made of the input; batch norm takes
them per channel, over everything else. Each is one node: the reference computes mean and deviation once and keeps them
for the backward pass, whose own definition (`..._backward`) is given in operators, for derivatives of derivatives.
"""
from __future__ import annotations

from math import prod

from ._common import as_ints, dt, fail, need_tensor, np
from .op import COMPOSITE, F, composite, primitive


def inverse_root(v):
    """1 / sqrt(v), without NumPy's warnings where v is 0 or less."""
    with np.errstate(all="ignore"):
        return 1 / np.sqrt(v)


def _row_stats(x: np.ndarray, eps: float):
    """Of a matrix: the centred rows (new memory), their means and 1 / sqrt(variance + eps), both as columns."""
    m = max(x.shape[1], 1)
    mean = np.add.reduce(x, 1, keepdims=True) / m
    centred = x - mean
    square = np.multiply(centred, centred)
    rstd = np.add.reduce(square, 1, keepdims=True) / m + eps
    rstd = 1 / np.sqrt(rstd) if eps > 0 else inverse_root(rstd)         # (setting NumPy's warnings takes longer than a small row)
    return centred, square, mean.astype(x.dtype, copy=False), rstd.astype(x.dtype, copy=False)


def _column_sums(t: np.ndarray) -> np.ndarray:
    """The sums of the columns of a matrix, by BLAS."""
    return np.ones(t.shape[0], t.dtype) @ t


def check_affine(fn: str, weight, bias, shape: tuple, what: str) -> None:
    """`weight` and `bias` must have `shape` if they are there."""
    for name, t in (("weight", weight), ("bias", bias)):
        if t is not None and t.shape != shape:
            fail(RuntimeError, "P280", f"Expected {name} to be {what}, but got {name} of shape {list(t.shape)} and "
                 f"expected {list(shape)}", fix=f"give {fn} a {name} of shape {list(shape)}")


# ---------------------------------------------------------------------------------------------------- layer norm
def layer_norm_ref(x, w, b, *, dims, eps):
    lead = x.shape[: x.ndim - dims]
    inner = x.shape[x.ndim - dims:]
    m = prod(inner)
    rows = x.reshape(prod(lead), m)
    centred, y, mean, rstd = _row_stats(rows, eps)
    np.multiply(centred, rstd, out=y)
    if w is not None:
        y *= w.reshape(m)
    if b is not None:
        y += b.reshape(m)
    stats = lead + (1,) * dims
    return y.reshape(x.shape), mean.reshape(stats), rstd.reshape(stats)


def mean_over(x, over):
    """The mean over dimensions, kept; 0 over nothing."""
    return F.mean(x, over, True) if prod(x.shape[d] for d in over) else F.sum(x, over, True)


def centred_rows(x, over, eps):
    """(x minus its mean, the mean, 1 / sqrt(variance + eps)) over dimensions, kept."""
    mean = mean_over(x, over)
    centred = F.sub(x, mean)
    return centred, mean, F.rsqrt(F.add(mean_over(F.square(centred), over), eps))


def layer_norm_body(input, weight, bias, *, dims, eps):
    centred, mean, rstd = centred_rows(input, tuple(range(-dims, 0)), eps)
    y = F.mul(centred, rstd)
    if weight is not None:
        y = F.mul(y, weight)
    return y if bias is None else F.add(y, bias), mean, rstd


def layer_norm_infer(x, w, b, *, dims, eps):
    stats = x.shape[: x.ndim - dims] + (1,) * dims
    return x.like(), x.like(stats), x.like(stats)


def layer_norm_backward_ref(g, x, w, mean, rstd, *, dims, eps, needs):
    inner = x.shape[x.ndim - dims:]
    m = prod(inner)
    rows = x.size // m if m else 0
    g2, mean, rstd = g.reshape(rows, m), mean.reshape(rows, 1), rstd.reshape(rows, 1)
    normed = x.reshape(rows, m) - mean
    normed *= rstd
    product = g2 * normed
    gw = _column_sums(product).reshape(inner) if needs[1] else None
    gb = _column_sums(g2).reshape(inner) if needs[2] else None
    gx = None
    if needs[0]:
        scale = np.ones(m, x.dtype) if w is None else w.reshape(m)
        normed *= ((product @ scale) / max(m, 1))[:, None]
        gx = np.multiply(g2, scale, out=product)
        gx -= normed
        gx -= ((g2 @ scale) / max(m, 1))[:, None]
        gx *= rstd
        gx = gx.reshape(x.shape)
    return tuple(t for t in (gx, gw, gb) if t is not None)


def layer_norm_backward_body(g, input, weight, mean, rstd, *, dims, eps, needs):
    over = tuple(range(-dims, 0))
    if input.requires_grad:                  # the statistics depend on the input
        centred, mean, rstd = centred_rows(input, over, eps)
    else:
        centred = F.sub(input, mean)
    normed = F.mul(centred, rstd)
    gs = []
    if needs[0]:
        gy = g if weight is None else F.mul(g, weight)
        gy = F.sub(F.sub(gy, mean_over(gy, over)), F.mul(normed, mean_over(F.mul(gy, normed), over)))
        gs.append(F.mul(gy, rstd))
    lead = tuple(range(input.ndim - dims))
    if needs[1]:
        gs.append(F.sum(F.mul(g, normed), lead) if lead else F.mul(g, normed))
    if needs[2]:
        gs.append(F.sum(g, lead) if lead else g)
    return tuple(gs)


def _wanted(specs, needs):
    return tuple(s for s, need in zip(specs, needs) if need)


@primitive(COMPOSITE, args="g input weight mean rstd", forms="", ref=layer_norm_backward_ref, body=layer_norm_backward_body,
           infer=lambda g, x, w, mean, rstd, *, dims, eps, needs: _wanted(
               (x, x.like(x.shape[x.ndim - dims:]), x.like(x.shape[x.ndim - dims:])), needs))
def layer_norm_backward(g, input, weight, mean, rstd, dims, eps, needs):
    """The gradients of layer norm's input, weight and bias, those that `needs` asks for."""
    return (g, input, weight, mean, rstd), {"dims": dims, "eps": eps, "needs": needs}


def spread(gs, needs) -> tuple:
    """The gradients a backward operator returned, with None where none was asked for."""
    rest = iter(gs if type(gs) is tuple else (gs,))
    return tuple(next(rest) if need else None for need in needs)


def layer_norm_vjp(gs, input, weight, out1, out2, dims, eps, needs):
    needs = needs[:3]
    return spread(F.layer_norm_backward(gs[0], input, weight, out1, out2, dims, eps, needs), needs)


def _layer_norm_samples(m):
    return [((m.t(4, 3), (3,), m.t(3), m.t(3)), {}), ((m.t(2, 3, 2), (3, 2), m.t(3, 2), None), {"eps": 1e-3}),
            ((m.t(0, 3), (3,)), {}), ((m.t(2, 4), [4]), {})]


@primitive(COMPOSITE, args="input weight bias", nout=3, forms="", ref=layer_norm_ref, body=layer_norm_body, infer=layer_norm_infer,
           vjp=layer_norm_vjp)
def native_layer_norm(input, weight, bias, dims, eps):
    """Layer norm over the last `dims` dimensions, with what it computed on the way."""
    return (input, weight, bias), {"dims": dims, "eps": float(eps)}


def _check_normalized_shape(fn: str, input, normalized_shape, weight, bias) -> int:
    """How many dimensions to normalise over; raises unless they are the last of the input and of the parameters."""
    need_tensor(input, fn)
    shape = as_ints(normalized_shape, fn, "normalized_shape")
    n = len(shape)
    if n == 0:
        fail(RuntimeError, "P281", f"Expected normalized_shape to be at least 1-dimensional, i.e., containing at least one "
             f"element, but got normalized_shape = {list(shape)}", fix="name the sizes of the last dimensions, as in normalized_shape=[8]")
    sizes = tuple(input.shape)
    if sizes[len(sizes) - n:] != shape:
        fail(RuntimeError, "P282", f"Given normalized_shape={list(shape)}, expected input with shape "
             f"[*, {', '.join(map(str, shape))}], but got input of size{list(input.shape)}",
             fix="normalized_shape must be the last dimensions of the input")
    check_affine(fn, weight, bias, shape, "of same shape as normalized_shape")
    return n


@composite(name="native_layer_norm_stats", public="native_layer_norm",
           samples=lambda m: [((*a, *(None,) * (4 - len(a)), k.get("eps", 1e-5)), {}) for a, k in _layer_norm_samples(m)])
def native_layer_norm_stats(input, normalized_shape, weight, bias, eps):
    """Layer norm with what it computed on the way: (output, mean, 1 / sqrt(variance + eps)), the last two detached."""
    n = _check_normalized_shape("native_layer_norm", input, normalized_shape, weight, bias)
    y, mean, rstd = F.native_layer_norm(input, weight, bias, n, eps)
    return y, F.detach(mean), F.detach(rstd)


@composite(ns=("", "nn.functional"), cast="gpu-high", onnx="LayerNormalization", samples=_layer_norm_samples)
def layer_norm(input, normalized_shape, weight=None, bias=None, eps=1e-05, cudnn_enable=True):
    """Normalise over the last dimensions, those of `normalized_shape`, then scale by `weight` and shift by `bias`
    (both of that shape). Ba et al., 2016."""
    n = _check_normalized_shape("layer_norm", input, normalized_shape, weight, bias)
    return F.native_layer_norm(input, weight, bias, n, eps)[0]


# ---------------------------------------------------------------------------------------------------- RMS norm
def rms_norm_ref(x, w, *, dims, eps):
    lead = x.shape[: x.ndim - dims]
    m = prod(x.shape[x.ndim - dims:])
    rows = x.reshape(prod(lead), m)
    y = rows * rows
    with np.errstate(all="ignore"):
        rstd = 1 / np.sqrt(np.add.reduce(y, 1, keepdims=True) / max(m, 1) + eps)
    rstd = rstd.astype(x.dtype, copy=False)
    np.multiply(rows, rstd, out=y)
    if w is not None:
        y *= w.reshape(m)
    return y.reshape(x.shape), rstd.reshape(lead + (1,) * dims)


def rms_norm_body(input, weight, *, dims, eps):
    rstd = F.rsqrt(F.add(mean_over(F.square(input), tuple(range(-dims, 0))), eps))
    y = F.mul(input, rstd)
    return y if weight is None else F.mul(y, weight), rstd


def rms_norm_backward_ref(g, x, w, rstd, *, dims, eps, needs):
    inner = x.shape[x.ndim - dims:]
    m = prod(inner)
    rows = x.size // m if m else 0
    g2, rstd = g.reshape(rows, m), rstd.reshape(rows, 1)
    normed = x.reshape(rows, m) * rstd
    product = g2 * normed
    gw = _column_sums(product).reshape(inner) if needs[1] else None
    gx = None
    if needs[0]:
        scale = np.ones(m, x.dtype) if w is None else w.reshape(m)
        normed *= ((product @ scale) / max(m, 1))[:, None]
        gx = np.multiply(g2, scale, out=product)
        gx -= normed
        gx *= rstd
        gx = gx.reshape(x.shape)
    return tuple(t for t in (gx, gw) if t is not None)


def rms_norm_backward_body(g, input, weight, rstd, *, dims, eps, needs):
    over = tuple(range(-dims, 0))
    if input.requires_grad:
        rstd = F.rsqrt(F.add(mean_over(F.square(input), over), eps))
    normed = F.mul(input, rstd)
    gs = []
    if needs[0]:
        gy = g if weight is None else F.mul(g, weight)
        gs.append(F.mul(F.sub(gy, F.mul(normed, mean_over(F.mul(gy, normed), over))), rstd))
    if needs[1]:
        lead = tuple(range(input.ndim - dims))
        gs.append(F.sum(F.mul(g, normed), lead) if lead else F.mul(g, normed))
    return tuple(gs)


@primitive(COMPOSITE, args="g input weight rstd", forms="", ref=rms_norm_backward_ref, body=rms_norm_backward_body,
           infer=lambda g, x, w, rstd, *, dims, eps, needs: _wanted((x, x.like(x.shape[x.ndim - dims:])), needs))
def rms_norm_backward(g, input, weight, rstd, dims, eps, needs):
    """The gradients of RMS norm's input and weight, those that `needs` asks for."""
    return (g, input, weight, rstd), {"dims": dims, "eps": eps, "needs": needs}


def rms_norm_vjp(gs, input, weight, out1, dims, eps, needs):
    needs = needs[:2]
    return spread(F.rms_norm_backward(gs[0], input, weight, out1, dims, eps, needs), needs)


@primitive(COMPOSITE, args="input weight", nout=2, forms="", ref=rms_norm_ref, body=rms_norm_body, vjp=rms_norm_vjp,
           infer=lambda x, w, *, dims, eps: (x.like(), x.like(x.shape[: x.ndim - dims] + (1,) * dims)))
def fused_rms_norm(input, weight, dims, eps):
    """RMS norm over the last `dims` dimensions, and 1 / sqrt(mean square + eps)."""
    return (input, weight), {"dims": dims, "eps": eps}


@composite(ns=("", "nn.functional"), cast="gpu-high",
           samples=lambda m: [((m.t(4, 3), (3,), m.t(3)), {}), ((m.t(2, 3, 2), (3, 2)), {"eps": 1e-3}), ((m.t(0, 3), (3,)), {})])
def rms_norm(input, normalized_shape, weight=None, eps=None):
    """Divide by the root of the mean square over the last dimensions, then scale by `weight`. `eps` defaults to the
    dtype's machine epsilon. Zhang and Sennrich, 2019."""
    n = _check_normalized_shape("rms_norm", input, normalized_shape, weight, None)
    if eps is None:
        eps = float(np.finfo(np.float64 if input.dtype is dt.float64 else np.float32).eps)
    return F.fused_rms_norm(input, weight, n, float(eps))[0]


# ---------------------------------------------------------------------------------------------------- group norm
def group_norm_ref(x, w, b, *, groups, eps):
    n, c = x.shape[:2]
    s = prod(x.shape[2:])
    centred, y, mean, rstd = _row_stats(x.reshape(n * groups, (c // groups) * s), eps)
    np.multiply(centred, rstd, out=y)
    y = y.reshape(n, c, s)
    if w is not None:
        y *= w.reshape(c, 1)
    if b is not None:
        y += b.reshape(c, 1)
    return y.reshape(x.shape), mean.reshape(n, groups), rstd.reshape(n, groups)


def grouped(t, n, groups, each, s):
    """(N, C, *) as (N, groups, C / groups, elements); a vector (C) as (groups, C / groups, 1)."""
    return F.reshape(t, (groups, each, 1) if t.ndim == 1 else (n, groups, each, s))


def group_norm_body(input, weight, bias, *, groups, eps):
    n, c = input.shape[:2]
    each, s = c // groups, prod(input.shape[2:])
    centred, mean, rstd = centred_rows(grouped(input, n, groups, each, s), (2, 3), eps)
    y = F.mul(centred, rstd)
    if weight is not None:
        y = F.mul(y, grouped(weight, n, groups, each, s))
    if bias is not None:
        y = F.add(y, grouped(bias, n, groups, each, s))
    return F.reshape(y, tuple(input.shape)), F.reshape(mean, (n, groups)), F.reshape(rstd, (n, groups))


def group_norm_backward_ref(g, gmean, grstd, x, w, mean, rstd, *, groups, eps, needs):
    n, c = x.shape[:2]
    s = prod(x.shape[2:])
    m = max((c // groups) * s, 1)
    g3, x3 = g.reshape(n, c, s), x.reshape(n, c, s)
    rstd, mean = (np.repeat(t.astype(np.float64), c // groups, 1) for t in (rstd, mean))      # one per channel
    total = np.add.reduce(g3, 2).astype(np.float64)                                          # (n, c): sums of g
    slope = (np.einsum("ncs,ncs->nc", g3, x3) - total * mean) * rstd                         # of g * normalised x
    gw = np.add.reduce(slope, 0).astype(x.dtype) if needs[1] else None
    gb = np.add.reduce(total, 0).astype(x.dtype) if needs[2] else None
    gx = None
    if needs[0]:
        # gx is linear in g and x, with one coefficient per channel: scale * g + across * x + shift
        scale = np.ones((1, c)) if w is None else w.reshape(1, c).astype(np.float64)

        def per_group(t):
            return np.repeat(t.reshape(n, groups, c // groups).sum(2), c // groups, 1)
        slope = per_group(scale * slope) + np.repeat(grstd, c // groups, 1) * rstd
        across = -rstd * rstd * slope / m
        shift = np.repeat(gmean, c // groups, 1) / m - across * mean - per_group(scale * total) * rstd / m
        gx = g3 * (scale * rstd).astype(x.dtype)[:, :, None]
        gx += x3 * across.astype(x.dtype)[:, :, None]
        gx += shift.astype(x.dtype)[:, :, None]
        gx = gx.reshape(x.shape)
    return tuple(t for t in (gx, gw, gb) if t is not None)


def group_norm_backward_body(g, gmean, grstd, input, weight, mean, rstd, *, groups, eps, needs):
    n, c = input.shape[:2]
    each, s = c // groups, prod(input.shape[2:])
    x, g = grouped(input, n, groups, each, s), grouped(g, n, groups, each, s)
    if input.requires_grad:
        centred, mean, rstd = centred_rows(x, (2, 3), eps)
    else:
        centred, rstd = F.sub(x, F.reshape(mean, (n, groups, 1, 1))), F.reshape(rstd, (n, groups, 1, 1))
    normed = F.mul(centred, rstd)
    gs = []
    if needs[0]:
        m = max(each * s, 1)
        gy = g if weight is None else F.mul(g, grouped(weight, n, groups, each, s))
        slope = F.add(F.sum(F.mul(gy, normed), (2, 3), True), F.mul(F.reshape(grstd, (n, groups, 1, 1)), rstd))
        gy = F.sub(F.sub(gy, mean_over(gy, (2, 3))), F.mul(normed, F.mul(slope, 1 / m)))
        gy = F.add(F.mul(gy, rstd), F.mul(F.reshape(gmean, (n, groups, 1, 1)), 1 / m))
        gs.append(F.reshape(gy, tuple(input.shape)))
    if needs[1]:
        gs.append(F.reshape(F.sum(F.mul(g, normed), (0, 3)), (c,)))
    if needs[2]:
        gs.append(F.reshape(F.sum(g, (0, 3)), (c,)))
    return tuple(gs)


@primitive(COMPOSITE, args="g gmean grstd input weight mean rstd", forms="", ref=group_norm_backward_ref,
           body=group_norm_backward_body, infer=lambda g, gmean, grstd, x, w, mean, rstd, *, groups, eps, needs: _wanted(
               (x, x.like((x.shape[1],)), x.like((x.shape[1],))), needs))
def group_norm_backward(g, gmean, grstd, input, weight, mean, rstd, groups, eps, needs):
    """The gradients of group norm's input, weight and bias, those that `needs` asks for."""
    return (g, gmean, grstd, input, weight, mean, rstd), {"groups": groups, "eps": eps, "needs": needs}


def group_norm_vjp(gs, input, weight, out1, out2, groups, eps, needs):
    needs = needs[:3]
    return spread(F.group_norm_backward(*gs, input, weight, out1, out2, groups, eps, needs), needs)


@primitive(COMPOSITE, args="input weight bias", nout=3, ref=group_norm_ref, body=group_norm_body, vjp=group_norm_vjp,
           infer=lambda x, w, b, *, groups, eps: (x.like(), x.like((x.shape[0], groups)), x.like((x.shape[0], groups))),
           samples=lambda m: [((m.t(2, 4, 3), m.t(4), m.t(4), 2, 4, 3, 2, 1e-5), {}), ((m.t(0, 2), None, None, 0, 2, 1, 1, 1e-5), {}),
                              ((m.t(1, 2, 2), m.t(2), None, 1, 2, 2, 1, 1e-3), {})])
def native_group_norm(input, weight, bias, N, C, HxW, group, eps):
    """Group norm with what it computed on the way: (output, mean, 1 / sqrt(variance + eps)), the last two (N, group)."""
    return (input, weight, bias), {"groups": group, "eps": float(eps)}


@composite(ns=("", "nn.functional"), cast="gpu-high",
           samples=lambda m: [((m.t(2, 4, 3), 2, m.t(4), m.t(4)), {}), ((m.t(3, 6), 3), {"eps": 1e-3}), ((m.t(0, 2, 2), 1), {})])
def group_norm(input, num_groups, weight=None, bias=None, eps=1e-05, cudnn_enabled=True):
    """Normalise each sample (N, C, *) over groups of channels, then scale and shift per channel. Wu and He, 2018."""
    need_tensor(input, "group_norm")
    shape = tuple(input.shape)
    if len(shape) < 2:
        fail(RuntimeError, "P283", f"Expected at least 2 dimensions for input tensor but received {len(shape)}",
             fix="the dimensions are (batch, channels, ...)")
    n, c = shape[:2]
    if num_groups <= 0:
        fail(RuntimeError, "P284", f"Expected num groups to be greater than 0, got {num_groups}", fix="use at least one group")
    if c % num_groups:
        fail(RuntimeError, "P285", "Expected number of channels in input to be divisible by num_groups, but got input of "
             f"shape {list(shape)} and num_groups={num_groups}", fix="choose a number of groups that divides the channels, dimension 1")
    check_affine("group_norm", weight, bias, (c,), "a vector of size equal to the number of channels in input")
    return F.native_group_norm(input, weight, bias, n, c, prod(shape[2:]), num_groups, eps)[0]
