"""Gather and scatter: elements named by an index tensor along one dimension, read, written and combined."""
from __future__ import annotations

from ..core.late import late
from ._common import as_int, describe, dt, fail, is_tensor, need_tensor, np, wrap_dim
from .index import extremes
from .op import GATHER, SCATTER, F, composite, primitive


def check_gather(fn, input, dim, index, sized=()):
    need_tensor(index, fn, "index", 3)
    shape = input.shape
    d = dim if type(dim) is int and 0 <= dim < len(shape) else wrap_dim(as_int(dim, fn, "dim"), len(shape))
    if index.dtype is not dt.int64:
        if index.dtype is not dt.int32 and index.numel():
            fail(RuntimeError, "P261", f"{fn}(): Expected dtype int32/int64 for index", got=describe(index), fix="convert the index with .long()")
        index = F.convert(index, dt.int64)
    places = index.shape
    if not sized and places == shape or 0 in places:
        return d, index
    if max(len(places), 1) != max(len(shape), 1):
        fail(RuntimeError, "P262", f"Index tensor must have the same number of dimensions as {'input' if fn == 'gather' else 'self'} tensor",
             got=describe(input, index), fix=f"the index needs {input.ndim} dimensions: reshape it, or see index_select for one dimension")
    shape = shape or (1,)
    for i, n in enumerate(places):
        if i != d and n > shape[i]:
            fail(RuntimeError, "P263", f"Size does not match at dimension {i} expected index {list(index.shape)} to be "
                 f"{'no larger' if fn == 'gather' else 'smaller'} than self {list(input.shape)} apart from dimension {d}",
                 got=describe(input, index), fix=f"only in dimension {d} may the index be longer")
    for other in sized:
        for i, n in enumerate(tuple(index.shape)):
            if n > (tuple(other.shape) or (1,))[i]:
                fail(RuntimeError, "P263", f"Expected index {list(index.shape)} to be no larger than src {list(other.shape)} "
                     f"in dimension {i}",
                     got=describe(index, other), fix="take the part of src that the index covers, or give fewer indices")
    return d, index


def within(a, index, d):
    """Refuse indices beyond dimension `d` of the array `a`."""
    n = a.shape[d] if a.ndim else 1
    if np.maximum.reduce(index.view(np.uint64), None) >= n:             # negative ones are very large then
        lo, hi = int(index.min()), int(index.max())
        fail(RuntimeError, "P264", f"index {lo if lo < 0 else hi} is out of bounds for dimension {d} with size {n}", got=describe(a, index),
             fix=f"indices of that dimension are 0 to {n - 1}" if n else "the dimension is empty")


def along(shape, index, d):
    """Open index arrays naming, for each place of `index`, the element of an array along dimension `d`."""
    return tuple(index if i == d else np.arange(n).reshape([-1 if j == i else 1 for j in range(index.ndim)])
                 for i, n in enumerate(index.shape))


def gather_ref(a, index, *, dim):
    if not index.size:
        return np.empty(index.shape, a.dtype)
    within(a, index, dim)
    if a.ndim == 0 or index.ndim == 0:
        return np.broadcast_to(a.reshape(-1)[0] if a.size else a, index.shape).copy()
    return a[along(a.shape, index, dim)]


def along_place(b, load, shape, i, dim):
    """The place along `dim` that operand 1 names at `i`."""
    return (*i[:dim], b.guarded(load(1, i), shape[dim]), *i[dim + 1:])


def gather_lower(b, i, load, x, index, *, dim):
    if x.ndim == 0 or index.ndim == 0:
        if x.ndim and x.shape != (1,) or not x.numel():
            b.refuse("gathering with an index of no dimensions")
        return load(0, (b.iadd(0, 0),) * x.ndim)
    return load(0, along_place(b, load, x.shape, i, dim))


def scatter_lower(op):
    """`op` names how a value meets what is there, or is a function of the dtype and attributes."""
    def lower(b, x, index, src, *, dim, **attrs):
        if x.ndim == 0 or index.ndim == 0:
            b.refuse("scattering into a tensor of no dimensions")
        return b.scatter(index.shape, 0, op(b, x.dtype, **attrs), lambda i, load: (
            along_place(b, load, x.shape, i, dim), load(2, i if src.ndim else ())))
    return lower


@primitive(GATHER, jvp="input", args="input index", ref=gather_ref, lower=gather_lower, infer=lambda a, i, *, dim: a.like(i.shape), low=False,
           forms="function method out", exact_out="Expected out tensor to have dtype {want}, but got {have} instead",
           vjp={"input": lambda g, index, dim, input_shape: F.scatter_add(F.filled(input_shape, 0, g.dtype), dim, index, g)},
           samples=lambda m: [((m.t(3, 4), 1, m.i(3, 2, high=4)), {}), ((m.t(3, 4), 0, m.i(2, 4, high=3)), {}),
                              ((m.t(3, 4), 0, m.i(0, 4, high=3)), {})])
def gather(input, dim, index, *, sparse_grad=False):
    """`out[i][j] = input[index[i][j]][j]` for dim 0, and likewise for every dimension. With `sparse_grad` the gradient of `input` is a
    sparse tensor."""
    if sparse_grad:
        return "gather_sparse_grad", (input, dim, index), {}
    d, index = check_gather("gather", input, dim, index)
    return (input, index), {"dim": d}


@primitive(GATHER, jvp="input", args="input index", ref=gather_ref, lower=gather_lower, infer=lambda a, i, *, dim: a.like(i.shape), low=False,
           forms="", vjp={"input": lambda g, index, dim, input_shape: late.sparse().gather_gradient(g, index, input_shape, dim)})
def gather_sparse_grad(input, dim, index):
    """`gather`, with a sparse gradient."""
    d, index = check_gather("gather", input, dim, index)
    return (input, index), {"dim": d}


def scatter_ref(a, index, src, *, dim):
    r = a.copy()
    if index.size:
        within(a, index, dim)
        flat = r.reshape(1) if r.ndim == 0 else r
        i = index.reshape(1) if index.ndim == 0 else index
        s = src if src.ndim == 0 else src[tuple(slice(n) for n in i.shape)]
        flat[along(flat.shape, i, dim)] = s
    return r


@primitive(SCATTER, jvp="input+src", args="input index src", ref=scatter_ref, lower=scatter_lower(lambda b, d: "set"), infer=lambda a, i, s, *, dim: a.like(), low=False, forms="",
           vjp={"input": lambda g, index, dim: F.scatter_src(g, dim, index, F.zeros((), dtype=g.dtype)),
                "src": lambda g, index, dim, src_shape: F.gather(g, dim, index) if src_shape else F.sum(F.gather(g, dim, index))})
def scatter_src(input, dim, index, src):
    """`input` with `src` written at `index` along `dim`."""
    return (input, index, src), {"dim": dim}


_SCATTER_SAMPLES = lambda m: [((m.t(3, 4), 1, m.perm(3, 2, high=4), m.t(3, 2)), {}),  # noqa: E731
                              ((m.t(3, 4), 0, m.i(0, 4, high=3), m.t(0, 4)), {}), ((m.t(4), 0, m.unique(2, high=4), m.t(3)), {})]


@composite(forms="function method inplace out", samples=_SCATTER_SAMPLES)
def scatter(input, dim, index, src=None, value=None, *, reduce=None):
    """`input` with `src` (or a number) written at `index` along `dim`: `out[index[i][j]][j] = src[i][j]` for dim 0."""
    src = value if src is None else src
    if reduce is not None:
        if reduce not in ("add", "multiply"):
            fail(RuntimeError, "P265", "reduce argument must be either add or multiply.", fix="choose one of those names")
        if not is_tensor(src):
            src = F.full(tuple(index.shape), src, dtype=input.dtype)
        return F.scatter_add(input, dim, index, src) if reduce == "add" else F.scatter_reduce(input, dim, index, src, "prod")
    if not is_tensor(src):
        d, index = check_gather("scatter", input, dim, index)
        return F.scatter_src(input, d, index, F.full((), src, dtype=input.dtype))
    if src.dtype is not input.dtype:
        fail(RuntimeError, "P266", "scatter(): Expected self.dtype to be equal to src.dtype", got=describe(input, src),
             fix="convert the source: src.to(input.dtype)")
    d, index = check_gather("scatter", input, dim, index, (src,))
    src = narrow_to(src, index)
    return F.scatter_src(input, d, index, src)


def narrow_to(src, index):
    """The leading part of `src` that `index` covers."""
    if src.ndim and tuple(src.shape) != tuple(index.shape):
        return src[tuple(slice(n) for n in index.shape)]
    return src


def scatter_add_ref(a, index, src, *, dim):
    r = a.copy()
    if index.size:
        within(a, index, dim)
        flat, i, s = (x.reshape(1) if x.ndim == 0 else x for x in (r, index, src))
        np.add.at(flat, along(flat.shape, i, dim), s)
    return r


@primitive(SCATTER, jvp="input+src", args="input index src", ref=scatter_add_ref, lower=scatter_lower(lambda b, d: b.adding(d)), infer=lambda a, i, s, *, dim: a.like(),
           forms="function method inplace out",
           vjp={"input": lambda g: g, "src": lambda g, index, dim: F.gather(g, dim, index)},
           samples=lambda m: [((m.t(3, 4), 1, m.i(3, 2, high=4), m.t(3, 2)), {}), ((m.t(3), 0, m.i(5, high=3), m.t(5)), {}),
                              ((m.t(3, 4), 0, m.i(0, 4, high=3), m.t(0, 4)), {})])
def scatter_add(input, dim, index, src):
    """`input` with `src` added at `index` along `dim`."""
    if src.dtype is not input.dtype:
        fail(RuntimeError, "P266", "scatter(): Expected self.dtype to be equal to src.dtype", got=describe(input, src),
             fix="convert the source: src.to(input.dtype)")
    d, index = check_gather("scatter", input, dim, index, (src,))
    return (input, index, narrow_to(src, index)), {"dim": d}


_AT = {"prod": np.multiply, "amax": np.maximum, "amin": np.minimum, "sum": np.add}
_WAY = {"prod": "mul", "amax": "max", "amin": "min", "sum": "add"}
_START = {"prod": 1, "sum": 0}


def extreme_start(d, reduce):
    if d.category >= dt.FLOAT:
        return -float("inf") if reduce == "amax" else float("inf")
    if d is dt.bool_:
        return reduce == "amin"
    info = np.iinfo(d.np)
    return info.min if reduce == "amax" else info.max


def scatter_at_ref(a, index, src, *, dim, reduce):
    r = a.copy()
    if index.size:
        within(a, index, dim)
        flat, i, s = (x.reshape(1) if x.ndim == 0 else x for x in (r, index, src))
        _AT[reduce].at(flat, along(flat.shape, i, dim), s)
    return r


def scatter_at_vjp(g, input, index, src, out, dim, reduce, needs):
    if reduce == "prod":
        # out = input * prod(src at place): each factor's derivative is the product of the others
        gathered = F.gather(g, dim, index)
        zero = F.convert(F.eq(src, 0), src.dtype)
        safe = F.where(F.eq(src, 0), F.ones_like(src), src)
        ones = F.ones_like(input)
        count = F.scatter_add(F.convert(F.eq(input, 0), input.dtype), dim, index, zero)
        partial = F.scatter_at(F.where(F.eq(input, 0), ones, input), dim, index, safe, "prod")
        others = F.sub(F.gather(count, dim, index), zero)
        gsrc = F.mul(gathered, F.where(F.eq(others, 0), F.div(F.gather(partial, dim, index), safe), F.zeros_like(src)))
        ginput = F.mul(g, F.scatter_at(ones, dim, index, src, "prod"))
        return ginput, None, gsrc
    mine = F.eq(input, out)
    theirs = F.eq(src, F.gather(out, dim, index))
    n = F.scatter_add(F.convert(mine, g.dtype), dim, index, F.convert(theirs, g.dtype))
    share = F.div(g, n)
    return (F.where(mine, share, F.zeros_like(share)), None,
            F.where(theirs, F.gather(share, dim, index), F.zeros_like(src)))


@primitive(SCATTER, args="input index src", ref=scatter_at_ref, lower=scatter_lower(lambda b, d, reduce: b.combining(_WAY[reduce], d)), infer=lambda a, i, s, *, dim, reduce: a.like(), forms="",
           vjp=scatter_at_vjp)
def scatter_at(input, dim, index, src, reduce):
    """`input` combined with `src` at `index` by product, maximum or minimum."""
    return (input, index, src), {"dim": dim, "reduce": reduce}


@composite(forms="function method inplace out", samples=lambda m: [
    ((m.t(3, 4), 1, m.i(3, 2, high=4), m.t(3, 2), "sum"), {}), ((m.t(3), 0, m.i(5, high=3), m.t(5), "mean"), {}),
    ((m.t(3), 0, m.i(5, high=3), m.t(5), "amax"), {"include_self": False}), ((m.t(3), 0, m.i(5, high=3), m.t(5), "prod"), {}),
    ((m.t(3, 4), 0, m.i(0, 4, high=3), m.t(0, 4), "amin"), {})])
def scatter_reduce(input, dim, index, src, reduce, *, include_self=True):
    """`input` combined with `src` at `index` along `dim` by "sum", "prod", "mean", "amax" or "amin"."""
    if reduce not in ("sum", "prod", "mean", "amax", "amin"):
        fail(RuntimeError, "P265", f"reduce argument must be either sum, prod, mean, amax or amin, got {reduce}.",
             fix="choose one of those names")
    if src.dtype is not input.dtype:
        fail(RuntimeError, "P266", "scatter(): Expected self.dtype to be equal to src.dtype", got=describe(input, src),
             fix="convert the source: src.to(input.dtype)")
    d, index = check_gather("scatter", input, dim, index, (src,))
    src = narrow_to(src, index)
    if not include_self:
        start = _START.get(reduce, 0) if reduce in ("sum", "prod", "mean") else extreme_start(input.dtype, reduce)
        input = F.scatter_src(input, d, index, F.full((), start, dtype=input.dtype))
    if reduce == "sum":
        return F.scatter_add(input, d, index, src)
    if reduce == "mean":
        total = F.scatter_add(input, d, index, src)
        ones = F.ones_like(input)
        if not include_self:
            ones = F.scatter_src(ones, d, index, F.zeros((), dtype=input.dtype))
        count = F.clamp(F.scatter_add(ones, d, index, F.ones_like(src)), min=1)
        if input.dtype.category >= dt.FLOAT:
            return F.div(total, count)
        return F.div(total, count, rounding_mode="floor")
    return F.scatter_at(input, d, index, src, reduce)


# ---------------------------------------------------------------------------------------------------- whole slices
def check_vector(fn, input, dim, index):
    d = wrap_dim(as_int(dim, fn, "dim"), input.ndim)
    if index.dtype not in (dt.int64, dt.int32):
        fail(IndexError if fn != "index_select" else RuntimeError, "P261",
             f"{fn}(): Expected dtype int32 or int64 for index", got=describe(index), fix="convert the index with .long()")
    if index.ndim > 1:
        fail(IndexError, "P267", f"{fn}(): Index is supposed to be a vector, but got dim: {index.ndim}", got=describe(index),
             fix="flatten() the index")
    n = (tuple(input.shape) or (1,))[d]
    if index.numel():
        lo, hi = extremes(index)
        if lo < 0 or hi >= n:
            fail(IndexError, "P256", f"index out of range in self: {lo if lo < 0 else hi} for dimension {d} with size {n}",
                 got=describe(input, index), fix=f"valid indices are 0 to {n - 1}" if n else "the dimension is empty")
    return d, F.view_shape(F.convert(index, dt.int64) if index.dtype is not dt.int64 else F.contiguous(index), (index.numel(),))


@composite(forms="function method out", samples=lambda m: [((m.t(3, 4), 1, m.i(5, high=4)), {}), ((m.t(3, 4), 0, m.i(2, high=3)), {}),
                                                            ((m.t(3), 0, m.i(0, high=3)), {})])
def index_select(input, dim, index):
    """The slices of `input` along `dim` that the vector `index` names."""
    d, i = check_vector("index_select", input, dim, index)
    if input.ndim == 0:
        return F.view_shape(F.index(F.view_shape(input, (1,)), (i,)), ())
    return F.index(input, (None,) * d + (i,))


def _rows(input, d, i):
    return (None,) * d + (i,)


@composite(forms="function method inplace out", samples=lambda m: [
    ((m.t(3, 4), 1, m.i(5, high=4), m.t(3, 5)), {"alpha": 2}), ((m.t(3), 0, m.i(2, high=3), m.t(2)), {}),
    ((m.t(3, 4), 0, m.i(0, high=3), m.t(0, 4)), {})])
def index_add(input, dim, index, source, *, alpha=1):
    """`input` with `alpha * source`'s slices added at `index` along `dim`."""
    d, i = check_vector("index_add", input, dim, index)
    check_source("index_add", input, d, i, source)
    if alpha != 1:
        source = F.mul(source, alpha)
    if input.ndim == 0:
        return F.add(input, F.to(F.sum(source), input.dtype))
    return F.index_put(input, _rows(input, d, i), source, accumulate=True)


def check_source(fn, input, d, i, source):
    if source.dtype is not input.dtype:
        fail(RuntimeError, "P266", f"{fn}(): self ({input.dtype.type_name}) and source ({source.dtype.type_name}) must have the same scalar type",
             got=describe(input, source), fix="convert the source: source.to(input.dtype)")
    want = tuple(i.numel() if k == d else n for k, n in enumerate(input.shape or (1,)))
    if source.ndim and tuple(source.shape) != want:
        fail(RuntimeError, "P263", f"{fn}(): Number of indices ({i.numel()}) should be equal to source.size(dim), and the other sizes "
             "must match", got=describe(input, i, source))


@composite(forms="function method inplace out", samples=lambda m: [
    ((m.t(3, 4), 1, m.unique(2, high=4), m.t(3, 2)), {}), ((m.t(3), 0, m.unique(2, high=3), m.t(2)), {}),
    ((m.t(3, 4), 0, m.i(0, high=3), m.t(0, 4)), {})])
def index_copy(input, dim, index, source):
    """`input` with `source`'s slices written at `index` along `dim`."""
    d, i = check_vector("index_copy", input, dim, index)
    check_source("index_copy", input, d, i, source)
    if input.ndim == 0:
        return F.view_shape(source, ()) if source.ndim else F.clone(source)
    return F.index_put(input, _rows(input, d, i), source)


@composite(forms="function method inplace", samples=lambda m: [
    ((m.t(3, 4), 1, m.i(2, high=4), 1.5), {}), ((m.t(3), 0, m.i(2, high=3), m.t()), {}), ((m.t(3, 4), 0, m.i(0, high=3), 2), {})])
def index_fill(input, dim, index, value):
    """`input` with a number written at `index` along `dim`."""
    if is_tensor(value) and value.ndim:
        fail(RuntimeError, "P219", "index_fill_ only supports a 0-dimensional value tensor, but got tensor with "
             f"{value.ndim} dimension(s).")
    if isinstance(value, complex) and not input.is_complex():
        fail(RuntimeError, "P216", "index_fill_(): Converting complex Scalar to non-complex type is not supported", got=repr(value),
             fix="take .real, or convert the tensor")
    d, i = check_vector("index_fill", input, dim, index)
    v = F.to(value, input.dtype) if is_tensor(value) else F.full((), value, dtype=input.dtype)
    if input.ndim == 0:
        return F.copy(input, v)
    mask = F.index_put(F.zeros((input.shape[d],), dtype=dt.bool_), (i,), F.full((), True))     # repeats count once
    return F.where(F.view_shape(mask, tuple(-1 if k == d else 1 for k in range(input.ndim))), v, input)


@composite(forms="function method inplace out", samples=lambda m: [
    ((m.t(3, 4), 1, m.i(5, high=4), m.t(3, 5), "amax"), {}), ((m.t(3), 0, m.i(2, high=3), m.t(2), "prod"), {"include_self": False}),
    ((m.t(3, 4), 0, m.i(0, high=3), m.t(0, 4), "mean"), {})])
def index_reduce(input, dim, index, source, reduce, *, include_self=True):
    """`input` combined with `source`'s slices at `index` along `dim` by "prod", "mean", "amax" or "amin"."""
    d, i = check_vector("index_reduce", input, dim, index)
    check_source("index_reduce", input, d, i, source)
    shape = tuple(source.shape)
    wide = F.expand(F.view_shape(i, tuple(-1 if k == d else 1 for k in range(len(shape)))), shape) if shape else i
    return F.scatter_reduce(input, d, F.contiguous(wide), source, reduce, include_self=include_self)
