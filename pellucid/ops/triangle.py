"""Triangles and diagonals of matrices, cross products, Vandermonde matrices."""
from __future__ import annotations

import warnings

from ..core.device import check as check_device
from ._common import Spec, as_int, broadcast_shapes, describe, dt, fail, need_tensor, np, wrap_dim
from .matmul import conj
from .op import EXTERN, GATHER, SCATTER, F, composite, primitive


# ---------------------------------------------------------------------------------------------------- triangles
def _triangle(name: str, keep, doc: str) -> None:
    def lower(b, i, load, s, *, diagonal):
        row, column = b.iadd(i[-2], diagonal), i[-1]
        return b.select(b.ige(row, column) if name == "tril" else b.ile(row, column), load(0, i), b.zero(s.dtype))

    def ref(a, *, diagonal):
        n, m = a.shape[-2:]
        return np.where(keep(np.arange(n)[:, None], np.arange(m) - diagonal), a, np.zeros(1, a.dtype))

    def front(input, diagonal=0, *, k=None):
        if need_tensor(input, name).ndim < 2:
            fail(RuntimeError, "P928", f"{name}: input tensor must have at least 2 dimensions", got=describe(input))
        return (input,), {"diagonal": as_int(diagonal if k is None else k, name, "diagonal")}

    front.__name__ = name
    primitive(GATHER, args="input", ref=ref, batch="lead", jvp="input", lower=lower, infer=lambda s, *, diagonal: s.like(), low=False, forms="function method inplace out",
              vjp={"input": lambda g, diagonal: getattr(F, name)(g, diagonal)}, onnx="Trilu", doc=doc,
              samples=lambda m: [((m.t(3, 4),), {}), ((m.t(2, 3, 3),), {"diagonal": 1}), ((m.i(4, 2), -1), {}), ((m.t(0, 3),), {})])(front)


_triangle("tril", np.greater_equal, "The lower triangle of each matrix, up to `diagonal` places above the main diagonal; zeros elsewhere.")
_triangle("triu", np.less_equal, "The upper triangle of each matrix, from `diagonal` places above the main diagonal on; zeros elsewhere.")


def _indices(name: str, find, doc: str) -> None:
    def ref(*, row, col, offset, dtype):
        return np.stack(find(row, offset, col)).astype(dtype.np) if row and col else np.zeros((2, 0), dtype.np)

    def values(row, col, offset, dtype):
        return (), {"row": row, "col": col, "offset": offset, "dtype": dtype}

    primitive(EXTERN, name=name + "_values", args="", ref=ref, infer=lambda **kw: Spec(ref(**kw).shape, kw["dtype"]), forms="", low=False,
              doc=f"The indices that `{name}` returns.",
              samples=lambda m: [((3, 4, 0, dt.int64), {}), ((2, 2, -1, dt.int32), {}), ((0, 3, 0, dt.int64), {})])(values)

    def body(row, col, offset=0, *, dtype=dt.int64, device=None, layout=None):
        check_device(device)
        for n, what in ((row, "row"), (col, "col")):
            if n < 0:
                fail(RuntimeError, "P929", f"{what} must be non-negative, got{n}")
        if dtype not in (dt.int32, dt.int64):
            fail(RuntimeError, "P930", f"\"{name}\" not implemented for '{dt.as_dtype(dtype).type_name}'", fix="use int64 or int32")
        return getattr(F, name + "_values")(as_int(row), as_int(col), as_int(offset), dt.as_dtype(dtype))

    body.__name__ = name
    composite(name=name, doc=doc, samples=lambda m: [((3, 4), {}), ((4, 3, 1), {}), ((0, 3), {})])(body)


_indices("tril_indices", np.tril_indices, "Row and column numbers of the lower triangle of a matrix, as a tensor of two rows.")
_indices("triu_indices", np.triu_indices, "Row and column numbers of the upper triangle of a matrix, as a tensor of two rows.")


# ---------------------------------------------------------------------------------------------------- diagonals
def diag_embed_ref(a, *, offset, dim1, dim2):
    n = a.shape[-1] + abs(offset)
    r = np.zeros((*a.shape[:-1], n, n), a.dtype)
    i = np.arange(a.shape[-1])
    r[..., i + max(-offset, 0), i + max(offset, 0)] = a
    return np.moveaxis(r, (-2, -1), (dim1, dim2)) if (dim1, dim2) != (r.ndim - 2, r.ndim - 1) else r


def diag_embed_lower(b, s, *, offset, dim1, dim2):
    def element(o, load):
        n = s.shape[-1]
        if n == 0:
            return b.zero(s.dtype)
        rest = tuple([x for d, x in enumerate(o) if d not in (dim1, dim2)])
        row, column = b.isub(o[dim1], max(-offset, 0)), b.isub(o[dim2], max(offset, 0))
        on = b.and_(b.ieq(row, column), b.iwithin(row, 0, n))
        return b.select(on, load(0, (*rest, b.clamp(row, 0, n - 1))), b.zero(s.dtype))
    return b.element(element)


@primitive(SCATTER, jvp="input", args="input", ref=diag_embed_ref, lower=diag_embed_lower, low=False, forms="function method out",
           infer=lambda s, *, offset, dim1, dim2: s.like(embedded_shape(s.shape, offset, dim1, dim2)),
           vjp={"input": lambda g, offset, dim1, dim2: F.diagonal(g, offset, dim1, dim2)},
           samples=lambda m: [((m.t(3),), {}), ((m.t(2, 3),), {"offset": 1, "dim1": 0, "dim2": 2}), ((m.t(0),), {"offset": -1})])
def diag_embed(input, offset=0, dim1=-2, dim2=-1):
    """Matrices with the last dimension of `input` on a diagonal, in dimensions dim1 and dim2 of the result."""
    n = input.ndim + 1
    first, second = wrap_dim(dim1, n), wrap_dim(dim2, n)
    if first == second:
        fail(RuntimeError, "P931", f"diagonal dimensions cannot be identical {dim1}, {dim2}")
    return (input,), {"offset": as_int(offset, "diag_embed", "offset"), "dim1": first, "dim2": second}


def embedded_shape(shape, offset, dim1, dim2):
    n, rest = shape[-1] + abs(offset), list(shape[:-1])
    out = []
    for d in range(len(shape) + 1):
        out.append(n if d in (dim1, dim2) else rest.pop(0))
    return tuple(out)


@composite(forms="function method out", samples=lambda m: [((m.t(3),), {}), ((m.t(3, 4),), {"diagonal": 1}), ((m.t(0),), {})])
def diag(input, diagonal=0):
    """A matrix with a vector on its diagonal, or the diagonal of a matrix as a vector (a copy)."""
    if need_tensor(input, "diag").ndim == 1:
        return F.diag_embed(input, diagonal)
    if input.ndim != 2:
        fail(RuntimeError, "P932", f"diag(): Supports 1D or 2D tensors. Got {input.ndim}D", got=describe(input),
             fix="use diagonal or diag_embed for batches")
    return F.clone(F.diagonal(input, diagonal, 0, 1))


@composite(forms="function method", samples=lambda m: [((m.t(2, 2),), {}), ((m.t(3),), {"offset": -1}), ((m.t(0),), {})])
def diagflat(input, offset=0):
    """A matrix with all elements of `input` on its diagonal."""
    return F.diag_embed(F.reshape(input, (-1,)), offset)


@composite(name="linalg_diagonal", samples=lambda m: [((m.t(3, 3),), {}), ((m.t(2, 3, 4),), {"offset": 1}), ((m.t(2, 3, 0),), {"dim1": 0})])
def linalg_diagonal(A, *, offset=0, dim1=-2, dim2=-1):
    """The diagonals of matrices, by default in the last two dimensions. A view."""
    return F.diagonal(A, offset, dim1, dim2)


@composite(forms="function method", samples=lambda m: [((m.t(3, 3),), {}), ((m.t(2, 4),), {}), ((m.t(0, 3),), {})])
def trace(input):
    """The sum of a matrix' diagonal."""
    if need_tensor(input, "trace").ndim != 2:
        fail(RuntimeError, "P933", "trace: expected a matrix", got=describe(input))
    return F.sum(F.diagonal(input))


# ---------------------------------------------------------------------------------------------------- cross products
def cross_ref(a, b, *, dim):
    ahead, behind = np.array([1, 2, 0]), np.array([2, 0, 1])
    a1, a2 = a.take(ahead, dim), a.take(behind, dim)
    return a1 * b.take(behind, dim) - a2 * b.take(ahead, dim)


def cross_infer(a: Spec, b: Spec, *, dim) -> Spec:
    return a.like(broadcast_shapes(a.shape, b.shape))


def cross_lower(b, i, load, x, y, *, dim):
    def at(k, s, shift):
        j = (*i[:dim], b.imod(b.iadd(i[dim], shift), 3), *i[dim + 1:])
        return load(k, b.broadcast(j, s.shape))
    return b.sub(b.mul(at(0, x, 1), at(1, y, 2)), b.mul(at(0, x, 2), at(1, y, 1)))


@primitive(EXTERN, args="input other", name="linalg_cross", ref=cross_ref, lower=cross_lower, infer=cross_infer, forms="function out",
           vjp={"input": lambda g, other, dim: F.linalg_cross(conj(other), g, dim=dim),
                "other": lambda g, input, dim: F.linalg_cross(g, conj(input), dim=dim)},
           samples=lambda m: [((m.t(2, 3), m.t(2, 3)), {}), ((m.t(3, 2), m.t(3, 1)), {"dim": 0}), ((m.t(0, 3), m.t(0, 3)), {})])
def linalg_cross(input, other, *, dim=-1):
    """The cross product of 3-vectors along `dim`, with broadcasting of the other dimensions."""
    need_tensor(input, "linalg.cross")
    need_tensor(other, "linalg.cross", "other", 2)
    if input.ndim != other.ndim:
        fail(RuntimeError, "P934", "linalg.cross: inputs must have the same number of dimensions.", got=describe(input, other))
    d = wrap_dim(dim, input.ndim)
    if input.shape[d] != 3 or other.shape[d] != 3:
        fail(RuntimeError, "P935", f"linalg.cross: inputs dimension {dim} must have length 3. Got {input.shape[d]} and {other.shape[d]}",
             got=describe(input, other))
    if input.dtype is not other.dtype:
        common = dt.result_type_of([input.dtype, other.dtype], [], [])
        input, other = F.convert(input, common), F.convert(other, common)
    broadcast_shapes(tuple(input.shape), tuple(other.shape))
    return (input, other), {"dim": d}


@composite(forms="function method out",
           samples=lambda m: [((m.t(2, 3), m.t(2, 3)), {"dim": 1}), ((m.t(3, 2), m.t(3, 2)), {"dim": 0}),
               ((m.t(0, 3), m.t(0, 3)), {"dim": -1})])
def cross(input, other, dim=None):
    """The cross product of 3-vectors along `dim` (without it: the first dimension of size 3, which is deprecated)."""
    if dim is None:
        warnings.warn("Using torch.cross without specifying the dim arg is deprecated.\nPlease either pass the dim explicitly or simply "
                      "use torch.linalg.cross.\nThe default value of dim will change to agree with that of linalg.cross in a future "
                      "release.", UserWarning, stacklevel=4)
        shape = tuple(input.shape)
        if 3 not in shape:
            fail(RuntimeError, "P936", "no dimension of size 3 in input", got=describe(input, other))
        dim = shape.index(3)
    return F.linalg_cross(input, other, dim=dim)


# ---------------------------------------------------------------------------------------------------- made from vectors
@composite(name="linalg_vander", samples=lambda m: [((m.t(3),), {}), ((m.t(2, 3),), {"N": 4}), ((m.i(4),), {"N": 2})])
def linalg_vander(x, *, N=None):
    """The matrices of powers `x[i]**j`, for j below N (default: the length of x)."""
    if x.ndim == 0:
        x = F.reshape(x, (1,))
    n = x.shape[-1] if N is None else as_int(N, "linalg.vander", "N")
    if n <= 1 and N is not None:
        fail(RuntimeError, "P937", f"linalg.vander: N must be greater than 1. Got {n}")
    d = dt.int64 if x.dtype.category < dt.FLOAT else x.dtype
    x = F.convert(x, d) if x.dtype is not d else x
    ones = F.ones((*x.shape, 1), dtype=d)
    powers = F.cumprod(F.expand(F.unsqueeze(x, -1), (*x.shape, max(n - 1, 0))), -1)
    return F.cat((ones, powers), -1)


@composite(samples=lambda m: [((m.t(3),), {}), ((m.t(3),), {"N": 4, "increasing": True}), ((m.i(4),), {"N": 2})])
def vander(x, N=None, increasing=False):
    """The matrix of powers of a vector, highest power first unless `increasing`."""
    if x.ndim != 1:
        fail(RuntimeError, "P938", "torch.vander: x must be a one-dimensional tensor.", got=describe(x))
    n = x.shape[0] if N is None else N
    if n < 0:
        fail(RuntimeError, "P939", "torch.vander: N must be non-negative.")
    d = dt.int64 if x.dtype.category < dt.FLOAT else x.dtype
    if n == 0:
        return F.zeros((x.shape[0], 0), dtype=d)
    powers = F.expand(F.unsqueeze(F.convert(x, d) if x.dtype is not d else x, -1), (x.shape[0], n - 1))
    r = F.cat((F.ones((x.shape[0], 1), dtype=d), F.cumprod(powers, -1)), 1)
    return r if increasing else F.flip(r, (1,))
