"""Operators that move blocks of elements: unfold (im2col), fold (col2im), pixel and channel shuffles."""
from __future__ import annotations

from ._common import describe, dt, fail, need_tensor, np
from ._windows import at_offset, inner, offsets, pad_spatial, per_dim, window_count, windows
from .op import GATHER, SCATTER, F, composite, primitive


def im2col_ref(a, *, kernel, stride, padding, dilation):
    out = tuple(map(window_count, a.shape[2:], kernel, stride, padding, dilation))
    w = windows(pad_spatial(a, padding), kernel, stride, dilation, out)
    return np.ascontiguousarray(w).reshape(a.shape[0], a.shape[1] * int(np.prod(kernel)), int(np.prod(out)))


def col2im_ref(cols, *, sizes, kernel, stride, padding, dilation):
    out = tuple(map(window_count, sizes, kernel, stride, padding, dilation))
    c = cols.shape[1] // int(np.prod(kernel))
    cols = cols.reshape(cols.shape[0], c, *kernel, *out)
    z = np.zeros((cols.shape[0], c, *(n + 2 * p for n, p in zip(sizes, padding))), cols.dtype)
    for k in offsets(kernel):
        at_offset(z, k, stride, dilation, out)[...] += cols[(slice(None), slice(None), *k)]
    return np.ascontiguousarray(inner(z, padding, sizes))


def im2col_infer(x, *, kernel, stride, padding, dilation):
    out = tuple(map(window_count, x.shape[2:], kernel, stride, padding, dilation))
    return x.like((x.shape[0], x.shape[1] * int(np.prod(kernel)), int(np.prod(out))))


def column_place(b, sizes, i, kernel, stride, padding, dilation):
    """(whether it lies inside, where in the image, kept inside) for the element `i` of the columns of an image of `sizes`."""
    out = tuple(map(window_count, sizes, kernel, stride, padding, dilation))
    c, ky, kx = b.unflatten(i[1], (1 << 62, *kernel))
    o = b.unflatten(i[2], out)
    hit, at = b.const(True, dt.bool_), []
    for k, w, n, s, p, d in zip((ky, kx), o, sizes, stride, padding, dilation):
        x = b.isub(b.iadd(b.imul(w, s), b.imul(k, d)), p)
        hit = b.and_(hit, b.iwithin(x, 0, n))
        at.append(b.clamp(x, 0, n - 1))
    return hit, (i[0], c, *at)


def im2col_lower(b, i, load, s, **geometry):
    hit, at = column_place(b, s.shape[2:], i, **geometry)
    return b.select(hit, load(0, at), b.zero(s.dtype))


def col2im_lower(b, s, *, sizes, **geometry):
    def at(i, load):
        hit, where = column_place(b, sizes, i, **geometry)
        return where, b.select(hit, load(0, i), b.zero(s.dtype))
    return b.scatter(s.shape, b.zero(s.dtype), "add", at)


@primitive(GATHER, jvp="input", batch="rows", args="input", forms="", ns=(), ref=im2col_ref, lower=im2col_lower, infer=im2col_infer, low=False,
           vjp={"input": lambda g, input_shape, attrs_: F.col2im(g, input_shape[2:], **attrs_)},
           samples=lambda m: [((m.t(2, 3, 4, 5), (2, 2), (1, 2), (0, 1), (1, 1)), {}), ((m.t(1, 2, 5, 5), (3, 2), (1, 1), (1, 1), (2, 1)), {}),
                              ((m.t(0, 2, 3, 3), (2, 2), (1, 1), (0, 0), (1, 1)), {})])
def im2col(input, kernel, stride, padding, dilation):
    """Sliding windows of (N, C, H, W) as columns (N, C * prod(kernel), number of windows)."""
    return (input,), {"kernel": kernel, "stride": stride, "padding": padding, "dilation": dilation}


@primitive(SCATTER, jvp="columns", batch="rows", args="columns", forms="", ns=(), ref=col2im_ref, lower=col2im_lower,
           infer=lambda x, *, sizes, kernel, **kw: x.like((x.shape[0], x.shape[1] // int(np.prod(kernel)), *sizes)),
           vjp={"columns": lambda g, attrs_: F.im2col(g, **{k: v for k, v in attrs_.items() if k != "sizes"})},
           samples=lambda m: [((m.t(2, 8, 12), (4, 5), (2, 2), (1, 1), (0, 0), (1, 1)), {}), ((m.t(1, 8, 6), (3, 4), (2, 2), (2, 2), (1, 1), (1, 1)), {}),
                              ((m.t(0, 4, 4), (3, 3), (2, 2), (1, 1), (0, 0), (1, 1)), {})])
def col2im(columns, sizes, kernel, stride, padding, dilation):
    """The transpose of `im2col`: overlapping windows summed into (N, C, *sizes)."""
    return (columns,), {"sizes": tuple(sizes), "kernel": kernel, "stride": stride, "padding": padding, "dilation": dilation}


def block_options(fn, kernel_size, dilation, padding, stride):
    kernel, dilation, padding, stride = (per_dim(v, 2, fn, name) for v, name in (
        (kernel_size, "kernel_size"), (dilation, "dilation"), (padding, "padding"), (stride, "stride")))
    for name, values in (("kernel size", kernel), ("stride", stride), ("dilation", dilation)):
        if min(values) <= 0:
            short = name.split()[0]
            fail(RuntimeError, "P2770", f"{name} should be greater than zero, but got {short}_height: {values[0]} {short}_width: {values[1]}")
    if min(padding) < 0:
        fail(RuntimeError, "P2771", f"padding should be non-negative, but got pad_height: {padding[0]} pad_width: {padding[1]}")
    return {"kernel": kernel, "stride": stride, "padding": padding, "dilation": dilation}


@composite(ns="nn.functional", public="unfold",
           samples=lambda m: [((m.t(2, 3, 4, 5), 2), {"padding": 1, "stride": 2}), ((m.t(2, 5, 5), (3, 2)), {}), ((m.t(0, 2, 3, 3), 2), {})])
def unfold_blocks(input, kernel_size, dilation=1, padding=0, stride=1):
    """Sliding blocks of (N, C, H, W) or (C, H, W) as columns: (N, C * prod(kernel_size), number of blocks)."""
    need_tensor(input, "unfold")
    o = block_options("unfold", kernel_size, dilation, padding, stride)
    if input.ndim not in (3, 4) or 0 in tuple(input.shape)[input.ndim - 3:]:
        fail(RuntimeError, "P2772", "Expected 3D or 4D (batch mode) tensor with possibly 0 batch size and other non-zero dimensions for "
             f"input, but got: {list(input.shape)}")
    if input.dtype.category <= dt.INT and input.dtype is not dt.bool_:
        fail(NotImplementedError, "P2773", f'"im2col_out_cpu" not implemented for \'{input.dtype.type_name}\'')
    out = tuple(map(window_count, input.shape[-2:], o["kernel"], o["stride"], o["padding"], o["dilation"]))
    if min(out) < 1:
        fail(RuntimeError, "P2774", f"Given input with spatial size {tuple(input.shape[-2:])}, kernel_size={o['kernel']}, dilation={o['dilation']}, "
             f"padding={o['padding']}, calculated shape of the array of sliding blocks as {out}, but its components must be at least one.")
    if input.ndim == 4:
        return F.im2col(input, **o)
    return F.squeeze(F.im2col(F.unsqueeze(input, 0), **o), 0)


@composite(ns="nn.functional",
           samples=lambda m: [((m.t(2, 8, 12), (4, 5), 2), {}), ((m.t(8, 6), (3, 4), 2), {"stride": 2, "padding": 1}), ((m.t(0, 4, 4), 3, 2), {})])
def fold(input, output_size, kernel_size, dilation=1, padding=0, stride=1):
    """Sliding blocks summed into an image: (N, C * prod(kernel_size), L) or without N -> (N, C, *output_size)."""
    need_tensor(input, "fold")
    sizes = per_dim(output_size, 2, "fold", "output_size")
    o = block_options("fold", kernel_size, dilation, padding, stride)
    if input.ndim not in (2, 3) or 0 in tuple(input.shape)[input.ndim - 2:]:
        fail(RuntimeError, "P2775", "Expected 2D or 3D (batch mode) tensor for input with possibly 0 batch size and non-zero dimensions "
             f"for input, but got: {list(input.shape)}")
    rows, length = input.shape[-2:]
    if rows % (o["kernel"][0] * o["kernel"][1]):
        fail(RuntimeError, "P2776", "Expected size of input's dimension 1 to be divisible by the product of kernel_size, but got "
             f"input.size(1)={rows} and kernel_size={o['kernel']}.")
    out = tuple(map(window_count, sizes, o["kernel"], o["stride"], o["padding"], o["dilation"]))
    if min(out) < 1 or out[0] * out[1] != length:
        fail(RuntimeError, "P2777", f"Given output_size={sizes}, kernel_size={o['kernel']}, dilation={o['dilation']}, padding={o['padding']}, "
             f"stride={o['stride']}, expected size of input's dimension 2 to match the calculated number of sliding blocks "
             f"{out[0]} * {out[1]} = {out[0] * out[1]}, but got input.size(2)={length}.")
    if input.ndim == 3:
        return F.col2im(input, sizes, **o)
    return F.squeeze(F.col2im(F.unsqueeze(input, 0), sizes, **o), 0)


_BOTH = ("", "nn.functional")


@composite(ns=_BOTH, samples=lambda m: [((m.t(2, 4, 2, 3), 2), {}), ((m.t(9, 1, 2), 3), {}), ((m.t(0, 4, 2, 2), 2), {})])
def pixel_shuffle(input, upscale_factor):
    """(*, C * r**2, H, W) -> (*, C, H * r, W * r) with r = `upscale_factor`."""
    need_tensor(input, "pixel_shuffle")
    r = upscale_factor
    if input.ndim < 3:
        fail(RuntimeError, "P2780", "pixel_shuffle expects input to have at least 3 dimensions, but got input with "
             f"{input.ndim} dimension(s)", fix="the dimensions are (..., channels, height, width)")
    if r <= 0:
        fail(RuntimeError, "P2781", f"pixel_shuffle expects a positive upscale_factor, but got {r}")
    *lead, c, h, w = input.shape
    if c % (r * r):
        fail(RuntimeError, "P2782", "pixel_shuffle expects its input's 'channel' dimension to be divisible by the square of upscale_factor, "
             f"but input.size(-3)={c} is not divisible by {r * r}", fix="channels must be a multiple of upscale_factor ** 2")
    n = len(lead)
    x = F.reshape(input, (*lead, c // (r * r), r, r, h, w))
    x = F.permute(x, (*range(n), n, n + 3, n + 1, n + 4, n + 2))
    return F.reshape(x, (*lead, c // (r * r), h * r, w * r))


@composite(ns=_BOTH, samples=lambda m: [((m.t(2, 1, 4, 6), 2), {}), ((m.t(2, 3, 6), 3), {}), ((m.t(0, 1, 2, 2), 2), {})])
def pixel_unshuffle(input, downscale_factor):
    """(*, C, H * r, W * r) -> (*, C * r**2, H, W) with r = `downscale_factor`."""
    need_tensor(input, "pixel_unshuffle")
    r = downscale_factor
    if input.ndim < 3:
        fail(RuntimeError, "P2783", "pixel_unshuffle expects input to have at least 3 dimensions, but got input with "
             f"{input.ndim} dimension(s)")
    if r <= 0:
        fail(RuntimeError, "P2784", f"pixel_unshuffle expects a positive downscale_factor, but got {r}")
    *lead, c, h, w = input.shape
    if input.numel() == 0:
        return F.clone(input)               # as PyTorch: an empty tensor keeps its shape
    for name, size, at in (("height", h, -2), ("width", w, -1)):
        if size % r:
            fail(RuntimeError, "P2785", f"pixel_unshuffle expects {name} to be divisible by downscale_factor, but input.size({at})={size} "
                 f"is not divisible by {r}", fix="crop or pad to a multiple of downscale_factor")
    n = len(lead)
    x = F.reshape(input, (*lead, c, h // r, r, w // r, r))
    x = F.permute(x, (*range(n), n, n + 2, n + 4, n + 1, n + 3))
    return F.reshape(x, (*lead, c * r * r, h // r, w // r))


@composite(ns=_BOTH, aliases="native_channel_shuffle",
           samples=lambda m: [((m.t(2, 4, 3), 2), {}), ((m.t(1, 6, 2, 2), 3), {}), ((m.t(0, 4, 2), 2), {})])
def channel_shuffle(input, groups):
    """The channels of (N, C, *) seen as (groups, C / groups), transposed."""
    need_tensor(input, "channel_shuffle")
    if input.ndim <= 2:
        fail(RuntimeError, "P2786", f"channel_shuffle expects input with > 2 dims, but got input with sizes {list(input.shape)}")
    if groups <= 0:
        fail(RuntimeError, "P2787", f"Number of groups to divide channels in must be positive. Value of groups:{groups}")
    n, c, *rest = input.shape
    if c % groups:
        fail(RuntimeError, "P2788", f"Number of channels must be divisible by groups. Got {c} channels and {groups} groups.",
             got=describe(input), fix="choose a number of groups that divides the channels")
    x = F.transpose(F.reshape(input, (n, groups, c // groups, *rest)), 1, 2)
    return F.reshape(x, (n, c, *rest))
