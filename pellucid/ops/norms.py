"""Norms of vectors and matrices, and the condition number.

Everything rests on one primitive, `vector_norm`, whose derivative is zero where the norm has a corner at zero.
"""
from __future__ import annotations

import math

from ._common import Spec, as_ints, describe, dt, fail, need_tensor, np, wrap_dim, wrap_dims

from ._linalg import need_float, well
from .elementwise import binary
from .op import FLOAT, REDUCE, F, composite, primitive
from .reduce import in_order, reduced, single


# ---------------------------------------------------------------------------------------------------- vectors
def vector_norm_ref(a, *, ord, dims, keepdim):
    if ord == 2 and len(dims) == a.ndim and a.dtype.kind == "f" and a.flags.c_contiguous and a.size:
        functions = in_order(a, dims)
        if functions is not None:
            return single(functions.short_norm(a, a.size), a.ndim, keepdim)
        flat = a.reshape(-1)
        r = np.sqrt(np.dot(flat, flat))                       # BLAS: one pass
        return np.asarray(r).reshape((1,) * a.ndim if keepdim else ())
    x = np.abs(a)
    real = x.dtype
    if ord == 0:
        r = np.add.reduce(a != 0, dims, real, None, keepdim)
    elif ord == math.inf:
        r = np.max(x, dims, keepdims=keepdim, initial=0) if not x.size else np.max(x, dims, keepdims=keepdim)
    elif ord == -math.inf:
        r = np.min(x, dims, keepdims=keepdim)
    elif ord == 1:
        r = np.add.reduce(x, dims, real, None, keepdim)
    elif ord == 2:
        r = np.sqrt(np.add.reduce(x * x, dims, real, None, keepdim))
    else:
        r = np.add.reduce(x ** ord, dims, real, None, keepdim) ** (1 / ord)
    return np.asarray(r).astype(real, copy=False)


def vector_norm_infer(a: Spec, *, ord, dims, keepdim) -> Spec:
    return a.like(reduced(a.shape, dims, keepdim), a.dtype.to_real())


def restored(x, shape, dims, keepdim):
    """A reduced value with its reduced dimensions back, of size 1."""
    return x if keepdim else F.reshape(x, tuple(1 if i in dims else n for i, n in enumerate(shape)))


def quotient_or_zero_ref(x, y):
    flat = y == 0
    return np.where(flat, x.dtype.type(0), x / np.where(flat, y.dtype.type(1), y))


def _quotient_slope(g, input, other):
    return F.neg(F.mul(g, F.quotient_or_zero(F.quotient_or_zero(input, other), other)))


binary("quotient_or_zero", quotient_or_zero_ref, {"input": lambda g, other: F.quotient_or_zero(g, other), "other": _quotient_slope},
       takes="TT", forms="", ns=(), refuse="complex", promote=FLOAT, module=__name__,
       scalar=lambda b, x, y: b.select(b.eq(y, 0), b.const(0, x), b.div(x, b.select(b.eq(y, 0), b.const(1, y), y))),
       doc="`input / other`, and 0 where `other` is 0.")


def vector_norm_vjp(g, input, out, ord, dims, keepdim):
    if ord == 2:
        return F.mul(input, restored(F.quotient_or_zero(g, out), tuple(input.shape), dims, keepdim))
    shape = tuple(input.shape)
    g, norm = restored(g, shape, dims, keepdim), restored(out, shape, dims, keepdim)
    zero = F.zeros((), dtype=norm.dtype)
    if ord == 0:
        return F.zeros_like(input)
    if ord == 1:
        return F.mul(F.sgn(input), g)
    size = F.abs(input)
    if math.isinf(ord):                                       # equal extremes share the gradient
        mask = F.logical_or(F.eq(size, norm), F.logical_and(F.isnan(size), F.isnan(norm)))
        count = F.sum(F.convert(mask, norm.dtype), dims, keepdim=True)
        return F.mul(F.mul(F.sgn(input), F.convert(mask, norm.dtype)), F.div(g, count))
    at_zero = F.eq(size, 0)
    safe = F.where(at_zero, F.add(zero, 1), size)
    slope = F.mul(F.sgn(input), F.where(at_zero, zero, F.pow(safe, ord - 1)))
    flat = F.eq(norm, 0)
    scale = F.where(flat, zero, F.mul(g, F.pow(F.where(flat, F.add(zero, 1), norm), 1 - ord)))
    return F.mul(slope, scale)


def vector_norm_lower(b, s, *, ord, dims, keepdim):
    r = lambda op, pre, post=None, **kw: b.reduction(op, s, dims, keepdim, pre=pre, post=post, **kw)     # noqa: E731
    if ord == 0:
        return r("add", lambda x: b.cast(b.ne(x, 0), x.dtype))
    if ord == math.inf:
        return r("max", b.abs, init=0)
    if ord == -math.inf:
        return r("min", b.abs)
    if ord == 1:
        return r("add", b.abs)
    if ord == 2:
        return r("add", b.square, b.sqrt)
    return r("add", lambda x: b.pow(b.abs(x), ord), lambda total: b.pow(total, 1 / ord))


@primitive(REDUCE, args="input", ref=vector_norm_ref, lower=vector_norm_lower, infer=vector_norm_infer, forms="", vjp={"input": vector_norm_vjp}, cast="gpu-high")
def vector_norm(input, ord, dims, keepdim):
    """(sum |x|**ord)**(1/ord) over `dims`; the number of nonzeros for 0, the largest or smallest |x| for inf and -inf."""
    return (input,), {"ord": ord, "dims": dims, "keepdim": keepdim}


def check_dtype(fn: str, x, dtype):
    """`x` in `dtype`, which must not lose its kind or precision."""
    if x.dtype.category < dt.FLOAT:
        fail(RuntimeError, "P907", f"{fn}: Expected a floating point or complex tensor as input. Got {x.dtype.type_name}", fix="convert with .float()")
    if dtype is None:
        return x
    d = dt.as_dtype(dtype)
    if d.category < dt.FLOAT:
        fail(RuntimeError, "P908", f"{fn}: dtype should be floating point or complex. Got {d.type_name}")
    if x.is_complex() != (d.category == dt.COMPLEX):
        kinds = ("complex", "real") if x.is_complex() else ("real", "complex")
        fail(RuntimeError, "P909", f"{fn}: dtype should be {kinds[0]} for {kinds[0]} inputs. Got {d.type_name}")
    if dt.promote_types(x.dtype, d) is not d:
        fail(RuntimeError, "P910", f"{fn}: the dtype of the input ({x.dtype.type_name}) should be convertible without narrowing to the specified "
             f"dtype ({d.type_name})")
    return x if d is x.dtype else F.convert(x, d)


@composite(forms="function out", samples=lambda m: [((m.t(3, 4),), {}), ((m.t(3, 4), 3), {"dim": 1}),
                                     ((m.t(2, 3), math.inf), {"keepdim": True, "dim": 0}), ((m.t(0),), {})])
def linalg_vector_norm(x, ord=2, dim=None, keepdim=False, *, dtype=None):
    """The `ord`-norm of all elements, or over `dim`."""
    fn = "linalg.vector_norm"
    x = check_dtype(fn, need_tensor(x, fn, "x"), dtype)
    dims = tuple(range(x.ndim)) if dim is None or dim == () or dim == [] else wrap_dims(as_ints(dim, fn, "dim"), x.ndim)
    dims = dims if x.ndim else ()
    ord = float(ord)
    if ord < 0 or ord == math.inf:
        shape = tuple(x.shape)
        if (dim is None or not dims) and not x.numel():
            fail(RuntimeError, "P911", f"linalg.vector_norm cannot compute the {ord:g} norm on an empty tensor because the operation does not have an identity")
        for d in dims:
            if shape[d] == 0:
                fail(RuntimeError, "P912", f"linalg.vector_norm cannot compute the {ord:g} norm on the dimension {d} because this dimension is empty and "
                     "the operation does not have an identity")
    return F.vector_norm(x, ord, dims, bool(keepdim))


# ---------------------------------------------------------------------------------------------------- matrices
def _over_last(x, dims):
    """`x` with `dims` moved to the end, in order."""
    rest = [d for d in range(x.ndim) if d not in dims]
    order = rest + list(dims)
    return x if order == list(range(x.ndim)) else F.permute(x, order)


def singular_values_norm(x, pick, dims, keepdim):
    """A norm made from the singular values of the matrices in `dims`."""
    r = pick(F.linalg_svdvals(_over_last(x, dims)))
    if keepdim:
        r = F.reshape(r, tuple(1 if i in dims else n for i, n in enumerate(x.shape)))
    return r


def extreme_over(x, dim: int, largest: bool, keepdim: bool = False):
    """The largest of numbers that are not negative (0 of none at all), or the smallest."""
    if largest:
        return F.amax(x, dim, keepdim=keepdim) if x.shape[dim] else F.sum(x, dim, keepdim=keepdim)
    return F.amin(x, dim, keepdim=keepdim)


@composite(forms="function out",
           samples=lambda m: [((m.t(3, 4),), {}), ((m.t(2, 3, 3), "nuc"), {}), ((m.t(3, 4, 2), 1), {"dim": (0, 1), "keepdim": True}),
               ((m.t(3, 3), 2), {}), ((m.t(3, 2), -math.inf), {})])
def linalg_matrix_norm(A, ord="fro", dim=(-2, -1), keepdim=False, *, dtype=None):
    """A norm of matrices: "fro", "nuc" (sum of singular values), inf, -inf (row sums), 1, -1 (column sums), 2, -2."""
    fn = "linalg.matrix_norm"
    need_tensor(A, fn, "A")
    if A.ndim < 2:
        fail(RuntimeError, "P913", f"{fn}: The input tensor A must have at least 2 dimensions.", got=describe(A))
    dim = tuple(dim) if isinstance(dim, (tuple, list)) else (dim,)
    if len(dim) != 2:
        fail(RuntimeError, "P914", f"{fn}: dim must be a 2-tuple. Got {' '.join(map(str, dim))}")
    A = check_dtype(fn, A, dtype)
    dims = tuple(wrap_dim(int(d), A.ndim) for d in dim)
    if dims[0] == dims[1]:
        fail(RuntimeError, "P915", f"{fn}: dims must be different. Got ({dim[0]}, {dim[1]})")
    if isinstance(ord, str):
        if ord == "fro":
            return F.vector_norm(A, 2.0, tuple(sorted(dims)), bool(keepdim))
        if ord == "nuc":
            return singular_values_norm(A, lambda s: F.sum(s, -1), dims, keepdim)
        fail(RuntimeError, "P916", f"{fn}: Order {ord} not supported.")
    if isinstance(ord, complex):
        fail(RuntimeError, "P917", f"{fn}: Expected a non-complex scalar as the order of norm.")
    if abs(ord) == 2:
        return singular_values_norm(A, lambda s: extreme_over(s, -1, ord > 0), dims, keepdim)
    if abs(ord) not in (1, math.inf):
        fail(RuntimeError, "P918", f"{fn}: Order {ord:g} not supported.")
    add, extreme = dims if abs(ord) == 1 else dims[::-1]
    sums = F.vector_norm(A, 1.0, (add,), True)
    r = extreme_over(sums, extreme, ord > 0, keepdim=True)
    if keepdim:
        return r
    return F.reshape(r, tuple(n for i, n in enumerate(r.shape) if i not in dims))


@composite(forms="function out",
           samples=lambda m: [((m.t(3, 4),), {}), ((m.t(4), 3), {}), ((m.t(2, 3, 3), "fro"), {"dim": (1, 2)}), ((m.t(3, 3), 1), {}),
               ((m.t(2, 3, 4),), {"dim": 1})])
def linalg_norm(A, ord=None, dim=None, keepdim=False, *, dtype=None):
    """The vector norm of all elements without `ord`; otherwise a vector norm (one dimension) or a matrix norm (two)."""
    fn = "linalg.norm"
    need_tensor(A, fn, "A")
    dims = None if dim is None else tuple(dim) if isinstance(dim, (tuple, list)) else (dim,)
    if dims is not None and ord is not None and len(dims) not in (1, 2):
        fail(RuntimeError, "P919", f"{fn}: If dim is specified, it must be of length 1 or 2. Got [{', '.join(map(str, dims))}]")
    if dims is None and ord is not None and A.ndim not in (1, 2):
        fail(RuntimeError, "P920", f"{fn}: If dim is not specified but ord is, the input must be 1D or 2D. Got {A.ndim}D.")
    if isinstance(ord, str):
        return F.linalg_matrix_norm(A, ord, dims or (-2, -1), keepdim, dtype=dtype)
    if ord is not None and (len(dims) == 2 if dims is not None else A.ndim == 2):
        return F.linalg_matrix_norm(A, ord, dims or (0, 1), keepdim, dtype=dtype)
    return F.linalg_vector_norm(A, 2 if ord is None else ord, dims, keepdim, dtype=dtype)


@composite(forms="function method",
           samples=lambda m: [((m.t(3, 4),), {}), ((m.t(3, 4), 1), {"dim": 0}), ((m.t(3, 3), "nuc"), {}),
               ((m.t(2, 3, 4),), {"p": 3, "dim": (1, 2), "keepdim": True}), ((m.t(0),), {})])
def norm(input, p="fro", dim=None, keepdim=False, out=None, dtype=None):
    """The p-norm of all elements or over `dim`; "fro" is the 2-norm, "nuc" needs matrices. `linalg.norm` is clearer."""
    need_tensor(input, "norm")
    dims = None if dim is None else tuple(dim) if isinstance(dim, (tuple, list)) else (dim,)
    if input.dtype.category < dt.FLOAT and dtype is None:
        fail(RuntimeError, "P921", f"norm(): input dtype should be either floating point or complex. Got {input.dtype.type_name} instead.",
             fix="convert with .float()")
    if isinstance(p, str) and p == "nuc":
        dims = dims if dims is not None else tuple(range(input.ndim))
        if len(dims) != 2:
            fail(RuntimeError, "P922", "linalg.matrix_norm: dim must be a 2-tuple. Got " + " ".join(map(str, dims)), got=describe(input))
        r = F.linalg_matrix_norm(input, "nuc", dims, keepdim, dtype=dtype)
    elif isinstance(p, str) and p != "fro":
        fail(RuntimeError, "P923", f"only valid string values are 'fro' and 'nuc', found {p}")
    else:
        r = F.linalg_vector_norm(input if dtype is None else F.convert(input, dt.as_dtype(dtype)), 2 if p is None or p == "fro" else p, dims, keepdim)
    return r if out is None else out.resize_(r.shape).copy_(r)


@composite(samples=lambda m: [((m.t(3, 4),), {}), ((m.t(2, 3, 4), (1, 2)), {"keepdim": True}), ((m.t(3, 3),), {})])
def nuclear_norm(input, dim=None, keepdim=False, out=None):
    """The sum of the singular values of matrices."""
    if dim is None and input.ndim != 2:
        fail(RuntimeError, "P924", f"Expected a tensor with 2 dimensions, but got a tensor with {input.ndim} dimensions instead.")
    r = F.linalg_matrix_norm(input, "nuc", dim if dim is not None else (-2, -1), keepdim)
    return r if out is None else out.resize_(r.shape).copy_(r)


@composite(forms="function out", samples=lambda m: [((m.t(3, 4),), {"dim": (0, 1)}), ((m.t(2, 3, 4), (1, 2)), {"keepdim": True}),
                                     ((m.t(3),), {"dim": 0})])
def frobenius_norm(input, dim=(), keepdim=False):
    """The root of the sum of squares, of all elements or over one or two dimensions."""
    return F.linalg_vector_norm(input, 2, dim, keepdim)


# ---------------------------------------------------------------------------------------------------- condition
@composite(forms="function out", samples=lambda m: [((well(m, 3, 3),), {}), ((well(m, 2, 2, 2), "fro"), {}),
                                     ((well(m, 3, 3), 1), {}), ((m.t(4, 3), -2), {})])
def linalg_cond(A, p=None):
    """The condition number |A| |A^-1| in a matrix norm; by default the largest singular value over the smallest."""
    fn = "linalg.cond"
    if need_tensor(A, fn, "A").ndim < 2:
        fail(RuntimeError, "P925", f"{fn}: The input tensor A must have at least 2 dimensions.", got=describe(A))
    need_float(A, fn)
    if p is None or (not isinstance(p, str) and abs(p) == 2):
        if not A.numel():
            return F.zeros(tuple(A.shape[:-2]), dtype=A.dtype.to_real())
        s = F.linalg_svdvals(A)
        largest, least = F.select(s, -1, 0), F.select(s, -1, s.shape[-1] - 1)
        return F.div(least, largest) if p == -2 else F.div(largest, least)
    if p not in ("fro", "nuc") and (isinstance(p, str) or abs(p) not in (1, math.inf)):
        fail(RuntimeError, "P926", f"{fn} got an invalid norm type: {p}")
    if A.shape[-1] != A.shape[-2]:
        fail(RuntimeError, "P927", f"{fn}(): A must be batches of square matrices, but they are {A.shape[-2]} by {A.shape[-1]} matrices")
    if not A.numel():
        return F.zeros(tuple(A.shape[:-2]), dtype=A.dtype.to_real())
    if p == "nuc":
        s = F.linalg_svdvals(A)
        return F.mul(F.sum(s, -1), F.sum(F.reciprocal(s), -1))
    inverse, info = F.linalg_inverse(A)
    r = F.mul(F.linalg_matrix_norm(A, p), F.linalg_matrix_norm(inverse, p))
    return F.where(F.eq(info, 0), r, F.full((), math.inf, dtype=r.dtype))


