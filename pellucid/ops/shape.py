"""Operators that rearrange: transposes, splits, joins, repeats, flips. Views where the result can look at its input."""
from __future__ import annotations

import itertools

from ..core.layout import contiguous_format
from ..core.spec import TensorLike
from ._common import (as_int, as_ints, broadcast_shapes, describe, dt, fail, is_tensor, np, sizes_from,
                      wrap_dim, wrap_dims)
from .op import COMPOSITE, GATHER, F, composite, primitive
from .view import resolve_shape, view_op

_ALL = slice(None)
_X = lambda m: [((m.t(2, 3),), {}), ((m.t(4, 1),), {}), ((m.t(0, 3),), {})]  # noqa: E731


def lead(d: int, item) -> tuple:
    """An index that applies `item` to dimension `d`."""
    return (_ALL,) * d + (item,)


# ---------------------------------------------------------------------------------------------------- primitive views
def diagonal_ref(a, *, offset, dim1, dim2):
    v = a.diagonal(offset, dim1, dim2)
    v.flags.writeable = a.flags.writeable          # NumPy hands diagonals out read-only
    return v


def diagonal_lower(b, i, load, s, *, offset, dim1, dim2):
    at, rest = [], iter(i)
    for d in range(s.ndim):
        at.append(b.iadd(i[-1], max(-offset, 0)) if d == dim1 else b.iadd(i[-1], max(offset, 0)) if d == dim2 else next(rest))
    return load(0, tuple(at))


@view_op(diagonal_ref, lower=diagonal_lower,
         forms="function method", samples=lambda m: [((m.t(3, 4),), {}), ((m.t(2, 3, 3), 1, -2, -1), {}), ((m.t(0, 3),), {})])
def diagonal(input, offset=0, dim1=0, dim2=1):
    """The diagonal of two dimensions, as a last dimension. A view."""
    a, b = wrap_dim(dim1, input.ndim), wrap_dim(dim2, input.ndim)
    if a == b:
        fail(RuntimeError, "P236", f"diagonal dimensions cannot be identical {dim1}, {dim2}", fix="name two different dimensions")
    return (input,), {"offset": as_int(offset), "dim1": a, "dim2": b}


def unfold_ref(a, *, dimension, size, step):
    if a.ndim == 0:
        return np.lib.stride_tricks.as_strided(a, (size,), (a.itemsize,))
    n = (a.shape[dimension] - size) // step + 1
    shape = a.shape[:dimension] + (n,) + a.shape[dimension + 1:] + (size,)
    s = a.strides[dimension]
    return np.lib.stride_tricks.as_strided(a, shape, a.strides[:dimension] + (s * step,) + a.strides[dimension + 1:] + (s,))


def unfold_lower(b, i, load, s, *, dimension, size, step):
    if s.ndim == 0:
        return load(0, ())
    at = list(i[:-1])
    at[dimension] = b.iadd(b.imul(i[dimension], step), i[-1])
    return load(0, tuple(at))


@view_op(unfold_ref, lower=unfold_lower, forms="method", name="unfold_view", public="unfold",
         samples=lambda m: [((m.t(7), 0, 3, 2), {}), ((m.t(3, 6), 1, 4, 1), {}), ((m.t(0, 4), 1, 2, 2), {})])
def unfold_view(input, dimension, size, step):
    """All windows of `size` elements, `step` apart, along a dimension, as a last dimension. A view."""
    d = wrap_dim(as_int(dimension), input.ndim)
    n = input.shape[d] if input.ndim else 1
    if size < 0:
        fail(RuntimeError, "P2894", f"size is {size} but must be >= 0", got=describe(input), fix="a window has 0 or more elements")
    if size > n:
        fail(RuntimeError, "P237", f"maximum size for tensor at dimension {d} is {n} but size is {size}",
             fix="sizes of windows must lie within the dimension, steps be at least 1")
    if step <= 0:
        fail(RuntimeError, "P237", f"step is {step} but must be > 0",
             fix="sizes of windows must lie within the dimension, steps be at least 1")
    return (input,), {"dimension": d, "size": as_int(size), "step": as_int(step)}


# ---------------------------------------------------------------------------------------------------- transposes
@composite(forms="function method relabel", samples=_X)
def t(input):
    """A matrix transposed; vectors and 0-d tensors are returned as they are."""
    if input.ndim > 2:
        fail(RuntimeError, "P238", f"t() expects a tensor with <= 2 dimensions, but self is {input.ndim}D", got=describe(input),
             fix="use transpose(-2, -1) or .mT")
    return F.permute.canonical(input, dims=(1, 0)) if input.ndim == 2 else F.alias(input)


@composite(forms="function method", samples=lambda m: [((m.t(2, 3, 4),), {}), ((m.t(2, 2),), {}), ((m.t(0, 2, 3),), {})])
def adjoint(input):
    """The last two dimensions exchanged, conjugated."""
    if input.ndim < 2:
        fail(RuntimeError, "P2893", f"tensor.adjoint() is only supported on matrices or batches of matrices. Got {input.ndim}-D tensor.",
             got=describe(input), fix="unsqueeze a vector first")
    return F.conj(F.transpose(input, -2, -1))


@composite(forms="function method", aliases="moveaxis",
           samples=lambda m: [((m.t(2, 3, 4), 0, 2), {}), ((m.t(2, 3, 4), (0, 1), (-1, 0)), {}), ((m.t(0, 3), 1, 0), {})])
def movedim(input, source, destination):
    """Dimensions `source` moved to `destination`; the others keep their order. A view."""
    n = input.ndim
    src, dst = as_ints(source), as_ints(destination)
    if len(src) != len(dst):
        fail(RuntimeError, "P239", f"movedim: Invalid source or destination dims: source ({list(src)} dims) should contain the same "
             f"number of dims as destination ({list(dst)} dims)", fix="name each moved dimension once on both sides")
    for name, dims in (("source", src), ("destination", dst)):
        if len({wrap_dim(d, n) for d in dims}) < len(dims) and n:
            fail(RuntimeError, "P2892", f"movedim: repeated dim in `{name}` ({list(dims)})", fix="name each moved dimension once on both sides")
    src, dst = wrap_dims(src, n), wrap_dims(dst, n)
    rest = iter([d for d in range(n) if d not in src])
    at = dict(zip(dst, src))
    return F.permute(input, [at[i] if i in at else next(rest) for i in range(n)]) if n else F.alias(input)


@composite(forms="function method", samples=lambda m: [((m.t(2, 3, 4),), {}), ((m.t(2, 3, 4), 1), {}), ((m.t(0, 3), 0, 1), {}), ((m.t(),), {})])
def flatten(input, start_dim=0, end_dim=-1):
    """Dimensions `start_dim` to `end_dim` merged into one."""
    n = input.ndim
    if n == 0:
        return F.reshape(input, (1,))
    a, b = wrap_dim(start_dim, n), wrap_dim(end_dim, n)
    if a > b:
        fail(RuntimeError, "P241", "flatten() has invalid args: start_dim cannot come after end_dim",
             got=describe(input), fix="count the dimensions from the front: start_dim <= end_dim")
    if a == b:
        return input
    shape = tuple(input.shape)
    count = 1
    for s in shape[a:b + 1]:
        count *= s
    return F.reshape(input, shape[:a] + (count,) + shape[b + 1:])


@composite(forms="function method", samples=lambda m: [((m.t(6, 2), 0, (2, 3)), {}), ((m.t(2, 6), -1, (-1, 2)), {}), ((m.t(0, 4), 1, (2, 2)), {})])
def unflatten(input, dim, sizes):
    """Dimension `dim` split into `sizes` (one may be -1)."""
    d, sizes = wrap_dim(dim, input.ndim), as_ints(sizes)
    if not sizes:
        fail(RuntimeError, "P241", "unflatten: sizes must be non-empty", fix="name at least one size")
    shape = tuple(input.shape)
    n = shape[d]
    known = 1
    for s in sizes:
        known *= s if s != -1 else 1
    if (-1 not in sizes and known != n) or (-1 in sizes and (known == 0 or n % known)):
        fail(RuntimeError, "P241", f"unflatten: Provided sizes {list(sizes)} don't multiply up to the size of dim {d} ({n}) in the input tensor",
             got=describe(input), fix="the product of the sizes must be the size of the dimension; one may be -1")
    return F.view_shape(input, resolve_shape(shape[:d] + tuple(n // known if s == -1 else s for s in sizes) + shape[d + 1:],
                                             input.numel(), "unflatten"))


@composite(forms="function method", samples=_X)
def ravel(input):
    """All elements in one dimension; a copy only where strides ask for it."""
    return F.reshape(input, (-1,)) if input.numel() else F.reshape(input, (0,))


@composite(forms="method", samples=lambda m: [((m.t(2, 3), m.t(3, 2)), {}), ((m.t(4), m.t(2, 2)), {}), ((m.t(0, 3), m.t(3, 0)), {})])
def view_as(input, other):
    """`input` viewed with `other`'s shape."""
    return F.view_shape(input, tuple(other.shape))


@composite(forms="method", samples=lambda m: [((m.t(2, 3), m.t(3, 2)), {}), ((m.t(4), m.t(2, 2)), {}), ((m.t(0, 3), m.t(3, 0)), {})])
def reshape_as(input, other):
    """`input` reshaped to `other`'s shape."""
    return F.reshape(input, tuple(other.shape))


@composite(forms="method", samples=lambda m: [((m.t(1, 3), m.t(2, 3)), {}), ((m.t(3), m.t(2, 3)), {}), ((m.t(1, 0), m.t(2, 0)), {})])
def expand_as(input, other):
    """`input` expanded to `other`'s shape."""
    return F.expand(input, tuple(other.shape))


@composite(forms="function method", samples=lambda m: [((m.t(1, 3), (2, 3)), {}), ((m.t(3), (2, 3)), {}), ((m.t(1, 0), (2, 0)), {})])
def broadcast_to(input, size):
    """`input` expanded to `size`. A view."""
    return F.expand(input, tuple(size))


@composite(samples=lambda m: [((m.t(1, 3), m.t(2, 1)), {}), ((m.t(3), m.t(2, 3)), {}), ((m.t(0, 1), m.t(3)), {})])
def broadcast_tensors(*tensors):
    """The tensors expanded to their common shape."""
    if len(tensors) == 1 and isinstance(tensors[0], (list, tuple)):
        tensors = tuple(tensors[0])
    shape = broadcast_shapes(*[tuple(x.shape) for x in tensors])
    return tuple([F.expand(x, shape) for x in tensors])


# ---------------------------------------------------------------------------------------------------- splits
@composite(forms="function method", samples=lambda m: [((m.t(4, 3), 0, 1, 2), {}), ((m.t(2, 5), -1, -3, 2), {}), ((m.t(0, 3), 1, 0, 2), {})])
def narrow(input, dim, start, length):
    """`length` slices of dimension `dim` from `start` on. A view."""
    if input.ndim == 0:
        fail(RuntimeError, "P242", "narrow() cannot be applied to a 0-dim tensor.")
    d = wrap_dim(dim, input.ndim)
    if is_tensor(start):
        if start.ndim or start.dtype.category >= dt.FLOAT or start.dtype is dt.bool_:
            fail(RuntimeError, "P2895", "start must be an 0-dim integral Tensor.", got=describe(start), fix="pass a number")
        start = int(start.item())
    else:
        start = as_int(start)
    n = input.shape[d]
    if length < 0:
        fail(RuntimeError, "P242", "narrow(): length must be non-negative.", fix="length must be 0 or more")
    if not -n <= start <= n:
        fail(IndexError, "P242", f"start out of range (expected to be in range of [{-n}, {n}], but got {start})")
    start = start + n if start < 0 else start
    if start + length > n:
        fail(RuntimeError, "P242", f"start ({start}) + length ({length}) exceeds dimension size ({n}).",
             got=describe(input), fix=f"start + length may be at most {n} here")
    return F.basic_index(input, lead(d, slice(start, start + length)))


@composite(forms="function method", samples=lambda m: [((m.t(4, 3), 0, 1, 2), {}), ((m.t(2, 5), -1, 0, 2), {}), ((m.t(0, 3), 1, 0, 2), {})])
def narrow_copy(input, dim, start, length):
    """A copy of `narrow`."""
    return F.clone(F.narrow(input, dim, start, length), memory_format=None)


def pieces(input, d, bounds) -> tuple:
    return tuple([F.piece(input, lead(d, slice(a, b))) for a, b in bounds])


@composite(forms="function method", samples=lambda m: [((m.t(5, 3), 2), {}), ((m.t(2, 5), [1, 4], 1), {}), ((m.t(0, 3), 2), {})])
def split(input, split_size_or_sections=None, dim=0, split_size=None):
    """Pieces of `split_size` slices along `dim` (the last may be smaller), or of the sizes in a list. Views."""
    size = split_size if split_size_or_sections is None else split_size_or_sections
    if input.ndim == 0:
        fail(RuntimeError, "P243", "split expects at least a 1-dimensional tensor", fix="a 0-d tensor has no dimension to split")
    d = wrap_dim(dim, input.ndim)
    n = input.shape[d]
    if isinstance(size, (list, tuple)):
        sizes = as_ints(size)
        if any(s < 0 for s in sizes):
            fail(RuntimeError, "P243", f"split_with_sizes expects split_sizes have only non-negative entries, but got split_sizes={list(sizes)}")
        if sum_of(sizes) != n:
            fail(RuntimeError, "P243", f"split_with_sizes expects split_sizes to sum exactly to {n} (input tensor's size at dimension {d}), "
                 f"but got split_sizes={list(sizes)}",
                 got=describe(input), fix=f"the sizes must add up to {n}; split(k) makes pieces of size k and a rest")
    else:
        s = as_int(size, "split", "split_size")
        if s < 0:
            fail(RuntimeError, "P243", f"split expects split_size be non-negative, but got split_size={s}")
        if s == 0:
            if n:
                fail(RuntimeError, "P243", f"split_size can only be 0 if dimension size is 0, but got dimension size of {n}")
            sizes = (0,)
        else:
            sizes = (s,) * (n // s) + ((n % s,) if n % s or not n else ())
    bounds, at = [], 0
    for s in sizes:
        bounds.append((at, at + s))
        at += s
    return pieces(input, d, bounds)


def sum_of(xs) -> int:
    total = 0
    for x in xs:
        total += x
    return total


@composite(forms="function method", samples=lambda m: [((m.t(5, 3), [2, 3]), {}), ((m.t(2, 5), [1, 4], 1), {}), ((m.t(0, 3), [0]), {})])
def split_with_sizes(input, split_sizes, dim=0):
    """Pieces of the given sizes along `dim`."""
    return F.split(input, tuple(split_sizes), dim)


@composite(forms="function method", samples=lambda m: [((m.t(5, 3), 2), {}), ((m.t(2, 5), 3, 1), {}), ((m.t(0, 3), 2), {})])
def chunk(input, chunks, dim=0):
    """At most `chunks` pieces of equal size along `dim` (the last may be smaller). Views."""
    if input.ndim == 0:
        fail(RuntimeError, "P243", "chunk expects at least a 1-dimensional tensor", fix="a 0-d tensor has no dimension to split")
    if chunks <= 0:
        fail(RuntimeError, "P243", f"chunk expects `chunks` to be greater than 0, got: {chunks}",
             got=describe(input), fix="ask for at least one piece")
    d = wrap_dim(dim, input.ndim)
    n = input.shape[d]
    if n == 0:
        return pieces(input, d, [(0, 0)] * chunks)
    return F.split(input, -(-n // chunks), d)


@composite(forms="function method", samples=lambda m: [((m.t(5, 3), 2), {}), ((m.t(2, 5), (1, 4), 1), {}), ((m.t(0, 3), 2), {})])
def tensor_split(input, indices_or_sections=None, dim=0, *, indices=None, sections=None):
    """Pieces along `dim`: that many of nearly equal size, or cut at the given indices. Views."""
    how = next(x for x in (indices_or_sections, indices, sections) if x is not None)
    if input.ndim == 0:
        fail(RuntimeError, "P243", "tensor_split expected at least a 1-dimensional tensor, but got a tensor with 0 dims",
             fix="a 0-d tensor has no dimension to split")
    d = wrap_dim(dim, input.ndim)
    n = input.shape[d]
    if is_tensor(how):
        how = how.tolist()
    if isinstance(how, (list, tuple)):
        cuts = [0, *[slice(None, i).indices(n)[1] for i in as_ints(how)], n]
        return pieces(input, d, [(a, max(a, b)) for a, b in zip(cuts, cuts[1:])])
    k = as_int(how)
    if k <= 0:
        fail(RuntimeError, "P243", f"number of sections must be larger than 0, got {k}", fix="ask for at least one section")
    bounds, at = [], 0
    for i in range(k):
        size = n // k + (1 if i < n % k else 0)
        bounds.append((at, at + size))
        at += size
    return pieces(input, d, bounds)


def _axis_split(name, least, axis_of, shapes):
    def body(input, indices_or_sections=None, *, indices=None, sections=None):
        how = next(x for x in (indices_or_sections, indices, sections) if x is not None)
        if input.ndim < least:
            fail(RuntimeError, "P243", f"torch.{name} requires a tensor with at least {least} dimension{'s' if least > 1 else ''}, "
                 f"but got a tensor with {input.ndim} dimensions!")
        d = axis_of(input.ndim)
        if not isinstance(how, (list, tuple)) and (as_int(how) <= 0 or input.shape[d] % as_int(how)):
            fail(RuntimeError, "P243", f"torch.{name} attempted to split along dimension {d}, but the size of the dimension "
                 f"{input.shape[d]} is not divisible by the split_size {how}!", fix="tensor_split() makes pieces of unequal sizes")
        return F.tensor_split(input, how, d)
    composite(name=name, forms="function method", doc=f"Pieces along the {name[0]}-axis, as tensor_split makes them.",
              samples=lambda m: [((m.t(*s), 2), {}) for s in shapes])(body)


_axis_split("hsplit", 1, lambda n: 0 if n == 1 else 1, [(4,), (2, 4), (0, 2)])
_axis_split("vsplit", 2, lambda n: 0, [(4, 2), (2, 3, 2), (2, 0)])
_axis_split("dsplit", 3, lambda n: 2, [(2, 3, 4), (1, 2, 2), (0, 1, 2)])


# ---------------------------------------------------------------------------------------------------- joins
def cat_ref(*arrays, dim):
    return np.concatenate(arrays, dim)


def cat_infer(*specs, dim):
    first = specs[0]
    size = 0
    for i, s in enumerate(specs):
        if s.ndim != first.ndim:
            fail(RuntimeError, "P244", f"Tensors must have same number of dimensions: got {first.ndim} and {s.ndim}",
                 got=", ".join(str(list(x.shape)) for x in specs),
                 fix="give all tensors the same number of dimensions, with unsqueeze or reshape")
        for k, (a, b) in enumerate(zip(first.shape, s.shape)):
            if k != dim and a != b:
                fail(RuntimeError, "P245", f"Sizes of tensors must match except in dimension {dim}. Expected size {a} but got size {b} "
                     f"for tensor number {i} in the list.", got=", ".join(str(list(x.shape)) for x in specs),
                     fix="tensors may differ only in the dimension they are joined along: choose another dim, or crop or pad them")
        size += s.shape[dim]
    return first.like(first.shape[:dim] + (size,) + first.shape[dim + 1:])


def cat_lower(b, *specs, dim):
    regions, at = [], 0
    for k, s in enumerate(specs):
        n = s.shape[dim]
        lo, hi = [0] * s.ndim, list(s.shape)
        lo[dim], hi[dim] = at, at + n
        regions.append((lo, hi, lambda i, load, k=k, at=at: load(k, (*i[:dim], b.isub(i[dim], at), *i[dim + 1:]))))
        at += n
    return b.pieces(regions)


def cat_vjp(g, tensors_shape, needs, dim):
    out, at = [], 0
    for need, shape in zip(needs, tensors_shape):
        n = shape[dim]
        out.append(F.basic_index(g, lead(dim, slice(at, at + n))) if need else None)
        at += n
    return (out,)


def common_type(tensors):
    """The tensors converted to their common dtype."""
    first = tensors[0].dtype
    if all(x.dtype is first for x in tensors):
        return tensors
    dims, zeros = [x.dtype for x in tensors if x.ndim], [x.dtype for x in tensors if not x.ndim]
    d = dt.result_type_of(dims, zeros, [])
    return [x if x.dtype is d else F.convert(x, d) for x in tensors]


def together(tensors) -> list:
    """What `cat` joins: the tensors in their common dtype, without empty vectors among others."""
    shapes = [x.shape for x in tensors]
    if () in shapes:
        fail(RuntimeError, "P246", f"zero-dimensional tensor (at position {shapes.index(())}) cannot be concatenated", fix="use stack instead")
    tensors = common_type(list(tensors))
    return [x for x, s in zip(tensors, shapes) if s != (0,)] or tensors[:1]


@primitive(GATHER, jvp="tensors", args="*tensors", ref=cat_ref, infer=cat_infer, lower=cat_lower, low=False, forms="function out", aliases="concat concatenate",
           vjp=cat_vjp, onnx="Concat",
           samples=lambda m: [(([m.t(2, 3), m.t(1, 3)],), {}), (([m.t(2, 3), m.t(2, 1), m.t(2, 2)], 1), {}), (([m.t(0, 3), m.t(2, 3)],), {})])
def cat(tensors, dim=0):
    """The tensors joined along an existing dimension. Empty vectors of shape (0,) are passed over, as in PyTorch."""
    if not isinstance(tensors, (list, tuple)):
        fail(TypeError, "P246", f"cat(): argument 'tensors' (position 1) must be tuple of Tensors, not {type(tensors).__name__}",
             fix="pass the tensors as a list: cat([a, b])")
    if not tensors:
        fail(ValueError, "P246", "expected a non-empty list of Tensors", fix="give at least one tensor")
    if not all([isinstance(x, TensorLike) for x in tensors]):
        i, x = next((i, x) for i, x in enumerate(tensors) if not isinstance(x, TensorLike))
        fail(TypeError, "P246", f"expected Tensor as element {i} in argument 0, but got {type(x).__name__}",
             fix="every element of the list must be a tensor: wrap values with pellucid.tensor(...)")
    n, first = tensors[0].ndim, tensors[0].dtype
    if not n or not all([x.dtype is first and x.ndim == n for x in tensors]):
        tensors = together(tensors)
        n = tensors[0].ndim
    return tuple(tensors), {"dim": dim if type(dim) is int and 0 <= dim < n else wrap_dim(as_int(dim, "cat", "dim"), n)}


def joined(arrays, dim=0):
    """`cat` of arrays alike, as it mostly is; None if they are not."""
    if not arrays or type(dim) is not int:
        return None
    n, d, size = arrays[0].ndim, arrays[0].dtype, 0
    for a in arrays:
        size += a.size
        if a.ndim != n or a.dtype is not d:
            return None
    try:
        return np.concatenate(arrays, dim) if size <= 1 << 14 else None
    except ValueError:                      # the general way says why
        return None


cat.front.of_arrays = joined


def stack_ref(*arrays, dim):
    if dim == 0:
        return np.concatenate(arrays, None).reshape(len(arrays), *arrays[0].shape)
    new = lead(dim, None)
    return np.concatenate([a[new] for a in arrays], dim)


def stack_infer(*specs, dim):
    shape = specs[0].shape
    for i, s in enumerate(specs):
        if s.shape != shape:
            fail(RuntimeError, "P247", f"stack expects each tensor to be equal size, but got {list(shape)} at entry 0 and "
                 f"{list(s.shape)} at entry {i}", fix="stack() makes a new dimension of equal shapes; cat() joins along one that is there")
    return specs[0].like(shape[:dim] + (len(specs),) + shape[dim:])


def stack_vjp(g, needs, dim):
    return ([F.basic_index(g, lead(dim, i)) if need else None for i, need in enumerate(needs)],)


@primitive(COMPOSITE, jvp="tensors", args="*tensors", ref=stack_ref, infer=stack_infer, low=False, vjp=stack_vjp, forms="function out",
           body=lambda *tensors, dim: F.cat([F.unsqueeze(x, dim) for x in tensors], dim),
           samples=lambda m: [(([m.t(2, 3), m.t(2, 3)],), {}), (([m.t(2), m.t(2)], -1), {}), (([m.t(0, 3), m.t(0, 3)], 1), {}),
                              (([m.t(), m.t(), m.t()],), {})])
def stack(tensors, dim=0):
    """The tensors, all of one shape, joined along a new dimension."""
    if not isinstance(tensors, (list, tuple)):
        fail(TypeError, "P246", f"stack(): argument 'tensors' (position 1) must be tuple of Tensors, not {type(tensors).__name__}",
             fix="pass one list or tuple: stack([a, b])")
    if not tensors:
        fail(RuntimeError, "P246", "stack expects a non-empty TensorList", fix="give at least one tensor")
    shape, first, mixed = tensors[0].shape, tensors[0].dtype, False
    for x in tensors:
        if x.shape != shape:
            stack_infer(*tensors, dim=0)
        if x.dtype is not first:
            mixed = True
    if mixed:
        tensors = common_type(list(tensors))
    return tuple(tensors), {"dim": wrap_dim(as_int(dim, "stack", "dim"), len(shape) + 1)}


def stacked(arrays, dim=0):
    """`stack` of arrays alike along a new first dimension; None if they are not."""
    if not arrays or type(dim) is not int or dim:
        return None
    shape, d = arrays[0].shape, arrays[0].dtype
    for a in arrays:
        if a.shape != shape or a.dtype is not d:
            return None
    return np.concatenate(arrays, None).reshape(len(arrays), *shape) if len(arrays) * arrays[0].size < 1 << 14 else None


stack.front.of_arrays = stacked


def _atleast(n):
    def one(x):
        if x.ndim >= n:
            return x
        if n == 1:
            return F.reshape(x, (1,))
        if n == 2:
            return F.reshape(x, (1, 1)) if x.ndim == 0 else F.unsqueeze(x, 0)
        return F.reshape(x, (1, 1, 1)) if x.ndim == 0 else F.unsqueeze(F.unsqueeze(x, 0), -1) if x.ndim == 1 else F.unsqueeze(x, -1)

    def body(*tensors):
        if len(tensors) == 1 and not isinstance(tensors[0], (list, tuple)):
            return one(tensors[0])
        items = tensors[0] if len(tensors) == 1 else tensors
        return tuple([one(x) for x in items])
    composite(name=f"atleast_{n}d", doc=f"The tensors with at least {n} dimension(s).",
              samples=lambda m: [((m.t(),), {}), ((m.t(3),), {}), ((m.t(0, 2), m.t(2)), {})])(body)


for _n in (1, 2, 3):
    _atleast(_n)

_LISTS = lambda m: [(([m.t(2, 3), m.t(2, 3)],), {}), (([m.t(2), m.t(2)],), {}), (([m.t(0, 3), m.t(0, 3)],), {})]  # noqa: E731


def check_list(fn: str, tensors) -> tuple:
    if is_tensor(tensors):
        fail(TypeError, "P2903", f"{fn}(): argument 'tensors' (position 1) must be tuple of Tensors, not Tensor", got=describe(tensors),
             fix=f"{fn}((a, b))")
    return tuple(tensors)


@composite(samples=_LISTS, forms="function out")
def hstack(tensors):
    """Joined along dimension 1 (0 for vectors)."""
    tensors = F.atleast_1d(check_list("hstack", tensors))
    return F.cat(tensors, 0 if tensors[0].ndim == 1 else 1)


@composite(samples=_LISTS, forms="function out", aliases="row_stack")
def vstack(tensors):
    """Joined along dimension 0, vectors as rows."""
    return F.cat(F.atleast_2d(check_list("vstack", tensors)), 0)


@composite(samples=_LISTS, forms="function out")
def dstack(tensors):
    """Joined along dimension 2."""
    return F.cat(F.atleast_3d(check_list("dstack", tensors)), 2)


@composite(samples=_LISTS, forms="function out")
def column_stack(tensors):
    """Joined along dimension 1, vectors as columns."""
    return F.cat([F.reshape(x, (x.numel(), 1)) if x.ndim <= 1 else x for x in check_list("column_stack", tensors)], 1)


# ---------------------------------------------------------------------------------------------------- repeats and flips
@composite(forms="method", samples=lambda m: [((m.t(2, 3), 2, 2), {}), ((m.t(3), (2, 1, 2)), {}), ((m.t(0, 3), 2, 1), {})])
def repeat(input, *args, repeats=None):
    """The tensor laid out `repeats` times along each dimension."""
    reps = sizes_from(args, "repeat", "repeats") if repeats is None else as_ints(repeats)
    n = input.ndim
    if len(reps) < n:
        fail(RuntimeError, "P248", "Number of dimensions of repeat dims can not be smaller than number of dimensions of tensor",
             got=f"{describe(input)}, repeats {list(reps)}",
             fix=f"give at least {input.ndim} numbers: one per dimension, new dimensions in front")
    if any(r < 0 for r in reps):
        fail(RuntimeError, "P215", f"Trying to create tensor with negative dimension in repeat {list(reps)}")
    extra = len(reps) - n
    shape = (1,) * extra + tuple(input.shape)
    x = F.view_shape(F.contiguous(input), tuple(s for n_ in shape for s in (1, n_)))
    wide = F.expand(x, tuple(s for r, n_ in zip(reps, shape) for s in (r, n_)))
    return F.reshape(F.clone(wide, memory_format=contiguous_format), tuple(r * n_ for r, n_ in zip(reps, shape)))


@composite(forms="function method", samples=lambda m: [((m.t(2, 3), (2,)), {}), ((m.t(3), (2, 2)), {}), ((m.t(0, 3), (2, 1)), {})])
def tile(input, *args, dims=None):
    """Like repeat; missing dimensions count as 1."""
    reps = sizes_from(args, "tile", "dims") if dims is None else as_ints(dims)
    return F.repeat(input, (1,) * (input.ndim - len(reps)) + reps)


@composite(forms="function method", samples=lambda m: [((m.t(2, 3), 2), {}), ((m.t(3, 2), m.i(3, high=3), 0), {}), ((m.t(0, 3), 2, 1), {})])
def repeat_interleave(input, repeats=None, dim=None, *, output_size=None):
    """Each slice along `dim` repeated, one after another; of the flattened input without `dim`."""
    if repeats is None:
        if input.ndim != 1 or input.dtype not in (dt.int32, dt.int64):
            fail(RuntimeError, "P249", "repeat_interleave only accept 1D vector as repeat" if input.ndim != 1 else
                 "repeats has to be Long or Int tensor", got=describe(input), fix="give the counts as a vector of int64")
        return F.repeat_interleave(F.arange(input.numel()), input, 0)
    if dim is None:
        input, dim = F.reshape(input, (-1,)), 0
    d = wrap_dim(dim, input.ndim)
    if input.ndim == 0:
        input = F.reshape(input, (1,))
    n = input.shape[d]
    if is_tensor(repeats) and repeats.ndim > 1:
        fail(RuntimeError, "P249", "repeats must be 0-dim or 1-dim tensor", got=describe(repeats), fix="give the counts as a vector")
    counts = repeats.tolist() if is_tensor(repeats) else [as_int(repeats)]
    counts = counts if isinstance(counts, list) else [counts]
    if len(counts) == 1:
        counts = counts * n
    if len(counts) != n:
        fail(RuntimeError, "P249", f"repeats must have the same size as input along dim, but got repeats.size(0) = {len(counts)} and "
             f"input.size({d}) = {n}")
    if any(c < 0 for c in counts):
        fail(RuntimeError, "P249", "repeats can not be negative")
    return F.index(input, (None,) * d + (F.index_tensor(np.repeat(np.arange(n), counts)),))


@primitive(GATHER, jvp="input", args="input", ref=lambda a, *, dims: np.flip(a, dims).copy(), infer=lambda s, *, dims: s.like(), low=False,
           lower=lambda b, i, load, s, *, dims: load(0, tuple([b.isub(s.shape[d] - 1, x) if d in dims else x for d, x in enumerate(i)])),
           forms="function method", vjp={"input": lambda g, dims: F.flip(g, dims)},
           samples=lambda m: [((m.t(2, 3), (0,)), {}), ((m.t(2, 3), (0, 1)), {}), ((m.t(0, 3), [1]), {})])
def flip(input, *args, dims=None):
    """The order along `dims` reversed. A copy."""
    if not args and dims is None:
        fail(TypeError, "P2891", "flip() missing 1 required positional argument: \"dims\"", fix="flip(x, 0), flip(x, (0, 1))")
    dims = sizes_from(args, "flip", "dims") if dims is None else as_ints(dims)
    return (input,), {"dims": wrap_dims(dims, input.ndim) if input.ndim else ()}


@composite(forms="function method", samples=_X)
def fliplr(input):
    """The columns in reverse order."""
    if input.ndim < 2:
        fail(RuntimeError, "P244", "Input must be >= 2-d.", got=describe(input), fix="the input needs at least two dimensions")
    return F.flip(input, (1,))


@composite(forms="function method", samples=_X)
def flipud(input):
    """The rows in reverse order."""
    if input.ndim < 1:
        fail(RuntimeError, "P244", "Input must be >= 1-d.")
    return F.flip(input, (0,))


def roll_lower(b, i, load, s, *, shifts, dims):
    if not dims:
        return load(0, b.unflatten(b.imod(b.isub(b.flatten(i, s.shape), shifts[0]), max(s.numel(), 1)), s.shape))
    at = list(i)
    for d, shift in zip(dims, shifts):
        at[d] = b.imod(b.isub(at[d], shift), max(s.shape[d], 1))
    return load(0, tuple(at))


@primitive(GATHER, jvp="input", args="input", lower=roll_lower, ref=lambda a, *, shifts, dims: np.roll(a, shifts, dims) if dims else np.roll(a, shifts[0] if shifts else 0),
           infer=lambda s, *, shifts, dims: s.like(), low=False, forms="function method",
           vjp={"input": lambda g, shifts, dims: F.roll(g, tuple(-s for s in shifts), dims or None)},
           samples=lambda m: [((m.t(2, 3), 1), {}), ((m.t(4, 3), (1, -2), (0, 1)), {}), ((m.t(0, 3), 1, 0), {})])
def roll(input, shifts, dims=None):
    """Elements shifted along `dims`, those pushed out coming back at the other end; flattened without `dims`."""
    shifts = as_ints(shifts)
    if dims is not None and input.ndim == 0 and as_ints(dims):
        fail(IndexError, "P202", "Dimension specified as 0 but tensor has no dimensions")
    dims = () if dims is None else as_ints(dims)
    if not shifts:
        fail(RuntimeError, "P249", "`shifts` required")
    if dims and len(dims) != len(shifts):
        fail(RuntimeError, "P249", f"shifts and dimensions must align. shifts: {len(shifts)}, dims:{len(dims)}")
    if not dims and len(shifts) != 1:
        fail(RuntimeError, "P249", f"shifts and dimensions must align. shifts: {len(shifts)}, dims:0")
    dims = tuple([wrap_dim(d, input.ndim) for d in dims])
    return (input,), {"shifts": shifts, "dims": dims}


@composite(forms="function method", samples=lambda m: [((m.t(2, 3),), {}), ((m.t(2, 3, 2), 2, (1, 2)), {}), ((m.t(0, 3), -1), {})])
def rot90(input, k=1, dims=(0, 1)):
    """Rotated by k * 90 degrees in the plane of two dimensions."""
    if len(dims) != 2:
        fail(RuntimeError, "P249", f"expected total rotation dims == 2, but got dims = {len(dims)}")
    if input.ndim < 2:
        fail(RuntimeError, "P249", f"expected total dims >= 2, but got total dims = {input.ndim}")
    a, b = (wrap_dim(d, input.ndim) for d in dims)
    if a == b:
        fail(RuntimeError, "P249", f"expected rotation dims to be different, but got dim0 = {dims[0]} and dim1 = {dims[1]}")
    k = k % 4
    if k == 0:
        return F.clone(input)
    if k == 2:
        return F.flip(input, (a, b))
    return F.transpose(F.flip(input, (b,)), a, b) if k == 1 else F.flip(F.transpose(input, a, b), (b,))


@composite(samples=lambda m: [((m.t(2), m.t(3)), {"indexing": "ij"}), ((m.t(2), m.t(3)), {"indexing": "xy"}), ((m.t(0), m.t(3)), {"indexing": "ij"})])
def meshgrid(*tensors, indexing=None):
    """Coordinate grids of vectors: with "ij" the first vector runs along dimension 0, with "xy" along dimension 1."""
    if len(tensors) == 1 and isinstance(tensors[0], (list, tuple)):
        tensors = tuple(tensors[0])
    if not tensors:
        fail(RuntimeError, "P246", "meshgrid expects a non-empty TensorList", fix="give at least one tensor")
    if indexing not in (None, "ij", "xy"):
        fail(RuntimeError, "P249", f'torch.meshgrid: indexing must be one of "xy" or "ij", but received: {indexing}',
             fix="choose indexing=\"ij\" (rows first) or \"xy\"")
    for x in tensors:
        if x.ndim > 1:
            fail(RuntimeError, "P244", f"torch.meshgrid: Expected 0D or 1D tensor in the tensor list but got: {x.ndim}D")
        if x.dtype is not tensors[0].dtype:
            fail(RuntimeError, "P244", "torch.meshgrid expects all tensors to have the same dtype")
    swap = indexing == "xy" and len(tensors) > 1
    items = list(tensors)
    if swap:
        items[0], items[1] = items[1], items[0]
    n = len(items)
    shape = tuple(x.numel() for x in items)
    grids = [F.expand(F.reshape(x, tuple(-1 if j == i else 1 for j in range(n))), shape) for i, x in enumerate(items)]
    if swap:
        grids[0], grids[1] = grids[1], grids[0]
    return tuple(grids)


@composite(samples=lambda m: [((m.t(2), m.t(3)), {}), ((m.t(2),), {}), ((m.t(0), m.t(2)), {})])
def cartesian_prod(*tensors):
    """All combinations of the vectors' elements, one row each."""
    if len(tensors) == 1:
        return tensors[0]
    return F.stack([F.reshape(gr, (-1,)) for gr in F.meshgrid(*tensors, indexing="ij")], 1)


@composite(samples=lambda m: [((m.t(4),), {}), ((m.t(3), 2, True), {}), ((m.t(0),), {})])
def combinations(input, r=2, with_replacement=False):
    """All ways to take `r` elements of a vector, one row each."""
    if input.ndim != 1:
        fail(RuntimeError, "P244", f"Expect a 1D vector, but got shape {list(input.shape)}")
    if r < 0:
        fail(RuntimeError, "P244", f"Expect a non-negative number, but got {r}")
    make = itertools.combinations_with_replacement if with_replacement else itertools.combinations
    rows = list(make(range(input.shape[0]), r))
    places = np.array(rows, np.int64).reshape(len(rows), r)
    return F.index(input, (F.index_tensor(places),)) if r else F.zeros((0,), dtype=input.dtype)


# ---------------------------------------------------------------------------------------------------- writes into a copy
@composite(forms="function method", samples=lambda m: [((m.t(3, 4), m.t(4), 0, 1), {}), ((m.t(3, 4), m.t(3), 1, -1), {}), ((m.t(2, 0), m.t(0), 0, 0), {})])
def select_scatter(input, src, dim, index):
    """`input` with the slice at `index` of `dim` replaced by `src`."""
    d, i = wrap_dim(dim, input.ndim), as_int(index)
    want = tuple(n for k, n in enumerate(input.shape) if k != d)
    if tuple(src.shape) != want:
        fail(RuntimeError, "P263", f"expected src to have a size equal to the slice of self. src size = {list(src.shape)}, "
             f"slice size = {list(want)}", fix="give the source the shape of the part it replaces")
    return F.view_scatter(input, src, (("basic_index", {"index": lead(d, i)}),))


@composite(forms="function method", samples=lambda m: [((m.t(4, 2), m.t(2, 2)), {"start": 1, "end": 3}), ((m.t(2, 4), m.t(2, 2), 1), {"step": 2}), ((m.t(0, 2), m.t(0, 2)), {})])
def slice_scatter(input, src, dim=0, start=None, end=None, step=1):
    """`input` with a slice of `dim` replaced by `src`."""
    d = wrap_dim(dim, input.ndim)
    return F.view_scatter(input, src, (("basic_index", {"index": lead(d, slice(start, end, step))}),))


@composite(forms="function method", samples=lambda m: [((m.t(3, 3), m.t(3)), {}), ((m.t(2, 3, 3), m.t(2, 2)), {"offset": 1, "dim1": 1, "dim2": 2}), ((m.t(0, 3), m.t(0)), {})])
def diagonal_scatter(input, src, offset=0, dim1=0, dim2=1):
    """`input` with a diagonal replaced by `src`."""
    return F.view_scatter(input, src, (("diagonal", {"offset": offset, "dim1": wrap_dim(dim1, input.ndim), "dim2": wrap_dim(dim2, input.ndim)}),))


@composite(forms="function method", samples=lambda m: [((m.t(4), m.t(2), (2,), (2,), 0), {}), ((m.t(3, 3), m.t(2, 2), (2, 2), (3, 1), 1), {}), ((m.t(0), m.t(0), (0,), (1,), 0), {})])
def as_strided_scatter(input, src, size, stride, storage_offset=None):
    """`input` with the elements of a strided view replaced by `src`."""
    return F.view_scatter(input, src, (("as_strided", {"size": as_ints(size), "stride": as_ints(stride), "offset": storage_offset or 0}),))


@composite(samples=lambda m: [((m.t(2, 3), m.t(1, 2), m.t(2)), {}), ((m.t(2), m.t(), m.i(2, 1)), {}), ((m.t(0, 2), m.t(2, 2)), {}), ((), {})])
def block_diag(*tensors):
    """A matrix with the given ones (at most 2-d; vectors are rows) along its diagonal and zeros elsewhere, in their common dtype."""
    blocks = []
    for i, t in enumerate(tensors):
        if not is_tensor(t):
            fail(TypeError, "P2845", f"block_diag(): argument {i} must be Tensor, not {type(t).__name__}", fix="give the matrices one by one: block_diag(*matrices)")
        if t.ndim > 2:
            fail(RuntimeError, "P2846", f"torch.block_diag: Input tensors must have 2 or fewer dimensions. Input {i} has {t.ndim} dimensions",
                 got=describe(*tensors), fix="call it for each matrix of the batch")
        blocks.append(F.reshape(t, (1, -1)) if t.ndim < 2 and t.numel() else F.reshape(t, (1, 0)) if t.ndim < 2 else t)
    if not blocks:
        return F.zeros((1, 0))
    width, left, rows = sum(b.shape[1] for b in blocks), 0, []
    for b in blocks:
        rows.append(F.pad(b, (left, width - left - b.shape[1])))
        left += b.shape[1]
    return F.cat(rows, 0)
