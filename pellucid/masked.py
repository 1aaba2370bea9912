"""`pellucid.masked`: reductions and normalisations over the elements that a mask lets through.

In: a dense tensor and `mask=`, a bool tensor that broadcasts to it (True: the element takes part; None: all do). Out: a dense
tensor. The definitions are torch.masked's: what is masked out counts as the operation's identity (0 in a sum, 1 in a product,
-inf in a maximum). Where everything is masked out, mean, median, var and std are nan; the others are the identity or what the
identities give.
True always: masked-out elements get the gradient 0. The composites are registered when this module is first used.
"""
from __future__ import annotations

import math

from .core import dtype as dt
from .core.errors import describe, fail
from .core.errors import unknown as _unknown
from .ops.op import F, composite
from .tensor.functions import namespace

_REDUCES = ("`dim`: an int, several, or None for all; `keepdim` keeps them as size 1; `dtype`: of the result; `mask`: bool, broadcasts "
            "to `input`.")
_ALONG = "`dim`: an int; `dtype`: of the result; `mask`: bool, broadcasts to `input`."


# ---------------------------------------------------------------------------------------------------- shared
def dims_of(dim, ndim: int) -> tuple[int, ...]:
    """`dim` as sorted dimensions counted from the front; all of them for None and ()."""
    if dim is None or dim == ():
        return tuple(range(ndim))
    n, found = max(ndim, 1), []
    for d in (dim,) if isinstance(dim, int) else dim:
        if not -n <= d < n:
            fail(IndexError, "P2800", f"Dimension out of range (expected to be in range of [{-n}, {n - 1}], but got {d})",
                 fix="dimensions count from 0, or from the end with negative numbers")
        if d % n in found:
            fail(RuntimeError, "P2801", f"dim={d} appears multiple times in the list of dims", got=f"dim={dim}",
                 fix="name each dimension once")
        found.append(d % n)
    return tuple(sorted(found))


def mask_of(input, mask):
    """`mask` as a bool tensor of `input`'s shape."""
    if mask.ndim > input.ndim:
        fail(IndexError, "P2802", "masked operations expect a broadcastable mask (got mask dimensionality higher than of the input)",
             got=describe(input, mask), fix="a mask has at most as many dimensions as the tensor it masks")
    if mask.shape != input.shape:
        mask = F.expand(mask, tuple(input.shape))
    return F.to(mask, dt.bool_)


def least(d):
    """What no element of dtype `d` is below."""
    if d.category == dt.FLOAT:
        return -math.inf
    return dt.iinfo(d).min if d.category == dt.INT else None


def most(d):
    """What no element of dtype `d` is above."""
    if d.category == dt.FLOAT:
        return math.inf
    return dt.iinfo(d).max if d.category == dt.INT else None


def only(fn: str, input, mask, identity):
    """`input` with `identity` where the mask is False."""
    if mask is None:
        return input
    if identity is None:
        fail(TypeError, "P2803", f"masked.{fn}: no value of dtype {input.dtype.name} leaves the others out", got=describe(input),
             fix="convert the input first, as in input.float()")
    return F.where(mask_of(input, mask), input, identity)


def as_dtype(dtype, default):
    return default if dtype is None else dt.as_dtype(dtype)


def wide(input, dtype):
    """The dtype of sums and products: small integers are added up in int64."""
    return as_dtype(dtype, dt.int64 if input.dtype.category < dt.FLOAT else input.dtype)


def counted(input, dim, keepdim, mask):
    """How many elements each result is made of."""
    taking_part = F.ones(tuple(input.shape), dtype=dt.bool_) if mask is None else mask_of(input, mask)
    return F.sum(taking_part, dims_of(dim, input.ndim), bool(keepdim))


def _masked(fn=None, *, samples=None, along=False):
    """Register a function of this module, with the argument text that all of them share."""
    def define(body):
        composite(body, ns="masked", name="masked_" + body.__name__, public=body.__name__,
                  doc=f"{body.__doc__}\n\n{_ALONG if along else _REDUCES}",
                  samples=samples or (_lines if along else _whole))
        return body
    return define if fn is None else define(fn)


def _whole(m) -> list:
    return [((m.t(3, 4),), {"mask": m.b(3, 4)}), ((m.t(2, 3, 4), (0, -1)), {"mask": m.b(4), "keepdim": True}), ((m.t(3, 4), 1), {}),
            ((m.t(),), {"mask": m.b()})]


def _lines(m) -> list:
    return [((m.t(3, 4), 1), {"mask": m.b(3, 4)}), ((m.t(2, 3, 4), -2), {"mask": m.b(4)}), ((m.t(3, 4), 0), {}),
            ((m.t(0, 3), 1), {"mask": m.b(3)})]


# ---------------------------------------------------------------------------------------------------- sums and products
@_masked
def sum(input, dim=None, *, keepdim=False, dtype=None, mask=None):
    """The sum of the elements where `mask` is True; 0 where there are none. Integers and bools are summed in int64."""
    return F.sum(only("sum", input, mask, 0), dims_of(dim, input.ndim), bool(keepdim), dtype=wide(input, dtype))


@_masked
def prod(input, dim=None, *, keepdim=False, dtype=None, mask=None):
    """The product of the elements where `mask` is True; 1 where there are none. Integers and bools are multiplied in int64."""
    r = F.to(only("prod", input, mask, 1), wide(input, dtype))
    for d in reversed(dims_of(dim, input.ndim)):
        r = F.prod(r, d, bool(keepdim))
    return r


@_masked(along=True)
def cumsum(input, dim, *, dtype=None, mask=None):
    """The sum of each element and those before it, as far as `mask` is True."""
    d = as_dtype(dtype, input.dtype)
    return F.to(F.cumsum(only("cumsum", input, mask, 0), dims_of(dim, input.ndim)[0], dtype=d), d)


@_masked(along=True)
def cumprod(input, dim, *, dtype=None, mask=None):
    """The product of each element and those before it, as far as `mask` is True."""
    d = as_dtype(dtype, input.dtype)
    return F.to(F.cumprod(only("cumprod", input, mask, 1), dims_of(dim, input.ndim)[0], dtype=d), d)


@_masked
def mean(input, dim=None, *, keepdim=False, dtype=None, mask=None):
    """The mean of the elements where `mask` is True; nan where there are none. ValueError unless floating point or complex."""
    d = as_dtype(dtype, input.dtype)
    if d.category < dt.FLOAT:
        fail(ValueError, "P2804",
             f"mean(): Could not infer output dtype. {'Input' if dtype is None else 'Optional'} dtype must be either a "
             f"floating point or complex dtype. Got: {d!r}", fix="convert with .float(), or pass dtype=")
    return F.div(F.masked_sum(input, dim, keepdim=keepdim, dtype=d, mask=mask), counted(input, dim, keepdim, mask))


def spread(input, dim, unbiased, correction, keepdim, dtype, mask):
    """The variance: squared distances from the mean, over their number less `correction`."""
    if unbiased is not None and correction is not None:
        raise AssertionError("Only one of unbiased and correction may be given")
    if correction is None:
        correction = 1.0 if unbiased is None or unbiased else 0.0
    d = as_dtype(dtype, input.dtype if input.dtype.category >= dt.FLOAT else dt.float32)
    compute = d if d.category >= dt.FLOAT else dt.float32
    count = counted(input, dim, True, mask)
    x = F.sub(input, F.div(F.masked_sum(input, dim, keepdim=True, dtype=d, mask=mask), count))
    total = F.masked_sum(F.mul(x, F.conj(x)), dim, keepdim=keepdim, dtype=compute, mask=mask)
    if not keepdim:
        count = F.reshape(count, tuple(total.shape))
    if correction:
        count = F.clamp_min(F.sub(F.to(count, compute.to_real()), float(correction)), 0)
    return F.to(F.div(total, count), d)


_SPREADS = lambda m: [*_whole(m)[:3], ((m.t(3, 4), None, False), {"mask": m.b(3, 4)}),
                      ((m.t(4),), {"correction": 2, "dtype": dt.float32})]   # noqa: E731


@_masked(samples=_SPREADS)
def var(input, dim=None, unbiased=None, *, correction=None, keepdim=False, dtype=None, mask=None):
    """The variance of the elements where `mask` is True, over their number less `correction` (1; 0 with `unbiased=False`)."""
    return spread(input, dim, unbiased, correction, keepdim, dtype, mask)


@_masked(samples=_SPREADS)
def std(input, dim=None, unbiased=None, *, correction=None, keepdim=False, dtype=None, mask=None):
    """The root of `var`."""
    return F.sqrt(spread(input, dim, unbiased, correction, keepdim, dtype, mask))


# ---------------------------------------------------------------------------------------------------- extremes and order
@_masked
def amax(input, dim=None, *, keepdim=False, dtype=None, mask=None):
    """The largest element where `mask` is True; the dtype's least value where there are none. Equal ones share the gradient."""
    return F.to(F.amax(only("amax", input, mask, least(input.dtype)), dims_of(dim, input.ndim), bool(keepdim)),
                as_dtype(dtype, input.dtype))


@_masked
def amin(input, dim=None, *, keepdim=False, dtype=None, mask=None):
    """The smallest element where `mask` is True; the dtype's greatest value where there are none. Equal ones share the gradient."""
    return F.to(F.amin(only("amin", input, mask, most(input.dtype)), dims_of(dim, input.ndim), bool(keepdim)), as_dtype(dtype, input.dtype))


_WHERE = lambda m: [((m.t(3, 4),), {"mask": m.b(3, 4)}), ((m.t(2, 3, 4), -1), {"mask": m.b(4), "keepdim": True}),
                    ((m.i(3, 4), 0), {})]      # noqa: E731


@_masked(samples=_WHERE)
def argmax(input, dim=None, *, keepdim=False, dtype=None, mask=None):
    """Where the largest element is among those where `mask` is True, in `input`'s dtype unless `dtype` says otherwise, as in PyTorch."""
    return F.to(F.argmax(only("argmax", input, mask, least(input.dtype)), dim, bool(keepdim)), as_dtype(dtype, input.dtype))


@_masked(samples=_WHERE)
def argmin(input, dim=None, *, keepdim=False, dtype=None, mask=None):
    """Where the smallest element is among those where `mask` is True, in `input`'s dtype unless `dtype` says otherwise, as in PyTorch."""
    return F.to(F.argmin(only("argmin", input, mask, most(input.dtype)), dim, bool(keepdim)), as_dtype(dtype, input.dtype))


@_masked(along=True,
         samples=lambda m: [((m.t(3, 4), 1), {"mask": m.b(3, 4)}), ((m.t(2, 3, 4),), {"mask": m.b(4), "keepdim": True}),
                            ((m.t(3, 4), 0), {})])
def median(input, dim=-1, *, keepdim=False, dtype=None, mask=None):
    """The median of the elements where `mask` is True (of two middle ones the lower); nan where there are none, which is a
    ValueError for integers."""
    whole = input.dtype.category < dt.FLOAT
    x = F.to(input, dt.float32) if whole else input
    r = F.nanmedian(only("median", x, mask, math.nan), dims_of(dim, input.ndim)[0], keepdim)[0]
    if not whole:
        return r
    if bool(F.any(F.isnan(r))):
        fail(ValueError, "P2805", "masked median expects no fully masked out rows if dtype is not floating point", got=describe(input),
             fix="convert the input with .float(): the median of nothing is then nan")
    return F.to(r, as_dtype(dtype, input.dtype))


# ---------------------------------------------------------------------------------------------------- exponentials
@_masked
def logsumexp(input, dim=None, *, keepdim=False, dtype=None, mask=None):
    """The logarithm of the summed exponentials of the elements where `mask` is True; -inf where there are none."""
    low = complex(-math.inf, 0) if input.dtype.is_complex else least(input.dtype)
    return F.to(F.logsumexp(only("logsumexp", input, mask, low), dims_of(dim, input.ndim), bool(keepdim)), as_dtype(dtype, input.dtype))


@composite(ns="masked", name="masked_logaddexp", public="logaddexp", samples=lambda m: [
    ((m.t(3, 4), m.t(3, 4)), {"input_mask": m.b(3, 4), "other_mask": m.b(4)}), ((m.t(3, 4), m.t(4)), {}),
    ((m.t(0), m.t(0)), {"input_mask": m.b(0)})])
def logaddexp(input, other, *, dtype=None, input_mask=None, other_mask=None):
    """log(exp(input) + exp(other)), without the elements where `input_mask` or `other_mask` is False; -inf without both.

    Both operands broadcast; each mask broadcasts to its own operand; `dtype`: of the result."""
    a, b = (only("logaddexp", x, mask, least(x.dtype)) for x, mask in ((input, input_mask), (other, other_mask)))
    return F.to(F.logaddexp(a, b), as_dtype(dtype, input.dtype))


@_masked(along=True)
def softmax(input, dim, *, dtype=None, mask=None):
    """exp(x) over its sum along `dim`, of the elements where `mask` is True; nan where there are none."""
    return F.softmax(only("softmax", input, mask, least(input.dtype)), dims_of(dim, input.ndim)[0], dtype=as_dtype(dtype, input.dtype))


@_masked(along=True)
def log_softmax(input, dim, *, dtype=None, mask=None):
    """The logarithm of `softmax`, of the elements where `mask` is True."""
    return F.log_softmax(only("log_softmax", input, mask, least(input.dtype)), dims_of(dim, input.ndim)[0],
                         dtype=as_dtype(dtype, input.dtype))


@_masked(along=True)
def softmin(input, dim, *, dtype=None, mask=None):
    """`softmax` of -x, of the elements where `mask` is True."""
    return F.softmin(only("softmin", input, mask, most(input.dtype)), dims_of(dim, input.ndim)[0], dtype=as_dtype(dtype, input.dtype))


# ---------------------------------------------------------------------------------------------------- norms
@_masked(samples=lambda m: [((m.t(3, 4),), {"mask": m.b(3, 4)}), ((m.t(2, 3, 4), 3.0, (0, -1)), {"mask": m.b(4), "keepdim": True}),
                            ((m.t(3, 4), -math.inf, 1), {"mask": m.b(3, 4)}), ((m.t(3, 4), 0, 1), {})])
def norm(input, ord=2.0, dim=None, *, keepdim=False, dtype=None, mask=None):
    """The vector norm of order `ord` (as in linalg.vector_norm) of the elements where `mask` is True."""
    d = as_dtype(dtype, input.dtype)
    x = only("norm", input, mask, math.inf if ord == -math.inf else 0)
    return F.linalg_vector_norm(x, ord, dims_of(dim, input.ndim), bool(keepdim), dtype=d)


@_masked(along=True,
         samples=lambda m: [((m.t(3, 4), 2.0, 1), {"mask": m.b(3, 4), "eps": 0.01}), ((m.t(2, 3, 4), 1, -2), {"mask": m.b(4), "eps": 0.01}),
                                        ((m.t(3, 4), math.inf, 0), {})])
def normalize(input, ord, dim, *, eps=1e-12, dtype=None, mask=None):
    """x over its norm of order `ord` along `dim` (at least `eps`), of the elements where `mask` is True; 0 elsewhere."""
    length = F.masked_norm(input, ord, dim, keepdim=True, dtype=dtype, mask=mask)
    return F.div(only("normalize", input, mask, 0), F.maximum(length, F.full((), eps, dtype=length.dtype)))


globals().update(namespace("masked"))

__all__ = sorted(namespace("masked"))
__getattr__ = _unknown(globals())
