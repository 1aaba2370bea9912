"""Adaptive pooling (the output size is given, windows follow) and fractional max pooling (windows are random).

Adaptive windows along one dimension of size n for m results: from floor(i n / m) to ceil((i + 1) n / m). They are
products of one-dimensional windows, so every dimension is reduced in turn.
"""
from __future__ import annotations

from ._common import as_int, describe, dt, fail, need_tensor, np
from ._windows import in_format_of, per_dim, taps_of
from .op import REDUCE, SCATTER, F, composite, primitive
from .pool import max_pool_element


def starts_ends(n: int, m: int) -> tuple[np.ndarray, np.ndarray]:
    """Where the `m` windows of a dimension of size `n` start and end."""
    i = np.arange(m)
    return i * n // m, -(-(i + 1) * n // m)


# ---------------------------------------------------------------------------------------------------- average
def average_along(a: np.ndarray, axis: int, m: int) -> np.ndarray:
    n = a.shape[axis]
    if n == m:
        return a
    if m and n % m == 0:
        return a.reshape(*a.shape[:axis], m, n // m, *a.shape[axis + 1:]).mean(axis + 1, dtype=a.dtype)
    start, end = starts_ends(n, m)
    r = np.empty((*a.shape[:axis], m, *a.shape[axis + 1:]), a.dtype)
    lead = (slice(None),) * axis
    for i, (s, e) in enumerate(zip(start.tolist(), end.tolist())):
        np.mean(a[(*lead, slice(s, e))], axis, out=r[(*lead, i)])
    return r


def spread_along(g: np.ndarray, axis: int, n: int) -> np.ndarray:
    """The transpose of `average_along`, back to size `n`."""
    m = g.shape[axis]
    if n == m:
        return g
    lead = (slice(None),) * axis
    if m and n % m == 0:
        return np.repeat(g, n // m, axis) / np.asarray(n // m, g.dtype)
    r = np.zeros((*g.shape[:axis], n, *g.shape[axis + 1:]), g.dtype)
    for i, (s, e) in enumerate(zip(*(x.tolist() for x in starts_ends(n, m)))):
        r[(*lead, slice(s, e))] += g[(*lead, slice(i, i + 1))] / np.asarray(e - s, g.dtype)
    return r


def adaptive_avg_ref(a, *, out):
    r = a
    for i, m in enumerate(out):
        r = average_along(r, 2 + i, m)
    return in_format_of(np.array(r, order="C"), a)


def adaptive_avg_grad_ref(g, *, sizes):
    for i, n in enumerate(sizes):
        g = spread_along(g, 2 + i, n)
    return np.array(g, order="C")


def even_windows(b, sizes, out) -> tuple[int, ...]:
    """The size of each window, where all are equal and do not overlap."""
    if any(m == 0 or n % m for n, m in zip(sizes, out)):
        b.refuse("adaptive windows of unequal sizes")
    return tuple(n // m for n, m in zip(sizes, out))


def adaptive_avg_lower(b, s, *, out):
    sizes = s.shape[2:]
    kernel = even_windows(b, sizes, out)
    if s.dtype.category < dt.FLOAT:
        b.refuse("means of integers")
    if set(out) == {1}:
        dims = tuple(range(2, s.ndim))
        return b.reduction("add", s, dims, True, post=lambda total: b.div(total, int(np.prod(sizes))))
    none, ones = (0,) * len(out), (1,) * len(out)

    def element(i, load):
        total = b.zero(s.dtype)
        for _, at in taps_of(b, i, sizes, kernel, kernel, none, ones):
            total = b.add(total, load(0, at))
        return b.div(total, int(np.prod(kernel)))
    return b.element(element)


def adaptive_avg_grad_lower(b, g, *, sizes):
    kernel = even_windows(b, sizes, g.shape[2:])

    def element(i, load):
        v = load(0, (i[0], i[1], *[b.idiv(x, k) for x, k in zip(i[2:], kernel)]))
        for k in kernel:
            v = b.div(v, k)
        return v
    return b.element(element)


def adaptive_max_lower(b, s, *, out):
    kernel = even_windows(b, s.shape[2:], out)
    none, ones = (0,) * len(out), (1,) * len(out)
    return b.element(lambda i, load: max_pool_element(b, i, load, s, kernel, kernel, none, ones))


def adaptive_samples(m):
    return [((m.t(2, 3, 7), (3,)), {}), ((m.t(1, 2, 5, 4), (2, 2)), {}), ((m.t(0, 2, 4), (3,)), {})]


@primitive(REDUCE, jvp="input", batch="rows", args="input", forms="", ns=(), ref=adaptive_avg_ref, lower=adaptive_avg_lower, infer=lambda x, *, out: x.like((*x.shape[:2], *out)),
           samples=adaptive_samples, vjp={"input": lambda g, input_shape: F.adaptive_avg_pool_grad(g, input_shape[2:])})
def adaptive_avg_pool(input, out):
    """The mean over adaptive windows of (N, C, *spatial): the result's spatial sizes are `out`."""
    return (input,), {"out": tuple(out)}


@primitive(SCATTER, jvp="y", batch="rows", args="y", forms="", ns=(), ref=adaptive_avg_grad_ref, lower=adaptive_avg_grad_lower, infer=lambda y, *, sizes: y.like((*y.shape[:2], *sizes)),
           samples=lambda m: [((m.t(2, 3, 3), (7,)), {}), ((m.t(1, 2, 2, 2), (5, 4)), {}), ((m.t(0, 2, 3), (4,)), {})],
           vjp={"y": lambda g, y_shape: F.adaptive_avg_pool(g, y_shape[2:])})
def adaptive_avg_pool_grad(y, sizes):
    """The transpose of `adaptive_avg_pool`, back to spatial `sizes`."""
    return (y,), {"sizes": tuple(sizes)}


# ---------------------------------------------------------------------------------------------------- maximum
def best_along(values: np.ndarray, index: np.ndarray, axis: int, start: np.ndarray, length: np.ndarray):
    """The greatest of `values` in each window along `axis`, and its `index`; the first one wins, NaN beats all."""
    best = np.take(values, start, axis)
    which = np.take(index, start, axis)
    shape = (-1,) + (1,) * (values.ndim - 1 - axis)
    for t in range(1, int(length.max(initial=0))):
        inside = (t < length).reshape(shape)
        at = np.minimum(start + t, values.shape[axis] - 1)
        v = np.take(values, at, axis)
        wins = (v > best) | (v != v)
        wins &= inside
        np.copyto(best, v, where=wins)
        np.copyto(which, np.take(index, at, axis), where=wins)
    return best, which


def plane_index(shape) -> np.ndarray:
    """Each element's position in its flattened plane, broadcast over (N, C)."""
    return np.broadcast_to(np.arange(int(np.prod(shape[2:]))).reshape(shape[2:]), shape)


def adaptive_max_ref(a, *, out):
    best, index = a, plane_index(a.shape)
    for axis in range(a.ndim - 1, 1, -1):       # last dimension first, so that ties go to the first in memory
        start, end = starts_ends(a.shape[axis], out[axis - 2])
        best, index = best_along(best, index, axis, start, end - start)
    return in_format_of(best, a), in_format_of(index, a)


@primitive(REDUCE, batch="rows", args="input", forms="", ns=(), ref=adaptive_max_ref, lower=adaptive_max_lower, nout=2, samples=adaptive_samples,
           infer=lambda x, *, out: (x.like((*x.shape[:2], *out)), x.like((*x.shape[:2], *out), dt.int64)),
           vjp=lambda gs, out, input_shape: (F.plane_scatter(gs[0], out[1], input_shape[2:]),))
def adaptive_max_pool(input, out):
    """(maximum, index in the plane) over adaptive windows of (N, C, *spatial)."""
    return (input,), {"out": tuple(out)}


# ---------------------------------------------------------------------------------------------------- public forms
def adaptive_sizes(fn: str, n: int, output_size, x) -> tuple[int, ...]:
    """The output size per dimension; None keeps the input's."""
    v = tuple(output_size) if isinstance(output_size, (tuple, list)) else (output_size,) * n
    if len(v) != n:
        fail(RuntimeError, "P2760", f"{fn}: output_size must be {n}", got=f"output_size={output_size}",
             fix="give one number for all dimensions, or one for each; None keeps a size")
    v = tuple(x.shape[x.ndim - n + i] if s is None else as_int(s, fn, "output_size") for i, s in enumerate(v))
    if min(v) < 0:
        fail(RuntimeError, "P2761", f"{fn}: elements of output_size must be greater than or equal to 0 but received "
             "{" + ", ".join(map(str, v)) + "}")
    return v


def adaptive(n: int, kind: str, input, output_size):
    """The adaptive pool `kind` of (C, *spatial) or (N, C, *spatial): what the primitive gives."""
    fn = f"adaptive_{kind}_pool{n}d"
    need_tensor(input, fn)
    if isinstance(output_size, (tuple, list)) and 0 < input.ndim <= len(output_size) and n > 1:
        fail(ValueError, "P2762", f"Input dimension should be at least {len(output_size) + 1}", got=describe(input))
    if input.ndim not in (n + 1, n + 2):
        what = (f"Expected {n + 1} to {n + 2} dimensions, but got {input.ndim}-dimensional tensor for argument #1 'self' "
                f"(while checking arguments for {fn})") if n == 1 else \
            f"{fn}(): Expected {n + 1}D or {n + 2}D tensor, but got {list(input.shape)}"
        fail(RuntimeError, "P2763", what)
    out = adaptive_sizes(fn, n, output_size, input)
    empty = [d for d in range(-n, 0) if input.shape[d] == 0]
    if empty and all(out):
        fail(RuntimeError, "P2764", f"{fn}(): Expected input to have non-zero size for non-batch dimensions, but input has sizes "
             f"{list(input.shape)} with dimension {input.ndim + empty[0]} being empty")
    pool = F.adaptive_avg_pool if kind == "avg" else F.adaptive_max_pool
    if input.ndim == n + 2:
        return pool(input, out)
    r = pool(F.unsqueeze(input, 0), out)
    return tuple(F.squeeze(x, 0) for x in r) if isinstance(r, tuple) else F.squeeze(r, 0)


def adaptive_max(n: int, input, output_size, return_indices):
    values, index = adaptive(n, "max", input, output_size)
    return (values, index) if return_indices else values


_BOTH = ("", "nn.functional")


def pool_samples(n):
    def samples(m):
        s = (6, 5, 4)[:n]
        return [((m.t(2, 2, *s), 2), {}), ((m.t(2, *s), (3,) * n), {}), ((m.t(0, 2, *s), 1), {})]
    return samples


@composite(ns=_BOTH, samples=pool_samples(1))
def adaptive_avg_pool1d(input, output_size):
    """The mean over `output_size` windows of (N, C, L) or (C, L)."""
    return adaptive(1, "avg", input, output_size)


@composite(ns="nn.functional", samples=pool_samples(2))
def adaptive_avg_pool2d(input, output_size):
    """The mean over windows of (N, C, H, W) or (C, H, W), as many as `output_size`; None keeps a dimension's size."""
    return adaptive(2, "avg", input, output_size)


@composite(ns="nn.functional", samples=pool_samples(3))
def adaptive_avg_pool3d(input, output_size):
    """The mean over windows of (N, C, D, H, W) or (C, D, H, W), as many as `output_size`; None keeps a dimension's size."""
    return adaptive(3, "avg", input, output_size)


@composite(ns="nn.functional", samples=pool_samples(1))
def adaptive_max_pool1d(input, output_size, return_indices=False):
    """The maximum over `output_size` windows of (N, C, L) or (C, L)."""
    return adaptive_max(1, input, output_size, return_indices)


@composite(ns="nn.functional", samples=pool_samples(2))
def adaptive_max_pool2d(input, output_size, return_indices=False):
    """The maximum over windows of (N, C, H, W) or (C, H, W), as many as `output_size`; None keeps a dimension's size."""
    return adaptive_max(2, input, output_size, return_indices)


@composite(ns="nn.functional", samples=pool_samples(3))
def adaptive_max_pool3d(input, output_size, return_indices=False):
    """The maximum over windows of (N, C, D, H, W) or (C, D, H, W), as many as `output_size`; None keeps a size."""
    return adaptive_max(3, input, output_size, return_indices)


@composite(ns="nn.functional", samples=pool_samples(1))
def adaptive_max_pool1d_with_indices(input, output_size, return_indices=False):
    """`adaptive_max_pool1d` that returns (values, indices)."""
    return adaptive_max(1, input, output_size, True)


@composite(ns="nn.functional", samples=pool_samples(2))
def adaptive_max_pool2d_with_indices(input, output_size, return_indices=False):
    """`adaptive_max_pool2d` that returns (values, indices)."""
    return adaptive_max(2, input, output_size, True)


@composite(ns="nn.functional", samples=pool_samples(3))
def adaptive_max_pool3d_with_indices(input, output_size, return_indices=False):
    """`adaptive_max_pool3d` that returns (values, indices)."""
    return adaptive_max(3, input, output_size, True)


# ---------------------------------------------------------------------------------------------------- fractional
def fractional_starts(u: np.ndarray, n: int, m: int, k: int) -> np.ndarray:
    """Where the `m` windows of size `k` start, for each uniform sample in `u` (Graham's pseudo-random sequence)."""
    if m == 1:
        return np.full((*u.shape, 1), n - k)
    alpha = u.dtype.type((n - k) / (m - 1))
    i = np.arange(m - 1, dtype=u.dtype)
    first = ((i + u[..., None]) * alpha).astype(np.int64) - (u[..., None] * alpha).astype(np.int64)
    return np.concatenate([first, np.full((*u.shape, 1), n - k)], -1)


def fractional_ref(a, samples, *, kernel, out):
    dims, samples = len(kernel), samples[:a.shape[0]]
    # PyTorch's samples: (W, H) for two dimensions, (D, H, W) for three.
    order = (1, 0) if dims == 2 else (0, 1, 2)
    starts = [fractional_starts(samples[..., order[d]], a.shape[2 + d], out[d], kernel[d])
              .reshape(*a.shape[:2], *(out[d] if e == d else 1 for e in range(dims))) for d in range(dims)]
    n, c = (np.arange(s).reshape(-1, *(1,) * (1 - d + dims)) for d, s in enumerate(a.shape[:2]))
    best = which = None
    steps = np.cumprod((1, *a.shape[:2:-1]))[::-1]
    for k in np.ndindex(*kernel):
        at = [s + o for s, o in zip(starts, k)]
        v = a[(n, c, *at)]
        where = sum(i * t for i, t in zip(at, steps))
        if best is None:
            best, which = v, where
            continue
        wins = (v > best) | (v != v)
        np.copyto(best, v, where=wins)
        which = np.where(wins, where, which)
    return best, which


@primitive(REDUCE, batch="rows", args="input samples", forms="", ns=(), ref=fractional_ref, nout=2,
           infer=lambda x, u, *, kernel, out: (x.like((*x.shape[:2], *out)), x.like((*x.shape[:2], *out), dt.int64)),
           samples=lambda m: [((m.t(2, 3, 7, 6), m.t(2, 3, 2, low=0, high=1).detach(), (2, 2), (3, 3)), {}),
                              ((m.t(1, 2, 5, 5, 5), m.t(1, 2, 3, low=0, high=1).detach(), (2, 1, 2), (2, 3, 2)), {}),
                              ((m.t(0, 2, 4, 4), m.t(0, 2, 2, low=0, high=1).detach(), (2, 2), (2, 2)), {})],
           vjp=lambda gs, out, input_shape: (F.plane_scatter(gs[0], out[1], input_shape[2:]), None))
def fractional_max(input, samples, kernel, out):
    """(maximum, index in the plane) over windows of (N, C, *spatial) whose places follow from uniform `samples` (N, C, dims)."""
    return (input, samples), {"kernel": tuple(kernel), "out": tuple(out)}


def fractional(n, input, kernel_size, output_size, output_ratio, return_indices, samples):
    fn = f"fractional_max_pool{n}d"
    need_tensor(input, fn)
    if output_size is None and output_ratio is None:
        fail(ValueError, "P2765", f"{fn} requires specifying either an output_size or an output_ratio")
    if input.ndim not in (n + 1, n + 2) or 0 in tuple(input.shape)[input.ndim - n - 1:]:
        fail(RuntimeError, "P2766", f"{fn}: Expected {n + 1}D or {n + 2}D tensor with non-zero sizes, but got: {list(input.shape)}")
    kernel = per_dim(kernel_size, n, fn, "kernel_size")
    sizes = tuple(input.shape[-n:])
    if output_size is None:
        ratio = tuple(output_ratio) if isinstance(output_ratio, (tuple, list)) else (output_ratio,) * n
        output_size = [int(s * r) for s, r in zip(sizes, ratio)]
    out = per_dim(output_size, n, fn, "output_size")
    for d, (s, m, k) in enumerate(zip(sizes, out, kernel)):
        if m + k - 1 > s or m < 1:
            name = ("height", "width")[d] if n == 2 else ("time", "height", "width")[d]
            fail(RuntimeError, "P2767", f"{fn}(): pool {name} {k} too large relative to input {name} {s}",
                 got=f"output_size={list(out)}, kernel_size={list(kernel)}, input {list(input.shape)}")
    x = input if input.ndim == n + 2 else F.unsqueeze(input, 0)
    if samples is None:
        samples = F.rand(x.shape[0], x.shape[1], n, dtype=x.dtype, device=getattr(x, "device", None))
    values, index = F.fractional_max(x, samples, kernel, out)
    if x is not input:
        values, index = F.squeeze(values, 0), F.squeeze(index, 0)
    return (values, index) if return_indices else values


def fractional_samples(n):
    def samples(m):
        s, u = (6, 5, 5)[:n], m.t(2, 2, n, low=0, high=1).detach()
        return [((m.t(2, 2, *s), 2), {"output_size": 2, "_random_samples": u}), ((m.t(2, *s), 3), {"output_ratio": 0.5, "_random_samples": u[:1]}),
                ((m.t(0, 2, *s), 2), {"output_size": 2, "_random_samples": u[:0]})]
    return samples


@composite(ns="nn.functional", samples=fractional_samples(2))
def fractional_max_pool2d(input, kernel_size, output_size=None, output_ratio=None, return_indices=False, _random_samples=None):
    """Maximum over pseudo-random windows of (N, C, H, W) or (C, H, W) (Graham, 2014); the sizes follow from
    `output_size` or `output_ratio`."""
    return fractional(2, input, kernel_size, output_size, output_ratio, return_indices, _random_samples)


@composite(ns="nn.functional", samples=fractional_samples(3))
def fractional_max_pool3d(input, kernel_size, output_size=None, output_ratio=None, return_indices=False, _random_samples=None):
    """Maximum over pseudo-random windows of (N, C, D, H, W) or (C, D, H, W) (Graham, 2014)."""
    return fractional(3, input, kernel_size, output_size, output_ratio, return_indices, _random_samples)


@composite(ns="nn.functional", samples=fractional_samples(2))
def fractional_max_pool2d_with_indices(input, kernel_size, output_size=None, output_ratio=None, return_indices=False,
                                       _random_samples=None):
    """`fractional_max_pool2d` that returns (values, indices)."""
    return fractional(2, input, kernel_size, output_size, output_ratio, True, _random_samples)


@composite(ns="nn.functional", samples=fractional_samples(3))
def fractional_max_pool3d_with_indices(input, kernel_size, output_size=None, output_ratio=None, return_indices=False,
                                       _random_samples=None):
    """`fractional_max_pool3d` that returns (values, indices)."""
    return fractional(3, input, kernel_size, output_size, output_ratio, True, _random_samples)
