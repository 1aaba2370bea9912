"""Convolutions and pooling as oneDNN primitives.

In: a `Call`. Out: its `Primitive`; raises Unavailable where there is none. Activations are read and written in the layout their
strides say (channels last is the fast one); where the fast code wants another one, a reorder goes before or after it. Weights
are reordered to the layout the primitive prefers: each time, or once if they are constant.
"""
from __future__ import annotations

import ctypes
from collections.abc import Callable
from math import prod

from ..core.spec import contiguous_strides
from ..graph.layout import FEW
from .onednn import (BIAS, BINARY_ADD, BINARY_MUL, CONV_DIRECT, DECONV_DIRECT, DIFF_DST, DIFF_SRC, DIFF_WEIGHTS, DST, FORWARD, INFERENCE,
                     POOL_AVG_ALL, POOL_AVG_INSIDE, POOL_MAX, POST, RELU, SRC, SRC_1, WEIGHTS, Primitive, Unavailable, attributes,
                     implementation, primitive_description, wanted)
from .onednn_views import Call, Operand, Written, dense, fast, read

SHORT = 64                  # numbers in a window of few channels: laying windows out as columns costs little


# ---------------------------------------------------------------------------------------------------- layouts
def channels_first(x: Operand) -> Operand:
    """(N, *spatial, C) read as (N, C, *spatial)."""
    order = (0, len(x.shape) - 1, *range(1, len(x.shape) - 1))
    return x.like([x.shape[d] for d in order], [x.strides[d] for d in order])


def last_to_first(c: Call) -> Call:
    """A call on channels-last operands as the usual one."""
    rank = len(c.operands[0].shape)
    weights = {"conv_nhwc": ("operand", 1), "conv_nhwc_input": ("operand", 1), "conv_nhwc_weight": ("out", 0)}[c.name]
    c.operands = [channels_first(x) if isinstance(x, Operand) and len(x.shape) == rank and ("operand", k) != weights else x
                  for k, x in enumerate(c.operands)]
    c.outs = [x if ("out", k) == weights else channels_first(x) for k, x in enumerate(c.outs)]
    c.post = [(kind, x if x is None or kind in ("bias", "scale") else channels_first(x)) for kind, x in c.post]
    c.attrs = {"transposed": False, "output_padding": (0,) * (rank - 2), **c.attrs}
    return c


def last_in_memory(x: Operand) -> Operand:
    """The same shape with the channels last in memory."""
    strides, step = [0] * len(x.shape), 1
    for d in (1, *range(len(x.shape) - 1, 1, -1), 0):
        strides[d] = step
        step *= x.shape[d]
    return x.like(x.shape, strides)


def laid_out(x: Operand, y: Operand, w: Operand, attrs, make: Callable) -> object:
    """`make(x's description, y's)` for the best layouts: those the operands have, or the ones the library likes and reorders to
    and from. Row-major images stay so where a convolution is a plain matrix product of them (`is_product`); elsewhere the library's
    code for that order copies windows into columns, which is slower than reordering, and comes last."""
    x_last, y_last = last_in_memory(x), last_in_memory(y)
    if not row_major(x) or not row_major(y):
        order = ((x, y), (x_last, y), (x, y_last), (x_last, y_last), (None, None))
    elif is_product(w, attrs):
        order = ((x, y), (None, None))
    else:
        order = ((None, None), (x_last, y_last), (x, y))
    reason, columns = None, None
    for a, b in dict.fromkeys(order):
        try:
            pd = fast(make(x.any if a is None else a.md, y.any if b is None else b.md))
        except Unavailable as error:
            reason = error
            continue
        if a is x and b is y or "gemm" not in implementation(pd):
            return pd
        columns = columns or pd
    if columns is not None:
        return columns
    raise reason or Unavailable("")


def row_major(x: Operand) -> bool:
    return tuple(x.strides) == contiguous_strides(x.shape)


def is_product(w: Operand, attrs) -> bool:
    """Whether a convolution's columns are its input, or are not many more numbers and short."""
    taps = prod(w.shape[2:])
    return attrs["groups"] == 1 and (taps == 1 and not any(attrs["padding"]) or w.shape[1] < FEW and w.shape[1] * taps <= SHORT)


# ---------------------------------------------------------------------------------------------------- convolutions
def grouped(w: Operand, groups: int) -> Operand:
    """A weight (O, C / groups, *kernel) as (groups, O / groups, C / groups, *kernel)."""
    if groups == 1:
        return w
    o = w.shape[0] // groups
    return w.like((groups, o, *w.shape[1:]), (o * w.strides[0], *w.strides))


def geometry(attrs) -> tuple[tuple, tuple, tuple, tuple]:
    """stride, dilation as the library counts it, padding before and after."""
    return attrs["stride"], tuple(d - 1 for d in attrs["dilation"]), attrs["padding"], attrs["padding"]


def posts_of(c: Call, post: list, rank: int):
    """(bias, attributes, arguments of post-operations)."""
    bias, posts, extra = None, [], []
    for i, (kind, x) in enumerate(post):
        if kind == "relu":
            posts.append(("relu",))
        elif kind == "bias" and i == 0 and (len(c.operands) < 3 or c.operands[2] is None):
            bias = x
        else:
            if kind in ("bias", "scale"):
                x = channel_bias(x, rank)
            posts.append(("scale" if kind == "scale" else "add", x.md))
            extra.append((POST * len(posts) | SRC_1, x))
    return bias, attributes(posts), extra


def channel_bias(x: Operand, rank: int) -> Operand:
    return x.like((1, x.shape[-1]) + (1,) * (rank - 2), (x.shape[-1], 1) + (1,) * (rank - 2))


def make_convolution(c: Call) -> Primitive:
    """A convolution or a transposed one; post-steps that the fast code does not do follow as primitives of their own."""
    if c.name == "conv_nhwc":
        c = last_to_first(c)
    try:
        return convolution(c, c.post)
    except Unavailable:
        if not c.post or c.outs[0].wide:
            raise
        p = convolution(c, [])
        afterwards(p, dense(c.outs[0]), c.post)
        return p


def convolution(c: Call, post: list) -> Primitive:
    x, w, b = (*c.operands, None)[:3]
    x, out, groups = dense(x), dense(c.outs[0]), c.attrs["groups"]
    strides, dilates, before, after = geometry(c.attrs)
    transposed = c.attrs["transposed"]
    w = grouped(w, groups)
    if transposed:                          # the library wants (groups, out, in, *kernel)
        n = len(w.shape) - len(strides)
        order = (*range(n - 2), n - 1, n - 2, *range(n, len(w.shape)))
        w = w.like([w.shape[d] for d in order], [w.strides[d] for d in order])
        after = tuple((m - 1) * s + (j - 1) * (d + 1) + 1 - o - p
                      for m, s, j, d, o, p in zip(x.shape[2:], strides, w.shape[n:], dilates, out.shape[2:], before))
    bias, attr, extra = posts_of(c, post, len(x.shape))
    b = b if b is not None else bias
    pd = laid_out(x, out, c.operands[1], c.attrs, lambda x_md, out_md: primitive_description(
        "deconvolution_forward" if transposed else "convolution_forward", INFERENCE, DECONV_DIRECT if transposed else CONV_DIRECT,
        x_md, w.any, None if b is None else b.md, out_md, strides, dilates, before, after, attr))
    p = Primitive()
    result = Written(p, out, wanted(pd, "dst"))
    arguments = {SRC: read(p, x, wanted(pd, "src")), WEIGHTS: read(p, w, wanted(pd, "weights")), DST: result.memory}
    if b is not None:
        arguments[BIAS] = read(p, b, b.md)
    for key, v in extra:
        arguments[key] = read(p, v, v.md)
    p.add(pd, arguments)
    result.finish()
    return p


def afterwards(p: Primitive, out: Operand, post: list) -> None:
    """Post-steps in place, one primitive each."""
    md = out.md
    for kind, x in post:
        if kind == "relu":
            pd = primitive_description("eltwise_forward", INFERENCE, RELU, md, md, ctypes.c_float(0.0), ctypes.c_float(0.0), None)
            p.add(pd, {SRC: p.view(out.index, md), DST: p.view(out.index, md)})
            continue
        if kind in ("bias", "scale"):
            x = channel_bias(x, len(out.shape))
        pd = primitive_description("binary", BINARY_MUL if kind == "scale" else BINARY_ADD, md, x.md, md, None)
        p.add(pd, {SRC: p.view(out.index, md), SRC_1: p.view(x.index, x.md), DST: p.view(out.index, md)})


def make_convolution_input(c: Call) -> Primitive:
    """The gradient to a convolution's input."""
    if c.name == "conv_nhwc_input":
        c = last_to_first(c)
    if c.post:
        raise Unavailable("post-steps of a gradient")
    y, kernel = c.operands
    y, x, w, rest = dense(y), dense(c.outs[0]), grouped(kernel, c.attrs["groups"]), geometry(c.attrs)

    def make(x_md, y_md):
        hint = primitive_description("convolution_forward", FORWARD, CONV_DIRECT, x_md, w.any, None, y_md, *rest, None)
        return primitive_description("convolution_backward_data", CONV_DIRECT, x_md, w.any, y_md, *rest, hint, None)

    pd = laid_out(x, y, kernel, c.attrs, make)
    p = Primitive()
    result = Written(p, x, wanted(pd, "diff_src"))
    p.add(pd, {DIFF_DST: read(p, y, wanted(pd, "diff_dst")), WEIGHTS: read(p, w, wanted(pd, "weights")), DIFF_SRC: result.memory})
    result.finish()
    return p


def make_convolution_weight(c: Call) -> Primitive:
    """The gradient to a convolution's weight."""
    if c.name == "conv_nhwc_weight":
        c = last_to_first(c)
    if c.post:
        raise Unavailable("post-steps of a gradient")
    y, x = c.operands
    y, x, w, rest = dense(y), dense(x), grouped(c.outs[0], c.attrs["groups"]), geometry(c.attrs)

    def make(x_md, y_md):
        hint = primitive_description("convolution_forward", FORWARD, CONV_DIRECT, x_md, w.any, None, y_md, *rest, None)
        return primitive_description("convolution_backward_weights", CONV_DIRECT, x_md, w.any, None, y_md, *rest, hint, None)

    pd = laid_out(x, y, c.outs[0], c.attrs, make)
    p = Primitive()
    result = Written(p, w, wanted(pd, "diff_weights"))
    p.add(pd, {SRC: read(p, x, wanted(pd, "src")), DIFF_DST: read(p, y, wanted(pd, "diff_dst")), DIFF_WEIGHTS: result.memory})
    result.finish()
    return p


# ---------------------------------------------------------------------------------------------------- pooling
def pool_geometry(x: Operand, y: Operand, attrs) -> tuple:
    """stride, kernel, dilation, padding before and after (windows over the edge included)."""
    kernel, stride, padding = attrs["kernel"], attrs["stride"], attrs["padding"]
    dilation = attrs.get("dilation") or (1,) * len(kernel)
    after = tuple((m - 1) * s + (k - 1) * d + 1 - n - p
                  for m, s, k, d, n, p in zip(y.shape[2:], stride, kernel, dilation, x.shape[2:], padding))
    return tuple(stride), tuple(kernel), tuple(d - 1 for d in dilation), tuple(padding), after


def make_max_pool(c: Call) -> Primitive:
    """max_pool where only the maximum is wanted."""
    if len(c.outs) != 1 or c.post:
        raise Unavailable("indices")
    x, y = dense(c.operands[0]), dense(c.outs[0])
    pd = primitive_description("pooling_forward", INFERENCE, POOL_MAX, x.md, y.md, *pool_geometry(x, y, c.attrs), None)
    fast(pd)
    p = Primitive()
    result = Written(p, y, wanted(pd, "dst"))
    p.add(pd, {SRC: read(p, x, wanted(pd, "src")), DST: result.memory})
    result.finish()
    return p


def average(x: Operand, y: Operand, attrs) -> int:
    """Which average; Unavailable if the windows over the edge are counted in a way the library does not know."""
    after = pool_geometry(x, y, attrs)[4]
    if attrs.get("divisor") is not None or attrs.get("divisor_override") is not None:
        raise Unavailable("a divisor of one's own")
    if any(a > p for a, p in zip(after, attrs["padding"])):
        raise Unavailable("a partial last window")
    return POOL_AVG_ALL if attrs.get("count_include_pad", True) else POOL_AVG_INSIDE


def make_avg_pool(c: Call) -> Primitive:
    if c.post:
        raise Unavailable("post-steps of pooling")
    x, y = dense(c.operands[0]), dense(c.outs[0])
    pd = primitive_description("pooling_forward", INFERENCE, average(x, y, c.attrs), x.md, y.md, *pool_geometry(x, y, c.attrs), None)
    fast(pd)
    p = Primitive()
    result = Written(p, y, wanted(pd, "dst"))
    p.add(pd, {SRC: read(p, x, wanted(pd, "src")), DST: result.memory})
    result.finish()
    return p


def make_avg_pool_grad(c: Call) -> Primitive:
    if c.post:
        raise Unavailable("post-steps of pooling")
    y, x = dense(c.operands[0]), dense(c.outs[0])
    g = pool_geometry(x, y, c.attrs)
    kind = average(x, y, c.attrs)
    forward = primitive_description("pooling_forward", FORWARD, kind, x.md, y.md, *g, None)
    pd = primitive_description("pooling_backward", kind, x.md, y.md, *g, forward, None)
    fast(pd)
    p = Primitive()
    result = Written(p, x, wanted(pd, "diff_src"))
    p.add(pd, {DIFF_DST: read(p, y, wanted(pd, "diff_dst")), DIFF_SRC: result.memory})
    result.finish()
    return p
