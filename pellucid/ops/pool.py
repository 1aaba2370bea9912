"""Pooling over sliding windows: maximum, average, power mean, and un-pooling. (Adaptive and fractional: pool_adaptive.py.)

Every maximum also yields its index into the flattened spatial plane; its gradient is `plane_scatter` of those indices,
whose own transpose is `plane_gather`. `avg_pool` and `avg_pool_grad` are each other's transposes.
"""
from __future__ import annotations

from ._common import Spec, as_int, describe, dt, fail, make_room, need_tensor, np
from ._windows import MOST_TAPS, at_offset, in_format_of, inner, offsets, pad_spatial, per_dim, taps_of
from .op import GATHER, REDUCE, SCATTER, F, composite, primitive


# ---------------------------------------------------------------------------------------------------- geometry
def out_size(n: int, k: int, s: int, p: int, d: int, ceil_mode: bool) -> int:
    """How many windows one dimension gives; with `ceil_mode` a last partial one, unless it starts in the padding."""
    last = n + 2 * p - d * (k - 1) - 1
    m = (-(-last // s) if ceil_mode else last // s) + 1
    if ceil_mode and (m - 1) * s >= n + p:
        m -= 1
    return m


def out_sizes(sizes, kernel, stride, padding, dilation, ceil_mode) -> tuple[int, ...]:
    return tuple(out_size(n, k, s, p, d, ceil_mode) for n, k, s, p, d in zip(sizes, kernel, stride, padding, dilation))


def margins(sizes, kernel, stride, padding, dilation, out) -> tuple[int, ...]:
    """How far the last window reaches past the input, per dimension (at least the padding)."""
    return tuple(max(p, (m - 1) * s + (k - 1) * d + 1 - n - p)
                 for n, k, s, p, d, m in zip(sizes, kernel, stride, padding, dilation, out))


def pool_shape(x, kernel, stride, padding, dilation, ceil_mode) -> tuple[int, ...]:
    """The result's shape; raises PyTorch's errors for geometry that does not fit."""
    for name, values in (("kernel size", kernel), ("stride", stride), ("dilation", dilation)):
        if min(values) <= 0:
            fail(RuntimeError, "P2740", f"{name} should be greater than zero, but got {list(values)}"
                 if name != "stride" or min(values) < 0 else "stride should not be zero", got=describe(x),
                 fix=f"{name} must be at least 1 in every dimension")
    for p, k, d in zip(padding, kernel, dilation):
        if p < 0:
            fail(RuntimeError, "P2741", f"pad must be non-negative, but got pad: {p}", got=describe(x), fix="padding must be 0 or more")
        if p > ((k - 1) * d + 1) // 2:
            fail(RuntimeError, "P2742", "pad should be at most half of effective kernel size, but got "
                 f"pad={p}, kernel_size={k} and dilation={d}", got=describe(x),
                 fix="a window must see at least one element: use less padding or a larger kernel_size")
    sizes = tuple(x.shape[2:])
    out = out_sizes(sizes, kernel, stride, padding, dilation, ceil_mode)
    if min(out) < 1:
        by = "x".join
        fail(RuntimeError, "P2743", f"Given input size: ({by(map(str, x.shape[1:]))}). Calculated output size: "
             f"({by(map(str, (x.shape[1], *(max(m, 0) for m in out))))}). Output size is too small",
             got=f"kernel_size={list(kernel)}, stride={list(stride)}, padding={list(padding)}, dilation={list(dilation)}",
             fix="the window does not fit: use a smaller kernel_size, padding, or a larger input")
    return tuple(x.shape[:2]) + out


# ---------------------------------------------------------------------------------------------------- planes
def flat_planes(a: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(a).reshape(a.shape[0] * a.shape[1], int(np.prod(a.shape[2:])))


def plane_gather_ref(a, index):
    planes, where = flat_planes(a), flat_planes(index)
    return np.take_along_axis(planes, where, 1).reshape(index.shape) if where.size else np.empty(index.shape, a.dtype)


def plane_scatter_ref(g, index, *, sizes, unique):
    planes = index.shape[0] * index.shape[1]
    r = np.zeros((planes, int(np.prod(sizes))), g.dtype)
    if g.size:
        where = (flat_planes(index) + np.arange(planes)[:, None] * r.shape[1]).reshape(-1)
        flat, values = r.reshape(-1), np.ascontiguousarray(g).reshape(-1)
        if unique:
            flat[where] = values
        else:
            np.add.at(flat, where, values)
    return r.reshape(index.shape[:2] + tuple(sizes))


def plane_place(b, load, i, sizes, guard=False):
    """Where in planes of `sizes` operand 1 points at `i`."""
    volume = int(np.prod(sizes))
    at = b.guarded(load(1, i), volume) if guard else b.kept(load(1, i), volume)
    return (i[0], i[1], *b.unflatten(at, sizes))


def plane_scatter_lower(b, g, index, *, sizes, unique):
    return b.scatter(g.shape, b.zero(g.dtype), "add", lambda i, load: (plane_place(b, load, i, sizes), load(0, i)))


def max_unpool_lower(b, s, index, *, sizes):
    return b.scatter(s.shape, b.zero(s.dtype), "set", lambda i, load: (plane_place(b, load, i, sizes, guard=True), load(0, i)))


def plane_samples(m):
    return [((m.t(2, 3, 5), m.i(2, 3, 4, high=5)), {}), ((m.t(1, 2, 3, 2), m.i(1, 2, 2, 2, high=6)), {}),
            ((m.t(0, 2, 3), m.i(0, 2, 2, high=3)), {})]


@primitive(GATHER, jvp="input", batch="rows", args="input index", forms="", ns=(), ref=plane_gather_ref, infer=lambda x, i: x.like(i.shape), low=False,
           lower=lambda b, i, load, x, index: load(0, plane_place(b, load, i, x.shape[2:])),
           samples=plane_samples,
           vjp={"input": lambda g, index, input_shape: F.plane_scatter(g, index, input_shape[2:])})
def plane_gather(input, index):
    """The elements of each (n, c) plane at positions in the flattened plane: (N, C, *spatial), (N, C, *out) -> (N, C, *out)."""
    return (input, index), {}


@primitive(SCATTER, jvp="g", batch="rows", args="g index", forms="", ns=(), ref=plane_scatter_ref, lower=plane_scatter_lower,
           infer=lambda g, i, *, sizes, unique: g.like((*i.shape[:2], *sizes)),
           samples=lambda m: [((*a, (2, 3)[:1] if a[0].ndim == 3 else (2, 3)), k) for a, k in scatter_samples(m)],
           vjp={"g": lambda g, index: F.plane_gather(g, index)})
def plane_scatter(g, index, sizes, unique=False):
    """The transpose of `plane_gather`: `g` added into zero planes of `sizes`. `unique`: no index comes twice in a plane."""
    return (g, index), {"sizes": tuple(sizes), "unique": unique}


def scatter_samples(m):
    return [((m.t(2, 3, 4), m.i(2, 3, 4, high=2)), {}), ((m.t(1, 2, 2, 2), m.i(1, 2, 2, 2, high=6)), {}),
            ((m.t(0, 2, 2), m.i(0, 2, 2, high=2)), {})]


# ---------------------------------------------------------------------------------------------------- maximum
_fitting: set = set()           # shapes and options that have been checked


def lowest(dtype: np.dtype):
    """What loses against every element."""
    if dtype.kind in "iu":
        return np.iinfo(dtype).min
    return False if dtype.kind == "b" else -np.inf


def max_pool_ref(a, *, kernel, stride, padding, dilation, ceil_mode):
    sizes = a.shape[2:]
    out = out_sizes(sizes, kernel, stride, padding, dilation, ceil_mode)
    x = pad_spatial(a, padding, margins(sizes, kernel, stride, padding, dilation, out), lowest(a.dtype))
    steps = np.cumprod((1, *sizes[:0:-1]))[::-1]            # plane index per step along each dimension
    order = list(offsets(kernel))
    best = at_offset(x, order[0], stride, dilation, out).copy()
    winner = np.zeros(best.shape, np.uint8 if len(order) < 256 else np.int32)
    for j, k in enumerate(order[1:], 1):                    # the first of equal elements wins
        v = at_offset(x, k, stride, dilation, out)
        np.maximum(winner, (v > best) * winner.dtype.type(j), out=winner)       # a later winner has the greater number
        np.maximum(best, v, out=best)
    if a.dtype.kind == "f" and np.isnan(best).any():        # np.maximum keeps NaN; the last one gives the index
        for j, k in enumerate(order):
            v = at_offset(x, k, stride, dilation, out)
            np.copyto(winner, j, where=v != v)
    which = np.array([sum(o * d * t for o, d, t in zip(k, dilation, steps)) for k in order], np.int64)[winner]
    for i, (m, s, p, t) in enumerate(zip(out, stride, padding, steps)):     # plus where each window starts
        which += ((np.arange(m) * s - p) * t).reshape(-1, *(1,) * (len(out) - 1 - i))
    if any(padding):
        which = fix_padding_ties(which, best, x, sizes, kernel, stride, padding, dilation, out, steps)
    return in_format_of(best, a), in_format_of(which, a)


def fix_padding_ties(which, best, x, sizes, kernel, stride, padding, dilation, out, steps):
    """Windows whose maximum equals the padding value (-inf, the least integer) must still point inside the input."""
    tied = best == lowest(best.dtype)
    if not tied.any():
        return which
    first = 0
    for i, (m, s, p, d, t) in enumerate(zip(out, stride, padding, dilation, steps)):
        start = np.arange(m) * s - p
        start = np.where(start < 0, start % d, start)       # the first of the window's positions that is inside
        first = first + (start * t).reshape(-1, *(1,) * (len(out) - 1 - i))
    return np.where(tied, first, which)


def max_pool_element(b, i, load, s, kernel, stride, padding, dilation):
    """The maximum of a window; for the second result its place in the plane, the first of equals, the last nan."""
    sizes = s.shape[2:]
    best = b.const(lowest(s.dtype.np) if s.dtype not in dt.LOW_PRECISION else -np.inf, s.dtype)
    first = []
    for w, st, p, d in zip(i[2:], stride, padding, dilation):
        x = b.isub(b.imul(w, st), p)
        first.append(b.iselect(b.ilt(x, 0), b.imod(x, d), x) if p else x)
    where = b.value(b.flatten(first, sizes))
    for hit, at in taps_of(b, i, sizes, kernel, stride, padding, dilation):
        v = load(0, at)
        if b.out == 0:
            best = b.max(best, b.select(hit, v, best))
        else:
            wins = b.and_(hit, b.or_(b.gt(v, best), b.isnan(v)))
            best, where = b.select(wins, v, best), b.select(wins, b.value(b.flatten(at[2:], sizes)), where)
    return best if b.out == 0 else where


def max_pool_lower(b, s, *, kernel, stride, padding, dilation, ceil_mode):
    return b.element(lambda i, load: max_pool_element(b, i, load, s, kernel, stride, padding, dilation))


def max_pool_infer(x: Spec, *, kernel, stride, padding, dilation, ceil_mode):
    shape = pool_shape(x, kernel, stride, padding, dilation, ceil_mode)
    return x.like(shape), x.like(shape, dt.int64)


def max_pool_vjp(gs, out1, input_shape, kernel, stride, dilation):
    apart = all(s > (k - 1) * d for k, s, d in zip(kernel, stride, dilation))       # windows that share no element
    return (F.plane_scatter(gs[0], out1, input_shape[2:], apart),)


@primitive(REDUCE, batch="rows", args="input", forms="", ns=(), ref=max_pool_ref, infer=max_pool_infer, nout=2, lower=max_pool_lower,
           vjp=max_pool_vjp,
           samples=lambda m: [((m.t(2, 3, 7), (3,), (2,), (1,), (1,), False), {}), ((m.t(1, 2, 5, 4), (2, 2), (2, 1), (0, 1), (1, 2), True), {}),
                              ((m.t(0, 2, 4), (2,), (2,), (0,), (1,), False), {})])
def max_pool(input, kernel, stride, padding, dilation, ceil_mode):
    """(maximum, index in the plane) over windows of (N, C, *spatial)."""
    attrs = {"kernel": kernel, "stride": stride, "padding": padding, "dilation": dilation, "ceil_mode": ceil_mode}
    key = (input.shape, kernel, stride, padding, dilation, ceil_mode)
    if key not in _fitting:
        check_fits(input, key)
    return (input,), attrs


def check_fits(input, key: tuple) -> None:
    """The errors of `pool_shape` for a shape and options that are not known to fit; they are from now on."""
    pool_shape(input, *key[1:])
    make_room(_fitting)
    _fitting.add(key)


def batched(fn: str, x, n: int, *, empty_ok: str = "batch"):
    """(x with a batch dimension, whether it had one); RuntimeError unless x is (C, *spatial) or (N, C, *spatial)."""
    shape = need_tensor(x, fn).shape
    ndim = len(shape)
    if ndim != n + 1 and ndim != n + 2 or 0 in shape and 0 in (tuple(shape)[1:] if ndim == n + 2 else shape):
        head = {1: "max_pool1d: ", 2: "", 3: ""}[n] if "max" in fn else f"{fn}: "
        fail(RuntimeError, "P2744", f"{head}Expected {n + 1}D or {n + 2}D (batch mode) tensor with optional 0 dim batch size for input, "
             f"but got:{list(shape)}", fix=f"{fn} takes (C, *spatial) or (N, C, *spatial) with {n} spatial dimensions")
    return (x, True) if ndim == n + 2 else (F.unsqueeze(x, 0), False)


def pool_options(fn, n, kernel_size, stride, padding, dilation=1):
    """kernel, stride (default: kernel), padding, dilation per dimension."""
    if type(kernel_size) is type(padding) is type(dilation) is int and (stride is None or type(stride) is int):
        return (kernel_size,) * n, (kernel_size if stride is None else stride,) * n, (padding,) * n, (dilation,) * n
    kernel = per_dim(kernel_size, n, fn, "kernel_size")
    no_stride = stride is None or isinstance(stride, (tuple, list)) and not stride
    return (kernel, kernel if no_stride else per_dim(stride, n, fn, "stride"), per_dim(padding, n, fn, "padding"),
            per_dim(dilation, n, fn, "dilation"))


def max_pool_nd(n, input, kernel_size, stride, padding, dilation, ceil_mode, return_indices):
    fn = f"max_pool{n}d"
    x, had_batch = batched(fn, input, n)
    d = x.dtype
    if d is dt.bool_ or d.category == dt.COMPLEX:
        fail(NotImplementedError, "P2745", f'"{fn}" not implemented for \'{x.dtype.type_name}\'', fix="convert to a float dtype first")
    values, index = F.max_pool(x, *pool_options(fn, n, kernel_size, stride, padding, dilation), bool(ceil_mode))
    if not had_batch:
        values, index = F.squeeze(values, 0), F.squeeze(index, 0)
    return (values, index) if return_indices else values


def max_samples(n):
    def samples(m):
        s = (6, 5, 4)[:n]
        return [((m.t(2, 2, *s), 2), {}), ((m.t(2, *s), 3), {"stride": 1, "padding": 1, "ceil_mode": True}),
                ((m.t(0, 2, *s), 2), {})]
    return samples


_BOTH = ("", "nn.functional")


@composite(ns=_BOTH, samples=max_samples(1))
def max_pool1d(input, kernel_size, stride=None, padding=0, dilation=1, ceil_mode=False, return_indices=False):
    """Maximum over windows of (N, C, L) or (C, L); with `return_indices` also the positions."""
    return max_pool_nd(1, input, kernel_size, stride, padding, dilation, ceil_mode, return_indices)


@composite(ns=_BOTH, samples=max_samples(2))
def max_pool2d(input, kernel_size, stride=None, padding=0, dilation=1, ceil_mode=False, return_indices=False):
    """Maximum over windows of (N, C, H, W) or (C, H, W); with `return_indices` also the positions in H * W."""
    return max_pool_nd(2, input, kernel_size, stride, padding, dilation, ceil_mode, return_indices)


@composite(ns=_BOTH, samples=max_samples(3))
def max_pool3d(input, kernel_size, stride=None, padding=0, dilation=1, ceil_mode=False, return_indices=False):
    """Maximum over windows of (N, C, D, H, W) or (C, D, H, W); with `return_indices` also the positions."""
    return max_pool_nd(3, input, kernel_size, stride, padding, dilation, ceil_mode, return_indices)


@composite(ns=_BOTH, samples=max_samples(1))
def max_pool1d_with_indices(input, kernel_size, stride=None, padding=0, dilation=1, ceil_mode=False, return_indices=False):
    """`max_pool1d` that returns (values, indices)."""
    return max_pool_nd(1, input, kernel_size, stride, padding, dilation, ceil_mode, True)


@composite(ns="nn.functional", samples=max_samples(2))
def max_pool2d_with_indices(input, kernel_size, stride=None, padding=0, dilation=1, ceil_mode=False, return_indices=False):
    """`max_pool2d` that returns (values, indices)."""
    return max_pool_nd(2, input, kernel_size, stride, padding, dilation, ceil_mode, True)


@composite(ns="nn.functional", samples=max_samples(3))
def max_pool3d_with_indices(input, kernel_size, stride=None, padding=0, dilation=1, ceil_mode=False, return_indices=False):
    """`max_pool3d` that returns (values, indices)."""
    return max_pool_nd(3, input, kernel_size, stride, padding, dilation, ceil_mode, True)


# ---------------------------------------------------------------------------------------------------- un-pooling
def max_unpool_ref(a, index, *, sizes):
    volume = int(np.prod(sizes))
    r = np.zeros((*a.shape[:2], volume), a.dtype)
    if a.size:
        wrong = index[(index < 0) | (index >= volume)]
        if wrong.size:
            fail(RuntimeError, "P2751", f"Found an invalid max index: {wrong[0]} (output volumes are of size {'x'.join(map(str, sizes))})",
                 fix="pass the indices and the output_size of the max_pool call that is undone")
        np.put_along_axis(r.reshape(-1, r.shape[-1]), flat_planes(index), flat_planes(a), 1)
    return r.reshape(*a.shape[:2], *sizes)


def max_unpool_infer(x: Spec, i: Spec, *, sizes) -> Spec:
    return x.like((*x.shape[:2], *sizes))


@primitive(SCATTER, batch="rows", args="input index", forms="", ns=(), ref=max_unpool_ref, lower=max_unpool_lower, infer=max_unpool_infer, low=False,
           vjp={"input": lambda g, index: F.plane_gather(g, index)},
           samples=lambda m: [((m.t(2, 3, 1), m.i(2, 3, 1, high=4), (4,)), {}), ((m.t(1, 2, 1, 1), m.i(1, 2, 1, 1, high=6), (2, 3)), {}),
                              ((m.t(0, 2, 2), m.i(0, 2, 2, high=3), (3,)), {})])
def max_unpool(input, index, sizes):
    """Zeros of `sizes` with each element of `input` at its index in the flattened plane."""
    return (input, index), {"sizes": sizes}


def unpool_sizes(sizes, kernel, stride, padding, output_size) -> tuple[int, ...]:
    """The size that un-pooling makes: the smallest that fits, or `output_size` when it is possible (ValueError if not)."""
    default = [(n - 1) * s + k - 2 * p for n, k, s, p in zip(sizes, kernel, stride, padding)]
    if output_size is None:
        return tuple(default)
    asked = tuple(int(s) for s in output_size)
    if len(asked) == len(kernel) + 2:
        asked = asked[2:]
    if len(asked) != len(kernel):
        fail(ValueError, "P2746", f"output_size should be a sequence containing {len(kernel)} or {len(kernel) + 2} elements, "
             f"but it has a length of '{len(output_size)}'")
    for d, (n, m, s) in enumerate(zip(asked, default, stride)):
        if not m - s < n < m + s:
            fail(ValueError, "P2747", f'invalid output_size "{asked}" (dim {d} must be between {m - s} and {m + s})')
    return asked


def max_unpool_nd(n, input, indices, kernel_size, stride, padding, output_size):
    fn = f"max_unpooling{n}d"
    need_tensor(input, fn), need_tensor(indices, fn, "indices", 2)
    kernel, stride, padding, _ = pool_options(fn, n, kernel_size, stride, padding)
    if input.ndim not in (n + 1, n + 2):
        fail(RuntimeError, "P2748", f"Input to {fn} should be a {n + 1}d or {n + 2}d Tensor, but got a tensor with {input.ndim} dimensions.",
             fix="the dimensions are (batch, channels, *spatial)")
    if indices.dtype is not dt.int64:
        fail(RuntimeError, "P2749", f"elements in indices should be type int64 but got: {indices.dtype.type_name.capitalize()}")
    if tuple(indices.shape) != tuple(input.shape):
        fail(RuntimeError, "P2750", f"Expected shape of indices to be same as that of the input tensor ({list(input.shape)}) but got "
             f"indices tensor with shape: {list(indices.shape)}")
    sizes = unpool_sizes(input.shape[-n:], kernel, stride, padding, output_size)
    if input.ndim == n + 2:
        return F.max_unpool(input, indices, sizes)
    return F.squeeze(F.max_unpool(F.unsqueeze(input, 0), F.unsqueeze(indices, 0), sizes), 0)


def unpool_samples(n):
    def samples(m):
        s = (2, 3, 2)[:n]
        return [((m.t(2, 2, *(1,) * n), m.i(2, 2, *(1,) * n, high=2 ** n), 2), {}), ((m.t(2, *(1,) * n), m.i(2, *(1,) * n, high=3), 3), {"padding": 0}),
                ((m.t(0, 2, *s), m.i(0, 2, *s), 2), {})]
    return samples


@composite(ns="nn.functional", samples=unpool_samples(1))
def max_unpool1d(input, indices, kernel_size, stride=None, padding=0, output_size=None):
    """The partial inverse of `max_pool1d`: every maximum back at its position, zeros elsewhere."""
    return max_unpool_nd(1, input, indices, kernel_size, stride, padding, output_size)


@composite(ns="nn.functional", samples=unpool_samples(2))
def max_unpool2d(input, indices, kernel_size, stride=None, padding=0, output_size=None):
    """The partial inverse of `max_pool2d`: every maximum back at its position, zeros elsewhere."""
    return max_unpool_nd(2, input, indices, kernel_size, stride, padding, output_size)


@composite(ns="nn.functional", samples=unpool_samples(3))
def max_unpool3d(input, indices, kernel_size, stride=None, padding=0, output_size=None):
    """The partial inverse of `max_pool3d`: every maximum back at its position, zeros elsewhere."""
    return max_unpool_nd(3, input, indices, kernel_size, stride, padding, output_size)


# ---------------------------------------------------------------------------------------------------- average
def window_sizes(sizes, kernel, stride, padding, out, count_include_pad, divisor) -> np.ndarray | int:
    """What each window's sum is divided by: an array that broadcasts over the plane, or one number."""
    if divisor is not None:
        return divisor
    total = 1
    for i, (n, k, s, p, m) in enumerate(zip(sizes, kernel, stride, padding, out)):
        start = np.arange(m) * s - p
        end = np.minimum(start + k, n + p)
        count = end - start if count_include_pad else np.minimum(end, n) - np.maximum(start, 0)
        total = total * count.reshape(-1, *(1,) * (len(out) - 1 - i))
    return total


def divided(a: np.ndarray, by) -> np.ndarray:
    """`a / by` in `a`'s dtype; integers are cut towards zero."""
    if a.dtype.kind in "iu":
        return (np.sign(a) * (np.abs(a) // by)).astype(a.dtype)
    return a / np.asarray(by, a.dtype)


def avg_pool_ref(a, *, kernel, stride, padding, ceil_mode, count_include_pad, divisor):
    sizes, ones = a.shape[2:], (1,) * len(kernel)
    out = out_sizes(sizes, kernel, stride, padding, ones, ceil_mode)
    x = pad_spatial(a, padding, margins(sizes, kernel, stride, padding, ones, out))
    total = np.zeros((*a.shape[:2], *out), a.dtype)
    for k in offsets(kernel):
        total += at_offset(x, k, stride, ones, out)
    return in_format_of(divided(total, window_sizes(sizes, kernel, stride, padding, out, count_include_pad, divisor)), a)


def avg_pool_grad_ref(g, *, sizes, kernel, stride, padding, ceil_mode, count_include_pad, divisor):
    ones, out = (1,) * len(kernel), g.shape[2:]
    after = margins(sizes, kernel, stride, padding, ones, out)
    g = divided(g, window_sizes(sizes, kernel, stride, padding, out, count_include_pad, divisor))
    z = np.zeros((*g.shape[:2], *(b + n + e for b, n, e in zip(padding, sizes, after))), g.dtype)
    for k in offsets(kernel):
        at_offset(z, k, stride, ones, out)[...] += g
    return np.ascontiguousarray(inner(z, padding, sizes))


def shared(b, v, w, sizes, kernel, stride, padding, out, count_include_pad, divisor):
    """`v` divided by what the window `w` of the plane is divided by."""
    if not v.dtype.is_floating_point:
        b.refuse("means of integers")
    by = window_sizes(sizes, kernel, stride, padding, out, count_include_pad, divisor)
    if np.ndim(by) == 0 or by.size == 0 or (by == by.flat[0]).all():
        return b.div(v, float(by if np.ndim(by) == 0 else by.flat[0] if by.size else 1))
    total = None
    for x, n, k, s, p in zip(w, sizes, kernel, stride, padding):
        start = b.value(b.isub(b.imul(x, s), p))
        end = b.min(b.add(start, k), n + p)
        size = b.sub(end, start) if count_include_pad else b.sub(b.min(end, n), b.max(start, 0))
        total = size if total is None else b.mul(total, size)
    return b.div(v, b.cast(total, v.dtype))


def avg_pool_lower(b, s, *, kernel, stride, padding, ceil_mode, count_include_pad, divisor):
    sizes, ones = s.shape[2:], (1,) * len(kernel)
    out = out_sizes(sizes, kernel, stride, padding, ones, ceil_mode)

    def element(i, load):
        total = b.zero(s.dtype)
        for hit, at in taps_of(b, i, sizes, kernel, stride, padding, ones):
            total = b.add(total, b.select(hit, load(0, at), b.zero(s.dtype)))
        return shared(b, total, i[2:], sizes, kernel, stride, padding, out, count_include_pad, divisor)
    return b.element(element)


def avg_pool_grad_lower(b, g, *, sizes, kernel, stride, padding, ceil_mode, count_include_pad, divisor):
    """Each element gathers from the windows that saw it."""
    out = g.shape[2:]
    if np.prod(kernel) > MOST_TAPS:
        b.refuse(f"windows of more than {MOST_TAPS} elements")

    def element(i, load):
        total = b.zero(g.dtype)
        for offset in offsets(kernel):
            hit, w = b.const(True, dt.bool_), []
            for x, o, s, p, m in zip(i[2:], offset, stride, padding, out):
                t = b.iadd(x, p - o)
                hit = b.and_(hit, b.and_(b.ieq(b.imod(t, s), 0), b.iwithin(b.idiv(t, s), 0, m)))
                w.append(b.clamp(b.idiv(t, s), 0, m - 1))
            v = shared(b, load(0, (i[0], i[1], *w)), w, sizes, kernel, stride, padding, out, count_include_pad, divisor)
            total = b.add(total, b.select(hit, v, b.zero(g.dtype)))
        return total
    return b.element(element)


def avg_pool_infer(x: Spec, *, kernel, stride, padding, ceil_mode, count_include_pad, divisor) -> Spec:
    return x.like(pool_shape(x, kernel, stride, padding, (1,) * len(kernel), ceil_mode))


@primitive(REDUCE, jvp="input", batch="rows", args="input", forms="", ns=(), ref=avg_pool_ref, infer=avg_pool_infer, lower=avg_pool_lower,
           vjp={"input": lambda g, input_shape, attrs_: F.avg_pool_grad(g, input_shape[2:], **attrs_)},
           samples=lambda m: [((m.t(2, 3, 7), (3,), (2,), (1,)), {}), ((m.t(1, 2, 5, 4), (2, 2), (2, 1), (0, 1), True, False), {}),
                              ((m.t(0, 2, 4), (2,), (2,), (0,)), {"divisor": 3})])
def avg_pool(input, kernel, stride, padding, ceil_mode=False, count_include_pad=True, divisor=None):
    """The mean over windows of (N, C, *spatial)."""
    attrs = {"kernel": kernel, "stride": stride, "padding": padding, "ceil_mode": ceil_mode,
             "count_include_pad": count_include_pad, "divisor": divisor}
    key = (input.shape, kernel, stride, padding, (1,) * len(kernel), ceil_mode)
    if key not in _fitting:
        check_fits(input, key)
    return (input,), attrs


@primitive(SCATTER, jvp="y", batch="rows", args="y", forms="", ns=(), ref=avg_pool_grad_ref, lower=avg_pool_grad_lower, infer=lambda y, *, sizes, **kw: y.like((*y.shape[:2], *sizes)),
           vjp={"y": lambda g, attrs_: F.avg_pool(g, **{k: v for k, v in attrs_.items() if k != "sizes"})},
           samples=lambda m: [((m.t(2, 3, 4), (7,), (3,), (2,), (1,)), {}), ((m.t(1, 2, 2, 3), (4, 4), (2, 2), (2, 1), (0, 0)), {"count_include_pad": False}),
                              ((m.t(0, 2, 2), (4,), (2,), (2,), (0,)), {"divisor": 3})])
def avg_pool_grad(y, sizes, kernel, stride, padding, ceil_mode=False, count_include_pad=True, divisor=None):
    """The transpose of `avg_pool`: every mean's gradient spread over its window."""
    return (y,), {"sizes": tuple(sizes), "kernel": kernel, "stride": stride, "padding": padding, "ceil_mode": ceil_mode,
                  "count_include_pad": count_include_pad, "divisor": divisor}


def avg_pool_nd(n, input, kernel_size, stride, padding, ceil_mode, count_include_pad, divisor_override=None):
    fn = f"avg_pool{n}d"
    need_tensor(input, fn)
    shape = input.shape
    if len(shape) not in (n + 1, n + 2):
        fail(RuntimeError, "P2752", f"Expected {n + 1} to {n + 2} dimensions, but got {input.ndim}-dimensional tensor for argument #1 "
             f"'self' (while checking arguments for {fn})", got=describe(input),
             fix="the dimensions are (batch, channels, *spatial); add a missing one with unsqueeze")
    if divisor_override is not None and as_int(divisor_override, fn, "divisor_override") == 0:
        fail(RuntimeError, "P2753", "divisor must be not zero")
    kernel, stride, padding, _ = pool_options(fn, n, kernel_size, stride, padding)
    x = input if len(shape) == n + 2 else F.unsqueeze(input, 0)
    if 0 in shape and 0 in tuple(x.shape)[1:]:
        fail(RuntimeError, "P2754", f"Expected {n + 1}D or {n + 2}D (batch mode) tensor with optional 0 dim batch size for input, but "
             f"got: {list(input.shape)}", fix="the dimensions are (batch, channels, *spatial); add a missing one with unsqueeze")
    y = F.avg_pool(x, kernel, stride, padding, bool(ceil_mode), bool(count_include_pad), divisor_override)
    return y if x is input else F.squeeze(y, 0)


@composite(ns=_BOTH, samples=max_samples(1))
def avg_pool1d(input, kernel_size, stride=None, padding=0, ceil_mode=False, count_include_pad=True):
    """The mean over windows of (N, C, L) or (C, L)."""
    return avg_pool_nd(1, input, kernel_size, stride, padding, ceil_mode, count_include_pad)


@composite(ns="nn.functional", samples=max_samples(2))
def avg_pool2d(input, kernel_size, stride=None, padding=0, ceil_mode=False, count_include_pad=True, divisor_override=None):
    """The mean over windows of (N, C, H, W) or (C, H, W)."""
    return avg_pool_nd(2, input, kernel_size, stride, padding, ceil_mode, count_include_pad, divisor_override)


@composite(ns="nn.functional", samples=max_samples(3))
def avg_pool3d(input, kernel_size, stride=None, padding=0, ceil_mode=False, count_include_pad=True, divisor_override=None):
    """The mean over windows of (N, C, D, H, W) or (C, D, H, W)."""
    return avg_pool_nd(3, input, kernel_size, stride, padding, ceil_mode, count_include_pad, divisor_override)


# ---------------------------------------------------------------------------------------------------- power mean
def lp_pool_nd(n, input, norm_type, kernel_size, stride, ceil_mode):
    kernel, stride, padding, _ = pool_options(f"lp_pool{n}d", n, kernel_size, stride, 0)
    power = F.pow(input, norm_type)
    mean = avg_pool_nd(n, power, kernel, stride, padding, ceil_mode, True)
    # sign(m) * |m| keeps a negative mean at 0, where a fractional power has no value
    kept = F.mul(F.sign(mean), F.relu(F.abs(mean)))
    return F.pow(F.mul(kept, int(np.prod(kernel))), 1.0 / norm_type)


def lp_samples(n):
    def samples(m):
        s = (6, 5, 4)[:n]
        return [((m.t(2, 2, *s, low=0.5), 2.0, 2), {}), ((m.t(2, *s, low=0.5), 3.0, 3), {"stride": 1}), ((m.t(0, 2, *s), 2.0, 2), {})]
    return samples


@composite(ns="nn.functional", samples=lp_samples(1))
def lp_pool1d(input, norm_type, kernel_size, stride=None, ceil_mode=False):
    """(sum of x**p over windows)**(1/p) of (N, C, L) or (C, L)."""
    return lp_pool_nd(1, input, norm_type, kernel_size, stride, ceil_mode)


@composite(ns="nn.functional", samples=lp_samples(2))
def lp_pool2d(input, norm_type, kernel_size, stride=None, ceil_mode=False):
    """(sum of x**p over windows)**(1/p) of (N, C, H, W) or (C, H, W)."""
    return lp_pool_nd(2, input, norm_type, kernel_size, stride, ceil_mode)


@composite(ns="nn.functional", samples=lp_samples(3))
def lp_pool3d(input, norm_type, kernel_size, stride=None, ceil_mode=False):
    """(sum of x**p over windows)**(1/p) of (N, C, D, H, W) or (C, D, H, W)."""
    return lp_pool_nd(3, input, norm_type, kernel_size, stride, ceil_mode)
