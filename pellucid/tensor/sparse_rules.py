"""What each operator does with sparse tensors: `RULES`, filled here.

In: the arguments of an operator as the user gave them, at least one of them sparse. Out: its result, sparse where PyTorch's is.
Every rule is dense operators on `values_of(t)`, put together again by `assemble`: gradients follow from the parts. Composites
without a rule (`x.double()`, `x.t()`, ...) are their parts; primitives without one raise.

Where PyTorch refuses and the answer is plain (sparse + dense, slices), it is given. Definitions: PyTorch 2.13.
"""
from __future__ import annotations

import math

import numpy as np

from ..core import dtype as dt
from ..core.errors import describe, fail
from ..core.spec import broadcast_shapes, wrap_dim
from ..ops.op import F
from .core import Slots, readable, wrap
from .sparse import (RULES, SparseTensor, assemble, at_places, coalesced_from, dense, flat, from_dense, hold, is_sparse, nothing, rows,
                     summed, unflat, unsupported, values_of)


def rule(*names: str):
    """Register what the operators do with sparse tensors."""
    def register(fn):
        for name in names:
            RULES[name] = fn
        return fn
    return register


def same_places(t, values) -> SparseTensor:
    """Entries at the places of `t`."""
    a = t._a
    return assemble(a.indices, values, a.shape, a.coalesced)


def one_number(x) -> bool:
    return not isinstance(x, Slots) or x._a.ndim == 0 and not is_sparse(x)


# ---------------------------------------------------------------------------------------------------- one tensor
def _entrywise(name: str, linear: bool):
    """A rule for a function with f(0) = 0: it acts on the entries, summed first unless f is linear."""
    def apply(input, *args, **kwargs):
        t = input if linear else input.coalesce()
        return same_places(t, getattr(F, name)(values_of(t), *args, **kwargs))
    RULES[name] = apply


for _name in ("abs", "asin", "asinh", "atan", "atanh", "ceil", "erf", "erfinv", "expm1", "floor", "frac", "isinf", "isnan", "isneginf",
              "isposinf", "log1p", "nan_to_num", "relu", "round", "sgn", "sign", "signbit", "sin", "sinh", "sqrt", "square", "tan", "tanh",
              "trunc"):
    _entrywise(_name, False)
for _name in ("neg", "deg2rad", "rad2deg", "conj_physical", "conj"):
    _entrywise(_name, True)


@rule("positive", "contiguous", "resolve_conj", "alias")
def _itself(input, *args, **kwargs):
    return input


@rule("convert")
def _convert(input, dtype):
    exact = dtype.category >= dt.FLOAT or input.dtype.category < dt.FLOAT       # rounding and sums do not commute
    t = input if exact and dt.bool_ not in (dtype, input.dtype) else input.coalesce()
    return same_places(t, F.convert(values_of(t), dtype))


@rule("to")
def _to(input, *args, memory_format=None, **kwargs):
    if not is_sparse(input):                                # x.to(other) of a dense tensor: only dtype and device are taken
        args = [a.dtype if is_sparse(a) else a for a in args]
        kwargs = {k: v.dtype if is_sparse(v) else v for k, v in kwargs.items()}
        if "other" in kwargs:
            kwargs["dtype"] = kwargs.pop("other")
        return F.to(input, *args, **kwargs)
    return F.to.op.body(input, *args, **kwargs)


@rule("clone")
def _clone(input, *, memory_format=None):
    a = input._a
    t = assemble(a.indices.copy(), F.clone(values_of(input)), a.shape, a.coalesced)
    t._a.coalesced = a.coalesced
    return t


@rule("detach")
def _detach(input):
    t = hold(input._a)
    t._st = input._storage()
    return t


@rule("zero")
def _zero(input):
    return nothing(input._a.shape, input._a.indices.shape[0], input.dtype)


@rule("zeros_like", "empty_like")
def _zeros_like(input, *, dtype=None, layout=None, device=None, pin_memory=False, requires_grad=False, memory_format=None):
    d = dtype or input.dtype
    if memory_format is not None and layout in (None, input.layout):
        raise RuntimeError("memory format option is only supported by strided tensors")
    if layout is not None and layout is not input.layout:
        return F.zeros(tuple(input._a.shape), dtype=d, requires_grad=requires_grad)
    return nothing(input._a.shape, input._a.indices.shape[0], d).requires_grad_(requires_grad)


def _dense_results(name: str):
    """What would fill every place."""
    def refuse(input, *args, **kwargs):
        raise unsupported(name, input)
    RULES[name] = refuse


for _name in ("ones_like", "full_like", "rand_like", "randn_like", "randint_like", "fill", "reshape", "flatten", "dot"):
    _dense_results(_name)


@rule("copy")
def _copy(input, src, non_blocking=False):
    if not (is_sparse(input) and is_sparse(src)):
        raise unsupported("copy_ between a sparse and a dense tensor", input, src)
    return _convert(_clone(src), input.dtype)


@rule("to_dense")
def _to_dense(input, dtype=None, *, masked_grad=None):
    x = dense(input)
    return x if dtype is None else F.to(x, dtype)


@rule("any")
def _any(input, dim=None, keepdim=False):
    if dim is not None:
        raise unsupported("any over a dimension", input)
    return F.any(values_of(input.coalesce()))


@rule("norm")
def _norm(input, p="fro", dim=None, keepdim=False, out=None, dtype=None):
    if dim not in (None, (), []) and sorted(wrap_dim(d, input.ndim) for d in np.atleast_1d(dim).tolist()) != list(range(input.ndim)):
        raise unsupported("norm over some dimensions", input)
    return F.norm(F.reshape(values_of(input.coalesce()), (-1,)), p, dtype=dtype)


@rule("linalg_vector_norm")
def _vector_norm(x, ord=2, dim=None, keepdim=False, *, dtype=None):
    return _norm(x, ord, dim, keepdim, dtype=dtype)


# ---------------------------------------------------------------------------------------------------- sums
def _dims(dim, n: int) -> tuple:
    return tuple(sorted({wrap_dim(d, n) for d in ((dim,) if isinstance(dim, int) else dim)}))


@rule("sum")
def total(input, dim=None, keepdim=False, *, dtype=None):
    """The sum over all dimensions, or over `dim`: sparse while a sparse dimension is left."""
    a, v = input._a, values_of(input)
    if dtype is not None:
        v = F.convert(v, dt.as_dtype(dtype))
    if dim is None or dim == () or dim == []:
        return F.sum(v)
    n, dims = a.indices.shape[0], _dims(dim, input.ndim)
    within = tuple([d - n + 1 for d in dims if d >= n])
    if within:
        v = F.sum(v, within, keepdim)
    elif v.dtype.category < dt.FLOAT:
        v = F.convert(v, dt.int64)
    if all(d in dims for d in range(n)):
        v = F.sum(v, 0)
        return F.reshape(v, [1 if d in dims else m for d, m in enumerate(a.shape)]) if keepdim else v
    left = [m if d not in dims else 1 for d, m in enumerate(a.shape) if keepdim or d not in dims]
    if keepdim:
        indices = a.indices.copy()
        indices[[d for d in dims if d < n]] = 0
    else:
        indices = a.indices[[d for d in range(n) if d not in dims]]
    if all(d >= n for d in dims):
        return assemble(a.indices, v, tuple(left), a.coalesced)
    return coalesced_from(indices, v, tuple(left))


def _normalised(name: str):
    """softmax and log_softmax over the entries that are there, the others counting as -inf."""
    def apply(input, dim=None, dtype=None):
        t = input.coalesce()
        a, v = t._a, values_of(t)
        if dtype is not None:
            v = F.convert(v, dt.as_dtype(dtype))
        d, n = wrap_dim(dim, input.ndim), a.indices.shape[0]
        if d >= n:
            return same_places(t, getattr(F, name)(v, d - n + 1))
        others = np.delete(a.indices, d, 0)
        _, where = np.unique(flat(others, (*a.shape[:d], *a.shape[d + 1:n])), return_inverse=True)
        where = where.reshape(-1)
        count = int(where.max()) + 1 if where.size else 0
        high = np.full((count, *a.entries.shape[1:]), -np.inf, np.float64)
        np.maximum.at(high, where, a.entries.astype(np.float64))
        v = F.sub(v, F.convert(wrap(high[where]), v.dtype))        # a constant: it cancels
        e = F.exp(v)
        sums = rows(summed(e, where, count), where)
        return same_places(t, F.div(e, sums) if name == "softmax" else F.sub(v, F.log(sums)))
    RULES[name] = apply


_normalised("softmax")
_normalised("log_softmax")


# ---------------------------------------------------------------------------------------------------- two tensors
def _same_size(name: str, a, b) -> None:
    if a._a.shape != b._a.shape:
        fail(RuntimeError, "P973", f"{name}: expected 'self' and 'other' to have same size, but self has size {list(a._a.shape)} while other "
             f"has size {list(b._a.shape)}", got=describe(a, b), fix="sparse tensors do not broadcast here: x.to_dense()")


def _common(a, b) -> tuple:
    """The entries of two sparse tensors in one dtype."""
    va, vb = values_of(a), values_of(b)
    d = dt.promote_types(va.dtype, vb.dtype)
    return F.to(va, dtype=d), F.to(vb, dtype=d)


def _alike(a, b) -> tuple:
    """Two sparse tensors, brought to one number of sparse dimensions."""
    n, m = a.sparse_dim(), b.sparse_dim()
    return a if n >= m else from_dense(dense(a), m), b if m >= n else from_dense(dense(b), n)


def broadcast(t, size: tuple) -> SparseTensor:
    """A sparse tensor repeated to `size`."""
    a = t._a
    if a.shape == tuple(size):
        return t
    new = len(size) - len(a.shape)
    n = a.indices.shape[0] + new
    old = (1,) * new + a.shape
    repeated = [d for d in range(n) if old[d] != size[d]]
    grid = np.indices([size[d] for d in repeated], np.int64).reshape(len(repeated), math.prod([size[d] for d in repeated]))
    copies, count = grid.shape[1], a.indices.shape[1]
    indices = np.concatenate([np.zeros((new, count), np.int64), a.indices])
    indices = np.tile(indices, copies)
    indices[repeated] = np.repeat(grid, count, 1)
    values = rows(values_of(t), np.tile(np.arange(count), copies))
    if old[n:] != tuple(size[n:]):
        values = F.expand(values, (copies * count, *size[n:]))
    return assemble(indices, values, tuple(size)).coalesce() if a.coalesced else assemble(indices, values, tuple(size))


@rule("add")
def add(input, other, *, alpha=1):
    """Sparse + sparse is sparse; with a dense tensor the sum is dense."""
    if not isinstance(input, Slots) or not isinstance(other, Slots):
        raise unsupported("add of a number", input, other)
    if is_sparse(input) and is_sparse(other):
        _same_size("add", input, other)
        input, other = _alike(input, other)
        a, b, (va, vb) = input._a, other._a, _common(input, other)
        vb = F.mul(vb, alpha) if alpha != 1 else vb
        if a.indices is b.indices or np.array_equal(a.indices, b.indices):
            return same_places(input, F.add(va, vb))
        indices, values = np.concatenate([a.indices, b.indices], 1), F.cat([va, vb])
        return coalesced_from(indices, values, a.shape) if a.coalesced and b.coalesced else assemble(indices, values, a.shape)
    _same_size("add", input, other)
    s = other if is_sparse(other) else input
    v, d = values_of(s), dt.promote_types(input.dtype, other.dtype)
    x = F.to(other if s is input else input, dtype=d)
    if alpha != 1:
        v, x = (F.mul(v, alpha), x) if s is other else (v, F.mul(x, alpha))
    n, size = s.sparse_dim(), s._a.shape
    places = math.prod(size[:n])
    part = summed(F.to(v, dtype=d), flat(s._a.indices, size[:n]), places)
    return F.add(x, F.reshape(part, size))


@rule("sub")
def _sub(input, other, *, alpha=1):
    if not isinstance(input, Slots) or not isinstance(other, Slots):
        raise unsupported("sub of a number", input, other)
    return add(input, other, alpha=-alpha)


@rule("mul")
def mul(input, other):
    """The product, at the places that both have: a number or a dense tensor has all."""
    s, x = (input, other) if is_sparse(input) else (other, input)
    if s.dtype is dt.bool_:                                 # two Trues at one place are one, also when they are numbers
        s = s.coalesce()
    if one_number(x):
        return same_places(s, F.mul(values_of(s), x))
    if not is_sparse(x):
        if x._a.shape != s._a.shape:
            x = F.expand(x, s._a.shape)                     # the sparse tensor has the result's shape
        return same_places(s, F.mul(values_of(s), at_places(x, s._a.indices, s._a.shape)))
    size = broadcast_shapes(input._a.shape, other._a.shape)
    a, b = _alike(broadcast(input.coalesce(), size), broadcast(other.coalesce(), size))
    if a._a.indices is b._a.indices:
        return same_places(a, F.mul(*_common(a, b)))
    sizes = a._a.shape[:a.sparse_dim()]
    places, at_a, at_b = np.intersect1d(flat(a._a.indices, sizes), flat(b._a.indices, sizes), assume_unique=True, return_indices=True)
    va, vb = _common(a, b)
    return assemble(unflat(places, sizes), F.mul(rows(va, at_a), rows(vb, at_b)), a._a.shape, True)


def _by_number(name: str, linear: bool, word: str = "division"):
    """A rule for an operator whose second operand is a number or a 0-d tensor."""
    def apply(input, other, **kwargs):
        if not is_sparse(input) or not one_number(other):
            fail(RuntimeError, "P974", f"Sparse {word} requires a scalar or zero-dim dense tensor divisor (got shape "
                 f"{list(other._a.shape)} for divisor)", got=describe(input, other),
                 fix="x.to_dense() first, or multiply by the reciprocal: x * (1 / dense)")
        t = input if linear and not kwargs.get("rounding_mode") else input.coalesce()
        return same_places(t, getattr(F, name)(values_of(t), other, **kwargs))
    RULES[name] = apply


_by_number("div", True)
_by_number("true_divide", True)
_by_number("floor_divide", False, "floor division")


@rule("pow")
def _pow(input, other):
    if not is_sparse(input) or isinstance(other, Slots):
        raise unsupported("pow with a tensor as exponent", input, other)
    if other == 0:
        fail(RuntimeError, "P975", "cannot raise to zeroth power on sparse tensor; it would make the result tensor dense", got=describe(input),
             fix="ones_like(x.to_dense())")
    t = input.coalesce()
    return same_places(t, F.pow(values_of(t), other))


# ---------------------------------------------------------------------------------------------------- products of matrices
def _check_product(name: str, a, b) -> None:
    if a.ndim != 2 or b.ndim != 2 or a._a.shape[1] != b._a.shape[0]:
        fail(RuntimeError, "P976", f"{name}: mat1 and mat2 shapes cannot be multiplied ({'x'.join(map(str, a._a.shape))} and "
             f"{'x'.join(map(str, b._a.shape))})", got=describe(a, b), fix="the columns of the first are the rows of the second")
    if a.dtype is not b.dtype:
        fail(RuntimeError, "P977", f"{name}: mat1 dtype {a.dtype.type_name} does not match mat2 dtype {b.dtype.type_name}", got=describe(a, b),
             fix="convert one with .to(...)")
    for t in (a, b):
        if is_sparse(t) and t.dense_dim():
            raise unsupported(f"{name} of a tensor with dense dimensions", t)


@rule("mm")
def product(input, mat2, out_dtype=None):
    """Sparse @ dense and dense @ sparse are dense, sparse @ sparse is sparse."""
    _check_product("mm", input, mat2)
    if input.dtype in dt.LOW_PRECISION:                     # sums in float32, rounded once
        return F.convert(product(F.convert(input, dt.float32), F.convert(mat2, dt.float32)), input.dtype)
    if not is_sparse(mat2):
        i, v = input._a.indices, values_of(input)
        return summed(F.mul(F.unsqueeze(v, 1), rows(mat2, i[1])), i[0], input._a.shape[0])
    if not is_sparse(input):
        return F.t(product(_permute(mat2, 1, 0), F.t(input)))
    a, b = input, mat2.coalesce()
    starts = np.searchsorted(b._a.indices[0], np.arange(b._a.shape[0] + 1))
    first, count = starts[a._a.indices[1]], np.diff(starts)[a._a.indices[1]]
    left = np.repeat(np.arange(count.size), count)                                         # each entry of a meets a row of b
    right = np.arange(left.size) - np.repeat(np.cumsum(count) - count, count) + np.repeat(first, count)
    indices = np.stack([a._a.indices[0][left], b._a.indices[1][right]])
    values = F.mul(rows(values_of(a), left), rows(values_of(b), right))
    return coalesced_from(indices, values, (a._a.shape[0], b._a.shape[1]))


def _check_sparse_dense(name: str, sparse, mat) -> None:
    if not is_sparse(sparse) or is_sparse(mat):
        fail(RuntimeError, "P5730", f"{name}: expected a sparse mat1 and a dense mat2", got=describe(sparse, mat),
             fix="mat1.to_sparse(), mat2.to_dense()")
    _check_product(name, sparse, mat)


def rows_product(mat1, mat2) -> SparseTensor:
    """The product of a sparse and a dense matrix, with one entry, a row, for each row of `mat1` that has entries: 1 sparse and 1 dense
    dimension."""
    _check_sparse_dense("hspmm", mat1, mat2)
    i, v = mat1._a.indices, values_of(mat1)
    places, where = np.unique(i[0], return_inverse=True)
    found = summed(F.mul(F.unsqueeze(v, 1), rows(mat2, i[1])), where.reshape(-1), places.size)
    return assemble(places[None], found, (mat1._a.shape[0], mat2._a.shape[1]), True)


@rule("smm")
def sparse_product(mat1, mat2) -> SparseTensor:
    """The product of a sparse and a dense matrix, with an entry for each element of the rows of `mat1` that have entries."""
    _check_sparse_dense("smm", mat1, mat2)
    t = rows_product(mat1, mat2)
    lines, n = t._a.indices[0], t._a.shape[1]
    indices = np.stack([np.repeat(lines, n), np.tile(np.arange(n), lines.size)])
    return assemble(indices, F.reshape(values_of(t), (-1,)), t._a.shape, True)


@rule("sspaddmm")
def add_sparse_product(input, mat1, mat2, *, beta=1, alpha=1) -> SparseTensor:
    """beta * input + alpha * `sparse_product(mat1, mat2)`: the entries of both, not added up."""
    if not is_sparse(input):
        fail(RuntimeError, "P5731", "sspaddmm: expected a sparse input", got=describe(input),
             fix="input.to_sparse(), or addmm for a dense one")
    _check_sparse_dense("sspaddmm", mat1, mat2)
    r = sparse_product(mat1, mat2)
    if input._a.shape != r._a.shape or input.dense_dim():
        fail(RuntimeError, "P5732", f"sspaddmm: expected input of size {list(r._a.shape)}, got {list(input._a.shape)}",
             got=describe(input, mat1, mat2), fix="input is (rows of mat1, columns of mat2), without dense dimensions")
    indices = np.concatenate([input._a.indices, r._a.indices], 1)
    return assemble(indices, F.cat([F.mul(values_of(input), beta), F.mul(values_of(r), alpha)]), r._a.shape)


@rule("mv")
def _mv(input, vec):
    if input.ndim != 2 or vec.ndim != 1 or input._a.shape[1] != vec._a.shape[0]:
        fail(RuntimeError, "P976", "mv: expected self.size(-1) == vec.size(-1)", got=describe(input, vec), fix="(n, m) @ (m)")
    return F.squeeze(product(input, F.unsqueeze(vec, 1)), 1)


@rule("addmm")
def addmm(input, mat1, mat2, *, beta=1, alpha=1):
    """beta * input + alpha * mat1 @ mat2."""
    r = product(mat1, mat2)
    r = F.mul(r, alpha) if alpha != 1 else r
    if beta == 0:
        return r
    x = F.mul(input, beta) if beta != 1 else input
    if not is_sparse(x) and not is_sparse(r):
        return F.add(F.expand(x, r._a.shape) if x._a.shape != r._a.shape else x, r)
    return add(x, r)


@rule("addmv")
def _addmv(input, mat, vec, *, beta=1, alpha=1):
    return F.add(F.mul(input, beta), F.mul(_mv(mat, vec), alpha))


@rule("linear")
def _linear(input, weight, bias=None):
    x = input if input.ndim == 2 else F.reshape(input, (-1, input._a.shape[-1]))
    r = product(x, _permute(weight, 1, 0) if is_sparse(weight) else F.t(weight))
    r = r if input.ndim == 2 else F.reshape(r, (*input._a.shape[:-1], weight._a.shape[0]))
    return r if bias is None else F.add(r, bias)


@rule("bmm")
def _bmm(input, mat2, out_dtype=None):
    if not is_sparse(input) or is_sparse(mat2) or input.dense_dim() or input.ndim != 3 or mat2.ndim != 3:
        raise unsupported("bmm", input, mat2)
    b, n, k = input._a.shape
    if mat2._a.shape[:2] != (b, k):
        fail(RuntimeError, "P976", "bmm: the batches or inner sizes do not agree", got=describe(input, mat2), fix="(b, n, k) @ (b, k, m)")
    i = input._a.indices
    m = mat2._a.shape[2]
    taken = rows(F.reshape(mat2, (b * k, m)), flat(i[[0, 2]], (b, k)))
    return F.reshape(summed(F.mul(F.unsqueeze(values_of(input), 1), taken), flat(i[:2], (b, n)), b * n), (b, n, m))


# ---------------------------------------------------------------------------------------------------- shapes
@rule("permute")
def _permute(input, *args, dims=None):
    dims = args[0] if len(args) == 1 and not isinstance(args[0], int) else args or dims
    a, n = input._a, input._a.indices.shape[0]
    order = [wrap_dim(d, input.ndim) for d in dims]
    if sorted(order) != list(range(input.ndim)):
        raise RuntimeError(f"permute(sparse_coo): number of dimensions in the tensor input does not match the length of the desired "
                           f"ordering of dimensions i.e. input.dim() = {input.ndim} is not equal to len(dims) = {len(order)}")
    if any(d >= n for d in order[:n]):
        fail(RuntimeError, "P978", "transpositions between sparse and dense dimensions are not supported.", got=describe(input),
             fix="x.to_dense() first")
    values = values_of(input)
    if order[n:] != list(range(n, input.ndim)):
        values = F.permute(values, (0, *[d - n + 1 for d in order[n:]]))
    kept = order[:n] == list(range(n))
    return assemble(a.indices if kept else a.indices[order[:n]], values, tuple([a.shape[d] for d in order]), a.coalesced and kept)


@rule("unsqueeze")
def _unsqueeze(input, dim):
    a, n = input._a, input._a.indices.shape[0]
    d = wrap_dim(dim, input.ndim + 1)
    size = (*a.shape[:d], 1, *a.shape[d:])
    if d <= n:
        return assemble(np.insert(a.indices, d, 0, 0), values_of(input), size, a.coalesced)
    return assemble(a.indices, F.unsqueeze(values_of(input), d - n + 1), size, a.coalesced)


@rule("select")
def _select(input, dim, index):
    a, n = input._a, input._a.indices.shape[0]
    d = wrap_dim(dim, input.ndim)
    i, m = int(index), a.shape[d]
    if not -m <= i < m:
        fail(IndexError, "P979", f"select(): index {i} out of range for tensor of size {list(a.shape)} at dimension {d}", got=describe(input),
             fix=f"an index from {-m} to {m - 1}")
    size = (*a.shape[:d], *a.shape[d + 1:])
    if d >= n:
        return assemble(a.indices, F.select(values_of(input), d - n + 1, i), size, a.coalesced)
    found = np.flatnonzero(a.indices[d] == i % m)
    values = rows(values_of(input), found)
    if n == 1:
        return F.sum(values, 0) if values.dtype.category >= dt.FLOAT else F.convert(F.sum(values, 0), values.dtype)
    return assemble(np.delete(a.indices[:, found], d, 0), values, size, a.coalesced)


@rule("index_select")
def _index_select(input, dim, index):
    if not is_sparse(input) or is_sparse(index):
        raise unsupported("index_select", input, index)
    a, n = input._a, input._a.indices.shape[0]
    d = wrap_dim(dim, input.ndim)
    wanted, m = readable(index._a).reshape(-1), a.shape[d]
    if wanted.size and (wanted.min() < -m or wanted.max() >= m):
        fail(IndexError, "P979", f"index_select(): index out of range for tensor of size {list(a.shape)} at dimension {d}", got=describe(input),
             fix=f"indices from 0 to {m - 1}")
    wanted = np.where(wanted < 0, wanted + m, wanted)
    size = (*a.shape[:d], wanted.size, *a.shape[d + 1:])
    if d >= n:
        return assemble(a.indices, F.index_select(values_of(input), d - n + 1, wrap(wanted)), size, a.coalesced)
    order = np.argsort(a.indices[d], kind="stable")
    lines = a.indices[d][order]
    low = np.searchsorted(lines, wanted)
    count = np.searchsorted(lines, wanted, "right") - low
    new = np.repeat(np.arange(wanted.size), count)
    taken = order[np.arange(new.size) - np.repeat(np.cumsum(count) - count, count) + np.repeat(low, count)]
    indices = a.indices[:, taken]
    indices[d] = new
    values = rows(values_of(input), taken)
    return coalesced_from(indices, values, size) if a.coalesced else assemble(indices, values, size)


@rule("narrow", "narrow_copy")
def _narrow(input, dim, start, length):
    d = wrap_dim(dim, input.ndim)
    m, start = input._a.shape[d], int(start)
    start = start + m if start < 0 else start
    if not 0 <= start <= m or length < 0 or start + length > m:
        fail(RuntimeError, "P980", f"start ({start}) + length ({length}) exceeds dimension size ({m}).", got=describe(input),
             fix="a part of the dimension")
    return _index_select(input, d, F.arange(start, start + length))


@rule("unbind")
def _unbind(input, dim=0):
    return tuple([_select(input, dim, i) for i in range(input._a.shape[wrap_dim(dim, input.ndim)])])


@rule("getitem")
def _getitem(input, index):
    items = list(index) if isinstance(index, tuple) else [index]
    if not is_sparse(input) or any(not (i is None or i is Ellipsis or isinstance(i, (int, np.integer, slice))) or isinstance(i, bool)
                                   for i in items):
        raise unsupported("indexing by tensors, lists and masks", input)
    used = sum(i is not None and i is not Ellipsis for i in items)
    if Ellipsis not in items:
        items.append(Ellipsis)
    if used > input.ndim:
        fail(IndexError, "P981", f"too many indices for tensor of dimension {input.ndim}", got=describe(input), fix="one index per dimension")
    t, d = input, 0
    for i in items:
        if i is Ellipsis:
            d += input.ndim - used
        elif i is None:
            t, d = _unsqueeze(t, d), d + 1
        elif isinstance(i, slice):
            start, stop, step = i.indices(t._a.shape[d])
            if step < 0:
                raise ValueError("step must be greater than zero")
            if (start, stop, step) != (0, t._a.shape[d], 1):
                t = _index_select(t, d, F.arange(start, max(start, stop), step))
            d += 1
        else:
            t = _select(t, d, i) if is_sparse(t) else F.select(t, d, i)
    return t


@rule("cat")
def cat(tensors, dim=0):
    """Sparse tensors one after the other."""
    tensors = list(tensors)
    if not all(is_sparse(t) for t in tensors):
        fail(RuntimeError, "P982", "cat(): all tensors must be sparse, or none", got=describe(*tensors), fix="to_sparse() or to_dense() the others")
    a, n = tensors[0]._a, tensors[0]._a.indices.shape[0]
    d = wrap_dim(dim, len(a.shape))
    for t in tensors:
        s = t._a.shape
        if len(s) != len(a.shape) or s[:d] + s[d + 1:] != a.shape[:d] + a.shape[d + 1:] or t.sparse_dim() != n:
            fail(RuntimeError, "P983", f"All tensors must have the same shape: {list(a.shape)} (except in the concatenating dimension), but got {list(s)}",
                 got=describe(*tensors), fix="compare their sizes")
    size = (*a.shape[:d], sum([t._a.shape[d] for t in tensors]), *a.shape[d + 1:])
    common = tensors[0].dtype
    for t in tensors[1:]:
        common = dt.promote_types(common, t.dtype)
    parts = [F.to(values_of(t), dtype=common) for t in tensors]
    if d >= n:                                              # a dense dimension: the entries of each have the others' part 0
        before = np.cumsum([0] + [t._a.shape[d] for t in tensors])
        parts = [F.cat([F.zeros((*p._a.shape[:d - n + 1], int(lo), *p._a.shape[d - n + 2:]), dtype=common), p,
                        F.zeros((*p._a.shape[:d - n + 1], int(before[-1] - hi), *p._a.shape[d - n + 2:]), dtype=common)], d - n + 1)
                 for p, lo, hi in zip(parts, before, before[1:])]
        return assemble(np.concatenate([t._a.indices for t in tensors], 1), F.cat(parts), size)
    found, start = [], 0
    for t in tensors:
        indices = t._a.indices.copy()
        indices[d] += start
        start += t._a.shape[d]
        found.append(indices)
    return assemble(np.concatenate(found, 1), F.cat(parts), size, d == 0 and all(t._a.coalesced for t in tensors))


@rule("stack")
def _stack(tensors, dim=0):
    if not all(is_sparse(t) for t in tensors):
        return cat(tensors)                                 # which words the error
    return cat([_unsqueeze(t, wrap_dim(dim, t.ndim + 1)) for t in tensors], wrap_dim(dim, tensors[0].ndim + 1))
