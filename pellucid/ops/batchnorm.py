"""Batch and instance normalisation, local response normalisation, and `normalize`.

Batch norm takes mean and variance per channel (dimension 1) over all others: from the batch in training, which also
moves the running estimates, or from the running estimates.
"""
from __future__ import annotations

from math import prod

from ._common import dt, fail, is_tensor, need_tensor, np
from .dispatch import local, state
from .norm import centred_rows, inverse_root, mean_over, spread
from .op import COMPOSITE, F, composite, primitive


def _column(v, ndim):
    """A per-channel vector in the shape that broadcasts over (N, C, *)."""
    return v.reshape((1, -1) + (1,) * (ndim - 2))


def _channel_sums(t: np.ndarray) -> np.ndarray:
    """The sum over all dimensions but 1, in float64: the spatial ones first, which are short and contiguous."""
    if t.size < 1000 and t.dtype.kind == "f":
        return np.add.reduce(t, (0, *range(2, t.ndim)), np.float64)
    if t.ndim > 2:
        t = np.add.reduce(t, tuple(range(2, t.ndim)))
    return np.add.reduce(t, 0, np.float64 if t.dtype.kind == "f" else t.dtype)


def batch_norm_train_ref(x, w, b, *, eps):
    n = max(x.size // max(x.shape[1], 1), 1)
    mean = (_channel_sums(x) / n).astype(x.dtype)
    y = x - _column(mean, x.ndim)
    var = _channel_sums(y * y) / n
    scale = 1 / np.sqrt(var + eps) if eps > 0 else inverse_root(var + eps)
    if w is not None:
        scale *= w
    y *= _column(scale.astype(x.dtype), x.ndim)
    if b is not None:
        y += _column(b, x.ndim)
    return y, mean, var.astype(x.dtype)


def _channels(v, ndim):
    """A per-channel tensor in the shape that broadcasts over (N, C, *)."""
    return F.reshape(v, (1, -1) + (1,) * (ndim - 2)) if v.numel() else F.reshape(v, (1, 0) + (1,) * (ndim - 2))


def batch_norm_train_body(input, weight, bias, *, eps):
    over, c = _others(input.ndim), input.shape[1]
    if input.dtype is dt.float32 and input.numel():
        wide = F.convert(input, dt.float64)                # one pass: in float64 the difference of the two means is exact enough
        mean = F.mean(wide, over, True)
        var = F.clamp_min(F.sub(F.mean(F.square(wide), over, True), F.square(mean)), 0.0)
        scale = F.rsqrt(F.add(var, eps))
        mean, var, scale = (F.convert(t, dt.float32) for t in (mean, var, scale))
        centred = F.sub(input, mean)
    else:
        centred, mean, _ = centred_rows(input, over, eps)
        var = mean_over(F.square(centred), over)
        scale = F.rsqrt(F.add(var, eps))
    if weight is not None:
        scale = F.mul(scale, _channels(weight, input.ndim))
    y = F.mul(centred, scale)
    if bias is not None:
        y = F.add(y, _channels(bias, input.ndim))
    return y, F.reshape(mean, (c,)), F.reshape(var, (c,))


def batch_norm_backward_ref(g, x, w, mean, var, *, eps, needs):
    n = max(x.size // max(x.shape[1], 1), 1)
    rstd = 1 / np.sqrt(var.astype(np.float64) + eps) if eps > 0 else inverse_root(var.astype(np.float64) + eps)
    centred = x - _column(mean, x.ndim)
    product = g * centred
    gw = _channel_sums(product) * rstd                 # sum of g * normalised input
    gb = _channel_sums(g)
    gx = None
    if needs[0]:
        scale = rstd if w is None else rstd * w
        gx = np.subtract(g, _column((gb / n).astype(x.dtype), x.ndim), out=product)
        centred *= _column((gw * rstd / n).astype(x.dtype), x.ndim)
        gx -= centred
        gx *= _column(scale.astype(x.dtype), x.ndim)
    gs = (gx, gw.astype(x.dtype), gb.astype(x.dtype))
    return tuple(t for t, need in zip(gs, needs) if need)


def batch_norm_backward_body(g, input, weight, mean, var, *, eps, needs):
    over, c = _others(input.ndim), input.shape[1]
    if input.requires_grad:
        centred, _, rstd = centred_rows(input, over, eps)
    else:
        centred = F.sub(input, _channels(mean, input.ndim))
        rstd = F.rsqrt(F.add(_channels(var, input.ndim), eps))
    total = F.sum(g, over, True)
    slope = F.mul(F.sum(F.mul(g, centred), over, True), rstd)          # of g * normalised input
    gs = []
    if needs[0]:
        n = max(input.numel() // max(c, 1), 1)
        gx = F.sub(F.sub(g, F.div(total, n)), F.mul(centred, F.div(F.mul(slope, rstd), n)))
        gs.append(F.mul(gx, rstd if weight is None else F.mul(rstd, _channels(weight, input.ndim))))
    if needs[1]:
        gs.append(F.reshape(slope, (c,)))
    if needs[2]:
        gs.append(F.reshape(total, (c,)))
    return tuple(gs)


def _channel_infer(g, x, w, mean, var, *, eps, needs):
    return tuple(s for s, need in zip((x, x.like((x.shape[1],)), x.like((x.shape[1],))), needs) if need)


@primitive(COMPOSITE, args="g input weight mean var", forms="", ref=batch_norm_backward_ref, body=batch_norm_backward_body,
           infer=_channel_infer)
def batch_norm_backward(g, input, weight, mean, var, eps, needs):
    """The gradients of batch norm's input, weight and bias in training, those that `needs` asks for."""
    return (g, input, weight, mean, var), {"eps": eps, "needs": needs}


def batch_norm_train_vjp(gs, input, weight, out1, out2, eps, needs):
    needs = needs[:3]
    return spread(F.batch_norm_backward(gs[0], input, weight, out1, out2, eps, needs), needs)


@primitive(COMPOSITE, args="input weight bias", nout=3, forms="", ref=batch_norm_train_ref, body=batch_norm_train_body, vjp=batch_norm_train_vjp,
           infer=lambda x, w, b, *, eps: (x.like(), x.like((x.shape[1],)), x.like((x.shape[1],))))
def batch_norm_train(input, weight, bias, eps):
    """Batch norm by the batch's own statistics, and these: (output, mean, biased variance)."""
    return (input, weight, bias), {"eps": eps}


def _fold(w, b, mean, var, eps, dtype):
    """Batch norm with known statistics as x * scale + shift."""
    with np.errstate(all="ignore"):
        scale = 1 / np.sqrt(var.astype(np.float64) + eps)
    if w is not None:
        scale *= w
    shift = -mean * scale
    if b is not None:
        shift += b
    return scale.astype(dtype), shift.astype(dtype)


def batch_norm_eval_ref(x, w, b, mean, var, *, eps):
    scale, shift = _fold(w, b, mean, var, eps, x.dtype)
    y = x * _column(scale, x.ndim)
    y += _column(shift, x.ndim)
    return y


def batch_norm_eval_body(input, weight, bias, running_mean, running_var, *, eps):
    d, ndim = input.dtype, input.ndim
    mean, var = (_channels(v if v.dtype is d else F.convert(v, d), ndim) for v in (running_mean, running_var))
    scale = F.rsqrt(F.add(var, eps))
    if weight is not None:
        scale = F.mul(scale, _channels(weight, ndim))
    shift = F.neg(F.mul(mean, scale))
    if bias is not None:
        shift = F.add(shift, _channels(bias, ndim))
    return F.add(F.mul(input, scale), shift)


def _rstd(var, eps, ndim):
    return F.reshape(F.rsqrt(F.add(var, eps)), (1, -1) + (1,) * (ndim - 2))


def _others(ndim):
    return (0, *range(2, ndim))


def _eval_input(g, weight, running_var, eps):
    scale = _rstd(running_var, eps, g.ndim)
    if weight is not None:
        scale = F.mul(scale, F.reshape(weight, tuple(scale.shape)))
    return F.convert(F.mul(g, scale), g.dtype)


def _eval_weight(g, input, running_mean, running_var, eps):
    rstd = _rstd(running_var, eps, g.ndim)
    normed = F.mul(F.sub(input, F.reshape(running_mean, tuple(rstd.shape))), rstd)
    return F.sum(F.mul(g, normed), _others(g.ndim))


@primitive(COMPOSITE, args="input weight bias running_mean running_var", forms="", ref=batch_norm_eval_ref, body=batch_norm_eval_body,
           vjp={"input": _eval_input, "weight": _eval_weight, "bias": lambda g: F.sum(g, _others(g.ndim))},
           infer=lambda x, w, b, mean, var, *, eps: x.like())
def batch_norm_eval(input, weight, bias, running_mean, running_var, eps):
    """Batch norm by given statistics."""
    return (input, weight, bias, running_mean, running_var), {"eps": eps}


def _check_channels(fn: str, input, **vectors) -> None:
    shape = tuple(input.shape)
    if len(shape) < 2:
        fail(RuntimeError, "P286", f"{fn}: expected an input of at least 2 dimensions (N, C, *), got {list(shape)}",
             fix="add the missing dimension with unsqueeze")
    for name, v in vectors.items():
        if v is not None and v.numel() != shape[1]:
            fail(RuntimeError, "P287", f"{name} should contain {shape[1]} elements not {v.numel()}",
                 got=f"input {list(shape)}, {name} {list(v.shape)}",
                 fix=f"the number of channels, dimension 1 of the input, is {shape[1]}")


def _move(running, value, momentum) -> None:
    """running = (1 - momentum) * running + momentum * value, in place. While tracing, `momentum` may be a 0-d tensor."""
    if not state.slow and type(momentum) is float and value.dtype is running.dtype:
        before, local.grad = local.grad, False                  # instead of `detach`
        try:
            running.mul_(1 - momentum)
            running.add_(F.mul(value, momentum))
        finally:
            local.grad = before
        return
    value = F.convert(F.detach(value), running.dtype)
    running.mul_(1 - momentum)
    running.add_(F.mul(value, momentum)) if is_tensor(momentum) else running.add_(value, alpha=momentum)


def _normalise(input, weight, bias, running_mean, running_var, training, momentum, eps):
    """(output, mean, variance): the statistics used, or None in evaluation."""
    if input.ndim == 1 and not input.numel():
        return F.clone(input), None, None
    _check_channels("batch_norm", input, running_mean=running_mean, running_var=running_var, weight=weight, bias=bias)
    if not training:
        for name, v in (("running_mean", running_mean), ("running_var", running_var)):
            if v is None:
                fail(RuntimeError, "P288", f"Expected {name} to be defined when training=False",
                     fix="pass the running statistics, or training=True")
        return F.batch_norm_eval(input, weight, bias, running_mean, running_var, eps), None, None
    y, mean, var = F.batch_norm_train(input, weight, bias, eps)
    if running_mean is not None and input.numel():    # an empty batch says nothing
        n = input.numel() // max(input.shape[1], 1)
        _move(running_mean, mean, momentum)
        _move(running_var, F.mul(F.detach(var), n / (n - 1) if n > 1 else float("nan")), momentum)
    return y, mean, var


def _batch_norm_samples(m):
    mean, var = m.t(3), m.t(3, low=0.5, high=2)
    return [((m.t(4, 3, 2), None, None, m.t(3), m.t(3), True), {}), ((m.t(4, 3), mean.detach(), var.detach(), m.t(3), None), {}),
            ((m.t(2, 3, 2, 2), None, None), {"training": True, "eps": 1e-3}), ((m.t(0, 3), mean.detach(), var.detach()), {})]


@composite(ns="nn.functional", cast="gpu-high", onnx="BatchNormalization", samples=_batch_norm_samples)
def batch_norm(input, running_mean, running_var, weight=None, bias=None, training=False, momentum=0.1, eps=1e-05):
    """Normalise (N, C, *) per channel, then scale by `weight` and shift by `bias` (C). In training by the batch's mean and
    variance, which also move the running ones: r = (1 - momentum) * r + momentum * batch. Ioffe and Szegedy, 2015.

    Raises ValueError in training when there is one value per channel."""
    need_tensor(input, "batch_norm")
    shape = tuple(input.shape)
    if training and len(shape) > 1 and shape[0] * prod(shape[2:]) == 1:
        fail(ValueError, "P289", f"Expected more than 1 value per channel when training, got input size {input.shape}",
             fix="use a larger batch (drop_last=True in the DataLoader), or eval()")
    if eps < 0 or (training and eps == 0):
        fail(ValueError, "P28D", f"batch_norm eps must be {'positive during training' if training else 'non-negative'}, but got {eps}")
    return _normalise(input, weight, bias, running_mean, running_var, training, momentum, eps)[0]


@composite(name="batch_norm_positional", public="batch_norm",
           samples=lambda m: [((m.t(4, 3, 2), m.t(3), m.t(3), None, None, True, 0.1, 1e-5, False), {}),
                              ((m.t(4, 3), None, None, None, None, True, 0.1, 1e-3, False), {}),
                              ((m.t(2, 2, 2), m.t(2), None, None, None, True, 0.1, 1e-3, False), {})])
def batch_norm_positional(input, weight, bias, running_mean, running_var, training, momentum, eps, cudnn_enabled=True):
    """`nn.functional.batch_norm` with its arguments in another order."""
    return _normalise(input, weight, bias, running_mean, running_var, training, momentum, eps)[0]


@composite(aliases="_native_batch_norm_legit", samples=lambda m: [((m.t(4, 3, 2), m.t(3), m.t(3), None, None, True, 0.1, 1e-5), {}),
                              ((m.t(4, 3), None, None, None, None, True, 0.1, 1e-3), {}),
                              ((m.t(2, 2, 2), m.t(2), None, None, None, True, 0.1, 1e-3), {})])
def native_batch_norm(input, weight, bias, running_mean, running_var, training, momentum, eps):
    """Batch norm with the statistics used: (output, mean, 1 / sqrt(variance + eps)); empty ones in evaluation."""
    y, mean, var = _normalise(input, weight, bias, running_mean, running_var, training, momentum, eps)
    if mean is None:
        return y, input.new_empty(0), input.new_empty(0)
    return y, F.detach(mean), F.rsqrt(F.add(F.detach(var), eps))


# ---------------------------------------------------------------------------------------------------- instance norm
def _instance_norm(input, running_mean, running_var, weight, bias, use_input_stats, momentum, eps):
    _check_channels("instance_norm", input, running_mean=running_mean, running_var=running_var, weight=weight, bias=bias)
    if not use_input_stats:
        if running_mean is None or running_var is None:
            fail(RuntimeError, "P28A", "Expected running_mean and running_var to be defined when use_input_stats is false",
                 fix="pass running_mean and running_var, or use training=True")
        return F.batch_norm_eval(input, weight, bias, running_mean, running_var, eps)
    n, c = input.shape[:2]
    s = prod(input.shape[2:])
    y, mean, rstd = F.native_group_norm(input, weight, bias, n, c, s, c, eps)
    if running_mean is not None:
        rows = F.sub(F.reshape(F.detach(input), (n, c, s)), F.unsqueeze(F.detach(mean), 2))
        var = F.mul(F.mean(F.mul(rows, rows), 2), s / (s - 1) if s > 1 else float("nan"))
        _move(running_mean, F.mean(F.detach(mean), 0), momentum)
        _move(running_var, F.mean(var, 0), momentum)
    return y


@composite(ns="nn.functional", cast="gpu-high", onnx="InstanceNormalization",
           samples=lambda m: [((m.t(2, 3, 4),), {"weight": m.t(3), "bias": m.t(3)}), ((m.t(2, 3, 2, 2),), {"eps": 1e-3}), ((m.t(0, 2, 3),), {})])
def instance_norm(input, running_mean=None, running_var=None, weight=None, bias=None, use_input_stats=True, momentum=0.1, eps=1e-05):
    """Normalise each channel of each sample of (N, C, *) by itself, then scale and shift per channel. Ulyanov et al., 2017.

    Raises ValueError when there is one value per channel and sample."""
    need_tensor(input, "instance_norm")
    if use_input_stats and prod(input.shape[2:]) == 1:
        fail(ValueError, "P28B", f"Expected more than 1 spatial element when training, got input size {input.shape}")
    return _instance_norm(input, running_mean, running_var, weight, bias, use_input_stats, momentum, eps)


@composite(name="instance_norm_positional", public="instance_norm",
           samples=lambda m: [((m.t(2, 3, 4), m.t(3), m.t(3), None, None, True, 0.1, 1e-5, False), {}),
                              ((m.t(2, 3, 2, 2), None, None, None, None, True, 0.1, 1e-3, False), {}),
                              ((m.t(0, 2, 3), None, None, None, None, True, 0.1, 1e-3, False), {})])
def instance_norm_positional(input, weight, bias, running_mean, running_var, use_input_stats, momentum, eps, cudnn_enabled=True):
    """`nn.functional.instance_norm` with its arguments in another order."""
    return _instance_norm(input, running_mean, running_var, weight, bias, use_input_stats, momentum, eps)


# ---------------------------------------------------------------------------------------------------- other
@composite(ns="nn.functional", onnx="LRN",
           samples=lambda m: [((m.t(2, 4, 3), 3), {}), ((m.t(2, 3, 2, 2), 2), {"alpha": 0.5, "beta": 0.6, "k": 2.0}), ((m.t(0, 3, 2), 2), {})])
def local_response_norm(input, size, alpha=0.0001, beta=0.75, k=1.0):
    """Divide each element of (N, C, *) by (k + alpha * the mean square of `size` neighbouring channels) ** beta.
    Krizhevsky et al., 2012."""
    need_tensor(input, "local_response_norm")
    if input.ndim < 3:
        fail(ValueError, "P28C", f"Expected 3D or higher dimensionality                          input (got {input.ndim} dimensions)")
    if input.numel() == 0:
        return input
    c = input.shape[1]
    square = F.mul(input, input)
    shape = tuple(input.shape)
    before = F.zeros((shape[0], size // 2, *shape[2:]), dtype=input.dtype)
    after = F.zeros((shape[0], (size - 1) // 2, *shape[2:]), dtype=input.dtype)
    padded = F.cat([before, square, after], 1)
    total = F.narrow(padded, 1, 0, c)
    for i in range(1, size):
        total = F.add(total, F.narrow(padded, 1, i, c))
    return F.div(input, F.pow(F.add(F.mul(total, alpha / size), k), beta))


@composite(ns="nn.functional", forms="function out",
           samples=lambda m: [((m.t(2, 3, 2),), {}), ((m.t(4, 3),), {"p": 1.0, "dim": 0}), ((m.t(0, 3),), {"eps": 1e-3})])
def normalize(input, p=2.0, dim=1, eps=1e-12):
    """Divide by the p-norm over `dim`, or by `eps` where that is smaller."""
    return F.div(input, F.clamp_min(F.norm(need_tensor(input, "normalize"), p, dim, True), eps))
