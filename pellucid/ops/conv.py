"""Convolution: 1 to 3 spatial dimensions, grouped, dilated, transposed.

The one primitive users see is `convolution` (input, weight, bias). Beside it stand the two other sides of the same
trilinear form: `convolution_input` (what a result's gradient is to the input; also the transposed convolution) and
`convolution_weight` (to the weight). Each one's derivatives are the other two.

Reference: windows of a block of samples are copied into columns (im2col) that fit the cache, then multiplied.
True always: weight is (O, C / groups, *kernel) and belongs to the direct convolution C -> O; a transposed convolution
maps O -> C.
"""
from __future__ import annotations

from ._common import Spec, as_int, as_ints, describe, fail, make_room, need_tensor, np
from ._windows import at_offset, in_format_of, inner, offsets, pad_spatial, per_dim, window_count, windows
from .op import EXTERN, F, composite, primitive

CONVOLUTIONS = frozenset(("convolution", "convolution_input", "convolution_weight"))       # the primitives

_fitting: set = set()   # shapes and options that have been checked
_BLOCK = 1 << 18        # elements of the column buffer: what a core's cache holds


# ---------------------------------------------------------------------------------------------------- references
def sample_blocks(n: int, per_sample: int):
    """Slices over the samples, each worth about `_BLOCK` elements of columns."""
    step = max(1, min(n, _BLOCK // max(per_sample, 1)))
    return [slice(i, min(i + step, n)) for i in range(0, n, step)]


def weight_matrices(w, groups) -> np.ndarray:
    """(O, C / groups, *kernel) as (groups, O / groups, C / groups * kernel)."""
    return np.ascontiguousarray(w).reshape(groups, w.shape[0] // groups, int(np.prod(w.shape[1:])))


def pointwise_kernel(kernel, stride, padding) -> bool:
    return all(k == 1 for k in kernel) and all(s == 1 for s in stride) and not any(padding)


def columns_of(x, kernel, stride, padding, dilation, groups, out, buffer):
    """Windows of a block of samples as (n, groups, C / groups * kernel, out)."""
    n, c = x.shape[:2]
    k, length = c // groups * int(np.prod(kernel)), int(np.prod(out))
    if pointwise_kernel(kernel, stride, padding):
        return x.reshape(n, groups, k, length)
    buffer = buffer[:n]
    np.copyto(buffer, windows(np.ascontiguousarray(pad_spatial(x, padding)), kernel, stride, dilation, out))
    return buffer.reshape(n, groups, k, length)


def column_buffer(x, kernel, out, blocks):
    n = blocks[0].stop if blocks else 0
    return np.empty((n, x.shape[1], *kernel, *out), x.dtype)


def conv_ref(x, w, b, stride, padding, dilation, groups):
    """y[n, o, p] = sum over c, k of x[n, c, p * stride + k * dilation - padding] * w[o, c, k] + b[o]."""
    n, c = x.shape[:2]
    o, kernel = w.shape[0], w.shape[2:]
    out = tuple(map(window_count, x.shape[2:], kernel, stride, padding, dilation))
    if groups == c and groups > 1 and x.size:
        return depthwise(x, w, b, stride, padding, dilation, out)
    length = int(np.prod(out))
    y = np.empty((n, groups, o // groups, length), np.result_type(x, w))
    wm = weight_matrices(w, groups)
    blocks = sample_blocks(n, c * int(np.prod(kernel)) * length)
    buffer = None if pointwise_kernel(kernel, stride, padding) else column_buffer(x, kernel, out, blocks)
    bias = None if b is None else b.reshape(groups, o // groups, 1)
    for s in blocks:
        np.matmul(wm, columns_of(x[s], kernel, stride, padding, dilation, groups, out, buffer), out=y[s])
        if bias is not None:
            y[s] += bias
    return y.reshape(n, o, *out)


def depthwise(x, w, b, stride, padding, dilation, out):
    """One input channel per group: a weighted sum of shifted slices, without columns."""
    n, c = x.shape[:2]
    kernel, each = w.shape[2:], w.shape[0] // c
    y = np.zeros((n, c, each, *out), np.result_type(x, w))
    if b is not None:
        y += b.reshape(c, each, *(1,) * len(out))
    x = np.ascontiguousarray(pad_spatial(x, padding))
    for k in offsets(kernel):
        part = at_offset(x, k, stride, dilation, out)[:, :, None]
        y += part * w[(slice(None), 0, *k)].reshape(c, each, *(1,) * len(out))
    return y.reshape(n, c * each, *out)


def conv_input_ref(g, w, b, shape, stride, padding, dilation, groups):
    """x[n, c, p * stride + k * dilation - padding] += g[n, o, p] * w[o, c, k]; then the bias per channel c."""
    n, o = g.shape[:2]
    kernel, out, sizes, c = w.shape[2:], g.shape[2:], shape[2:], shape[1]
    wm = weight_matrices(w, groups).swapaxes(1, 2)
    dtype, length = np.result_type(g, w), int(np.prod(out))
    gm = np.ascontiguousarray(g).reshape(n, groups, o // groups, length)
    if pointwise_kernel(kernel, stride, padding):
        x = np.matmul(wm, gm).reshape(shape)
    else:
        x = np.empty(shape, dtype)
        padded = tuple(max(s + 2 * p, (m - 1) * t + (k - 1) * d + 1)
                       for s, p, m, t, k, d in zip(sizes, padding, out, stride, kernel, dilation))
        for s in sample_blocks(n, c * int(np.prod(kernel)) * length):
            cols = np.matmul(wm, gm[s]).reshape(s.stop - s.start, c, *kernel, *out)
            z = np.zeros((cols.shape[0], c, *padded), dtype)
            for k in offsets(kernel):
                at_offset(z, k, stride, dilation, out)[...] += cols[(slice(None), slice(None), *k)]
            x[s] = inner(z, padding, sizes)
    if b is not None:
        x += b.reshape(-1, *(1,) * len(sizes))
    return x


def conv_weight_ref(g, x, shape, stride, padding, dilation, groups):
    """w[o, c, k] = sum over n, p of g[n, o, p] * x[n, c, p * stride + k * dilation - padding]."""
    n, o = g.shape[:2]
    kernel, out = shape[2:], g.shape[2:]
    length = int(np.prod(out))
    gm = np.ascontiguousarray(g).reshape(n, groups, o // groups, length)
    w = np.zeros((groups, o // groups, int(np.prod(shape[1:]))), np.result_type(g, x))
    blocks = sample_blocks(n, x.shape[1] * int(np.prod(kernel)) * length)
    buffer = None if pointwise_kernel(kernel, stride, padding) else column_buffer(x, kernel, out, blocks)
    for s in blocks:
        cols = columns_of(x[s], kernel, stride, padding, dilation, groups, out, buffer)
        w += np.matmul(gm[s], cols.swapaxes(2, 3)).sum(0)
    return w.reshape(shape)


def convolution_ref(x, w, b, *, stride, padding, dilation, transposed, output_padding, groups):
    if transposed:
        shape = transposed_shape(x.shape, w.shape, stride, padding, dilation, output_padding, groups)
        y = conv_input_ref(x, w, b, shape, stride, padding, dilation, groups)
    else:
        y = conv_ref(x, w, b, stride, padding, dilation, groups)
    return in_format_of(y, x, w)


# ---------------------------------------------------------------------------------------------------- shapes, checks
def transposed_shape(x, w, stride, padding, dilation, output_padding, groups) -> tuple[int, ...]:
    """The shape of a transposed convolution's result."""
    return (x[0], w[1] * groups) + tuple(
        (n - 1) * s - 2 * p + d * (k - 1) + o + 1
        for n, k, s, p, d, o in zip(x[2:], w[2:], stride, padding, dilation, output_padding))


def _by(sizes) -> str:
    return "(" + " x ".join(map(str, sizes)) + ")"


def convolution_infer(x, w, b, *, stride, padding, dilation, transposed, output_padding, groups) -> Spec:
    """The result's Spec; raises for operands and options that do not fit."""
    for name, values, least in (("stride", stride, 1), ("padding", padding, 0), ("dilation", dilation, 1),
                                ("output_padding", output_padding, 0), ("groups", (groups,), 1)):
        if min(values, default=least) < least:
            fail(RuntimeError, "P2701", f"{'non-positive' if least else 'negative'} {name} is not supported",
                 got=f"{name}={list(values)}", fix=f"{name} must be {'at least 1' if least else '0 or more'} in every dimension")
    ws, xs = list(w.shape), list(x.shape)
    if ws[0] < groups:
        fail(RuntimeError, "P2702", f"Given groups={groups}, expected weight to be at least {groups} at dimension 0, "
             f"but got weight of size {ws} instead", fix="use at most as many groups as the weight has rows")
    if ws[0] % groups:
        fail(RuntimeError, "P2703", f"Given groups={groups}, expected weight to be divisible by {groups} at dimension 0, "
             f"but got weight of size [{ws}] instead", fix="out_channels must be a multiple of groups")
    channels = ws[0] if transposed else ws[1] * groups
    if xs[1] != channels:
        given = "transposed=1" if transposed else f"groups={groups}"
        fail(RuntimeError, "P2704", f"Given {given}, weight of size {ws}, expected input{xs} to have {channels} channels, "
             f"but got {xs[1]} channels instead",
             fix=f"the channels are dimension {1 if len(xs) == len(ws) else 0} of the input; build the layer with "
                 f"in_channels={xs[1]} or permute the input")
    made = ws[1] * groups if transposed else ws[0]
    if b is not None and tuple(b.shape) != (made,):
        fail(RuntimeError, "P2705", f"Given weight of size {ws}, expected bias to be 1-dimensional with {made} elements, "
             f"but got bias of size {list(b.shape)} instead", fix="the bias has one element per output channel")
    if x.dtype != w.dtype:
        fail(RuntimeError, "P2706", f"Input type ({x.dtype.type_name}) and weight type ({w.dtype.type_name}) should be the same",
             fix=f"convert one of them: input.to({w.dtype})")
    if b is not None and x.dtype != b.dtype:
        fail(RuntimeError, "P2707", f"Input type ({x.dtype.type_name}) and bias type ({b.dtype.type_name}) should be the same",
             fix=f"convert one of them: bias.to({x.dtype})")
    if transposed:
        if any(o >= max(s, d) for o, s, d in zip(output_padding, stride, dilation)):
            fail(RuntimeError, "P2708", "output padding must be smaller than either stride or dilation, but got "
                 f"output_padding={list(output_padding)}, stride={list(stride)}, dilation={list(dilation)}",
                 fix="output_padding only chooses among the sizes that stride (or dilation) leaves open")
        shape = transposed_shape(xs, ws, stride, padding, dilation, output_padding, groups)
        if min(shape[2:]) < 1:
            fail(RuntimeError, "P2709", f"Given input size per channel: {_by(xs[2:])}. Calculated output size per channel: "
                 f"{_by(shape[2:])}. Output size is too small", fix="use a larger input or kernel, or less padding")
    else:
        padded = [n + 2 * p for n, p in zip(xs[2:], padding)]
        reach = [d * (k - 1) + 1 for d, k in zip(dilation, ws[2:])]
        if any(n < k for n, k in zip(padded, reach)):
            fail(RuntimeError, "P2710", f"Calculated padded input size per channel: {_by(padded)}. Kernel size: {_by(reach)}. "
                 "Kernel size can't be greater than actual input size", fix="use a smaller kernel_size or dilation, or more padding")
        shape = (xs[0], ws[0], *map(window_count, xs[2:], ws[2:], stride, padding, dilation))
    return Spec(tuple(shape), x.dtype)


# ---------------------------------------------------------------------------------------------------- primitives
def _geometry(attrs):
    return {k: attrs[k] for k in ("stride", "padding", "dilation", "groups")}


def _conv_input_rule(g, weight, input_shape, attrs_):
    if attrs_["transposed"]:
        return direct(g, F.conj(weight), _geometry(attrs_), input_shape)
    return F.convolution_input(g, F.conj(weight), input_shape, **_geometry(attrs_))


def _conv_weight_rule(g, input, weight_shape, attrs_):
    x = F.conj(input)
    y, x = (x, g) if attrs_["transposed"] else (g, x)
    return F.convolution_weight(y, x, weight_shape, **_geometry(attrs_))


def direct(x, w, geometry, shape=None):
    """The plain convolution without bias, cut to `shape` (an output padding beyond the stride adds windows)."""
    y = F.convolution(x, w, None, transposed=False, output_padding=(0,) * (x.ndim - 2), **geometry)
    if shape is None or tuple(y.shape) == tuple(shape):
        return y
    return F.constant_pad_nd(y, [p for n, m in zip(reversed(shape[2:]), reversed(y.shape[2:])) for p in (0, n - m)])


def _bias_rule(g):
    return F.sum(g, [d for d in range(g.ndim) if d != 1])


def conv_samples(m):
    tail = dict(transposed=False, output_padding=[0], groups=1)
    return [((m.t(2, 3, 7), m.t(4, 3, 3), m.t(4), [2], [1], [1]), tail),
            ((m.t(1, 4, 5), m.t(4, 2, 2), None, [1], [0], [2]), {**tail, "groups": 2}),
            ((m.t(0, 3, 7), m.t(4, 3, 3), m.t(4), [1], [0], [1]), tail),
            ((m.t(2, 4, 4), m.t(4, 2, 3), m.t(4), [2], [1], [1]), dict(transposed=True, output_padding=[1], groups=2)),
            ((m.t(2, 2, 5, 4), m.t(3, 2, 2, 3), m.t(3), [1, 2], [1, 0], [1, 1]), {**tail, "output_padding": [0, 0]}),
            ((m.t(2, 3, 5), m.t(6, 1, 3), None, [2], [2], [1]), {**tail, "groups": 3})]


# Batches of examples. Where only the images have a batch, its examples are more images; where the weights have one, its examples
# are more groups of channels.
def into_images(b, x):
    return F.flatten(b.full(x), 0, 1)


def from_images(b, y):
    return F.unflatten(y, 0, (b.size, y.shape[0] // b.size))


def into_channels(b, x):
    """(B, N, C, ...) as (N, B * C, ...)."""
    return F.flatten(F.transpose(b.full(x), 0, 1), 1, 2)


def from_channels(b, y):
    return F.transpose(F.unflatten(y, 1, (b.size, y.shape[1] // b.size)), 0, 1)


def convolution_batch(b, x, w, bias, **attrs):
    own = bias.batched
    if w.batched:
        groups = {**attrs, "groups": attrs["groups"] * b.size}
        y = from_channels(b, F.convolution(into_channels(b, x), F.flatten(w.x, 0, 1), None, **groups))
    elif x.batched:
        y = from_images(b, F.convolution(into_images(b, x), w.x, None if own else bias.x, **attrs))
    else:
        y = F.convolution(x.x, w.x, None, **attrs)
    if bias.x is None or not w.batched and x.batched and not own:
        return y
    return F.add(y, F.reshape(b.full(bias), (b.size, 1, -1, *[1] * (x.ndim - 2))))


def convolution_input_batch(b, y, w, *, shape, groups, **geometry):
    if not w.batched:
        return from_images(b, F.convolution_input(into_images(b, y), w.x, (b.size * shape[0], *shape[1:]), groups=groups, **geometry))
    return from_channels(b, F.convolution_input(into_channels(b, y), F.flatten(w.x, 0, 1), (shape[0], b.size * shape[1], *shape[2:]),
                                                groups=b.size * groups, **geometry))


def convolution_weight_batch(b, y, x, *, shape, groups, **geometry):
    return from_images(b, F.convolution_weight(into_channels(b, y), into_channels(b, x), (b.size * shape[0], *shape[1:]),
                                               groups=b.size * groups, **geometry))


def affine_jvp(product):
    """The tangent of `product(x, w, bias)`, which is linear in `x` and in `w` without `bias`, and adds that."""
    def jvp(primals, tangents, **attrs):
        (x, w, bias), (tx, tw, tb) = primals, tangents
        total = None if tx is None else product(tx, w, None if tw is not None or tb is None else tb, **attrs)
        if tw is not None:
            part = product(x, tw, tb, **attrs)
            total = part if total is None else F.add(total, part)
        elif total is None:
            total = product(F.zeros_like(x), w, tb, **attrs)
        return total
    return jvp


@primitive(EXTERN, args="input weight bias", ref=convolution_ref, batch=convolution_batch, jvp=affine_jvp(lambda *a, **kw: F.convolution(*a, **kw)), infer=convolution_infer, cast="low", onnx="Conv",
           samples=conv_samples, vjp={"input": _conv_input_rule, "weight": _conv_weight_rule, "bias": _bias_rule})
def convolution(input, weight, bias, stride, padding, dilation, transposed, output_padding, groups):
    """Convolution (cross-correlation) of (N, C, *spatial) with (O, C / groups, *kernel), or its transpose."""
    n = input.ndim - 2
    attrs = {"stride": per_dim(stride, n, "convolution", "stride"), "padding": per_dim(padding, n, "convolution", "padding"),
             "dilation": per_dim(dilation, n, "convolution", "dilation"), "transposed": bool(transposed),
             "output_padding": per_dim(output_padding, n, "convolution", "output_padding"), "groups": groups}
    key = (tuple(input.shape), tuple(weight.shape), None if bias is None else tuple(bias.shape), input.dtype, weight.dtype,
           None if bias is None else bias.dtype, *attrs.values())
    if key not in _fitting:
        convolution_infer(input, weight, bias, **attrs)
        make_room(_fitting)
        _fitting.add(key)
    return (input, weight, bias), attrs


def linear_samples(m):
    geometry = dict(stride=(2,), padding=(1,), dilation=(1,), groups=1)
    return [((m.t(2, 4, 4), m.t(4, 3, 3), (2, 3, 7)), geometry),
            ((m.t(1, 4, 3), m.t(4, 2, 2), (1, 4, 7)), {**geometry, "groups": 2}),
            ((m.t(0, 4, 4), m.t(4, 3, 3), (0, 3, 7)), geometry)]


@primitive(EXTERN, args="y weight", forms="", ns=(), cast="low", jvp="y weight", batch=convolution_input_batch, infer=lambda y, w, *, shape, **kw: y.like(shape), samples=linear_samples,
           ref=lambda y, w, *, shape, **geometry: in_format_of(conv_input_ref(y, w, None, shape, **geometry), y, w),
           vjp={"y": lambda g, weight, y_shape, attrs_: direct(g, F.conj(weight), _geometry(attrs_), y_shape),
                "weight": lambda g, y, weight_shape, attrs_: F.convolution_weight(F.conj(y), g, weight_shape, **_geometry(attrs_))})
def convolution_input(y, weight, shape, stride, padding, dilation, groups):
    """The gradient of a convolution's input, of `shape`, given the gradient `y` of its result."""
    return (y, weight), {"shape": tuple(shape), "stride": stride, "padding": padding, "dilation": dilation, "groups": groups}


def weight_samples(m):
    geometry = dict(stride=(2,), padding=(1,), dilation=(1,), groups=1)
    return [((m.t(2, 4, 4), m.t(2, 3, 7), (4, 3, 3)), geometry),
            ((m.t(1, 4, 3), m.t(1, 4, 7), (4, 2, 2)), {**geometry, "groups": 2}),
            ((m.t(0, 4, 4), m.t(0, 3, 7), (4, 3, 3)), geometry)]


@primitive(EXTERN, args="y input", forms="", ns=(), cast="low", jvp="y input", batch=convolution_weight_batch, infer=lambda y, x, *, shape, **kw: y.like(shape), samples=weight_samples,
           ref=lambda y, x, *, shape, **geometry: in_format_of(conv_weight_ref(y, x, shape, **geometry), y, x),
           vjp={"y": lambda g, input, y_shape, attrs_: direct(F.conj(input), g, _geometry(attrs_), y_shape),
                "input": lambda g, y, input_shape, attrs_: F.convolution_input(F.conj(y), g, input_shape, **_geometry(attrs_))})
def convolution_weight(y, input, shape, stride, padding, dilation, groups):
    """The gradient of a convolution's weight, of `shape`, given the gradient `y` of its result."""
    return (y, input), {"shape": tuple(shape), "stride": stride, "padding": padding, "dilation": dilation, "groups": groups}


# ---------------------------------------------------------------------------------------------------- public forms
def checked_batch(fn: str, input, weight, n: int):
    """(input with a batch dimension, whether it had one). RuntimeError for another rank."""
    need_tensor(input, fn)
    need_tensor(weight, fn, "weight", 2)
    if input.ndim not in (n + 1, n + 2):
        fail(RuntimeError, "P2711", f"Expected {n + 1}D (unbatched) or {n + 2}D (batched) input to {fn}, "
             f"but got input of size: {list(input.shape)}",
             fix="the dimensions are (batch, channels, *spatial); add a missing one with unsqueeze")
    if weight.ndim != n + 2:
        fail(RuntimeError, "P2712", f"Expected {n + 2}-dimensional weight for {n + 2}-dimensional input {list(input.shape)}, "
             f"but got {weight.ndim}-dimensional weight of size {list(weight.shape)} instead",
             fix="the weight is (out_channels, in_channels / groups, *kernel)")
    return (input, True) if input.ndim == n + 2 else (F.unsqueeze(input, 0), False)


def conv_dims(x, n: int, arg: str) -> tuple[int, ...]:
    """An option of a convolution per dimension."""
    if type(x) is int:
        return (x,) * n
    v = as_ints(x, f"conv{n}d", arg)
    if len(v) == 1:
        return v * n
    if len(v) != n:
        fail(RuntimeError, "P2713", f"expected {arg} to be a single integer value or a list of {n} values to match the "
             f"convolution dimensions, but got {arg}={list(v)}", fix="give one number for all dimensions, or one for each")
    return v


def same_padding(kernel, stride, dilation) -> tuple[tuple, tuple]:
    """The symmetric part of `padding='same'`, and what is left to pad on the right."""
    if any(s != 1 for s in stride):
        fail(RuntimeError, "P2714", "padding='same' is not supported for strided convolutions", got=f"stride={list(stride)}",
             fix="use stride=1, or give the padding as numbers")
    total = [d * (k - 1) for d, k in zip(dilation, kernel)]
    return tuple(t // 2 for t in total), tuple(t % 2 for t in total)


def convolve(n, input, weight, bias, stride, padding, dilation, groups):
    """conv1d, conv2d and conv3d."""
    input, batched = checked_batch(f"conv{n}d", input, weight, n)
    stride, dilation = conv_dims(stride, n, "stride"), conv_dims(dilation, n, "dilation")
    if isinstance(padding, str):
        if padding not in ("same", "valid"):
            fail(RuntimeError, "P2715", f"Invalid padding string: '{padding}'", fix="use 'same', 'valid' or ints")
        padding, rest = same_padding(weight.shape[2:], stride, dilation) if padding == "same" else ((0,) * n, ())
        if any(rest):
            input = F.constant_pad_nd(input, [p for r in reversed(rest) for p in (0, r)])
    else:
        padding = conv_dims(padding, n, "padding")
    y = F.convolution(input, weight, bias, stride, padding, dilation, False, (0,) * n, as_int(groups, f"conv{n}d", "groups"))
    return y if batched else F.squeeze(y, 0)


def convolve_transpose(n, input, weight, bias, stride, padding, output_padding, groups, dilation):
    """conv_transpose1d, conv_transpose2d and conv_transpose3d."""
    input, batched = checked_batch(f"conv_transpose{n}d", input, weight, n)
    y = F.convolution(input, weight, bias, conv_dims(stride, n, "stride"), conv_dims(padding, n, "padding"),
                      conv_dims(dilation, n, "dilation"), True, conv_dims(output_padding, n, "output_padding"),
                      as_int(groups, f"conv_transpose{n}d", "groups"))
    return y if batched else F.squeeze(y, 0)


_BOTH = ("", "nn.functional")


def samples_of(n):
    def samples(m):
        s = (5, 4, 3)[:n]
        return [((m.t(2, 3, *s), m.t(4, 3, *(2,) * n), m.t(4)), {"padding": 1, "stride": 2}),
                ((m.t(2, *s), m.t(4, 1, *(2,) * n)), {"groups": 2, "padding": "same"}),
                ((m.t(0, 3, *s), m.t(4, 3, *(1,) * n), m.t(4)), {})]
    return samples


def transpose_samples_of(n):
    def samples(m):
        s = (3, 2, 2)[:n]
        return [((m.t(2, 3, *s), m.t(3, 4, *(2,) * n), m.t(4)), {"stride": 2, "output_padding": 1}),
                ((m.t(4, *s), m.t(4, 1, *(2,) * n)), {"groups": 2, "dilation": 2}),
                ((m.t(0, 3, *s), m.t(3, 4, *(1,) * n), m.t(4)), {})]
    return samples


@composite(ns=_BOTH, samples=samples_of(1), cast="low")
def conv1d(input, weight, bias=None, stride=1, padding=0, dilation=1, groups=1):
    """Cross-correlation of (N, C, L) or (C, L) with (O, C / groups, K). `padding` may be 'same' or 'valid'."""
    return convolve(1, input, weight, bias, stride, padding, dilation, groups)


@composite(ns=_BOTH, samples=samples_of(2), cast="low")
def conv2d(input, weight, bias=None, stride=1, padding=0, dilation=1, groups=1):
    """Cross-correlation of (N, C, H, W) or (C, H, W) with (O, C / groups, KH, KW). `padding` may be 'same' or 'valid'."""
    return convolve(2, input, weight, bias, stride, padding, dilation, groups)


@composite(ns=_BOTH, samples=samples_of(3), cast="low")
def conv3d(input, weight, bias=None, stride=1, padding=0, dilation=1, groups=1):
    """Cross-correlation of (N, C, D, H, W) or (C, D, H, W) with (O, C / groups, KD, KH, KW)."""
    return convolve(3, input, weight, bias, stride, padding, dilation, groups)


@composite(ns=_BOTH, samples=transpose_samples_of(1), cast="low")
def conv_transpose1d(input, weight, bias=None, stride=1, padding=0, output_padding=0, groups=1, dilation=1):
    """Transposed convolution of (N, C, L) or (C, L) with (C, O / groups, K)."""
    return convolve_transpose(1, input, weight, bias, stride, padding, output_padding, groups, dilation)


@composite(ns=_BOTH, samples=transpose_samples_of(2), cast="low")
def conv_transpose2d(input, weight, bias=None, stride=1, padding=0, output_padding=0, groups=1, dilation=1):
    """Transposed convolution of (N, C, H, W) or (C, H, W) with (C, O / groups, KH, KW)."""
    return convolve_transpose(2, input, weight, bias, stride, padding, output_padding, groups, dilation)


@composite(ns=_BOTH, samples=transpose_samples_of(3), cast="low")
def conv_transpose3d(input, weight, bias=None, stride=1, padding=0, output_padding=0, groups=1, dilation=1):
    """Transposed convolution of (N, C, D, H, W) or (C, D, H, W) with (C, O / groups, KD, KH, KW)."""
    return convolve_transpose(3, input, weight, bias, stride, padding, output_padding, groups, dilation)


@composite(ns=_BOTH, samples=lambda m: [((m.t(5, 2, 3), m.t(2, 3, 4), m.t(4), 1), {}), ((m.t(4, 1, 2), m.t(3, 2, 2), m.t(2)), {}),
                                        ((m.t(3, 0, 2), m.t(1, 2, 2), m.t(2)), {})])
def conv_tbc(input, weight, bias, pad=0):
    """1-d convolution in (time, batch, channel) order: input (T, N, C), weight (K, C, O), bias (O,)."""
    if input.ndim != 3 or weight.ndim != 3 or bias.ndim != 1:
        fail(RuntimeError, "P2716", "conv_tbc: input and weight must have 3 dimensions, bias 1", got=describe(input, weight, bias))
    y = F.conv1d(F.permute(input, (1, 2, 0)), F.permute(weight, (2, 1, 0)), bias, padding=pad)
    return F.permute(y, (2, 0, 1))
