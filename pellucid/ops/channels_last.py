"""Convolution and pooling on (N, *spatial, C): what `graph.layout` turns their usual forms into.

Internal operators, without names for users. In and out: activations with the channels last; weights as ever
(O, C / groups, *kernel). The maximum keeps, instead of an index into the plane, which element of its window won (a byte), and
its gradient looks from each input element at the windows that see it: nothing is scattered.
"""
from __future__ import annotations

from math import prod

from ._common import Spec, dt, np
from ._windows import at_offset, inner, offsets, pad_spatial, window_count
from .conv import conv_input_ref, conv_ref, conv_weight_ref
from .op import EXTERN, GATHER, REDUCE, primitive
from .pool import avg_pool_grad_ref, avg_pool_ref, lowest, margins, out_sizes


def to_last(ndim: int) -> tuple[int, ...]:
    """The dimensions of (N, C, *spatial) in the order (N, *spatial, C)."""
    return (0, *range(2, ndim), 1)


def to_first(ndim: int) -> tuple[int, ...]:
    """The dimensions of (N, *spatial, C) in the order (N, C, *spatial)."""
    return (0, ndim - 1, *range(1, ndim - 1))


def last(a: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(a.transpose(to_last(a.ndim)))


def first(a: np.ndarray) -> np.ndarray:
    return a.transpose(to_first(a.ndim))


def first_shape(shape) -> tuple[int, ...]:
    return tuple(shape[d] for d in to_first(len(shape)))


# ---------------------------------------------------------------------------------------------------- convolution
def conv_infer(x: Spec, w: Spec, b, *, stride, padding, dilation, groups) -> Spec:
    return Spec((x.shape[0], *map(window_count, x.shape[1:-1], w.shape[2:], stride, padding, dilation), w.shape[0]), x.dtype)


_PLANE = dict(stride=(2,), padding=(1,), dilation=(1,), groups=1)


@primitive(EXTERN, args="input weight bias", forms="", ns=(), grads=False, infer=conv_infer,
           ref=lambda x, w, b, **geometry: last(conv_ref(first(x), w, b, **geometry)),
           samples=lambda m: [((m.t(2, 7, 3), m.t(4, 3, 3), m.t(4)), _PLANE), ((m.t(1, 7, 4), m.t(4, 2, 2), None), {**_PLANE, "groups": 2}),
                              ((m.t(0, 5, 4, 2), m.t(3, 2, 2, 2), m.t(3)), dict(stride=(1, 2), padding=(0, 1), dilation=(1, 1), groups=1))])
def conv_nhwc(input, weight, bias, stride, padding, dilation, groups):
    """Convolution of (N, *spatial, C) with (O, C / groups, *kernel)."""
    return (input, weight, bias), {"stride": stride, "padding": padding, "dilation": dilation, "groups": groups}


@primitive(EXTERN, args="y weight", forms="", ns=(), grads=False, infer=lambda y, w, *, shape, **kw: y.like(shape),
           ref=lambda y, w, *, shape, **geometry: last(conv_input_ref(first(y), w, None, first_shape(shape), **geometry)),
           samples=lambda m: [((m.t(2, 4, 4), m.t(4, 3, 3), (2, 7, 3)), _PLANE), ((m.t(1, 3, 4), m.t(4, 2, 2), (1, 7, 4)), {**_PLANE, "groups": 2}),
                              ((m.t(0, 4, 4), m.t(4, 3, 3), (0, 7, 3)), _PLANE)])
def conv_nhwc_input(y, weight, shape, stride, padding, dilation, groups):
    """The gradient of conv_nhwc's input, of `shape` (N, *spatial, C), given that of its result."""
    return (y, weight), {"shape": tuple(shape), "stride": stride, "padding": padding, "dilation": dilation, "groups": groups}


@primitive(EXTERN, args="y input", forms="", ns=(), grads=False, infer=lambda y, x, *, shape, **kw: y.like(shape),
           ref=lambda y, x, *, shape, **geometry: conv_weight_ref(first(y), first(x), shape, **geometry),
           samples=lambda m: [((m.t(2, 4, 4), m.t(2, 7, 3), (4, 3, 3)), _PLANE), ((m.t(1, 3, 4), m.t(1, 7, 4), (4, 2, 2)), {**_PLANE, "groups": 2}),
                              ((m.t(0, 4, 4), m.t(0, 7, 3), (4, 3, 3)), _PLANE)])
def conv_nhwc_weight(y, input, shape, stride, padding, dilation, groups):
    """The gradient of conv_nhwc's weight, of `shape` (O, C / groups, *kernel), given that of its result."""
    return (y, input), {"shape": tuple(shape), "stride": stride, "padding": padding, "dilation": dilation, "groups": groups}


# ---------------------------------------------------------------------------------------------------- places in windows
def seen(b, o, k, size, stride, padding, dilation):
    """Where window `o` sees its element `k`: (input index kept inside, whether it is inside), per dimension."""
    at, ok = [], b.const(True, dt.bool_)
    for x, j, n, s, p, d in zip(o, k, size, stride, padding, dilation):
        place = b.iadd(b.imul(x, s), j * d - p)
        ok = b.and_(ok, b.iwithin(place, 0, n))
        at.append(b.clamp(place, 0, n - 1))
    return at, ok


def seers(b, i, kernel, stride, padding, dilation, out):
    """The windows that may see input element `i`: [(window kept inside, whether it is one that does, its element)].
    The element is a number if it is known, else an index value, flat in the window."""
    found = []
    undilated = all(d == 1 for d in dilation)
    choices = [range(-(-k // s)) for k, s in zip(kernel, stride)] if undilated else [range(k) for k in kernel]
    for pick in offsets([len(c) for c in choices]):
        at, ok, element = [], b.const(True, dt.bool_), 0
        for x, j, k, s, p, d, m in zip(i, pick, kernel, stride, padding, dilation, out):
            shifted = b.iadd(x, p)
            if undilated:                           # the j-th window before the last one that may see it
                o = b.isub(b.idiv(shifted, s), j)
                e = b.isub(shifted, b.imul(o, s))
                if k % s:                           # else the count of windows is exact
                    ok = b.and_(ok, b.ilt(e, k))
            else:
                rest = b.isub(shifted, j * d)
                o, e = b.idiv(rest, s), j
                if s != 1:
                    ok = b.and_(ok, b.ieq(b.imod(rest, s), 0))
            ok = b.and_(ok, b.iwithin(o, 0, m))
            at.append(b.clamp(o, 0, m - 1))
            element = b.iadd(b.imul(element, k), e)
        found.append((at, ok, element))
    return found


# ---------------------------------------------------------------------------------------------------- maximum
def winner_dtype(kernel) -> dt.dtype:
    return dt.uint8 if prod(kernel) < 256 else dt.int32


def max_infer(x: Spec, *, kernel, stride, padding, dilation, ceil_mode):
    shape = (x.shape[0], *out_sizes(x.shape[1:-1], kernel, stride, padding, dilation, ceil_mode), x.shape[-1])
    return x.like(shape), x.like(shape, winner_dtype(kernel))


def max_ref(a, *, kernel, stride, padding, dilation, ceil_mode):
    x = first(a)
    out = out_sizes(x.shape[2:], kernel, stride, padding, dilation, ceil_mode)
    after = margins(x.shape[2:], kernel, stride, padding, dilation, out)
    values = pad_spatial(x, padding, after, lowest(a.dtype))
    inside = pad_spatial(np.ones((1, 1, *x.shape[2:]), np.bool_), padding, after)
    best = winner = None
    for j, k in reversed(list(enumerate(offsets(kernel)))):     # backwards, equals winning: the first of them wins
        v, ok = at_offset(values, k, stride, dilation, out), at_offset(inside, k, stride, dilation, out)
        if best is None:
            best, winner = np.full(v.shape, lowest(a.dtype), a.dtype), np.zeros(v.shape, winner_dtype(kernel).np)
        wins = v >= best
        if a.dtype.kind == "f":
            wins |= np.isnan(v) & ~np.isnan(best)               # the last nan wins
        wins &= ok
        np.copyto(best, v, where=wins)
        np.copyto(winner, winner.dtype.type(j), where=wins)
    return last(best), last(winner)


def max_lower(b, i, load, x, *, kernel, stride, padding, dilation, ceil_mode):
    d, which = b.compute(x.dtype), winner_dtype(kernel)
    low = lowest(x.dtype.np if x.dtype.category == dt.INT else np.dtype(np.float32))
    best, winner = b.const(low, d), b.const(0, which)
    for j, k in reversed(list(enumerate(offsets(kernel)))):
        at, ok = seen(b, i[1:-1], k, x.shape[1:-1], stride, padding, dilation)
        v = b.let(load(0, (i[0], *at, i[-1])))
        wins = b.or_(b.ge(v, best), b.and_(b.isnan(v), b.not_(b.isnan(best)))) if d.is_floating_point else b.ge(v, best)
        wins = b.let(b.and_(wins, ok))
        best = b.let(b.select(wins, v, best))
        if b.out:
            winner = b.let(b.select(wins, b.const(j, which), winner))
    return winner if b.out else best


_MAX = dict(kernel=(3,), stride=(2,), padding=(1,), dilation=(1,), ceil_mode=False)


@primitive(REDUCE, args="input", forms="", ns=(), grads=False, ref=max_ref, infer=max_infer, lower=max_lower, nout=2,
           samples=lambda m: [((m.t(2, 7, 3),), _MAX), ((m.t(1, 5, 4, 2), (2, 2), (2, 1), (0, 1), (1, 2), True), {}), ((m.t(0, 4, 2),), _MAX)])
def max_pool_nhwc(input, kernel, stride, padding, dilation, ceil_mode):
    """(maximum, which element of the window it is) over windows of (N, *spatial, C)."""
    return (input,), {"kernel": kernel, "stride": stride, "padding": padding, "dilation": dilation, "ceil_mode": ceil_mode}


def max_grad_ref(g, winner, *, shape, kernel, stride, padding, dilation, ceil_mode):
    g, winner, sizes = first(g), first(winner), shape[1:-1]
    out = g.shape[2:]
    after = margins(sizes, kernel, stride, padding, dilation, out)
    z = np.zeros((*g.shape[:2], *(p + n + e for p, n, e in zip(padding, sizes, after))), g.dtype)
    for j, k in enumerate(offsets(kernel)):
        at_offset(z, k, stride, dilation, out)[...] += np.where(winner == j, g, g.dtype.type(0))
    return last(inner(z, padding, sizes))


def max_grad_lower(b, i, load, g, winner, *, shape, kernel, stride, padding, dilation, ceil_mode):
    total, zero = None, b.zero(b.compute(g.dtype))
    for at, ok, element in seers(b, i[1:-1], kernel, stride, padding, dilation, g.shape[1:-1]):
        at = (i[0], *at, i[-1])
        mine = b.eq(load(1, at), b.cast(b.value(element), winner.dtype))
        part = b.select(b.and_(mine, ok), load(0, at), zero)
        total = part if total is None else b.add(total, part)
    return total


def _winners(m, *shape, high=3):
    return m.i(*shape, high=high, dtype=dt.uint8)


@primitive(GATHER, args="g winner", forms="", ns=(), grads=False, ref=max_grad_ref, lower=max_grad_lower,
           infer=lambda g, w, *, shape, **kw: g.like(shape),
           samples=lambda m: [((m.t(2, 4, 3), _winners(m, 2, 4, 3), (2, 7, 3)), _MAX), ((m.t(0, 2, 2), _winners(m, 0, 2, 2), (0, 4, 2)), _MAX),
                              ((m.t(1, 3, 4, 2), _winners(m, 1, 3, 4, 2, high=4), (1, 5, 4, 2), (2, 2), (2, 1), (0, 1), (1, 2), True), {})])
def max_pool_nhwc_grad(g, winner, shape, kernel, stride, padding, dilation, ceil_mode):
    """The gradient of max_pool_nhwc's input, of `shape`."""
    return (g, winner), {"shape": tuple(shape), "kernel": kernel, "stride": stride, "padding": padding, "dilation": dilation, "ceil_mode": ceil_mode}


# ---------------------------------------------------------------------------------------------------- average
def avg_infer(x: Spec, *, kernel, stride, padding, ceil_mode, count_include_pad, divisor) -> Spec:
    return x.like((x.shape[0], *out_sizes(x.shape[1:-1], kernel, stride, padding, (1,) * len(kernel), ceil_mode), x.shape[-1]))


def window_size(b, o, sizes, kernel, stride, padding, count_include_pad, divisor, d):
    """What the sum of window `o` is divided by."""
    if divisor is not None:
        return b.const(divisor, d)
    total = 1
    for x, n, k, s, p in zip(o, sizes, kernel, stride, padding):
        start = b.isub(b.imul(x, s), p)
        end = b.clamp(b.iadd(start, k), -p, n + p)
        count = b.isub(end, start) if count_include_pad else b.isub(b.clamp(end, 0, n), b.clamp(start, 0, n))
        total = count if total == 1 else b.as_index(b.mul(b.value(total), b.value(count)))
    return b.cast(b.value(total), d)


def avg_lower(b, i, load, x, *, kernel, stride, padding, ceil_mode, count_include_pad, divisor):
    if not x.dtype.is_floating_point:
        b.refuse("the mean of integers")
    d, total = b.compute(x.dtype), None
    for k in offsets(kernel):
        at, ok = seen(b, i[1:-1], k, x.shape[1:-1], stride, padding, (1,) * len(kernel))
        v = b.select(ok, load(0, (i[0], *at, i[-1])), b.zero(d))
        total = v if total is None else b.add(total, v)
    return b.div(total, window_size(b, i[1:-1], x.shape[1:-1], kernel, stride, padding, count_include_pad, divisor, d))


_AVG = dict(ceil_mode=False, count_include_pad=True, divisor=None)


@primitive(REDUCE, args="input", forms="", ns=(), grads=False, infer=avg_infer, lower=avg_lower,
           ref=lambda a, **attrs: last(avg_pool_ref(first(a), **attrs)),
           samples=lambda m: [((m.t(2, 7, 3), (3,), (2,), (1,)), _AVG), ((m.t(1, 5, 4, 2), (2, 2), (2, 1), (0, 1), True, False, None), {}),
                              ((m.t(0, 4, 2), (2,), (2,), (0,)), {**_AVG, "divisor": 3})])
def avg_pool_nhwc(input, kernel, stride, padding, ceil_mode, count_include_pad, divisor):
    """The mean over windows of (N, *spatial, C)."""
    return (input,), {"kernel": kernel, "stride": stride, "padding": padding, "ceil_mode": ceil_mode,
                      "count_include_pad": count_include_pad, "divisor": divisor}


def avg_grad_lower(b, i, load, g, *, shape, kernel, stride, padding, ceil_mode, count_include_pad, divisor):
    if not g.dtype.is_floating_point:
        b.refuse("the mean of integers")
    d, total = b.compute(g.dtype), None
    for at, ok, _ in seers(b, i[1:-1], kernel, stride, padding, (1,) * len(kernel), g.shape[1:-1]):
        v = b.div(load(0, (i[0], *at, i[-1])), window_size(b, at, shape[1:-1], kernel, stride, padding, count_include_pad, divisor, d))
        v = b.select(ok, v, b.zero(d))
        total = v if total is None else b.add(total, v)
    return total


@primitive(GATHER, args="y", forms="", ns=(), grads=False, infer=lambda y, *, shape, **kw: y.like(shape), lower=avg_grad_lower,
           ref=lambda y, *, shape, **attrs: last(avg_pool_grad_ref(first(y), sizes=shape[1:-1], **attrs)),
           samples=lambda m: [((m.t(2, 4, 3), (2, 7, 3), (3,), (2,), (1,)), _AVG),
                              ((m.t(1, 2, 3, 2), (1, 4, 4, 2), (2, 2), (2, 1), (0, 0), False, False, None), {}),
                              ((m.t(0, 2, 2), (0, 4, 2), (2,), (2,), (0,)), {**_AVG, "divisor": 3})])
def avg_pool_nhwc_grad(y, shape, kernel, stride, padding, ceil_mode, count_include_pad, divisor):
    """The gradient of avg_pool_nhwc's input, of `shape`."""
    return (y,), {"shape": tuple(shape), "kernel": kernel, "stride": stride, "padding": padding, "ceil_mode": ceil_mode,
                  "count_include_pad": count_include_pad, "divisor": divisor}
