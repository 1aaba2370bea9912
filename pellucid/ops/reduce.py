"""Reductions: sums, products, means, variances, logical tests, log-sum-exp, counts of what is not zero.

In: a tensor, dimensions (none given: all of them) and whether to keep these as size 1. Out: a tensor of the reduced shape.
True always: the canonical attribute `dims` is a tuple of dimensions counted from the front, `()` for a 0-d tensor.
"""
from __future__ import annotations

import warnings
from functools import cache

from ..core.config import config
from ..core.late import late
from ..core.spec import numel
from ._common import Spec, dt, fail, need_tensor, np, wrap_dims
from .op import REDUCE, F, composite, primitive


EXACT = "Expected out tensor to have dtype {want}, but got {have} instead"       # of operators that do not cast into `out=`


# ---------------------------------------------------------------------------------------------------- shared
def reduced(shape, dims, keepdim) -> tuple[int, ...]:
    """The shape after reducing `dims`."""
    if keepdim:
        return tuple(1 if i in dims else n for i, n in enumerate(shape))
    return tuple(n for i, n in enumerate(shape) if i not in dims)


def restore(g, input_shape, dims, keepdim):
    """A reduced gradient with its reduced dimensions back as size 1."""
    if keepdim or not dims:
        return g
    return F.view_shape(F.contiguous(g), tuple(1 if i in dims else n for i, n in enumerate(input_shape)))


def count(shape, dims) -> int:
    """How many elements each result is made of."""
    n = 1
    for d in dims:
        n *= shape[d]
    return n


def all_or(dim, ndim: int) -> tuple[int, ...]:
    """The dimensions named by `dim`: all of them if it is None or empty."""
    if dim is None or dim == () or dim == []:
        return tuple(range(ndim))
    dims = wrap_dims(dim, ndim)
    return dims if ndim else ()


def invalid_arguments(fn: str, *args):
    """PyTorch's TypeError when no overload of `fn` takes these arguments."""
    got = ", ".join("Tensor" if hasattr(a, "category_of") or hasattr(a, "requires_grad") else type(a).__name__ for a in args)
    fail(TypeError, "P2460", f"{fn}() received an invalid combination of arguments - got ({got})",
         fix=f"see help(pellucid.{fn}) for the overloads")


def read_dims(fn: str, input, dim) -> tuple[int, ...]:
    """`all_or`, after checks of both arguments' types."""
    need_tensor(input, fn)
    if type(dim) is int:
        n = input.ndim
        if -n <= dim < n:
            return (dim + n if dim < 0 else dim,)
    elif dim is not None and not isinstance(dim, (list, tuple)):
        if isinstance(dim, (str, float, bool)) or not hasattr(dim, "__index__"):
            invalid_arguments(fn, input, dim)
        dim = dim.__index__()
    return all_or(dim, input.ndim)


def lines(a: np.ndarray) -> np.ndarray:
    """A 0-d array as one line."""
    return a.reshape(1) if a.ndim == 0 else a


def reduced_infer(spec: Spec, *, dims, keepdim) -> Spec:
    """Shape rule of most reductions: the reduced shape, the input's dtype."""
    return spec.like(reduced(spec.shape, dims, keepdim))


def samples(m) -> list:
    """Samples of a reduction with `dim` and `keepdim`."""
    return [((m.t(3, 4),), {}), ((m.t(2, 3, 4), 1), {}), ((m.t(2, 3, 4), (0, -1), True), {}), ((m.t(0, 3), 0), {}), ((m.t(),), {})]


# ---------------------------------------------------------------------------------------------------- sums
SHORT = 8191                # values of a sum that is made in PyTorch's order (native/in_order.py); longer ones are kernels'
_F32 = np.dtype(np.float32)


@cache
def _in_order():
    return late.in_order()


def in_order(a, dims):
    """The functions that add in PyTorch's order, if this is a reduction of few float32 values that lie in order over as many dimensions
    as there are; or None."""
    if a.dtype is _F32 and len(dims) == a.ndim and a.size <= SHORT and a.flags.c_contiguous and config.kernels:
        return _in_order()
    return None


def single(r: float, ndim: int, keepdim: bool):
    """The float32 result of a reduction over all `ndim` dimensions."""
    a = np.array(r, _F32)
    return a.reshape((1,) * ndim) if keepdim else a


def total(a, dims, keepdim):
    functions = in_order(a, dims)
    if functions is not None:
        return single(functions.total(a, a.size), a.ndim, keepdim)
    return np.asarray(np.add.reduce(a, dims, a.dtype, None, keepdim))


@primitive(REDUCE, jvp="input", args="input", ref=lambda a, *, dims, keepdim: total(a, dims, keepdim),
           lower=lambda b, s, *, dims, keepdim: b.reduction("add", s, dims, keepdim),
           infer=reduced_infer, forms="function method out", onnx="ReduceSum", cast="gpu-high", samples=samples,
           vjp={"input": lambda g, input_shape, dims, keepdim: F.spread(g, input_shape, dims, keepdim)})
def sum(input, dim=None, keepdim=False, *, dtype=None):
    """The sum over `dim` (all dimensions if None or empty). Integers and bools are summed in int64."""
    d = need_tensor(input, "sum").dtype
    if dtype is not None:
        if dtype is not d:
            input = F.convert(input, dt.as_dtype(dtype))
    elif d.category < dt.FLOAT and d is not dt.int64:
        input = F.convert(input, dt.int64)
    return (input,), {"dims": tuple(range(input.ndim)) if dim is None else read_dims("sum", input, dim), "keepdim": bool(keepdim)}


def few_summed(a, *dim):
    """`sum` of few float32 values over all dimensions."""
    functions = None if dim else in_order(a, a.shape)
    return None if functions is None else single(functions.total(a, a.size), 0, False)


sum.front.of_array = few_summed


def sum_to_ref(a, *, shape):
    if a.size == numel(shape):              # only dimensions of size 1 go
        return a.reshape(shape).copy()
    lead = a.ndim - len(shape)
    dims = tuple(range(lead)) + tuple(i + lead for i, n in enumerate(shape) if n == 1 and a.shape[i + lead] != 1)
    return np.add.reduce(a, dims, a.dtype, None, True).reshape(shape)


def sum_to_lower(b, s, *, shape):
    lead = s.ndim - len(shape)
    dims = tuple(range(lead)) + tuple(d + lead for d, n in enumerate(shape) if n == 1 and s.shape[d + lead] != 1)
    return b.reduction("add", s, dims, True, shape=shape)


def sum_to_batch(b, x, *, shape):
    lead = x.ndim - len(shape)
    return F.reshape(F.sum_to_size(x.x, (b.size, *[1] * lead, *shape)), (b.size, *shape))


@primitive(REDUCE, jvp="input", args="input", ref=sum_to_ref, batch=sum_to_batch, lower=sum_to_lower, infer=lambda s, *, shape: s.like(shape), forms="method",
           vjp={"input": lambda g, input_shape: F.expand(g, input_shape)},
           samples=lambda m: [((m.t(2, 3, 4), (3, 1)), {}), ((m.t(3, 4), 1, 4), {}), ((m.t(0, 3), (3,)), {})])
def sum_to_size(input, *size):
    """`input` summed over the dimensions along which `size` would be broadcast to its shape."""
    shape = tuple(size[0]) if len(size) == 1 and isinstance(size[0], (tuple, list)) else tuple(size)
    have = input.shape
    if len(shape) > len(have) or any([n != 1 and n != m for n, m in zip(reversed(shape), reversed(have))]):
        fail(RuntimeError, "P240", f"size {{{list(shape)}}} is not expandable to size {{{list(have)}}}.")
    if shape != have and input.dtype.category < dt.FLOAT and input.dtype is not dt.int64:
        input = F.convert(input, dt.int64)
    return (input,), {"shape": shape}


def nansum_ref(a, *, dims, keepdim):
    return np.asarray(np.add.reduce(np.where(np.isnan(a), a.dtype.type(0), a), dims, a.dtype, None, keepdim))


@primitive(REDUCE, args="input", ref=nansum_ref, infer=reduced_infer,
           lower=lambda b, s, *, dims, keepdim: b.reduction("add", s, dims, keepdim, pre=lambda x: b.select(b.isnan(x), b.const(0, x), x)), forms="function method out", samples=samples,
           vjp={"input": lambda g, input, input_shape, dims, keepdim: F.where(F.isnan(input), 0, F.spread(g, input_shape, dims, keepdim))})
def nansum(input, dim=None, keepdim=False, *, dtype=None):
    """The sum over `dim`, nan counting as 0."""
    dims = read_dims("nansum", input, dim)
    if input.dtype.is_complex:
        fail(RuntimeError, "P2461", "nansum on CPU does not support complex inputs")
    if input.dtype.category < dt.FLOAT:
        return "sum", (input, dim, keepdim), {"dtype": dtype}
    if dtype is not None and dtype is not input.dtype:
        input = F.convert(input, dt.as_dtype(dtype))
        if input.dtype.category < dt.FLOAT:
            return "sum", (input, dim, keepdim), {}
    return (input,), {"dims": dims, "keepdim": bool(keepdim)}


# ---------------------------------------------------------------------------------------------------- means
def mean_ref(a, *, dims, keepdim):
    return np.asarray(np.true_divide(total(a, dims, keepdim), a.size if len(dims) == a.ndim else count(a.shape, dims)))


def mean_vjp(g, input_shape, dims, keepdim):
    return F.spread(F.div(g, count(input_shape, dims) or 1), input_shape, dims, keepdim)


def mean_lower(b, s, *, dims, keepdim):
    return b.reduction("add", s, dims, keepdim, post=lambda total: b.div(total, count(s.shape, dims)))


@primitive(REDUCE, jvp="input", args="input", ref=mean_ref, lower=mean_lower, infer=reduced_infer, forms="function method out", onnx="ReduceMean",
           samples=samples, vjp={"input": mean_vjp})
def mean(input, dim=None, keepdim=False, *, dtype=None):
    """The mean over `dim` (all dimensions if None or empty). Floating point or complex only; `dtype` converts first."""
    d = need_tensor(input, "mean").dtype
    if dtype is not None:
        dtype = dt.as_dtype(dtype)
        if dtype.category < dt.FLOAT:
            fail(RuntimeError, "P2462", "mean(): could not infer output dtype. Optional dtype must be either a floating point or "
                 f"complex dtype. Got: {dtype.type_name}")
        if dtype is not d:
            input = F.convert(input, dtype)
    elif d.category < dt.FLOAT:
        fail(RuntimeError, "P2463", "mean(): could not infer output dtype. Input dtype must be either a floating point or complex "
             f"dtype. Got: {d.type_name}", fix="convert with .float(), or pass dtype=")
    return (input,), {"dims": tuple(range(input.ndim)) if dim is None else read_dims("mean", input, dim), "keepdim": bool(keepdim)}


@composite(forms="function method out", samples=samples)
def nanmean(input, dim=None, keepdim=False, *, dtype=None):
    """The mean over `dim` of the elements that are not nan."""
    if need_tensor(input, "nanmean").dtype.category < dt.FLOAT:
        fail(RuntimeError, "P2464", "nanmean(): expected input to have floating point or complex dtype but got "
             f"{input.dtype.type_name}", fix="convert with .float()")
    n = F.sum(F.logical_not(F.isnan(F.detach(input))), dim, keepdim)
    return F.div(F.nansum(input, dim, keepdim, dtype=dtype), n)


# ---------------------------------------------------------------------------------------------------- products
def exclusive_products(x, d):
    """The product of all elements before each one along dimension `d`."""
    shape = list(x.shape)
    shape[d] = 1
    return F.cumprod(F.cat([F.ones(tuple(shape), dtype=x.dtype), F.narrow(x, d, 0, x.shape[d] - 1)], d), d)


def prod_vjp(g, input, dims, keepdim):
    """Each element's derivative is the product of the others: of those before and those after it. Zeros need no care."""
    if not dims or not input.numel():
        return F.expand(g, tuple(input.shape)) if keepdim or not dims else F.expand(restore(g, input.shape, dims, keepdim), tuple(input.shape))
    x, d = input, dims[0]
    if len(dims) > 1:
        x, d = F.reshape(input, (-1,)), 0
    others = F.mul(exclusive_products(x, d), F.flip(exclusive_products(F.flip(x, (d,)), d), (d,)))
    others = F.reshape(others, tuple(input.shape))
    return F.mul(restore(g, input.shape, dims, keepdim), F.conj_physical(others) if others.is_complex() else others)


@primitive(REDUCE, args="input", infer=reduced_infer, forms="function method out", onnx="ReduceProd", lower=lambda b, s, *, dims, keepdim: b.reduction("mul", s, dims, keepdim), cast="high", vjp={"input": prod_vjp},
           ref=lambda a, *, dims, keepdim: np.asarray(np.multiply.reduce(a, dims, a.dtype, None, keepdim)),
           samples=lambda m: [((m.t(2, 4),), {}), ((m.t(2, 3, 4), 1), {}), ((m.t(3, 2), -1, True), {}), ((m.t(0, 3), 0), {}), ((m.t(),), {})])
def prod(input, dim=None, keepdim=False, *, dtype=None):
    """The product over `dim` (one dimension, or all if None). Integers and bools are multiplied in int64."""
    d = need_tensor(input, "prod").dtype
    if isinstance(dim, (tuple, list)):
        invalid_arguments("prod", input, dim)
    dims = read_dims("prod", input, dim)
    if dtype is not None:
        if dtype is not d:
            input = F.convert(input, dt.as_dtype(dtype))
    elif d.category < dt.FLOAT and d is not dt.int64:
        input = F.convert(input, dt.int64)
    return (input,), {"dims": dims, "keepdim": bool(keepdim)}


# ---------------------------------------------------------------------------------------------------- logic
def logic(name: str, ufunc, doc: str, onnx: str | None = None):
    """`all` and `any`: bool, except that uint8 stays uint8."""
    def infer(spec, *, dims, keepdim):
        return spec.like(reduced(spec.shape, dims, keepdim), dt.uint8 if spec.dtype is dt.uint8 else dt.bool_)

    def ref(a, *, dims, keepdim):
        r = np.asarray(ufunc.reduce(a, dims, np.bool_, None, keepdim))
        return r.astype(np.uint8) if a.dtype == np.uint8 else r

    def lower(b, s, *, dims, keepdim):
        return b.reduction("and" if name == "all" else "or", s, dims, keepdim, dtype=dt.bool_, pre=b.truth,
                           post=lambda r: b.cast(r, dt.uint8) if s.dtype is dt.uint8 else r)

    def front(input, dim=None, keepdim=False):
        need_tensor(input, name)
        dims = () if dim == () or dim == [] else read_dims(name, input, dim)
        return (input,), {"dims": dims, "keepdim": bool(keepdim)}
    return primitive(REDUCE, name=name, args="input", ref=ref, lower=lower, infer=infer, grads=False, forms="function method out", doc=doc, onnx=onnx,
                     exact_out=f"{name} only supports bool tensor for result, got: {{Have}}",
                     samples=lambda m: [((m.b(3, 4),), {}), ((m.i(2, 3, 4, high=2), 1), {}), ((m.t(2, 3), (0, 1), True), {}), ((m.b(0, 3), 0), {})])(front)


logic("all", np.logical_and, "Whether all elements over `dim` are nonzero. Over nothing: True. uint8 gives uint8, the rest bool.")
logic("any", np.logical_or, "Whether any element over `dim` is nonzero. Over nothing: False. uint8 gives uint8, the rest bool.")


def count_nonzero_ref(a, *, dims, keepdim):
    return np.asarray(np.add.reduce(a != 0, dims, np.int64, None, keepdim))


@primitive(REDUCE, args="input", ref=count_nonzero_ref,
           lower=lambda b, s, *, dims, keepdim: b.reduction("add", s, dims, keepdim, dtype=dt.int64, pre=lambda x: b.cast(b.truth(x), dt.int64)), infer=lambda s, *, dims, keepdim: s.like(reduced(s.shape, dims, keepdim), dt.int64), grads=False, forms="function method",
           samples=lambda m: [((m.i(3, 4, high=3),), {}), ((m.i(2, 3, 4, high=2), (0, 2)), {}), ((m.b(0, 3), 0), {})])
def count_nonzero(input, dim=None):
    """How many elements over `dim` (all dimensions if None) are not zero. int64."""
    return (input,), {"dims": read_dims("count_nonzero", input, dim), "keepdim": False}


# ---------------------------------------------------------------------------------------------------- variances
def squares(a, dims, n, keepdim):
    """The sum of squared distances from the mean."""
    d = a - np.true_divide(np.add.reduce(a, dims, a.dtype, None, True), n)
    square = d.real * d.real + d.imag * d.imag if d.dtype.kind == "c" else np.multiply(d, d, out=d if d.ndim else None)
    return np.add.reduce(square, dims, square.dtype, None, keepdim)


def var_ref(a, *, dims, correction, keepdim):
    n = count(a.shape, dims)
    free = n - correction
    if free <= 0:                                           # the warning was the front's; NumPy need not repeat it
        with np.errstate(all="ignore"):
            return np.asarray(np.true_divide(squares(a, dims, n, keepdim), 0))
    return np.asarray(np.true_divide(squares(a, dims, n, keepdim), free))


def var_body(input, *, dims, correction, keepdim):
    n = count(input.shape, dims)
    free = n - correction
    centred = F.sub(input, F.mean(input, dims, True)) if dims else F.zeros_like(input)
    return F.div(F.sum(F.square(centred), dims or None, keepdim), free if free > 0 else 0)


def std_body(input, *, dims, correction, keepdim):
    return F.sqrt(var_body(input, dims=dims, correction=correction, keepdim=keepdim))


def var_infer(spec, *, dims, correction, keepdim):
    return spec.like(reduced(spec.shape, dims, keepdim), spec.dtype.to_real())


def var_vjp(g, input, dims, correction, keepdim):
    if not input.numel():
        return F.zeros_like(input)
    free = count(input.shape, dims) - correction
    centred = F.sub(input, F.mean(input, dims, True)) if dims else F.zeros_like(input)
    return F.mul(restore(F.mul(g, 2 / free if free > 0 else float("nan")), input.shape, dims, keepdim), centred)


def std_vjp(g, input, out, dims, correction, keepdim):
    flat = F.eq(out, 0)                                    # a constant: the square root has no slope, take 0
    g = F.where(flat, F.zeros_like(g), F.div(g, F.mul(F.where(flat, F.ones_like(out), out), 2)))
    return var_vjp(g, input, dims, correction, keepdim)


def read_var(fn: str, input, dim, unbiased, keepdim, correction):
    """Canonical attributes from the overloads (unbiased), (dim, unbiased, keepdim) and (dim, *, correction, keepdim)."""
    need_tensor(input, fn)
    if isinstance(dim, bool):
        if unbiased is not None:
            invalid_arguments(fn, input, dim, unbiased)
        dim, unbiased = None, dim
    if unbiased is not None and correction is not None:
        invalid_arguments(fn, input, dim, unbiased)
    if input.dtype.category < dt.FLOAT:
        fail(RuntimeError, "P2465", ("std and var" if fn in ("std", "var") else fn) + " only support floating point and complex dtypes",
             fix="convert with .float()")
    c = (1 if unbiased is None or unbiased else 0) if correction is None else correction
    dims = read_dims(fn, input, dim)
    if count(input.shape, dims) - c <= 0:
        warnings.warn(f"{fn}(): degrees of freedom is <= 0. Correction should be strictly less than the reduction factor "
                      "(input numel divided by output numel).", stacklevel=5)
    return (input,), {"dims": dims, "correction": c, "keepdim": bool(keepdim)}


_VAR_SAMPLES = lambda m: [((m.t(3, 4),), {}), ((m.t(2, 3, 4), 1), {}), ((m.t(2, 3), (0, 1), False, True), {}),   # noqa: E731
                          ((m.t(3, 4), 0), {"correction": 2, "keepdim": True}), ((m.t(3, 0), 0), {}), ((m.t(4), False), {})]


@primitive(REDUCE, batch="shift", args="input", ref=var_ref, body=var_body, infer=var_infer, vjp={"input": var_vjp}, forms="function method out", samples=_VAR_SAMPLES)
def var(input, dim=None, unbiased=None, keepdim=False, *, correction=None):
    """The variance over `dim`: squared distances from the mean, summed and divided by `n - correction` (default 1).
    Complex input has a real variance."""
    return read_var("var", input, dim, unbiased, keepdim, correction)


@primitive(REDUCE, batch="shift", args="input", body=std_body, infer=var_infer, vjp={"input": std_vjp}, forms="function method out", samples=_VAR_SAMPLES,
           ref=lambda a, *, dims, correction, keepdim: np.asarray(np.sqrt(var_ref(a, dims=dims, correction=correction, keepdim=keepdim))))
def std(input, dim=None, unbiased=None, keepdim=False, *, correction=None):
    """The standard deviation over `dim`: the square root of `var`."""
    return read_var("std", input, dim, unbiased, keepdim, correction)


def _with_mean(fn: str, which: str):
    def body(input, dim=None, unbiased=None, keepdim=False, *, correction=None):
        (input,), attrs = read_var(fn, input, dim, unbiased, keepdim, correction)
        with warnings.catch_warnings():                     # said already, under this operator's name
            warnings.simplefilter("ignore")
            spread = getattr(F, which)(input, attrs["dims"], keepdim=keepdim, correction=attrs["correction"])
        return spread, F.mean(input, attrs["dims"], keepdim)
    return body


composite(_with_mean("var_mean", "var"), name="var_mean", samples=_VAR_SAMPLES,
          doc="(variance, mean) over `dim`, as `var` and `mean`.")
composite(_with_mean("std_mean", "std"), name="std_mean", samples=_VAR_SAMPLES,
          doc="(standard deviation, mean) over `dim`, as `std` and `mean`.")


# ---------------------------------------------------------------------------------------------------- logsumexp
def logsumexp_ref(a, *, dims, keepdim):
    if not a.size:
        return np.log(np.add.reduce(np.exp(a), dims, a.dtype, None, keepdim))[()] + np.zeros(reduced(a.shape, dims, keepdim), a.dtype)
    top = np.maximum.reduce(a.real, dims, None, None, True)
    top = np.where(np.isinf(top), a.real.dtype.type(0), top)
    r = np.log(np.add.reduce(np.exp(a - top), dims, a.dtype, None, True)) + top
    return np.asarray(r.reshape(reduced(a.shape, dims, keepdim)))


def logsumexp_body(input, *, dims, keepdim):
    if not input.numel() or not dims:
        return F.log(F.sum(F.exp(input), dims or None, keepdim))
    top = F.amax(input, dims, True)
    top = F.where(F.isinf(top), 0.0, top)
    r = F.add(F.log(F.sum(F.exp(F.sub(input, top)), dims, True)), top)
    return r if keepdim else F.reshape(r, reduced(input.shape, dims, False))


def logsumexp_vjp(g, input, out, dims, keepdim):
    share = F.exp(F.sub(input, restore(out, input.shape, dims, keepdim)))
    return F.mul(restore(g, input.shape, dims, keepdim), F.conj_physical(share) if share.is_complex() else share)


@primitive(REDUCE, batch="shift", args="input", ref=logsumexp_ref, body=logsumexp_body, infer=reduced_infer, vjp={"input": logsumexp_vjp}, forms="function method out",
           ns=("", "special"), onnx="ReduceLogSumExp", cast="gpu-high",
           samples=lambda m: [((m.t(3, 4), 1), {}), ((m.t(2, 3, 4), (0, 2), True), {}), ((m.t(0, 3), 0), {}), ((m.t(), 0), {})])
def logsumexp(input, dim, keepdim=False):
    """`log(sum(exp(input)))` over `dim`, without overflow. Integers are computed in the default float dtype."""
    dims = read_dims("logsumexp", input, dim)
    if input.dtype.category < dt.FLOAT:
        input = F.convert(input, dt.get_default_dtype())
    return (input,), {"dims": dims, "keepdim": bool(keepdim)}

