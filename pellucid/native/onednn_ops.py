"""Operators as oneDNN primitives.

In: a plan's LibCall. Out: an `onednn.Primitive`, or None where oneDNN has nothing good for these operands (another dtype, an
empty array, strides its fast code does not read): the portable path takes the call then. Views are numbered as an extern's:
the operands that are Views, the outs, the post-steps' operands.

Activations are read and written in the layout their strides say (channels last is the fast one), weights are reordered to the
layout the primitive prefers: each time, or once if they are constant.
"""
from __future__ import annotations

import ctypes
from collections.abc import Callable
from dataclasses import dataclass

from ..core import dtype as dt
from ..kernel.plan import LibCall, View
from . import onednn as dnn
from .onednn import (BIAS, CONV_DIRECT, DECONV_DIRECT, DIFF_DST, DIFF_SRC, DIFF_WEIGHTS, DST, FORWARD, INFERENCE, POOL_AVG_ALL,
                     POOL_AVG_INSIDE, POOL_MAX, POST, SRC, WEIGHTS, Primitive, Unavailable, attributes, description,
                     primitive_description, wanted)

FLOATS = (dt.float32, dt.bfloat16)


@dataclass(frozen=True, slots=True)
class Operand:
    """A view with its number."""

    index: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]
    dtype: dt.dtype
    constant: bool = False

    def like(self, shape, strides) -> Operand:
        return Operand(self.index, tuple(shape), tuple(strides), self.dtype, self.constant)

    @property
    def md(self):
        return description(self.shape, self.dtype, self.strides)

    @property
    def any(self):
        return description(self.shape, self.dtype)

    def swapped(self) -> Operand:
        """The last two dimensions exchanged."""
        s, t = self.shape, self.strides
        return self.like((*s[:-2], s[-1], s[-2]), (*t[:-2], t[-1], t[-2]))


class Call:
    """A LibCall's operands, outs and post-steps, numbered."""

    def __init__(self, call: LibCall, constant: frozenset[int] = frozenset()):
        self.name, self.attrs = call.name, call.attrs
        n = 0
        self.operands: list = []
        for a in call.operands:
            if isinstance(a, View):
                self.operands.append(Operand(n, a.shape, a.strides, a.dtype, n in constant))
                n += 1
            else:
                self.operands.append(a)
        self.outs = [Operand(n + i, v.shape, v.strides, v.dtype) for i, v in enumerate(call.outs)]
        n += len(self.outs)
        self.post: list[tuple[str, Operand | None]] = []
        for p in call.post:
            self.post.append((p.kind, None if p.operand is None else
                              Operand(n, p.operand.shape, p.operand.strides, p.operand.dtype)))
            n += p.operand is not None


def primitive(call: LibCall, constant: frozenset[int] = frozenset()) -> Primitive | None:
    """The primitive for a library call, or None. `constant` numbers the views whose contents never change."""
    make = TABLE.get(call.name)
    if make is None or dnn.library() is None:
        return None
    views = [v for v in (*call.operands, *call.outs) if isinstance(v, View)]
    if any(v.dtype not in FLOATS or 0 in v.shape or len(v.shape) > 6 for v in views):
        return None
    try:
        return make(Call(call, constant))
    except Unavailable:
        return None


def serves(name: str, dtypes) -> bool:
    """Whether calls of this operator with operands of these dtypes can be primitives."""
    return name in TABLE and dnn.library() is not None and all(d in FLOATS for d in dtypes)


# ---------------------------------------------------------------------------------------------------- matrix products
def merged(shape: tuple[int, ...], strides: tuple[int, ...]) -> tuple[int, int] | None:
    """(size, stride) of dimensions as one, if their strides allow it."""
    size, stride = 1, None
    for n, s in zip(reversed(shape), reversed(strides)):
        if n == 1:
            continue
        if stride is None:
            stride = s
        elif s != stride * size:
            return None
        size *= n
    return size, 1 if stride is None else stride


def rows_merged(x: Operand) -> Operand:
    """All dimensions but the last as one."""
    found = merged(x.shape[:-1], x.strides[:-1])
    if found is None:
        raise Unavailable("rows that are not evenly spaced")
    return x.like((found[0], x.shape[-1]), (found[1], x.strides[-1]))


def readable(x: Operand) -> Operand:
    """A matrix (or batch) whose strides the library reads well: one of the last two dimensions is contiguous."""
    (m, n), (s, t) = x.shape[-2:], x.strides[-2:]
    if n == 1 or m == 1:                    # a dimension of size 1 has any stride: choose the dense one
        if n == 1:
            s, t = (1 if m == 1 else s), 1
        else:
            s, t = (n, t) if t == 1 else (1, t)
    if not ((t == 1 and s >= n) or (s == 1 and t >= m)):
        raise Unavailable("strides of a matrix")
    batch = x.shape[:-2]
    lead = [1 if k == 1 else q for k, q in zip(batch, x.strides[:-2])]
    if any(q == 0 and k > 1 for k, q in zip(batch, x.strides[:-2])):
        raise Unavailable("repeated matrices")
    return x.like(x.shape, (*lead, s, t))


def batches_merged(*xs: Operand) -> list[Operand]:
    """The batch dimensions as one, where they can be for all operands alike; broadcast ones stay as they are."""
    n = max(len(x.shape) for x in xs) - 2
    full = [x.like((1,) * (n + 2 - len(x.shape)) + x.shape, (0,) * (n + 2 - len(x.shape)) + x.strides) for x in xs]
    if n == 0:
        return list(full)
    if len({x.shape[:n] for x in full}) > 1:
        return [x.like(x.shape, tuple(0 if k == 1 else s for k, s in zip(x.shape, x.strides[:n])) + x.strides[n:]) for x in full]
    found = [merged(x.shape[:n], x.strides[:n]) for x in full]
    if None in found:
        return list(full)
    return [x.like((m[0], *x.shape[n:]), (m[1], *x.strides[n:])) for x, m in zip(full, found)]


def product(a: Operand, b: Operand, out: Operand, post: list[tuple[str, Operand | None]]) -> Primitive:
    """out = a @ b, then the post-steps."""
    p = Primitive()
    a, b, out = batches_merged(a, b, out)
    rank = len(out.shape)
    a, b, out = readable(a), readable(b), readable(out)
    bias, posts, extra = None, [], []
    for i, (kind, x) in enumerate(post):
        if kind == "bias" and i == 0:
            bias = x.like((1,) * (rank - 1) + (x.shape[-1],), (x.shape[-1],) * (rank - 1) + (x.strides[-1],))
        elif kind == "relu":
            posts.append(("relu",))
        else:
            if kind == "bias":
                x = x.like((1,) * (rank - 1) + (x.shape[-1],), (x.shape[-1],) * (rank - 1) + (x.strides[-1],))
            else:
                x = like_result(x, out)
            posts.append(("add", x.md))
            extra.append((POST * len(posts) | dnn.SRC_1, x))
    weights = b.any if b.constant else b.md
    pd = primitive_description("matmul", a.md, weights, None if bias is None else bias.md, out.md, attributes(posts))
    if slow(pd):
        raise Unavailable("the library's reference code")
    arguments = {SRC: p.view(a.index, a.md)}
    arguments[WEIGHTS] = p.reordered(p.view(b.index, b.md), b.md, wanted(pd, "weights"), lasting=b.constant)
    arguments[DST] = p.view(out.index, out.md)
    if bias is not None:
        arguments[BIAS] = p.view(bias.index, bias.md)
    for key, x in extra:
        arguments[key] = p.view(x.index, x.md)
    p.add(pd, arguments)
    return p


def like_result(x: Operand, out: Operand) -> Operand:
    """An addend in the result's (merged) shape, broadcast along the rows if it has fewer dimensions."""
    if len(x.shape) < len(out.shape):
        n = len(out.shape) - len(x.shape)
        x = x.like((1,) * n + x.shape, (0,) * n + x.strides)
    if len(x.shape) > len(out.shape):
        k = len(x.shape) - len(out.shape) + 1
        found = merged(x.shape[:k], x.strides[:k])
        if found is None:
            raise Unavailable("an addend's strides")
        x = x.like((found[0], *x.shape[k:]), (found[1], *x.strides[k:]))
    if any(n not in (1, m) for n, m in zip(x.shape, out.shape)):
        raise Unavailable("an addend's shape")
    dense = 1
    strides = []
    for n, s in zip(reversed(x.shape), reversed(x.strides)):
        if n > 1 and s == 0:
            raise Unavailable("an addend that repeats")
        strides.append(s if n > 1 else dense)
        dense = max(dense, n * strides[-1])
    return x.like(x.shape, tuple(reversed(strides)))


def slow(pd) -> bool:
    return dnn.implementation(pd).startswith("ref")


def flagged(c: Call) -> tuple[Operand, Operand]:
    a, b = c.operands
    return (a.swapped() if c.attrs.get("ta") else a), (b.swapped() if c.attrs.get("tb") else b)


def make_product(c: Call) -> Primitive:
    """mm, bmm, gemm, bgemm."""
    a, b = flagged(c)
    out = c.outs[0]
    if len(b.shape) == 2 and len(a.shape) > 2 and not c.attrs.get("ta"):
        try:                                # one large product instead of many small ones
            folded = [(k, None if x is None or k == "bias" else rows_merged(x)) if k != "bias" else (k, x) for k, x in c.post]
            return product(rows_merged(a), b, rows_merged(out), folded)
        except Unavailable:
            pass
    return product(a, b, out, c.post)


def make_added(c: Call) -> Primitive:
    """addmm, baddbmm: the product plus an addend."""
    if c.attrs.get("beta", 1) != 1 or c.attrs.get("alpha", 1) != 1:
        raise Unavailable("scaled operands")
    addend, a, b = c.operands
    kind = "bias" if len(addend.shape) == 1 and addend.shape[0] == c.outs[0].shape[-1] else "add"
    if kind == "add" and addend.shape != c.outs[0].shape:
        raise Unavailable("a broadcast addend")
    return product(a, b, c.outs[0], [(kind, addend), *c.post])


def make_linear(c: Call) -> Primitive:
    """linear: x @ w.T + b over all leading dimensions."""
    x, w, b = (*c.operands, None)[:3]
    out = c.outs[0]
    if len(w.shape) != 2 or len(x.shape) < 1:
        raise Unavailable("a weight vector")
    if len(x.shape) == 1:
        x, out = x.like((1, *x.shape), (x.shape[0], *x.strides)), out.like((1, *out.shape), (out.shape[0], *out.strides))
    post = ([] if b is None else [("bias", b)]) + [(k, x if x is None or k == "bias" else rows_merged(x)) for k, x in c.post]
    return product(rows_merged(x), w.swapped(), rows_merged(out), post)


def make_mv(c: Call) -> Primitive:
    """mv: a matrix times a vector."""
    a, v = c.operands
    out = c.outs[0]
    if c.post:
        raise Unavailable("post-steps of a vector")
    return product(a, v.like((*v.shape, 1), (*v.strides, 1)), out.like((*out.shape, 1), (*out.strides, 1)), [])


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


def conv_posts(c: Call, post: list, rank: int):
    """(bias, attributes, arguments of post-operations)."""
    bias, posts, extra = None, [], []
    for i, (kind, x) in enumerate(post):
        if kind == "relu":
            posts.append(("relu",))
        elif kind == "bias" and i == 0 and (len(c.operands) < 3 or c.operands[2] is None):
            bias = x
        else:
            if kind == "bias":
                x = channel_bias(x, rank)
            posts.append(("add", x.md))
            extra.append((POST * len(posts) | dnn.SRC_1, x))
    return bias, attributes(posts), extra


def dense(x: Operand) -> Operand:
    """An activation whose strides describe some dense order of its dimensions (others the library does not take)."""
    order = sorted((d for d in range(len(x.shape)) if x.shape[d] > 1), key=lambda d: x.strides[d])
    step = 1
    for d in order:
        if x.strides[d] < step:
            raise Unavailable("overlapping strides")
        step = x.strides[d] * x.shape[d]
    last = len(x.shape) > 1 and x.shape[1] > 1 and x.strides[1] == 1     # a dimension of size 1: keep the order recognisable
    strides = list(x.strides)
    for d in range(len(x.shape)):
        if x.shape[d] == 1:
            strides[d] = 1 if d == 1 and not last and all(n == 1 for n in x.shape[2:]) else step
    return x.like(x.shape, strides)


def channels_first(x: Operand) -> Operand:
    """(N, *spatial, C) read as (N, C, *spatial)."""
    order = (0, len(x.shape) - 1, *range(1, len(x.shape) - 1))
    return x.like([x.shape[d] for d in order], [x.strides[d] for d in order])


def last_to_first(c: Call) -> Call:
    """A call on channels-last operands as the usual one."""
    rank = len(c.outs[0].shape)

    def turned(x):
        return channels_first(x) if isinstance(x, Operand) and len(x.shape) == rank else x

    match c.name:
        case "conv_nhwc":
            c.operands = [turned(c.operands[0]), *c.operands[1:]]
            c.attrs = {**c.attrs, "transposed": False, "output_padding": (0,) * (rank - 2)}
            c.post = [(kind, x if kind == "bias" else turned(x)) for kind, x in c.post]
            c.outs = [turned(c.outs[0])]
        case "conv_nhwc_input":
            c.operands = [turned(c.operands[0]), c.operands[1]]
            c.outs = [turned(c.outs[0])]
        case _:
            c.operands = [turned(x) for x in c.operands]
    return c


def make_convolution(c: Call) -> Primitive:
    """A convolution or a transposed one; post-steps that the fast code does not do follow as primitives of their own."""
    if c.name == "conv_nhwc":
        c = last_to_first(c)
    try:
        return convolution(c, c.post)
    except Unavailable:
        if not c.post:
            raise
        p = convolution(c, [])
        after(p, dense(c.outs[0]), c.post)
        return p


def after(p: Primitive, out: Operand, post: list) -> None:
    """Post-steps in place, one primitive each."""
    md = out.md
    for kind, x in post:
        if kind == "relu":
            pd = primitive_description("eltwise_forward", INFERENCE, dnn.RELU, md, md, ctypes.c_float(0.0), ctypes.c_float(0.0), None)
            p.add(pd, {SRC: p.view(out.index, md), DST: p.view(out.index, md)})
            continue
        if kind == "bias":
            x = channel_bias(x, len(out.shape))
        pd = primitive_description("binary", dnn.BINARY_ADD, md, x.md, md, None)
        p.add(pd, {SRC: p.view(out.index, md), dnn.SRC_1: p.view(x.index, x.md), DST: p.view(out.index, md)})


def channel_bias(x: Operand, rank: int) -> Operand:
    return x.like((1, x.shape[-1]) + (1,) * (rank - 2), (x.shape[-1], 1) + (1,) * (rank - 2))


def convolution(c: Call, post: list) -> Primitive:
    x, w, b = (*c.operands, None)[:3]
    out, groups = dense(c.outs[0]), c.attrs["groups"]
    x = dense(x)
    strides, dilates, before, after = geometry(c.attrs)
    transposed = c.attrs["transposed"]
    w = grouped(w, groups)
    if transposed:                          # the library wants (groups, out, in, *kernel)
        n = len(w.shape) - len(strides)
        order = (*range(n - 2), n - 1, n - 2, *range(n, len(w.shape)))
        w = w.like([w.shape[d] for d in order], [w.strides[d] for d in order])
        k = w.shape[n:]
        after = tuple((m - 1) * s + (j - 1) * (d + 1) + 1 - o - p
                      for m, s, j, d, o, p in zip(x.shape[2:], strides, k, dilates, out.shape[2:], before))
    bias, attr, extra = conv_posts(c, post, len(x.shape))
    b = b if b is not None else bias
    pd = primitive_description("deconvolution_forward" if transposed else "convolution_forward", INFERENCE,
                               DECONV_DIRECT if transposed else CONV_DIRECT, x.md, w.any, None if b is None else b.md, out.md,
                               strides, dilates, before, after, attr)
    if slow(pd):
        raise Unavailable("the library's reference code")
    p = Primitive()
    arguments = {SRC: p.view(x.index, x.md)}
    arguments[WEIGHTS] = p.reordered(p.view(w.index, w.md), w.md, wanted(pd, "weights"), lasting=w.constant)
    arguments[DST] = p.view(out.index, out.md)
    if b is not None:
        arguments[BIAS] = p.view(b.index, b.md)
    for key, v in extra:
        arguments[key] = p.view(v.index, v.md)
    p.add(pd, arguments)
    return p


def hint(x: Operand, w: Operand, y: Operand, attrs):
    """The forward convolution that a backward one belongs to."""
    return primitive_description("convolution_forward", FORWARD, CONV_DIRECT, x.md, w.any, None, y.md, *geometry(attrs), None)


def make_convolution_input(c: Call) -> Primitive:
    """The gradient to a convolution's input."""
    if c.name == "conv_nhwc_input":
        c = last_to_first(c)
    if c.post:
        raise Unavailable("post-steps of a gradient")
    y, w = c.operands
    y, x, w = dense(y), dense(c.outs[0]), grouped(w, c.attrs["groups"])
    pd = primitive_description("convolution_backward_data", CONV_DIRECT, x.md, w.any, y.md, *geometry(c.attrs),
                               hint(x, w, y, c.attrs), None)
    if slow(pd):
        raise Unavailable("the library's reference code")
    p = Primitive()
    weights = p.reordered(p.view(w.index, w.md), w.md, wanted(pd, "weights"), lasting=w.constant)
    p.add(pd, {DIFF_DST: p.view(y.index, y.md), WEIGHTS: weights, DIFF_SRC: p.view(x.index, x.md)})
    return p


def make_convolution_weight(c: Call) -> Primitive:
    """The gradient to a convolution's weight."""
    if c.name == "conv_nhwc_weight":
        c = last_to_first(c)
    if c.post:
        raise Unavailable("post-steps of a gradient")
    y, x = c.operands
    y, x, w = dense(y), dense(x), grouped(c.outs[0], c.attrs["groups"])
    pd = primitive_description("convolution_backward_weights", CONV_DIRECT, x.md, w.any, None, y.md, *geometry(c.attrs),
                               hint(x, w, y, c.attrs), None)
    if slow(pd):
        raise Unavailable("the library's reference code")
    p = Primitive()
    mine, chosen = w.md, wanted(pd, "diff_weights")
    result = p.view(w.index, mine)
    if dnn.same(mine.value, chosen):
        p.add(pd, {SRC: p.view(x.index, x.md), DIFF_DST: p.view(y.index, y.md), DIFF_WEIGHTS: result})
        return p
    inner = p.temporary(chosen)
    p.add(pd, {SRC: p.view(x.index, x.md), DIFF_DST: p.view(y.index, y.md), DIFF_WEIGHTS: inner})
    p.add(dnn.reorder(chosen, mine.value), {SRC: inner, DST: result})
    return p


def channels_last(make: Callable[[Call], Primitive], operands: int) -> Callable[[Call], Primitive]:
    """`make` for activations (N, *spatial, C), which are the first `operands` operands and, of a convolution or its input's
    gradient, the result: the same memory, its dimensions named in the usual order."""
    def first(x: Operand) -> Operand:
        n = len(x.shape)
        order = (0, n - 1, *range(1, n - 1))
        return x.like([x.shape[d] for d in order], [x.strides[d] for d in order])

    def made(c: Call) -> Primitive:
        rank = len(c.operands[0].shape)
        c.attrs = {**c.attrs, "transposed": False}
        c.operands = [first(x) if k < operands else x for k, x in enumerate(c.operands)]
        if operands == 1:
            c.outs = [first(x) for x in c.outs]
        c.post = [(kind, first(x) if x is not None and kind != "bias" and len(x.shape) == rank else x) for kind, x in c.post]
        return make(c)
    return made


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
    if slow(pd):
        raise Unavailable("the library's reference code")
    p = Primitive()
    p.add(pd, {SRC: p.view(x.index, x.md), DST: p.view(y.index, y.md)})
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
    if slow(pd):
        raise Unavailable("the library's reference code")
    p = Primitive()
    p.add(pd, {SRC: p.view(x.index, x.md), DST: p.view(y.index, y.md)})
    return p


def make_avg_pool_grad(c: Call) -> Primitive:
    if c.post:
        raise Unavailable("post-steps of pooling")
    y, x = dense(c.operands[0]), dense(c.outs[0])
    g = pool_geometry(x, y, c.attrs)
    kind = average(x, y, c.attrs)
    forward = primitive_description("pooling_forward", FORWARD, kind, x.md, y.md, *g, None)
    pd = primitive_description("pooling_backward", kind, x.md, y.md, *g, forward, None)
    if slow(pd):
        raise Unavailable("the library's reference code")
    p = Primitive()
    p.add(pd, {DIFF_DST: p.view(y.index, y.md), DIFF_SRC: p.view(x.index, x.md)})
    return p


TABLE: dict[str, Callable[[Call], Primitive]] = {
    "mm": make_product, "bmm": make_product, "gemm": make_product, "bgemm": make_product, "addmm": make_added,
    "baddbmm": make_added, "linear": make_linear, "mv": make_mv, "convolution": make_convolution,
    "convolution_input": make_convolution_input, "convolution_weight": make_convolution_weight,
    "conv_nhwc": channels_last(make_convolution, 1), "conv_nhwc_input": channels_last(make_convolution_input, 1),
    "conv_nhwc_weight": channels_last(make_convolution_weight, 2),
    "conv_nhwc": make_convolution, "conv_nhwc_input": make_convolution_input, "conv_nhwc_weight": make_convolution_weight,
    "max_pool": make_max_pool, "avg_pool": make_avg_pool, "avg_pool_grad": make_avg_pool_grad,
}
