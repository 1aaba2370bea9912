"""Sparse tensors in coordinate form (COO): where the elements lie, and what they are.

In: indices (sparse_dim, nnz) of int64 and values (nnz, *dense sizes). Out: a `SparseTensor` of the whole shape. Its array is a
`SparseArray`, which has that shape and dtype but no memory of the whole; it holds the indices and values. A place that
several entries name holds their sum; `coalesced` says that no place is named twice and that they are in row-major order.

How it differentiates: `values_of(t)` is a dense tensor with the history of `t`, `assemble(indices, values, size)` a sparse one
with the history of `values`. What operators do with sparse tensors (sparse_rules.py) is written between the two with dense
operators, so that the tape has the derivative. The gradient of a sparse tensor is sparse, with the tensor's own indices.

True always: while a sparse tensor lives, `state.slow` is not 0, so that every operator looks for it among its arguments; no
operator sees a SparseArray as an array: what is not written for sparse tensors raises NotImplementedError.
"""
from __future__ import annotations

import math
import sys
from typing import Any, NoReturn

import numpy as np

from ..core import dtype as dt
from ..core import layout as lay
from ..core.device import check
from ..core.errors import describe, fail
from ..core.storage import ARRAYS
from ..ops.dispatch import add_slow, local
from ..ops.op import COMPOSITE, F
from . import eager
from .core import Node, Slots, new, next_seq, readable, wrap
from .fake import Geometry, refuse
from .interop import as_tensor
from .printing import sparse_repr
from .tensor import Tensor

TO_DENSE = "x.to_dense() gives the dense tensor"


class SparseArray(Geometry):
    """The array of a sparse tensor."""

    indices: np.ndarray                 # (sparse_dim, nnz)
    entries: np.ndarray                 # (nnz, *dense sizes)
    coalesced: bool

    def refuse(self, got: str) -> NoReturn:
        fail(NotImplementedError, "P940", "the elements of a sparse tensor were asked for as an array", got=got, fix=TO_DENSE)

    def take(self, other: SparseArray) -> None:
        """Hold what `other` holds, in this array's dtype."""
        entries = other.entries
        self.indices, self.coalesced = other.indices, other.coalesced
        self.entries = entries.copy() if entries.dtype == self.dtype else entries.astype(self.dtype)

    def write(self, v, t=None) -> None:
        """An in-place operation on a sparse tensor: it has the entries of the result from now on."""
        if type(v) is not SparseArray:
            fail(NotImplementedError, "P941", "a dense result cannot be written into a sparse tensor", got=describe(t) if t is not None else None,
                 fix="use the out-of-place form, which gives a dense tensor")
        self.take(v)

    def target(self, t) -> SparseArray:
        if type(t._a) is not SparseArray:
            fail(NotImplementedError, "P942", "a sparse result cannot be written into a dense tensor", got=describe(t),
                 fix="use the out-of-place form, or write the result's to_dense()")
        return t._a

    def duplicate(self) -> SparseArray:
        return array(self.indices.copy(), self.entries.copy(), self.shape, self.coalesced)


ARRAYS.add(SparseArray)


def array(indices: np.ndarray, entries: np.ndarray, size: tuple, coalesced: bool) -> SparseArray:
    """A SparseArray. Fewer than two entries are always coalesced."""
    if math.prod(size) * entries.itemsize >= 1 << 63:
        fail(RuntimeError, "P965", f"numel: integer multiplication overflow: a tensor of size {list(size)} has {math.prod(size)} elements",
             fix="sizes whose product is below 2**60")
    a = np.ndarray.__new__(SparseArray, size, entries.dtype, np.zeros(1, entries.dtype), 0, (0,) * len(size))
    a.indices, a.entries, a.coalesced = indices, entries, bool(coalesced) or indices.shape[1] < 2
    return a


# ---------------------------------------------------------------------------------------------------- the tensor
def _body(op, flat: tuple, attrs: dict):
    return op.body(*flat, **attrs)


class _Ruled:
    """Operators ask RULES. (Not in the class itself: a Tensor subclass with an override of its own makes every operator look for it
    from then on; sparse tensors are counted one by one.)"""

    __slots__ = ()

    @classmethod
    def __torch_function__(cls, func, types, args=(), kwargs=None):
        """What the operator `func` does with sparse tensors: RULES says; a composite without a rule is its parts."""
        op = getattr(func, "op", None)
        if op is None:
            return NotImplemented
        if local.stack:
            refuse_interpreters(op.public)
        kwargs = dict(kwargs or {})
        out = kwargs.pop("out", None)
        rule = RULES.get(op.name)
        if rule is not None:
            r = rule(*args, **kwargs)
        elif op.kind is COMPOSITE and op.body is not None:
            try:
                r = eager.interpreted(op, args, kwargs, _body)
            except NotImplementedError as error:
                raise unsupported(op.public, *args) from error
        else:
            raise unsupported(op.public, *args)
        return r if out is None else eager.write_out(op, r, out)


class SparseTensor(_Ruled, Tensor):
    """A tensor of layout `sparse_coo`. Make one with `sparse_coo_tensor(indices, values, size)` or `x.to_sparse()`."""

    __slots__ = ("_counted",)
    is_sparse = True

    def __del__(self, finalizing=sys.is_finalizing):
        if getattr(self, "_counted", False) and not finalizing():
            add_slow(-1)

    # metadata
    @property
    def layout(self):
        return lay.sparse_coo

    @property
    def data(self):
        return hold(self._a)

    def sparse_dim(self) -> int:
        """How many dimensions the indices name."""
        return self._a.indices.shape[0]

    def dense_dim(self) -> int:
        """How many dimensions an entry has."""
        return self._a.entries.ndim - 1

    def _nnz(self) -> int:
        return self._a.indices.shape[1]

    def is_coalesced(self) -> bool:
        """Whether every place is named once, in row-major order."""
        return self._a.coalesced

    def is_contiguous(self, memory_format=None) -> bool:
        return False

    def _indices(self):
        return wrap(self._a.indices)

    def _values(self):
        return wrap(self._a.entries)

    def indices(self):
        """The indices (sparse_dim, nnz) of a coalesced tensor."""
        self._need_coalesced("indices")
        return wrap(self._a.indices)

    def values(self):
        """The entries (nnz, *dense sizes) of a coalesced tensor, with its history."""
        self._need_coalesced("values")
        return values_of(self)

    def _need_coalesced(self, what: str) -> None:
        if not self._a.coalesced:
            fail(RuntimeError, "P943", f"Cannot get {what} on an uncoalesced tensor, please call .coalesce() first", got=describe(self),
                 fix=f"x.coalesce().{what}(), or x._{what}() for the entries as they are")

    def _coalesced_(self, coalesced: bool):
        """Declare whether the entries are coalesced."""
        self._a.coalesced = bool(coalesced)
        return self

    def coalesce(self):
        """The same tensor with one entry per place, in row-major order; itself if it is so already."""
        if self._a.coalesced:
            return self
        return coalesced_from(self._a.indices, values_of(self), self._a.shape)

    def to_sparse(self, sparse_dim=None, *, layout=None, blocksize=None, dense_dim=None):
        """The tensor itself."""
        check_layout(layout)
        if sparse_dim is not None and sparse_dim != self.sparse_dim():
            fail(RuntimeError, "P944", f"to_sparse: the tensor has {self.sparse_dim()} sparse dimensions already", got=describe(self),
                 fix="x.to_dense().to_sparse(n)")
        return self

    def to_sparse_coo(self):
        """The tensor itself."""
        return self

    def sparse_mask(self, mask):
        """The entries at the places of `mask`; 0 where there is none."""
        return masked(self, mask)

    def type(self, dtype=None, non_blocking=False, **kwargs):
        """The name of its type, or the tensor in another dtype."""
        return f"torch.sparse.{self.dtype.type_name}Tensor" if dtype is None else self.to(dtype)

    def data_ptr(self):
        fail(RuntimeError, "P945", "Cannot access data pointer of Tensor that doesn't have storage", got=describe(self),
             fix="x._values().data_ptr() is that of the entries")

    def untyped_storage(self):
        fail(NotImplementedError, "P945", "Cannot access storage of SparseTensorImpl", got=describe(self),
             fix="x._indices() and x._values() have storages")

    storage = storage_offset = untyped_storage

    # values for Python
    def numpy(self, *, force: bool = False):
        fail(TypeError, "P946", "can't convert Sparse layout tensor to numpy. Use Tensor.to_dense() first.", got=describe(self), fix=TO_DENSE)

    def __array__(self, dtype=None, copy=None):
        self.numpy()

    def __dlpack__(self, **kwargs):
        self.numpy()

    def tolist(self):
        self.numpy()

    def item(self):
        """The value of a tensor of one element."""
        if self._a.size != 1:
            fail(RuntimeError, "P989", f"a Tensor with {self._a.size} elements cannot be converted to Scalar", got=describe(self), fix=TO_DENSE)
        return F.to_dense(self).item()

    def __bool__(self) -> bool:
        if self._a.size != 1:
            fail(RuntimeError, "P990", f"Boolean value of Tensor with {'more than one value' if self._a.size else 'no values'} is ambiguous",
                 got=describe(self), fix="ask its _values(), or to_dense()")
        return bool(self.item())

    def __contains__(self, element) -> bool:
        return element in F.to_dense(self)

    def __repr__(self, *, tensor_contents=None) -> str:
        return sparse_repr(self, wrap(self._a.indices), wrap(self._a.entries))

    def _repr_html_(self) -> None:
        """Notebooks show the plain repr."""

    def __deepcopy__(self, memo):
        if id(self) in memo:
            return memo[id(self)]
        if not self.is_leaf:
            fail(RuntimeError, "P991", "Only Tensors created explicitly by the user (graph leaves) support the deepcopy protocol at the "
                 "moment.", got=describe(self), fix="detach() the tensor first")
        c = memo[id(self)] = hold(self._a.duplicate())
        c._rg = self._rg
        return c

    def __reduce_ex__(self, protocol):
        a = self._a
        return rebuild, (a.indices, a.entries, a.shape, a.coalesced, self._rg)


def hold(a: SparseArray) -> SparseTensor:
    """A sparse tensor over `a`, without history."""
    t = new(SparseTensor)
    t._a = a
    t._rg = False
    t._fn = t._grad = t._st = t._x = None
    t._oi = 0
    t._counted = True
    add_slow(1)
    return t


def rebuild(indices: np.ndarray, entries: np.ndarray, size: tuple, coalesced: bool, requires_grad: bool) -> SparseTensor:
    """The tensor that was pickled."""
    t = hold(array(indices, entries, tuple(size), coalesced))
    t._rg = requires_grad
    return t


def is_sparse(x: Any) -> bool:
    return isinstance(x, SparseTensor)


RULES: dict[str, Any] = {}                          # operator -> what it does with sparse tensors; filled by sparse_rules.py


def unsupported(name: str, *args) -> NotImplementedError:
    """The error of an operator that has no rule for sparse tensors."""
    try:
        fail(NotImplementedError, "P947", f"{name}() is not there for sparse tensors",
             got=describe(*[a for a in args if isinstance(a, Slots)][:4]), fix=f"{TO_DENSE}; _values() the entries alone")
    except NotImplementedError as error:
        return error


def refuse_interpreters(name: str) -> None:
    """Tracing and the transforms of `func` see dense tensors only."""
    if all(i.values for i in local.stack):
        fail(NotImplementedError, "P948", f"{name}() on a sparse tensor inside a function transform", fix=f"{TO_DENSE}: transform that")
    refuse(f"{name}() on a sparse tensor", fix="leave sparse tensors to plain Python, outside the traced function")


# ---------------------------------------------------------------------------------------------------- between sparse and dense
class ValuesBackward0(Node):
    """From the gradient of the entries to that of the tensor they belong to."""

    __slots__ = ()

    def _run(self, g) -> list:
        a = self._attrs
        if a.coalesced:
            return [assemble(a.indices, g, a.shape, True)]
        n = a.indices.shape[0]             # entries that share a place have the gradient of the place: each place gets it once
        places, first = np.unique(flat(a.indices, a.shape[:n]), return_index=True)
        return [assemble(unflat(places, a.shape[:n]), rows(g, first), a.shape, True)]


class SparseCooTensorWithDimsAndTensorsBackward0(Node):
    """From the gradient of a sparse tensor (sparse or dense) to that of its entries."""

    __slots__ = ()

    def _run(self, g) -> list:
        return [at_places(g, *self._attrs)]


def _record(cls: type, source, out, attrs) -> None:
    """Make `out` a result of the node `cls` over `source`, if that wants a gradient."""
    if not (source._rg and local.grad and dt.of(out._a.dtype).category >= dt.FLOAT):
        return
    n = new(cls)
    n._edges = (source if source._fn is None else source._fn,)
    n._idx = (source._oi,) if source._oi else None
    n._saved, n._versions, n._shapes, n._x = (), None, None, None
    n._attrs, n._seq = attrs, next_seq()
    out._fn, out._oi, out._rg = n, 0, True


def values_of(t) -> Tensor:
    """The entries of a sparse tensor as a dense tensor with its history."""
    a = t._a
    v = wrap(a.entries)
    if t._rg:
        _record(ValuesBackward0, t, v, array(a.indices, a.entries[:0], a.shape, a.coalesced))
    return v


def assemble(indices: np.ndarray, values, size: tuple, coalesced: bool = False) -> SparseTensor:
    """A sparse tensor with the history of `values`."""
    t = hold(array(indices, readable(values._a), size, coalesced))
    if values._rg:
        _record(SparseCooTensorWithDimsAndTensorsBackward0, values, t, (indices, size))
    return t


def flat(indices: np.ndarray, sizes: tuple) -> np.ndarray:
    """The row-major number of each place."""
    if math.prod(sizes) >= 1 << 62:
        fail(RuntimeError, "P949", f"a sparse tensor of {math.prod(sizes)} places: they cannot be numbered in 64 bits",
             got=f"sizes {list(sizes)}", fix="make the sparse dimensions smaller")
    out = np.zeros(indices.shape[1], np.int64)
    for row, n in zip(indices, sizes):
        out *= n
        out += row
    return out


def unflat(places: np.ndarray, sizes: tuple) -> np.ndarray:
    """The indices of row-major numbers."""
    out = np.empty((len(sizes), places.size), np.int64)
    for d in range(len(sizes) - 1, -1, -1):
        places, out[d] = np.divmod(places, sizes[d] or 1)
    return out


def summed(values, where: np.ndarray, n: int) -> Tensor:
    """(n, *): the sum of the rows of `values` that go to each place."""
    return F.embedding_dense_backward(values, wrap(where), n, -1, False)


def rows(values, where: np.ndarray) -> Tensor:
    """The rows of `values` (n, *) at the integers `where`."""
    return F.embedding_rows(values, wrap(where), -1, False, False)


def coalesced_from(indices: np.ndarray, values, size: tuple) -> SparseTensor:
    """A coalesced sparse tensor of entries that may share places: those are summed."""
    sizes = size[:indices.shape[0]]
    places, where = np.unique(flat(indices, sizes), return_inverse=True)
    return assemble(unflat(places, sizes), summed(values, where.reshape(-1), places.size), size, True)


def dense(t) -> Tensor:
    """The dense tensor."""
    a = t._a
    n = a.indices.shape[0]
    total = math.prod(a.shape[:n])
    return F.reshape(summed(values_of(t), flat(a.indices, a.shape[:n]), total), a.shape)


def at_places(x, indices: np.ndarray, size: tuple) -> Tensor:
    """The values of `x`, dense or sparse, at `indices`: (nnz, *dense sizes)."""
    n = indices.shape[0]
    if not is_sparse(x):
        return rows(F.reshape(x, (math.prod(size[:n]), *size[n:])), flat(indices, size[:n]))
    if x._a.indices is indices:
        return values_of(x)
    if x.sparse_dim() != n:
        return at_places(dense(x), indices, size)
    x = x.coalesce()
    have, want = flat(x._a.indices, size[:n]), flat(indices, size[:n])
    where = np.searchsorted(have, want)
    there = np.append(have, -1)[where] == want
    values = values_of(x)
    padded = F.cat([values, F.zeros((1, *values.shape[1:]), dtype=values.dtype)])
    return rows(padded, np.where(there, where, have.size))


def masked(x, mask) -> SparseTensor:
    """`x` at the places of the sparse tensor `mask`."""
    if not is_sparse(mask):
        fail(RuntimeError, "P960", "sparse_mask: expected mask to be sparse", got=describe(x, mask), fix="mask.to_sparse()")
    if x._a.shape != mask._a.shape:
        fail(RuntimeError, "P961", "sparse_mask(): operands have incompatible sizes; self has size "
             f"{list(x._a.shape)} but mask has size {list(mask._a.shape)}", got=describe(x, mask), fix="both have one shape")
    a = mask._a
    return assemble(a.indices, at_places(x, a.indices, a.shape), a.shape, a.coalesced)


def check_layout(layout) -> None:
    if layout not in (None, lay.sparse_coo):
        fail(NotImplementedError, "P962", f"to_sparse: {layout} is not there", fix="sparse_coo is the sparse layout here")


def from_dense(x, sparse_dim: int | None = None) -> SparseTensor:
    """The elements of a dense tensor that are not 0; with `sparse_dim` the parts behind its first dimensions that are not all 0."""
    shape = x._a.shape
    n = len(shape) if sparse_dim is None else sparse_dim
    if not (0 < n <= len(shape) or n == len(shape)):
        fail(RuntimeError, "P963", f"sparse_dim ({n}) must be > 0 and <= dim ({len(shape)})", got=describe(x),
             fix="sparse_dim counts the leading dimensions that indices name")
    a = readable(x._a)
    found = (a != 0).reshape(math.prod(shape[:n]), math.prod(shape[n:])).any(1)
    places = np.flatnonzero(found)
    values = rows(F.reshape(x, (math.prod(shape[:n]), *shape[n:])), places)
    return assemble(unflat(places, shape[:n]), values, shape, True)


def transformed(instead: str) -> bool:
    """Whether a transform of `func`, which knows dense tensors only, asks for a gradient; tracing does not get sparse ones."""
    if local.stack and not all(i.values for i in local.stack):
        refuse("a sparse gradient", fix=f"{instead} has dense ones; or leave this step to plain Python")
    return bool(local.stack)


def gather_gradient(g, index, size: tuple, dim: int):
    """The sparse gradient of what `gather` takes from: one entry per element that was taken."""
    if transformed("gather(..., sparse_grad=False)"):
        return F.scatter_add(F.zeros(size, dtype=g.dtype), dim, index, g)
    taken = readable(index._a).astype(np.int64)
    if not size:                            # a number: its one place has no name
        places = np.empty((0, taken.size), np.int64)
    else:
        taken = taken.reshape(1) if taken.ndim == 0 else taken
        places = np.indices(taken.shape, np.int64).reshape(taken.ndim, -1)
        places[dim] = taken.reshape(-1)
    return assemble(places, F.reshape(g, (-1,)), tuple(size))


def rows_gradient(g, indices, size: tuple, padding_idx: int, scale_grad_by_freq: bool):
    """The sparse gradient of an embedding table: one entry per index that was looked up."""
    if scale_grad_by_freq:
        fail(RuntimeError, "P964", "embedding_backward: scale_grad_by_freq not supported with sparse gradients",
             fix="leave sparse=True or scale_grad_by_freq=True")
    if transformed("embedding(..., sparse=False)"):
        return F.embedding_dense_backward(g, indices, size[0], padding_idx, False)
    places = readable(indices._a).reshape(-1).astype(np.int64)
    values = F.reshape(g, (places.size, *size[1:]))
    if padding_idx >= 0:
        kept = np.flatnonzero(places != padding_idx)
        places, values = places[kept], rows(values, kept)
    return assemble(places[None], values, tuple(size))


# ---------------------------------------------------------------------------------------------------- making them
class _Invariants:
    """`enabled`: whether `sparse_coo_tensor` verifies what it is told of its entries, unless `check_invariants` says."""

    __slots__ = ("enabled",)

    def __init__(self):
        self.enabled = False


invariants = _Invariants()


def nothing(size: tuple, sparse_dim: int, dtype) -> SparseTensor:
    """A sparse tensor without entries."""
    return assemble(np.empty((sparse_dim, 0), np.int64), F.zeros((0, *size[sparse_dim:]), dtype=dtype), size, True)


def sparse_coo_tensor(indices=None, values=None, size=None, *, dtype=None, device=None, pin_memory=False, requires_grad=False,
                      check_invariants=None, is_coalesced=None) -> SparseTensor:
    """A sparse tensor with `values` (nnz, *dense sizes) at `indices` (sparse_dim, nnz), of the shape `size`.

    Without `size` it is the smallest that holds all indices; `sparse_coo_tensor(size=(2, 3))` has no entries. `is_coalesced=True`
    declares that no index occurs twice and that they are in order (with `check_invariants=True` it is verified; None does as
    `sparse.check_sparse_tensor_invariants` says). Raises RuntimeError where the indices do not fit.
    """
    check(device)
    if values is None:
        size = tuple(int(n) for n in (size if indices is None else indices))
        d = dt.get_default_dtype() if dtype is None else dtype
        return nothing(size, len(size), d).requires_grad_(requires_grad)
    values = as_tensor(values, dtype=dtype) if not isinstance(values, Slots) else values if dtype is None else F.to(values, dtype)
    where = indices if isinstance(indices, Slots) else as_tensor(indices)
    if is_sparse(values):
        raise unsupported("sparse_coo_tensor", values)
    places = readable(where._a).astype(np.int64, copy=False)
    if values.ndim == 0 and places.ndim == 2:
        values = F.expand(values, (places.shape[1],))
    if places.ndim != 2 and not (places.ndim == 1 and not places.size):
        fail(RuntimeError, "P966", f"indices must be sparse_dim x nnz, but got: {list(places.shape)}", got=describe(where, values),
             fix="one row per sparse dimension, one column per entry")
    places = places if places.ndim == 2 else places.reshape(len(size or (0,)), 0)
    n, nnz = places.shape
    if values.shape[0] != nnz:
        fail(RuntimeError, "P967", f"indices and values must have same nnz, but got nnz from indices: {nnz}, nnz from values: {values.shape[0]}",
             got=describe(where, values), fix="indices are (sparse_dim, nnz), values (nnz, *dense sizes)")
    if places.size and places.min() < 0:
        fail(RuntimeError, "P968", f"found negative index {places.min()} for dim {int(np.argmin(places.min(1)))}", fix="indices count from 0")
    if size is None:
        if not nnz:
            largest = (0,) * n
        else:
            largest = tuple(int(m) + 1 for m in places.max(1))
        size = (*largest, *values.shape[1:])
    size = tuple(int(m) for m in size)
    if len(size) != n + values.ndim - 1:
        fail(RuntimeError, "P969", f"number of dimensions must be sparse_dim ({n}) + dense_dim ({values.ndim - 1}), but got {len(size)}",
             got=f"size {list(size)}, {describe(where, values)}", fix="size is (*sparse sizes, *dense sizes)")
    for d in range(n):
        if nnz and places[d].max() >= size[d]:
            fail(RuntimeError, "P970", f"size is inconsistent with indices: for dim {d}, size is {size[d]} but found index {places[d].max()}",
                 got=f"size {list(size)}", fix="indices are less than the size")
    if tuple(values.shape[1:]) != size[n:]:
        fail(RuntimeError, "P971", f"values has incorrect size, expected {[nnz, *size[n:]]}, got {list(values.shape)}",
             got=f"size {list(size)}", fix="values are (nnz, *dense sizes)")
    if (invariants.enabled if check_invariants is None else check_invariants) and is_coalesced and (np.diff(flat(places, size[:n])) <= 0).any():
        fail(RuntimeError, "P972", "cannot set is_coalesced to true if indices correspond to uncoalesced COO tensor",
             fix="leave is_coalesced, and call coalesce()")
    if requires_grad:
        values = F.detach(values)
    return assemble(places, values, size, bool(is_coalesced)).requires_grad_(requires_grad or values._rg and local.grad)

